"""A job's results, one file at a time."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from c2d.api.operator_service.auth import access, caller_of, data_of, text_of
from c2d.api.operator_service.datamodels import FAILURES, Failure
from c2d.api.operator_service.errors import Refusal, error
from c2d.api.operator_service.service import Service, service_of
from c2d.intake import Wanted
from c2d.objects import object_name
from c2d.store import JobRow

router = APIRouter(tags=["operation"])


@router.get(
    "/getResult",
    summary="One result, by its place in the list; Range and If-Range are served",
    responses={200: {"content": {"application/octet-stream": {}}}, 404: {"model": Failure}, **FAILURES},
    response_class=FileResponse,
)
@access("signed", "GET:/getResult", "owner", "providerSignature", "nonce", "index", "jobId")
def result(request: Request) -> Any:
    service, data, caller = service_of(request), data_of(request), caller_of(request)
    owner, job_id, index = text_of(data, "owner"), text_of(data, "jobId"), _index(data["index"])
    found = service.intake.find(caller, Wanted(jobId=job_id, owner=owner)) if job_id and owner else []
    return result_of(service, found[0] if found else None, owner, job_id, index)


def result_of(service: Service, row: JobRow | None, owner: str | None, job_id: str | None, index: Any) -> Any:
    """The answer with one of a job's results, also for the Provider API.

    :param row: None: unknown, another owner's or another Provider's; nobody is told which.
    :raises Refusal: there is no such result.
    """
    index = _index(index)
    if row is None:
        raise Refusal(404, f"Owner {owner} mismatch for job {job_id}")
    files = row.results
    if not files:
        raise Refusal(404, f"No results for job {job_id}")
    if index < 0:
        raise Refusal(404, "Negative index")
    if index >= len(files):
        raise Refusal(404, f"No such index {index} in this compute job")
    return download(service.settings.C2D_RESULTS_PATH / object_name(row.jobId), files[index])


def download(folder: Path, file: dict[str, Any]) -> Any:
    """The answer that streams a file of the manifest from the job's folder."""
    path = regular_below(folder, str(file["path"]))
    if path is None or path.stat().st_size != file["size"]:
        return error(404, "the result is not in the store any more")
    headers = {
        "Content-Disposition": disposition(str(file["filename"]).rsplit("/", 1)[-1]),
        "ETag": f'"{file["sha256"]}"',
        # Said, so that Airflow's gzip leaves it alone: a compressed part of a file has no length and cannot be resumed.
        "Content-Encoding": "identity",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return _JsonErrors(path, headers=headers, media_type=file.get("contentType") or "application/octet-stream", stat_result=path.stat())


def regular_below(folder: Path, path: str) -> Path | None:
    """The regular file at ``path`` below ``folder``; None where there is none, or where a symbolic link is on the way."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    at = folder
    for n, part in enumerate(parts):
        at = at / part
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            return None
        if not (stat.S_ISREG(mode) if n == len(parts) - 1 else stat.S_ISDIR(mode)):
            return None
    return at


def disposition(name: str) -> str:
    """The incumbent's form, with the name quoted where it needs to be."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", name):
        return f"attachment;filename={name}"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment;filename=\"{plain}\";filename*=UTF-8''{quote(name, safe='')}"


class _JsonErrors(FileResponse):
    """Starlette's own, but a Range that cannot be served is answered in JSON as everything else."""

    chunk_size = 256 * 1024

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        failed: dict[str, Any] = {}

        async def in_json(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                failed.update(message)
            elif failed:
                kept = {n.decode(): v.decode() for n, v in failed["headers"] if n == b"content-range"}
                await error(failed["status"], "Range: cannot be satisfied", kept)(scope, receive, send)
                failed.clear()
            else:
                await send(message)

        await super().__call__(scope, receive, in_json)


def _index(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refusal(400, "Error getResult: index must be a whole number") from None
