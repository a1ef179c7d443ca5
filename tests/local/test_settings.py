from __future__ import annotations

import json

import pytest

from c2d.crypto.signatures import address_of
from local.settings import provider_addresses

KEYS = ["0x" + digit * 64 for digit in "12"]


@pytest.mark.parametrize("setting", [KEYS[0], json.dumps({"1": KEYS[0], "8996": KEYS[1]})], ids=["one key", "a key for each chain"])
def test_the_stack_accepts_requests_signed_with_the_provider_key_in_env_file(setting: str) -> None:
    assert provider_addresses(setting) == [address_of(key) for key in KEYS if key in setting]


@pytest.mark.parametrize("setting", ["no key", "0x" + "0" * 64, "{", '{"1": 5}'])
def test_a_wrong_provider_key_is_left_to_the_check_of_the_settings(setting: str) -> None:
    assert provider_addresses(setting) == []
