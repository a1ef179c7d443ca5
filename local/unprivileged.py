"""`python -m local.unprivileged COMMAND...`: lets root run a command that refuses to run as root, such as PostgreSQL.

The command runs in a user namespace of its own: it has another uid there, and rights only over this user's own files. So no account has
to be created and no folder opened to others. If the kernel does not allow user namespaces, the command runs as the user `nobody`.
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
    """Whether PostgreSQL would refuse to run as this user: it does as root, and initdb does as a uid without a user name."""
    if os.geteuid() == 0:
        return True
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return False


def enter_namespace() -> None:
    """Become an ordinary user with a name, in a new user namespace.

    :raises OSError: the kernel does not allow that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    known = next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid), 1000)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not allow user namespaces")
    for file, text in (("setgroups", "deny"), ("uid_map", f"{known} {uid} 1"), ("gid_map", f"{known} {gid} 1")):
        Path(f"/proc/self/{file}").write_text(text)


def namespace_possible() -> bool:
    """Whether :func:`enter_namespace` works here, tried in a child process."""
    child = os.fork()
    if child == 0:
        try:
            enter_namespace()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def become_nobody() -> None:
    """Give up root for the user `nobody`."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


if __name__ == "__main__":
    if sys.argv[1] == "--nobody":
        del sys.argv[1]
        become_nobody()
    else:
        enter_namespace()
    # again: the change of credentials has cleared the signal that the supervisor had set
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])
