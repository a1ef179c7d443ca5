"""Sealed values: who can open them, and for which job."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.crypto import ecies
from c2d.errors import InvalidSeal

KEY = ecies.new_private_key()
PUBLIC_KEY = ecies.public_key(KEY)


@pytest.mark.parametrize("value", ["text", {"url": "https://h/?token=ü"}, [1, None], ""])
def test_a_sealed_value_is_opened_with_the_private_key(value: Any) -> None:
    assert ecies.unseal(KEY, ecies.seal(PUBLIC_KEY, value), "j1") == value


def test_a_value_that_was_sealed_for_a_job_is_opened_in_this_job_only() -> None:
    sealed = ecies.seal(PUBLIC_KEY, "value", "j1")
    assert ecies.unseal(KEY, sealed, "j1") == "value"
    with pytest.raises(InvalidSeal, match="was sealed for another job"):
        ecies.unseal(KEY, sealed, "j2")


@pytest.mark.parametrize(
    "sealed",
    ["", "0x", "zz", "0x04" + "11" * 200, ecies.seal(PUBLIC_KEY, "value")[:-2], ecies.seal(ecies.public_key("0x" + "11" * 32), "value")],
)
def test_a_value_that_was_not_sealed_to_this_key_is_rejected_without_quoting_it(sealed: str) -> None:
    with pytest.raises(InvalidSeal) as e:
        ecies.unseal(KEY, sealed, "j1")
    assert str(e.value) == "must be sealed to this operator's public key (`c2d seal`)" and e.value.__cause__ is None


def test_a_public_key_is_recognized_compressed_or_not() -> None:
    assert ecies.is_public_key(PUBLIC_KEY) and ecies.is_public_key(PUBLIC_KEY.removeprefix("0x"))
    assert ecies.is_public_key("02" + PUBLIC_KEY[4:68]) and ecies.is_public_key("03" + PUBLIC_KEY[4:68])
    for text in ("", "0x", "zz", KEY, "0x04" + "11" * 64):
        assert not ecies.is_public_key(text)
