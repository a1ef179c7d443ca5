"""The wait before a container that must have no network, beside a real listener on loopback."""

from __future__ import annotations

import socket
import threading

import pytest

from c2d_stages import isolated


@pytest.fixture(autouse=True)
def two_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])


def target(server: socket.socket) -> dict[str, str]:
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.getsockname()[1])}


def test_the_gate_fails_while_the_pod_reaches_the_api_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert isolated.wait(target(server), within=0.3) == 1


def test_the_gate_opens_once_the_api_server_is_out_of_reach() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    environment = target(server)
    closing = threading.Timer(0.2, server.close)
    closing.start()
    assert isolated.wait(environment) == 0
    closing.join()


def test_the_gate_opens_at_once_in_a_pod_without_network_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo")])
    assert isolated.wait({}) == 0


def test_the_gate_fails_if_the_api_servers_address_is_unknown() -> None:
    assert isolated.wait({}) == 1
