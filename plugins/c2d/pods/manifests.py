"""A job's Kubernetes objects, as pure functions of the job, the environment and the settings.

    ConfigMap <job>                    the owner: deleting it deletes all of the below
      ├─ PersistentVolumeClaim <job>-data
      ├─ Secret <job>-<stage>          what one stage may know
      └─ Pod <job>-<stage>

Names are fixed, so Kubernetes itself refuses to run a stage twice at the same time. Every pod satisfies the Pod Security Standard
``restricted``, and has a read-only root file system besides. A consumer's value never becomes a name or a label, and only the consumer's
own shell interprets it.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from c2d.hooks.kubernetes import CONTAINER
from c2d.jobs.ids import object_name, stage_name
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.results.destinations import destinations
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

UID = 1000
ISOLATED = "isolated"
"""The init container that ends once the pod is cut off from the cluster's network. The next container starts only then."""
JOB_LABEL = "c2d/job"
STAGE_LABEL = "c2d/stage"
NETWORK_LABEL, PUBLIC = "c2d/network", "public"
"""On the pod of an algorithm that may have the public internet; helm_values/jobs-namespace/20-networkpolicy.yaml selects it."""
JOB_ANNOTATION = "c2d/job-id"
ENVIRONMENT_ANNOTATION = "c2d/environment"
ALGORITHM_FILE = "/data/transformations/algorithm"

# Runs the consumer's command ($2) in the consumer's shell.
# - Its output goes to the pod's log and to algorithm.log. The file is cut at $1 blocks of 512 bytes, by a tee that goes on when the file
#   is full.
# - Its exit code becomes the container's. A plain pipe to tee would hide it.
# - TERM ends it at once, with everything it started. The first process of a container does not get TERM without a handler, and would be
#   killed only after the pod's grace period.
ALGORITHM_WRAPPER = """\
trap 'exit 143' TERM
{
  exec 4>&1
  code=$({
    { sh -c "$2" 2>&1 3>&- 4>&-; echo $? >&3; } |
      (ulimit -f "$1"; trap '' XFSZ; exec tee -a "$LOGS/algorithm.log" 2>/dev/null >&4 3>&-)
  } 3>&1)
  exit "$code"
} &
wait $!
"""


def owner(job_id: str, environment: str) -> dict[str, Any]:
    """The object that owns all others of the job."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(job_id, environment, object_name(job_id)), "immutable": True}


def claim(job_id: str, env: Environment, owner_uid: str) -> dict[str, Any]:
    """The claim of the job's volume, whose size is the environment's ``diskGB``."""
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _gib(env.diskGB)}}}
    if env.STORAGE_CLASS:
        spec["storageClassName"] = env.STORAGE_CLASS
    metadata = _metadata(job_id, env.id, claim_name(job_id), owner_uid)
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def claim_name(job_id: str) -> str:
    """The name of the claim of the job's volume."""
    return f"{object_name(job_id)}-data"


def secret(job_id: str, stage: Stage, content: dict[str, str], environment: str, owner_uid: str, name: str | None = None) -> dict[str, Any]:
    """The Secret of one stage.

    :param content: its text by key.
    :param name: if it is not the stage's usual one.
    """
    metadata = _metadata(job_id, environment, name or stage_name(job_id, stage), owner_uid, stage)
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "immutable": True, "stringData": content}


def run_seconds(stage: Stage, job: Job, env: Environment) -> int:
    """How long the stage's container may run."""
    if stage is Stage.ALGORITHM:
        return min(job.maxJobDuration or env.maxJobDuration, env.maxJobDuration)
    return env.C2D_STAGE_SECONDS


def pod(
    stage: Stage,
    job_id: str,
    job: Job,
    env: Environment,
    settings: Settings,
    owner_uid: str,
    secret_name: str | None = None,
    network: bool = False,
) -> dict[str, Any]:
    """The stage's pod. It refers to the stage's Secret and contains no secret itself.

    :param secret_name: if it is not the stage's usual one.
    :param network: give the algorithm the public internet. The pod gets a label that a NetworkPolicy selects; without that policy it is
        cut off like any other. It also waits until it is cut off from the cluster: a pod has the cluster's network until its policies
        are in force.
    """
    network = network and stage is Stage.ALGORITHM
    metadata = _metadata(job_id, env.id, stage_name(job_id, stage), owner_uid, stage)
    if network:
        metadata["labels"][NETWORK_LABEL] = PUBLIC
    spec = {
        "restartPolicy": "Never",
        # Counts from when a node accepts the pod, so it includes the time to start. The algorithm's operator shortens it once the
        # container runs: pulling an image is not the consumer's time.
        "activeDeadlineSeconds": env.C2D_START_SECONDS + run_seconds(stage, job, env),
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": _volumes(stage, job_id, env, settings, secret_name or stage_name(job_id, stage)),
        **_containers(stage, job_id, job, env, settings),
        **_resolver(stage, network),
        **_placement(env),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def literal(text: str) -> str:
    """``text`` escaped for a command or a variable's value, in which Kubernetes replaces ``$(NAME)`` and halves ``$$``."""
    return text.replace("$", "$$")


# -- parts of a pod's spec -----------------------------------------------------------------------------------------------------------


def _containers(stage: Stage, job_id: str, job: Job, env: Environment, settings: Settings) -> dict[str, Any]:
    if stage is Stage.ALGORITHM:
        return {"containers": [_algorithm(job_id, job, env)], "initContainers": [_isolated(env, settings)]}
    containers = {"containers": [_stage_program(stage, job_id, env, settings)]}
    if stage is Stage.FILTER and env.FILTERING_CONTAINER:
        containers["initContainers"] = [_isolated(env, settings), _operators_filter(env.FILTERING_CONTAINER, job_id, job, env)]
    return containers


def _resolver(stage: Stage, network: bool) -> dict[str, Any]:
    if network or stage not in (Stage.ALGORITHM, Stage.FILTER):
        return {}
    # Without a network, a look-up would wait for an answer that cannot come. This way it fails at once.
    return {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}


def _placement(env: Environment) -> dict[str, Any]:
    placement: dict[str, Any] = {}
    if env.SERVICE_ACCOUNT:
        placement["serviceAccountName"] = env.SERVICE_ACCOUNT
    if env.PULL_SECRET:
        placement["imagePullSecrets"] = [{"name": env.PULL_SECRET}]
    if env.NODE_SELECTOR:
        term = {"matchExpressions": [{"key": "scope", "operator": "In", "values": [env.NODE_SELECTOR]}]}
        placement["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    return placement


def _volumes(stage: Stage, job_id: str, env: Environment, settings: Settings, secret_name: str) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(job_id)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": _gib(env.C2D_TMP_GB)}},
    ]
    if stage is not Stage.ALGORITHM:
        items = [{"key": "stage.json", "path": "stage.json"}]
        volumes.append({"name": "stage", "secret": {"secretName": secret_name, "items": items, "defaultMode": 0o440}})
    if stage is Stage.PUBLISH and destinations(env).include_volume:
        volumes.append({"name": "results", "persistentVolumeClaim": {"claimName": settings.C2D_RESULTS_CLAIM}})
    return volumes


# -- containers ----------------------------------------------------------------------------------------------------------------------


def _data(*folders: str, read_only: bool) -> list[dict[str, Any]]:
    return [{"name": "data", "mountPath": f"/data/{f}", "subPath": f, "readOnly": read_only} for f in folders]


# Which stage sees what: docs/stages.md, "The volume".
_READ_ONLY_DATA = _data("inputs", "transformations", "ddos", read_only=True)
_MOUNTS = {
    Stage.CONFIGURE: [{"name": "data", "mountPath": "/data"}],
    Stage.ALGORITHM: [*_READ_ONLY_DATA, *_data("outputs", "logs", read_only=False)],
    Stage.FILTER: [*_READ_ONLY_DATA, *_data("outputs", "logs", "adminlogs", "filter", read_only=False)],
    Stage.PUBLISH: [*_data("outputs", "logs", "filter", read_only=True), *_data("adminlogs", read_only=False)],
}


def _container(
    image: str, command: list[str], env_vars: list[dict[str, Any]], mounts: list[dict[str, Any]], resources: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": env_vars,
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],
        "resources": resources,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _stage_program(stage: Stage, job_id: str, env: Environment, settings: Settings) -> dict[str, Any]:
    """The container of configure, filter or publish."""
    mounts = [*_MOUNTS[stage], {"name": "stage", "mountPath": "/c2d", "readOnly": True}]
    if stage is Stage.PUBLISH and destinations(env).include_volume:
        # The job's own folder only: no job sees the results of another.
        mounts.append({"name": "results", "mountPath": "/results", "subPath": object_name(job_id)})
    resources = _resources(Decimal("0.1"), max(env.nCPU, Decimal(1)), Decimal("0.5"), env)
    return _container(settings.C2D_STAGE_IMAGE, ["python3", "-m", "c2d_stages", str(stage)], [], mounts, resources)


def _isolated(env: Environment, settings: Settings) -> dict[str, Any]:
    # Within the algorithm's own CPUs and memory, and with equal requests and limits, so that the pod keeps its QoS class Guaranteed.
    resources = _resources(env.nCPU, env.nCPU, min(env.ramGB, Decimal("0.0625")), env)
    return {**_container(settings.C2D_STAGE_IMAGE, ["python3", "-m", "c2d_stages", ISOLATED], [], [], resources), "name": ISOLATED}


def _algorithm(job_id: str, job: Job, env: Environment) -> dict[str, Any]:
    entrypoint = job.algorithm.container.entrypoint.replace("$ALGO", ALGORITHM_FILE)
    log_blocks = str(env.C2D_LOG_BYTES // 512)
    command = ["/bin/sh", "-c", literal(ALGORITHM_WRAPPER), "algorithm", log_blocks, literal(entrypoint)]
    resources = _resources(env.nCPU, env.nCPU, env.ramGB, env, env.nGPU)
    container = _container(job.algorithm.container.reference, command, _algorithm_env(job_id, job), _MOUNTS[Stage.ALGORITHM], resources)
    if env.PULL_POLICY:
        container["imagePullPolicy"] = env.PULL_POLICY
    return container


def _operators_filter(image: str, job_id: str, job: Job, env: Environment) -> dict[str, Any]:
    """The environment's own filter, as operator-engine runs it: the image's entrypoint, with the algorithm's variables and folders."""
    mounts = [*_READ_ONLY_DATA, *_data("outputs", "logs", read_only=False)]
    resources = _resources(Decimal("0.1"), env.nCPU, env.ramGB, env)
    variables = [v for v in _algorithm_env(job_id, job) if v["name"] != "secret"]
    container = _container(image, [], variables, mounts, resources)
    del container["command"]
    return {**container, "name": "filtering-container"}


def _algorithm_env(job_id: str, job: Job) -> list[dict[str, Any]]:
    """The environment variables of the algorithm. The names are operator-engine's."""
    variables = {
        "DIDS": json.dumps([i.id.removeprefix("did:op:") for i in job.inputs]),
        "TRANSFORMATION_DID": (job.algorithm.id or "").removeprefix("did:op:"),
        "VOLUME": "/data",
        "LOGS": "/data/logs",
        "INPUTS": "/data/inputs",
        "OUTPUTS": "/data/outputs",
        "ALGO": ALGORITHM_FILE,
        "HOME": "/tmp",
    }
    reference = {"secretKeyRef": {"name": stage_name(job_id, Stage.ALGORITHM), "key": "secret"}}
    return [*({"name": n, "value": literal(v)} for n, v in variables.items()), {"name": "secret", "valueFrom": reference}]


# -- parts of all objects ------------------------------------------------------------------------------------------------------------


def _metadata(job_id: str, environment: str, name: str, owner_uid: str | None = None, stage: Stage | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {JOB_LABEL: object_name(job_id)},
        "annotations": {JOB_ANNOTATION: job_id, ENVIRONMENT_ANNOTATION: environment},
    }
    if stage:
        metadata["labels"][STAGE_LABEL] = str(stage)
    if owner_uid:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": object_name(job_id), "uid": owner_uid, "blockOwnerDeletion": False}
        metadata["ownerReferences"] = [reference]
    return metadata


def _resources(cpu_request: Decimal, cpu_limit: Decimal, memory_gib: Decimal, env: Environment, gpus: int = 0) -> dict[str, Any]:
    # The root file system is read-only, so only /tmp counts as ephemeral storage, and the container's log and the Secret (64 MiB).
    shared = {"memory": _gib(memory_gib), "ephemeral-storage": _gib(env.C2D_TMP_GB + Decimal("0.0625"))}
    if gpus:
        shared[env.C2D_GPU_RESOURCE] = str(gpus)
    return {"requests": {"cpu": _millicpu(cpu_request), **shared}, "limits": {"cpu": _millicpu(cpu_limit), **shared}}


def _gib(number: Decimal) -> str:
    """``number`` GiB as a quantity of whole bytes."""
    return str(int(number * 2**30))


def _millicpu(cpus: Decimal) -> str:
    """``cpus`` as a quantity of whole thousandths of a CPU."""
    return f"{int(cpus * 1000)}m"
