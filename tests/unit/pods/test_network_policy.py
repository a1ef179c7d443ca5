from __future__ import annotations

from typing import Any

import pytest
import yaml

from c2d.pods.network_policy import publish_policy
from c2d.settings.installation import read
from c2d.shared.addresses import NOT_PUBLIC_IPV4
from tests.unit.settings.test_installation import BASE

DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


def egress(resolve: Any = lambda host: ["10.1.2.3"], **variables: str) -> Any:
    policy = publish_policy(read({**BASE, **variables}), resolve)
    return policy and policy["spec"]["egress"]


def rule(address: str, port: int) -> dict[str, Any]:
    return {"to": [{"ipBlock": {"cidr": f"{address}/32"}}], "ports": [{"protocol": "TCP", "port": port}]}


def test_results_on_the_volume_need_no_network() -> None:
    assert egress() is None


@pytest.mark.parametrize(
    ("variables", "rules"),
    [
        ({"AWS_BUCKET_OUTPUT": "b", "AWS_ENDPOINT_URL": "http://10.1.2.3:9000"}, [rule("10.1.2.3", 9000)]),
        ({"AWS_BUCKET_OUTPUT": "b", "AWS_ENDPOINT_URL": "https://minio.example"}, [DNS, rule("10.1.2.3", 443)]),
        ({"IPFS_OUTPUT": "http://10.1.2.3:5001"}, [rule("10.1.2.3", 5001)]),
        (
            {"IPFS_TYPE": "CLUSTER", "IPFS_OUTPUT": "http://10.9.9.9:9094", "C2D_IPFS_ADD_URL": "http://10.1.2.3:5001"},
            [rule("10.1.2.3", 5001)],
        ),
        (
            {"AWS_BUCKET_OUTPUT": "b"},
            [
                DNS,
                {
                    "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NOT_PUBLIC_IPV4)}}],
                    "ports": [{"protocol": "TCP", "port": 443}],
                },
            ],
        ),
    ],
    ids=["address", "name", "kubo", "cluster", "amazon"],
)
def test_publish_reaches_its_store_and_nothing_else(variables: dict[str, str], rules: list[dict[str, Any]]) -> None:
    assert egress(lambda host: ["10.1.2.3"], **variables) == rules


def test_the_policy_allows_the_store_of_each_environment(tmp_path: Any) -> None:
    file = tmp_path / "environments.yaml"
    environments = [{"id": "a", "IPFS_OUTPUT": "http://10.0.0.1:5001"}, {"id": "b", "IPFS_OUTPUT": "http://10.0.0.2:5001"}]
    file.write_text(yaml.safe_dump({"environments": environments}))
    assert egress(lambda host: [host], C2D_ENVIRONMENTS=str(file)) == [rule("10.0.0.1", 5001), rule("10.0.0.2", 5001)]


def test_the_private_networks_are_those_that_configures_policy_excludes() -> None:
    from tests.conftest import ROOT

    documents = yaml.safe_load_all((ROOT / "helm_values/jobs-namespace/20-networkpolicy.yaml").read_text())
    policy = next(d for d in documents if d["metadata"]["name"] == "c2d-configure")
    assert tuple(policy["spec"]["egress"][1]["to"][0]["ipBlock"]["except"]) == NOT_PUBLIC_IPV4
