"""What deleting an object deletes."""

from __future__ import annotations

from tests.local.runner.client import Cluster, Runner


def test_deleting_an_owner_deletes_its_dependents_and_volumes(cluster: Cluster, runner: Runner) -> None:
    owner = cluster.config_map("owner")
    claim = cluster.claim("job", owner=owner)
    folder = runner.state / "volumes" / claim.metadata.uid
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": "job"}}]
    script = "trap 'exit 0' TERM; mkdir -p /data/locked/deep; chmod 0 /data/locked; sleep 60 & wait"
    mount = {"volumeMounts": [{"name": "job", "mountPath": "/data"}]}
    pod = cluster.until_running(
        cluster.create("sh", "-c", script, owner=owner, volumes=volumes, container=mount, terminationGracePeriodSeconds=1)
    )
    cluster.config_map("other", owner=owner)
    kept = cluster.config_map("kept")
    assert folder.is_dir()
    cluster.core.delete_namespaced_config_map("owner", cluster.namespace, propagation_policy="Background")
    cluster.until_gone(pod)
    assert [one.metadata.name for one in cluster.core.list_namespaced_config_map(cluster.namespace).items] == [kept.metadata.name]
    assert cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace).items == []
    assert not folder.exists()


def test_a_pod_whose_owner_no_longer_exists_is_deleted(cluster: Cluster) -> None:
    owner = cluster.config_map("owner")
    cluster.core.delete_namespaced_config_map("owner", cluster.namespace)
    pod = cluster.create("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait", owner=owner, terminationGracePeriodSeconds=1)
    cluster.until_gone(pod)


def test_a_claim_in_use_is_deleted_after_its_pod(cluster: Cluster) -> None:
    cluster.claim("job")
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": "job"}}]
    pod = cluster.until_running(cluster.create("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait", volumes=volumes))
    cluster.core.delete_namespaced_persistent_volume_claim("job", cluster.namespace)
    assert cluster.core.read_namespaced_persistent_volume_claim("job", cluster.namespace).metadata.deletion_timestamp
    deleted = cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=2)
    cluster.until_gone(deleted)
    assert cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace).items == []


def test_deleting_a_namespace_deletes_its_contents(cluster: Cluster) -> None:
    cluster.core.create_namespace({"metadata": {"name": f"{cluster.namespace}-2"}})
    cluster.core.create_namespaced_config_map(f"{cluster.namespace}-2", {"metadata": {"name": "one"}})
    cluster.core.delete_namespace(f"{cluster.namespace}-2")
    assert cluster.core.list_namespaced_config_map(f"{cluster.namespace}-2").items == []
