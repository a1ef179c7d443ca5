"""The unmodified Ocean client library (@oceanprotocol/lib) as a Python object, with the steps of publishing, buying and computing.

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
from local.market.anvil import CHAIN_ID
from local.market.chain import ZERO, Account, Chain
from local.market.ddo import container_checksum, document

# Their names in package.json: the reference client (3.3.0), and the last version that works with Ocean's Provider (3.4.6).
REFERENCE, LAST = "@oceanprotocol/lib", "ocean-lib-last"
CALL_TIMEOUT = 120  # seconds
POLL_INTERVAL = 0.3  # seconds between two requests for a job's status


class OceanJsError(Exception):
    """The library threw an error, or printed one and returned nothing. `text` is the error and what was printed."""

    def __init__(self, call: str, text: str):
        super().__init__(f"{call}: {text}")
        self.text = text

    @property
    def reason(self) -> Any:
        """The Provider's `error`, or its `errors` by field; the whole text if it has neither."""
        printed = re.search(r"failed:  \d{3} [A-Za-z ]+ (\{.*\})", self.text)
        try:
            body = json.loads(printed[1] if printed else self.text.splitlines()[0])
            return body.get("errors") or body["error"]
        except (ValueError, KeyError, IndexError, AttributeError):
            return self.text


@dataclass(frozen=True)
class Published:
    """An asset that was published. `ddo` is what its publisher wrote."""

    owner: Account
    nft: str
    datatoken: str
    ddo: dict[str, Any]
    tx: str

    @property
    def did(self) -> str:
        return str(self.ddo["id"])

    @property
    def service(self) -> str:
        """The id of the first service."""
        return str(self.ddo["services"][0]["id"])

    def order(self, tx: str | None = None, service: str | None = None, **more: Any) -> dict[str, Any]:
        """The reference to the asset in a job. `tx`: the order's transaction id."""
        return {"documentId": self.did, "serviceId": service or self.service, **({"transferTxId": tx} if tx else {}), **more}


@contextlib.contextmanager
def running(chain: Chain, provider_url: str, cache_url: str, library: str = REFERENCE) -> Iterator[OceanJs]:
    """Run the library's process during the block."""
    it = OceanJs(chain, provider_url, cache_url, library)
    try:
        yield it
    finally:
        it.close()


@dataclass
class OceanJs:
    """A Node.js process with the library. It makes one call at a time."""

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
        """Call a function, or `Class.method`. Returns its result, and what it has printed.

        :param new: arguments for the constructor of the class.
        :raises OceanJsError: it threw an error.
        :raises RuntimeError: the process ended, or did not answer in time.
        """
        assert self.process.stdin and self.process.stdout
        target, _, method = name.rpartition(".") if "." in name else (name, "", None)
        self.calls += 1
        request = {"id": self.calls, "object": target, "method": method, "args": _sent(args), **({"new": _sent(new)} if new else {})}
        with self.lock:
            timer = threading.Timer(CALL_TIMEOUT, self.process.kill)
            timer.start()
            try:
                self.process.stdin.write(json.dumps(request) + "\n")
                self.process.stdin.flush()
                line = self.process.stdout.readline()
            except BrokenPipeError:
                line = ""
            finally:
                timer.cancel()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(
                f"the client library's process ended at {name}: {self.errors.read()[-800:] or f'no answer in {CALL_TIMEOUT} s'}"
            )
        answer = json.loads(line)
        log = "\n".join(answer["log"])
        if "error" in answer:
            raise OceanJsError(name, f"{answer['error']}\n{log}".strip())
        return _received(answer["result"]), log

    def provider(self, method: str, *args: Any) -> Any:
        """Call a method of the library's Provider.

        :raises OceanJsError: it threw an error, or printed one and returned null.
        """
        result, log = self.call(f"ProviderInstance.{method}", *args)
        if result is None:
            raise OceanJsError(method, log)
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
        """Publish an asset with one service.

        :param algorithm: the container, for an algorithm; a data set has none.
        :param price: OCEAN for a datatoken, which is sold at a fixed rate. Without it, nothing is sold.
        :param change: edits the DDO before it is published.
        :param service: fields of the DDO's service.
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
        """Create a data NFT with a datatoken. Returns their addresses."""
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
        sale: list[Any] = []
        if price:
            exchange = {"fixedRateAddress": self.chain.addresses["FixedPrice"], "baseTokenAddress": self.chain.ocean, "marketFee": "0"}
            exchange |= {"owner": owner.address, "marketFeeCollector": owner.address, "baseTokenDecimals": 18, "datatokenDecimals": 18}
            sale = [{**exchange, "fixedRate": price, "withMint": True, "allowedConsumer": ZERO}]
        method = "createNftWithDatatokenWithFixedRate" if price else "createNftWithDatatoken"
        new = [self.chain.addresses["ERC721Factory"], owner, CHAIN_ID]
        receipt, log = self.call(f"NftFactory.{method}", nft, token, *sale, new=new)
        created = {e["event"]: e["args"] for e in (receipt or {}).get("events", [])}
        if not created:
            raise OceanJsError(method, log)
        return created["NFTCreated"]["newTokenAddress"], created["TokenCreated"]["newTokenAddress"]

    def encrypt(self, value: Any) -> str:
        """Have the Provider encrypt a value to its own key. Returns hex."""
        return str(self.provider("encrypt", value, CHAIN_ID, self.provider_url))

    def describe(self, owner: Account, ddo: dict[str, Any], state: int = 0) -> str:
        """Write a new or changed DDO to the chain, encrypted. Returns the transaction's id."""
        valid, log = self.call("Aquarius.validate", ddo, new=[self.cache_url])
        if not valid["valid"]:
            raise OceanJsError("Aquarius.validate", log)
        text = self.encrypt(ddo)
        arguments = [ddo["nftAddress"], owner.address, state, self.provider_url, "", "0x02", text, valid["hash"], [valid["proof"]]]
        receipt, log = self.call("Nft.setMetadata", *arguments, new=[owner, CHAIN_ID])
        if receipt is None:
            raise OceanJsError("Nft.setMetadata", log)
        return str(receipt["transactionHash"])

    def known(self, published: Published) -> dict[str, Any]:
        """Wait until the metadata cache has an asset. Returns it."""
        asset: dict[str, Any] = self.call("Aquarius.waitForAqua", published.did, published.tx, new=[self.cache_url])[0]
        return asset

    def trusted(self, algorithm: Published) -> dict[str, Any]:
        """An entry of `publisherTrustedAlgorithms` for an algorithm: its DID and checksums."""
        files = self.provider("checkDidFiles", algorithm.did, algorithm.service, self.provider_url, True)
        container = algorithm.ddo["metadata"]["algorithm"]["container"]
        return {
            "did": algorithm.did,
            "filesChecksum": "".join(file["checksum"] for file in files),
            "containerSectionChecksum": container_checksum(container),
        }

    # -- buying --------------------------------------------------------------------------------------------------
    def environments(self) -> list[dict[str, Any]]:
        """The Provider's compute environments."""
        environments: list[dict[str, Any]] = self.provider("getComputeEnvironments", self.provider_url)[str(CHAIN_ID)]
        return environments

    def initialize_compute(
        self, consumer: str, datasets: list[Any], algorithm: dict[str, Any], environment: str, valid_until: int
    ) -> dict[str, Any]:
        """Ask the Provider what a job would cost: its fees, and which orders are still valid.

        :param valid_until: the end of the computing time in Unix seconds.
        """
        arguments = (datasets, algorithm, environment, valid_until, self.provider_url, consumer)
        answer: dict[str, Any] = self.provider("initializeCompute", *arguments)
        return answer

    def order(self, payer: Account, consumer: str, asset: dict[str, Any], service_index: int = 0) -> str:
        """Pay for what is not paid yet, with a datatoken of `payer`.

        :param asset: the asset's entry in the answer to initializeCompute.
        :returns: the transaction id of the valid order: an existing one, one that reuses it, or a new one.
        """
        fee = asset.get("providerFee")
        if fee and int(fee["providerFeeAmount"]):
            amount = [fee["providerFeeToken"], asset["datatoken"], fee["providerFeeAmount"]]
            self.call("approveWei", payer, {"$config": {}}, payer.address, *amount)
        if valid_order := asset.get("validOrder"):
            return self._tx("Datatoken.reuseOrder", payer, asset["datatoken"], valid_order, fee) if fee else str(valid_order)
        return self._tx("Datatoken.startOrder", payer, asset["datatoken"], consumer, service_index, fee)

    def buy_datatoken(self, payer: Account, published: Published) -> str:
        """Buy a datatoken at its fixed rate. Returns the price in OCEAN, with the community's fee."""
        (_, rate), *_ = self.call("Datatoken.getFixedRates", published.datatoken, new=[payer, CHAIN_ID])[0]
        exchange = self.chain.addresses["FixedPrice"]
        new = [exchange, payer, CHAIN_ID]
        price = str(self.call("FixedRateExchange.calcBaseInGivenDatatokensOut", rate, "1", "0", new=new)[0]["baseTokenAmount"])
        self.call("approve", payer, {"$config": {}}, payer.address, self.chain.ocean, exchange, price)
        self._tx("FixedRateExchange.buyDatatokens", payer, rate, "1", price, new=new)
        return price

    def _tx(self, method: str, signer: Account, *args: Any, new: list[Any] | None = None) -> str:
        """Send a transaction. Returns its id."""
        receipt, log = self.call(method, *args, new=new or [signer, CHAIN_ID])
        if receipt is None:
            raise OceanJsError(method, log)
        return str(receipt["transactionHash"])

    # -- computing -----------------------------------------------------------------------------------------------
    def start(
        self, consumer: Account, environment: str, dataset: Any, algorithm: Any, more: list[Any] | None = None, output: Any = None
    ) -> dict[str, Any]:
        """Start a job. `more`: further data sets. Returns its status."""
        arguments = (consumer, environment, dataset, algorithm, None, more, output)
        job: dict[str, Any] = self.provider("computeStart", self.provider_url, *arguments)[0]
        return job

    def status(self, consumer: str, job_id: str) -> dict[str, Any]:
        """The status of a job."""
        status: dict[str, Any] = self.provider("computeStatus", self.provider_url, consumer, job_id)[0]
        return status

    def stop(self, consumer: Account, document: str, job_id: str) -> dict[str, Any]:
        """Stop a job. `document`: the DID of its data set. Returns its status."""
        status: dict[str, Any] = self.provider("computeStop", document, consumer.address, job_id, self.provider_url, consumer)[0]
        return status

    def await_status(self, consumer: str, job_id: str, reached: Callable[[dict[str, Any]], bool], within: float = 180) -> dict[str, Any]:
        """Wait until `reached` is true for the job's status. Returns that status.

        :raises TimeoutError: it is not within so many seconds.
        """
        deadline = time.monotonic() + within
        while not reached(status := self.status(consumer, job_id)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} after {within} s: {status}")
            time.sleep(POLL_INTERVAL)
        return status

    def result(self, consumer: Account, job_id: str, index: int) -> tuple[str, bytes]:
        """The name and the content of a result file."""
        url = self.provider("getComputeResultUrl", self.provider_url, consumer, job_id, index)
        return self.download(url, index)

    def download(self, url: str, index: int = 0) -> tuple[str, bytes]:
        """The name and the content of the file at a URL. `index` names it if the response has no name."""
        file, _ = self.call("downloadFile", url, index)
        return file["filename"], file["data"]


def _sent(value: Any) -> Any:
    """A Python value in the form that bridge.js expects."""
    if isinstance(value, Account):
        return {"$signer": value.key}
    if isinstance(value, dict):
        return {name: _sent(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_sent(each) for each in value]
    return value


def _received(value: Any) -> Any:
    """A value from bridge.js in Python."""
    if isinstance(value, dict):
        return base64.b64decode(value["$base64"]) if "$base64" in value else {name: _received(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_received(each) for each in value]
    return value
