"""Label and field selectors."""

from __future__ import annotations

import pytest
from kubernetes import client

from tests.local.runner.client import Cluster, code_of


def test_lists_are_selected_by_labels_and_fields(cluster: Cluster) -> None:
    for name, labels in (("a", {"run": "1", "try": "1"}), ("b", {"run": "1", "try": "2"}), ("c", {"run": "2"})):
        cluster.create("true", name=name, labels=labels)

    def names(**selector: str) -> list[str]:
        return [pod.metadata.name for pod in cluster.core.list_namespaced_pod(cluster.namespace, **selector).items]

    assert names(label_selector="run=1") == ["a", "b"]
    assert names(label_selector="run=1,try!=2") == ["a"]
    assert names(label_selector="run,!try") == ["c"]
    assert names(label_selector="try!=1") == ["b", "c"]
    assert names(field_selector="metadata.name=b") == ["b"]
    for selector in ({"field_selector": "spec.nothing=1"}, {"label_selector": "run in (1,2)"}):
        with pytest.raises(client.ApiException) as error:
            names(**selector)
        assert code_of(error) == (400, "BadRequest")
