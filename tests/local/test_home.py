from __future__ import annotations

from pathlib import Path

from local.home import free_port


def test_a_chosen_port_is_none_that_the_kernel_gives_to_connections() -> None:
    """Else another program's connection may have it when the one that it was chosen for starts, or starts again."""
    first, last = (int(n) for n in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in (free_port() for _ in range(50)) if first <= port <= last]
