"""Chooses the sandbox that containers get on this machine."""

from __future__ import annotations

from typing import Protocol

from local.runner.containers.bubblewrap import find_bubblewrap
from local.runner.containers.logs import Log
from local.runner.containers.process import Process
from local.runner.containers.proot import find_proot
from local.runner.containers.view import View

NO_SANDBOX = """this machine does not let ordinary users make namespaces, so it cannot isolate a container.
What may forbid it, and how to allow it (as root):
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    (Ubuntu 24.04 and later; or: apt install bubblewrap apparmor-profiles)
  sysctl -w kernel.unprivileged_userns_clone=1                (older Debian)
  sysctl -w user.max_user_namespaces=15000                    (where it is 0)
  docker run --security-opt seccomp=unconfined ...            (inside a Docker container)
Or use a Kubernetes cluster instead of the laptop runner. To run trusted images without any isolation, install proot and start with
--unsafe-no-sandbox or C2D_UNSAFE_NO_SANDBOX=1; local/runner/containers/proot.py lists what is lost."""


class Sandbox(Protocol):
    """A way to run a container."""

    @property
    def isolates(self) -> bool:
        """Whether it can run an image that is not trusted."""

    async def start(self, view: View, command: list[str], log: Log, memory: int | None) -> Process:
        """Run `command` in `view`, with `memory` bytes; raises StartFailed or OSError."""


def find_sandbox(unsafe: bool) -> Sandbox | None:
    """bubblewrap if it works here. Otherwise, if `unsafe`, proot if it is installed."""
    return find_bubblewrap() or (find_proot() if unsafe else None)
