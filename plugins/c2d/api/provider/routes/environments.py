"""The places where jobs run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from c2d.api.operator_service.datamodels import environment_of
from c2d.api.provider.auth import requires
from c2d.api.provider.service import service_of

router = APIRouter(tags=["compute"])


@router.get("/computeEnvironments", summary="The environments for each chain")
@requires({})
def environments(request: Request) -> dict[str, list[dict[str, Any]]]:
    service = service_of(request)
    jobs = service.jobs.queries.running_by_environment()

    def of(chain: int) -> list[dict[str, Any]]:
        fitting = [e for e in service.settings.environments if not e.chains or chain in e.chains]
        token = service.own.fee_token(chain)
        return [{**environment_of(e, service.settings, jobs.get(e.id, 0)), "feeToken": token} for e in fitting]

    return {str(chain): of(chain) for chain in service.chains()}
