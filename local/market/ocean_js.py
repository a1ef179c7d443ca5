"""The unmodified Ocean client library (@oceanprotocol/lib) as a Python object, and what a market does with it.

The steps are those of the library's own examples: publish, initialize, order or reuse an order, start, poll, download.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.market import npm
from local.market.chain import CHAIN_ID, ZERO, Account, Chain
from local.market.ddo import container_checksum, document

# As package.json names them: the reference client (3.3.0), and the last version that speaks to Ocean's Provider (3.4.6).
REFERENCE, LAST = "@oceanprotocol/lib", "ocean-lib-last"
WITHIN = 120  # seconds for one call
EVERY = 0.3  # seconds between two looks at a job


class Refused(Exception):
    """What the library threw, or printed before it gave back nothing. `text`: all of that."""

    def __init__(self, call: str, text: str):
        super().__init__(f"{call}: {text}")
        self.text = text

    @property
    def reason(self) -> Any:
        """The Provider's own words: `error`, or `errors` by field; all of the text where there is neither."""
        printed = re.search(r"failed:  \d{3} [A-Za-z ]+ (\{.*\})", self.text)
        try:
            body = json.loads(printed[1] if printed else self.text.splitlines()[0])
            return body.get("errors") or body["error"]
        except (ValueError, KeyError, IndexError, AttributeError):
            return self.text


@dataclass(frozen=True)
class Published:
    """An asset as it was published. `ddo`: as its publisher wrote it."""

    owner: Account
    nft: str
    datatoken: str
    ddo: dict[str, Any]
    tx: str

    @property
    def did(self) -> str:
        return self.ddo["id"]

    @property
    def service(self) -> str:
        return self.ddo["services"][0]["id"]

    def order(self, tx: str | None = None, service: str | None = None, **more: Any) -> dict[str, Any]:
        """The asset as a job names it."""
        return {"documentId": self.did, "serviceId": service or self.service, **({"transferTxId": tx} if tx else {}), **more}


@contextlib.contextmanager
def running(chain: Chain, provider_url: str, cache_url: str, library: str = REFERENCE) -> Iterator[OceanJs]:
    it = OceanJs(chain, provider_url, cache_url, library)
    try:
        yield it
    finally:
        it.close()


@dataclass
class OceanJs:
    """One Node.js process with the library. Calls are made one after the other."""

    chain: Chain
    provider_url: str
    cache_url: str
    library: str = REFERENCE
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        env = {"NODE_PATH": str(npm.modules()), "NODE_URI": self.chain.url, "ADDRESS_FILE": str(self.chain.address_file), "PATH": ""}
        env |= {"AQUARIUS_URL": self.cache_url, "PROVIDER_URL": self.provider_url, "OCEAN_LIB": self.library}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [npm.node(), str(Path(__file__).with_name("bridge.js"))],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # -- the library ---------------------------------------------------------------------------------------------
    def call(self, name: str, *args: Any, new: list[Any] | None = None) -> tuple[Any, str]:
        """`Class.method` (with the constructor's arguments `new`), or a function; what it gives back, and what it printed.

        :raises Refused: it threw.
        """
        assert self.process.stdin and self.process.stdout
        target, _, method = name.rpartition(".") if "." in name else (name, "", None)
        self.calls += 1
        request = {"id": self.calls, "object": target, "method": method, "args": _sent(args), **({"new": _sent(new)} if new else {})}
        with self.lock:
            late = threading.Timer(WITHIN, self.process.kill)
            late.start()
            try:
                self.process.stdin.write(json.dumps(request) + "\n")
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            except BrokenPipeError:
                line = ""
            finally:
                late.cancel()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"the client library's process ended at {name}: {self.errors.read()[-800:] or f'no answer in {WITHIN} s'}")
        answer = json.loads(line)
        log = "\n".join(answer["log"])
        if "error" in answer:
            raise Refused(name, f"{answer['error']}\n{log}".strip())
        return _received(answer["result"]), log

    def provider(self, method: str, *args: Any) -> Any:
        """A method of the library's Provider; Refused also where it only printed what went wrong and gave back null."""
        result, log = self.call(f"ProviderInstance.{method}", *args)
        if result is None:
            raise Refused(method, log)
        return result

    # -- publishing ----------------------------------------------------------------------------------------------
    def publish(
        self,
        owner: Account,
        name: str,
        files: list[dict[str, Any]],
        *,
        algorithm: dict[str, Any] | None = None,
        price: str | None = None,
        change: Callable[[dict[str, Any]], None] | None = None,
        **service: Any,
    ) -> Published:
        """An asset with one service. `algorithm`: its container, which makes it an algorithm.

        `price`: OCEAN for a datatoken, sold at a fixed rate. `change`: a last word on the DDO. `service`: fields of the service.
        """
        nft, datatoken = self._create(owner, name, price)
        encrypted = self.encrypt({"nftAddress": nft, "datatokenAddress": datatoken, "files": files})
        ddo = document(nft, datatoken, name, encrypted, self.provider_url, algorithm)
        for each, value in service.items():
            ddo["services"][0][each] = {**ddo["services"][0].get(each, {}), **value} if isinstance(value, dict) else value
        if change:
            change(ddo)
        return Published(owner, nft, datatoken, ddo, self.describe(owner, ddo))

    def _create(self, owner: Account, name: str, price: str | None) -> tuple[str, str]:
        nft = {"name": name, "symbol": "NFT", "templateIndex": 1, "tokenURI": "", "transferable": True, "owner": owner.address}
        token = {
            "templateIndex": 1,
            "cap": "100000",
            "feeAmount": "0",
            "feeToken": ZERO,
            "mpFeeAddress": ZERO,
            "name": name,
            "symbol": "DT",
        }
        token |= {"minter": owner.address, "paymentCollector": ZERO}
        more: list[Any] = []
        if price:
            exchange = {"fixedRateAddress": self.chain.addresses["FixedPrice"], "baseTokenAddress": self.chain.ocean, "marketFee": "0"}
            exchange |= {"owner": owner.address, "marketFeeCollector": owner.address, "baseTokenDecimals": 18, "datatokenDecimals": 18}
            more = [{**exchange, "fixedRate": price, "withMint": True, "allowedConsumer": ZERO}]
        method = "createNftWithDatatokenWithFixedRate" if price else "createNftWithDatatoken"
        new = [self.chain.addresses["ERC721Factory"], owner, CHAIN_ID]
        receipt, log = self.call(f"NftFactory.{method}", nft, token, *more, new=new)
        created = {e["event"]: e["args"] for e in (receipt or {}).get("events", [])}
        if not created:
            raise Refused(method, log)
        return created["NFTCreated"]["newTokenAddress"], created["TokenCreated"]["newTokenAddress"]

    def encrypt(self, value: Any) -> str:
        """Encrypted by the Provider to its own key, hex."""
        return self.provider("encrypt", value, CHAIN_ID, self.provider_url)

    def describe(self, owner: Account, ddo: dict[str, Any], state: int = 0) -> str:
        """Puts a DDO, or a changed one, on the chain, encrypted; the transaction's id."""
        valid, log = self.call("Aquarius.validate", ddo, new=[self.cache_url])
        if not valid["valid"]:
            raise Refused("Aquarius.validate", log)
        text = self.encrypt(ddo)
        arguments = [ddo["nftAddress"], owner.address, state, self.provider_url, "", "0x02", text, valid["hash"], [valid["proof"]]]
        receipt, log = self.call("Nft.setMetadata", *arguments, new=[owner, CHAIN_ID])
        if receipt is None:
            raise Refused("Nft.setMetadata", log)
        return receipt["transactionHash"]

    def known(self, published: Published) -> dict[str, Any]:
        """The asset in the metadata cache, once it is there."""
        return self.call("Aquarius.waitForAqua", published.did, published.tx, new=[self.cache_url])[0]

    def trusted(self, algorithm: Published) -> dict[str, Any]:
        """How a data set's service names an algorithm that it trusts: by DID and checksums."""
        files = self.provider("checkDidFiles", algorithm.did, algorithm.service, self.provider_url, True)
        container = algorithm.ddo["metadata"]["algorithm"]["container"]
        return {
            "did": algorithm.did,
            "filesChecksum": "".join(file["checksum"] for file in files),
            "containerSectionChecksum": container_checksum(container),
        }

    # -- buying --------------------------------------------------------------------------------------------------
    def environments(self) -> list[dict[str, Any]]:
        return self.provider("getComputeEnvironments", self.provider_url)[str(CHAIN_ID)]

    def initialize_compute(
        self, consumer: str, datasets: list[Any], algorithm: dict[str, Any], environment: str, valid_until: int
    ) -> dict[str, Any]:
        return self.provider("initializeCompute", datasets, algorithm, environment, valid_until, self.provider_url, consumer)

    def order(self, payer: Account, consumer: str, asset: dict[str, Any], service_index: int = 0) -> str:
        """Orders what `asset` (of an answer to initializeCompute) says is still to be paid, with a datatoken that `payer` has.

        The order's transaction id: the one that was valid already, one that reuses it, or a new one.
        """
        fee = asset.get("providerFee")
        if fee and int(fee["providerFeeAmount"]):
            paid = [payer, {"$config": {}}, payer.address, fee["providerFeeToken"], asset["datatoken"], fee["providerFeeAmount"]]
            self.call("approveWei", *paid)
        if asset.get("validOrder") and not fee:
            return asset["validOrder"]
        if asset.get("validOrder"):
            return self._tx("Datatoken.reuseOrder", payer, asset["datatoken"], asset["validOrder"], fee)
        return self._tx("Datatoken.startOrder", payer, asset["datatoken"], consumer, service_index, fee)

    def buy_datatoken(self, payer: Account, published: Published) -> str:
        """A datatoken at the fixed rate that it was published with; what it cost in OCEAN, with the community's fee."""
        (_, rate), *_ = self.call("Datatoken.getFixedRates", published.datatoken, new=[payer, CHAIN_ID])[0]
        exchange = self.chain.addresses["FixedPrice"]
        new = [exchange, payer, CHAIN_ID]
        price = self.call("FixedRateExchange.calcBaseInGivenDatatokensOut", rate, "1", "0", new=new)[0]["baseTokenAmount"]
        self.call("approve", payer, {"$config": {}}, payer.address, self.chain.ocean, exchange, price)
        self._tx("FixedRateExchange.buyDatatokens", payer, rate, "1", price, new=new)
        return price

    def _tx(self, method: str, signer: Account, *args: Any, new: list[Any] | None = None) -> str:
        receipt, log = self.call(method, *args, new=new or [signer, CHAIN_ID])
        if receipt is None:
            raise Refused(method, log)
        return receipt["transactionHash"]

    # -- computing -----------------------------------------------------------------------------------------------
    def start(
        self, consumer: Account, environment: str, dataset: Any, algorithm: Any, more: list[Any] | None = None, output: Any = None
    ) -> dict[str, Any]:
        return self.provider("computeStart", self.provider_url, consumer, environment, dataset, algorithm, None, more, output)[0]

    def status(self, consumer: str, job_id: str) -> dict[str, Any]:
        found = self.provider("computeStatus", self.provider_url, consumer, job_id)
        return found[0]

    def stop(self, consumer: Account, document: str, job_id: str) -> dict[str, Any]:
        return self.provider("computeStop", document, consumer.address, job_id, self.provider_url, consumer)[0]

    def await_status(self, consumer: str, job_id: str, wanted: Callable[[dict[str, Any]], bool], within: float = 180) -> dict[str, Any]:
        """The job's status, once it is as wanted."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            status = self.status(consumer, job_id)
            if wanted(status):
                return status
            time.sleep(EVERY)
        raise TimeoutError(f"job {job_id} after {within} s: {status}")

    def result(self, consumer: Account, job_id: str, index: int) -> tuple[str, bytes]:
        """A result file's name and content."""
        url = self.provider("getComputeResultUrl", self.provider_url, consumer, job_id, index)
        return self.download(url, index)

    def download(self, url: str, index: int = 0) -> tuple[str, bytes]:
        got, _ = self.call("downloadFile", url, index)
        return got["filename"], got["data"]


def _sent(value: Any) -> Any:
    if isinstance(value, Account):
        return {"$signer": value.key}
    if isinstance(value, dict):
        return {name: _sent(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_sent(each) for each in value]
    return value


def _received(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["$base64"]) if "$base64" in value else {name: _received(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_received(each) for each in value]
    return value
