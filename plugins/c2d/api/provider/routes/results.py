"""A job's results, one file at a time or all in one archive, for the consumer that started it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from c2d.api.operator_service.routes.results import result_of
from c2d.api.provider import rules
from c2d.api.provider.auth import data_of, job_text, requires
from c2d.api.provider.service import service_of
from c2d.database.queries import JobFilter

router = APIRouter(tags=["compute"])


@router.get(
    "/computeResult",
    summary="One result by its place in the list, or all as a tar archive (index=all); signed: consumerAddress + jobId + index + nonce",
    response_class=Response,
)
@requires(rules.COMPUTE_RESULT, "consumerAddress", lambda data: job_text(data, data.get("index")))
def result(request: Request) -> Any:
    service, data = service_of(request), data_of(request)
    owner, job_id = str(data["consumerAddress"]), str(data["jobId"])
    found = service.jobs.queries.see(service.caller.sees, JobFilter(jobId=job_id, owner=owner))
    return result_of(service.jobs, found[0] if found else None, owner, job_id, data["index"], request.headers)
