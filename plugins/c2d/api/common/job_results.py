"""Which result of a job a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from starlette.responses import Response

from c2d.api.common.job_service import JobService
from c2d.api.common.result_responses import archive_response, file_response
from c2d.contract import ManifestEntry
from c2d.database.jobs import JobRow
from c2d.errors import ApiError
from c2d.results.reader import EXPIRED, Reader

ResultIndex = int | Literal["all"]
"""The place of a result in the job's list, from 0; or all of them, as one tar archive."""


def result_index(value: Any) -> ResultIndex:
    """:raises ApiError: ``value`` is not an index."""
    if value == "all":
        return "all"
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ApiError(400, "Error getResult: index must be a whole number, or all") from None


def only_job(rows: list[JobRow], owner: str | None, job_id: str | None) -> JobRow:
    """The job in ``rows``, the result of a query by owner and job id.

    :raises ApiError: there is none. The answer is the same for an unknown job and for one of another owner or another Provider.
    """
    if not rows:
        raise ApiError(404, f"Owner {owner} mismatch for job {job_id}")
    return rows[0]


def result_response(service: JobService, row: JobRow, index: ResultIndex, headers: Mapping[str, str]) -> Response:
    """A response with one of the job's results, or with all of them.

    :param headers: the request's.
    :raises ApiError: there is no such result.
    """
    if row.removed:
        raise ApiError(410, EXPIRED)
    if not row.results:
        raise ApiError(404, f"No results for job {row.jobId}")
    if index == "all":
        return archive_response(result_reader(service, row), headers)
    if index < 0:
        raise ApiError(404, "Negative index")
    if index >= len(row.results):
        raise ApiError(404, f"No such index {index} in this compute job")
    return file_response(result_reader(service, row), ManifestEntry.trusted(row.results[index]), headers)


def result_reader(service: JobService, row: JobRow) -> Reader:
    """A reader of the job's results."""
    encrypted = any("encrypted" in file for file in row.results)
    return Reader(service.settings, row, service.queries.result_keys(row.jobId) if encrypted else None)
