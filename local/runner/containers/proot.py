"""A stand-in for the sandbox on machines whose kernel allows no namespaces. For trusted images only, and only on request.

proot (`apt install proot`) shows a program other paths by tracing it, so that /data and /c2d exist. It isolates nothing. What is lost: the
cut network, read-only mounts and root, the sizes of tmpfs, the process namespace (what a container leaves behind lives on), capabilities
and users. Limits on memory and time still hold, as far as polling can hold them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.runner.containers import usage
from local.runner.containers.logs import Log
from local.runner.containers.process import PREPARE, Ended, Process
from local.runner.containers.view import EMPTY, ETC, OWN_ETC, USERLAND, View

WARNING = (
    "WARNING: no sandbox. Containers are ordinary programs of yours that see other paths (proot): they have your network, can write to "
    "what is mounted read-only and can reach all that you can reach. Only images marked `trusted` run; others are refused"
)


class ProotProcess(Process):
    """A container under proot: a tree of ordinary processes, with proot as its root."""

    def signal(self, number: int) -> None:
        proot, *inside = usage.processes(self._first)
        for pid in [*inside, proot] if number == signal.SIGKILL else inside[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, why: Ended | None = None) -> None:
        # proot's own exit code after SIGKILL says nothing about the container's
        super().kill(why or Ended(137, "Error"))

    def _outcome(self, first_output: bytes) -> Ended | None:
        return None


@dataclass(frozen=True)
class Proot:
    """proot in place of bubblewrap."""

    program: str
    isolates = False

    def __str__(self) -> str:
        return "trusted images without a sandbox"

    async def start(self, view: View, command: list[str], log: Log, memory: int | None) -> Process:
        """Run `command` with the paths of `view`, but without a sandbox."""
        view.root.mkdir()
        child = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", PREPARE, "sh", *arguments(view, self), *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.defpath, "PROOT_VERBOSE": "-1"},
            cwd="/",
            umask=0o022,
        )
        return ProotProcess(child, child.pid, log, memory)


def find_proot() -> Proot | None:
    """The machine's proot, if it is installed."""
    program = shutil.which("proot")
    return Proot(program) if program else None


def arguments(view: View, proot: Proot) -> list[str]:
    """The command line up to the container's own command. Fills the folder `view.root` with what lies below the mounts."""
    out = [proot.program, "-r", str(view.root), "-i", f"{view.uid}:{view.gid}", "-w", view.workdir]
    for path in EMPTY:
        (view.root / path[1:]).mkdir(parents=True, exist_ok=True)
    for source, path in _binds(view):
        if os.path.exists(source):
            out += ["-b", f"{source}:{path}!"]
    return [*out, "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in view.env.items())]


def _binds(view: View) -> Iterator[tuple[str | Path, str]]:
    """(path on the host, path in the container), the outer ones first."""
    for path in ("/usr", *USERLAND, "/proc", "/dev"):
        yield path, path
    for name in ("resolv.conf", *ETC):
        yield f"/etc/{name}", f"/etc/{name}"
    for name in OWN_ETC:
        yield view.etc / name, f"/etc/{name}"
    for inside, outside in sorted(view.binds.items()):
        yield outside, inside
    for mount in sorted(view.mounts, key=lambda mount: mount.path.count("/")):
        place = view.root / mount.path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)  # proot's own stand-ins for missing folders cannot be listed
        if mount.fd is None:
            place.mkdir(exist_ok=True)
        else:
            yield Path(f"/proc/self/fd/{mount.fd}").readlink(), mount.path
    if view.termination_log:
        inside, file = view.termination_log
        yield file, inside
