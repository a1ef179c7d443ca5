"""Jobs: start, stop, status."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.common.errors import FAILURES
from c2d.api.common.job_status import JobStatus, job_status
from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import Public, Signed
from c2d.api.operator_service.request import caller_of, job_filter_of, service_of
from c2d.api.operator_service.workflow import job_of
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter
from c2d.errors import ApiError, InvalidSettings
from c2d.lifecycle.submit import submit

router = APIRouter(tags=["operation"])
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"model": list[JobStatus]}, **FAILURES}


@router.post("/compute", summary="Start a job", responses=RESPONSES)
@requires(Signed("POST:/compute", ("workflow", "agreementId", "owner", "providerSignature", "environment", "nonce"), signs_job_id=False))
def start(request: Request) -> JSONResponse:
    """Answers with a list that holds the job's status. Signed text: `owner` + `nonce`."""
    service, data, caller = service_of(request), data_of(request), caller_of(request)
    if not data["workflow"]:
        raise ApiError(400, "`workflow` is required in the payload and must include workflow stages")
    try:
        env = service.settings.environment(str(data["environment"] or service.settings.DEFAULT_NAMESPACE))
    except InvalidSettings:
        raise ApiError(400, "Environment invalid or does not exist") from None
    job = job_of(data, env, service.settings)
    service.start_limit.take(job.owner.lower())
    job_id = submit(service.settings, service.queue, job, env.id, caller)
    service.dispatcher.wake()
    return _statuses(service.queries.see(None, JobFilter(jobId=job_id)))


@router.put("/compute", summary="Stop jobs", responses=RESPONSES)
@requires(Signed("PUT:/compute", ("owner", "providerSignature", "nonce"), needs_selector=True))
def stop(request: Request) -> JSONResponse:
    """Stops the jobs that match `jobId`, `agreementId` and `owner`, or as many of the three as the request has.

    Answers with the jobs' status.

    Signed text: `owner` + `jobId`, if there is one, + `nonce`.
    """
    service, caller, job_filter = service_of(request), caller_of(request), job_filter_of(request)
    for row in service.queue.request_stop(caller, job_filter):
        service.dispatcher.stop(row.jobId, row.environment)
    service.dispatcher.wake()
    return _statuses(service.queries.see(caller.sees, job_filter))


@router.get("/compute", summary="Status of jobs", responses=RESPONSES)
@requires(Signed("GET:/compute", needs_selector=True))
def status(request: Request) -> JSONResponse:
    """Selects jobs and is signed as a stop is. `[]` if no job matches."""
    return _statuses(service_of(request).queries.find(caller_of(request), job_filter_of(request)))


@router.delete("/compute", summary="Does nothing, as in Ocean's operator-service")
@requires(Public())
def delete(request: Request) -> JSONResponse:
    """Old clients call it."""
    return JSONResponse("")


def _statuses(rows: list[JobRow]) -> JSONResponse:
    return JSONResponse([job_status(row) for row in rows])
