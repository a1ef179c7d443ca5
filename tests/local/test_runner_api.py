"""The API's own rules: errors, watches, deletion, owners, the token, restarts."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from kubernetes import client, config, watch

from tests.runner_client import Cluster, Runner


def code_of(error: pytest.ExceptionInfo[client.ApiException]) -> tuple[int, str]:
    return error.value.status, json.loads(error.value.body)["reason"]


def test_a_request_without_the_token_is_refused(runner: Runner) -> None:
    settings = config.new_client_from_config(str(runner.kubeconfig)).configuration
    trust = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for path in ("/api/v1/namespaces/default/pods", "/version", "/nothing"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(settings.host + path, headers=headers), context=trust)
            assert refused.value.code == 401
            assert json.load(refused.value)["reason"] == "Unauthorized"
    assert runner.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert settings.host.startswith("https://127.0.0.1:")


def test_an_existing_name_is_409_and_a_missing_one_404(cluster: Cluster) -> None:
    cluster.config_map("one")
    with pytest.raises(client.ApiException) as error:
        cluster.config_map("one")
    assert code_of(error) == (409, "AlreadyExists")
    for call in (cluster.core.read_namespaced_pod, cluster.core.delete_namespaced_secret, cluster.core.read_namespaced_pod_log):
        with pytest.raises(client.ApiException) as error:
            call("nothing", cluster.namespace)
        assert code_of(error) == (404, "NotFound")


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
def test_a_bad_pod_is_422(cluster: Cluster, change: dict) -> None:
    with pytest.raises(client.ApiException) as error:
        cluster.core.create_namespaced_pod(cluster.namespace, cluster.manifest("true", name="x") | change)
    assert code_of(error) == (422, "Invalid")


def test_metadata_is_complete_and_names_can_be_generated(cluster: Cluster) -> None:
    body = {"metadata": {"generateName": "job-"}}
    one, two = (cluster.core.create_namespaced_config_map(cluster.namespace, body).metadata for _ in range(2))
    assert one.name.startswith("job-") and one.name != two.name and one.uid != two.uid
    assert int(two.resource_version) > int(one.resource_version)
    assert one.creation_timestamp and one.namespace == cluster.namespace


def test_lists_are_selected_by_labels_and_fields(cluster: Cluster) -> None:
    for name, labels in (("a", {"run": "1", "try": "1"}), ("b", {"run": "1", "try": "2"}), ("c", {"run": "2"})):
        cluster.create("true", name=name, labels=labels)

    def names(**selector: str) -> list[str]:
        return [pod.metadata.name for pod in cluster.core.list_namespaced_pod(cluster.namespace, **selector).items]

    assert names(label_selector="run=1") == ["a", "b"]
    assert names(label_selector="run=1,try!=2") == ["a"]
    assert names(label_selector="run in (1,2),!try") == ["c"]
    assert names(label_selector="try notin (1)") == ["b", "c"]
    assert names(field_selector="metadata.name=b") == ["b"]
    with pytest.raises(client.ApiException) as error:
        names(field_selector="spec.nothing=1")
    assert code_of(error) == (400, "BadRequest")


def test_a_watch_tells_what_begins_and_stops_to_match(cluster: Cluster) -> None:
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


def test_patches_change_metadata_but_not_a_pods_spec(cluster: Cluster) -> None:
    pod = cluster.create("true")
    name = pod.metadata.name
    patched = cluster.core.patch_namespaced_pod(name, cluster.namespace, {"metadata": {"labels": {"already_checked": "True"}}})
    assert patched.metadata.labels == {"already_checked": "True"}
    steps = [{"op": "add", "path": "/metadata/annotations", "value": {"a/b": "c"}}]
    assert cluster.core.patch_namespaced_pod(name, cluster.namespace, steps).metadata.annotations == {"a/b": "c"}
    with pytest.raises(client.ApiException) as error:
        cluster.core.patch_namespaced_pod(name, cluster.namespace, {"spec": {"priority": 5}})
    assert code_of(error) == (422, "Invalid")


def test_a_pods_deadline_comes_nearer_and_no_further(cluster: Cluster) -> None:
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


def test_a_stale_update_is_a_conflict(cluster: Cluster) -> None:
    old = cluster.config_map("one", a="1")
    old.data = {"a": "2"}
    cluster.core.replace_namespaced_config_map("one", cluster.namespace, old)
    with pytest.raises(client.ApiException) as error:
        cluster.core.replace_namespaced_config_map("one", cluster.namespace, old)
    assert code_of(error) == (409, "Conflict")


def test_what_an_owner_owns_goes_with_it(cluster: Cluster, runner: Runner) -> None:
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


def test_a_pod_created_for_an_owner_that_is_gone_goes_too(cluster: Cluster) -> None:
    owner = cluster.config_map("owner")
    cluster.core.delete_namespaced_config_map("owner", cluster.namespace)
    pod = cluster.create("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait", owner=owner, terminationGracePeriodSeconds=1)
    cluster.until_gone(pod)


def test_a_claim_in_use_waits_for_its_pod(cluster: Cluster) -> None:
    cluster.claim("job")
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": "job"}}]
    pod = cluster.until_running(cluster.create("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait", volumes=volumes))
    cluster.core.delete_namespaced_persistent_volume_claim("job", cluster.namespace)
    assert cluster.core.read_namespaced_persistent_volume_claim("job", cluster.namespace).metadata.deletion_timestamp
    deleted = cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=2)
    cluster.until_gone(deleted)
    assert cluster.core.list_namespaced_persistent_volume_claim(cluster.namespace).items == []


def test_a_pod_waits_for_its_claim(cluster: Cluster) -> None:
    pod = cluster.create("true", volumes=[{"name": "job", "persistentVolumeClaim": {"claimName": "late"}}])
    conditions = cluster.until(pod, lambda pod: bool(pod.status.conditions)).status.conditions
    assert {one.type: one.status for one in conditions}["PodScheduled"] == "False"
    cluster.claim("late")
    assert cluster.until_end(pod).status.phase == "Succeeded"


def test_a_collection_is_deleted_by_selector(cluster: Cluster) -> None:
    for name in ("a", "b"):
        cluster.until_end(cluster.create("true", name=name, labels={"name": name}))
    cluster.core.delete_collection_namespaced_pod(cluster.namespace, label_selector="name=a")
    assert [pod.metadata.name for pod in cluster.core.list_namespaced_pod(cluster.namespace).items] == ["b"]


def test_a_deleted_namespace_takes_its_contents_along(cluster: Cluster) -> None:
    cluster.core.create_namespace({"metadata": {"name": f"{cluster.namespace}-2"}})
    cluster.core.create_namespaced_config_map(f"{cluster.namespace}-2", {"metadata": {"name": "one"}})
    cluster.core.delete_namespace(f"{cluster.namespace}-2")
    assert cluster.core.list_namespaced_config_map(f"{cluster.namespace}-2").items == []


def test_sigterm_ends_every_container_and_a_restart_keeps_what_there_was(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    cluster = Cluster(runner.kubeconfig, "c2d-jobs")
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": cluster.claim("job").metadata.name}}]
    mount = {"volumeMounts": [{"name": "job", "mountPath": "/data"}]}
    done = cluster.run("sh", "-c", "echo kept; echo 1 > /data/file", name="done", volumes=volumes, container=mount)
    lost = cluster.until_running(cluster.create("sleep", "987", name="lost"))
    assert runner.stop() == 0
    assert not runner.kubeconfig.exists()
    assert not [cmd for cmd in Path("/proc").glob("[0-9]*/cmdline") if _read(cmd) == b"sleep\x00987\x00"]
    runner.start()
    cluster = Cluster(runner.kubeconfig, "c2d-jobs")
    assert cluster.log(done) == "kept\n"
    assert cluster.core.read_namespaced_pod(lost.metadata.name, "c2d-jobs").status.phase == "Failed"
    assert cluster.log(cluster.run("cat", "/data/file", volumes=volumes, container=mount)) == "1\n"
    runner.stop()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
