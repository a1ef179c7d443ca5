"""What each stage's pod may know, as pure functions of the job: the content of the stage's Secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from c2d.contract import (
    AlgorithmAsset,
    ConfigureInput,
    ConfigureLimits,
    EncryptionKeys,
    FilterInput,
    FilterLimits,
    Grant,
    InputAsset,
    PublishInput,
    PublishLimits,
    Remote,
    Target,
    TextFile,
    UrlFile,
)
from c2d.jobs.assets import Algorithm, Input
from c2d.jobs.files import File
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.market.download_grants import DownloadGrants
from c2d.settings.environment import Environment
from c2d.shared.records import JsonObject, Record

if TYPE_CHECKING:
    from c2d.access.own_assets import OwnAsset

CONNECTIONS = 4  # downloads of a job at once
NAME_BYTES = 255  # of an output's name: most file systems allow no more


def secret_content(stage_input: Record) -> dict[str, str]:
    """The content of the Secret of a stage that has a ``stage.json``."""
    return {"stage.json": json.dumps(stage_input.to_json(), ensure_ascii=False)}


def algorithm_secret_content(job: Job) -> dict[str, str]:
    """The content of the algorithm's Secret: the job's own ``secret``.

    :param job: opened, its secrets in clear.
    """
    return {"secret": job.secret if isinstance(job.secret, str) else ""}


def configure_input(
    job_id: str,
    job: Job,
    env: Environment,
    own_assets: Mapping[str, OwnAsset] | None = None,
    grants: DownloadGrants | None = None,
    public_only: bool = False,
) -> ConfigureInput:
    """What configure fetches, and how.

    :param job: opened, its secrets in clear.
    :param own_assets: the assets of the job's orders, by DID.
    :param grants: the rights to download the remote assets, in the order of ``job.remotes``.
    :param public_only: connect to public addresses only.
    """
    assets = _Assets(own_assets or {}, iter(grants.of_assets if grants else ()))
    return ConfigureInput(
        job=job_id,
        inputs=tuple(assets.data_set(data_set) for data_set in job.inputs),
        algorithm=assets.algorithm(job.algorithm),
        customData=job.algorithm.algocustomdata,
        limits=ConfigureLimits(totalBytes=env.disk_bytes, seconds=env.C2D_STAGE_SECONDS, connections=CONNECTIONS, publicOnly=public_only),
        metadataUri=job.output.metadataUri if job.remotes and job.output else None,
        consumerAddress=grants.consumer if grants else None,
    )


def filter_input(job_id: str, env: Environment) -> FilterInput:
    """What may leave the job."""
    limits = FilterLimits(
        files=env.C2D_OUTPUT_FILES,
        totalBytes=env.disk_bytes,
        fileBytes=env.disk_bytes,
        depth=env.C2D_OUTPUT_DEPTH,
        nameBytes=NAME_BYTES,
        logBytes=env.C2D_LOG_BYTES,
    )
    return FilterInput(job=job_id, limits=limits)


def publish_input(
    job_id: str,
    env: Environment,
    ends_ok: Mapping[Stage, bool],
    store: Target,
    admin_logs: Target | None = None,
    keys: EncryptionKeys | None = None,
) -> PublishInput:
    """What is published, and where.

    :param ends_ok: which stages have succeeded. Without the filter's success, only logs are published.
    :param admin_logs: where the admin logs go, if not to ``store``.
    :param keys: encrypt the results with these.
    """
    return PublishInput(
        job=job_id,
        release="filtered" if ends_ok.get(Stage.FILTER) else "logs",
        store=store,
        adminLogs=admin_logs,
        encryption=keys,
        limits=PublishLimits(logBytes=env.C2D_LOG_BYTES, seconds=env.C2D_STAGE_SECONDS, retrySeconds=env.C2D_UPLOAD_RETRY_SECONDS),
    )


class _Assets:
    """Makes the assets of configure's input. Each remote one takes the next grants."""

    def __init__(self, own_assets: Mapping[str, OwnAsset], grants: Iterator[tuple[tuple[int, str], ...]]):
        self._own_assets, self._grants = own_assets, grants

    def data_set(self, data_set: Input) -> InputAsset:
        return InputAsset(id=data_set.id, files=self._files(data_set), ddo=self._ddo(data_set), remote=self._remote(data_set))

    def algorithm(self, algorithm: Algorithm) -> AlgorithmAsset:
        return AlgorithmAsset(
            id=algorithm.id,
            files=self._files(algorithm),
            ddo=self._ddo(algorithm),
            rawcode=algorithm.rawcode,
            remote=self._remote(algorithm),
        )

    def _files(self, asset: Input | Algorithm) -> tuple[UrlFile | TextFile, ...]:
        if asset.order:
            return self._own_assets[asset.id or ""].files
        return tuple(_url_file(file) for file in asset.files or ())

    def _ddo(self, asset: Input | Algorithm) -> JsonObject | None:
        if asset.order:
            return dict(self._own_assets[asset.id or ""].ddo)
        return dict(json.loads(asset.ddo)) if asset.ddo else None

    def _remote(self, asset: Input | Algorithm) -> Remote | None:
        if not asset.remote:
            return None
        grants = tuple(Grant(nonce, signature) for nonce, signature in next(self._grants, ()))
        return Remote(txId=asset.remote.txId, serviceId=asset.remote.serviceId, userdata=asset.remote.userdata, grants=grants)


def _url_file(file: object) -> UrlFile:
    if not isinstance(file, File):
        raise TypeError("the job's files must be opened")
    return UrlFile(url=file.url, method=file.method, headers=file.headers, checksum=file.checksum)
