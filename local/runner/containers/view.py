"""What a container sees of the machine: its file system, variables, user and network. The two sandboxes turn a View into a command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USERLAND = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""The system's folders beside /usr; symbolic links into it on most machines."""
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
"""What programs commonly need of /etc: certificates but no private keys, and nothing about the machine's users."""
OWN_ETC = ("passwd", "group", "hosts", "hostname", "nsswitch.conf")
"""The files of /etc that each container has of its own (:func:`etc_files`)."""
EMPTY = ("/etc", "/etc/ssl", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/sys", "/tmp", "/var/tmp")
"""Folders that every container has, empty but for what is mounted there."""


@dataclass(frozen=True)
class Mount:
    """What is mounted at `path` in the container: an open file or folder of the host (`fd`), or a new tmpfs of `size` bytes."""

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
    """True: the host's network. False: a network namespace of its own, with nothing but a loopback."""
    etc: Path
    """Folder of the host with the container's own files of /etc."""
    root: Path
    """A path on the host where a sandbox without a file system of its own may make one."""
    binds: dict[str, str] = field(default_factory=dict)
    """What the image brings, read-only: path in the container -> path on the host."""
    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    termination_log: tuple[str, Path] | None = None
    """Where the container writes its termination message, and the file on the host that this is."""
    scratch: int | None = None
    """Bytes of a writable /tmp, for a container that may write to its root; None: everything but its mounts is read-only."""

    def close(self) -> None:
        """Close the files and folders of the mounts. The container keeps its own."""
        for mount in self.mounts:
            if mount.fd is not None:
                os.close(mount.fd)


def etc_files(uid: int, gid: int, hostname: str, host_aliases: list[dict[str, Any]]) -> dict[str, str]:
    """The container's own files of /etc: name -> content. `host_aliases` is the pod's hostAliases."""
    users = {0: "root:x:0:0:root:/root:/bin/sh", 65534: "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"}
    groups = {0: "root:x:0:", 65534: "nogroup:x:65534:"}
    users.setdefault(uid, f"c2d:x:{uid}:{gid}:c2d:/:/bin/sh")
    groups.setdefault(gid, f"c2d:x:{gid}:")
    hosts = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost"]
    hosts += [f"{alias['ip']}\t{' '.join(alias.get('hostnames') or [])}" for alias in host_aliases]
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
