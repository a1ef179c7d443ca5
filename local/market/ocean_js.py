"""Publishing, buying and computing with the unmodified Ocean client library (@oceanprotocol/lib).

The steps are those of the library's own examples: publish, initialize, order or reuse an order, start, poll, download.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from local.market import bridge
from local.market.anvil import CHAIN_ID
from local.market.bridge import Bridge, OceanJsError
from local.market.chain import ZERO, Account, Chain
from local.market.ddo import container_checksum, document

# Their names in package.json: the reference client (3.3.0), and the last version that works with Ocean's Provider (3.4.6).
REFERENCE, LAST = "@oceanprotocol/lib", "ocean-lib-last"
POLL_INTERVAL = 0.3  # seconds between two requests for a job's status


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
    env = {"NODE_URI": chain.url, "ADDRESS_FILE": str(chain.address_file), "AQUARIUS_URL": cache_url, "PROVIDER_URL": provider_url}
    with bridge.running(library, env) as process:
        yield OceanJs(process, chain, provider_url, cache_url)


@dataclass(frozen=True)
class OceanJs:
    """The library for one chain, one Provider and one metadata cache."""

    bridge: Bridge
    chain: Chain
    provider_url: str
    cache_url: str

    # -- the library ---------------------------------------------------------------------------------------------
    def call(self, name: str, *args: Any, new: list[Any] | None = None) -> tuple[Any, str]:
        """Call a function, or `Class.method`; see :meth:`Bridge.call`."""
        return self.bridge.call(name, *args, new=new)

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
