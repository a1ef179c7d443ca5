"""Signatures: vectors of Ocean's own code, and agreement with eth_account."""

from __future__ import annotations

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak

from c2d.crypto.signatures import address_of, checksummed, sign_hash, sign_text, signer_of_hash, signer_of_text
from c2d.errors import InvalidSignature

# Made with Ocean's own code: operator-service's test wallet, operator-engine's notify.
WALLET = "0x1f990f8b013fc5c7955e0f8746f11ded231721b9cf3f99ff06cdc03492b28090"
WALLET_ADDRESS = "0xe17D2A07EFD5b112F4d675ea2d122ddb145d117B"
REQUEST = "0xC41808BBef371AD5CFc76466dDF9dEe228d2BdAA1700000000000000001"
REQUEST_SIGNATURE = (
    "0x840a4a3ace49c0f31c85b9fb9932cfd25ff619ac24123c3902b6ed8ebfc2764143713ff73185921e8297178696d68d9787bc022d42844c8e41e3838eefbaf80601"
)
ENGINE = "0x95c716e9df3bc4ffd7299e7861ce401de810e8d245d3127b8e7b430f4ca7fd27"
ENGINE_ADDRESS = "0x6D39A833d1a6789AecA50dB85CB830bc08319F45"
NOTIFY = '"s3cr3t"["did:op:aa", "did:op:bb"]"j1""did:op:cc"'
NOTIFY_SIGNATURE = (
    "0x7570ba49e6b5369f1b4f6de25aa72be1649ff80b60540f41abd7e83c028a575e6b758be747a29b85b713d2f014aa98a3f0097d649a64912a6b22e38251fe942c1c"
)


def test_a_request_is_signed_like_oceans_provider_signs_it() -> None:
    assert sign_hash(WALLET, REQUEST) == REQUEST_SIGNATURE
    assert signer_of_hash(REQUEST, REQUEST_SIGNATURE) == WALLET_ADDRESS == address_of(WALLET)


def test_a_notification_is_signed_like_operator_engine_signs_it() -> None:
    assert sign_text(ENGINE, NOTIFY) == NOTIFY_SIGNATURE
    assert signer_of_text(NOTIFY, NOTIFY_SIGNATURE).lower() == ENGINE_ADDRESS.lower()


def test_the_last_byte_may_be_0_1_27_or_28_and_0x_may_be_missing() -> None:
    with_27 = REQUEST_SIGNATURE[:-2] + "1c"
    assert signer_of_hash(REQUEST, with_27) == signer_of_hash(REQUEST, REQUEST_SIGNATURE[2:]) == WALLET_ADDRESS


def test_signatures_of_eth_account_are_recovered() -> None:
    signed = Account.sign_message(encode_defunct(keccak(text="ümlaut")), WALLET).signature.hex()
    assert signer_of_hash("ümlaut", signed) == WALLET_ADDRESS
    signed = Account.sign_message(encode_defunct(text="ümlaut"), WALLET).signature.hex()
    assert signer_of_text("ümlaut", signed) == WALLET_ADDRESS


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "0x",
        "sig",
        REQUEST_SIGNATURE[:-2],
        REQUEST_SIGNATURE + "00",
        REQUEST_SIGNATURE[:-2] + "02",
        "0x" + "00" * 65,
        "0x" + "ff" * 64 + "1b",
        None,
        7,
    ],
)
def test_a_malformed_signature_is_rejected(signature: object) -> None:
    with pytest.raises(InvalidSignature):
        signer_of_hash(REQUEST, signature)  # type: ignore[arg-type]


def test_a_signature_of_another_text_does_not_recover_the_signer() -> None:
    assert signer_of_hash(REQUEST + "1", REQUEST_SIGNATURE) != WALLET_ADDRESS


@pytest.mark.parametrize(
    "address", ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", ENGINE_ADDRESS]
)
def test_addresses_have_the_checksum_of_eip_55(address: str) -> None:
    assert checksummed(address.lower()).lower() == address.lower()
    assert address == ENGINE_ADDRESS or checksummed(address.upper().replace("0X", "0x")) == address
