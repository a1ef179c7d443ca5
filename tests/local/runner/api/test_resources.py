"""Creating, reading and naming objects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client

from tests.local.runner.client import Cluster, code_of


def test_a_name_that_is_taken_is_409_and_a_missing_one_404(cluster: Cluster) -> None:
    cluster.config_map("one")
    with pytest.raises(client.ApiException) as error:
        cluster.config_map("one")
    assert code_of(error) == (409, "AlreadyExists")
    for call in (cluster.core.read_namespaced_pod, cluster.core.delete_namespaced_secret, cluster.core.read_namespaced_pod_log):
        with pytest.raises(client.ApiException) as error:
            call("nothing", cluster.namespace)
        assert code_of(error) == (404, "NotFound")


def test_a_new_object_gets_complete_metadata(cluster: Cluster) -> None:
    one, two = (cluster.config_map(name).metadata for name in ("one", "two"))
    assert (one.name, two.name) == ("one", "two") and one.uid != two.uid
    assert int(two.resource_version) > int(one.resource_version)
    assert one.creation_timestamp and one.namespace == cluster.namespace


@pytest.mark.parametrize(
    "options",
    [{"propagation_policy": "Orphan"}, {"dry_run": "All"}, {"body": {"preconditions": {"uid": "other"}}}],
)
def test_a_deletion_that_would_go_too_far_is_rejected(cluster: Cluster, options: dict[str, Any]) -> None:
    cluster.config_map("one")
    with pytest.raises(client.ApiException) as error:
        cluster.core.delete_namespaced_config_map("one", cluster.namespace, **options)
    assert code_of(error) == (400, "BadRequest")
    assert cluster.core.read_namespaced_config_map("one", cluster.namespace)


def test_a_dry_run_is_rejected(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as error:
        cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "one"}}, dry_run="All")
    assert code_of(error) == (400, "BadRequest")
    assert cluster.core.list_namespaced_config_map(cluster.namespace).items == []


def test_a_path_that_the_runner_does_not_serve_is_404(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as error:
        cluster.core.list_node()
    assert code_of(error) == (404, "NotFound")
    assert "GET /api/v1/nodes" in json.loads(error.value.body)["message"]


def test_a_body_that_is_no_json_object_is_400_and_a_huge_one_413(cluster: Cluster) -> None:
    for body, code in (("[]", 400), ("{", 400), (" " * (3 << 20) + "{}", 413)):
        assert cluster.raw("POST", f"/api/v1/namespaces/{cluster.namespace}/configmaps", body).status == code
