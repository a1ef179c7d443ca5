"""`python -m local.unprivileged COMMAND...`: run a command that refuses to run as root (PostgreSQL does), when this is root.

In a user namespace of its own the command has uid 1000 and no rights over anything but this user's own files, and still reads and
writes those as before. So no account is created and no directory is opened to others.
"""

import ctypes
import os
import signal
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


def enter() -> None:
    """Become uid 1000 in a new user namespace. Raises OSError where the kernel does not allow that."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "the kernel allows no user namespace here")
    for file, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open(f"/proc/self/{file}", "w") as handle:
            handle.write(text)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)  # a change of credentials has cleared what the parent had set


def possible() -> bool:
    child = os.fork()
    if child == 0:
        try:
            enter()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    enter()
    os.execvp(sys.argv[1], sys.argv[1:])
