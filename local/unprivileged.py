"""`python -m local.unprivileged COMMAND...`: run a command that refuses to run as root (PostgreSQL does), when this is root.

In a user namespace of its own the command has another uid and no rights over anything but this user's own files, and still reads and
writes those as before. So no account is created and no directory is opened to others. Where the kernel forbids that, root becomes `nobody`.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
NOBODY = 65534


def needed() -> bool:
    """PostgreSQL refuses to run as root, and initdb as a user whom the machine does not know."""
    if os.geteuid() == 0:
        return True
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return False


def enter_namespace() -> None:
    """Become a known, ordinary uid in a new user namespace. Raises OSError where the kernel does not allow that."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    known = next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid), 1000)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "the kernel allows no user namespace here")
    for file, text in (("setgroups", "deny"), ("uid_map", f"{known} {uid} 1"), ("gid_map", f"{known} {gid} 1")):
        Path(f"/proc/self/{file}").write_text(text)


def namespace_possible() -> bool:
    child = os.fork()
    if child == 0:
        try:
            enter_namespace()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


if __name__ == "__main__":
    if sys.argv[1] == "--nobody":
        del sys.argv[1]
        become_nobody()
    else:
        enter_namespace()
    # a change of credentials has cleared what the parent had set
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])
