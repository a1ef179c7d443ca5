"""A job's status in Ocean's JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from c2d.contract import ManifestEntry
from c2d.database.jobs import JobRow
from c2d.results.entries import downloadable


class Result(BaseModel):
    filename: str
    filesize: int = Field(description="bytes")
    type: str = Field(description="output, algorithmLog, configrationLog (Ocean's spelling), filteringLog or publishLog")


class JobStatus(BaseModel):
    """A job. Clients request a result by its place in `results`, counted from 0."""

    agreementId: str | None
    jobId: str
    owner: str
    status: int = Field(description="1, 20, 30, 31, 32, 40, 50, 60, 62 or 70")
    statusText: str = Field(description="the text of status 40 ends with a space")
    dateCreated: str = Field(description="seconds since 1970, as text")
    dateFinished: str | None = Field(description="seconds since 1970, as text; null until the job has ended")
    results: list[Result] | str = Field(description='"" if there are none')
    stopreq: int = Field(description="1: a stop was requested; 2: the algorithm's time ran out")
    removed: int = Field(description="1: the results have expired and were removed")
    algoDID: str = Field(description='"raw" if the algorithm has no DID')
    inputDID: list[str]
    terminationDetails: dict[str, Any] | None = Field(description="how the algorithm ended: exitCode, OOMKilled, reason, message")


def job_status(row: JobRow) -> dict[str, Any]:
    """A job as :class:`JobStatus` describes it."""
    return {
        "agreementId": row.agreementId,
        "jobId": row.jobId,
        "owner": row.owner,
        "status": row.status,
        "statusText": row.statusText,
        "dateCreated": epoch(row.dateCreated),
        "dateFinished": epoch(row.dateFinished) if row.dateFinished else None,
        "results": [_result(file) for file in row.results] or "",
        "stopreq": row.stopreq,
        "removed": row.removed,
        "algoDID": row.algoDID,
        "inputDID": row.inputDID,
        "terminationDetails": row.terminationDetails,
    }


def epoch(moment: datetime) -> str:
    """Seconds since 1970, as Ocean's services write them."""
    return f"{moment.timestamp():.6f}"


def _result(file: dict[str, Any]) -> dict[str, Any]:
    entry = ManifestEntry.trusted(file)
    result = downloadable(entry)
    return {"filename": result.filename, "filesize": result.size, "type": entry.type}
