"""Jobs: start, stop, status."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.operator_service.auth import caller_of, data_of, requires, text_of, too_many
from c2d.api.operator_service.datamodels import FAILURES, JobStatus, status_of
from c2d.api.operator_service.service import service_of
from c2d.api.operator_service.workflow import job_of
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter
from c2d.errors import ApiError, InvalidSettings
from c2d.lifecycle.submit import submit

router = APIRouter(tags=["operation"])
ANSWER: dict[int | str, dict[str, Any]] = {200: {"model": list[JobStatus]}, **FAILURES}


@router.post("/compute", summary="Start a job", responses=ANSWER)
@requires("signed", "POST:/compute", "workflow", "agreementId", "owner", "providerSignature", "environment", "nonce", job=False)
def start(request: Request) -> JSONResponse:
    service, data, caller = service_of(request), data_of(request), caller_of(request)
    if not data["workflow"]:
        raise ApiError(400, "`workflow` is required in the payload and must include workflow stages")
    try:
        env = service.settings.environment(str(data["environment"] or service.settings.DEFAULT_NAMESPACE))
    except InvalidSettings:
        raise ApiError(400, "Environment invalid or does not exist") from None
    job = job_of(data, env, service.settings)
    if seconds := service.starts.wait(job.owner.lower()):
        raise too_many(seconds)
    job_id = submit(service.settings, service.queue, job, env.id, caller)
    service.dispatcher.wake()
    return _list(service.queries.see(None, JobFilter(jobId=job_id)))


@router.put("/compute", summary="Stop jobs", responses=ANSWER)
@requires("signed", "PUT:/compute", "owner", "providerSignature", "nonce", one_of=True)
def stop(request: Request) -> JSONResponse:
    service, caller, wanted = service_of(request), caller_of(request), wanted_of(request)
    for row in service.queue.request_stop(caller, wanted):
        service.dispatcher.stop(row.jobId, row.environment)
    service.dispatcher.wake()
    return _list(service.queries.see(caller.sees, wanted))


@router.delete("/compute", summary="Does nothing; the incumbent has it for old clients")
@requires("public")
def delete(request: Request) -> JSONResponse:
    return JSONResponse("")


@router.get("/compute", summary="Status of jobs", responses=ANSWER)
@requires("signed", "GET:/compute", one_of=True)
def status(request: Request) -> JSONResponse:
    return _list(service_of(request).queries.find(caller_of(request), wanted_of(request)))


def wanted_of(request: Request) -> JobFilter:
    data = data_of(request)
    return JobFilter(text_of(data, "jobId"), text_of(data, "agreementId"), text_of(data, "owner"))


def _list(rows: list[JobRow]) -> JSONResponse:
    return JSONResponse([status_of(row) for row in rows])
