"""The process of the chain: anvil, on loopback, with the accounts of Ocean's own development network."""

from __future__ import annotations

import contextlib
import ctypes
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.home import StackError
from local.market import npm

CHAIN_ID = 8996
# Everybody has it, so the keys are worth nothing elsewhere.
MNEMONIC = "taxi music thumb unique chat sand crew more leg another off lamp"
WITHIN = 60  # seconds for anvil to start
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """A new chain until the block ends; its URL. Its log is in `folder`."""
    command = [npm.anvil(), "--host", "127.0.0.1", "--port", "0", "--chain-id", CHAIN_ID, "--mnemonic", MNEMONIC, "--auto-impersonate"]
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=_end_with_parent)
    try:
        yield f"http://127.0.0.1:{_port(process, folder / 'anvil.log')}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """The chain ends with the process that started it, even if that is killed."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _port(process: subprocess.Popen[str], log: Path) -> int:
    """Where anvil listens, as it says itself; what it says later goes on into the log."""
    assert process.stdout
    late = threading.Timer(WITHIN, process.kill)
    late.start()
    said = log.open("w")
    for line in process.stdout:
        said.write(line)
        if listening := re.search(r"Listening on \S+:(\d+)", line):
            late.cancel()
            threading.Thread(target=_copy, args=(process.stdout, said), daemon=True).start()
            return int(listening[1])
    late.cancel()
    said.close()
    raise StackError(f"anvil did not start: {log.read_text().strip()[-300:] or 'it said nothing'}")


def _copy(source: Any, target: Any) -> None:
    with target:
        for line in source:
            target.write(line)
            target.flush()
