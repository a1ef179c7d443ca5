"""The HTTP side: the part of the Kubernetes API that the runner has, over the store and the node."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ApiError, bad_request, conflict, invalid, not_found
from .objects import KINDS, Change, Kind, Object, Store
from .patches import patched
from .pods import Node
from .selectors import Test, field_selector, label_selector
from .validation import check, fill_in, fold_string_data

MAX_BODY = 3 << 20
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0+c2d-laptop-runner", "platform": "linux"}


class RequireToken:
    """Refuses every request without the bearer token, before anything looks at it."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
            if not hmac.compare_digest(given, self._expected):
                return await _error(ApiError(401, "Unauthorized", "Unauthorized"))(scope, receive, send)
        await self._app(scope, receive, send)


def make_app(store: Store, node: Node, token: str) -> ASGIApp:
    """The application; every path below needs `Authorization: Bearer <token>`."""
    api = Api(store, node)
    routes = [Route(path, _answering(handler), methods=["GET"]) for path, handler in api.discovery().items()]
    for base, grouped in (("/api/v1", False), ("/apis/{group}/v1", True)):
        for path, handler, methods in (
            ("/{plural}", api.collection, ["GET", "POST"]),
            ("/{plural}/{name}", api.single, ["GET", "PUT", "PATCH", "DELETE"]),
            ("/namespaces/{namespace}/{plural}", api.collection, ["GET", "POST", "DELETE"]),
            ("/namespaces/{namespace}/{plural}/{name}", api.single, ["GET", "PUT", "PATCH", "DELETE"]),
        ):
            routes.append(Route(base + path, _answering(handler), methods=methods))
        if not grouped:
            routes.append(Route(base + "/namespaces/{namespace}/pods/{name}/log", _answering(api.log), methods=["GET"]))
            routes.append(Route(base + "/namespaces/{namespace}/pods/{name}/status", _answering(api.pod_status), methods=["GET"]))
    return RequireToken(Starlette(routes=routes, exception_handlers={404: _no_path, 405: _no_path}), token)


async def _no_path(request: Request, _error_: Exception) -> Response:
    return _error(ApiError(404, "NotFound", f"the laptop runner does not have {request.method} {request.url.path}"))


def _error(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, status_code=error.code)


def _answering(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            answer = await handler(request)
            return answer if isinstance(answer, Response) else JSONResponse(answer)
        except ApiError as error:
            return _error(error)

    return endpoint


class Api:
    def __init__(self, store: Store, node: Node) -> None:
        self._store = store
        self._node = node

    # -- what there is ------------------------------------------------------------------------------------------
    def discovery(self) -> dict[str, Callable[[Request], Any]]:
        def fixed(answer: Any) -> Callable[[Request], Any]:
            async def handler(_request: Request) -> Any:
                return Response(answer, media_type="text/plain") if isinstance(answer, str) else answer

            return handler

        version = {"groupVersion": "networking.k8s.io/v1", "version": "v1"}
        group = {"name": "networking.k8s.io", "versions": [version], "preferredVersion": version}
        return {
            "/version": fixed(VERSION),
            "/healthz": fixed("ok"),
            "/readyz": fixed("ok"),
            "/livez": fixed("ok"),
            "/api": fixed({"kind": "APIVersions", "versions": ["v1"]}),
            "/api/v1": fixed(_resources("")),
            "/apis": fixed({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}),
            "/apis/networking.k8s.io": fixed({"kind": "APIGroup", "apiVersion": "v1"} | group),
            "/apis/networking.k8s.io/v1": fixed(_resources("networking.k8s.io")),
        }

    # -- collections --------------------------------------------------------------------------------------------
    async def collection(self, request: Request) -> Any:
        kind, namespace = self._kind(request), request.path_params.get("namespace", "")
        if request.method == "POST":
            return await self._create(request, kind, namespace)
        chosen = _chosen(request, kind)
        if request.method == "DELETE":
            return await self._delete_all(request, kind, namespace, chosen)
        query = request.query_params
        if _true(query.get("watch")):
            seconds = float(query.get("timeoutSeconds") or 1800)
            stream = self._watch(kind, namespace, chosen, query.get("resourceVersion", ""), seconds)
            return StreamingResponse(stream, media_type="application/json")
        return self._list(kind, [obj for obj in self._store.all(kind.plural, namespace) if chosen(obj)])

    def _list(self, kind: Kind, items: list[Object]) -> Object:
        version = {"resourceVersion": str(self._store.version)}
        return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": version, "items": items}

    async def _create(self, request: Request, kind: Kind, namespace: str) -> Response:
        if kind.namespaced and not namespace:
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        obj = await _body(request)
        if not isinstance(obj, dict) or obj.get("kind", kind.name) != kind.name:
            raise bad_request(f"the body must be a {kind.name}")
        obj = fill_in(kind.plural, namespace, obj)
        check(kind.plural, obj)
        if "dryRun" in request.query_params:
            return JSONResponse(obj, status_code=201)
        self._add_namespace(namespace)
        created = self._store.create(kind.plural, obj)
        self._node.created(kind.plural, created)
        return JSONResponse(created, status_code=201)

    def _add_namespace(self, namespace: str) -> None:
        """Any namespace works; it exists from its first use, with the service account that clusters give each."""
        if namespace and self._store.find("namespaces", "", namespace) is None:
            obj = {"metadata": {"name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}}, "status": {"phase": "Active"}}
            check("namespaces", obj)
            self._store.create("namespaces", obj)
        if namespace and self._store.find("serviceaccounts", namespace, "default") is None:
            self._store.create("serviceaccounts", {"metadata": {"name": "default", "namespace": namespace}})

    async def _delete_all(self, request: Request, kind: Kind, namespace: str, chosen: Test) -> Object:
        grace, _, orphan = await _delete_options(request)
        gone = [obj for obj in self._store.all(kind.plural, namespace) if chosen(obj)]
        for obj in gone:
            if self._store.find(kind.plural, namespace, obj["metadata"]["name"]):
                self._node.deletion.delete(kind.plural, namespace, obj["metadata"]["name"], grace, orphan=orphan)
        return self._list(kind, gone)

    async def _watch(self, kind: Kind, namespace: str, chosen: Test, version: str, seconds: float) -> AsyncIterator[bytes]:
        """One JSON line a change. Ends after `seconds`, when the runner stops, or with an ERROR line where `version` is too old."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        seen = self._store.version
        if version in ("", "0"):
            for obj in self._store.all(kind.plural, namespace):
                if chosen(obj):
                    yield _event("ADDED", obj)
        else:
            seen = int(version) if version.isdigit() else seen
        while not self._store.closed:
            changes = self._store.changes(seen)
            if changes is None:
                gone = ApiError(410, "Expired", f"too old resource version: {seen} ({self._store.oldest})")
                yield _event("ERROR", gone.body)
                return
            for change in changes:
                seen = change.version
                if line := _seen_by(change, kind, namespace, chosen):
                    yield line
            left = until - loop.time()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._store.wait(seen), left)
            except TimeoutError:
                return

    # -- single objects -----------------------------------------------------------------------------------------
    async def single(self, request: Request) -> Any:
        kind, namespace, name = self._kind(request), request.path_params.get("namespace", ""), request.path_params["name"]
        if request.method == "DELETE":
            grace, uid, orphan = await _delete_options(request)
            last = self._node.deletion.delete(kind.plural, namespace, name, grace, uid, orphan)
            if kind.plural in ("pods", "persistentvolumeclaims"):
                return last
            details = {"name": name, "kind": kind.plural, "uid": last["metadata"]["uid"]}
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        if request.method == "GET" and kind.plural in ("serviceaccounts", "namespaces"):
            space = namespace if kind.namespaced else name
            if name == "default" or space in ("default", "c2d-jobs"):
                self._add_namespace(space)
        current = self._store.get(kind.plural, namespace, name)
        if request.method == "GET":
            return current
        body = await _body(request)
        new = patched(current, request.headers.get("content-type", ""), body) if request.method == "PATCH" else body
        return self._replace(kind, namespace, name, current, new)

    def _replace(self, kind: Kind, namespace: str, name: str, current: Object, new: Object) -> Object:
        wanted = (new.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != current["metadata"]["resourceVersion"]:
            why = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(kind.plural, name, why)
        if kind.plural == "secrets":
            fold_string_data(new)
        metadata = dict(new.get("metadata") or {})
        for field in (
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ):
            if field in current["metadata"]:
                metadata[field] = current["metadata"][field]
            else:
                metadata.pop(field, None)
        new = new | {"metadata": metadata, "kind": kind.name, "apiVersion": kind.api_version}
        if "status" in current:  # only the runner writes status
            new["status"] = current["status"]
        if kind.plural in ("pods", "persistentvolumeclaims") and not _may_follow(current.get("spec") or {}, new.get("spec") or {}):
            raise invalid(
                kind.name,
                name,
                [
                    (
                        "spec",
                        "Forbidden: the laptop runner changes its metadata, and brings a pod's activeDeadlineSeconds nearer",
                    )
                ],
            )
        if current.get("immutable") and any(new.get(field) != current.get(field) for field in ("data", "binaryData", "immutable")):
            raise invalid(kind.name, name, [("data", "Forbidden: field is immutable when `immutable` is set")])
        check(kind.plural, new)

        def change(obj: Object) -> None:
            obj.clear()
            obj.update(new)

        return self._store.update(kind.plural, namespace, name, change)

    async def pod_status(self, request: Request) -> Object:
        return self._store.get("pods", request.path_params["namespace"], request.path_params["name"])

    async def log(self, request: Request) -> Response:
        pod, query = await self.pod_status(request), request.query_params
        states = (pod["status"].get("initContainerStatuses") or []) + (pod["status"].get("containerStatuses") or [])
        names = [container["name"] for field in ("initContainers", "containers") for container in pod["spec"].get(field) or []]
        name = query.get("container") or (names[0] if len(names) == 1 else "")
        where = pod["metadata"]["name"]
        if not name:
            raise bad_request(f"a container name must be specified for pod {where}, choose one of: [{' '.join(names)}]")
        if name not in names:
            raise bad_request(f"container {name} is not valid for pod {where}")
        if _true(query.get("previous")):
            raise bad_request(f'previous terminated container "{name}" in pod "{where}" not found')
        state = next((status["state"] for status in states if status["name"] == name), {"waiting": {"reason": "ContainerCreating"}})
        if "waiting" in state:
            raise bad_request(f'container "{name}" in pod "{where}" is waiting to start: {state["waiting"].get("reason")}')
        pieces = self._node.log(pod, name).read(
            follow=_true(query.get("follow")),
            since=_since(query.get("sinceSeconds"), query.get("sinceTime")),
            tail=_number(query.get("tailLines"), "tailLines"),
            times=_true(query.get("timestamps")),
        )
        return StreamingResponse(_limited(pieces, _number(query.get("limitBytes"), "limitBytes")), headers={"content-type": "text/plain"})

    def _kind(self, request: Request) -> Kind:
        plural, group = request.path_params["plural"], request.path_params.get("group", "")
        kind = KINDS.get(plural)
        if kind is None or kind.group != group or (not kind.namespaced and "namespace" in request.path_params):
            raise not_found("path", request.url.path)
        return kind


def _resources(group: str) -> Object:
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced, "kind": kind.name, "verbs": verbs}
        | ({"shortNames": list(kind.short)} if kind.short else {})
        for kind in KINDS.values()
        if kind.group == group
    ]
    if not group:
        resources.append({"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]})
    return {"kind": "APIResourceList", "groupVersion": f"{group}/v1" if group else "v1", "resources": resources}


def _chosen(request: Request, kind: Kind) -> Test:
    labels = label_selector(request.query_params.get("labelSelector", ""))
    fields = field_selector(request.query_params.get("fieldSelector", ""), kind.fields | {"metadata.name", "metadata.namespace"})
    return lambda obj: labels(obj) and fields(obj)


def _seen_by(change: Change, kind: Kind, namespace: str, chosen: Test) -> bytes | None:
    """The line that a watcher gets for a change, if it concerns it: an object that no longer matches is DELETED for it."""
    if change.plural != kind.plural or namespace not in ("", change.last["metadata"].get("namespace", "")):
        return None
    before = change.before is not None and chosen(change.before)
    after = change.after is not None and chosen(change.after)
    if not before and not after:
        return None
    return _event("MODIFIED" if before and after else "ADDED" if after else "DELETED", change.last)


def _event(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


async def _body(request: Request) -> Any:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY:
            raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")
    if not content:
        return {}
    try:
        return json.loads(content)
    except ValueError as error:
        raise bad_request(f"the body is not JSON ({error}); the laptop runner understands nothing else") from error


async def _delete_options(request: Request) -> tuple[int | None, str | None, bool]:
    """Grace in seconds, UID that the object must have, whether dependants stay. The query wins over the body."""
    body, query = await _body(request), request.query_params
    grace = query.get("gracePeriodSeconds", body.get("gracePeriodSeconds"))
    policy = query.get("propagationPolicy") or body.get("propagationPolicy")
    orphan = policy == "Orphan" or str(query.get("orphanDependents", body.get("orphanDependents"))).lower() == "true"
    return _number(grace, "gracePeriodSeconds"), (body.get("preconditions") or {}).get("uid"), orphan


def _may_follow(old: Object, new: Object) -> bool:
    """Whether a spec may take the other's place: it is the same, or its activeDeadlineSeconds has come nearer."""
    field = "activeDeadlineSeconds"
    if {**old, field: None} != {**new, field: None}:
        return False
    before, after = old.get(field), new.get(field)
    return after == before or (isinstance(after, int) and 0 < after <= (before or after))


def _true(value: str | None) -> bool:
    """As Go reads a boolean; the Python client writes True."""
    return value in ("1", "t", "T", "true", "TRUE", "True")


def _number(value: Any, name: str) -> int | None:
    if value is None:
        return None
    try:
        number = int(value)
    except (ValueError, TypeError):
        number = -1
    if number < 0:
        raise bad_request(f"{name} must be a whole number, at least 0: {value!r}")
    return number


def _since(seconds: str | None, moment: str | None) -> bytes:
    """The stamp from which on log lines are wanted."""
    if moment:
        return moment.rstrip("Z").encode()
    if number := _number(seconds, "sinceSeconds"):
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() - number, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
    return b""


async def _limited(pieces: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    left = limit
    async for piece in pieces:
        yield piece if left is None else piece[:left]
        if left is not None:
            left -= len(piece)
            if left <= 0:
                return
