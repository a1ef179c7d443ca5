"""A metadata cache: as much of Aquarius' API as clients and Providers use, about one chain, kept in memory.

Like Aquarius it learns of assets only from the chain's events, has each DDO decrypted by the Provider that the event names, compares it
with the hash on chain, and answers with the DDO and what it adds: event, nft, datatokens, stats, purgatory.
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

from c2d.crypto.signatures import sign_hash
from local.market.chain import ONE, Chain, did

logger = logging.getLogger(__name__)

EVENTS = ("MetadataCreated", "MetadataUpdated", "MetadataState")
GONE = (1, 2, 3)  # states in which Aquarius forgets a DDO: end of life, deprecated, revoked
ADDED = ("event", "nft", "datatokens", "stats", "purgatory")
REQUIRED = ("@context", "id", "version", "chainId", "nftAddress", "metadata", "services")
EVERY = 0.1  # seconds between two looks at the chain
AGAIN = 1  # seconds until what failed is tried again
WAIT = 3  # seconds that an answer waits for what the chain has already
API = "/api/aquarius/"


@contextlib.contextmanager
def running(chain: Chain, key: str, port: int = 0, since: int = 0) -> Iterator[MetadataCache]:
    """A cache on loopback until the block ends. `key`: the private key that it signs its requests and validations with. `since`: the first
    block that it looks at.
    """
    it = MetadataCache(chain, key, port, since)
    try:
        yield it
    finally:
        it.close()


class MetadataCache:
    def __init__(self, chain: Chain, key: str, port: int = 0, since: int = 0):
        from eth_account import Account

        self.chain = chain
        self.key = key
        self.address = Account.from_key(key).address
        self.assets: dict[str, dict[str, Any]] = {}
        self.next_block = since
        self.failed: list[tuple[Any, str]] = []  # events whose DDO could not be had yet, with the reason
        self.tried = 0.0
        self.news = threading.Condition()
        self.closed = False
        self.http = httpx.Client(timeout=10, trust_env=False)  # one: each makes its TLS set-up anew, which costs more than a request
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
                self._look()
            except Exception as error:  # the chain is starting or gone
                logger.info("metadata cache: %s", error)
            time.sleep(EVERY)

    def _look(self) -> None:
        """Take in what is new on the chain; what failed before is tried again later, as Aquarius does."""
        head = int(self.chain.rpc("eth_blockNumber"), 16)
        if head < self.next_block - 1:  # the chain was set back
            self.next_block, self.assets, self.failed = 0, {}, []
        again = [event for event, _ in self.failed] if time.monotonic() - self.tried > AGAIN else []
        events = again + (self._events(self.next_block, head) if head >= self.next_block else [])
        failed = [] if again else list(self.failed)
        self.tried = time.monotonic() if again else self.tried
        for event in events:
            try:
                self._take(event)
            except Exception as error:
                failed.append((event, f"{type(error).__name__}: {error}"))
        with self.news:
            self.failed, self.next_block = failed, head + 1
            self.news.notify_all()

    def _events(self, first: int, last: int) -> list[Any]:
        nft = self.chain.contract("ERC721Template", "0x" + "00" * 20)
        named = {bytes(self.chain.web3.keccak(text=_signature(nft.abi, name))).hex(): nft.events[name]() for name in EVENTS}
        topics = [["0x" + topic for topic in named]]
        logs = self.chain.web3.eth.get_logs({"fromBlock": first, "toBlock": last, "topics": topics})  # type: ignore[typeddict-item]
        return [named[bytes(log["topics"][0]).hex()].process_log(log) for log in logs]

    def _take(self, event: Any) -> None:
        nft = event["address"]
        name = did(nft, self.chain.chain_id)
        state = event["args"]["state"]
        if event["event"] != "MetadataState":
            self.assets[name] = self._record(event, json.loads(self._ddo(event)))
        elif name in self.assets and state == 0:  # back: the DDO of the last event that had one
            tx = self.assets[name]["event"]["tx"]
            last = self.chain.web3.eth.get_transaction_receipt(tx)
            found = [e for e in self._events(last["blockNumber"], last["blockNumber"]) if e["address"] == nft and "data" in e["args"]]
            self.assets[name] = self._record(found[-1], json.loads(self._ddo(found[-1])))
        elif name in self.assets:
            kept = ADDED if state in GONE else tuple(self.assets[name])
            self.assets[name] = {field: self.assets[name][field] for field in kept}
            self.assets[name]["nft"] = {**self.assets[name]["nft"], "state": state}

    def _ddo(self, event: Any) -> bytes:
        """The DDO's text, decrypted by the Provider of the event."""
        tx, nonce = "0x" + bytes(event["transactionHash"]).hex(), str(int(time.time()))  # the same in a second, as Aquarius has it
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
            raise RuntimeError("the DDO is not the one whose hash is on the chain")
        return answer.content

    def _record(self, event: Any, ddo: dict[str, Any]) -> dict[str, Any]:
        """The DDO with what Aquarius adds."""
        nft, tx = event["address"], "0x" + bytes(event["transactionHash"]).hex()
        if ddo.get("id") != did(nft, self.chain.chain_id):
            raise RuntimeError("the DDO's id is not that of its NFT")

        def ask(function: str, *arguments: Any, template: str = "ERC721Template", of: str = nft) -> Any:
            return self.chain.call(template, of, function, *arguments)

        sender = self.chain.web3.eth.get_transaction(tx)["from"]  # type: ignore[arg-type]
        tokens = [(s["id"], self.chain.web3.to_checksum_address(s["datatokenAddress"])) for s in ddo["services"]]
        return {
            **ddo,
            "event": {
                "tx": tx,
                "txid": tx,  # what ocean.js waits for
                "block": event["blockNumber"],
                "from": sender,
                "contract": nft,
                "datetime": datetime.fromtimestamp(event["args"]["timestamp"], UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            },
            "nft": {
                "address": nft,
                "name": ask("name"),
                "symbol": ask("symbol"),
                "state": event["args"]["state"],
                "tokenURI": ask("tokenURI", 1),
                "owner": ask("ownerOf", 1),
            },
            "datatokens": [
                {
                    "address": token,
                    "name": ask("name", template="ERC20Template", of=token),
                    "symbol": ask("symbol", template="ERC20Template", of=token),
                    "serviceId": service,
                }
                for service, token in tokens
            ],
            "stats": {"allocated": 0, "orders": 0, "price": self._price(tokens[0][1]) if tokens else {"value": 0}},
            "purgatory": {"state": False, "reason": ""},
        }

    def _price(self, token: str) -> dict[str, Any]:
        exchanges = self.chain.call("ERC20Template", token, "getFixedRates")
        if not exchanges:
            return {"value": 0}
        contract, exchange = exchanges[0]
        known = self.chain.contract("FixedRateExchange", contract).functions.getExchange(exchange).call()
        base = known[3]
        symbol = self.chain.call("ERC20Template", base, "symbol")
        return {"value": known[5] / ONE, "tokenAddress": base, "tokenSymbol": symbol}

    # -- what is asked -------------------------------------------------------------------------------------------
    def asset(self, name: str) -> dict[str, Any] | None:
        """The asset as of the chain's head now, unless that takes too long."""
        head = int(self.chain.rpc("eth_blockNumber"), 16)
        with self.news:
            self.news.wait_for(lambda: self.next_block > head, WAIT)
        return self.assets.get(name)

    def await_asset(self, name: str, tx: str, within: float = 20) -> dict[str, Any]:
        """The asset as of a transaction, once it is here; RuntimeError says what the Provider answered when it does not come."""
        with self.news:
            self.news.wait_for(lambda: self.assets.get(name, {}).get("event", {}).get("tx") == tx, within)
            if self.assets.get(name, {}).get("event", {}).get("tx") != tx:
                raise RuntimeError(f"{name} did not come: {[reason for _, reason in self.failed] or 'no event'}")
            return self.assets[name]

    def validate(self, text: bytes) -> tuple[int, Any]:
        """What a publisher puts on the chain beside its DDO: its hash, signed by this cache."""
        from coincurve import PrivateKey
        from eth_hash.auto import keccak

        try:
            ddo = json.loads(text)
            missing = [field for field in REQUIRED if field not in ddo]
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

    def query(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Of Elasticsearch's language: every asset, or those that a `terms`/`match` of ids names."""
        ids = [i for each in _values(wanted.get("query", {}), ("_id", "id")) for i in (each if isinstance(each, list) else [each])]
        found = [asset for name, asset in self.assets.items() if "id" in asset and (not ids or name in ids)]
        found = found[wanted.get("from", 0) :][: wanted.get("size", 10)]
        return {"hits": {"total": {"value": len(found)}, "hits": [{"_id": asset["id"], "_source": asset} for asset in found]}}


def _signature(abi: Any, event: str) -> str:
    inputs = next(item["inputs"] for item in abi if item["type"] == "event" and item["name"] == event)
    return f"{event}({','.join(each['type'] for each in inputs)})"


def _values(value: Any, names: tuple[str, ...]) -> Iterator[Any]:
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
        return self._send(404, {"error": "there is no such page"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == API + "assets/ddo/validate":
            return self._send(*self.cache.validate(body))
        if self.path == API + "assets/query":
            return self._send(200, self.cache.query(json.loads(body)))
        return self._send(404, {"error": "there is no such page"})

    def _send(self, code: int, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
