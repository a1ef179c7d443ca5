"""For the operator: the tables, all jobs, their logs, notifications that could not be delivered. Header `Admin`, as in the incumbent.

The incumbent documents info, list and logs and never registered them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from c2d.api.common.result_responses import file_answer
from c2d.api.operator_service.auth import data_of, requires, text_of
from c2d.api.operator_service.datamodels import FAILURES, status_of
from c2d.api.operator_service.routes.results import reader_of
from c2d.api.operator_service.service import Service, service_of
from c2d.contract import LOGS, ManifestEntry
from c2d.database.connections import migrate
from c2d.database.jobs import JobRow
from c2d.database.notifications import STATES
from c2d.errors import ApiError

router = APIRouter(tags=["admin"], responses=FAILURES)


@router.post("/pgsqlinit", summary="Make or update the tables")
@requires("admin")
def pgsqlinit(request: Request) -> JSONResponse:
    migrate(service_of(request).settings.C2D_DATABASE_URL)
    return JSONResponse("")


@router.get("/list", summary="The ids of the jobs that have not ended")
@requires("admin")
def jobs(request: Request) -> JSONResponse:
    return JSONResponse(service_of(request).queries.unfinished_ids())


@router.get("/info", summary="All that is known of a job; ?jobId=")
@requires("admin")
def info(request: Request) -> JSONResponse:
    service = service_of(request)
    row = _job(request, service)
    stages = [{k: v.isoformat() if isinstance(v, datetime) else v for k, v in s.items()} for s in service.queries.ended_stages(row.jobId)]
    more = {"environment": row.environment, "provider": row.provider, "chainId": row.chainId, "withheld": row.withheld, "stages": stages}
    return JSONResponse({**status_of(row), **more, "queuePosition": service.queue.queue_position(row)})


@router.get(
    "/logs", summary="The published log of a job's stage; ?jobId=&component=configure|algorithm|filter|publish", response_class=Response
)
@requires("admin")
def logs(request: Request) -> Any:
    service = service_of(request)
    row, component = _job(request, service), text_of(data_of(request), "component")
    if component not in LOGS:
        raise ApiError(400, f"component: must be one of {', '.join(LOGS)}")
    for file in map(ManifestEntry.trusted, row.results):
        if file.type == LOGS[component]:
            if file.encrypted == "consumer":
                raise ApiError(404, f"component: the {component} log is encrypted to the consumer")
            return file_answer(reader_of(service, row), replace(file, contentType="text/plain"), request.headers)
    raise ApiError(404, f"Pod with workflow={row.jobId} and component={component} not found")


@router.get("/notifications", summary="Notifications, newest first; ?state=waiting|delivered|dead|unwanted")
@requires("admin")
def notifications(request: Request) -> JSONResponse:
    state = data_of(request).get("state")
    if state not in (None, *STATES):
        raise ApiError(400, f"state: must be one of {', '.join(STATES)}, or be left out")
    return JSONResponse(service_of(request).notifications.entries(state))


@router.post("/notifications", summary='Send dead notifications again: {"id": 7}, or all of them')
@requires("admin")
def send_again(request: Request) -> JSONResponse:
    service, given = service_of(request), data_of(request).get("id")
    try:
        again = service.notifications.send_again(None if given is None else [int(given)])
    except (TypeError, ValueError):
        raise ApiError(400, "id: must be the number of a notification") from None
    service.dispatcher.wake()
    return JSONResponse({"sentAgain": again})


def _job(request: Request, service: Service) -> JobRow:
    job_id = text_of(data_of(request), "jobId")
    row = service.queries.job(job_id) if job_id else None
    if row is None:
        raise ApiError(400, f"The jobId {job_id} is not registered in your namespace.")
    return row
