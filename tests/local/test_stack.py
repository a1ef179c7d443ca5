from __future__ import annotations

import json

import pytest

from c2d.signatures import address_of
from local.stack import addresses_of

KEYS = ["0x" + digit * 64 for digit in "12"]


@pytest.mark.parametrize("given", [KEYS[0], json.dumps({"1": KEYS[0], "8996": KEYS[1]})])
def test_the_operator_service_takes_requests_of_the_provider_that_env_file_names(given: str) -> None:
    assert addresses_of(given) == [address_of(key) for key in KEYS if key in given]
