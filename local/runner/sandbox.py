"""How one container becomes a command line: the view of the file system that it gets, and the bubblewrap arguments for it.

Every function here is pure but for looking at which of the host's system folders exist.
"""

# paths here are text on a command line
from __future__ import annotations

import os
from dataclasses import dataclass, field

USERLAND = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
"""What programs commonly need of /etc; certificates but no private keys, and nothing that tells about the machine's users."""
EMPTY = ("/etc", "/etc/ssl", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/sys", "/tmp", "/var/tmp")


@dataclass(frozen=True)
class Mount:
    """Something at `path` in the container: an open file or folder of the host (`fd`), or a new tmpfs of `size` bytes."""

    path: str
    fd: int | None = None
    size: int | None = None
    read_only: bool = False


@dataclass(frozen=True)
class View:
    """All that a container can see and use of the host."""

    hostname: str
    uid: int
    gid: int
    network: bool
    """True: the host's network. False: an empty network namespace with nothing but its own loopback."""
    etc: str
    """Folder of the host with the files made for this container: passwd, group, hosts, hostname, nsswitch.conf."""
    binds: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    answer: tuple[str, str] | None = None
    """Where the container writes its termination message, and the host's file for it."""
    scratch: int | None = None
    """Bytes of the writable /tmp that a container with a writable root gets; None: the root is read-only throughout."""


@dataclass(frozen=True)
class Bubblewrap:
    """A bubblewrap that works on this machine, and what it can do here."""

    program: str
    user_namespace: bool = True
    """False: this machine lets only root make namespaces, and the runner is root; containers then keep uid 0, without capabilities."""
    nested: bool = False
    """True: containers could make user namespaces of their own, for this bubblewrap or kernel cannot forbid it."""


def arguments(view: View, bubblewrap: Bubblewrap, status_fd: int, block_fd: int) -> list[str]:
    """bubblewrap's options for a container, without the program and the command.

    They hold the pod's environment, so they go through `--args`, not where every user of the machine can read them. The environment
    is never bubblewrap's own: LD_PRELOAD from a pod would act outside the sandbox.
    """
    out = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", view.hostname[:63]]
    if bubblewrap.user_namespace:
        out += ["--unshare-user", "--uid", str(view.uid), "--gid", str(view.gid)]
        out += [] if bubblewrap.nested else ["--disable-userns"]
    # the command is process 1, as in a container: signals without a handler do not reach it, and its end ends everything
    out += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL", "--clearenv"]
    out += [] if view.network else ["--unshare-net"]
    out += ["--json-status-fd", str(status_fd), "--block-fd", str(block_fd)]
    out += _userland(view)
    for inside, outside in sorted(view.binds.items()):
        out += ["--ro-bind", outside, inside]
    out += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/dev/shm"]
    taken = {mount.path for mount in view.mounts}
    if view.scratch is not None:
        for path in {"/tmp", "/var/tmp"} - taken:
            out += ["--perms", "1777", "--size", str(view.scratch), "--tmpfs", path]
    if not any(is_within(view.workdir, path) for path in (*taken, *view.binds, "/usr", "/proc", "/dev")):
        out += ["--dir", view.workdir]
    # a mount below another one comes after it
    for mount in sorted(view.mounts, key=lambda mount: mount.path.count("/")):
        if mount.fd is None:
            out += ["--perms", "1777", "--size", str(mount.size), "--tmpfs", mount.path]
            out += ["--remount-ro", mount.path] if mount.read_only else []
        else:
            out += ["--ro-bind-fd" if mount.read_only else "--bind-fd", str(mount.fd), mount.path]
    if view.answer:
        out += ["--bind", view.answer[1], view.answer[0]]
    out += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", view.workdir]
    for key, value in view.env.items():
        out += ["--setenv", key, value]
    return out


def _userland(view: View) -> list[str]:
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
    for name in ("passwd", "group", "hosts", "hostname", "nsswitch.conf"):
        out += ["--ro-bind", f"{view.etc}/{name}", f"/etc/{name}"]
    if view.network:
        out += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    return out


def etc_files(uid: int, gid: int, hostname: str, aliases: list[dict]) -> dict[str, str]:
    """Name -> content of the /etc files that are made for a container. `aliases`: the pod's hostAliases."""
    users = {0: "root:x:0:0:root:/root:/bin/sh", 65534: "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"}
    groups = {0: "root:x:0:", 65534: "nogroup:x:65534:"}
    users.setdefault(uid, f"c2d:x:{uid}:{gid}:c2d:/:/bin/sh")
    groups.setdefault(gid, f"c2d:x:{gid}:")
    hosts = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost"]
    hosts += [f"{alias['ip']}\t{' '.join(alias.get('hostnames') or [])}" for alias in aliases]
    return {
        "passwd": "".join(f"{line}\n" for line in users.values()),
        "group": "".join(f"{line}\n" for line in groups.values()),
        "hosts": "".join(f"{line}\n" for line in hosts),
        "hostname": f"{hostname}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
