"""A chain on loopback (anvil, chain id 8996 as Ocean's own development network) with Ocean's real contracts, and what is done on it.

The contracts come from the PyPI package `ocean-contracts`, byte for byte those that are deployed on public networks.
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

NETWORK = "development"  # Ocean's name for that chain in an ADDRESS_FILE
ZERO = "0x" + "00" * 20
ONE = 10**18  # a whole datatoken, or OCEAN, in wei
GAS = 12_000_000  # enough for each of the contracts; asking for an estimate would cost a call a transaction
CAP = 100_000 * ONE
NOBODY = (ZERO, ZERO, 0)  # no market's fee


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
    address: str  # of the contract that logged it
    args: dict[str, Any]


def did(nft: str, chain_id: int = CHAIN_ID) -> str:
    return "did:op:" + hashlib.sha256(f"{nft}{chain_id}".encode()).hexdigest()


@cache
def artifact(name: str) -> dict[str, Any]:
    """The ABI and the bytecode of one of Ocean's contracts."""
    try:
        file = importlib.metadata.distribution("ocean-contracts").locate_file(f"artifacts/{name}.json")
    except importlib.metadata.PackageNotFoundError as error:
        raise StackError("The package ocean-contracts is not installed; `make venv-dev` installs it.") from error
    return json.loads(Path(str(file)).read_text())


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Chain]:
    """A new chain with the contracts, until the block ends; its ADDRESS_FILE and log are in `folder`."""
    with anvil.running(folder) as url:
        yield Chain(url, folder)


class Chain:
    """`accounts`: ten accounts with 10,000 coins each; the first deployed the contracts and has all OCEAN."""

    def __init__(self, url: str, folder: Path):
        from eth_account import Account as Keys
        from web3 import Web3

        self.url = url
        self.chain_id = CHAIN_ID
        # no chain id asked for before each transaction, and no gas estimated: the chain is ours
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
        """One JSON-RPC call; anvil's own methods too."""
        answer: dict[str, Any] = dict(self.web3.provider.make_request(method, list(params)))  # type: ignore[arg-type]
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def account(self, key: str, coins: int = 100) -> Account:
        """An account of a key of one's own, with some coins."""
        from eth_account import Account as Keys

        address = Keys.from_key(key).address
        self.rpc("anvil_setBalance", address, hex(coins * ONE))
        return Account(address, key)

    def now(self) -> int:
        """The latest block's time, unix seconds."""
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def forward(self, seconds: int) -> None:
        """The chain's time goes on; it does not come back but by :meth:`revert`."""
        self.rpc("evm_increaseTime", hex(seconds))
        self.rpc("evm_mine")

    def snapshot(self) -> str:
        return self.rpc("evm_snapshot")

    def revert(self, snapshot: str) -> None:
        self.rpc("evm_revert", snapshot)

    def contract(self, name: str, address: str) -> Any:
        return self.web3.eth.contract(self.web3.to_checksum_address(address), abi=artifact(name)["abi"])

    def deploy(self, name: str, *arguments: Any) -> str:
        """A new contract of `ocean-contracts`, owned by the first account; its address."""
        new = self.web3.eth.contract(abi=artifact(name)["abi"], bytecode=artifact(name)["bytecode"]).constructor(*arguments)
        address = self._receipt(new.transact({"from": self.owner.address, "gas": GAS}), f"{name}()")["contractAddress"]
        return self.web3.to_checksum_address(address)

    def call(self, name: str, address: str, function: str, *arguments: Any) -> Any:
        """What a contract's view answers."""
        return self.contract(name, address).functions[function](*arguments).call()

    def send(self, sender: str, name: str, address: str, function: str, *arguments: Any) -> str:
        """A transaction of any sender (anvil signs for everybody), mined; its id. RuntimeError when the contract refuses."""
        call = self.contract(name, address).functions[function](*arguments)
        tx = call.transact({"from": sender, "gas": GAS})
        self._receipt(tx, f"{name}.{function}")
        return self._text(tx)

    def _receipt(self, tx: Any, what: str) -> Any:
        """The receipt; RuntimeError with the contract's reason when it refused."""
        receipt = self.web3.eth.wait_for_transaction_receipt(tx, timeout=30, poll_latency=0.002)
        if receipt["status"] != 1:
            trace = self.rpc("debug_traceTransaction", self._text(tx), {"tracer": "callTracer"})
            raise RuntimeError(f"{what}: refused: {trace.get('revertReason') or trace.get('error')}")
        return receipt

    @staticmethod
    def _text(tx: Any) -> str:
        return tx if isinstance(tx, str) else "0x" + bytes(tx).hex()

    # -- Ocean's contracts ---------------------------------------------------------------------------------------
    def _deploy_ocean(self) -> dict[str, Any]:
        """As the deployment script of Ocean's contracts does, without its pools and veOCEAN; the addresses by Ocean's names for them."""
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
        """The OCEAN-like token."""
        return self.addresses["Ocean"]

    @cached_property
    def usdc(self) -> str:
        """A token of 6 decimals; the first account has it all."""
        return self.deploy("MockERC20Decimals", "USD Coin", "USDC", 6)

    def publish(self, owner: str, name: str = "data", template: int = 1) -> Asset:
        """A data NFT with one datatoken, as clients create them: in one transaction."""
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
        """Another datatoken of the same data NFT: an asset's second service."""
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
        return next(e.args["newTokenAddress"] for e in self.events(tx, "ERC721Factory", "TokenCreated"))

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
        """The DDO on chain. `metadata_hash`: hex of the SHA-256 of the DDO's text; `flags`: 1 compressed, 2 encrypted (both: 3)."""
        digest = bytes.fromhex(metadata_hash.removeprefix("0x"))
        arguments = (state, decryptor_url, decryptor_address, bytes([flags]), data, digest, [])
        return self.send(asset.owner, "ERC721Template", asset.nft, "setMetaData", *arguments)

    def set_state(self, asset: Asset, state: int) -> str:
        """The state of the data NFT: 0 active, 1 end of life, 2 deprecated, 3 revoked, 4 ordering disabled, 5 unlisted."""
        return self.send(asset.owner, "ERC721Template", asset.nft, "setMetaDataState", state)

    def transfer_nft(self, asset: Asset, to: str) -> Asset:
        self.send(asset.owner, "ERC721Template", asset.nft, "safeTransferFrom", asset.owner, to, 1)
        return Asset(to, asset.nft, asset.datatoken)

    # -- tokens and orders ---------------------------------------------------------------------------------------
    def mint(self, asset: Asset, to: str, amount: int = ONE, datatoken: str = "") -> str:
        return self.send(asset.owner, "ERC20Template", datatoken or asset.datatoken, "mint", to, amount)

    def transfer(self, token: str, sender: str, to: str, amount: int = ONE) -> str:
        return self.send(sender, "ERC20Template", token, "transfer", to, amount)

    def approve(self, token: str, owner: str, spender: str, amount: int) -> str:
        return self.send(owner, "ERC20Template", token, "approve", spender, amount)

    def balance(self, token: str, owner: str) -> int:
        return self.call("ERC20Template", token, "balanceOf", owner)

    def start_order(self, payer: str, datatoken: str, consumer: str, fee: Sequence[Any], service_index: int = 0) -> str:
        """Orders with a datatoken that `payer` has; the transaction's id. `fee`: of :func:`provider_fee` or :func:`fee_of`."""
        return self.send(payer, "ERC20Template", datatoken, "startOrder", consumer, service_index, tuple(fee), NOBODY)

    def reuse_order(self, payer: str, datatoken: str, order: str, fee: Sequence[Any]) -> str:
        """Pays a provider's fee again for an order that was paid for; the new transaction's id."""
        return self.send(payer, "ERC20Template", datatoken, "reuseOrder", order, tuple(fee))

    def buy(self, asset: Asset, consumer: str, fee: Sequence[Any], service_index: int = 0, payer: str = "") -> str:
        """All of an order: a datatoken for the payer, the fee's allowance, the order; its transaction's id."""
        payer = payer or consumer
        self.mint(asset, payer)
        if fee[2]:
            self.transfer(fee[1], self.owner.address, payer, fee[2])
            self.approve(fee[1], payer, asset.datatoken, fee[2])
        return self.start_order(payer, asset.datatoken, consumer, fee, service_index)

    def events(self, tx: str, name: str, *wanted: str) -> list[Event]:
        """The events of these names that a transaction has logged, decoded, in order."""
        from web3.logs import DISCARD

        receipt = self.web3.eth.get_transaction_receipt(tx)  # type: ignore[arg-type]
        contract = self.contract(name, ZERO)
        found = [event for each in wanted for event in contract.events[each]().process_receipt(receipt, errors=DISCARD)]
        return [Event(e["event"], e["address"], dict(e["args"])) for e in sorted(found, key=lambda e: e["logIndex"])]


def provider_fee(key: str, datatoken: str, *, environment: str, amount: int, token: str, valid_until: int, **more: Any) -> tuple[Any, ...]:
    """A Provider's fee as the contract takes it, signed with its key.

    `amount`: wei of `token`. `more`: fields of providerData (Provider v2.1.6: environment, timestamp, dt, id), that replace the usual ones.
    """
    from eth_account import Account as Keys
    from eth_account.messages import encode_defunct
    from web3 import Web3

    address = Keys.from_key(key).address
    said = {"environment": environment, "timestamp": valid_until, "dt": datatoken, "id": "", **more}
    data = json.dumps(said, separators=(",", ":")).encode()
    digest = Web3.solidity_keccak(["bytes", "address", "address", "uint256", "uint256"], [data, address, token, amount, valid_until])
    signed = Keys.sign_message(encode_defunct(digest), key)
    return (address, token, amount, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"), valid_until, data)


def fee_of(answer: dict[str, Any]) -> tuple[Any, ...]:
    """The `providerFee` of a Provider's answer to initialize or initializeCompute, as the contract takes it."""
    names = ("providerFeeAddress", "providerFeeToken", "providerFeeAmount", "v", "r", "s", "validUntil", "providerData")
    address, token, amount, v, r, s, valid_until, data = (answer[name] for name in names)

    def number(value: Any) -> int:
        return int(value, 0) if isinstance(value, str) else int(value)

    def raw(value: str) -> bytes:
        return bytes.fromhex(value.removeprefix("0x"))

    return (address, token, number(amount), number(v), raw(r), raw(s), number(valid_until), raw(data))
