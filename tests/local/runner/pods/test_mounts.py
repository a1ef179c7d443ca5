"""What a container mounts, and how it sees it."""

from __future__ import annotations

from tests.local.runner.client import Cluster, waiting_reason


def test_secret_files_are_mounted_by_item_and_subpath_read_only(cluster: Cluster) -> None:
    cluster.secret("stage", **{"stage.json": '{"job": 1}', "other": "hidden"})
    volume = {
        "name": "c2d",
        "secret": {"secretName": "stage", "defaultMode": 0o400, "items": [{"key": "stage.json", "path": "a/stage.json"}]},
    }
    mounts = [{"name": "c2d", "mountPath": "/c2d/stage.json", "subPath": "a/stage.json", "readOnly": True}]
    script = "cat /c2d/stage.json; stat -c ' %a' /c2d/stage.json; ls /c2d; echo x > /c2d/stage.json; rm /c2d/stage.json"
    pod = cluster.run("sh", "-c", script, volumes=[volume], container={"volumeMounts": mounts})
    assert pod.status.phase == "Failed"
    assert cluster.log(pod).startswith('{"job": 1} 400\nstage.json\n')
    assert "Read-only file system" in cluster.log(pod)


def test_a_claim_passes_files_from_pod_to_pod_and_honours_subpath_and_read_only(cluster: Cluster) -> None:
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": cluster.claim("job").metadata.name}}]
    assert cluster.core.read_namespaced_persistent_volume_claim("job", cluster.namespace).status.phase == "Bound"
    all_of_it = {"volumeMounts": [{"name": "job", "mountPath": "/data"}]}
    cluster.run("sh", "-c", "mkdir /data/inputs; echo 42 > /data/inputs/0", volumes=volumes, container=all_of_it)
    mounts = [
        {"name": "job", "mountPath": "/data/inputs", "subPath": "inputs", "readOnly": True},
        {"name": "job", "mountPath": "/data/outputs", "subPath": "outputs"},
    ]
    script = "cat /data/inputs/0; ls /data; echo y > /data/outputs/y; echo x > /data/inputs/x"
    pod = cluster.run("sh", "-c", script, volumes=volumes, container={"volumeMounts": mounts})
    assert cluster.log(pod).startswith("42\ninputs\noutputs\n")
    assert "/data/inputs/x: Read-only file system" in cluster.log(pod)
    assert (
        cluster.log(cluster.run("find", "/data", "-type", "f", volumes=volumes, container=all_of_it)) == "/data/outputs/y\n/data/inputs/0\n"
    )


def test_a_subpath_that_is_a_symbolic_link_is_not_mounted(cluster: Cluster) -> None:
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": cluster.claim("job").metadata.name}}]
    link = {"volumeMounts": [{"name": "job", "mountPath": "/data"}]}
    cluster.run("ln", "-s", "/etc", "/data/outputs", volumes=volumes, container=link)
    through = {"volumeMounts": [{"name": "job", "mountPath": "/data/outputs", "subPath": "outputs"}]}
    pod = cluster.create("ls", "/data/outputs", volumes=volumes, container=through)
    waiting = cluster.until(pod, lambda pod: waiting_reason(pod) == "CreateContainerConfigError")
    assert "symbolic link" in waiting.status.container_statuses[0].state.waiting.message


def test_an_empty_dir_is_writable_and_bounded(cluster: Cluster) -> None:
    volumes = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]
    container = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}], "securityContext": {"readOnlyRootFilesystem": True}}
    pod = cluster.run("sh", "-c", "echo ok > /tmp/a; cat /tmp/a; head -c 2000000 /dev/zero > /tmp/b", volumes=volumes, container=container)
    assert (pod.status.phase, cluster.log(pod).splitlines()[0]) == ("Failed", "ok")
    assert "No space left on device" in cluster.log(pod)
