"""The shapes of Ocean's wire, quirks included, as pure functions of a job and an environment. The models are what the docs page shows."""

from __future__ import annotations

import time
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field

from c2d.contract import ManifestEntry
from c2d.database.jobs import JobRow
from c2d.results.entries import downloadable
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings


class Result(BaseModel):
    filename: str
    filesize: int = Field(description="bytes")
    type: str = Field(description="output, algorithmLog, configrationLog (so spelled), filteringLog, publishLog")


class JobStatus(BaseModel):
    """A job as a Provider sees it. A result's `index` is its place in `results`."""

    agreementId: str | None
    jobId: str
    owner: str
    status: int = Field(description="1, 20, 30, 31, 32, 40, 50, 60, 62, 70")
    statusText: str = Field(description="the text of 40 ends with a blank")
    dateCreated: str = Field(description="seconds since 1970, as text")
    dateFinished: str | None
    results: list[Result] | str = Field(description='"" while there are none')
    stopreq: int = Field(description="1: somebody asked for the stop; 2: the time was over")
    removed: int
    algoDID: str = Field(description='"raw" where the algorithm has none')
    inputDID: list[str]
    terminationDetails: dict[str, Any] | None = Field(description="how the algorithm ended: exitCode, OOMKilled, reason, message")


class ComputeEnvironment(BaseModel):
    id: str
    cpuNumber: float
    cpuType: str
    gpuNumber: int
    gpuType: str
    ramGB: float
    diskGB: float
    priceMin: float
    desc: str
    currentJobs: int
    maxJobs: int
    consumerAddress: str
    storageExpiry: int
    maxJobDuration: int = Field(description="seconds")
    lastSeen: str


class Failure(BaseModel):
    error: str


FAILURES: dict[int | str, dict[str, Any]] = {code: {"model": Failure} for code in (400, 401, 413, 429, 503)}


def status_of(row: JobRow) -> dict[str, Any]:
    return {
        "agreementId": row.agreementId,
        "jobId": row.jobId,
        "owner": row.owner,
        "status": row.status,
        "statusText": row.statusText,
        "dateCreated": epoch(row.dateCreated),
        "dateFinished": epoch(row.dateFinished) if row.dateFinished else None,
        "results": [_result_of(f) for f in row.results] or "",
        "stopreq": row.stopreq,
        "removed": row.removed,
        "algoDID": row.algoDID,
        "inputDID": row.inputDID,
        "terminationDetails": row.terminationDetails,
    }


def _result_of(row_file: dict[str, Any]) -> dict[str, Any]:
    entry = ManifestEntry.trusted(row_file)
    result = downloadable(entry)
    return {"filename": result.filename, "filesize": result.size, "type": entry.type}


def running_of(row: JobRow) -> dict[str, Any]:
    whole = status_of(row)
    names = ("agreementId", "jobId", "owner", "status", "statusText", "dateCreated")
    return {**{n: whole[n] for n in names}, "namespace": row.environment, "algoDID": row.algoDID, "inputDID": row.inputDID}


def environment_of(env: Environment, settings: Settings, current_jobs: int) -> dict[str, Any]:
    announced = {
        "id": env.id,
        "cpuNumber": number(env.nCPU),
        "cpuType": env.cpuType,
        "gpuNumber": env.nGPU,
        "gpuType": env.gpuType,
        "ramGB": number(env.ramGB),
        "diskGB": number(env.diskGB),
        "priceMin": number(env.priceMinute),
        "desc": env.description,
        "currentJobs": current_jobs,
        "maxJobs": env.at_once,
        "consumerAddress": settings.address,
        "storageExpiry": env.STORAGE_EXPIRY,
        "maxJobDuration": seconds_at_most(env, settings),
        "lastSeen": f"{time.time():.6f}",
    }
    return announced | ({"allowedChainId": sorted(env.chains)} if env.chains else {})


def seconds_at_most(env: Environment, settings: Settings) -> int:
    """How long an algorithm may run."""
    return min(env.maxJobDuration, settings.ALGO_POD_TIMEOUT or env.maxJobDuration)


def epoch(moment: datetime) -> str:
    return f"{moment.timestamp():.6f}"


def number(value: Decimal) -> int | float:
    """As JSON has it: 2, not 2.0 or "2"."""
    return int(value) if value == int(value) else float(value)
