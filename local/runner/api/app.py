"""The web application: routes, the bearer token, and errors in Kubernetes' form."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.runner.api.discovery import documents
from local.runner.api.pod_logs import PodLogs
from local.runner.api.resources import Resource
from local.runner.errors import ApiError
from local.runner.pods.node import Node
from local.runner.store.objects import KINDS
from local.runner.store.store import Store


class RequireToken:
    """Answers 401 to every request without the bearer token, before anything else looks at the request."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(authorization, self._expected):
                return await _status(ApiError(401, "Unauthorized", "Unauthorized"))(scope, receive, send)
        await self._app(scope, receive, send)


def make_app(store: Store, node: Node, token: str) -> ASGIApp:
    """The application. Every request needs `Authorization: Bearer <token>`."""
    routes = [Route(path, _constant(document)) for path, document in documents().items()]
    for kind in KINDS.values():
        resource = Resource(kind, store, node)
        base = f"/apis/{kind.group}/v1" if kind.group else "/api/v1"
        collection = f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
        routes += [
            Route(collection, resource.list_or_watch, methods=["GET"]),
            Route(collection, resource.create, methods=["POST"]),
            Route(f"{collection}/{{name}}", resource.read, methods=["GET"]),
            Route(f"{collection}/{{name}}", resource.patch, methods=["PATCH"]),
            Route(f"{collection}/{{name}}", resource.delete, methods=["DELETE"]),
        ]
    routes.append(Route("/api/v1/namespaces/{namespace}/pods/{name}/log", PodLogs(store, node).read, methods=["GET"]))
    return RequireToken(Starlette(routes=routes, exception_handlers={ApiError: _api_error, HTTPException: _no_route}), token)


def _constant(document: object) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(document)

    return endpoint


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _status(error)


async def _no_route(request: Request, _: Exception) -> Response:
    """404 for a path or method that the runner lacks; never 405, which clients take for a refusal of this one call."""
    return _status(ApiError(404, "NotFound", f"the laptop runner does not serve {request.method} {request.url.path}"))


def _status(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, status_code=error.code)
