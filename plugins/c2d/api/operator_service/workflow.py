"""A Provider's ``workflow`` as our job: the one stage of it, field by field (shared shape of Provider v2.1.6 and ocean-node)."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from c2d.api.common.body import loads
from c2d.api.operator_service.datamodels import seconds_at_most
from c2d.errors import ApiError, InvalidJob
from c2d.jobs.model import Job
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

STAGE_PARTS = ("algorithm", "compute", "input", "output")
RAWCODE_FROM = 11  # characters: what is shorter is a placeholder, as pod-configuration takes it


def stage_of(workflow: Any) -> dict[str, Any]:
    """The workflow's only stage. Refuses with the incumbent's texts."""
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


def job_of(data: dict[str, Any], env: Environment, settings: Settings) -> Job:
    """The job that the body of POST compute asks for.

    :raises InvalidJob: naming each field that is wrong.
    :raises ApiError: the workflow has not one whole stage.
    """
    stage = stage_of(data.get("workflow"))
    conf = {
        "inputs": _inputs(stage["input"]),
        "algorithm": algorithm_of(_object(stage["algorithm"], "algorithm")),
        "owner": data.get("owner"),
        "environment": env.id,
        "agreementId": data.get("agreementId"),
        "chainId": _whole(data.get("chainId"), "chainId"),
        "maxJobDuration": seconds_of(data.get("validUntil"), env, settings),
        "output": _output(stage["output"]),
        "userdata": _userdata(stage["algorithm"]),
    }
    return Job.parse(conf, env.id)


def seconds_of(valid_until: Any, env: Environment, settings: Settings, now: float | None = None) -> int:
    """How long the algorithm may run: what was paid for, and no longer than the environment and ALGO_POD_TIMEOUT allow.

    :param valid_until: seconds since 1970; nothing or 0: no such limit.
    """
    limit = seconds_at_most(env, settings)
    until = _whole(valid_until, "validUntil")
    if not until:
        return limit
    left = until - int(time.time() if now is None else now)
    if left <= 0:
        raise InvalidJob("validUntil: must be in the future")
    return min(left, limit)


def _inputs(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        raise InvalidJob("input: must be a list")
    return [_input(_object(each, f"input[{n}]"), f"input[{n}]") for n, each in enumerate(given)]


def _input(given: dict[str, Any], at: str) -> dict[str, Any]:
    files = _files(given.get("url"), f"{at}.url")
    remote = _remote(given.get("remote"), f"{at}.remote")
    if files:
        # ocean-node's form may have no id; the folder of the files needs one.
        name = given.get("id") or "did:op:" + hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        return {"id": name, "files": files}
    if not remote:
        raise InvalidJob(f"{at}: must have url or remote")
    return {"id": given.get("id"), "remote": remote}


def algorithm_of(given: dict[str, Any]) -> dict[str, Any]:
    """The algorithm as clients write it: id, rawcode, url or remote, container, algocustomdata.

    :raises InvalidJob:
    """
    container = _object(given.get("container"), "algorithm.container")
    names = ("image", "tag", "checksum", "entrypoint")
    algorithm: dict[str, Any] = {"container": {n: container[n] for n in names if container.get(n)}}
    if given.get("id"):
        algorithm["id"] = given["id"]
    rawcode = given.get("rawcode")
    if rawcode and (not isinstance(rawcode, str) or len(rawcode) >= RAWCODE_FROM):
        algorithm["rawcode"] = rawcode
    elif given.get("url"):
        algorithm["files"] = _files(given["url"], "algorithm.url")
    elif remote := _remote(given.get("remote"), "algorithm.remote"):
        algorithm["remote"] = remote
    if custom := parameters_of(given.get("algocustomdata"), "algorithm.algocustomdata"):
        algorithm["algocustomdata"] = custom
    return algorithm


def _files(given: Any, at: str) -> list[Any]:
    """One URL or several, each as text or with its method and headers."""
    if not given:
        return []
    urls = given if isinstance(given, list) else [given]
    return [{"url": u} if isinstance(u, str) else _object(u, f"{at}[{n}]") for n, u in enumerate(urls)]


def _remote(given: Any, at: str) -> dict[str, Any] | None:
    """The order of an asset. The Provider writes ``userdata`` for a data set and ``userData`` for an algorithm."""
    if not given:
        return None
    order = _object(given, at)
    userdata = parameters_of(order.get("userdata") or order.get("userData"), f"{at}.userdata")
    named = {name: order[name] for name in ("txId", "serviceId", "serviceEndpoint") if order.get(name)}
    if at.startswith("input"):
        named.pop("serviceEndpoint", None)
    return {**named, **({"userdata": userdata} if userdata else {})}


def _userdata(algorithm: Any) -> dict[str, Any] | None:
    given = parameters_of(algorithm.get("algouserdata"), "algorithm.algouserdata")
    return {"algouserdata": given} if given else None


def _output(given: Any) -> dict[str, Any] | None:
    """``publicKey`` is ours: what results are encrypted to in an environment that encrypts them to the consumer."""
    output = {n: given[n] for n in ("metadataUri", "publicKey") if given.get(n)} if isinstance(given, dict) else {}
    return output or None


def parameters_of(given: Any, at: str) -> dict[str, Any]:
    """An object, or JSON text of one.

    :raises InvalidJob: it is something else.
    """
    if isinstance(given, str) and given.strip():
        try:
            given = loads(given.encode())
        except ValueError:
            raise InvalidJob(f"{at}: must be a JSON object") from None
    return _object(given, at) if given else {}


def _object(given: Any, at: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidJob(f"{at}: must be an object")
    return given


def _whole(given: Any, at: str) -> int | None:
    if given is None or given == "":
        return None
    try:
        if isinstance(given, bool) or (isinstance(given, float) and given != int(given)):
            raise ValueError
        return int(given)
    except (TypeError, ValueError, OverflowError):
        raise InvalidJob(f"{at}: must be a whole number") from None
