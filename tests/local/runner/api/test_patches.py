"""What a PATCH can change."""

from __future__ import annotations

import pytest
from kubernetes import client

from local.runner.api.patches import patched
from tests.local.runner.client import Cluster, code_of


def test_a_patch_changes_metadata_but_not_the_spec_of_a_pod(cluster: Cluster) -> None:
    pod = cluster.create("true")
    name = pod.metadata.name
    patched = cluster.core.patch_namespaced_pod(name, cluster.namespace, {"metadata": {"labels": {"already_checked": "True"}}})
    assert patched.metadata.labels == {"already_checked": "True"}
    annotated = cluster.core.patch_namespaced_pod(name, cluster.namespace, {"metadata": {"annotations": {"a/b": "c"}, "uid": "other"}})
    assert (annotated.metadata.annotations, annotated.metadata.labels) == ({"a/b": "c"}, {"already_checked": "True"})
    assert annotated.metadata.uid == pod.metadata.uid
    with pytest.raises(client.ApiException) as error:
        cluster.core.patch_namespaced_pod(name, cluster.namespace, {"spec": {"priority": 5}})
    assert code_of(error) == (422, "Invalid")


def test_a_pods_deadline_can_be_shortened_and_not_extended(cluster: Cluster) -> None:
    pod = cluster.until_running(cluster.create("sh", "-c", "trap 'exit 7' TERM; sleep 60 & wait", activeDeadlineSeconds=600))
    for seconds, good in ((601, False), (0, False), (1, True)):
        change = {"spec": {"activeDeadlineSeconds": seconds}}
        if good:
            cluster.core.patch_namespaced_pod(pod.metadata.name, cluster.namespace, change)
            continue
        with pytest.raises(client.ApiException) as error:
            cluster.core.patch_namespaced_pod(pod.metadata.name, cluster.namespace, change)
        assert code_of(error) == (422, "Invalid")
    assert cluster.until_end(pod).status.reason == "DeadlineExceeded"


def test_a_json_patch_is_415(cluster: Cluster) -> None:
    cluster.config_map("one")
    with pytest.raises(client.ApiException) as error:
        cluster.core.patch_namespaced_config_map("one", cluster.namespace, [{"op": "add", "path": "/data", "value": {"a": "b"}}])
    assert code_of(error) == (415, "UnsupportedMediaType")


def test_null_removes_a_field_and_lists_are_replaced() -> None:
    old = {"metadata": {"name": "x", "labels": {"a": "1", "b": "2"}}, "list": [1, 2]}
    patch = {"metadata": {"labels": {"a": None, "c": "3"}}, "list": [3], "new": {"deep": {"x": None, "y": 1}}}
    expected = {"metadata": {"name": "x", "labels": {"b": "2", "c": "3"}}, "list": [3], "new": {"deep": {"y": 1}}}
    assert patched(old, patch) == expected
    assert old["list"] == [1, 2] and "c" not in old["metadata"]["labels"]  # type: ignore[index]


def test_immutable_data_stays(cluster: Cluster) -> None:
    cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "one"}, "data": {"a": "1"}, "immutable": True})
    with pytest.raises(client.ApiException) as error:
        cluster.core.patch_namespaced_config_map("one", cluster.namespace, {"data": {"a": "2"}})
    assert code_of(error) == (422, "Invalid")
