"""Runs the processes of one stack, as Kubernetes runs the containers of a deployment: `python -m local.supervisor RUN_DIRECTORY`.

It reads `plan.json` (a list of units), starts each unit when those that it comes after are ready, starts a service again when it
ends (with back-off), and on SIGTERM ends all of them. `state.json` says at any time what runs. The lock on `lock` is held as long as
it lives, so that a process id in a stale file is never mistaken for a running stack.

A unit is a session of processes. When its first process ends, the rest of the session is killed before it is started again: a
container that ends takes its processes along, and a scheduler that is started again must not meet the workers of the one before.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local.home import write_private
from local.processes import children_of, kill_session, start_time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LONGEST_BACK_OFF = 30.0  # seconds
STEADY = 30.0  # a service that lived so long begins again without a back-off
START_ATTEMPTS = 3  # a service that was never ready and ended so often will not come up by itself


@dataclass
class Unit:
    """One line of the plan."""

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    once: bool = False  # a step that ends, and must end well before those after it begin
    after: list[str] = field(default_factory=list)
    ready_port: int | None = None  # ready when this port on loopback answers
    ready_file: str | None = None  # ready when this file exists
    stop_signal: int = signal.SIGTERM
    patience: float = 8.0  # seconds between the stop signal and SIGKILL
    last: bool = False  # ends after all others (they need it to end in order)


@dataclass
class Status:
    state: str = "waiting"  # waiting, starting, ready, done, failed, restarting, stopped
    pid: int | None = None
    started: str | None = None  # the kernel's start time of that pid: together they name a process for ever
    restarts: int = 0
    exit_code: int | None = None


class Supervisor:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.units = {unit["name"]: Unit(**unit) for unit in json.loads((run / "plan.json").read_text())}
        self.status = {name: Status() for name in self.units}
        self.begun: dict[str, float] = {}
        self.again_at: dict[str, float] = {}
        self.ends: dict[str, int] = {}
        self.was_ready: set[str] = set()
        self.stopping = False
        self.written = ""
        self.wakeup, wakeup_end = os.pipe()
        for end in (self.wakeup, wakeup_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.on_stop)

    def on_stop(self, *_: object) -> None:
        self.stopping = True

    def write_state(self) -> None:
        text = json.dumps(
            {"pid": os.getpid(), "started": start_time(os.getpid()), "units": {name: asdict(s) for name, s in self.status.items()}},
            indent=1,
        )
        if text != self.written:
            with contextlib.suppress(OSError):  # a full disk must not end the stack
                write_private(self.run / "state.json", text)
                self.written = text

    def wait(self, seconds: float) -> None:
        """Sleep until a signal or for some seconds."""
        with contextlib.suppress(InterruptedError):
            if select.select([self.wakeup], [], [], seconds)[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wakeup, 1024)

    # -- starting ------------------------------------------------------------------------------------------------
    def may_start(self, name: str) -> bool:
        status = self.status[name]
        if status.state == "restarting":
            return time.monotonic() >= self.again_at[name]
        return status.state == "waiting" and all(self.status[other].state in ("ready", "done") for other in self.units[name].after)

    def start(self, name: str) -> None:
        unit, status = self.units[name], self.status[name]
        if unit.ready_file and not status.restarts:
            Path(unit.ready_file).unlink(missing_ok=True)
        with Path(unit.log).open("ab") as log:
            process = subprocess.Popen(
                unit.argv,
                env=unit.env,
                cwd=unit.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        process.returncode = 0  # reaped by `reap`, for orphans of the units come to this process too
        status.pid, status.started, status.state = process.pid, start_time(process.pid), "starting"
        self.begun[name] = time.monotonic()

    def check_ready(self, name: str) -> None:
        unit = self.units[name]
        if unit.once:
            return
        if unit.ready_port:
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", unit.ready_port)) != 0:
                    return
        if unit.ready_file and not Path(unit.ready_file).exists():
            return
        self.status[name].state = "ready"
        self.was_ready.add(name)

    # -- ending --------------------------------------------------------------------------------------------------
    def reap(self) -> None:
        while True:
            try:
                pid, waited = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, status in self.status.items():
                if status.pid == pid:
                    self.ended(name, os.waitstatus_to_exitcode(waited))

    def ended(self, name: str, code: int) -> None:
        unit, status = self.units[name], self.status[name]
        kill_session(status.pid, status.started)
        status.pid, status.started, status.exit_code = None, None, code
        if self.stopping:
            status.state = "stopped"
        elif unit.once:
            status.state = "done" if code == 0 else "failed"
        else:
            lived = time.monotonic() - self.begun[name]
            self.ends[name] = 1 if lived > STEADY else self.ends.get(name, 0) + 1
            if name not in self.was_ready and self.ends[name] >= START_ATTEMPTS:
                status.state = "failed"
                return
            status.restarts += 1
            status.state = "restarting"
            delay = 0.0 if self.ends[name] == 1 else min(2.0 ** (self.ends[name] - 2), LONGEST_BACK_OFF)
            self.again_at[name] = time.monotonic() + delay
            print(f"{time.strftime('%F %T')} {name} ended with {code} after {lived:.0f} s; starting it again in {delay:.0f} s", flush=True)

    def stop_all(self) -> None:
        for last in (False, True):
            names = [name for name, unit in self.units.items() if unit.last is last and self.status[name].pid]
            for name in names:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.status[name].pid, self.units[name].stop_signal)
            begun = time.monotonic()
            while any(self.status[name].pid for name in names):
                self.reap()
                for name in names:
                    status = self.status[name]
                    if status.pid and time.monotonic() - begun > self.units[name].patience:
                        kill_session(status.pid, status.started)
                self.write_state()
                self.wait(0.1)
        while orphans := children_of(os.getpid()):  # what left its session and outlived its unit
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.wait(0.05)
            self.reap()
        for status in self.status.values():
            if status.state not in ("failed", "done"):
                status.state = "stopped"
        self.write_state()

    def main(self) -> None:
        while not self.stopping:
            self.reap()
            for name, status in self.status.items():
                if self.stopping:
                    break
                if self.may_start(name):
                    self.start(name)
                if status.state == "starting":
                    self.check_ready(name)
            self.write_state()
            busy = any(status.state in ("waiting", "starting", "restarting") for status in self.status.values())
            self.wait(0.05 if busy else 5.0)
        self.stop_all()


def die_with_parent() -> None:
    """Between fork and exec: end when the supervisor is killed, so that even then nothing stays behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


LIBC = ctypes.CDLL(None)


def main() -> None:
    run = Path(sys.argv[1])
    lock = (run / "lock").open("w")  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("this stack is running already") from None
    os.set_inheritable(lock.fileno(), False)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Supervisor(run).main()


if __name__ == "__main__":
    main()
