"""The verbs that every kind of object has: list and watch, create, get, patch, delete."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from local.runner.api.defaults import fold_string_data, with_defaults
from local.runner.api.parameters import flag, grace_period, json_body, non_negative, reject_dry_run
from local.runner.api.patches import patched, require_merge_patch
from local.runner.api.selectors import Predicate, field_selector, label_selector
from local.runner.api.validation import validate
from local.runner.api.watches import watch
from local.runner.errors import bad_request, invalid
from local.runner.pods.node import Node
from local.runner.store.objects import Kind, Object
from local.runner.store.store import Store

WATCH_SECONDS = 1800
FIXED_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""What of an object's metadata no client may change."""


class Resource:
    """One kind of object over HTTP."""

    def __init__(self, kind: Kind, store: Store, node: Node) -> None:
        self._kind = kind
        self._store = store
        self._node = node

    async def list_or_watch(self, request: Request) -> Response:
        """The objects that the selectors choose, or with `watch` a stream of their changes."""
        plural, query = self._kind.plural, request.query_params
        selected = self._selected(request)
        if flag(request, "watch"):
            seconds = non_negative(query.get("timeoutSeconds"), "timeoutSeconds") or WATCH_SECONDS
            lines = watch(self._store, plural, selected, query.get("resourceVersion", ""), seconds)
            return StreamingResponse(lines, media_type="application/json")
        return JSONResponse(
            {
                "kind": f"{self._kind.name}List",
                "apiVersion": self._kind.api_version,
                "metadata": {"resourceVersion": str(self._store.version)},
                "items": [obj for obj in self._store.all(plural, _namespace(request)) if selected(obj)],
            }
        )

    async def create(self, request: Request) -> Response:
        """Create an object. Its namespace comes into being with its first object."""
        reject_dry_run(request)
        obj = await json_body(request)
        if obj.get("kind", self._kind.name) != self._kind.name:
            raise bad_request(f"the body must be a {self._kind.name}")
        obj = with_defaults(self._kind, _namespace(request), obj)
        validate(self._kind, obj)
        self._ensure_namespace(_namespace(request))
        created = self._store.create(self._kind.plural, obj)
        self._node.created(self._kind.plural, created)
        return JSONResponse(created, status_code=201)

    async def read(self, request: Request) -> Response:
        """One object."""
        return JSONResponse(self._current(request))

    async def patch(self, request: Request) -> Response:
        """Merge a patch into an object. A pod keeps its spec, but for an earlier activeDeadlineSeconds; only the runner writes status."""
        reject_dry_run(request)
        require_merge_patch(request.headers.get("content-type", ""))
        patch = await json_body(request)
        current = self._current(request)
        new = patched(current, patch)
        new |= {"kind": self._kind.name, "apiVersion": self._kind.api_version}
        new["metadata"] = {key: value for key, value in (new.get("metadata") or {}).items() if key not in FIXED_METADATA}
        new["metadata"] |= {key: current["metadata"][key] for key in FIXED_METADATA if key in current["metadata"]}
        new.pop("status", None)
        if "status" in current:
            new["status"] = current["status"]
        if self._kind.plural == "secrets":
            fold_string_data(new)
        self._reject_forbidden(current, new)
        validate(self._kind, new)

        def replace(obj: Object) -> None:
            obj.clear()
            obj.update(new)

        return JSONResponse(self._store.update(self._kind.plural, _namespace(request), new["metadata"]["name"], replace))

    async def delete(self, request: Request) -> Response:
        """Delete an object and its dependents. Pods and claims answer with the object, for it may take a while to go."""
        grace = await grace_period(request)
        name = request.path_params["name"]
        last = self._node.deletion.delete(self._kind.plural, _namespace(request), name, grace)
        if self._kind.plural in ("pods", "persistentvolumeclaims"):
            return JSONResponse(last)
        details = {"name": name, "kind": self._kind.plural, "uid": last["metadata"]["uid"]}
        return JSONResponse({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    def _current(self, request: Request) -> Object:
        return self._store.get(self._kind.plural, _namespace(request), request.path_params["name"])

    def _selected(self, request: Request) -> Predicate:
        namespace = _namespace(request)
        labels = label_selector(request.query_params.get("labelSelector", ""))
        fields = field_selector(request.query_params.get("fieldSelector", ""), ("metadata.name", "metadata.namespace", *self._kind.fields))
        return lambda obj: obj["metadata"].get("namespace", "") == namespace and labels(obj) and fields(obj)

    def _ensure_namespace(self, namespace: str) -> None:
        if namespace and self._store.find("namespaces", "", namespace) is None:
            self._store.create("namespaces", {"metadata": {"name": namespace}, "status": {"phase": "Active"}})

    def _reject_forbidden(self, current: Object, new: Object) -> None:
        causes: list[tuple[str, str]] = []
        if self._kind.plural in ("pods", "persistentvolumeclaims") and not _is_permitted(current.get("spec") or {}, new.get("spec") or {}):
            causes.append(("spec", "Forbidden: nothing but a pod's activeDeadlineSeconds may change, and only to an earlier deadline"))
        if current.get("immutable") and any(new.get(field) != current.get(field) for field in ("data", "binaryData", "immutable")):
            causes.append(("data", "Forbidden: field is immutable when `immutable` is set"))
        if causes:
            raise invalid(self._kind.name, current["metadata"]["name"], causes)


def _namespace(request: Request) -> str:
    namespace: str = request.path_params.get("namespace", "")
    return namespace


def _is_permitted(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a spec may replace another: they are equal, or activeDeadlineSeconds has become smaller."""
    field = "activeDeadlineSeconds"
    if {**old, field: None} != {**new, field: None}:
        return False
    before, after = old.get(field), new.get(field)
    return after == before or (isinstance(after, int) and 0 < after <= (before or after))
