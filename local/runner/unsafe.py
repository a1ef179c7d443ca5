"""Where the kernel allows no namespaces: trusted images only, under `proot`, and only when the operator asks for it in words.

proot (from the distribution: `apt install proot`) gives a program other paths by tracing it, so that /data and /c2d exist. It isolates
nothing. Lost are: the cut network, read-only mounts and root, sizes of tmpfs, the process namespace (what a container leaves behind
lives on), capabilities and users. Limits on memory and time still hold, as far as polling goes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .sandbox import EMPTY, ETC, USERLAND, View

WARNING = (
    "WARNING: no sandbox. Containers are ordinary programs of yours that see other paths (proot): they have your network, can write to "
    "what is mounted read-only and can reach all that you can reach. Only images marked `trusted` run; others are refused"
)


@dataclass(frozen=True)
class Proot:
    """proot instead of bubblewrap."""

    program: str


def find_proot() -> Proot | None:
    program = shutil.which("proot")
    return Proot(program) if program else None


def arguments(view: View, proot: Proot, root: Path) -> list[str]:
    """The command line up to the container's own command. Makes `root`, an empty folder, into what lies under the mounts."""
    out = [proot.program, "-r", str(root), "-i", f"{view.uid}:{view.gid}", "-w", view.workdir]

    def bind(source: str, path: str) -> None:
        if os.path.exists(source):
            out.extend(("-b", f"{source}:{path}!"))

    for path in EMPTY:
        (root / path[1:]).mkdir(parents=True, exist_ok=True)
    for path in ("/usr", *USERLAND, "/proc", "/dev"):
        bind(path, path)
    for name in ("resolv.conf", *ETC):
        bind(f"/etc/{name}", f"/etc/{name}")
    for name in ("passwd", "group", "hosts", "hostname", "nsswitch.conf"):
        bind(f"{view.etc}/{name}", f"/etc/{name}")
    for inside, outside in sorted(view.binds.items()):
        bind(outside, inside)
    for mount in sorted(view.mounts, key=lambda mount: mount.path.count("/")):
        place = root / mount.path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)  # proot's own stand-ins for missing folders cannot be listed
        if mount.fd is None:
            place.mkdir(exist_ok=True)
        else:
            bind(str(Path(f"/proc/self/fd/{mount.fd}").readlink()), mount.path)
    if view.answer:
        bind(view.answer[1], view.answer[0])
    return [*out, "/usr/bin/env", "-i", *(f"{key}={value}" for key, value in view.env.items())]
