"""TCP ports of this machine."""

import secrets
import socket
from pathlib import Path


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a program could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def free_port(address: str = "127.0.0.1") -> int:
    """A free port outside the range that the kernel uses for outgoing connections.

    So no other program's connection takes it before the service that it was chosen for has started, or while that service restarts.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(20000, first if first > 22000 else 60000)
    while not is_free(port := secrets.choice(ports), address):
        pass
    return port
