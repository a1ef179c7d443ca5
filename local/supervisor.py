"""Runs the processes of one stack, as Kubernetes runs the containers of a deployment: `python -m local.supervisor RUN_FOLDER`.

It reads `plan.json`, starts each unit when the units before it are ready, restarts a service that has ended (with back-off), and stops
all of them on SIGTERM. `state.json` always has the current state. The supervisor holds the lock on the file `lock` as long as it lives, so
a process id in an old `state.json` is never mistaken for a running stack.

Each unit is a session of processes. When its first process ends, the rest of the session is killed before the unit is restarted:
otherwise a restarted scheduler would meet the workers of its predecessor.
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
from dataclasses import asdict
from pathlib import Path

from local.home import write_private
from local.processes import children_of, kill_session, start_time
from local.units import State, UnitStatus, read_plan

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LONGEST_BACK_OFF = 30.0  # seconds
STEADY = 30.0  # seconds; a service that ran this long is restarted without a delay
START_ATTEMPTS = 3  # a service that ended this often without ever being ready has failed


class Supervisor:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.units = {unit.name: unit for unit in read_plan(run)}
        self.status = {name: UnitStatus() for name in self.units}
        self.started_at: dict[str, float] = {}
        self.restart_at: dict[str, float] = {}
        self.quick_ends: dict[str, int] = {}  # how often a service has ended in a row, each time within STEADY seconds
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
        """Write `state.json` if anything has changed."""
        text = json.dumps(asdict(State(os.getpid(), start_time(os.getpid()), self.status)), indent=1)
        if text != self.written:
            with contextlib.suppress(OSError):  # a full disk must not end the stack
                write_private(self.run / "state.json", text)
                self.written = text

    def wait(self, seconds: float) -> None:
        """Sleep for some seconds, or until a signal arrives."""
        with contextlib.suppress(InterruptedError):
            if select.select([self.wakeup], [], [], seconds)[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wakeup, 1024)

    # -- starting ------------------------------------------------------------------------------------------------
    def may_start(self, name: str) -> bool:
        """Whether a unit's turn has come: the units before it are up, or its back-off is over."""
        status = self.status[name]
        if status.state == "restarting":
            return time.monotonic() >= self.restart_at[name]
        return status.state == "waiting" and all(self.status[other].is_up for other in self.units[name].after)

    def start(self, name: str) -> None:
        """Start a unit's process in a session of its own."""
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
        process.returncode = 0  # tells Popen not to wait for it: `reap` collects it, together with orphans of the units
        status.pid, status.started, status.state = process.pid, start_time(process.pid), "starting"
        self.started_at[name] = time.monotonic()

    def check_ready(self, name: str) -> None:
        """Mark a service as ready if its port and its file say so."""
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
        """Collect every child process that has ended."""
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
        """A unit's process has ended: kill the rest of its session and schedule its restart."""
        unit, status = self.units[name], self.status[name]
        kill_session(status.pid, status.started)
        status.pid, status.started, status.exit_code = None, None, code
        if self.stopping:
            status.state = "stopped"
        elif unit.once:
            status.state = "done" if code == 0 else "failed"
        else:
            seconds = time.monotonic() - self.started_at[name]
            self.quick_ends[name] = 1 if seconds > STEADY else self.quick_ends.get(name, 0) + 1
            if name not in self.was_ready and self.quick_ends[name] >= START_ATTEMPTS:
                status.state = "failed"
                return
            status.restarts += 1
            status.state = "restarting"
            delay = 0.0 if self.quick_ends[name] == 1 else min(2.0 ** (self.quick_ends[name] - 2), LONGEST_BACK_OFF)
            self.restart_at[name] = time.monotonic() + delay
            now = time.strftime("%F %T")
            print(f"{now} {name} ended with exit code {code} after {seconds:.0f} s; restart in {delay:.0f} s", flush=True)

    def stop_all(self) -> None:
        """Stop every unit, those with `stop_last` after the others, and kill whatever outlives them."""
        for stop_last in (False, True):
            self.stop_units([name for name, unit in self.units.items() if unit.stop_last is stop_last])
        while orphans := children_of(os.getpid()):  # processes that left their session and outlived their unit
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.wait(0.05)
            self.reap()
        for status in self.status.values():
            if status.state not in ("failed", "done"):
                status.state = "stopped"
        self.write_state()

    def stop_units(self, names: list[str]) -> None:
        """Send the stop signal to some units and wait for their ends; SIGKILL after `stop_timeout`."""
        begin = time.monotonic()
        for name in names:
            if pid := self.status[name].pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, self.units[name].stop_signal)
        while running := [name for name in names if self.status[name].pid]:
            self.reap()
            for name in running:
                status = self.status[name]
                if status.pid and time.monotonic() - begin > self.units[name].stop_timeout:
                    kill_session(status.pid, status.started)
            self.write_state()
            self.wait(0.1)

    def main(self) -> None:
        """Run until SIGTERM, then stop everything."""
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
    """Between fork and exec: have the kernel end this process when the supervisor dies, even by SIGKILL."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


LIBC = ctypes.CDLL(None)


def main() -> None:
    run = Path(sys.argv[1])
    lock = (run / "lock").open("w")  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("This stack is running already.") from None
    os.set_inheritable(lock.fileno(), False)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Supervisor(run).main()


if __name__ == "__main__":
    main()
