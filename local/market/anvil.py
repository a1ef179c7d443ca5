"""Runs the blockchain: anvil on a loopback port, with the chain id and the accounts of Ocean's development network."""

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
from typing import IO

from local.home import StackError
from local.market import npm

CHAIN_ID = 8996
# It is public, so its keys are worth nothing on other chains.
MNEMONIC = "taxi music thumb unique chat sand crew more leg another off lamp"
START_TIMEOUT = 60  # seconds
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a new chain during the block. Yields its URL; its log is in `folder`.

    :raises StackError: anvil does not start.
    """
    command = [npm.anvil(), "--host", "127.0.0.1", "--port", "0", "--chain-id", CHAIN_ID, "--mnemonic", MNEMONIC, "--auto-impersonate"]
    argv = [str(word) for word in command]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=_die_with_parent)
    try:
        yield f"http://127.0.0.1:{_port(process, folder / 'anvil.log')}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    """Between fork and exec: have the kernel end the chain when the process that started it dies, even by SIGKILL."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _port(process: subprocess.Popen[str], log: Path) -> int:
    """The port that anvil prints at its start. A thread copies its later output to the log."""
    assert process.stdout
    timer = threading.Timer(START_TIMEOUT, process.kill)
    timer.start()
    log_file = log.open("w")
    for line in process.stdout:
        log_file.write(line)
        if listening := re.search(r"Listening on \S+:(\d+)", line):
            timer.cancel()
            threading.Thread(target=_copy, args=(process.stdout, log_file), daemon=True).start()
            return int(listening[1])
    timer.cancel()
    log_file.close()
    raise StackError(f"The chain (anvil) did not start: {log.read_text().strip()[-300:] or 'it printed nothing'}")


def _copy(source: IO[str], target: IO[str]) -> None:
    with target:
        for line in source:
            target.write(line)
            target.flush()
