from __future__ import annotations

import socket
from pathlib import Path

import pytest

from local.home import Home, StackError
from local.ports import free_port, is_free


def test_a_free_port_is_outside_the_kernels_range_for_outgoing_connections() -> None:
    """Otherwise another program's connection could take it before its service starts, or while that restarts."""
    first, last = (int(number) for number in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in (free_port() for _ in range(50)) if first <= port <= last]


def test_a_port_that_a_program_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_a_stack_keeps_its_ports_unless_another_program_has_taken_one(tmp_path: Path) -> None:
    stack = Home(tmp_path)
    ports = stack.ports()
    assert stack.ports() == ports
    with socket.create_server(("127.0.0.1", ports["airflow"])):
        moved = stack.ports()
    assert moved["airflow"] != ports["airflow"]
    assert {**moved, "airflow": 0} == {**ports, "airflow": 0}


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http"])
def test_a_port_variable_that_is_no_port_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("C2D_PORT", text)
    with pytest.raises(StackError, match=f"C2D_PORT={text} is not a port"):
        Home(tmp_path).ports()


def test_a_port_variable_that_names_a_used_port_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("C2D_RUNNER_PORT", str(server.getsockname()[1]))
        with pytest.raises(StackError, match=r"\(C2D_RUNNER_PORT\) is in use"):
            Home(tmp_path).ports()
