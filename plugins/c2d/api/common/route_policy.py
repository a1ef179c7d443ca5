"""How a route states who may use it: it carries a policy, which the app's ``admit`` dependency enforces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request

from c2d.errors import ApiError

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Policy = TypeVar("Policy")


def with_policy(policy: object) -> Callable[[Endpoint], Endpoint]:
    """A decorator that gives a route its policy."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        endpoint.policy = policy  # type: ignore[attr-defined]
        return endpoint

    return decorate


def policy_of(request: Request, kind: type[Policy]) -> Policy:
    """The policy of the route that the request is for.

    :raises ApiError: the route has none, so nobody may use it.
    """
    policy = getattr(request.scope["endpoint"], "policy", None)
    if not isinstance(policy, kind):
        raise ApiError(403, "nobody may use this route")
    return policy
