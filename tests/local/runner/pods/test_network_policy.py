"""Network policies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from local.runner.pods.network_policy import egress_allowed, selects
from tests.local.runner.client import Cluster


def test_a_policy_selects_by_labels_and_by_expressions() -> None:
    expression = {"matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["configure", "publish"]}]}
    assert selects({}, {}) and selects(expression, {"stage": "algorithm"}) and not selects(expression, {"stage": "publish"})
    deny = {"spec": {"podSelector": expression, "policyTypes": ["Egress"]}}
    ingress = {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    allow = {"spec": {"podSelector": {"matchLabels": {"net": "yes"}}, "egress": [{}]}}
    assert egress_allowed([ingress], {"stage": "algorithm"})
    assert not egress_allowed([deny, ingress, allow], {"stage": "algorithm"})
    assert egress_allowed([deny, allow], {"stage": "algorithm", "net": "yes"})


@contextlib.contextmanager
def loopback_server() -> Iterator[tuple[int, list[bytes]]]:
    """A server on this machine's loopback that writes down what it is told."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        said.append(connection.recv(100))

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], said


def test_a_policy_without_egress_rules_cuts_off_the_network(cluster: Cluster) -> None:
    spec = {"podSelector": {"matchLabels": {"net": "none"}}, "policyTypes": ["Egress"]}
    cluster.net.create_namespaced_network_policy(cluster.namespace, {"metadata": {"name": "deny"}, "spec": spec})
    with loopback_server() as (port, said):
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3).sendall(b'hello')"
        control = cluster.python(code, labels={"net": "any"})
        assert (control.status.phase, said) == ("Succeeded", [b"hello"])
        attack = cluster.python(code, labels={"net": "none"})
        assert (attack.status.phase, said) == ("Failed", [b"hello"])
        assert "Connection refused" in cluster.log(attack)
    interfaces = cluster.python("import socket; print(socket.if_nameindex())", labels={"net": "none"})
    assert "'lo'" in cluster.log(interfaces) and "(2," not in cluster.log(interfaces)


def test_an_egress_rule_restores_the_network(cluster: Cluster) -> None:
    for name, extra in (("deny", {}), ("allow", {"egress": [{"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]}]})):
        spec = {"podSelector": {"matchLabels": {"stage": "configure"}}, "policyTypes": ["Egress"]} | extra
        cluster.net.create_namespaced_network_policy(cluster.namespace, {"metadata": {"name": name}, "spec": spec})
    with loopback_server() as (port, said):
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3).sendall(b'hello')"
        assert cluster.python(code, labels={"stage": "configure"}).status.phase == "Succeeded"
        assert said == [b"hello"]
