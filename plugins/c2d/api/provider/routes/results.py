"""A job's results, for the consumer that started it: one file, or all of them as one archive."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from c2d.api.common.job_results import only_job, result_index, result_response
from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider import rules
from c2d.api.provider.auth import Signed, job_text
from c2d.api.provider.service import service_of
from c2d.database.queries import JobFilter

router = APIRouter(tags=["compute"])


@router.get("/computeResult", summary="Download a result, or all results", response_class=Response)
@requires(Signed(rules.COMPUTE_RESULT, "consumerAddress", lambda data: job_text(data, data.get("index"))))
def result(request: Request) -> Response:
    """`index` is the result's place in the job's `results`, from 0, or `all` for all of them as one tar archive.

    Range and If-Range are supported. Signed text: `consumerAddress` + `jobId` + `index` + `nonce`.
    """
    service, data = service_of(request), data_of(request)
    index, owner, job_id = result_index(data["index"]), str(data["consumerAddress"]), str(data["jobId"])
    rows = service.jobs.queries.see(service.caller.sees, JobFilter(jobId=job_id, owner=owner))
    return result_response(service.jobs, only_job(rows, owner, job_id), index, request.headers)
