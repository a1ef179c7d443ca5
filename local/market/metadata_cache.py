"""A metadata cache for one chain, in memory: as much of Aquarius' API as clients and Providers use.

Like Aquarius, it learns of assets only from the chain's events. It has each DDO decrypted by the Provider that the event names, compares it
with the hash on the chain, and adds the fields event, nft, datatokens, stats and purgatory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from eth_typing import HexStr

from c2d.crypto.signatures import sign_hash
from local.market.chain import ONE, Chain, did

logger = logging.getLogger(__name__)

EVENTS = ("MetadataCreated", "MetadataUpdated", "MetadataState")
REMOVED = (1, 2, 3)  # states in which Aquarius removes the DDO: end of life, deprecated, revoked
ADDED_FIELDS = ("event", "nft", "datatokens", "stats", "purgatory")
REQUIRED_FIELDS = ("@context", "id", "version", "chainId", "nftAddress", "metadata", "services")
POLL_INTERVAL = 0.1  # seconds between two requests for the chain's events
RETRY_INTERVAL = 1  # seconds until a DDO that could not be decrypted is requested again
CATCH_UP_TIMEOUT = 3  # seconds that an answer waits until all of the chain's events have been processed
API = "/api/aquarius/"


@contextlib.contextmanager
def running(chain: Chain, key: str, port: int = 0, since: int = 0) -> Iterator[MetadataCache]:
    """Run a cache on a loopback port during the block.

    :param key: the private key with which it signs its requests and validations.
    :param since: the number of the first block whose events count.
    """
    it = MetadataCache(chain, key, port, since)
    try:
        yield it
    finally:
        it.close()


class MetadataCache:
    """A thread follows the chain's events, another one serves the API."""

    def __init__(self, chain: Chain, key: str, port: int = 0, since: int = 0):
        from eth_account import Account

        self.chain = chain
        self.key = key
        self.address = Account.from_key(key).address
        self.assets: dict[str, dict[str, Any]] = {}
        self.next_block = since
        self.failed: list[tuple[Any, str]] = []  # events whose DDO could not be decrypted yet, with the reason
        self.retried_at = 0.0
        self.changed = threading.Condition()
        self.closed = False
        self.http = httpx.Client(timeout=10, trust_env=False)  # one client: its TLS setup costs more than a request
        self.server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"cache": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.threads = [
            threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            threading.Thread(target=self._follow, daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        self.closed = True
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join(10)
        self.http.close()

    # -- the chain's events --------------------------------------------------------------------------------------
    def _follow(self) -> None:
        while not self.closed:
            try:
                self._process_new_events()
            except Exception as error:  # the chain is starting or has stopped
                logger.info("metadata cache: %s", error)
            time.sleep(POLL_INTERVAL)

    def _process_new_events(self) -> None:
        """Process the events of new blocks, and those that failed before, as Aquarius does."""
        head = int(self.chain.rpc("eth_blockNumber"), 16)
        if head < self.next_block - 1:  # the chain was reverted to a snapshot
            self.next_block, self.assets, self.failed = 0, {}, []
        retries = [event for event, _ in self.failed] if time.monotonic() - self.retried_at > RETRY_INTERVAL else []
        events = retries + (self._events(self.next_block, head) if head >= self.next_block else [])
        failed = [] if retries else list(self.failed)
        self.retried_at = time.monotonic() if retries else self.retried_at
        for event in events:
            try:
                self._process(event)
            except Exception as error:
                failed.append((event, f"{type(error).__name__}: {error}"))
        with self.changed:
            self.failed, self.next_block = failed, head + 1
            self.changed.notify_all()

    def _events(self, first: int, last: int) -> list[Any]:
        """The metadata events of some blocks."""
        nft = self.chain.contract("ERC721Template", "0x" + "00" * 20)
        by_topic = {bytes(self.chain.web3.keccak(text=_signature(nft.abi, name))).hex(): nft.events[name]() for name in EVENTS}
        topics = [["0x" + topic for topic in by_topic]]
        logs = self.chain.web3.eth.get_logs({"fromBlock": first, "toBlock": last, "topics": topics})
        return [by_topic[bytes(log["topics"][0]).hex()].process_log(log) for log in logs]

    def _process(self, event: Any) -> None:
        """Update the asset of an event."""
        nft = event["address"]
        name = did(nft, self.chain.chain_id)
        state = event["args"]["state"]
        if event["event"] != "MetadataState":
            self.assets[name] = self._record(event, json.loads(self._ddo(event)))
        elif name in self.assets and state == 0:  # active again: use the DDO of the last event that had one
            tx = self.assets[name]["event"]["tx"]
            block = self.chain.web3.eth.get_transaction_receipt(tx)["blockNumber"]
            event = [e for e in self._events(block, block) if e["address"] == nft and "data" in e["args"]][-1]
            self.assets[name] = self._record(event, json.loads(self._ddo(event)))
        elif name in self.assets:
            fields = ADDED_FIELDS if state in REMOVED else tuple(self.assets[name])
            self.assets[name] = {field: self.assets[name][field] for field in fields}
            self.assets[name]["nft"] = {**self.assets[name]["nft"], "state": state}

    def _ddo(self, event: Any) -> bytes:
        """The DDO's text, decrypted by the Provider that the event names.

        :raises RuntimeError: the Provider does not decrypt it, or its hash is not the one on the chain.
        """
        tx, nonce = "0x" + bytes(event["transactionHash"]).hex(), str(int(time.time()))  # Aquarius' nonce, too, changes only once a second
        body = {
            "transactionId": tx,
            "chainId": self.chain.chain_id,
            "decrypterAddress": self.address,
            "dataNftAddress": event["address"],
            "signature": sign_hash(self.key, f"{tx}{self.address}{self.chain.chain_id}{nonce}"),
            "nonce": nonce,
        }
        answer = self.http.post(event["args"]["decryptorUrl"] + "/api/services/decrypt", json=body)
        if answer.status_code != 201:
            raise RuntimeError(f"decrypt: {answer.status_code} {answer.text[:300]}")
        if hashlib.sha256(answer.content).digest() != bytes(event["args"]["metaDataHash"]):
            raise RuntimeError("the hash of the DDO is not the one on the chain")
        return answer.content

    def _record(self, event: Any, ddo: dict[str, Any]) -> dict[str, Any]:
        """The DDO with the fields that Aquarius adds.

        :raises RuntimeError: its id is not that of the NFT.
        """
        nft, tx = event["address"], "0x" + bytes(event["transactionHash"]).hex()
        if ddo.get("id") != did(nft, self.chain.chain_id):
            raise RuntimeError("the id of the DDO is not that of its NFT")

        def nft_field(function: str, *arguments: Any) -> Any:
            return self.chain.call("ERC721Template", nft, function, *arguments)

        sender = self.chain.web3.eth.get_transaction(HexStr(tx))["from"]
        tokens = [(s["id"], self.chain.web3.to_checksum_address(s["datatokenAddress"])) for s in ddo["services"]]
        return {
            **ddo,
            "event": {
                "tx": tx,
                "txid": tx,  # ocean.js waits for this one
                "block": event["blockNumber"],
                "from": sender,
                "contract": nft,
                "datetime": datetime.fromtimestamp(event["args"]["timestamp"], UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            },
            "nft": {
                "address": nft,
                "name": nft_field("name"),
                "symbol": nft_field("symbol"),
                "state": event["args"]["state"],
                "tokenURI": nft_field("tokenURI", 1),
                "owner": nft_field("ownerOf", 1),
            },
            "datatokens": [
                {
                    "address": token,
                    "name": self.chain.call("ERC20Template", token, "name"),
                    "symbol": self.chain.call("ERC20Template", token, "symbol"),
                    "serviceId": service,
                }
                for service, token in tokens
            ],
            "stats": {"allocated": 0, "orders": 0, "price": self._price(tokens[0][1]) if tokens else {"value": 0}},
            "purgatory": {"state": False, "reason": ""},
        }

    def _price(self, token: str) -> dict[str, Any]:
        """The price of a datatoken at its first fixed-rate exchange."""
        exchanges = self.chain.call("ERC20Template", token, "getFixedRates")
        if not exchanges:
            return {"value": 0}
        contract, exchange = exchanges[0]
        sale = self.chain.call("FixedRateExchange", contract, "getExchange", exchange)
        base_token, rate = sale[3], sale[5]
        symbol = self.chain.call("ERC20Template", base_token, "symbol")
        return {"value": rate / ONE, "tokenAddress": base_token, "tokenSymbol": symbol}

    # -- requests ------------------------------------------------------------------------------------------------
    def asset(self, name: str) -> dict[str, Any] | None:
        """The asset according to the chain's latest block, unless processing that takes too long."""
        head = int(self.chain.rpc("eth_blockNumber"), 16)
        with self.changed:
            self.changed.wait_for(lambda: self.next_block > head, CATCH_UP_TIMEOUT)
        return self.assets.get(name)

    def await_asset(self, name: str, tx: str, within: float = 20) -> dict[str, Any]:
        """The asset as a transaction has published it, once that has been processed.

        :raises RuntimeError: it is not processed in time; the message says why.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.assets.get(name, {}).get("event", {}).get("tx") == tx, within)
            if self.assets.get(name, {}).get("event", {}).get("tx") != tx:
                raise RuntimeError(f"{name} did not arrive: {[reason for _, reason in self.failed] or 'no event'}")
            return self.assets[name]

    def validate(self, text: bytes) -> tuple[int, Any]:
        """Check a DDO. Returns the HTTP status and the answer: the DDO's hash signed by this cache, which publishers put on the chain."""
        from coincurve import PrivateKey
        from eth_hash.auto import keccak

        try:
            ddo = json.loads(text)
            missing = [field for field in REQUIRED_FIELDS if field not in ddo]
        except (ValueError, TypeError):
            return 400, [{"message": "the DDO is not a JSON object"}]
        if missing:
            return 400, [{"message": f"the DDO has no {', '.join(missing)}"}]
        digest = hashlib.sha256(text).digest()
        signed = PrivateKey.from_hex(self.key.removeprefix("0x")).sign_recoverable(
            keccak(b"\x19Ethereum Signed Message:\n32" + digest), hasher=None
        )
        proof = {"r": ["0x" + signed[:32].hex()], "s": ["0x" + signed[32:64].hex()], "v": signed[64] + 27}
        return 200, {"hash": "0x" + digest.hex(), "publicKey": self.address, **proof}

    def query(self, query: dict[str, Any]) -> dict[str, Any]:
        """Answer a query in Elasticsearch's language. Of its operators, only `terms` and `match` on the ids of assets count."""
        ids = [i for value in _values(query.get("query", {}), ("_id", "id")) for i in (value if isinstance(value, list) else [value])]
        assets = [asset for name, asset in self.assets.items() if "id" in asset and (not ids or name in ids)]
        assets = assets[query.get("from", 0) :][: query.get("size", 10)]
        return {"hits": {"total": {"value": len(assets)}, "hits": [{"_id": asset["id"], "_source": asset} for asset in assets]}}


def _signature(abi: Any, event: str) -> str:
    """An event's signature, whose hash is its topic."""
    inputs = next(item["inputs"] for item in abi if item["type"] == "event" and item["name"] == event)
    return f"{event}({','.join(each['type'] for each in inputs)})"


def _values(value: Any, names: tuple[str, ...]) -> Iterator[Any]:
    """The values of these names, at any depth of a JSON value."""
    for name, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if name in names:
            yield each
        else:
            yield from _values(each, names)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cache: MetadataCache

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/":
            return self._send(200, {"software": "Aquarius", "version": "5.1.5", "plugin": "memory"})
        for prefix in ("assets/ddo/", "assets/metadata/"):
            if path.startswith(API + prefix):
                name = path.removeprefix(API + prefix)
                asset = self.cache.asset(name)
                if asset is None:
                    return self._send(404, {"error": f"Asset DID {name} not found in Elasticsearch."})
                return self._send(200, asset if prefix == "assets/ddo/" else asset.get("metadata", {}))
        return self._send(404, {"error": "not found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == API + "assets/ddo/validate":
            return self._send(*self.cache.validate(body))
        if self.path == API + "assets/query":
            return self._send(200, self.cache.query(json.loads(body)))
        return self._send(404, {"error": "not found"})

    def _send(self, code: int, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
