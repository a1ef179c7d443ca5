"""Download grants: signatures that a Provider accepts, and nonces that stay valid while other jobs use theirs."""

from __future__ import annotations

import itertools
import json

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak

from c2d.market import download_grants

# The public test key of Ocean's operator-service.
WALLET = "0x1f990f8b013fc5c7955e0f8746f11ded231721b9cf3f99ff06cdc03492b28090"
WALLET_ADDRESS = "0xe17D2A07EFD5b112F4d675ea2d122ddb145d117B"


def test_a_provider_recovers_the_consumer_from_a_grant() -> None:
    grants = download_grants.grant(WALLET, ["did:op:aa", "did:op:bb"], 1_700_000_000_000, 8, 60)
    assert grants.consumer == WALLET_ADDRESS
    for did, of_asset in zip(("did:op:aa", "did:op:bb"), grants.of_assets, strict=True):
        for nonce, signature in of_asset:
            # Provider v2.1.6, verify_signature: keccak of the text, signed as a message of 32 bytes; some versions need v to be 0 or 1
            signer = Account.recover_message(encode_defunct(keccak(text=f"{did}{nonce}")), signature=signature)
            assert signer == WALLET_ADDRESS and signature[-2:] in ("00", "01")


def test_a_grant_matches_the_vector() -> None:
    # Made with eth_account 0.13, from the text did:op:aa1700000000000.
    (of_asset,) = download_grants.grant(WALLET, ["did:op:aa"], 1_700_000_000_000, 8, 60).of_assets
    nonce, signature = of_asset[0]
    expected = Account.sign_message(encode_defunct(keccak(text="did:op:aa1700000000000")), WALLET).signature.hex().removeprefix("0x")
    assert nonce == 1_700_000_000_000
    assert signature == "0x" + expected[:-2] + f"{int(expected[-2:], 16) - 27:02x}"
    assert signature == VECTOR


VECTOR = (
    "0xa1aca475e1c54b3fa92aeb36f3aebfdd6f75ff3098ce9424481873d815abd9f26d30d38cde6bf40b0ae2cea5f70d02c9bb274caf3591a034667bf98bd99c351301"
)


@pytest.mark.parametrize("assets", [1, 2, 7, 100, 101])
@pytest.mark.parametrize("number", [8, 30, 1024])
@pytest.mark.parametrize("seconds", [20, 7200, 2 * 366 * 86400])
def test_nonces_rise_are_unique_in_the_job_and_cover_the_stages_time_limit(assets: int, number: int, seconds: int) -> None:
    start = 1_700_000_000_000
    ladder = download_grants.nonces(start, assets, number, seconds)
    assert [len(own) for own in ladder] == [number] * assets
    assert all(own == sorted(own) for own in ladder)
    assert len({n for own in ladder for n in own}) == assets * number
    assert all(own[-1] >= start + min(seconds, 5) * 1000 - assets for own in ladder) or seconds * 1000 < assets * number
    assert ladder[-1][-1] < 2**53


def test_the_near_nonces_of_an_asset_follow_those_of_the_previous_asset() -> None:
    ladder = download_grants.nonces(1000, 3, 32, 7200)
    assert all(earlier[23] < later[0] for earlier, later in itertools.pairwise(ladder))
    assert all(own[24] > ladder[-1][23] for own in ladder)


@pytest.mark.parametrize("assets", [1, 2, 10, 100, 101])
@pytest.mark.parametrize("other_bytes", [0, 500 * 1024, 800 * 1024])
def test_all_grants_of_a_job_fit_into_its_secret(assets: int, other_bytes: int) -> None:
    number = download_grants.number_for(assets, other_bytes)
    grants = download_grants.grant(WALLET, ["did:op:" + "a" * 64], 1_700_000_000_000, 8, 60)
    one = len(json.dumps([grants.of_assets[0][0]])) + 1
    assert one <= download_grants.GRANT_BYTES
    assert other_bytes + assets * number * download_grants.GRANT_BYTES <= download_grants.SECRET_BYTES or number == download_grants.LEAST
    assert download_grants.LEAST <= number <= download_grants.MOST


def test_a_hundred_assets_get_thirty_grants_each_and_a_single_one_gets_1024() -> None:
    assert download_grants.number_for(100, 10_000) == 30
    assert download_grants.number_for(1, 10_000) == 1024
    assert download_grants.number_for(100, 2**20) == download_grants.LEAST
