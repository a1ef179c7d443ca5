"""For the operator, with the header `Admin`: the tables, all jobs, their logs, and notifications that could not be delivered.

Ocean's operator-service documents info, list and logs, but does not serve them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from c2d.api.common.errors import FAILURES
from c2d.api.common.job_results import result_reader
from c2d.api.common.job_service import JobService
from c2d.api.common.job_status import job_status
from c2d.api.common.request_data import data_of
from c2d.api.common.result_responses import file_response
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import Admin
from c2d.api.operator_service.request import service_of, text_of
from c2d.contract import LOGS, ManifestEntry
from c2d.database.connections import migrate
from c2d.database.jobs import JobRow
from c2d.database.notifications import STATES
from c2d.errors import ApiError

router = APIRouter(tags=["admin"], responses=FAILURES)


@router.post("/pgsqlinit", summary="Create or update the tables")
@requires(Admin())
def pgsqlinit(request: Request) -> JSONResponse:
    """Changes nothing if the tables are up to date."""
    migrate(service_of(request).settings.C2D_DATABASE_URL)
    return JSONResponse("")


@router.get("/list", summary="The ids of unfinished jobs")
@requires(Admin())
def unfinished(request: Request) -> JSONResponse:
    """Of every Provider, and of Airflow's users."""
    return JSONResponse(service_of(request).queries.unfinished_ids())


@router.get("/info", summary="Everything about one job")
@requires(Admin())
def info(request: Request) -> JSONResponse:
    """The job's status, its environment, Provider and chain, withheld files, ended stages and place in the queue. Argument: `jobId`."""
    service = service_of(request)
    row = _requested_job(request, service)
    details = {
        "environment": row.environment,
        "provider": row.provider,
        "chainId": row.chainId,
        "withheld": row.withheld,
        "stages": [_as_json(stage) for stage in service.queries.ended_stages(row.jobId)],
        "queuePosition": service.queue.queue_position(row),
    }
    return JSONResponse({**job_status(row), **details})


@router.get("/logs", summary="A published log of a job", response_class=Response)
@requires(Admin())
def logs(request: Request) -> Response:
    """Arguments: `jobId`, and `component`: configure, algorithm, filter or publish."""
    service = service_of(request)
    row, component = _requested_job(request, service), text_of(data_of(request), "component")
    if component not in LOGS:
        raise ApiError(400, f"component: must be one of {', '.join(LOGS)}")
    file = next((file for file in map(ManifestEntry.trusted, row.results) if file.type == LOGS[component]), None)
    if file is None:
        raise ApiError(404, f"Pod with workflow={row.jobId} and component={component} not found")
    if file.encrypted == "consumer":
        raise ApiError(404, f"component: the {component} log is encrypted to the consumer")
    return file_response(result_reader(service, row), replace(file, contentType="text/plain"), request.headers)


@router.get("/notifications", summary="List notifications")
@requires(Admin())
def notifications(request: Request) -> JSONResponse:
    """The newest come first. Argument: `state`: waiting, delivered, dead or unwanted; without it, all."""
    state = data_of(request).get("state")
    if state not in (None, *STATES):
        raise ApiError(400, f"state: must be one of {', '.join(STATES)}, or be left out")
    return JSONResponse(service_of(request).notifications.entries(state))


@router.post("/notifications", summary="Send dead notifications again")
@requires(Admin())
def send_again(request: Request) -> JSONResponse:
    """Argument: `id`, the number of a notification; without it, all dead ones. Answers with how many are sent again."""
    service, number = service_of(request), data_of(request).get("id")
    try:
        ids = None if number is None else [int(number)]
    except (TypeError, ValueError):
        raise ApiError(400, "id: must be the number of a notification") from None
    count = service.notifications.send_again(ids)
    service.dispatcher.wake()
    return JSONResponse({"sentAgain": count})


def _requested_job(request: Request, service: JobService) -> JobRow:
    job_id = text_of(data_of(request), "jobId")
    row = service.queries.job(job_id) if job_id else None
    if row is None:
        raise ApiError(400, f"The jobId {job_id} is not registered in your namespace.")
    return row


def _as_json(stage: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in stage.items()}
