"""A job's results: one file at a time, or all of them as one archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from c2d.api.common.result_responses import archive_answer, file_answer
from c2d.api.operator_service.auth import caller_of, data_of, requires, text_of
from c2d.api.operator_service.datamodels import FAILURES, Failure
from c2d.api.operator_service.service import Service, service_of
from c2d.contract import ManifestEntry
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter
from c2d.errors import ApiError
from c2d.results.reader import EXPIRED, Reader

router = APIRouter(tags=["operation"])
ALL = "all"
"""In place of an index: every result as one tar archive."""


@router.get(
    "/getResult",
    summary="One result, by its place in the list, or all of them (index=all) as a tar archive; Range and If-Range are served",
    responses={
        200: {"content": {"application/octet-stream": {}}},
        **{code: {"model": Failure} for code in (404, 410, 416, 502)},
        **FAILURES,
    },
    response_class=Response,
)
@requires("signed", "GET:/getResult", "owner", "providerSignature", "nonce", "index", "jobId")
def result(request: Request) -> Any:
    service, data, caller = service_of(request), data_of(request), caller_of(request)
    owner, job_id, index = text_of(data, "owner"), text_of(data, "jobId"), _index(data["index"])
    found = service.queries.find(caller, JobFilter(jobId=job_id, owner=owner)) if job_id and owner else []
    return result_of(service, found[0] if found else None, owner, job_id, index, request.headers)


def result_of(
    service: Service, row: JobRow | None, owner: str | None, job_id: str | None, index: Any, headers: Mapping[str, str]
) -> Response:
    """The answer with one of a job's results, or with all of them; also for the Provider API.

    :param row: None: unknown, another owner's or another Provider's; nobody is told which.
    :param headers: the request's.
    :raises ApiError: there is no such result.
    """
    index = _index(index)
    if row is None:
        raise ApiError(404, f"Owner {owner} mismatch for job {job_id}")
    if row.removed:
        raise ApiError(410, EXPIRED)
    if not row.results:
        raise ApiError(404, f"No results for job {job_id}")
    if index == ALL:
        return archive_answer(reader_of(service, row), headers)
    if index < 0:
        raise ApiError(404, "Negative index")
    if index >= len(row.results):
        raise ApiError(404, f"No such index {index} in this compute job")
    return file_answer(reader_of(service, row), ManifestEntry.trusted(row.results[index]), headers)


def reader_of(service: Service, row: JobRow) -> Reader:
    encrypted = any("encrypted" in file for file in row.results)
    return Reader(service.settings, row, service.queries.result_keys(row.jobId) if encrypted else None)


def _index(value: Any) -> Any:
    if value == ALL:
        return ALL
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ApiError(400, "Error getResult: index must be a whole number, or all") from None
