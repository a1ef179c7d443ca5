"""What configure gets for a job without orders, and for remote assets. Jobs with orders are in test_configure_orders.py."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from c2d.crypto.signatures import signer_of_hash
from c2d.errors import ManifestRejected
from c2d.jobs.status import Stage
from c2d.operators.configure import ConfigureOperator
from c2d.operators.context import StageContext
from tests.unit.examples import remote_job
from tests.unit.operators.stage import FakeRepository, context_of


def remote(provider: str | None, **variables: str) -> StageContext:
    """The context of a job with remote assets, sent by ``provider``."""
    repository = FakeRepository(provider=provider, dateCreated=datetime.now(UTC))
    return context_of(Stage.CONFIGURE, None, repository, remote_job(), access_control="open", **variables)


def stage_json(ctx: StageContext) -> Any:
    return json.loads(ConfigureOperator().stage_input(ctx, {})["stage.json"])


def test_a_job_that_no_provider_sent_gets_no_download_grants() -> None:
    with pytest.raises(ManifestRejected, match="remote: is accepted from Ocean Providers only"):
        stage_json(remote(provider=None))


@pytest.mark.parametrize(("variables", "public_only"), [({}, True), ({"ALLOW_NON_PUBLIC_IP": "1"}, False)])
def test_configure_connects_to_public_addresses_only_unless_the_settings_allow_others(variables: Any, public_only: bool) -> None:
    assert stage_json(remote("0x" + "11" * 20, **variables))["limits"]["publicOnly"] is public_only


def test_each_remote_asset_gets_grants_that_start_now_and_outlast_the_stage() -> None:
    ctx = remote(provider="0x" + "11" * 20)
    content = stage_json(ctx)
    for asset in (content["inputs"][0], content["algorithm"]):
        grants = asset["remote"]["grants"]
        assert len(grants) == 1024
        for nonce, signature in (grants[0], grants[-1]):
            assert signer_of_hash(f"{asset['id']}{nonce}", signature) == ctx.settings.address == content["consumerAddress"]
        assert -10_000 < grants[0][0] - time.time() * 1000 < 10_000
        assert grants[-1][0] - grants[0][0] > 7000 * 1000
    text = json.dumps(content)
    assert ctx.settings.OPERATOR_PRIVATE_KEY[2:] not in text and len(text) < 2**20
