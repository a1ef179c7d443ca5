"""Jobs: start, stop, status. A job belongs to the consumer that started it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from c2d.api.operator_service.auth import too_many
from c2d.api.operator_service.datamodels import status_of
from c2d.api.provider import rules
from c2d.api.provider.assets import a_few, by_resource, environment_of
from c2d.api.provider.auth import data_of, job_text, public_key_of, requires
from c2d.api.provider.jobs import job_of
from c2d.api.provider.service import ProviderService, service_of
from c2d.database.jobs import JobRow
from c2d.database.queries import JobFilter
from c2d.errors import AccessDenied, RequestDenied
from c2d.lifecycle.submit import submit
from c2d.market.compute_request import ComputeRequest

router = APIRouter(tags=["compute"])


@router.post("/compute", summary="Start a job on assets that were ordered; signed: consumerAddress + dataset.documentId + nonce")
@requires(rules.COMPUTE_START, "consumerAddress", lambda data: job_text(data, rules.value_of(data, "dataset.documentId")))
def start(request: Request) -> JSONResponse:
    service, data = service_of(request), data_of(request)
    env = environment_of(service, str(data.get("environment")))
    consumer = str(data["consumerAddress"])
    if seconds := service.jobs.starts.wait(consumer.lower()):
        raise too_many(seconds)
    if not a_few(data.get("additionalDatasets")):
        raise RequestDenied({"additional_input": "invalid"})
    try:
        wanted = ComputeRequest.of_body(data, env.priceMinute, env.chains)
        with service.asking():
            granted = service.access.approve_start(wanted)
    except AccessDenied as e:
        raise by_resource(e) from None
    # Who signs the request can read what is encrypted to it; a key that the request names is taken before that.
    public_key = public_key_of(request) if env.encryption == "consumer" else None
    job = job_of(granted, wanted, env, service.settings, public_key)
    job_id = submit(service.settings, service.jobs.queue, job, env.id, service.caller, granted.orders)
    service.jobs.dispatcher.wake()
    return as_list(service.jobs.queries.see(service.caller.sees, JobFilter(jobId=job_id)))


@router.put("/compute", summary="Stop a job, or all jobs on a DID; signed: consumerAddress + jobId + documentId + nonce")
@requires(rules.COMPUTE_STOP, "consumerAddress", lambda data: job_text(data, data.get("documentId")), lenient=True)
def stop(request: Request) -> JSONResponse:
    service, data = service_of(request), data_of(request)
    for wanted in [JobFilter(jobId=row.jobId, owner=row.owner) for row in found(service, data) if row.dateFinished is None]:
        for row in service.jobs.queue.request_stop(service.caller, wanted):
            service.jobs.dispatcher.stop(row.jobId, row.environment)
    service.jobs.dispatcher.wake()
    return as_list(found(service, data))


@router.get("/compute", summary="Status of a consumer's jobs: ?consumerAddress=, and jobId, documentId, agreementId")
@requires(rules.COMPUTE_STATUS)
def status(request: Request) -> JSONResponse:
    return as_list(found(service_of(request), data_of(request)))


@router.delete("/compute", summary="Does nothing; the incumbent has it for old clients")
@requires(rules.COMPUTE_DELETE, "consumerAddress", lambda data: job_text(data, data.get("documentId")))
def delete(request: Request) -> JSONResponse:
    return JSONResponse("")


def found(service: ProviderService, data: dict[str, Any]) -> list[JobRow]:
    """The consumer's own jobs that the request means: by job id, or else all that compute on the DID or were paid by the transaction."""
    job_id, did, agreement = (str(data.get(name) or "") for name in ("jobId", "documentId", "agreementId"))
    rows = service.jobs.queries.see(service.caller.sees, JobFilter(jobId=job_id or None, owner=str(data["consumerAddress"])))
    if job_id:
        return rows
    if agreement:
        # ocean.js cuts the 0x off; some of its callers give the DID here
        rows = [r for r in rows if r.agreementId in (agreement, f"0x{agreement}") or agreement in r.inputDID]
    return [r for r in rows if did in r.inputDID or did == r.algoDID] if did else rows


def as_list(rows: list[JobRow]) -> JSONResponse:
    return JSONResponse([status_of(row) for row in rows])
