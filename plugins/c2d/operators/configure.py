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
from c2d.jobs.status import Stage, Status
from c2d.market import download_grants
from c2d.market.download_grants import DownloadGrants
from c2d.operators.context import StageContext
from c2d.operators.pod import C2DPodOperator
from c2d.pods.stage_input import configure_input, secret_content


class ConfigureOperator(C2DPodOperator):
    """Creates the job's volume and fetches its inputs. If that fails, the job ends at 31 (a data set) or 32 (the algorithm)."""

    stage = Stage.CONFIGURE
    opens_secrets = True  # the files' URLs and headers

    def prepare(self, ctx: StageContext) -> None:
        ctx.repository.set_status(ctx.job_id, Status.CONFIGURING)

    def stage_input(self, ctx: StageContext, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        """What to fetch: decrypted files for the assets of our own Provider, download grants for those of others.

        :raises ManifestRejected: the environment or an order does not allow the job, or a file cannot be read.
        :raises UpstreamUnavailable: a chain, the metadata cache or a policy server does not answer.
        """
        row = ctx.repository.job(ctx.job_id)
        provider = row.provider if row else None  # None: the run was started in Airflow
        accepted = row.dateCreated.timestamp() if row and provider else None
        try:
            admission.check(ctx.job, ctx.environment, provider, ctx.settings.address)
            own = self._own_assets(ctx, provider, accepted) if ctx.job.orders else {}
        except (InvalidJob, OrderUsed, AccessDenied, InvalidServiceFiles, FetchError) as e:
            raise ManifestRejected(str(e)) from None
        public_only = not ctx.settings.provider.ALLOW_NON_PUBLIC_IP
        input_with = functools.partial(configure_input, ctx.job_id, ctx.job, ctx.environment, own, public_only=public_only)
        content = secret_content(input_with())
        if not ctx.job.remotes:
            return content
        return secret_content(input_with(grants=_download_grants(ctx, sum(len(text.encode()) for text in content.values()))))

    def _own_assets(self, ctx: StageContext, provider: str | None, accepted: float | None) -> dict[str, OwnAsset]:
        """The ordered assets of our own Provider, with their files decrypted. The orders are checked on chain, even if an API has done so.

        :param provider: the Provider that sent the job. None: the run was started in Airflow.
        :param accepted: when an API accepted the job, in seconds since 1970. None: the run was started in Airflow.
        """
        own = ctx.settings.provider
        if not own.PROVIDER_PRIVATE_KEY:
            raise InvalidJob("order: cannot be used here, because PROVIDER_PRIVATE_KEY is not set; use files or remote")
        if provider is None:
            _use_nonce(ctx)
        files = asset_files(own, DatatokenHook(seconds=own.REQUEST_TIMEOUT))
        inline = [json.loads(document) for document in ctx.job.ddos]
        access = compute_access(ctx.settings, files.checksum, inline)
        approved = access.approve_start(admission.request_of(ctx.job, ctx.environment), accepted)
        admission.check_approved(ctx.job, ctx.environment, approved, time.time() if provider is None else None)
        if own.C2D_ORDERS_ONCE:
            ctx.repository.use_orders(ctx.job_id, ctx.job.owner, approved.orders)
        ctx.repository.allow_network(ctx.job_id, approved.allowNetworkAccess and ctx.environment.enableNetwork)
        self.log.info("the orders of %s data sets are valid", len(approved.datasets))
        return own_assets(approved, files)


def _use_nonce(ctx: StageContext) -> None:
    """Use up the nonce that the owner signed, so that the signature, which admission has checked, is valid for this job only.

    :raises InvalidJob: the nonce has been used, or is too low.
    """
    key = next(iter(ctx.settings.provider.PROVIDER_PRIVATE_KEY.values()))
    consumers = Consumers(ctx.settings.C2D_DATABASE_URL, key)
    if not consumers.use_nonce_for_job(ctx.job_id, ctx.job.owner, str(ctx.job.nonce), admission.signed_text(ctx.job)):
        raise InvalidJob("nonce: must be higher than every nonce that the owner has used at the Provider API, and new")


def _download_grants(ctx: StageContext, other_bytes: int) -> DownloadGrants:
    """The rights to download the job's remote assets.

    :param other_bytes: the size of everything else in the stage's Secret.
    """
    dids = [did for did, _ in ctx.job.remotes]
    number = download_grants.number_for(len(dids), other_bytes)
    # A random part, because two jobs that start in the same millisecond should not present the same nonce to a Provider.
    start = time.time_ns() // 1_000_000 + secrets.randbelow(1000)
    seconds = 2 * ctx.environment.C2D_STAGE_SECONDS  # if the pod is lost, the next one gets the same grants
    return download_grants.grant(ctx.settings.OPERATOR_PRIVATE_KEY, dids, start, number, seconds)
