"""A job's Kubernetes objects, as pure functions of the job, the environment and the settings.

    ConfigMap <job>                    the owner: deleting it removes all of the below
      ├─ PersistentVolumeClaim <job>-data
      ├─ Secret <job>-<stage>          what one stage may know
      └─ Pod <job>-<stage>

Names are fixed, so Kubernetes itself refuses to run a stage twice at the same time. Every pod satisfies Pod Security
``restricted`` and has a read-only root besides. No consumer value becomes a name, a label, or text that anything but the
consumer's own shell reads.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from c2d.hooks.kubernetes import CONTAINER
from c2d.jobs.ids import object_name, stage_name
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.results.destinations import destinations
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

if TYPE_CHECKING:
    pass

UID = 1000
ISOLATED = "isolated"
"""The init container that lets the next one start only once the pod is cut off from the cluster's network."""
JOB_LABEL = "c2d/job"
STAGE_LABEL = "c2d/stage"
NETWORK_LABEL, PUBLIC = "c2d/network", "public"
"""Of an algorithm's pod that may have the public internet; helm_values/jobs-namespace/20-networkpolicy.yaml knows it."""
JOB_ANNOTATION = "c2d/job-id"
ENVIRONMENT_ANNOTATION = "c2d/environment"

# The consumer's command in the consumer's shell. Its output goes to the pod's log and to algorithm.log (cut at $1 blocks of 512 bytes, by
# a tee that outlives a full file); its own exit code is the pod's, which a plain pipe to tee would swallow. It ends at TERM, with all it
# started: as the container's first process it would have to be killed, after the pod's whole grace period, for having no handler.
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
    """The object that all others of the job hang on."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(job_id, environment, object_name(job_id)), "immutable": True}


def claim(job_id: str, env: Environment, owner_uid: str) -> dict[str, Any]:
    """The job's volume, of the environment's ``diskGB``."""
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": quantity(env.diskGB * 2**30)}}}
    if env.STORAGE_CLASS:
        spec["storageClassName"] = env.STORAGE_CLASS
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(job_id, env.id, f"{object_name(job_id)}-data", owner_uid),
        "spec": spec,
    }


def secret(job_id: str, stage: Stage, content: dict[str, str], environment: str, owner_uid: str, name: str | None = None) -> dict[str, Any]:
    """What one stage may know, by key."""
    metadata = _metadata(job_id, environment, name or stage_name(job_id, stage), owner_uid, stage)
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "immutable": True, "stringData": content}


def seconds_of(stage: Stage, job: Job, env: Environment) -> int:
    """How long the stage's container may work: the algorithm by the job's and the environment's limit, ours by the environment's."""
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
    """The stage's pod. The job's secrets are not in it: it names the stage's Secret.

    :param network: the algorithm may have the public internet (allowNetworkAccess of each data set). A label says so to the cluster's
        policies; where none of them knows it, the pod is cut off like any other. It waits all the same until it is cut off from the
        cluster: before a policy holds, a pod has the cluster's network.
    """
    network = network and stage is Stage.ALGORITHM
    if stage is Stage.ALGORITHM:
        containers, init = [_algorithm(job_id, job, env)], [_isolated(env, settings)]
    else:
        containers = [_ours(stage, job_id, env, settings)]
        owners = stage is Stage.FILTER and env.FILTERING_CONTAINER
        init = [_isolated(env, settings), _owners_filter(job_id, job, env)] if owners else []
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        # Counts from when a node takes the pod. What it takes to pull an image is not the consumer's time: the algorithm's operator
        # sets the rest once the container works.
        "activeDeadlineSeconds": env.C2D_START_SECONDS + seconds_of(stage, job, env),
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
        "containers": containers,
    }
    if init:
        spec["initContainers"] = init
    if stage in (Stage.ALGORITHM, Stage.FILTER) and not network:
        # No network, so no resolver either: a look-up fails at once instead of waiting for an answer that cannot come.
        spec |= {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}
    if env.SERVICE_ACCOUNT:
        spec["serviceAccountName"] = env.SERVICE_ACCOUNT
    if env.PULL_SECRET:
        spec["imagePullSecrets"] = [{"name": env.PULL_SECRET}]
    if env.NODE_SELECTOR:
        term = {"matchExpressions": [{"key": "scope", "operator": "In", "values": [env.NODE_SELECTOR]}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    metadata = _metadata(job_id, env.id, stage_name(job_id, stage), owner_uid, stage)
    if network:
        metadata["labels"][NETWORK_LABEL] = PUBLIC
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def literal(text: str) -> str:
    """``text`` so that Kubernetes hands it over as it is: in commands and values, ``$(NAME)`` would be replaced and ``$$`` halved."""
    return text.replace("$", "$$")


def quantity(number: Decimal) -> str:
    """A whole Kubernetes quantity (bytes, or thousandths for CPUs by the caller)."""
    return str(int(number))


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
    # The writable layer does not exist (read-only root); what counts is /tmp, the container's log and the Secret.
    disk = quantity(env.C2D_TMP_GB * 2**30 + 64 * 2**20)
    shared = {"memory": quantity(memory_gib * 2**30), "ephemeral-storage": disk}
    if gpus:
        shared[env.C2D_GPU_RESOURCE] = str(gpus)
    return {
        "requests": {"cpu": f"{quantity(cpu_request * 1000)}m", **shared},
        "limits": {"cpu": f"{quantity(cpu_limit * 1000)}m", **shared},
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


def _data(*folders: str, read_only: bool) -> list[dict[str, Any]]:
    return [{"name": "data", "mountPath": f"/data/{f}", "subPath": f, "readOnly": read_only} for f in folders]


# Who sees what: docs/stages.md, "The volume".
_READ_ONLY_DATA = _data("inputs", "transformations", "ddos", read_only=True)
_MOUNTS = {
    Stage.CONFIGURE: [{"name": "data", "mountPath": "/data"}],
    Stage.ALGORITHM: [*_READ_ONLY_DATA, *_data("outputs", "logs", read_only=False)],
    Stage.FILTER: [*_READ_ONLY_DATA, *_data("outputs", "logs", "adminlogs", "filter", read_only=False)],
    Stage.PUBLISH: [*_data("outputs", "logs", "filter", read_only=True), *_data("adminlogs", read_only=False)],
}


def _volumes(stage: Stage, job_id: str, env: Environment, settings: Settings, secret_name: str) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": f"{object_name(job_id)}-data"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": quantity(env.C2D_TMP_GB * 2**30)}},
    ]
    if stage is not Stage.ALGORITHM:
        items = [{"key": "stage.json", "path": "stage.json"}]
        volumes.append({"name": "stage", "secret": {"secretName": secret_name, "items": items, "defaultMode": 0o440}})
    if stage is Stage.PUBLISH and destinations(env).include_volume:
        volumes.append({"name": "results", "persistentVolumeClaim": {"claimName": settings.C2D_RESULTS_CLAIM}})
    return volumes


def _ours(stage: Stage, job_id: str, env: Environment, settings: Settings) -> dict[str, Any]:
    mounts = [*_MOUNTS[stage], {"name": "stage", "mountPath": "/c2d", "readOnly": True}]
    if stage is Stage.PUBLISH and destinations(env).include_volume:
        # Its own folder only: no job sees another's results.
        mounts.append({"name": "results", "mountPath": "/results", "subPath": object_name(job_id)})
    resources = _resources(Decimal("0.1"), max(env.nCPU, Decimal(1)), Decimal("0.5"), env)
    return _container(settings.C2D_STAGE_IMAGE, ["python3", "-m", "c2d_stages", str(stage)], [], mounts, resources)


def _isolated(env: Environment, settings: Settings) -> dict[str, Any]:
    # Within the algorithm's own CPUs and memory, and exact, so that the pod stays as it is for the scheduler (QoS Guaranteed).
    resources = _resources(env.nCPU, env.nCPU, min(env.ramGB, Decimal("0.0625")), env)
    return {**_container(settings.C2D_STAGE_IMAGE, ["python3", "-m", "c2d_stages", ISOLATED], [], [], resources), "name": ISOLATED}


def _algorithm(job_id: str, job: Job, env: Environment) -> dict[str, Any]:
    entrypoint = job.algorithm.container.entrypoint.replace("$ALGO", "/data/transformations/algorithm")
    blocks = str(env.C2D_LOG_BYTES // 512)
    command = ["/bin/sh", "-c", literal(ALGORITHM_WRAPPER), "algorithm", blocks, literal(entrypoint)]
    resources = _resources(env.nCPU, env.nCPU, env.ramGB, env, env.nGPU)
    container = _container(job.algorithm.container.reference, command, _algorithm_env(job_id, job), _MOUNTS[Stage.ALGORITHM], resources)
    if env.PULL_POLICY:
        container["imagePullPolicy"] = env.PULL_POLICY
    return container


def _owners_filter(job_id: str, job: Job, env: Environment) -> dict[str, Any]:
    """The environment's own filter, by operator-engine's contract: the image's entrypoint, the algorithm's variables and folders."""
    mounts = [*_READ_ONLY_DATA, *_data("outputs", "logs", read_only=False)]
    resources = _resources(Decimal("0.1"), env.nCPU, env.ramGB, env)
    variables = [v for v in _algorithm_env(job_id, job) if v["name"] != "secret"]
    container = _container(str(env.FILTERING_CONTAINER), [], variables, mounts, resources)
    del container["command"]
    return {**container, "name": "filtering-container"}


def _algorithm_env(job_id: str, job: Job) -> list[dict[str, Any]]:
    variables = {
        "DIDS": json.dumps([i.id.removeprefix("did:op:") for i in job.inputs]),
        "TRANSFORMATION_DID": (job.algorithm.id or "").removeprefix("did:op:"),
        "VOLUME": "/data",
        "LOGS": "/data/logs",
        "INPUTS": "/data/inputs",
        "OUTPUTS": "/data/outputs",
        "ALGO": "/data/transformations/algorithm",
        "HOME": "/tmp",
    }
    reference = {"secretKeyRef": {"name": stage_name(job_id, Stage.ALGORITHM), "key": "secret"}}
    return [*({"name": n, "value": literal(v)} for n, v in variables.items()), {"name": "secret", "valueFrom": reference}]
