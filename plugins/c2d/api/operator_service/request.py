"""What a request to the Operator-Service says: who sent it, and which jobs it means."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from c2d.api.common.job_results import only_job
from c2d.api.common.job_service import JobService
from c2d.api.common.request_data import data_of
from c2d.database.jobs import JobRow
from c2d.database.nonces import Caller
from c2d.database.queries import JobFilter


def service_of(request: Request) -> JobService:
    """The service of the app that the request is for."""
    service: JobService = request.app.state.service
    return service


def signer_of(request: Request) -> Caller | None:
    """The Provider that signed the request. None: the route does not need a signature, or an admin sent it."""
    caller: Caller | None = request.state.caller
    return caller


def caller_of(request: Request) -> Caller:
    """The Provider that signed the request to a route that only accepts signed ones."""
    caller = signer_of(request)
    if caller is None:
        raise AssertionError("the route's policy does not require a signature")
    return caller


def text_of(data: dict[str, Any], name: str) -> str | None:
    """An argument as text. None: it is missing, or shorter than two characters, which operator-service ignores."""
    text = str(data.get(name) or "")
    return text if len(text) >= 2 else None


def job_filter_of(request: Request) -> JobFilter:
    """Which jobs the request means."""
    data = data_of(request)
    return JobFilter(text_of(data, "jobId"), text_of(data, "agreementId"), text_of(data, "owner"))


def requested_job(request: Request) -> JobRow:
    """The one job that ``owner`` and ``jobId`` name. Uses up the request's nonce.

    :raises ApiError: 404: there is none, or it belongs to another Provider.
    :raises NonceUsed: the nonce is not higher than the signer's last one.
    """
    data = data_of(request)
    owner, job_id = text_of(data, "owner"), text_of(data, "jobId")
    rows: list[JobRow] = []
    if owner and job_id:
        rows = service_of(request).queries.find(caller_of(request), JobFilter(jobId=job_id, owner=owner))
    return only_job(rows, owner, job_id)
