"""`python3 -m c2d_stages isolated`: wait until this pod is cut off from the network. Exit code 0 once it is, 1 if it is not in time.

An init container runs this before a container that must have no network. A policy controller may need a moment for each new pod, and some
clusters enforce no policy at all. Every pod gets the address of the API server and could reach it, so the test is whether it still can.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping

WITHIN_SECONDS = 120.0
CONNECT_SECONDS = 0.3
IN_A_ROW = 2
"""Failed connections that count as cut off. A single one could be an accident."""


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def wait(environment: Mapping[str, str], within: float = WITHIN_SECONDS) -> int:
    """Wait until the API server that `environment` names is out of reach, for at most `within` seconds. Returns the exit code."""
    if [name for _, name in socket.if_nameindex()] == ["lo"]:
        return 0  # no interface leads anywhere
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        print("KUBERNETES_SERVICE_HOST is not set, so there is no way to see that this pod is cut off", file=sys.stderr)
        return 1
    deadline, failures = time.monotonic() + within, 0
    while failures < IN_A_ROW:
        failures = 0 if reaches(host, int(port)) else failures + 1
        if time.monotonic() > deadline:
            print(f"this pod still reaches the API server after {within:g} s; does the cluster enforce NetworkPolicy?", file=sys.stderr)
            return 1
        time.sleep(0.03)
    return 0


def main() -> int:
    return wait(os.environ)
