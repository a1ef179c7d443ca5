"""A sample market for tests: DDOs, which may be published on a real chain, their orders, and requests for them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from c2d.access.compute_access import ComputeAccess
from c2d.crypto import ecies, signatures
from c2d.errors import AccessDenied
from c2d.market import ddo, service_files
from c2d.market.case import OperatorRules
from c2d.market.chain_facts import ChainFacts, ChainQuestions, NftFacts
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from c2d.market.fees import make
from c2d.market.orders import FeePaid, OrderStarted, Receipt

CHAIN = 8996
PROVIDER_KEY = "0xfd5c1ccea015b6d663618850824154a3b3fb2882c46cefb05b9a93fea8c3d215"
PROVIDER = signatures.address_of(PROVIDER_KEY)
CONSUMER = signatures.checksummed("0x" + "c0" * 20)
PUBLISHER = signatures.checksummed("0x" + "ab" * 20)
OCEAN = signatures.checksummed("0x" + "0c" * 20)
NOW = 1_800_000_000
CHECKSUM = "b4908c868c78086097a10f986718a8f3fae1455f0d443c3dc59330207d47cc6d"
OTHER_PROVIDER_KEY = "0x" + "11" * 32
CONTAINER = {"entrypoint": "node $ALGO", "image": "node", "tag": "10", "checksum": "sha256:" + "8221d20c" * 8}
RAW_CODE = {"rawcode": "console.log('Hello world'!)", "format": "docker-image", "version": "0.1", "container": CONTAINER}
URL = {"type": "url", "url": "https://data.example/file", "method": "GET"}


def service(
    nft: str, datatoken: str, *, version: str = "4.5.0", key: str = PROVIDER_KEY, of: Sequence[Any] = (URL,), **fields: Any
) -> dict:
    """A compute service of a DDO.

    :param of: the file objects, encrypted to ``key``.
    :param fields: replace or add fields of the service.
    """
    content: Any = list(of) if version == "4.0.0" else {"datatokenAddress": datatoken, "nftAddress": nft, "files": list(of)}
    return {
        "id": "compute_1",
        "type": "compute",
        "files": service_files.encrypt(ecies.public_key(key), json.dumps(content).encode()),
        "datatokenAddress": datatoken,
        "serviceEndpoint": "http://provider.example",
        "timeout": 3600,
        "compute": {
            "allowRawAlgorithm": True,
            "allowNetworkAccess": False,
            "publisherTrustedAlgorithms": [],
            "publisherTrustedAlgorithmPublishers": [],
        },
        **fields,
    }


def document(nft: str, services: Sequence[dict], *, version: str = "4.5.0", kind: str = "dataset", **fields: Any) -> dict[str, Any]:
    """A DDO as clients publish it.

    :param fields: replace or add fields of the DDO.
    """
    metadata: dict[str, Any] = {"created": "2026-01-01T00:00:00Z", "type": kind, "name": "Vögel", "author": "A", "license": "CC-0"}
    if kind == "algorithm":
        metadata["algorithm"] = {"language": "js", "version": "1", "container": dict(CONTAINER)}
    return {
        "@context": ["https://w3id.org/did/v1"],
        "id": ddo.did_of(nft, CHAIN),
        "version": version,
        "chainId": CHAIN,
        "nftAddress": nft,
        "metadata": metadata,
        "services": [copy.deepcopy(s) for s in services],
        **fields,
    }


def address(n: int) -> str:
    """An address for each number."""
    return signatures.checksummed(f"0x{0xA0000000 + n:040x}")


def text_of(doc: Mapping[str, Any]) -> bytes:
    """The JSON text that ocean.js publishes."""
    return json.dumps(doc, separators=(",", ":"), ensure_ascii=False).encode()


def order_of(doc: Mapping[str, Any], tx: str, *, service: int = 0, **changes: Any) -> Receipt:
    """The receipt of a valid order of a service.

    :param changes: of the fields of the order's events and of its fee.
    """
    s = doc["services"][service]
    c = {
        "consumer": PROVIDER, "payer": CONSUMER, "amount": 10**18, "index": service, "time": NOW - 60, "datatoken": s["datatokenAddress"],
        "key": PROVIDER_KEY, "fee": 0, "token": OCEAN, "environment": "ocean-compute", "service_id": s["id"], "until": NOW + 3600,
        "made": NOW - 90, "succeeded": True, **changes,
    }  # fmt: skip
    fee = make(
        c["key"], c["token"], c["fee"], environment=c["environment"], datatoken=s["datatokenAddress"],
        service_id=c["service_id"], valid_until=c["until"], now=c["made"],
    )  # fmt: skip
    started = OrderStarted(c["datatoken"], c["consumer"], c["payer"], c["amount"], c["index"], c["time"])
    return Receipt(tx, c["succeeded"], 7, c["time"], (started,), (), (FeePaid(c["datatoken"], fee),))


def tx(n: int) -> str:
    """A transaction id for each number."""
    return f"0x{n:064x}"


@dataclass
class World:
    """Stands in for the chains, the metadata cache and the policy servers, for tests of the rules.

    :param foreign: datatokens that their asset's NFT has not deployed.
    :param logs: whether the RPC servers search for events.
    """

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    receipts: dict[str, Receipt | None] = field(default_factory=dict)
    states: dict[str, int | None] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, bytes] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    checksum: str | None = CHECKSUM
    decimals: int | None = 18
    logs: bool = True
    now: float = NOW
    allowed: Callable[[], None] = lambda: None
    replaces_credentials: bool = False

    def add(self, doc: dict[str, Any]) -> dict[str, Any]:
        """Make the metadata cache know a DDO, whose hash is on chain."""
        self.documents[doc["id"]] = doc
        return doc

    def ddos(self, dids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {did: self.documents[did] for did in dids if did in self.documents}

    def facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        nfts = {}
        for nft, _, _ in questions.nfts:
            published = next((text_of(d) for d in self.documents.values() if d.get("nftAddress") == nft), b"")
            digest = self.hashes.get(nft, hashlib.sha256(published).digest())
            metadata_hash = digest if self.logs else None
            nfts[nft.lower()] = NftFacts(self.states.get(nft, 0), self.owners.get(nft, PUBLISHER), metadata_hash, self.logs)
        deployed = frozenset((n.lower(), d.lower()) for n, d, _ in questions.nfts if d not in self.foreign)
        receipts = {t: self.receipts.get(t) for t in questions.transactions}
        receipts |= {r.orderTxId: self.receipts.get(r.orderTxId) for receipt in receipts.values() if receipt for r in receipt.reused}
        return ChainFacts(int(self.now), nfts, deployed, receipts, {t.lower(): self.decimals for t in questions.tokens})

    def check_start(self, *_: Any) -> None:
        self.allowed()

    check_download = check_start

    def access(self, **rules: Any) -> ComputeAccess:
        """ComputeAccess in this world; ``rules`` replace the operator's."""
        operator = OperatorRules(**{"key": lambda chain: PROVIDER_KEY, "fee_token": lambda chain: OCEAN, **rules})
        world: Any = self
        return ComputeAccess(operator, world, world, world, lambda *_: self.checksum, lambda: self.now)


@dataclass
class Market:
    """A world with an ordered data set and an ordered algorithm, and a request to compute with both. Tests change it as they need."""

    world: World
    data: dict[str, Any]
    algorithm: dict[str, Any]
    request: ComputeRequest

    def denial(self, **rules: Any) -> tuple[str, str] | None:
        """The resource and the message with which a start is denied; None: it is approved."""
        try:
            self.world.access(**rules).approve_start(self.request)
        except AccessDenied as e:
            return e.resource, e.message
        return None

    def change_request(self, **changes: Any) -> None:
        self.request = dataclasses.replace(self.request, **changes)

    def change_dataset_request(self, **changes: Any) -> None:
        first, *others = self.request.datasets
        self.change_request(datasets=(dataclasses.replace(first, **changes), *others))

    def change_algorithm_request(self, **changes: Any) -> None:
        self.change_request(algorithm=dataclasses.replace(self.request.algorithm, **changes))

    def request_raw_code(self, meta: Any) -> None:
        self.change_request(algorithm=AlgorithmRequest(serviceId="algo_1", meta=meta))

    def request_access_service(self, **changes: Any) -> None:
        """Request the data set's access service as the second data set."""
        second = AssetRequest(**{"documentId": self.data["id"], "serviceId": "access_1", "transferTxId": tx(3), **changes})
        self.change_request(datasets=(self.request.datasets[0], second))

    def request_another_data_set(self, **compute_rules: Any) -> None:
        """Add a data set with its own owner's rules, and request it as the second data set."""
        other = self.world.add(document(address(21), [service(address(21), address(22))]))
        other["services"][0]["compute"].update(compute_rules)
        self.world.receipts[tx(4)] = order_of(other, tx(4))
        self.change_request(datasets=(self.request.datasets[0], AssetRequest(other["id"], "compute_1", tx(4))))

    def change_compute_rules(self, **rules: Any) -> None:
        self.data["services"][0]["compute"].update(rules)

    def trust_algorithm(self, **entry: Any) -> None:
        """Make the data set trust the algorithm only; ``entry`` changes the fields of this entry in the trust list."""
        trusted = {"did": self.algorithm["id"], "filesChecksum": "", "containerSectionChecksum": "", **entry}
        self.change_compute_rules(publisherTrustedAlgorithms=[trusted])

    def change_order(self, **changes: Any) -> None:
        self.world.receipts[tx(1)] = order_of(self.data, tx(1), **changes)

    def change_algorithm_order(self, **changes: Any) -> None:
        self.world.receipts[tx(2)] = order_of(self.algorithm, tx(2), **{"environment": None, **changes})


def market() -> Market:
    """A market whose request is approved.

    The data set has a compute service (order ``tx(1)``) and an access service (order ``tx(3)``), the algorithm an access service
    (order ``tx(2)``).
    """
    world = World()
    nft, dt, dt2 = address(1), address(2), address(3)
    access_service = service(nft, dt2, id="access_1", type="access")
    data = world.add(document(nft, [service(nft, dt), access_service]))
    algo_nft, algo_dt = address(11), address(12)
    algorithm = world.add(document(algo_nft, [service(algo_nft, algo_dt, id="algo_1", type="access")], kind="algorithm"))
    world.receipts = {
        tx(1): order_of(data, tx(1)),
        tx(2): order_of(algorithm, tx(2), environment=None),
        tx(3): order_of(data, tx(3), service=1),
    }
    dataset = AssetRequest(data["id"], "compute_1", tx(1))
    request = ComputeRequest(CONSUMER, "ocean-compute", Decimal(0), (dataset,), AlgorithmRequest(algorithm["id"], "algo_1", tx(2)))
    return Market(world, data, algorithm, request)
