"""Pods on the laptop runner, driven by the official Kubernetes client."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.runner_client import Cluster, terminated


def test_a_pod_runs_and_leaves_its_exit_code_message_and_log(cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "echo out; echo err >&2; printf '{\"ok\": true}' > /dev/termination-log; exit 3")
    assert pod.status.phase == "Failed"
    assert (terminated(pod).exit_code, terminated(pod).reason, terminated(pod).message) == (3, "Error", '{"ok": true}')
    assert cluster.log(pod) == "out\nerr\n"


def test_a_pod_that_does_nothing_succeeds(cluster: Cluster) -> None:
    pod = cluster.run("true")
    assert (pod.status.phase, terminated(pod).reason) == ("Succeeded", "Completed")


def test_events_tell_the_way_of_a_pod(cluster: Cluster) -> None:
    pod = cluster.run("true")
    events = cluster.core.list_namespaced_event(cluster.namespace, field_selector=f"involvedObject.name={pod.metadata.name}").items
    assert [event.reason for event in events] == ["Scheduled", "Pulled", "Created", "Started"]


def test_a_log_is_followed_while_it_is_written(cluster: Cluster) -> None:
    volume = {"name": "work", "persistentVolumeClaim": {"claimName": cluster.claim("work").metadata.name}}
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    script = "echo first; while [ ! -e /work/go ]; do sleep 0.02; done; echo second"
    pod = cluster.create("sh", "-c", script, volumes=[volume], container=mount)
    cluster.until_running(pod)
    stream = cluster.core.read_namespaced_pod_log(pod.metadata.name, cluster.namespace, follow=True, _preload_content=False)
    assert stream.readline() == b"first\n"
    cluster.run("touch", "/work/go", volumes=[volume], container=mount)
    assert stream.read() == b"second\n"


def test_a_log_can_be_cut_and_timed(cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "seq 1 100; printf end")
    assert cluster.log(pod, tail_lines=2) == "100\nend"
    assert cluster.log(pod, limit_bytes=4) == "1\n2\n"
    assert cluster.log(pod, since_seconds=60).startswith("1\n2\n")
    stamp, text = cluster.log(pod, timestamps=True, tail_lines=1).split(" ")
    assert (len(stamp), stamp[-1], text) == (30, "Z", "end")


def test_a_carriage_return_does_not_break_a_log_line(cluster: Cluster) -> None:
    assert cluster.log(cluster.run("printf", "1%%\\r50%%\\r99%%\\n")) == "1%\r50%\r99%\n"


def test_variables_are_expanded_as_kubernetes_does(cluster: Cluster) -> None:
    cluster.secret("keys", token="s3cret")
    cluster.config_map("settings", COLOUR="blue")
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)-$$(A)-$(NOPE)"},
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    container = {"env": env, "envFrom": [{"configMapRef": {"name": "settings"}}], "args": ["$(B) $(T) $(COLOUR) $$(A) $(ME)"]}
    pod = cluster.run("sh", "-c", 'echo "$1" $FLAVOUR', "sh", container=container | {"command": ["echo"]})
    assert cluster.log(pod) == f"a-$(A)-$(NOPE) s3cret blue $(A) {pod.metadata.name}\n"


def test_an_image_brings_its_files_and_variables(cluster: Cluster) -> None:
    assert cluster.log(cluster.run("python3", "-m", "hello")) == "hello from the image\n"
    assert cluster.log(cluster.run("sh", "-c", "echo $FLAVOUR")) == "image\n"


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


def test_a_subpath_that_is_a_link_is_refused(cluster: Cluster) -> None:
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": cluster.claim("job").metadata.name}}]
    link = {"volumeMounts": [{"name": "job", "mountPath": "/data"}]}
    cluster.run("ln", "-s", "/etc", "/data/outputs", volumes=volumes, container=link)
    through = {"volumeMounts": [{"name": "job", "mountPath": "/data/outputs", "subPath": "outputs"}]}
    pod = cluster.create("ls", "/data/outputs", volumes=volumes, container=through)
    waiting = cluster.until(pod, lambda pod: _waiting(pod) == "CreateContainerConfigError")
    assert "symbolic link" in waiting.status.container_statuses[0].state.waiting.message


def test_the_sandbox_shows_no_home_no_repository_and_lets_nothing_be_changed(cluster: Cluster) -> None:
    code = """
import os, pathlib
def may(path):
    try: pathlib.Path(path, 'x').write_text('x'); return path
    except OSError: return ''
print([may(p) for p in ('/', '/etc', '/usr', '/usr/bin', '/dev', '/opt/code', '/home', '/var', '/c2d')])
print(os.getuid(), os.getgid(), os.getpid(), os.listdir('/home'), os.listdir('/sys'))
print([p for p in ('/work', '/etc/shadow', '/run/user', '/var/lib', '/tmp/x') if os.path.exists(p)])
status = open('/proc/self/status').read()
print([line.split()[1] for line in status.splitlines() if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))])
"""
    assert (
        cluster.log(cluster.python(code))
        == f"{['' for _ in range(9)]}\n1000 1000 1 [] []\n[]\n['0000000000000000', '0000000000000000', '1']\n"
    )


def test_an_empty_dir_is_writable_and_bounded(cluster: Cluster) -> None:
    volumes = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]
    container = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}], "securityContext": {"readOnlyRootFilesystem": True}}
    pod = cluster.run("sh", "-c", "echo ok > /tmp/a; cat /tmp/a; head -c 2000000 /dev/zero > /tmp/b", volumes=volumes, container=container)
    assert (pod.status.phase, cluster.log(pod).splitlines()[0]) == ("Failed", "ok")
    assert "No space left on device" in cluster.log(pod)


def test_a_shared_empty_dir_over_its_limit_evicts_the_pod(cluster: Cluster) -> None:
    volumes = [{"name": "share", "emptyDir": {"sizeLimit": "1Mi"}}]
    mounts = {"volumeMounts": [{"name": "share", "mountPath": "/share"}]}
    init = [{"name": "init", "image": cluster.image, "command": ["touch", "/share/from-init"]} | mounts]
    script = "ls /share; head -c 3000000 /dev/zero > /share/b; sleep 60"
    pod = cluster.run("sh", "-c", script, volumes=volumes, initContainers=init, container=mounts)
    assert (pod.status.phase, pod.status.reason) == ("Failed", "Evicted")
    assert 'EmptyDir volume "share" exceeds the limit "1Mi"' in pod.status.message
    assert cluster.log(pod, container="base") == "from-init\n"


def test_init_containers_run_one_after_the_other_and_a_failure_ends_the_pod(cluster: Cluster) -> None:
    volumes = [{"name": "share", "emptyDir": {}}]
    mounts = {"volumeMounts": [{"name": "share", "mountPath": "/share"}], "image": cluster.image}
    init = [{"name": f"i{n}", "command": ["sh", "-c", f"echo {n} >> /share/order"]} | mounts for n in range(2)]
    pod = cluster.run("cat", "/share/order", volumes=volumes, initContainers=init, container=mounts)
    assert cluster.log(pod, container="base") == "0\n1\n"
    assert [status.state.terminated.exit_code for status in pod.status.init_container_statuses] == [0, 0]
    failing = cluster.run("true", initContainers=[{"name": "bad", "image": cluster.image, "command": ["false"]}])
    assert failing.status.phase == "Failed"
    assert failing.status.container_statuses[0].state.waiting is not None


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


def test_a_policy_without_egress_rules_cuts_the_network_off(cluster: Cluster) -> None:
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


def test_an_egress_rule_gives_the_network_back(cluster: Cluster) -> None:
    for name, extra in (("deny", {}), ("allow", {"egress": [{"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]}]})):
        spec = {"podSelector": {"matchLabels": {"stage": "configure"}}, "policyTypes": ["Egress"]} | extra
        cluster.net.create_namespaced_network_policy(cluster.namespace, {"metadata": {"name": name}, "spec": spec})
    with loopback_server() as (port, said):
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3).sendall(b'hello')"
        assert cluster.python(code, labels={"stage": "configure"}).status.phase == "Succeeded"
        assert said == [b"hello"]


def test_too_much_memory_is_killed_as_oom(cluster: Cluster) -> None:
    container = {"resources": {"limits": {"memory": "64Mi"}}}
    code = "import time\nkeep = []\nwhile True: keep.append(bytearray(4 << 20)); time.sleep(0.002)"
    pod = cluster.python(code, container=container)
    assert (pod.status.phase, terminated(pod).reason, terminated(pod).exit_code) == ("Failed", "OOMKilled", 137)
    children = "import os, time\nfor _ in range(8):\n  if os.fork() == 0:\n    keep = os.urandom(16 << 20); time.sleep(60)\ntime.sleep(60)"
    assert terminated(cluster.python(children, container=container)).reason == "OOMKilled"
    assert cluster.python("keep = bytearray(16 << 20)", container=container).status.phase == "Succeeded"


def test_a_deadline_ends_the_pod(cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "trap 'echo bye; exit 7' TERM; sleep 60 & wait", activeDeadlineSeconds=1)
    assert (pod.status.phase, pod.status.reason, terminated(pod).exit_code) == ("Failed", "DeadlineExceeded", 7)
    assert cluster.log(pod) == "bye\n"


def test_deleting_a_pod_gives_it_its_grace_period_and_no_more(cluster: Cluster) -> None:
    polite = cluster.create("sh", "-c", "trap 'exit 0' TERM; echo up; sleep 60 & wait")
    deaf = cluster.create("sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done")
    for pod, at_least in ((polite, 0), (deaf, 0.9)):
        cluster.until_running(pod)
        stream = cluster.core.read_namespaced_pod_log(pod.metadata.name, cluster.namespace, follow=True, _preload_content=False)
        assert stream.readline() == b"up\n"
        deleted = cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=1)
        assert deleted.metadata.deletion_timestamp
        assert cluster.until_gone(deleted) >= at_least
    at_once = cluster.until_running(cluster.create("sleep", "60"))
    cluster.core.delete_namespaced_pod(at_once.metadata.name, cluster.namespace, grace_period_seconds=0)
    cluster.until_gone(at_once)


def test_nothing_of_a_container_survives_its_first_process(cluster: Cluster) -> None:
    volumes = [{"name": "work", "persistentVolumeClaim": {"claimName": cluster.claim("work").metadata.name}}]
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    script = "(trap '' TERM HUP; sleep 0.5; touch /work/survived) & exit 0"
    cluster.run("sh", "-c", script, volumes=volumes, container=mount)
    pod = cluster.run("sh", "-c", "sleep 1; ls /work", volumes=volumes, container=mount)
    assert cluster.log(pod) == ""


def test_a_fork_bomb_is_bounded(cluster: Cluster) -> None:
    code = "import os\nfor _ in range(2000):\n  if os.fork() == 0:\n    import time; time.sleep(30)"
    pod = cluster.python(code)
    assert pod.status.phase == "Failed"


def test_an_unknown_image_says_which_there_are(cluster: Cluster) -> None:
    for image in ("python:3.12", f"{cluster.image}@sha256:{'0' * 64}"):
        pod = cluster.create("true", container={"image": image})
        waiting = cluster.until(pod, lambda pod: _waiting(pod) == "ErrImagePull").status.container_statuses[0].state.waiting
        assert cluster.image in waiting.message and "cluster" in waiting.message
        cluster.until(pod, lambda pod: _waiting(pod) == "ImagePullBackOff")
        cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace)


def test_a_command_that_does_not_exist_is_a_start_error(cluster: Cluster) -> None:
    pod = cluster.run("no-such-program")
    assert (pod.status.phase, terminated(pod).exit_code, terminated(pod).reason) == ("Failed", 128, "StartError")
    assert "no-such-program" in terminated(pod).message


def test_a_container_without_command_or_with_a_missing_key_waits_with_a_reason(cluster: Cluster) -> None:
    bare = cluster.create(container={"command": None})
    cluster.until(bare, lambda pod: _waiting(pod) == "CreateContainerError")
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "later", "key": "x"}}}]
    pod = cluster.create("sh", "-c", "echo $X", container={"env": env})
    cluster.until(pod, lambda pod: _waiting(pod) == "CreateContainerConfigError")
    cluster.secret("later", x="now")
    assert cluster.log(cluster.until_end(pod)) == "now\n"


def test_a_root_image_is_refused_for_a_pod_that_must_not_be_root(cluster: Cluster) -> None:
    pod = cluster.create("true", container={"securityContext": {"runAsUser": 0, "runAsNonRoot": True}})
    cluster.until(pod, lambda pod: _waiting(pod) == "CreateContainerConfigError")
    uid = cluster.run("id", "-u", container={"securityContext": {"runAsUser": 4321}})
    assert cluster.log(uid) == "4321\n"


@pytest.mark.parametrize("policy, expected", [("File", None), ("FallbackToLogsOnError", "oops\n")])
def test_the_log_stands_in_for_a_missing_message_where_asked(cluster: Cluster, policy: str, expected: str | None) -> None:
    pod = cluster.run("sh", "-c", "echo oops; exit 1", container={"terminationMessagePolicy": policy})
    assert terminated(pod).message == expected


def _waiting(pod) -> str | None:
    statuses = pod.status.container_statuses or []
    return statuses[0].state.waiting.reason if statuses and statuses[0].state.waiting else None
