"""The development chain: Ocean's contracts accept and reject the same transactions as on public networks."""

import json
import shutil
from typing import Any

import pytest

from local.home import StackError
from local.market import npm
from local.market.anvil import CHAIN_ID
from local.market.chain import ONE, ZERO
from local.market.fees import fee_of, provider_fee

PROVIDER_KEY = "0x" + "17" * 32
FREE: dict[str, Any] = {"environment": "ocean-compute", "amount": 0, "token": ZERO, "valid_until": 0}


def test_the_address_file_has_the_format_of_oceans(chain: Any) -> None:
    addresses = json.loads(chain.address_file.read_text())["development"]
    assert addresses["chainId"] == CHAIN_ID == int(chain.rpc("eth_chainId"), 16)
    assert {"Ocean", "Router", "FixedPrice", "Dispenser", "ERC721Factory", "OPFCommunityFeeCollector"} <= set(addresses)
    assert chain.call("FactoryRouter", addresses["Router"], "factory") == addresses["ERC721Factory"]
    assert chain.call("ERC721Factory", addresses["ERC721Factory"], "getCurrentTemplateCount") == len(addresses["ERC20Template"]) == 2


def test_an_order_pays_the_providers_fee_and_can_be_reused(chain: Any) -> None:
    publisher, consumer = chain.accounts[1], chain.accounts[2]
    asset = chain.publish(publisher.address)
    valid_until = chain.now() + 3600
    fee = provider_fee(PROVIDER_KEY, asset.datatoken, environment="e", amount=5 * ONE, token=chain.ocean, valid_until=valid_until)
    before = chain.balance(chain.ocean, fee[0])
    tx = chain.buy(asset, consumer.address, fee)
    started, paid = chain.events(tx, "ERC20Template", "OrderStarted", "ProviderFee")
    assert (started.name, started.address, started.args["consumer"]) == ("OrderStarted", asset.datatoken, consumer.address)
    assert started.args["amount"] == ONE
    assert json.loads(paid.args["providerData"])["environment"] == "e"
    assert chain.balance(chain.ocean, fee[0]) == before + 5 * ONE

    again = chain.reuse_order(consumer.address, asset.datatoken, tx, provider_fee(PROVIDER_KEY, asset.datatoken, **FREE))
    assert "0x" + chain.events(again, "ERC20Template", "OrderReused")[0].args["orderTxId"].hex().removeprefix("0x") == tx


def test_the_contract_rejects_a_fee_that_the_provider_did_not_sign(chain: Any) -> None:
    asset = chain.publish(chain.accounts[1].address)
    fee = list(provider_fee(PROVIDER_KEY, asset.datatoken, **FREE))
    fee[6] += 1
    with pytest.raises(RuntimeError, match="Invalid provider fee"):
        chain.buy(asset, chain.accounts[2].address, fee)


def test_the_fee_in_a_providers_answer_is_converted_for_the_contract(chain: Any) -> None:
    fee = provider_fee(PROVIDER_KEY, ZERO, **FREE)
    names = ("providerFeeAddress", "providerFeeToken", "providerFeeAmount", "v", "r", "s", "validUntil", "providerData")
    texts = dict(zip(names, (v if isinstance(v, str) else "0x" + v.hex() if isinstance(v, bytes) else str(v) for v in fee), strict=True))
    assert fee_of(texts) == fee


def test_the_owner_of_an_asset_can_change_its_metadata_state_datatokens_and_owner(chain: Any) -> None:
    publisher, heir = chain.accounts[1], chain.accounts[3]
    asset = chain.publish(publisher.address)
    tx = chain.set_metadata(asset, b"{}", "ab" * 32, decryptor_url="http://127.0.0.1/provider")
    created = chain.events(tx, "ERC721Template", "MetadataCreated")[0].args
    assert (created["data"], created["metaDataHash"].hex(), created["state"]) == (b"{}", "ab" * 32, 0)
    chain.set_state(asset, 4)
    assert chain.call("ERC721Template", asset.nft, "getMetaData")[2] == 4
    assert chain.call("ERC721Template", asset.nft, "isDeployed", chain.add_datatoken(asset))
    assert chain.transfer_nft(asset, heir.address).owner == chain.call("ERC721Template", asset.nft, "ownerOf", 1) == heir.address
    with pytest.raises(RuntimeError):
        chain.set_state(asset, 0)  # by the former owner


def test_the_time_of_the_chain_can_be_advanced_and_reverted(chain: Any) -> None:
    before, snapshot = chain.now(), chain.snapshot()
    chain.forward(86400)
    assert chain.now() >= before + 86400
    chain.revert(snapshot)
    assert chain.now() == before


def test_a_missing_nodejs_is_an_error_that_names_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    npm.node.cache_clear()
    with pytest.raises(StackError, match="18 or newer"):
        npm.node()
    monkeypatch.undo()
    npm.node.cache_clear()
    npm.node()
