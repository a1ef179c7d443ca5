"""GET of a pod's log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from local.runner.api.parameters import flag, non_negative
from local.runner.errors import bad_request
from local.runner.pods.node import Node
from local.runner.store.objects import Object
from local.runner.store.store import Store


class PodLogs:
    """The log subresource of pods."""

    def __init__(self, store: Store, node: Node) -> None:
        self._store = store
        self._node = node

    async def read(self, request: Request) -> Response:
        """A container's log: all of it, its end, or as it grows."""
        query = request.query_params
        pod = self._store.get("pods", request.path_params["namespace"], request.path_params["name"])
        container = chosen_container(pod, query.get("container"))
        seconds = non_negative(query.get("sinceSeconds"), "sinceSeconds")
        pieces = self._node.log(pod, container).read(
            follow=flag(request, "follow"),
            since=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().encode() if seconds else b"",
            tail=non_negative(query.get("tailLines"), "tailLines"),
            times=flag(request, "timestamps"),
        )
        return StreamingResponse(_limited(pieces, non_negative(query.get("limitBytes"), "limitBytes")), media_type="text/plain")


def chosen_container(pod: Object, requested: str | None) -> str:
    """The container whose log is meant. Raises 400, in the API server's words, if that is unclear or the container has not started."""
    spec, status, pod_name = pod["spec"], pod["status"], pod["metadata"]["name"]
    names = [container["name"] for field in ("initContainers", "containers") for container in spec.get(field) or []]
    if not requested and len(names) > 1:
        raise bad_request(f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(names)}]")
    name = requested or names[0]
    if name not in names:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")
    statuses = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    state = next((container["state"] for container in statuses if container["name"] == name), {"waiting": {"reason": "ContainerCreating"}})
    if "waiting" in state:
        raise bad_request(f'container "{name}" in pod "{pod_name}" is waiting to start: {state["waiting"]["reason"]}')
    return name


async def _limited(pieces: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    left = limit
    async for piece in pieces:
        yield piece[:left]
        if left is not None:
            left -= len(piece)
            if left <= 0:
                return
