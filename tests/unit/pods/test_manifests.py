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
def test_every_pod_is_restricted_bounded_and_hangs_on_the_owner(stage: str) -> None:
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
def test_no_pod_shows_a_secret(stage: str) -> None:
    text = json.dumps(pod(stage))
    assert not any(s in text for s in ("TOPSECRET", "HEADERSECRET", "JOBSECRET", "DBSECRET", BASE["OPERATOR_PRIVATE_KEY"][2:], "hello"))


def test_the_algorithm_gets_exactly_what_the_environment_offers() -> None:
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
def test_the_algorithms_time_is_the_smaller_of_the_jobs_and_the_environments(own: int | None, limit: int) -> None:
    wanted, env = job(maxJobDuration=own), read(BASE).environments[0]
    assert manifests.seconds_of(Stage.ALGORITHM, Job.parse(wanted, "ocean-compute"), env) == limit
    assert pod("algorithm", wanted)["spec"]["activeDeadlineSeconds"] == limit + 900, "to pull an image is not the consumer's time"


def test_the_consumers_container_starts_only_once_ours_has_seen_that_the_network_is_gone() -> None:
    spec = pod("algorithm")["spec"]
    (isolated,) = spec["initContainers"]
    assert isolated["command"] == ["python3", "-m", "c2d_stages", "isolated"] and isolated["image"] == "c2d.test/stages:1"
    assert {m["mountPath"] for m in isolated["volumeMounts"]} == {"/tmp"}
    assert isolated["securityContext"] == spec["containers"][0]["securityContext"]


def test_algorithm_and_filter_have_no_resolver() -> None:
    for stage in ("algorithm", "filter"):
        assert pod(stage)["spec"]["dnsConfig"] == {"nameservers": ["127.0.0.1"]}
    assert "dnsConfig" not in pod("configure")["spec"]


def test_the_environment_is_the_incumbents_and_secret_comes_from_the_stages_secret() -> None:
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


def test_the_entrypoint_is_an_argument_of_its_own_and_kubernetes_expands_nothing_in_it() -> None:
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


def test_the_log_file_is_cut_while_the_algorithm_runs_on(tmp_path: Path) -> None:
    done = run_wrapper("yes | head -c 200000; exit 4", tmp_path, blocks=100)
    assert (tmp_path / "algorithm.log").stat().st_size == 51200
    assert (done.returncode, len(done.stdout)) == (4, 200000)


def test_the_wrapper_ends_at_once_when_it_is_told_to(tmp_path: Path) -> None:
    env = {"LOGS": str(tmp_path), "PATH": os.environ["PATH"]}
    command = ["sh", "-c", manifests.ALGORITHM_WRAPPER, "algorithm", "2048", "echo $$; exec sleep 600"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as wrapper:
        assert wrapper.stdout
        algorithm = int(wrapper.stdout.readline())
        wrapper.terminate()
        # By a handler of its own (not -15): without one the first process of a container does not get the signal at all.
        assert wrapper.wait(60) == 143
        os.kill(algorithm, signal.SIGKILL)  # in a container all others end with the first


def test_the_owners_filter_runs_before_ours_without_the_jobs_secret() -> None:
    spec = pod("filter", FILTERING_CONTAINER="registry.example/filter:2")["spec"]
    isolated, owners = spec["initContainers"]
    assert isolated["name"] == "isolated" and isolated["image"] == "c2d.test/stages:1"
    assert owners["image"] == "registry.example/filter:2" and "command" not in owners
    assert "secret" not in {e["name"] for e in owners["env"]}
    assert "/data/adminlogs" not in {m["mountPath"] for m in owners["volumeMounts"]}
    assert owners["securityContext"]["readOnlyRootFilesystem"]
    assert "initContainers" not in pod("filter")["spec"]


def test_publish_sees_only_its_own_folder_of_the_results() -> None:
    mounts = {m["mountPath"]: m for m in pod("publish")["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/results"]["subPath"] == "j1" and mounts["/data/outputs"]["readOnly"]


def test_the_cluster_settings_reach_the_pod() -> None:
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


@pytest.mark.parametrize("job_id", ["manual__2026-11-22T06:05:00+00:00", "UPPER", "x" * 80, "-a", "a_b"])
def test_a_run_id_that_is_no_kubernetes_name_becomes_a_digest(job_id: str) -> None:
    name = ids.object_name(job_id)
    assert name.startswith("job-") and len(name) == 36
    assert pod("publish", job_id=job_id)["metadata"]["annotations"]["c2d/job-id"] == job_id


def test_names_fit_where_kubernetes_wants_them() -> None:
    longest = "a" * 50
    assert ids.object_name(longest) == longest
    assert max(len(ids.stage_name(longest, s)) for s in Stage) <= 63


def test_an_algorithm_with_the_network_says_so_to_the_policies_and_still_waits_until_it_is_cut_off_from_the_cluster() -> None:
    settings = read(BASE)
    wanted, env = Job.parse(job(), "ocean-compute"), settings.environments[0]

    def made(stage: str, network: bool) -> dict[str, Any]:
        return manifests.pod(Stage(stage), "j1", wanted, env, settings, "uid-1", network=network)

    pod_with = made("algorithm", True)
    assert pod_with["metadata"]["labels"] == {"c2d/job": "j1", "c2d/stage": "algorithm", "c2d/network": "public"}
    assert "dnsPolicy" not in pod_with["spec"], "it has a resolver"
    assert [c["name"] for c in pod_with["spec"]["initContainers"]] == ["isolated"]
    assert made("algorithm", False)["spec"]["dnsPolicy"] == "None"
    assert made("filter", True) == made("filter", False), "nobody but the algorithm"


def test_the_policy_for_such_an_algorithm_leaves_out_what_configures_leaves_out() -> None:
    import yaml

    text = (Path(__file__).parents[3] / "helm_values/jobs-namespace/20-networkpolicy.yaml").read_text()
    policies = {p["metadata"]["name"]: p["spec"] for p in yaml.safe_load_all(text)}
    algorithm, configure = policies["c2d-algorithm-network"], policies["c2d-configure"]
    assert algorithm["podSelector"] == {"matchLabels": {"c2d/stage": "algorithm", manifests.NETWORK_LABEL: manifests.PUBLIC}}
    assert algorithm["egress"] == configure["egress"] and algorithm["policyTypes"] == ["Egress"]
    (block,) = [rule["to"][0]["ipBlock"] for rule in algorithm["egress"] if "to" in rule]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10"} <= set(block["except"])
    assert "::/0" not in text
