"""Watches."""

from __future__ import annotations

import threading

import pytest
from kubernetes import client, watch

from tests.local.runner.client import Cluster


def test_a_watch_reports_objects_that_start_and_stop_matching_its_selector(cluster: Cluster) -> None:
    first = cluster.config_map("first")
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        options = {"label_selector": "on=yes", "resource_version": first.metadata.resource_version, "timeout_seconds": 10}
        stream = watch.Watch()
        for event in stream.stream(cluster.core.list_namespaced_config_map, cluster.namespace, **options):
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 4:
                stream.stop()

    watcher = threading.Thread(target=follow)
    watcher.start()
    for labels in ({"on": "yes"}, {"x": "y"}, {"on": None}, {"on": "yes"}):
        cluster.core.patch_namespaced_config_map("first", cluster.namespace, {"metadata": {"labels": labels}})
    watcher.join(10)
    assert seen == [("ADDED", "first"), ("MODIFIED", "first"), ("DELETED", "first"), ("ADDED", "first")]


def test_a_watch_from_too_old_a_version_is_410(cluster: Cluster) -> None:
    with pytest.raises(client.ApiException) as error:
        for _ in watch.Watch().stream(cluster.core.list_namespaced_pod, cluster.namespace, resource_version="1", timeout_seconds=3):
            pass
    assert error.value.status == 410
