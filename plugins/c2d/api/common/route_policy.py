"""Who may use a route. Each route carries a policy, and the app runs :func:`admit` before every route."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request

from c2d.errors import ApiError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class RoutePolicy(abc.ABC):
    """Who may use a route, and what a request to it must have. Each API has policies of its own, in its ``auth.py``."""

    @abc.abstractmethod
    async def admit(self, request: Request) -> None:
        """Read the request, and check it and its sender.

        :raises Exception: the request is malformed, or its sender may not use the route.
        """


def requires(policy: RoutePolicy) -> Callable[[Endpoint], Endpoint]:
    """A decorator that gives a route its policy."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        endpoint.policy = policy  # type: ignore[attr-defined]
        return endpoint

    return decorate


async def admit(request: Request) -> None:
    """Apply the policy of the route that the request is for.

    :raises ApiError: the route has no policy, so nobody may use it.
    :raises Exception: the policy does not admit the request.
    """
    policy = getattr(request.scope["endpoint"], "policy", None)
    if not isinstance(policy, RoutePolicy):
        raise ApiError(403, "nobody may use this route")
    await policy.admit(request)
