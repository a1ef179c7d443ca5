"""What a job is doing now. This route is our addition to Ocean's operator-service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from c2d.api.common.errors import FAILURES, Failure
from c2d.api.common.job_service import JobService
from c2d.api.common.job_status import epoch
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import Signed
from c2d.api.operator_service.progress import progress
from c2d.api.operator_service.request import requested_job, service_of
from c2d.database.jobs import JobRow
from c2d.jobs.ids import stage_name
from c2d.jobs.status import Stage, Status

router = APIRouter(tags=["operation"])
LOG_LINES = 200
STAGES = {
    Status.CONFIGURING: Stage.CONFIGURE,
    Status.CONFIGURED: Stage.ALGORITHM,
    Status.RUNNING: Stage.ALGORITHM,
    Status.FILTERING: Stage.FILTER,
    Status.PUBLISHING: Stage.PUBLISH,
}


class Progress(BaseModel):
    bytes: int
    totalBytes: int | None = Field(description="null if it is not known")


class Live(BaseModel):
    jobId: str
    status: int
    statusText: str
    stage: str | None = Field(description="configure, algorithm, filter or publish; null while the job waits and after it has ended")
    queuePosition: int | None = Field(description="how many jobs come before this one; null once it has left the queue")
    progress: Progress | None = Field(description="of configure's downloads or publish's uploads")
    stages: list[dict[str, Any]] = Field(description="the stages that have ended: stage, started, finished, reason")
    algorithmLog: str | None = Field(
        description="the end of the running algorithm's log; null unless the environment sets share_algorithm_logs"
    )


@router.get("/live", summary="What a job is doing now", responses={200: {"model": Live}, 404: {"model": Failure}, **FAILURES})
@requires(Signed("GET:/live", ("owner", "providerSignature", "nonce", "jobId")))
def live(request: Request) -> JSONResponse:
    """The job's stage, its place in the queue, its progress and the end of its log. Signed text: `owner` + `jobId` + `nonce`."""
    service = service_of(request)
    row = requested_job(request)
    stage = STAGES.get(Status(row.status)) if row.dateFinished is None else None
    return JSONResponse(
        {
            "jobId": row.jobId,
            "status": row.status,
            "statusText": row.statusText,
            "stage": stage,
            "queuePosition": _queue_position(service, row),
            "progress": _progress(service, row, stage),
            "stages": [_stage(ended) for ended in service.queries.ended_stages(row.jobId)],
            "algorithmLog": _algorithm_log(service, row, stage),
        }
    )


def _queue_position(service: JobService, row: JobRow) -> int | None:
    if row.dateFinished is not None or row.status != Status.WARMING_UP:
        return None
    return service.queue.queue_position(row) or 0


def _progress(service: JobService, row: JobRow, stage: Stage | None) -> dict[str, int | None] | None:
    if stage not in (Stage.CONFIGURE, Stage.PUBLISH):
        return None
    return progress(_log(service, row, stage) or "")


def _stage(ended: dict[str, Any]) -> dict[str, Any]:
    times = {name: epoch(ended[name]) if ended[name] else None for name in ("started", "finished")}
    return {"stage": ended["stage"], **times, "reason": ended["reason"]}


def _algorithm_log(service: JobService, row: JobRow, stage: Stage | None) -> str | None:
    shared = any(env.share_algorithm_logs for env in service.settings.environments if env.id == row.environment)
    return _log(service, row, stage) if stage is Stage.ALGORITHM and shared else None


def _log(service: JobService, row: JobRow, stage: Stage) -> str | None:
    return service.log_tail(service.settings.C2D_NAMESPACE, stage_name(row.jobId, stage), LOG_LINES)
