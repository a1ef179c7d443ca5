"""What a stage's pod may know: the content of its Secret, as a pure function of the job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from c2d.jobs.model import Algorithm, Input, Job
from c2d.jobs.status import Stage
from c2d.market.download_grants import DownloadGrants
from c2d.settings.installation import Environment

if TYPE_CHECKING:
    from c2d.access.own_assets import OwnAsset


def stage_input(
    stage: Stage,
    job_id: str,
    job: Job,
    env: Environment,
    ends_ok: dict[Stage, bool],
    granted: DownloadGrants | None = None,
    kept: Mapping[str, OwnAsset] | None = None,
    encryption: dict[str, str] | None = None,
    rights: dict[str, Any] | None = None,
    public_only: bool = False,
) -> dict[str, str]:
    """The content of the stage's Secret: ``stage.json`` (docs/stages.md), or the algorithm's ``secret``.

    :param job: opened, its secrets in clear.
    :param ends_ok: which stages before this one ended well.
    :param encryption: for publish, the keys of the job's results (:func:`c2d.results.keys.for_publish`).
    :param rights: for publish, its stores with what it may do there (:mod:`c2d.results.stores`); the results volume where there are none.
    :param kept: for configure, the opened files of the job's orders by DID (:mod:`c2d.access.own_assets`).
    :param granted: for configure of a job with assets by transaction: what it downloads them with, in the order of ``job.remotes``.
    :param public_only: for configure: servers on public addresses alone are asked.
    """
    kept = kept or {}
    if stage is Stage.ALGORITHM:
        return {"secret": job.secret if isinstance(job.secret, str) else ""}
    content: dict[str, Any] = {"stage": str(stage), "job": job_id}
    if stage is Stage.CONFIGURE:
        grants = iter(granted.of_assets if granted else ())
        content |= {
            "inputs": [_asset(i, grants, kept) for i in job.inputs],
            "algorithm": {**_asset(job.algorithm, grants, kept), "rawcode": job.algorithm.rawcode},
            "customData": job.algorithm.algocustomdata,
            "limits": {"totalBytes": env.disk_bytes, "seconds": env.C2D_STAGE_SECONDS, "connections": 4, "publicOnly": public_only},
        }
        if job.remotes:
            content["metadataUri"] = job.output.metadataUri if job.output else None
            content["consumerAddress"] = granted.consumer if granted else None
    elif stage is Stage.FILTER:
        content["limits"] = {
            "files": env.C2D_OUTPUT_FILES,
            "totalBytes": env.disk_bytes,
            "fileBytes": env.disk_bytes,
            "depth": env.C2D_OUTPUT_DEPTH,
            "nameBytes": 255,
            "logBytes": env.C2D_LOG_BYTES,
        }
    else:
        content |= {
            "release": "filtered" if ends_ok.get(Stage.FILTER) else "logs",
            **(rights or {"store": {"type": "directory", "path": "/results"}}),
            "encryption": encryption,
            "limits": {
                "logBytes": env.C2D_LOG_BYTES,
                "seconds": env.C2D_STAGE_SECONDS,
                "retrySeconds": env.C2D_UPLOAD_RETRY_SECONDS,
            },
        }
    return {"stage.json": json.dumps(content, ensure_ascii=False)}


def _asset(asset: Input | Algorithm, grants: Iterator[tuple[tuple[int, str], ...]], kept: Mapping[str, OwnAsset]) -> dict[str, Any]:
    """An asset of configure's stage.json; one that is named by transaction takes the next of ``grants``."""
    if asset.order:
        mine = kept[asset.id or ""]
        return {"id": asset.id, "files": list(mine.files), "ddo": mine.ddo}
    made: dict[str, Any] = {"id": asset.id, "files": [_dump(f) for f in asset.files or []], "ddo": asset.ddo and json.loads(asset.ddo)}
    if asset.remote:
        made["remote"] = {**asset.remote.model_dump(include={"txId", "serviceId", "userdata"}), "grants": next(grants, ())}
    return made


def _dump(file: Any) -> dict[str, Any]:
    return file.model_dump(mode="json", exclude_none=True)
