"""The environments that jobs run in."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.common.environment_status import ComputeEnvironment, environment_status
from c2d.api.common.errors import FAILURES
from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import Public
from c2d.api.operator_service.request import service_of
from c2d.errors import ApiError

router = APIRouter(tags=["operation"])


@router.get("/environments", summary="The environments for a chain", responses={200: {"model": list[ComputeEnvironment]}, **FAILURES})
@requires(Public())
def environments(request: Request) -> JSONResponse:
    """`chainId` selects those that accept jobs of this chain."""
    service, data = service_of(request), data_of(request)
    if not data:
        raise ApiError(400, '"chainId" is required in the call to GET:/environments')
    chain = str(data.get("chainId") or data.get("chain_id") or "")  # ocean-node sends chain_id
    if chain and not re.fullmatch("[0-9]{1,19}", chain):
        raise ApiError(400, "chainId: must be a whole number")
    jobs = service.queries.running_by_environment()
    accepting = [env for env in service.settings.environments if not env.chains or not chain or int(chain) in env.chains]
    return JSONResponse([environment_status(env, service.settings, jobs.get(env.id, 0)) for env in accepting])
