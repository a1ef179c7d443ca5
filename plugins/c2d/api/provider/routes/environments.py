"""The environments that jobs run in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from c2d.api.common.environment_status import environment_status
from c2d.api.common.route_policy import requires
from c2d.api.provider.auth import Public
from c2d.api.provider.service import service_of

router = APIRouter(tags=["compute"])


@router.get("/computeEnvironments", summary="The environments, by chain id")
@requires(Public({}))
def environments(request: Request) -> dict[str, list[dict[str, Any]]]:
    """`consumerAddress` is the address that orders must name as consumer. `feeToken` is the token that fees are paid in."""
    service = service_of(request)
    jobs = service.jobs.queries.running_by_environment()
    by_chain = {}
    for chain in service.chains():
        accepting = [env for env in service.settings.environments if not env.chains or chain in env.chains]
        fee_token = service.provider.fee_token(chain)
        statuses = [environment_status(env, service.settings, jobs.get(env.id, 0)) for env in accepting]
        by_chain[str(chain)] = [{**status, "feeToken": fee_token} for status in statuses]
    return by_chain
