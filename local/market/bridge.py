"""Calls functions of the unmodified Ocean client library, which runs in a Node.js process (bridge.js)."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.market import npm
from local.market.chain import Account

CALL_TIMEOUT = 120  # seconds


class OceanJsError(Exception):
    """The library threw an error, or printed one and returned nothing. `text` is the error and what was printed."""

    def __init__(self, call: str, text: str):
        super().__init__(f"{call}: {text}")
        self.text = text

    @property
    def reason(self) -> Any:
        """The Provider's `error`, or its `errors` by field; the whole text if it has neither."""
        printed = re.search(r"failed:  \d{3} [A-Za-z ]+ (\{.*\})", self.text)
        try:
            body = json.loads(printed[1] if printed else self.text.splitlines()[0])
            return body.get("errors") or body["error"]
        except (ValueError, KeyError, IndexError, AttributeError):
            return self.text


@contextlib.contextmanager
def running(library: str, env: dict[str, str]) -> Iterator[Bridge]:
    """Run a process with the library during the block.

    :param library: its name in package.json.
    :param env: the environment variables that the library reads.
    """
    process = Bridge(library, env)
    try:
        yield process
    finally:
        process.close()


class Bridge:
    """A Node.js process with the library. It makes one call at a time."""

    def __init__(self, library: str, env: dict[str, str]) -> None:
        self.calls = 0
        self.lock = threading.Lock()
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [npm.node(), str(Path(__file__).with_name("bridge.js"))],
            env={"NODE_PATH": str(npm.modules()), "PATH": "", "OCEAN_LIB": library, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def call(self, name: str, *args: Any, new: list[Any] | None = None) -> tuple[Any, str]:
        """Call a function, or `Class.method`. Returns its result, and what it has printed.

        :param new: arguments for the constructor of the class.
        :raises OceanJsError: it threw an error.
        :raises RuntimeError: the process ended, or did not answer in time.
        """
        target, _, method = name.rpartition(".") if "." in name else (name, "", None)
        self.calls += 1
        request = {"id": self.calls, "object": target, "method": method, "args": _sent(args), **({"new": _sent(new)} if new else {})}
        line = self._answer(json.dumps(request))
        if not line:
            self.errors.seek(0)
            reason = self.errors.read()[-800:] or f"no answer in {CALL_TIMEOUT} s"
            raise RuntimeError(f"the client library's process ended at {name}: {reason}")
        answer = json.loads(line)
        log = "\n".join(answer["log"])
        if "error" in answer:
            raise OceanJsError(name, f"{answer['error']}\n{log}".strip())
        return _received(answer["result"]), log

    def _answer(self, request: str) -> str:
        """The line that answers a request; empty if the process has ended. A process that takes too long is killed."""
        assert self.process.stdin and self.process.stdout
        with self.lock:
            timer = threading.Timer(CALL_TIMEOUT, self.process.kill)
            timer.start()
            try:
                self.process.stdin.write(request + "\n")
                self.process.stdin.flush()
                return self.process.stdout.readline()
            except BrokenPipeError:
                return ""
            finally:
                timer.cancel()


def _sent(value: Any) -> Any:
    """A Python value in the form that bridge.js expects."""
    if isinstance(value, Account):
        return {"$signer": value.key}
    if isinstance(value, dict):
        return {name: _sent(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_sent(each) for each in value]
    return value


def _received(value: Any) -> Any:
    """A value from bridge.js in Python."""
    if isinstance(value, dict):
        return base64.b64decode(value["$base64"]) if "$base64" in value else {name: _received(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_received(each) for each in value]
    return value
