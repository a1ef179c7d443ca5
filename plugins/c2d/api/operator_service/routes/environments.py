"""The places where jobs run."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.operator_service.auth import data_of, requires
from c2d.api.operator_service.datamodels import FAILURES, ComputeEnvironment, environment_of
from c2d.api.operator_service.service import service_of
from c2d.errors import ApiError

router = APIRouter(tags=["operation"])


@router.get("/environments", summary="The environments for a chain", responses={200: {"model": list[ComputeEnvironment]}, **FAILURES})
@requires("public")
def environments(request: Request) -> JSONResponse:
    service, data = service_of(request), data_of(request)
    if not data:
        raise ApiError(400, '"chainId" is required in the call to GET:/environments')
    chain = str(data.get("chainId") or data.get("chain_id") or "")  # ocean-node asks with chain_id
    if chain and not re.fullmatch("[0-9]{1,19}", chain):
        raise ApiError(400, "chainId: must be a whole number")
    jobs = service.queries.running_by_environment()
    fitting = [e for e in service.settings.environments if not e.chains or not chain or int(chain) in e.chains]
    return JSONResponse([environment_of(e, service.settings, jobs.get(e.id, 0)) for e in fitting])
