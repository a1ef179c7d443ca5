"""The end of a running pod's log, for the live view. Only the API server asks, and only when somebody looks."""

from __future__ import annotations

import functools
from typing import Any

from c2d.hooks.kubernetes import CONTAINER

TAIL_BYTES = 64 * 1024


@functools.cache
def _api() -> Any:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    return KubernetesHook(conn_id="kubernetes_default").core_v1_client


def tail(namespace: str, pod: str, lines: int) -> str | None:
    """The last lines of the pod's log, at most TAIL_BYTES; None where there is no such pod or it has not begun.

    :raises Exception: Kubernetes does not answer.
    """
    try:
        answer = _api().read_namespaced_pod_log(
            pod, namespace, container=CONTAINER, tail_lines=lines, _preload_content=False, _request_timeout=(2, 5)
        )
    except Exception as e:
        if getattr(e, "status", None) in (400, 404):  # 400: its container waits to start
            return None
        raise
    return bytes(answer.data)[-TAIL_BYTES:].decode("utf-8", "replace")
