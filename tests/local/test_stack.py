from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2d.crypto.signatures import address_of
from local.stack import addresses_of, operator_settings

KEYS = ["0x" + digit * 64 for digit in "12"]


@pytest.mark.parametrize("given", [KEYS[0], json.dumps({"1": KEYS[0], "8996": KEYS[1]})])
def test_the_operator_service_takes_requests_of_the_provider_that_env_file_names(given: str) -> None:
    assert addresses_of(given) == [address_of(key) for key in KEYS if key in given]


@pytest.mark.parametrize("given", ["no key", "0x" + "0" * 64, "{", '{"1": 5}'])
def test_a_wrong_key_in_env_file_is_left_to_the_check_of_the_settings(given: str) -> None:
    assert addresses_of(given) == []


def test_an_empty_setting_in_env_file_leaves_the_stacks_own(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("OPERATOR_PRIVATE_KEY=\nnCPU=2\nNOTIFY_START_URL=''\nC2D_ENVIRONMENTS=places.yaml\n")
    assert operator_settings(file) == {"nCPU": "2", "C2D_ENVIRONMENTS": str(tmp_path / "places.yaml")}
