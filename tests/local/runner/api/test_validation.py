"""What the API rejects."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.local.runner.client import Cluster, code_of


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "Not_A_Name"}},
        {"metadata": {"name": "x", "labels": {"a": "not valid!"}}},
        {"metadata": {"name": "x", "labels": {"a": "v" * 64}}},
        {"spec": {"restartPolicy": "Always", "containers": [{"name": "b", "image": "i"}]}},
        {"spec": {"restartPolicy": "Never", "containers": []}},
        {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "b", "image": "i", "volumeMounts": [{"name": "no", "mountPath": "/x"}]}],
            }
        },
        {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "b", "image": "i"}],
                "volumes": [{"name": "h", "hostPath": {"path": "/"}}],
            }
        },
        {"spec": {"restartPolicy": "Never", "containers": [{"name": "b", "image": "i", "resources": {"limits": {"memory": "much"}}}]}},
    ],
)
def test_an_invalid_pod_is_rejected(cluster: Cluster, change: dict[str, Any]) -> None:
    with pytest.raises(client.ApiException) as error:
        cluster.core.create_namespaced_pod(cluster.namespace, cluster.manifest("true", name="x") | change)
    assert code_of(error) == (422, "Invalid")
