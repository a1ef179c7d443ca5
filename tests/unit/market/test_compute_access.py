"""The validation of a compute start, refusal by refusal: Ocean Provider's validation oracle (19 cases) and every message besides."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from c2d.crypto.ecies import public_key
from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from c2d.market.ddo import did_of
from c2d.market.fees import ZERO_ADDRESS
from c2d.market.orders import OrderReused, Receipt
from c2d.market.service_files import encrypt
from tests.unit import sample_market as m
from tests.unit.sample_market import Market, market

Change = Callable[[Market], Any]


def asked(it: Market, **changes: Any) -> None:
    it.request = dataclasses.replace(it.request, **changes)


def dataset(it: Market, **changes: Any) -> None:
    first, *others = it.request.datasets
    asked(it, datasets=(dataclasses.replace(first, **changes), *others))


def algorithm(it: Market, **changes: Any) -> None:
    asked(it, algorithm=dataclasses.replace(it.request.algorithm, **changes))


def raw(it: Market, meta: Any = m.RAW) -> None:
    asked(it, algorithm=AlgorithmRequest(serviceId="algo_1", meta=meta))


def raw_container(it: Market, **container: Any) -> None:
    raw(it, {**m.RAW, "container": container})


def compute(it: Market, **rules: Any) -> None:
    it.data["services"][0]["compute"].update(rules)


def second(it: Market, **rules: Any) -> None:
    """Another data set, with rules of its own, beside the first."""
    nft, dt = m.address(21), m.address(22)
    other = it.world.add(m.document(nft, [m.service(nft, dt)]))
    other["services"][0]["compute"].update(rules)
    it.world.receipts[m.tx(4)] = m.order_of(other, m.tx(4))
    asked(it, datasets=(*it.request.datasets, AssetRequest(other["id"], "compute_1", m.tx(4))))


def more(it: Market, **changes: Any) -> None:
    """The first data set's access service as a second data set."""
    request = AssetRequest(**{"documentId": it.data["id"], "serviceId": "access_1", "transferTxId": m.tx(3), **changes})
    asked(it, datasets=(*it.request.datasets, request))


def trusted(it: Market, **entry: Any) -> dict[str, Any]:
    return {"publisherTrustedAlgorithms": [{"did": it.algorithm["id"], "filesChecksum": "", "containerSectionChecksum": "", **entry}]}


def other_files(it: Market) -> None:
    it.data["services"][0]["files"] = encrypt(public_key("0x" + "11" * 32), b"[]")


def other_code(it: Market, **more: Any) -> None:
    it.algorithm["services"][0].update(files=encrypt(public_key("0x" + "11" * 32), b"[]"), **more)


def order(it: Market, **changes: Any) -> None:
    it.world.receipts[m.tx(1)] = m.order_of(it.data, m.tx(1), **changes)


def algorithm_order(it: Market, **changes: Any) -> None:
    it.world.receipts[m.tx(2)] = m.order_of(it.algorithm, m.tx(2), **{"environment": None, **changes})


def no_files(it: Market) -> None:
    nft, dt = it.algorithm["nftAddress"], it.algorithm["services"][0]["datatokenAddress"]
    it.algorithm["services"][0]["files"] = m.service(nft, dt, of=[])["files"]


def denied(it: Market, of: dict[str, Any], name: str, who: str) -> None:
    of["credentials"] = {name: [{"type": "address", "values": [who]}]}


def says_no(it: Market) -> None:
    def no() -> None:
        raise AccessDenied("RBAC", "RBAC Validation failed!")

    it.world.allowed = no


def access_denied(did: str, code: str) -> str:
    return f"Error: Access to asset {did} was denied with code: ConsumableCodes.{code}."


DATA = market().data["id"]
ALGORITHM = market().algorithm["id"]
SHA = "sha256:" + "8221d20c" * 8

# The 19 of the incumbent's oracle: what is asked, and what becomes of it (None: it is granted).
ORACLE: dict[str, tuple[Change, tuple[str, str] | None]] = {
    "an algorithm that was published": (lambda it: None, None),
    "raw code": (raw, None),
    "an algorithm that is none": (lambda it: algorithm(it, documentId=DATA), ("algorithm", "not_algo")),
    "no code": (lambda it: raw(it, {}), ("algorithm", "meta_oneof_url_rawcode_remote")),
    "no container": (raw_container, ("algorithm.container", "missing_entrypoint_image_checksum")),
    "no image": (
        lambda it: raw_container(it, entrypoint="node $ALGO", tag="10"),
        ("algorithm.container", "missing_entrypoint_image_checksum"),
    ),
    "a checksum of no kind": (
        lambda it: raw_container(it, **{**m.CONTAINER, "checksum": SHA[7:]}),
        ("algorithm.container", "checksum_prefix"),
    ),
    "a further data set without DID": (lambda it: more(it, documentId=None), ("datasets[1].documentId", "missing")),
    "a DID that is none": (lambda it: more(it, documentId="i am not a did"), ("datasets[1].documentId", "did_not_found")),
    "a service that is not there": (lambda it: more(it, serviceId="some other"), ("datasets[1].serviceId", "not_found")),
    "a service of another type": (
        lambda it: it.data["services"][0].update(type="something else"),
        ("dataset.serviceId", "service_not_access_compute"),
    ),
    "a data set that trusts another algorithm": (
        lambda it: second(it, publisherTrustedAlgorithms=[{"did": "0xother", "filesChecksum": "mock", "containerSectionChecksum": "mock"}]),
        ("datasets[1]", "not_trusted_algo"),
    ),
    "a data set that trusts another publisher": (
        lambda it: second(it, publisherTrustedAlgorithmPublishers=["0xabc"]),
        ("datasets[1]", "not_trusted_algo_publisher"),
    ),
    "another Provider's files": (other_files, ("dataset.serviceId", "compute_services_not_in_same_provider")),
    "an order that is none": (lambda it: dataset(it, transferTxId="tx_id"), ("dataset.serviceId", "order_invalid")),
    "no service": (lambda it: dataset(it, serviceId=None), ("dataset.serviceId", "missing")),
    "an algorithm without files": (no_files, ("algorithm", "did_not_found")),
    "an algorithm that was not ordered": (lambda it: algorithm(it, transferTxId=m.tx(9)), ("algorithm", "in_use_or_not_on_chain")),
    "an access service for the main data set": (
        lambda it: dataset(it, serviceId="access_1", transferTxId=m.tx(3)),
        ("dataset.serviceId", "main_service_compute"),
    ),
    "raw code where it is not allowed": (lambda it: (compute(it, allowRawAlgorithm=False), raw(it)), ("dataset", "no_raw_algo_allowed")),
    "services of both types": (lambda it: (raw(it), more(it)), None),
    "neither code nor DID": (lambda it: asked(it, algorithm=AlgorithmRequest()), ("algorithm", "missing_meta_documentId")),
    "a fee that was not paid": (lambda it: asked(it, priceMinute=Decimal(1)), ("order", "fees_not_paid")),
    "an algorithm whose file cannot be read": (lambda it: setattr(it.world, "checksum", None), ("algorithm", "file_unavailable")),
}

REFUSED: dict[str, tuple[Change, tuple[str, str]]] = {
    "no DID": (lambda it: dataset(it, documentId=None), ("dataset.documentId", "missing")),
    "no order": (lambda it: dataset(it, transferTxId=None), ("dataset.transferTxId", "missing")),
    "no such data set": (lambda it: dataset(it, documentId="did:op:ff"), ("dataset.documentId", "did_not_found")),
    "no such algorithm": (lambda it: algorithm(it, documentId="did:op:ff"), ("algorithm", "file_unavailable")),
    "no service of the algorithm": (lambda it: algorithm(it, serviceId=None), ("algorithm.serviceId", "missing")),
    "no such service of the algorithm": (lambda it: algorithm(it, serviceId="x"), ("algorithm", "file_unavailable")),
    "an algorithm that another Provider keeps": (lambda it: other_code(it), ("algorithm", "file_unavailable")),
    "a compute service of an algorithm that another Provider keeps": (
        lambda it: other_code(it, type="compute"),
        ("algorithm", "compute_services_not_in_same_provider"),
    ),
    "code without container": (lambda it: raw(it, {"rawcode": "x"}), ("algorithm.container", "missing_entrypoint_image_checksum")),
    "code that is text": (lambda it: raw(it, "x"), ("algorithm", "meta_oneof_url_rawcode_remote")),
    "a DDO without chain": (lambda it: it.data.pop("chainId"), ("dataset", "Asset malformed or disabled.")),
    "a DDO of another NFT": (lambda it: it.data.update(nftAddress=m.address(99)), ("dataset", "Asset malformed or disabled.")),
    "an NFT without metadata": (
        lambda it: it.world.states.update({it.data["nftAddress"]: None}),
        ("dataset", "Asset malformed or disabled."),
    ),
    "a DDO that is not the one on chain": (
        lambda it: it.world.hashes.update({it.data["nftAddress"]: b"\0" * 32}),
        ("dataset", "Asset malformed or disabled."),
    ),
    "an algorithm's DDO that is not the one on chain": (
        lambda it: it.world.hashes.update({it.algorithm["nftAddress"]: b"\0" * 32}),
        ("algorithm.credentials", "Asset malformed or disabled."),
    ),
    **{
        f"a data set in state {state}": (
            lambda it, state=state: it.world.states.update({it.data["nftAddress"]: state}),
            ("dataset", "Asset is not consumable."),
        )
        for state in (1, 2, 3, 4)
    },
    "a data set that the cache knows to be disabled": (
        lambda it: it.data.update(nft={"state": 4}),
        ("dataset", access_denied(DATA, "ASSET_DISABLED")),
    ),
    "a service that is disabled": (lambda it: it.data["services"][0].update(state=1), ("dataset", access_denied(DATA, "ASSET_DISABLED"))),
    "a consumer on the deny list": (
        lambda it: denied(it, it.data, "deny", m.CONSUMER),
        ("dataset", access_denied(DATA, "CREDENTIAL_IN_DENY_LIST")),
    ),
    "a consumer who is not on the allow list": (
        lambda it: denied(it, it.data, "allow", m.PUBLISHER),
        ("dataset", access_denied(DATA, "CREDENTIAL_NOT_IN_ALLOW_LIST")),
    ),
    "a consumer on the service's deny list": (
        lambda it: denied(it, it.data["services"][0], "deny", m.CONSUMER.lower()),
        ("dataset", access_denied(DATA, "CREDENTIAL_IN_DENY_LIST")),
    ),
    "a consumer on the algorithm's deny list": (
        lambda it: denied(it, it.algorithm, "deny", m.CONSUMER),
        ("algorithm.credentials", access_denied(ALGORITHM, "CREDENTIAL_IN_DENY_LIST")),
    ),
    "an untrusted algorithm": (lambda it: compute(it, **trusted(it, did="did:op:ff")), ("dataset", "not_trusted_algo")),
    "an untrusted publisher": (
        lambda it: compute(it, publisherTrustedAlgorithmPublishers=[m.CONSUMER]),
        ("dataset", "not_trusted_algo_publisher"),
    ),
    "trust without DID": (
        lambda it: compute(it, publisherTrustedAlgorithms=[{"filesChecksum": "x"}]),
        ("dataset", "no_publisherTrustedAlgorithms"),
    ),
    "an algorithm whose files were changed": (
        lambda it: compute(it, **trusted(it, filesChecksum="00" * 32)),
        ("dataset", "algorithm_file_checksum_mismatch"),
    ),
    "an algorithm whose container was changed": (
        lambda it: compute(it, **trusted(it, filesChecksum=m.CHECKSUM.upper(), containerSectionChecksum="00" * 32)),
        ("dataset", "algorithm_container_checksum_mismatch"),
    ),
    "an order of another consumer": (lambda it: order(it, payer=m.PUBLISHER), ("dataset.serviceId", "order_invalid")),
    "an order of another environment": (lambda it: order(it, environment="ocean-compute2"), ("dataset.serviceId", "order_invalid")),
    "an algorithm's order of another consumer": (
        lambda it: algorithm_order(it, payer=m.PUBLISHER),
        ("algorithm", "in_use_or_not_on_chain"),
    ),
    "an output that is a text": (lambda it: asked(it, output="this can not be decoded"), ("output", "invalid")),
    "an output that is a list": (lambda it: asked(it, output=[1]), ("output", "invalid")),
    "whom RBAC refuses": (says_no, ("RBAC", "RBAC Validation failed!")),
    "parameters that are no object": (lambda it: dataset(it, userdata="[1"), ("dataset.userdata", "must be a JSON object")),
    "a parameter that is not the asset's": (
        lambda it: (
            it.data["services"][0].update(consumerParameters=[{"name": "n", "type": "number", "required": True}]),
            dataset(it, userdata={"m": 1}),
        ),
        ("dataset.userdata", "userdata.m: is not a parameter of this asset"),
    ),
    "a parameter of the algorithm that is missing": (
        lambda it: it.algorithm["metadata"]["algorithm"].update(consumerParameters=[{"name": "n", "type": "number", "required": True}]),
        ("algorithm.algocustomdata", "userdata.n: is required"),
    ),
}


def refusal(it: Market, **rules: Any) -> tuple[str, str] | None:
    try:
        it.world.access(**rules).approve_start(it.request)
    except AccessDenied as e:
        return e.resource, e.message
    return None


@pytest.mark.parametrize("what", ORACLE)
def test_the_incumbents_oracle(what: str) -> None:
    change, expected = ORACLE[what]
    it = market()
    change(it)
    assert refusal(it) == expected


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what: str) -> None:
    change, expected = REFUSED[what]
    it = market()
    assert refusal(copy.deepcopy(it)) is None  # it is the change alone that is refused
    change(it)
    assert refusal(it) == expected


def test_what_is_granted() -> None:
    it = market()
    more(it)
    asked(it, priceMinute=Decimal(60))
    order(it, fee=3600 * 10**18)
    granted = it.world.access().approve_start(it.request)
    assert [(d.asset.did, d.service.id, d.order.txId if d.order else None) for d in granted.datasets] == [
        (DATA, "compute_1", m.tx(1)),
        (DATA, "access_1", m.tx(3)),
    ]
    assert granted.datasets[0].files == (m.URL,)
    assert granted.algorithm is not None and granted.algorithm.files == (m.URL,)
    assert (granted.agreementId, granted.validUntil, dict(granted.container)) == (m.tx(1), m.NOW + 3600, m.CONTAINER)
    assert "data.example" not in repr(granted) and m.PROVIDER_KEY not in repr(it.world.access())


def test_the_fee_may_be_paid_by_any_of_the_orders_and_that_one_is_the_agreement() -> None:
    it = market()
    asked(it, priceMinute=Decimal(60))
    algorithm_order(it, fee=3600 * 10**18)
    assert it.world.access().approve_start(it.request).agreementId == m.tx(2)
    algorithm_order(it, fee=3600 * 10**18 - 1)
    assert refusal(it) == ("order", "fees_not_paid")


def test_a_job_lasts_as_long_as_its_payer_has_paid_for() -> None:
    it = market()
    asked(it, priceMinute=Decimal(60))
    order(it, fee=60 * 10**18, until=m.NOW + 60)
    algorithm_order(it, until=m.NOW + 7200)  # for nothing, as the second of two assets
    granted = it.world.access().approve_start(it.request)
    assert (granted.agreementId, granted.validUntil) == (m.tx(1), m.NOW + 60)


def test_a_payment_that_the_chain_took_late_is_good_until_its_time_has_passed() -> None:
    it = market()
    asked(it, priceMinute=Decimal(60))
    late = {"made": m.NOW - 120, "until": m.NOW - 30, "time": m.NOW - 10}
    order(it, fee=90 * 10**18, **late)
    algorithm_order(it, **late)
    granted = it.world.access().approve_start(it.request)
    assert (granted.agreementId, granted.validUntil) == (m.tx(1), m.NOW + 90)  # the 90 seconds that were paid for
    order(it, fee=0, **late)
    assert refusal(it) == ("order", "fees_not_paid")


def test_a_late_payment_buys_no_more_time_than_it_is_for() -> None:
    """Else two seconds would pay for the margin of a minute and a half, again and again."""
    it = market()
    asked(it, priceMinute=Decimal(60))
    order(it, fee=2 * 10**18, made=m.NOW - 3, until=m.NOW - 1, time=m.NOW - 1)
    algorithm_order(it, made=m.NOW - 3, until=m.NOW - 1, time=m.NOW - 1)
    assert it.world.access().approve_start(it.request).validUntil == m.NOW + 2


@pytest.mark.parametrize(("chains", "expected"), [(frozenset({m.CHAIN}), None), (frozenset(), None), (frozenset({1, 137}), "dataset")])
def test_an_environment_of_some_chains_takes_no_asset_of_another(chains: frozenset[int], expected: str | None) -> None:
    it = market()
    asked(it, chains=chains)
    said = "The environment takes assets of chain 1, 137 only."
    raw(it)
    assert refusal(it) == (expected and (expected, said))


def test_a_fee_cannot_be_paid_on_a_chain_that_the_environment_does_not_take() -> None:
    """A token of a test network is had for nothing; the first data set alone was looked at."""
    it = market()
    asked(it, chains=frozenset({m.CHAIN}), priceMinute=Decimal(60))
    elsewhere = m.document(m.address(31), [m.service(m.address(31), m.address(32), id="algo_1", type="access")], kind="algorithm")
    elsewhere |= {"chainId": 5, "id": did_of(m.address(31), 5)}
    it.world.add(elsewhere)
    it.world.receipts[m.tx(5)] = m.order_of(elsewhere, m.tx(5), fee=3600 * 10**18)
    algorithm(it, documentId=elsewhere["id"], transferTxId=m.tx(5))
    assert refusal(it) == ("algorithm", f"The environment takes assets of chain {m.CHAIN} only.")


def test_a_price_without_a_token_is_not_nothing() -> None:
    it = market()
    asked(it, priceMinute=Decimal(60))
    with pytest.raises(UpstreamUnavailable, match="PROVIDER_FEE_TOKEN must name"):
        it.world.access(fee_token=lambda chain: None).approve_start(it.request)
    assert refusal(it, fee_token=lambda chain: ZERO_ADDRESS) is None


def test_a_fee_in_another_token_or_of_another_provider_pays_nothing() -> None:
    for changes in ({"token": m.address(77)}, {"key": "0x" + "11" * 32}):
        it = market()
        asked(it, priceMinute=Decimal(60))
        order(it, fee=3600 * 10**18, **changes)
        assert refusal(it) in (("order", "fees_not_paid"), ("dataset.serviceId", "order_invalid"))


def test_a_fee_token_that_does_not_tell_its_decimals_is_no_pass() -> None:
    it = market()
    asked(it, priceMinute=Decimal(60))
    it.world.decimals = None
    with pytest.raises(UpstreamUnavailable, match="does not tell its decimals"):
        it.world.access().approve_start(it.request)


def test_a_ddo_whose_event_could_not_be_looked_for_is_no_pass_and_said_so() -> None:
    it = market()
    it.world.logs = False
    with pytest.raises(UpstreamUnavailable, match="the RPC servers give no events of 0x"):
        it.world.access().approve_start(it.request)
    assert refusal(it, check_metadata_hash=False) is None


def test_an_unlisted_asset_may_be_used() -> None:
    it = market()
    it.world.states[it.data["nftAddress"]] = 5
    assert refusal(it) is None


def test_empty_trust_lists_allow_every_algorithm_unless_the_operator_says_otherwise() -> None:
    assert refusal(market()) is None
    assert refusal(market(), deny_by_default=True) == ("dataset", "not_trusted_algo")


def test_trust_in_a_publisher_is_compared_with_the_chain_whatever_the_letters_case() -> None:
    it = market()
    compute(it, publisherTrustedAlgorithmPublishers=[m.PUBLISHER.lower()])
    it.algorithm["nft"] = {"owner": m.CONSUMER}  # what the cache says does not count
    assert refusal(it) is None
    it.world.owners[it.algorithm["nftAddress"]] = m.CONSUMER
    assert refusal(it) == ("dataset", "not_trusted_algo_publisher")


@pytest.mark.parametrize("did", ["*", ALGORITHM])
def test_a_trusted_algorithm_with_both_checksums(did: str) -> None:
    from c2d.market.asset_rules import container_checksum

    it = market()
    sums = {"filesChecksum": m.CHECKSUM, "containerSectionChecksum": container_checksum(m.CONTAINER["entrypoint"], m.CONTAINER["checksum"])}
    compute(it, **trusted(it, did=did, **sums))
    assert refusal(it) is None


def test_raw_code_beside_a_did_is_not_what_runs() -> None:
    # The incumbent compares trust lists with the DID and runs the code.
    it = market()
    compute(it, **trusted(it))
    algorithm(it, meta={**m.RAW, "container": {"image": "evil"}})
    granted = it.world.access().approve_start(it.request)
    assert granted.algorithm is not None and granted.algorithm.asset.did == ALGORITHM
    assert dict(granted.container) == m.CONTAINER


def test_network_is_for_an_algorithm_that_each_owner_allows_it() -> None:
    it = market()
    more(it)
    assert it.world.access().approve_start(it.request).allowNetworkAccess is False
    compute(it, allowNetworkAccess=True)
    assert it.world.access().approve_start(it.request).allowNetworkAccess is True  # an access service hands the file out anyway
    second(it)
    assert it.world.access().approve_start(it.request).allowNetworkAccess is False


def test_a_text_that_is_not_true_allows_nothing() -> None:
    it = market()
    compute(it, allowNetworkAccess="true", allowRawAlgorithm="true")
    assert it.world.access().approve_start(it.request).allowNetworkAccess is False
    raw(it)
    assert refusal(it) == ("dataset", "no_raw_algo_allowed")


def test_a_policy_server_replaces_credentials() -> None:
    it = market()
    denied(it, it.data, "deny", m.CONSUMER)
    it.world.replaces_credentials = True
    assert refusal(it) is None


def test_another_providers_access_service_comes_with_its_own_fee() -> None:
    it = market()
    it.data["services"][1]["files"] = encrypt(public_key("0x" + "11" * 32), b"[]")
    it.world.receipts[m.tx(3)] = m.order_of(it.data, m.tx(3), service=1, key="0x" + "11" * 32)
    more(it)
    assert it.world.access().approve_start(it.request).datasets[1].files is None


def test_the_chains_clock_counts_where_it_is_ahead() -> None:
    it = market()
    order(it, until=m.NOW + 100, made=m.NOW - 60)
    assert refusal(it) is None
    access = it.world.access()
    access.now = lambda: m.NOW - 10_000
    it.world.now = m.NOW + 300
    with pytest.raises(AccessDenied, match="order_invalid"):
        access.approve_start(it.request)


# -- initializeCompute --------------------------------------------------------------------------------------------------------------


def initialized(it: Market) -> list[tuple[bool, bool]]:
    datasets, algo = it.world.access().approve_initialize(it.request)
    return [(a.order is not None, a.fee_paid) for a in (*datasets, *([algo] if algo else []))]


def test_initialize_needs_no_order() -> None:
    it = market()
    dataset(it, transferTxId=None)
    algorithm(it, transferTxId=None)
    assert initialized(it) == [(False, False), (False, False)]


def test_initialize_tells_orders_that_are_good_from_those_whose_fee_is_over() -> None:
    it = market()
    algorithm_order(it, environment="ocean-compute")
    assert initialized(it) == [(True, True), (True, True)]
    order(it, until=m.NOW - 1)
    algorithm_order(it, environment="other")
    assert initialized(it) == [(True, False), (False, False)]
    order(it, time=m.NOW - 3601)
    assert initialized(it)[0] == (False, False)


def test_initialize_refuses_as_a_start_does() -> None:
    it = market()
    compute(it, **trusted(it, did="did:op:ff"))
    with pytest.raises(AccessDenied, match="dataset: not_trusted_algo"):
        initialized(it)


def test_of_several_orders_in_one_transaction_that_of_the_datatoken_counts() -> None:
    it = market()
    first, mine = m.tx(7), it.data["services"][0]["datatokenAddress"]
    (paid,) = m.order_of(it.data, m.tx(1)).fees
    reuse = tuple(OrderReused(dt, tx, m.NOW - 5) for dt, tx in ((m.address(70), m.tx(8)), (mine, first)))
    it.world.receipts |= {m.tx(1): Receipt(m.tx(1), True, 9, m.NOW - 5, (), reuse, (paid,)), first: m.order_of(it.data, first)}
    assert it.world.access().approve_start(it.request).datasets[0].order.startedTxId == first  # type: ignore[union-attr]


# -- one asset ----------------------------------------------------------------------------------------------------------------------


def test_an_access_service_alone() -> None:
    it = market()
    access = it.world.access()
    assert access.approve_download(DATA, "access_1", m.CONSUMER, None).files == (m.URL,)
    assert access.approve_download(DATA, "access_1", m.CONSUMER, m.tx(3)).order is not None
    for did, service, consumer, tx, expected in (
        ("did:op:ff", "access_1", m.CONSUMER, None, ("documentId", "did_not_found")),
        (DATA, "x", m.CONSUMER, None, ("serviceId", "not_found")),
        (DATA, "access_1", m.CONSUMER, m.tx(9), ("", "order_invalid")),
        (DATA, "access_1", m.address(5), m.tx(3), ("", "order_invalid")),
    ):
        with pytest.raises(AccessDenied) as e:
            access.approve_download(did, service, consumer, tx)
        assert (e.value.resource, e.value.message) == expected
    it.world.states[it.data["nftAddress"]] = 4
    with pytest.raises(AccessDenied, match="Asset is not consumable"):
        access.approve_download(DATA, "access_1", m.CONSUMER, None)


def test_the_body_of_a_start_may_be_anything() -> None:
    for body in (
        {},
        {"dataset": 1, "algorithm": [], "additionalDatasets": [None, 3]},
        {"algorithm": {"documentId": {"a": 1}, "serviceId": []}},
    ):
        with pytest.raises(AccessDenied):
            market().world.access().approve_start(ComputeRequest.of_body(body, Decimal(1)))
    body = {"dataset": {"documentId": DATA, "serviceId": "compute_1", "transferTxId": m.tx(1)}, "algorithm": {"meta": m.RAW}}
    request = ComputeRequest.of_body({**body, "consumerAddress": m.CONSUMER, "environment": "ocean-compute"}, Decimal(0))
    assert market().world.access().approve_start(request).algorithm is None
    assert AssetRequest.of(None) == AssetRequest()
