"""The decision about a compute start: the validation cases of Ocean's Provider, and each of our denials."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from c2d.crypto.ecies import public_key
from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.market.asset_rules import container_checksum
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from c2d.market.ddo import did_of
from c2d.market.service_files import encrypt
from tests.unit import sample_market as m
from tests.unit.sample_market import Market, market

Change = Callable[[Market], Any]
FOREIGN_FILES = encrypt(public_key(m.OTHER_PROVIDER_KEY), b"[]")
DATA = market().data["id"]
ALGORITHM = market().algorithm["id"]
MALFORMED = "Asset malformed or disabled."


def request_container(it: Market, **container: Any) -> None:
    it.request_raw_code({**m.RAW_CODE, "container": container})


def publish_algorithm_without_files(it: Market) -> None:
    nft, datatoken = it.algorithm["nftAddress"], it.algorithm["services"][0]["datatokenAddress"]
    it.algorithm["services"][0]["files"] = m.service(nft, datatoken, of=[])["files"]


def forbid_raw_code_and_request_it(it: Market) -> None:
    it.change_compute_rules(allowRawAlgorithm=False)
    it.request_raw_code(m.RAW_CODE)


def request_with_parameter_of_another_name(it: Market) -> None:
    it.data["services"][0].update(consumerParameters=[{"name": "n", "type": "number", "required": True}])
    it.change_dataset_request(userdata={"m": 1})


def require_algorithm_parameter(it: Market) -> None:
    it.algorithm["metadata"]["algorithm"].update(consumerParameters=[{"name": "n", "type": "number", "required": True}])


def list_consumer(part: dict[str, Any], name: str, consumer: str) -> None:
    """Put the consumer on the allow or deny list (``name``) of an asset or a service."""
    part["credentials"] = {name: [{"type": "address", "values": [consumer]}]}


def deny_by_rbac(it: Market) -> None:
    def deny() -> None:
        raise AccessDenied("RBAC", "RBAC Validation failed!")

    it.world.allowed = deny


def not_consumable(did: str, code: str) -> str:
    return f"Error: Access to asset {did} was denied with code: ConsumableCodes.{code}."


# From the validation tests of Ocean's Provider: a change to an approved request, and the expected denial (None: still approved).
PROVIDERS_CASES: dict[str, tuple[Change, tuple[str, str] | None]] = {
    "a published algorithm": (lambda it: None, None),
    "raw code": (lambda it: it.request_raw_code(m.RAW_CODE), None),
    "a data set as the algorithm": (lambda it: it.change_algorithm_request(documentId=DATA), ("algorithm", "not_algo")),
    "neither raw code nor its URL": (lambda it: it.request_raw_code({}), ("algorithm", "meta_oneof_url_rawcode_remote")),
    "an empty container": (request_container, ("algorithm.container", "missing_entrypoint_image_checksum")),
    "a container without image": (
        lambda it: request_container(it, entrypoint="node $ALGO", tag="10"),
        ("algorithm.container", "missing_entrypoint_image_checksum"),
    ),
    "a checksum that does not name its algorithm": (
        lambda it: request_container(it, **{**m.CONTAINER, "checksum": "8221d20c" * 8}),
        ("algorithm.container", "checksum_prefix"),
    ),
    "an additional data set without DID": (
        lambda it: it.request_access_service(documentId=None),
        ("datasets[1].documentId", "missing"),
    ),
    "a DID that does not exist": (
        lambda it: it.request_access_service(documentId="i am not a did"),
        ("datasets[1].documentId", "did_not_found"),
    ),
    "a service that does not exist": (
        lambda it: it.request_access_service(serviceId="some other"),
        ("datasets[1].serviceId", "not_found"),
    ),
    "a service that is neither access nor compute": (
        lambda it: it.data["services"][0].update(type="something else"),
        ("dataset.serviceId", "service_not_access_compute"),
    ),
    "a data set that trusts another algorithm": (
        lambda it: it.request_another_data_set(
            publisherTrustedAlgorithms=[{"did": "0xother", "filesChecksum": "mock", "containerSectionChecksum": "mock"}]
        ),
        ("datasets[1]", "not_trusted_algo"),
    ),
    "a data set that trusts another publisher": (
        lambda it: it.request_another_data_set(publisherTrustedAlgorithmPublishers=["0xabc"]),
        ("datasets[1]", "not_trusted_algo_publisher"),
    ),
    "files of another Provider": (
        lambda it: it.data["services"][0].update(files=FOREIGN_FILES),
        ("dataset.serviceId", "compute_services_not_in_same_provider"),
    ),
    "an order that is not a transaction id": (
        lambda it: it.change_dataset_request(transferTxId="tx_id"),
        ("dataset.serviceId", "order_invalid"),
    ),
    "a data set without service": (lambda it: it.change_dataset_request(serviceId=None), ("dataset.serviceId", "missing")),
    "an algorithm without files": (publish_algorithm_without_files, ("algorithm", "did_not_found")),
    "an algorithm that was not ordered": (
        lambda it: it.change_algorithm_request(transferTxId=m.tx(9)),
        ("algorithm", "in_use_or_not_on_chain"),
    ),
    "an access service for the main data set": (
        lambda it: it.change_dataset_request(serviceId="access_1", transferTxId=m.tx(3)),
        ("dataset.serviceId", "main_service_compute"),
    ),
    "raw code that the owner does not allow": (forbid_raw_code_and_request_it, ("dataset", "no_raw_algo_allowed")),
    "a compute and an access service": (lambda it: (it.request_raw_code(m.RAW_CODE), it.request_access_service()), None),
    "neither an algorithm nor code": (
        lambda it: it.change_request(algorithm=AlgorithmRequest()),
        ("algorithm", "missing_meta_documentId"),
    ),
    "a fee that was not paid": (lambda it: it.change_request(priceMinute=Decimal(1)), ("order", "fees_not_paid")),
    "an algorithm whose file cannot be read": (lambda it: setattr(it.world, "checksum", None), ("algorithm", "file_unavailable")),
}

OUR_CASES: dict[str, tuple[Change, tuple[str, str]]] = {
    "a data set without DID": (lambda it: it.change_dataset_request(documentId=None), ("dataset.documentId", "missing")),
    "a data set without order": (lambda it: it.change_dataset_request(transferTxId=None), ("dataset.transferTxId", "missing")),
    "an unknown data set": (lambda it: it.change_dataset_request(documentId="did:op:ff"), ("dataset.documentId", "did_not_found")),
    "an unknown algorithm": (lambda it: it.change_algorithm_request(documentId="did:op:ff"), ("algorithm", "file_unavailable")),
    "an algorithm without service": (lambda it: it.change_algorithm_request(serviceId=None), ("algorithm.serviceId", "missing")),
    "an unknown service of the algorithm": (lambda it: it.change_algorithm_request(serviceId="x"), ("algorithm", "file_unavailable")),
    "an algorithm of another Provider": (
        lambda it: it.algorithm["services"][0].update(files=FOREIGN_FILES),
        ("algorithm", "file_unavailable"),
    ),
    "a compute service of an algorithm of another Provider": (
        lambda it: it.algorithm["services"][0].update(files=FOREIGN_FILES, type="compute"),
        ("algorithm", "compute_services_not_in_same_provider"),
    ),
    "raw code without container": (
        lambda it: it.request_raw_code({"rawcode": "x"}),
        ("algorithm.container", "missing_entrypoint_image_checksum"),
    ),
    "meta that is not an object": (lambda it: it.request_raw_code("x"), ("algorithm", "meta_oneof_url_rawcode_remote")),
    "a DDO without chain id": (lambda it: it.data.pop("chainId"), ("dataset", MALFORMED)),
    "a DDO of another NFT": (lambda it: it.data.update(nftAddress=m.address(99)), ("dataset", MALFORMED)),
    "an NFT without metadata": (lambda it: it.world.states.update({it.data["nftAddress"]: None}), ("dataset", MALFORMED)),
    "a DDO that does not match the hash on chain": (
        lambda it: it.world.hashes.update({it.data["nftAddress"]: b"\0" * 32}),
        ("dataset", MALFORMED),
    ),
    "an algorithm's DDO that does not match the hash on chain": (
        lambda it: it.world.hashes.update({it.algorithm["nftAddress"]: b"\0" * 32}),
        ("algorithm.credentials", MALFORMED),
    ),
    **{
        f"a data set in state {state}": (
            lambda it, state=state: it.world.states.update({it.data["nftAddress"]: state}),
            ("dataset", "Asset is not consumable."),
        )
        for state in (1, 2, 3, 4)
    },
    "a data set that is disabled according to the metadata cache": (
        lambda it: it.data.update(nft={"state": 4}),
        ("dataset", not_consumable(DATA, "ASSET_DISABLED")),
    ),
    "a disabled service": (
        lambda it: it.data["services"][0].update(state=1),
        ("dataset", not_consumable(DATA, "ASSET_DISABLED")),
    ),
    "a consumer on the deny list": (
        lambda it: list_consumer(it.data, "deny", m.CONSUMER),
        ("dataset", not_consumable(DATA, "CREDENTIAL_IN_DENY_LIST")),
    ),
    "a consumer who is not on the allow list": (
        lambda it: list_consumer(it.data, "allow", m.PUBLISHER),
        ("dataset", not_consumable(DATA, "CREDENTIAL_NOT_IN_ALLOW_LIST")),
    ),
    "a consumer on the service's deny list": (
        lambda it: list_consumer(it.data["services"][0], "deny", m.CONSUMER.lower()),
        ("dataset", not_consumable(DATA, "CREDENTIAL_IN_DENY_LIST")),
    ),
    "a consumer on the algorithm's deny list": (
        lambda it: list_consumer(it.algorithm, "deny", m.CONSUMER),
        ("algorithm.credentials", not_consumable(ALGORITHM, "CREDENTIAL_IN_DENY_LIST")),
    ),
    "an untrusted algorithm": (lambda it: it.trust_algorithm(did="did:op:ff"), ("dataset", "not_trusted_algo")),
    "an untrusted publisher": (
        lambda it: it.change_compute_rules(publisherTrustedAlgorithmPublishers=[m.CONSUMER]),
        ("dataset", "not_trusted_algo_publisher"),
    ),
    "a trust list with an entry without DID": (
        lambda it: it.change_compute_rules(publisherTrustedAlgorithms=[{"filesChecksum": "x"}]),
        ("dataset", "no_publisherTrustedAlgorithms"),
    ),
    "an algorithm whose files were changed": (
        lambda it: it.trust_algorithm(filesChecksum="00" * 32),
        ("dataset", "algorithm_file_checksum_mismatch"),
    ),
    "an algorithm whose container was changed": (
        lambda it: it.trust_algorithm(filesChecksum=m.CHECKSUM.upper(), containerSectionChecksum="00" * 32),
        ("dataset", "algorithm_container_checksum_mismatch"),
    ),
    "another consumer's order": (lambda it: it.change_order(payer=m.PUBLISHER), ("dataset.serviceId", "order_invalid")),
    "an order for another environment": (
        lambda it: it.change_order(environment="ocean-compute2"),
        ("dataset.serviceId", "order_invalid"),
    ),
    "another consumer's order of the algorithm": (
        lambda it: it.change_algorithm_order(payer=m.PUBLISHER),
        ("algorithm", "in_use_or_not_on_chain"),
    ),
    "an output that is not JSON": (lambda it: it.change_request(output="this can not be decoded"), ("output", "invalid")),
    "an output that is a list": (lambda it: it.change_request(output=[1]), ("output", "invalid")),
    "a consumer whom RBAC denies": (deny_by_rbac, ("RBAC", "RBAC Validation failed!")),
    "parameters that are not JSON": (
        lambda it: it.change_dataset_request(userdata="[1"),
        ("dataset.userdata", "must be a JSON object"),
    ),
    "a parameter that the asset does not have": (
        request_with_parameter_of_another_name,
        ("dataset.userdata", "userdata.m: is not a parameter of this asset"),
    ),
    "a missing parameter of the algorithm": (
        require_algorithm_parameter,
        ("algorithm.algocustomdata", "userdata.n: is required"),
    ),
}


@pytest.mark.parametrize("case", PROVIDERS_CASES)
def test_a_start_is_decided_as_by_oceans_provider(case: str) -> None:
    change, expected = PROVIDERS_CASES[case]
    it = market()
    change(it)
    assert it.denial() == expected


@pytest.mark.parametrize("case", OUR_CASES)
def test_a_start_is_denied_with_the_resource_and_the_message(case: str) -> None:
    change, expected = OUR_CASES[case]
    it = market()
    assert copy.deepcopy(it).denial() is None  # nothing but the change causes the denial
    change(it)
    assert it.denial() == expected


def test_an_approved_start_lists_its_assets_orders_and_container() -> None:
    it = market()
    it.request_access_service()
    it.change_request(priceMinute=Decimal(60))
    it.change_order(fee=3600 * 10**18)
    approved = it.world.access().approve_start(it.request)
    assert [(d.asset.did, d.service.id, d.order.txId if d.order else None) for d in approved.datasets] == [
        (DATA, "compute_1", m.tx(1)),
        (DATA, "access_1", m.tx(3)),
    ]
    assert approved.datasets[0].files == (m.URL,)
    assert approved.algorithm is not None and approved.algorithm.files == (m.URL,)
    assert (approved.agreementId, approved.validUntil, dict(approved.container)) == (m.tx(1), m.NOW + 3600, m.CONTAINER)
    assert approved.algorithmChecksums == (m.CHECKSUM,)


def test_neither_files_nor_keys_appear_in_a_repr() -> None:
    it = market()
    access = it.world.access()
    assert "data.example" not in repr(access.approve_start(it.request))
    case = access._case(it.request)
    assert "data.example" not in repr(case) and m.PROVIDER_KEY not in repr(case) and m.PROVIDER_KEY not in repr(access)


# -- chains and DDOs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chains", "expected"),
    [
        (frozenset({m.CHAIN}), None),
        (frozenset(), None),
        (frozenset({1, 137}), ("dataset", "The environment takes assets of chain 1, 137 only.")),
    ],
)
def test_an_environment_may_be_limited_to_chains(chains: frozenset[int], expected: tuple[str, str] | None) -> None:
    it = market()
    it.change_request(chains=chains)
    it.request_raw_code(m.RAW_CODE)
    assert it.denial() == expected


def test_the_limit_to_chains_applies_to_every_asset() -> None:
    """Otherwise the fee could be paid with a token of a test network, which costs nothing."""
    it = market()
    it.change_request(chains=frozenset({m.CHAIN}), priceMinute=Decimal(60))
    elsewhere = m.document(m.address(31), [m.service(m.address(31), m.address(32), id="algo_1", type="access")], kind="algorithm")
    elsewhere |= {"chainId": 5, "id": did_of(m.address(31), 5)}
    it.world.add(elsewhere)
    it.world.receipts[m.tx(5)] = m.order_of(elsewhere, m.tx(5), fee=3600 * 10**18)
    it.change_algorithm_request(documentId=elsewhere["id"], transferTxId=m.tx(5))
    assert it.denial() == ("algorithm", f"The environment takes assets of chain {m.CHAIN} only.")


def test_a_ddo_is_not_accepted_unless_its_event_can_be_searched_for() -> None:
    it = market()
    it.world.logs = False
    with pytest.raises(UpstreamUnavailable, match="the RPC servers give no events of 0x"):
        it.denial()
    assert it.denial(check_metadata_hash=False) is None


def test_an_unlisted_asset_may_be_used() -> None:
    it = market()
    it.world.states[it.data["nftAddress"]] = 5
    assert it.denial() is None


# -- trust -------------------------------------------------------------------------------------------------------------------------


def test_empty_trust_lists_allow_every_algorithm_unless_the_operator_denies_by_default() -> None:
    assert market().denial() is None
    assert market().denial(deny_by_default=True) == ("dataset", "not_trusted_algo")


def test_the_publisher_is_the_owner_on_chain_and_its_case_does_not_matter() -> None:
    it = market()
    it.change_compute_rules(publisherTrustedAlgorithmPublishers=[m.PUBLISHER.lower()])
    it.algorithm["nft"] = {"owner": m.CONSUMER}  # the metadata cache's owner is ignored
    assert it.denial() is None
    it.world.owners[it.algorithm["nftAddress"]] = m.CONSUMER
    assert it.denial() == ("dataset", "not_trusted_algo_publisher")


@pytest.mark.parametrize("did", ["*", ALGORITHM])
def test_an_algorithm_is_trusted_if_both_checksums_match(did: str) -> None:
    it = market()
    container = container_checksum(m.CONTAINER["entrypoint"], m.CONTAINER["checksum"])
    it.trust_algorithm(did=did, filesChecksum=m.CHECKSUM, containerSectionChecksum=container)
    assert it.denial() is None


def test_raw_code_sent_with_a_trusted_did_does_not_run() -> None:
    # Ocean's Provider checks the trust of the DID and runs the raw code.
    it = market()
    it.trust_algorithm()
    it.change_algorithm_request(meta={**m.RAW_CODE, "container": {"image": "evil"}})
    approved = it.world.access().approve_start(it.request)
    assert approved.algorithm is not None and approved.algorithm.asset.did == ALGORITHM
    assert dict(approved.container) == m.CONTAINER


# -- the network -------------------------------------------------------------------------------------------------------------------


def test_the_network_is_allowed_if_the_owners_of_all_compute_services_allow_it() -> None:
    it = market()
    it.request_access_service()
    assert it.world.access().approve_start(it.request).allowNetworkAccess is False
    it.change_compute_rules(allowNetworkAccess=True)
    assert it.world.access().approve_start(it.request).allowNetworkAccess is True  # an access service hands out the file anyway
    it.request_another_data_set()
    assert it.world.access().approve_start(it.request).allowNetworkAccess is False


def test_the_string_true_allows_nothing() -> None:
    it = market()
    it.change_compute_rules(allowNetworkAccess="true", allowRawAlgorithm="true")
    assert it.world.access().approve_start(it.request).allowNetworkAccess is False
    it.request_raw_code(m.RAW_CODE)
    assert it.denial() == ("dataset", "no_raw_algo_allowed")


# -- the request -------------------------------------------------------------------------------------------------------------------

BODY = {
    "consumerAddress": m.CONSUMER,
    "environment": "ocean-compute",
    "dataset": {"documentId": DATA, "serviceId": "compute_1", "transferTxId": m.tx(1)},
    "algorithm": {"meta": m.RAW_CODE},
}


def test_a_request_body_becomes_a_request() -> None:
    request = ComputeRequest.of_body(BODY, Decimal(0))
    assert request.datasets == (AssetRequest(DATA, "compute_1", m.tx(1)),)
    assert market().world.access().approve_start(request).algorithm is None
    several = ComputeRequest.of_body({**BODY, "additionalDatasets": [{"documentId": "did:op:bb"}, None, 3]}, Decimal(0))
    assert several.datasets[1:] == (AssetRequest("did:op:bb"), AssetRequest(), AssetRequest())


def test_additional_data_sets_must_be_a_list() -> None:
    assert len(ComputeRequest.of_body({**BODY, "additionalDatasets": ""}, Decimal(0)).datasets) == 1
    with pytest.raises(AccessDenied, match="additional_input: invalid"):
        ComputeRequest.of_body({**BODY, "additionalDatasets": "i can not be decoded"}, Decimal(0))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"dataset": 1, "algorithm": [], "additionalDatasets": [None, 3]},
        {"algorithm": {"documentId": {"a": 1}, "serviceId": []}},
    ],
)
def test_a_body_of_unexpected_types_is_denied(body: dict[str, Any]) -> None:
    with pytest.raises(AccessDenied):
        market().world.access().approve_start(ComputeRequest.of_body(body, Decimal(1)))
