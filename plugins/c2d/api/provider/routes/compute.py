"""Jobs: start, stop, status. A job belongs to the consumer that started it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.common.job_status import job_status
from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider import rules
from c2d.api.provider.assets import denial_by_resource, fit_one_job, requested_environment
from c2d.api.provider.auth import Public, Signed, job_text, public_key_of
from c2d.api.provider.jobs import job_of
from c2d.api.provider.service import ProviderService, service_of
from c2d.api.provider.validation import value_at
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter
from c2d.errors import AccessDenied, RequestDenied
from c2d.lifecycle.submit import submit
from c2d.market.compute_request import ComputeRequest

router = APIRouter(tags=["compute"])


@router.post("/compute", summary="Start a job on ordered assets")
@requires(Signed(rules.COMPUTE_START, "consumerAddress", lambda data: job_text(data, value_at(data, "dataset.documentId"))))
def start(request: Request) -> JSONResponse:
    """Arguments: `dataset`, `algorithm` (each with its order), `environment`; `additionalDatasets`, `output`.

    Answers with a list that holds the job's status. Signed text: `consumerAddress` + `dataset.documentId` + `nonce`.
    """
    service, data = service_of(request), data_of(request)
    env = requested_environment(service, str(data.get("environment")))
    service.jobs.start_limit.take(str(data["consumerAddress"]).lower())
    if not fit_one_job(data.get("additionalDatasets")):
        raise RequestDenied({"additional_input": "invalid"})
    try:
        compute_request = ComputeRequest.of_body(data, env.priceMinute, env.chains)
        with service.query_slot():
            approved = service.access.approve_start(compute_request)
    except AccessDenied as e:
        raise denial_by_resource(e) from None
    # Results are encrypted to the signer's key, unless the request names another one.
    public_key = public_key_of(request) if env.encryption == "consumer" else None
    job = job_of(approved, compute_request, env, service.settings, public_key)
    job_id = submit(service.settings, service.jobs.queue, job, env.id, service.caller, approved.orders)
    service.jobs.dispatcher.wake()
    return _statuses(service.jobs.queries.see(service.caller.sees, JobFilter(jobId=job_id)))


@router.put("/compute", summary="Stop a job, or all jobs on a DID")
@requires(Signed(rules.COMPUTE_STOP, "consumerAddress", lambda data: job_text(data, data.get("documentId")), lenient=True))
def stop(request: Request) -> JSONResponse:
    """Arguments: `jobId`; without it, `documentId` stops the consumer's jobs on this DID.

    Answers with the jobs' status. Signed text: `consumerAddress` + `jobId` + `documentId` + `nonce`.
    """
    service, data = service_of(request), data_of(request)
    unfinished = [row for row in _requested_jobs(service, data) if row.dateFinished is None]
    for job in unfinished:
        for row in service.jobs.queue.request_stop(service.caller, JobFilter(jobId=job.jobId, owner=job.owner)):
            service.jobs.dispatcher.stop(row.jobId, row.environment)
    service.jobs.dispatcher.wake()
    return _statuses(_requested_jobs(service, data))


@router.get("/compute", summary="Status of a consumer's jobs")
@requires(Public(rules.COMPUTE_STATUS))
def status(request: Request) -> JSONResponse:
    """Arguments: `consumerAddress`; `jobId`, `documentId` or `agreementId` select among the consumer's jobs."""
    return _statuses(_requested_jobs(service_of(request), data_of(request)))


@router.delete("/compute", summary="Does nothing, as in Ocean's Provider")
@requires(Signed(rules.COMPUTE_DELETE, "consumerAddress", lambda data: job_text(data, data.get("documentId"))))
def delete(request: Request) -> JSONResponse:
    """Old clients call it. Signed as a stop is."""
    return JSONResponse("")


def _requested_jobs(service: ProviderService, data: dict[str, Any]) -> list[JobRow]:
    """The consumer's jobs that the request means: the one with the job id; or else all on the DID, or paid by the transaction."""
    job_id, did, agreement = (str(data.get(name) or "") for name in ("jobId", "documentId", "agreementId"))
    rows = service.jobs.queries.see(service.caller.sees, JobFilter(jobId=job_id or None, owner=str(data["consumerAddress"])))
    if job_id:
        return rows
    if agreement:
        # ocean.js cuts the 0x off. Some of its callers send the DID here.
        rows = [row for row in rows if row.agreementId in (agreement, f"0x{agreement}") or agreement in row.inputDID]
    return [row for row in rows if did in row.inputDID or did == row.algoDID] if did else rows


def _statuses(rows: list[JobRow]) -> JSONResponse:
    return JSONResponse([job_status(row) for row in rows])
