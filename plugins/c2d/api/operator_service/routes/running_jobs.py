"""The jobs that have not ended."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.common.errors import FAILURES
from c2d.api.common.job_status import job_status
from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import SignedOrAdmin
from c2d.api.operator_service.request import service_of, signer_of, text_of
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter

router = APIRouter(tags=["operation"])
STATUS_FIELDS = ("agreementId", "jobId", "owner", "status", "statusText", "dateCreated")


@router.get("/runningjobs", summary="Unfinished jobs", responses=FAILURES)
@requires(SignedOrAdmin("GET:/runningjobs", ("owner", "providerSignature", "nonce"), signs_job_id=False))
def running(request: Request) -> JSONResponse:
    """For a Provider: its unfinished jobs of the `owner` that it names. For an admin, and in legacy mode: all unfinished jobs.

    Signed text: `owner` + `nonce`.
    """
    queries, signer = service_of(request).queries, signer_of(request)
    if signer is None:
        rows = queries.running(None)
    else:
        # Ocean's operator-service shows all jobs to everybody.
        owners_jobs = queries.find(signer, JobFilter(owner=text_of(data_of(request), "owner")))
        rows = [row for row in owners_jobs if not row.dateFinished]
    return JSONResponse([_running_job(row) for row in rows])


def _running_job(row: JobRow) -> dict[str, Any]:
    status = job_status(row)
    fields = {name: status[name] for name in STATUS_FIELDS}
    return {**fields, "namespace": row.environment, "algoDID": row.algoDID, "inputDID": row.inputDID}
