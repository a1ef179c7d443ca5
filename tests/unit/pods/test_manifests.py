from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from c2d.crypto import ecies
from c2d.jobs import ids
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.pods import manifests
from c2d.settings.installation import read
from tests.unit.examples import job

BASE = {
    "OPERATOR_PRIVATE_KEY": ecies.new_private_key(),
    "C2D_DATABASE_URL": "postgresql://u:DBSECRET@h/d",
    "nCPU": "0.5",
    "ramGB": "2",
    "diskGB": "3",
    "maxJobDuration": "600",
}


def pod(stage: str, conf: dict[str, Any] | None = None, job_id: str = "j1", **variables: str) -> dict[str, Any]:
    settings = read({**BASE, **variables})
    return manifests.pod(Stage(stage), job_id, Job.parse(conf or job(), "ocean-compute"), settings.environments[0], settings, "uid-1")


STAGES = ["configure", "algorithm", "filter", "publish"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_pod_is_restricted_and_limited_and_belongs_to_the_owner(stage: str) -> None:
    made = pod(stage)
    spec, (container,) = made["spec"], made["spec"]["containers"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False and spec["restartPolicy"] == "Never"
    assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["limits"])
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    assert spec["activeDeadlineSeconds"] > 0
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert made["metadata"]["labels"] == {"c2d/job": "j1", "c2d/stage": stage}


@pytest.mark.parametrize("stage", STAGES)
def test_no_pod_contains_a_secret(stage: str) -> None:
    text = json.dumps(pod(stage))
    assert not any(s in text for s in ("TOPSECRET", "HEADERSECRET", "JOBSECRET", "DBSECRET", BASE["OPERATOR_PRIVATE_KEY"][2:], "hello"))


def test_the_algorithm_gets_exactly_the_environments_resources() -> None:
    resources = pod("algorithm", nGPU="2")["spec"]["containers"][0]["resources"]
    exact = {"cpu": "500m", "memory": str(2 * 2**30), "ephemeral-storage": str(2**30 + 64 * 2**20), "nvidia.com/gpu": "2"}
    assert resources == {"requests": exact, "limits": exact}


def test_the_algorithm_sees_inputs_read_only_and_neither_admin_logs_nor_stage_json() -> None:
    spec = pod("algorithm")["spec"]
    mounts = {m["mountPath"]: m.get("readOnly", False) for m in spec["containers"][0]["volumeMounts"]}
    assert mounts == {
        "/data/inputs": True,
        "/data/transformations": True,
        "/data/ddos": True,
        "/data/outputs": False,
        "/data/logs": False,
        "/tmp": False,
    }
    assert "secret" not in {k for v in spec["volumes"] for k in v}


@pytest.mark.parametrize(("own", "limit"), [(None, 600), (30, 30), (9999, 600)])
def test_the_algorithms_time_is_the_smaller_of_the_jobs_and_the_environments_limit(own: int | None, limit: int) -> None:
    conf, env = job(maxJobDuration=own), read(BASE).environments[0]
    assert manifests.run_seconds(Stage.ALGORITHM, Job.parse(conf, "ocean-compute"), env) == limit
    assert pod("algorithm", conf)["spec"]["activeDeadlineSeconds"] == limit + 900, "pulling an image is not the consumer's time"


def test_the_algorithm_starts_only_after_the_pod_has_been_isolated() -> None:
    spec = pod("algorithm")["spec"]
    (isolated,) = spec["initContainers"]
    assert isolated["command"] == ["python3", "-m", "c2d_stages", "isolated"] and isolated["image"] == "c2d.test/stages:1"
    assert {m["mountPath"] for m in isolated["volumeMounts"]} == {"/tmp"}
    assert isolated["securityContext"] == spec["containers"][0]["securityContext"]


def test_algorithm_and_filter_have_no_resolver() -> None:
    for stage in ("algorithm", "filter"):
        assert pod(stage)["spec"]["dnsConfig"] == {"nameservers": ["127.0.0.1"]}
    assert "dnsConfig" not in pod("configure")["spec"]


def test_the_variables_are_operator_engines_and_the_jobs_secret_comes_from_a_kubernetes_secret() -> None:
    env = {e["name"]: e.get("value", e.get("valueFrom")) for e in pod("algorithm")["spec"]["containers"][0]["env"]}
    assert env == {
        "DIDS": '["aa"]',
        "TRANSFORMATION_DID": "cc",
        "VOLUME": "/data",
        "LOGS": "/data/logs",
        "INPUTS": "/data/inputs",
        "OUTPUTS": "/data/outputs",
        "ALGO": "/data/transformations/algorithm",
        "HOME": "/tmp",
        "secret": {"secretKeyRef": {"name": "j1-algorithm", "key": "secret"}},
    }


def test_the_entrypoint_is_a_separate_argument_in_which_kubernetes_expands_nothing() -> None:
    entrypoint = "a '; $(secret) $$x {{ conn.y }} $ALGO"
    command = pod("algorithm", job(**{"algorithm.container.entrypoint": entrypoint}))["spec"]["containers"][0]["command"]
    assert command[-1] == "a '; $$(secret) $$$$x {{ conn.y }} /data/transformations/algorithm"
    assert entrypoint[:3] not in command[2]


def run_wrapper(entrypoint: str, logs: Path, blocks: int = 2048) -> subprocess.CompletedProcess[bytes]:
    env = {"LOGS": str(logs), "PATH": os.environ["PATH"]}
    return subprocess.run(["sh", "-c", manifests.ALGORITHM_WRAPPER, "algorithm", str(blocks), entrypoint], env=env, capture_output=True)


@pytest.mark.parametrize(
    ("entrypoint", "code"), [("true", 0), ("echo x; exit 3", 3), ("kill -9 $$", 137), ("exit 255", 255), ("nosuchprogram", 127)]
)
def test_the_wrapper_ends_with_the_algorithms_own_exit_code(entrypoint: str, code: int, tmp_path: Path) -> None:
    assert run_wrapper(entrypoint, tmp_path).returncode == code


def test_the_wrapper_logs_both_streams_to_the_pod_and_to_the_file(tmp_path: Path) -> None:
    done = run_wrapper("echo out; echo err >&2", tmp_path)
    assert done.stdout == b"out\nerr\n" == (tmp_path / "algorithm.log").read_bytes()


def test_a_full_log_file_does_not_stop_the_algorithm(tmp_path: Path) -> None:
    done = run_wrapper("yes | head -c 200000; exit 4", tmp_path, blocks=100)
    assert (tmp_path / "algorithm.log").stat().st_size == 51200
    assert (done.returncode, len(done.stdout)) == (4, 200000)


def test_the_wrapper_ends_at_once_on_sigterm(tmp_path: Path) -> None:
    env = {"LOGS": str(tmp_path), "PATH": os.environ["PATH"]}
    command = ["sh", "-c", manifests.ALGORITHM_WRAPPER, "algorithm", "2048", "echo $$; exec sleep 600"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as wrapper:
        assert wrapper.stdout
        algorithm = int(wrapper.stdout.readline())
        wrapper.terminate()
        # Not -15: the wrapper needs a handler, because the first process of a container gets no SIGTERM without one.
        assert wrapper.wait(60) == 143
        os.kill(algorithm, signal.SIGKILL)  # in a container, all processes end with the first


def test_the_operators_own_filter_runs_before_the_built_in_one_without_the_jobs_secret() -> None:
    spec = pod("filter", FILTERING_CONTAINER="registry.example/filter:2")["spec"]
    isolated, own_filter = spec["initContainers"]
    assert isolated["name"] == "isolated" and isolated["image"] == "c2d.test/stages:1"
    assert own_filter["image"] == "registry.example/filter:2" and "command" not in own_filter
    assert "secret" not in {e["name"] for e in own_filter["env"]}
    assert "/data/adminlogs" not in {m["mountPath"] for m in own_filter["volumeMounts"]}
    assert own_filter["securityContext"]["readOnlyRootFilesystem"]
    assert "initContainers" not in pod("filter")["spec"]


def test_publish_sees_only_its_own_folder_of_the_results_volume() -> None:
    mounts = {m["mountPath"]: m for m in pod("publish")["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/results"]["subPath"] == "j1" and mounts["/data/outputs"]["readOnly"]


def test_the_settings_of_the_cluster_reach_the_pod() -> None:
    spec = pod("algorithm", SERVICE_ACCOUNT="sa", PULL_SECRET="reg", PULL_POLICY="Always", NODE_SELECTOR="compute")["spec"]
    assert spec["serviceAccountName"] == "sa" and spec["imagePullSecrets"] == [{"name": "reg"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "scope", "operator": "In", "values": ["compute"]}]}]
    env = read({**BASE, "STORAGE_CLASS": "fast"}).environments[0]
    assert manifests.claim("j1", env, "u")["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(3 * 2**30)}},
        "storageClassName": "fast",
    }


def test_every_object_names_its_job_even_if_the_id_is_not_a_kubernetes_name() -> None:
    job_id = "manual__2026-11-22T06:05:00+00:00"
    for made in (pod("publish", job_id=job_id), manifests.owner(job_id, "here")):
        assert made["metadata"]["annotations"]["c2d/job-id"] == job_id
        assert made["metadata"]["labels"]["c2d/job"] == ids.object_name(job_id)


def test_the_pod_of_an_algorithm_with_network_is_labelled_for_its_policy_and_still_isolated_from_the_cluster() -> None:
    settings = read(BASE)
    conf, env = Job.parse(job(), "ocean-compute"), settings.environments[0]

    def made(stage: str, network: bool) -> dict[str, Any]:
        return manifests.pod(Stage(stage), "j1", conf, env, settings, "uid-1", network=network)

    pod_with = made("algorithm", True)
    assert pod_with["metadata"]["labels"] == {"c2d/job": "j1", "c2d/stage": "algorithm", "c2d/network": "public"}
    assert "dnsPolicy" not in pod_with["spec"], "it has a resolver"
    assert [c["name"] for c in pod_with["spec"]["initContainers"]] == ["isolated"]
    assert made("algorithm", False)["spec"]["dnsPolicy"] == "None"
    assert made("filter", True) == made("filter", False), "only the algorithm gets the network"


def test_the_policy_of_algorithms_with_network_excludes_the_same_addresses_as_configures_policy() -> None:
    import yaml

    text = (Path(__file__).parents[3] / "helm_values/jobs-namespace/20-networkpolicy.yaml").read_text()
    policies = {p["metadata"]["name"]: p["spec"] for p in yaml.safe_load_all(text)}
    algorithm, configure = policies["c2d-algorithm-network"], policies["c2d-configure"]
    assert algorithm["podSelector"] == {"matchLabels": {"c2d/stage": "algorithm", manifests.NETWORK_LABEL: manifests.PUBLIC}}
    assert algorithm["egress"] == configure["egress"] and algorithm["policyTypes"] == ["Egress"]
    (block,) = [rule["to"][0]["ipBlock"] for rule in algorithm["egress"] if "to" in rule]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10"} <= set(block["except"])
    assert "::/0" not in text
