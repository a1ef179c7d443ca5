"""What the stack and its supervisor exchange: `run/plan.json` (which processes to run) and `run/state.json` (what runs now)."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local.home import write_private


@dataclass
class Unit:
    """One program of the stack: a service, which is restarted when it ends, or a step, which runs once."""

    name: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    once: bool = False  # a step: units that come after it start when it has ended with exit code 0
    after: list[str] = field(default_factory=list)  # units that must be ready, or done, before this one starts
    ready_port: int | None = None  # ready when this port on 127.0.0.1 accepts connections
    ready_file: str | None = None  # ready when this file exists
    stop_signal: int = signal.SIGTERM
    stop_timeout: float = 8.0  # seconds between the stop signal and SIGKILL
    stop_last: bool = False  # stops after all other units, which need it until they have ended


@dataclass
class UnitStatus:
    state: str = "waiting"  # waiting, starting, ready, done, failed, restarting, stopped
    pid: int | None = None
    started: str | None = None  # start time of that process (local.processes.start_time)
    restarts: int = 0
    exit_code: int | None = None

    @property
    def is_up(self) -> bool:
        return self.state in ("ready", "done")


@dataclass
class State:
    """The supervisor's process and the status of every unit."""

    pid: int
    started: str | None
    units: dict[str, UnitStatus]

    @property
    def not_up(self) -> list[str]:
        """The names of the units that are not ready yet."""
        return [name for name, unit in self.units.items() if not unit.is_up]


def write_plan(run: Path, units: list[Unit]) -> None:
    write_private(run / "plan.json", json.dumps([asdict(unit) for unit in units], indent=1))


def read_plan(run: Path) -> list[Unit]:
    return [Unit(**unit) for unit in json.loads((run / "plan.json").read_text())]


def read_state(run: Path) -> State | None:
    """What the supervisor wrote last; None if there is no supervisor, or if it has not written anything yet."""
    with contextlib.suppress(OSError, ValueError):
        state = json.loads((run / "state.json").read_text())
        return State(state["pid"], state["started"], {name: UnitStatus(**unit) for name, unit in state["units"].items()})
    return None
