"""Fields of a job as Ocean's clients write them, translated to our job model's. Both APIs get them in the same form.

``where`` is always the field's place in the request, for the error. Every function raises InvalidJob, naming the field that is wrong.
"""

from __future__ import annotations

import time
from typing import Any

from c2d.api.common.environment_status import max_job_seconds
from c2d.api.common.untrusted_json import parse_json
from c2d.errors import InvalidJob
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

SHORTEST_RAWCODE = 11
"""Characters. Clients put a placeholder into a shorter rawcode; Ocean's pod-configuration ignores it too."""

CONTAINER = ("image", "tag", "checksum", "entrypoint")


def algorithm_conf(algorithm: dict[str, Any]) -> dict[str, Any]:
    """The algorithm: container, id, its code as rawcode, files or a remote asset, and the consumer's parameters."""
    container = as_object(algorithm.get("container"), "algorithm.container")
    conf: dict[str, Any] = {"container": {name: container[name] for name in CONTAINER if container.get(name)}}
    if algorithm.get("id"):
        conf["id"] = algorithm["id"]
    rawcode = algorithm.get("rawcode")
    if rawcode and (not isinstance(rawcode, str) or len(rawcode) >= SHORTEST_RAWCODE):
        conf["rawcode"] = rawcode
    elif algorithm.get("url"):
        conf["files"] = files_conf(algorithm["url"], "algorithm.url")
    elif remote := remote_conf(algorithm.get("remote"), "algorithm.remote"):
        conf["remote"] = remote
    if custom := parameters(algorithm.get("algocustomdata"), "algorithm.algocustomdata"):
        conf["algocustomdata"] = custom
    return conf


def files_conf(urls: Any, where: str) -> list[Any]:
    """One URL or a list of URLs, each as text or as an object with method and headers. [] if there is none."""
    if not urls:
        return []
    each = urls if isinstance(urls, list) else [urls]
    return [{"url": url} if isinstance(url, str) else as_object(url, f"{where}[{n}]") for n, url in enumerate(each)]


def remote_conf(remote: Any, where: str) -> dict[str, Any]:
    """The order of an asset whose files another Provider has; {} if there is none.

    Ocean's Provider writes ``userdata`` for a data set and ``userData`` for an algorithm.
    """
    if not remote:
        return {}
    order = as_object(remote, where)
    userdata = parameters(order.get("userdata") or order.get("userData"), f"{where}.userdata")
    named = {name: order[name] for name in ("txId", "serviceId", "serviceEndpoint") if order.get(name)}
    return {**named, **({"userdata": userdata} if userdata else {})}


def run_seconds(valid_until: Any, env: Environment, settings: Settings, now: float | None = None) -> int:
    """How long the algorithm may run: for the time that was paid for, up to what the environment and ALGO_POD_TIMEOUT allow.

    :param valid_until: seconds since 1970 at which the paid time ends. Empty or 0: there is no such limit.
    """
    limit = max_job_seconds(env, settings)
    until = whole_number(valid_until, "validUntil")
    if not until:
        return limit
    left = until - int(time.time() if now is None else now)
    if left <= 0:
        raise InvalidJob("validUntil: must be in the future")
    return min(left, limit)


def parameters(value: Any, where: str) -> dict[str, Any]:
    """An object, or JSON text of one. {} if there is none."""
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value.encode())
        except ValueError:
            raise InvalidJob(f"{where}: must be a JSON object") from None
    return as_object(value, where) if value else {}


def as_object(value: Any, where: str) -> dict[str, Any]:
    """``value``, which must be an object."""
    if not isinstance(value, dict):
        raise InvalidJob(f"{where}: must be an object")
    return value


def whole_number(value: Any, where: str) -> int | None:
    """A whole number, also if it is written as text. None if there is none."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidJob(f"{where}: must be a whole number") from None
