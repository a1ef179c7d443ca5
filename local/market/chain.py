"""A blockchain on this machine with Ocean's real contracts: publishing, minting, ordering, and looking at the results.

The contracts are those of the PyPI package `ocean-contracts`, byte for byte the ones on public networks. The chain id is 8996, as in
Ocean's development network.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from local.home import StackError
from local.market import anvil
from local.market.anvil import CHAIN_ID, MNEMONIC

NETWORK = "development"  # Ocean's name for the chain in an ADDRESS_FILE
ZERO = "0x" + "00" * 20
ONE = 10**18  # one datatoken, or one OCEAN, in wei
GAS = 12_000_000  # enough for each of the contracts; an estimate would cost a call for each transaction
CAP = 100_000 * ONE
NO_MARKET_FEE = (ZERO, ZERO, 0)


@dataclass(frozen=True)
class Account:
    address: str
    key: str


@dataclass(frozen=True)
class Asset:
    """A data NFT with one datatoken, both owned by `owner`."""

    owner: str
    nft: str
    datatoken: str

    @property
    def did(self) -> str:
        return did(self.nft)


@dataclass(frozen=True)
class Event:
    name: str
    address: str  # the contract that logged it
    args: dict[str, Any]


def did(nft: str, chain_id: int = CHAIN_ID) -> str:
    """The DID of the asset of a data NFT."""
    return "did:op:" + hashlib.sha256(f"{nft}{chain_id}".encode()).hexdigest()


@cache
def artifact(name: str) -> dict[str, Any]:
    """The ABI and the bytecode of one of Ocean's contracts.

    :raises StackError: the package ocean-contracts is not installed.
    """
    try:
        file = importlib.metadata.distribution("ocean-contracts").locate_file(f"artifacts/{name}.json")
    except importlib.metadata.PackageNotFoundError as error:
        raise StackError("The package ocean-contracts is not installed. `make venv-dev` installs it.") from error
    contract: dict[str, Any] = json.loads(Path(str(file)).read_text())
    return contract


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Chain]:
    """Run a new chain with the contracts during the block. Its ADDRESS_FILE and its log are in `folder`."""
    with anvil.running(folder) as url:
        yield Chain(url, folder)


class Chain:
    """`accounts` has ten accounts with 10,000 coins each. The first one has deployed the contracts and owns all OCEAN."""

    def __init__(self, url: str, folder: Path):
        from eth_account import Account as Keys
        from web3 import Web3

        self.url = url
        self.chain_id = CHAIN_ID
        # without middleware, which would ask for the chain id and a gas estimate before each transaction
        self.web3 = Web3(Web3.HTTPProvider(url, request_kwargs={"timeout": 30}), middleware=[])
        Keys.enable_unaudited_hdwallet_features()
        keys = [Keys.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{n}") for n in range(10)]
        self.accounts = [Account(k.address, "0x" + bytes(k.key).hex()) for k in keys]
        self.owner = self.accounts[0]
        self.addresses = self._deploy_ocean()
        self.address_file = folder / "address.json"
        self.address_file.write_text(json.dumps({NETWORK: self.addresses}, indent=1))

    # -- the chain -----------------------------------------------------------------------------------------------
    def rpc(self, method: str, *params: Any) -> Any:
        """The result of a JSON-RPC call, also of anvil's own methods.

        :raises RuntimeError: it is an error.
        """
        from web3.types import RPCEndpoint

        answer = self.web3.provider.make_request(RPCEndpoint(method), list(params))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def account(self, key: str, coins: int = 100) -> Account:
        """The account of any private key, with some coins."""
        from eth_account import Account as Keys

        address = Keys.from_key(key).address
        self.rpc("anvil_setBalance", address, hex(coins * ONE))
        return Account(address, key)

    def now(self) -> int:
        """The time of the latest block in Unix seconds."""
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def forward(self, seconds: int) -> None:
        """Advance the chain's time. Only :meth:`revert` turns it back."""
        self.rpc("evm_increaseTime", hex(seconds))
        self.rpc("evm_mine")

    def snapshot(self) -> str:
        """Save the chain's state. Returns the argument of :meth:`revert`."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, which cannot be used again."""
        self.rpc("evm_revert", snapshot)

    def contract(self, name: str, address: str) -> Any:
        """A contract of this type at an address, as a web3 object."""
        return self.web3.eth.contract(self.web3.to_checksum_address(address), abi=artifact(name)["abi"])

    def deploy(self, name: str, *arguments: Any) -> str:
        """Deploy a contract of `ocean-contracts` from the first account. Returns its address."""
        new = self.web3.eth.contract(abi=artifact(name)["abi"], bytecode=artifact(name)["bytecode"]).constructor(*arguments)
        address = self._receipt(new.transact({"from": self.owner.address, "gas": GAS}), f"{name}()")["contractAddress"]
        return self.web3.to_checksum_address(address)

    def call(self, name: str, address: str, function: str, *arguments: Any) -> Any:
        """The result of a view function of a contract."""
        return self.contract(name, address).functions[function](*arguments).call()

    def send(self, sender: str, name: str, address: str, function: str, *arguments: Any) -> str:
        """Send a transaction from any account, as anvil needs no key, and wait until it is mined. Returns its id.

        :raises RuntimeError: the contract rejects it.
        """
        call = self.contract(name, address).functions[function](*arguments)
        tx = call.transact({"from": sender, "gas": GAS})
        self._receipt(tx, f"{name}.{function}")
        return self._text(tx)

    def _receipt(self, tx: Any, call: str) -> Any:
        """The receipt of a transaction.

        :raises RuntimeError: the contract rejected it; the message has its reason.
        """
        receipt = self.web3.eth.wait_for_transaction_receipt(tx, timeout=30, poll_latency=0.002)
        if receipt["status"] != 1:
            trace = self.rpc("debug_traceTransaction", self._text(tx), {"tracer": "callTracer"})
            raise RuntimeError(f"{call}: rejected: {trace.get('revertReason') or trace.get('error')}")
        return receipt

    @staticmethod
    def _text(tx: Any) -> str:
        return tx if isinstance(tx, str) else "0x" + bytes(tx).hex()

    # -- Ocean's contracts ---------------------------------------------------------------------------------------
    def _deploy_ocean(self) -> dict[str, Any]:
        """Deploy what Ocean's own deployment script does, except pools and veOCEAN. Returns the network's entry of an ADDRESS_FILE."""
        me = self.owner.address
        ocean = self.deploy("MockOcean", me)
        collector = self.deploy("OPFCommunityFeeCollector", me, me)
        router = self.deploy("FactoryRouter", me, ocean, me, collector, [])
        fixed, dispenser = self.deploy("FixedRateExchange", router), self.deploy("Dispenser", router)
        templates = [self.deploy("ERC20Template"), self.deploy("ERC20TemplateEnterprise")]
        nft = self.deploy("ERC721Template")
        factory = self.deploy("ERC721Factory", nft, templates[0], router)
        self.send(me, "ERC721Factory", factory, "addTokenTemplate", templates[1])
        for function, address in (
            ("addFactory", factory),
            ("addFixedRateContract", fixed),
            ("addDispenserContract", dispenser),
            ("addApprovedToken", ocean),  # no swap fee
        ):
            self.send(me, "FactoryRouter", router, function, address)
        return {
            "chainId": CHAIN_ID,
            "startBlock": 0,
            "Ocean": ocean,
            "OPFCommunityFeeCollector": collector,
            "Router": router,
            "FixedPrice": fixed,
            "Dispenser": dispenser,
            "ERC20Template": {str(n): address for n, address in enumerate(templates, 1)},
            "ERC721Template": {"1": nft},
            "ERC721Factory": factory,
        }

    @property
    def ocean(self) -> str:
        """The address of the OCEAN token."""
        return str(self.addresses["Ocean"])

    @cached_property
    def usdc(self) -> str:
        """The address of a token with 6 decimals. The first account owns all of it."""
        return self.deploy("MockERC20Decimals", "USD Coin", "USDC", 6)

    def publish(self, owner: str, name: str = "data", template: int = 1) -> Asset:
        """Create a data NFT with one datatoken in one transaction, as clients do."""
        nft_data = (name, name.upper()[:8], 1, "", True, owner)
        tx = self.send(
            owner,
            "ERC721Factory",
            self.addresses["ERC721Factory"],
            "createNftWithErc20",
            nft_data,
            (template, [f"{name} token", "DT"], [owner, owner, ZERO, ZERO], [CAP, 0], []),
        )
        created = {e.name: e.args["newTokenAddress"] for e in self.events(tx, "ERC721Factory", "NFTCreated", "TokenCreated")}
        return Asset(owner, created["NFTCreated"], created["TokenCreated"])

    def add_datatoken(self, asset: Asset, template: int = 1) -> str:
        """Create another datatoken of the same data NFT, for a second service of the asset. Returns its address."""
        tx = self.send(
            asset.owner,
            "ERC721Template",
            asset.nft,
            "createERC20",
            template,
            ["more", "DT2"],
            [asset.owner, asset.owner, ZERO, ZERO],
            [CAP, 0],
            [],
        )
        return next(str(e.args["newTokenAddress"]) for e in self.events(tx, "ERC721Factory", "TokenCreated"))

    def set_metadata(
        self,
        asset: Asset,
        data: bytes,
        metadata_hash: str,
        state: int = 0,
        flags: int = 0,
        decryptor_url: str = "",
        decryptor_address: str = "",
    ) -> str:
        """Write a DDO to the chain.

        :param metadata_hash: the SHA-256 of the DDO's text, in hex.
        :param flags: 1 if the data are compressed, 2 if they are encrypted, 3 if they are both.
        """
        digest = bytes.fromhex(metadata_hash.removeprefix("0x"))
        proofs: list[Any] = []
        arguments = (state, decryptor_url, decryptor_address, bytes([flags]), data, digest, proofs)
        return self.send(asset.owner, "ERC721Template", asset.nft, "setMetaData", *arguments)

    def set_state(self, asset: Asset, state: int) -> str:
        """Set the state of a data NFT: 0 active, 1 end of life, 2 deprecated, 3 revoked, 4 ordering disabled, 5 unlisted."""
        return self.send(asset.owner, "ERC721Template", asset.nft, "setMetaDataState", state)

    def transfer_nft(self, asset: Asset, to: str) -> Asset:
        """Give a data NFT to another owner."""
        self.send(asset.owner, "ERC721Template", asset.nft, "safeTransferFrom", asset.owner, to, 1)
        return Asset(to, asset.nft, asset.datatoken)

    # -- tokens and orders ---------------------------------------------------------------------------------------
    def mint(self, asset: Asset, to: str, amount: int = ONE, datatoken: str = "") -> str:
        """Create datatokens of an asset, as its owner."""
        return self.send(asset.owner, "ERC20Template", datatoken or asset.datatoken, "mint", to, amount)

    def transfer(self, token: str, sender: str, to: str, amount: int = ONE) -> str:
        return self.send(sender, "ERC20Template", token, "transfer", to, amount)

    def approve(self, token: str, owner: str, spender: str, amount: int) -> str:
        return self.send(owner, "ERC20Template", token, "approve", spender, amount)

    def balance(self, token: str, owner: str) -> int:
        """How much of a token an account has, in wei."""
        return int(self.call("ERC20Template", token, "balanceOf", owner))

    def start_order(self, payer: str, datatoken: str, consumer: str, fee: Sequence[Any], service_index: int = 0) -> str:
        """Place an order, paid with a datatoken of `payer`. Returns the transaction's id.

        :param fee: the Provider's fee, from `local.market.fees`.
        """
        return self.send(payer, "ERC20Template", datatoken, "startOrder", consumer, service_index, tuple(fee), NO_MARKET_FEE)

    def reuse_order(self, payer: str, datatoken: str, order: str, fee: Sequence[Any]) -> str:
        """Pay a Provider's fee again for an existing order. Returns the new transaction's id."""
        return self.send(payer, "ERC20Template", datatoken, "reuseOrder", order, tuple(fee))

    def buy(self, asset: Asset, consumer: str, fee: Sequence[Any], service_index: int = 0, payer: str = "") -> str:
        """Give the payer a datatoken and the fee, and place an order. Returns its transaction's id."""
        payer = payer or consumer
        self.mint(asset, payer)
        if fee[2]:
            self.transfer(fee[1], self.owner.address, payer, fee[2])
            self.approve(fee[1], payer, asset.datatoken, fee[2])
        return self.start_order(payer, asset.datatoken, consumer, fee, service_index)

    def events(self, tx: str, contract_name: str, *names: str) -> list[Event]:
        """The events with these names that a transaction has logged, decoded, in order."""
        from eth_typing import HexStr
        from web3.logs import DISCARD

        receipt = self.web3.eth.get_transaction_receipt(HexStr(tx))
        contract = self.contract(contract_name, ZERO)
        logs = [log for name in names for log in contract.events[name]().process_receipt(receipt, errors=DISCARD)]
        return [Event(log["event"], log["address"], dict(log["args"])) for log in sorted(logs, key=lambda log: log["logIndex"])]
