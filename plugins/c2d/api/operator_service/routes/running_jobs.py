"""The jobs that have not ended."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.operator_service.auth import data_of, requires, text_of
from c2d.api.operator_service.datamodels import FAILURES, running_of
from c2d.api.operator_service.service import service_of
from c2d.database.queries import JobFilter

router = APIRouter(tags=["operation"])


@router.get(
    "/runningjobs", summary="The jobs of a Provider that have not ended; of all for an admin, and in legacy mode", responses=FAILURES
)
@requires("either", "GET:/runningjobs", "owner", "providerSignature", "nonce", job=False)
def running(request: Request) -> JSONResponse:
    queries, caller = service_of(request).queries, request.state.caller
    if caller is None:
        return JSONResponse([running_of(row) for row in queries.running(None)])
    # The incumbent tells everybody about everybody's jobs; here a Provider is told of its own, of the owner that it names.
    owned = JobFilter(owner=text_of(data_of(request), "owner"))
    return JSONResponse([running_of(row) for row in queries.find(caller, owned) if not row.dateFinished])
