"""What a job does right now. Ours: the incumbent has nothing like it."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from c2d.api.operator_service.auth import caller_of, data_of, requires, text_of
from c2d.api.operator_service.datamodels import FAILURES, Failure, epoch
from c2d.api.operator_service.service import Service, service_of
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter
from c2d.errors import ApiError
from c2d.jobs.ids import stage_name
from c2d.jobs.status import Stage, Status

router = APIRouter(tags=["operation"])
LINES = 200
STAGES = {
    Status.CONFIGURING: Stage.CONFIGURE,
    Status.CONFIGURED: Stage.ALGORITHM,
    Status.RUNNING: Stage.ALGORITHM,
    Status.FILTERING: Stage.FILTER,
    Status.PUBLISHING: Stage.PUBLISH,
}
# configure's log: "inputs[0].files[0]: 12.3 of 45.6 MB, 9 MB/s", and at the end "inputs[0].files[0]: complete, 45.6 MB in 5.0 s";
# publish's: "store: 12.3 of 45.6 MB, 9 MB/s"
MOVED = re.compile(r"(\S+): (?:complete, )?([0-9.]+)(?: of ([0-9.]+))? MB(?:,| in) ")


class Progress(BaseModel):
    bytes: int
    totalBytes: int | None = Field(description="null where it is not known")


class Live(BaseModel):
    jobId: str
    status: int
    statusText: str
    stage: str | None = Field(description="configure, algorithm, filter, publish; null while it waits and when it has ended")
    queuePosition: int | None = Field(description="jobs before this one; null when it waits no more")
    progress: Progress | None = Field(description="of configure's downloads and of publish's uploads")
    stages: list[dict[str, Any]] = Field(description="those that have ended: stage, started, finished, reason")
    algorithmLog: str | None = Field(description="its end, while it runs; null unless the environment shares it (share_algorithm_logs)")


@router.get("/live", summary="What a job does right now", responses={200: {"model": Live}, 404: {"model": Failure}, **FAILURES})
@requires("signed", "GET:/live", "owner", "providerSignature", "nonce", "jobId")
def live(request: Request) -> JSONResponse:
    service, data = service_of(request), data_of(request)
    owner, job_id = text_of(data, "owner"), text_of(data, "jobId")
    found = service.queries.find(caller_of(request), JobFilter(jobId=job_id, owner=owner)) if job_id and owner else []
    if not found:
        raise ApiError(404, f"Owner {owner} mismatch for job {job_id}")
    row = found[0]
    stage = STAGES.get(Status(row.status)) if row.dateFinished is None else None
    ended = service.queries.ended_stages(row.jobId)
    told = {
        "jobId": row.jobId,
        "status": row.status,
        "statusText": row.statusText,
        "stage": stage,
        "queuePosition": _position(service, row),
        "progress": _progress(service, row, stage),
        "stages": [_stage(s) for s in ended],
        "algorithmLog": _log(service, row, Stage.ALGORITHM) if stage is Stage.ALGORITHM and _shared(service, row) else None,
    }
    return JSONResponse(told)


def moved(log: str) -> dict[str, int | None] | None:
    """configure's or publish's progress by its log: the last that it says of each file, or of its store."""
    files = {m[1]: (float(m[2]), float(m[3]) if m[3] else float(m[2]) if "complete" in m[0] else None) for m in MOVED.finditer(log)}
    if not files:
        return None
    totals = [total for _, total in files.values()]
    known = None if None in totals else int(sum(t for t in totals if t is not None) * 1e6)
    return {"bytes": int(sum(done for done, _ in files.values()) * 1e6), "totalBytes": known}


def _progress(service: Service, row: JobRow, stage: Stage | None) -> dict[str, int | None] | None:
    return moved(_log(service, row, stage) or "") if stage in (Stage.CONFIGURE, Stage.PUBLISH) else None


def _position(service: Service, row: JobRow) -> int | None:
    if row.dateFinished is not None or row.status != Status.WARMING_UP:
        return None
    return service.queue.queue_position(row) or 0


def _stage(ended: dict[str, Any]) -> dict[str, Any]:
    times = {name: epoch(ended[name]) if ended[name] else None for name in ("started", "finished")}
    return {"stage": ended["stage"], **times, "reason": ended["reason"]}


def _shared(service: Service, row: JobRow) -> bool:
    return any(e.share_algorithm_logs for e in service.settings.environments if e.id == row.environment)


def _log(service: Service, row: JobRow, stage: Stage) -> str | None:
    return service.tail(service.settings.C2D_NAMESPACE, stage_name(row.jobId, stage), LINES)
