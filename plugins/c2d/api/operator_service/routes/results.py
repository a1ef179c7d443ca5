"""A job's results: one file, or all of them as one archive."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from c2d.api.common.errors import FAILURES, Failure
from c2d.api.common.job_results import result_index, result_response
from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import Signed
from c2d.api.operator_service.request import requested_job, service_of

router = APIRouter(tags=["operation"])


@router.get(
    "/getResult",
    summary="Download a result, or all results",
    responses={
        200: {"content": {"application/octet-stream": {}}},
        **{code: {"model": Failure} for code in (404, 410, 416, 502)},
        **FAILURES,
    },
    response_class=Response,
)
@requires(Signed("GET:/getResult", ("owner", "providerSignature", "nonce", "index", "jobId")))
def result(request: Request) -> Response:
    """`index` is the result's place in the job's `results`, from 0, or `all` for all of them as one tar archive.

    Range and If-Range are supported. Signed text: `owner` + `jobId` + `nonce`.
    """
    index = result_index(data_of(request)["index"])
    return result_response(service_of(request), requested_job(request), index, request.headers)
