"""`python3 -m c2d_stages isolated`: ends with 0 once this pod is cut off from the network, with 1 if it is not after a while.

Runs before a container that must have no network. A cluster's policy controller may need a moment for each new pod, and one that
enforces nothing never gets there; the API server, which every pod is told of and could reach, is the sign. It is no stage and
writes no answer.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping

WITHIN_SECONDS = 120.0
CONNECT_SECONDS = 0.3
IN_A_ROW = 2
"""Refusals that count as cut off: one could be an accident."""


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def wait(environment: Mapping[str, str], within: float = WITHIN_SECONDS) -> int:
    """The exit code."""
    if [name for _, name in socket.if_nameindex()] == ["lo"]:
        return 0  # no interface leads anywhere
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        print("nothing tells where the API server is, so nothing shows that this pod is cut off", file=sys.stderr)
        return 1
    deadline, refusals = time.monotonic() + within, 0
    while refusals < IN_A_ROW:
        refusals = 0 if reaches(host, int(port)) else refusals + 1
        if time.monotonic() > deadline:
            print(f"after {within:g} s this pod still reaches the API server; does the cluster enforce NetworkPolicy?", file=sys.stderr)
            return 1
        time.sleep(0.03)
    return 0


def main() -> int:
    return wait(os.environ)
