"""configure: fetches the data sets and the algorithm into the job's volume."""

from __future__ import annotations

import functools
import json
import secrets
import time

from c2d.access import admission
from c2d.access.asset_content import asset_files
from c2d.access.compute_access import compute_access
from c2d.access.own_assets import OwnAsset, own_assets
from c2d.database.consumers import Consumers
from c2d.errors import AccessDenied, FetchError, InvalidJob, InvalidServiceFiles, ManifestRejected, OrderUsed
from c2d.hooks.datatoken import DatatokenHook
from c2d.jobs.status import Stage, StageEnd, Status, after_configure
from c2d.market import download_grants
from c2d.market.download_grants import DownloadGrants
from c2d.operators.pod import C2DPodOperator
from c2d.pods.stage_input import configure_input, secret_content
from c2d.pods.status import PodEnd


class ConfigureOperator(C2DPodOperator):
    """Makes the job's volume and lays out its inputs. Fails the job with 31 (an input) or 32 (the algorithm)."""

    stage = Stage.CONFIGURE
    opens_secrets = True  # the files' URLs and headers, and the grants are signed

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.CONFIGURING)

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        """stage.json, with the decrypted files of our own assets and with grants for remote assets.

        :raises ManifestRejected: the environment does not accept the job, or an order is not valid.
        :raises c2d.errors.UpstreamUnavailable: a system that must be asked does not answer; the task is tried again.
        """
        row = self.store.job(self.job_id)
        provider = row.provider if row else None
        try:
            admission.check(self.job, self.environment, provider, self.settings.address)
            assets = self._own_assets(provider, row.dateCreated.timestamp() if row and provider else None) if self.job.orders else {}
        except (InvalidJob, OrderUsed, AccessDenied, InvalidServiceFiles, FetchError) as e:
            raise ManifestRejected(str(e)) from None
        public_only = not self.settings.provider.ALLOW_NON_PUBLIC_IP
        make = functools.partial(configure_input, self.job_id, self.job, self.environment, assets, public_only=public_only)
        content = secret_content(make())
        if self.job.remotes:
            content = secret_content(make(grants=self._grants(len(content["stage.json"].encode()))))
        return content

    def _grants(self, other_bytes: int) -> DownloadGrants:
        """Signed rights to download the job's remote assets.

        :param other_bytes: size of the rest of stage.json.
        """
        dids = [did for did, _ in self.job.remotes]
        number = download_grants.number_for(len(dids), other_bytes)
        # Two jobs that begin in the same millisecond should not offer a Provider the same nonce.
        start = time.time_ns() // 1_000_000 + secrets.randbelow(1000)
        # Twice the stage's time: the successor of a lost pod gets the same grants.
        return download_grants.grant(self.settings.OPERATOR_PRIVATE_KEY, dids, start, number, 2 * self.environment.C2D_STAGE_SECONDS)

    def _own_assets(self, provider: str | None, accepted: float | None) -> dict[str, OwnAsset]:
        """The ordered assets that this operator's own Provider key decrypts. Their orders are checked on chain again, whoever has done so.

        :param accepted: when an API accepted the job; None if it was started in Airflow.
        """
        own = self.settings.provider
        if not own.PROVIDER_PRIVATE_KEY:
            raise InvalidJob("order: no assets are kept here (PROVIDER_PRIVATE_KEY is not set)")
        if provider is None:
            self._use_nonce()
        files = asset_files(own, DatatokenHook(seconds=own.REQUEST_TIMEOUT))
        inline = [json.loads(document) for document in self.job.ddos]
        access = compute_access(self.settings, files.checksum, inline)
        approved = access.approve_start(admission.request_of(self.job, self.environment), accepted)
        admission.check_approved(self.job, self.environment, approved, time.time() if provider is None else None)
        if own.C2D_ORDERS_ONCE:
            self.store.use_orders(self.job_id, self.job.owner, approved.orders)
        self.store.allow_network(self.job_id, approved.allowNetworkAccess and self.environment.enableNetwork)
        self.log.info("the orders of %s data sets are valid", len(approved.datasets))
        return own_assets(approved, files)

    def _use_nonce(self) -> None:
        """The owner's signature, which admission has checked, is good for one job."""
        key = next(iter(self.settings.provider.PROVIDER_PRIVATE_KEY.values()))
        consumers = Consumers(self.settings.C2D_DATABASE_URL, key)
        if not consumers.use_nonce_for_job(self.job_id, self.job.owner, str(self.job.nonce), admission.signed_text(self.job)):
            raise InvalidJob("nonce: must be higher than every nonce that the owner has used at the Provider API, and new")

    def record(self, end: PodEnd) -> StageEnd:
        of_stage = end.of_stage(self.stage)
        return self.store.end_stage(self.job_id, of_stage, end.started, end.finished, after_configure(of_stage))
