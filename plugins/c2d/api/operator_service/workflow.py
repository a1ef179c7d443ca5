"""Translates a Provider's ``workflow`` to our job: one stage with an algorithm and inputs, as Provider v2.1.6 and ocean-node send it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from c2d.api.common.job_fields import algorithm_conf, as_object, files_conf, parameters, remote_conf, run_seconds, whole_number
from c2d.errors import ApiError, InvalidJob
from c2d.jobs.model import Job
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

STAGE_PARTS = ("algorithm", "compute", "input", "output")


def job_of(data: dict[str, Any], env: Environment, settings: Settings) -> Job:
    """The job that the body of ``POST compute`` asks for.

    :raises ApiError: the workflow does not have exactly one complete stage.
    :raises InvalidJob: fields are wrong; the text names each.
    """
    stage = stage_of(data.get("workflow"))
    conf = {
        "inputs": _inputs(stage["input"]),
        "algorithm": algorithm_conf(as_object(stage["algorithm"], "algorithm")),
        "owner": data.get("owner"),
        "environment": env.id,
        "agreementId": data.get("agreementId"),
        "chainId": whole_number(data.get("chainId"), "chainId"),
        "maxJobDuration": run_seconds(data.get("validUntil"), env, settings),
        "output": _output(stage["output"]),
        "userdata": _userdata(stage["algorithm"]),
    }
    return Job.parse(conf, env.id)


def stage_of(workflow: Any) -> dict[str, Any]:
    """The workflow's only stage.

    :raises ApiError: it does not have exactly one complete stage. The texts are operator-service's.
    """
    if not workflow or not isinstance(workflow, dict):
        raise ApiError(400, "`workflow` is required in the payload and must include workflow stages")
    stages = workflow.get("stages")
    if not stages or not isinstance(stages, list):
        raise ApiError(400, "Missing stages")
    if len(stages) > 1:
        raise ApiError(400, "Multiple stages are not supported yet")
    stage = stages[0]
    if not isinstance(stage, dict):
        raise ApiError(400, "Missing stages")
    for part in STAGE_PARTS:
        if part not in stage:
            raise ApiError(400, f"Missing {part} in stage 0")
    return stage


def _inputs(inputs: Any) -> list[dict[str, Any]]:
    if not isinstance(inputs, list):
        raise InvalidJob("input: must be a list")
    return [_input(as_object(each, f"input[{n}]"), f"input[{n}]") for n, each in enumerate(inputs)]


def _input(data_set: dict[str, Any], where: str) -> dict[str, Any]:
    """A data set with its files, or as an order that its own Provider answers."""
    files = files_conf(data_set.get("url"), f"{where}.url")
    remote = remote_conf(data_set.get("remote"), f"{where}.remote")
    remote.pop("serviceEndpoint", None)  # the DDO has it; our model has this field for an algorithm only
    if files:
        return {"id": data_set.get("id") or _id_of_files(files), "files": files}
    if not remote:
        raise InvalidJob(f"{where}: must have url or remote")
    return {"id": data_set.get("id"), "remote": remote}


def _id_of_files(files: list[Any]) -> str:
    """An id for a data set without one (ocean-node allows that): the folder of its files needs a name."""
    return "did:op:" + hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _userdata(algorithm: Any) -> dict[str, Any] | None:
    userdata = parameters(algorithm.get("algouserdata"), "algorithm.algouserdata")
    return {"algouserdata": userdata} if userdata else None


def _output(output: Any) -> dict[str, Any] | None:
    """``publicKey`` is our addition: the key that results are encrypted to, in an environment that encrypts them to the consumer."""
    if not isinstance(output, dict):
        return None
    return {name: output[name] for name in ("metadataUri", "publicKey") if output.get(name)} or None
