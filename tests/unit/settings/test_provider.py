"""The Provider's settings, as in the environment file of Ocean's Provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c2d.cli import main
from c2d.crypto.signatures import address_of
from c2d.errors import InvalidSettings
from c2d.settings import installation
from c2d.settings.installation import read
from c2d.settings.provider import ProviderSettings
from tests.unit.settings.test_installation import BASE

KEY = "0x" + "11" * 32
OTHER = "22" * 32
TOKEN = "0x" + "ab" * 20


def provider(**variables: Any) -> ProviderSettings:
    return read({**BASE, **{n: v if isinstance(v, str) else json.dumps(v) for n, v in variables.items()}}).provider


def test_the_provider_api_is_off_without_a_key_or_a_network() -> None:
    assert not provider().on
    assert not provider(PROVIDER_PRIVATE_KEY=KEY).on
    assert not provider(NETWORK_URL="http://127.0.0.1:8545").on
    assert not provider(PROVIDER_PRIVATE_KEY="", NETWORK_URL="").on


def test_a_single_key_and_a_single_url_apply_to_every_chain() -> None:
    loaded = provider(PROVIDER_PRIVATE_KEY=KEY, NETWORK_URL="http://127.0.0.1:8545")
    assert loaded.on and loaded.key(8996) == loaded.key(1) == KEY
    assert loaded.address(8996) == address_of(KEY)
    assert loaded.NETWORK_URL == {0: ("http://127.0.0.1:8545",)}


def test_each_chain_can_have_its_own_key_and_urls() -> None:
    loaded = provider(
        PROVIDER_PRIVATE_KEY={"1": KEY, "8996": OTHER},
        NETWORK_URL={"1": ["https://a.example/k", "https://b.example"], "8996": "http://127.0.0.1:8545, http://127.0.0.1:8546"},
    )
    assert (loaded.key(1), loaded.key(8996), loaded.key(5)) == (KEY, OTHER, None)
    assert loaded.NETWORK_URL == {
        1: ("https://a.example/k", "https://b.example"),
        8996: ("http://127.0.0.1:8545", "http://127.0.0.1:8546"),
    }


@pytest.mark.parametrize("urls", ['["http://a.example", "http://b.example"]', "http://a.example,http://b.example"])
def test_a_chain_can_have_several_urls(urls: str) -> None:
    assert provider(NETWORK_URL=urls).NETWORK_URL == {0: ("http://a.example", "http://b.example")}


def test_the_fee_token_is_oceans_if_none_is_set(tmp_path: Path) -> None:
    file = tmp_path / "address.json"
    file.write_text(json.dumps({"development": {"chainId": 8996, "Ocean": TOKEN, "Router": "0x"}, "broken": "x"}))
    assert provider(ADDRESS_FILE=str(file)).fee_token(8996) == TOKEN
    assert provider(ADDRESS_FILE=str(file)).fee_token(1) is None
    other = "0x" + "cd" * 20
    assert provider(ADDRESS_FILE=str(file), PROVIDER_FEE_TOKEN={"8996": other}).fee_token(8996) == other
    assert provider(PROVIDER_FEE_TOKEN=other).fee_token(1) == other


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PROVIDER_PRIVATE_KEY", "0x1234", "PROVIDER_PRIVATE_KEY"),
        ("PROVIDER_PRIVATE_KEY", '{"a": "SECRET"}', "chain ids as its keys"),
        ("PROVIDER_PRIVATE_KEY", "{SECRET", "one value, or a JSON object"),
        ("NETWORK_URL", "wss://SECRET.example", "http:// or https:// URLs of JSON-RPC nodes"),
        ("NETWORK_URL", '{"1": []}', "NETWORK_URL"),
        ("NETWORK_URL", '["http://a', "JSON list of URLs"),
        ("AQUARIUS_URL", "aquarius", "must be an http:// or https:// URL"),
        ("IPFS_GATEWAY", "http://", "must be an http:// or https:// URL"),
        ("ADDRESS_FILE", "/nowhere/address.json", "ADDRESS_FILE: cannot be read"),
        ("PROVIDER_FEE_TOKEN", "ocean", "PROVIDER_FEE_TOKEN"),
        ("MAX_CHECKSUM_LENGTH", "-1", "MAX_CHECKSUM_LENGTH"),
        ("REQUEST_TIMEOUT", "0", "REQUEST_TIMEOUT"),
        ("REQUEST_RETRIES", "many", "REQUEST_RETRIES"),
        ("ALLOW_NON_PUBLIC_IP", "perhaps", "ALLOW_NON_PUBLIC_IP"),
        ("AUTHORIZED_DECRYPTERS", '["me"]', "AUTHORIZED_DECRYPTERS"),
    ],
)
def test_an_invalid_setting_is_named_and_its_value_is_not_shown(name: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidSettings) as e:
        provider(**{name: value})
    assert sentence in str(e.value) and name in str(e.value) and "SECRET" not in str(e.value)


def test_every_chain_needs_a_key() -> None:
    for urls in ({"1": "http://a.example", "5": "http://b.example"}, "http://a.example"):
        with pytest.raises(InvalidSettings, match="a key for each chain of NETWORK_URL"):
            provider(PROVIDER_PRIVATE_KEY={"1": KEY}, NETWORK_URL=urls)


def test_c2d_check_shows_the_provider_without_its_secrets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    variables = {
        "PROVIDER_PRIVATE_KEY": KEY,
        "NETWORK_URL": "https://rpc.example/RPCSECRET",
        "REDIS_CONNECTION": "redis://:REDISSECRET@r",
        "STORAGE_PATH": "/data",
        "REQUEST_TIMEOUT": "20",
    }
    for name, value in {**BASE, **variables}.items():
        monkeypatch.setenv(name, value)
    installation.load.cache_clear()
    try:
        assert main.main(["check"]) == 0
    finally:
        installation.load.cache_clear()
    printed = capsys.readouterr().out
    assert "Provider API: on" in printed and address_of(KEY) in printed and "REQUEST_TIMEOUT: 20" in printed
    assert "REDIS_CONNECTION: not needed; nonces and tokens are in the jobs' PostgreSQL" in printed
    assert "SECRET" not in printed and KEY not in printed
    shown = repr(provider(**variables))
    assert "RPCSECRET" not in shown and "REDISSECRET" not in shown and KEY not in shown
