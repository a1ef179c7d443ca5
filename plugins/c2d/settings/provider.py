"""The settings of Ocean's Provider, under the Provider's own names, so that the environment file of such a deployment can be reused.

``PROVIDER_PRIVATE_KEY``, ``NETWORK_URL`` and ``PROVIDER_FEE_TOKEN`` are one value, or a JSON object with one for each chain id. A chain may
have several URLs, as a JSON list or with commas between them. The next is asked if one does not answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from c2d.jobs.patterns import ADDRESS
from c2d.settings.variables import Addresses, HttpUrl, PrivateKey, Variables, is_http

EVERY_CHAIN = 0
"""The key of a value that was given for all chains."""


def _by_chain(value: Any) -> Any:
    """One value, or a JSON object with one for each chain id, as a dictionary by chain id."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return {}
        if not text.startswith("{"):
            return {EVERY_CHAIN: text}
        try:
            value = json.loads(text)
        except ValueError:
            raise ValueError('must be one value, or a JSON object by chain id, such as {"1": "..."}') from None
    if isinstance(value, Mapping):
        for chain in value:
            if not re.fullmatch(r"[0-9]{1,15}", str(chain)):
                raise ValueError("must have chain ids as its keys: whole numbers")
        return {int(chain): each for chain, each in value.items()}
    return value


def _urls(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else [u.strip() for u in text.split(",") if u.strip()]
        except ValueError:
            raise ValueError("must be a URL, several with commas between them, or a JSON list of URLs") from None
    return tuple(value) if isinstance(value, list) else value


def _urls_by_chain(value: Any) -> Any:
    if isinstance(value, str) and value.strip().startswith("["):
        value = {EVERY_CHAIN: value}
    value = _by_chain(value)
    return {chain: _urls(each) for chain, each in value.items()} if isinstance(value, dict) else value


KeyByChain = Annotated[dict[int, PrivateKey], BeforeValidator(_by_chain)]
AddressByChain = Annotated[dict[int, Annotated[str, Field(pattern=ADDRESS)]], BeforeValidator(_by_chain)]
UrlsByChain = Annotated[dict[int, Annotated[tuple[str, ...], Field(min_length=1)]], BeforeValidator(_urls_by_chain)]

NOT_NEEDED = {
    "REDIS_CONNECTION": "nonces and tokens are in the jobs' PostgreSQL",
    "STORAGE_PATH": "nonces and tokens are in the jobs' PostgreSQL",
    "OPERATOR_SERVICE_URL": "jobs run here",
}
"""Settings that are accepted so that a Provider's file can be reused, and why they are not needed."""

_SECRET = ("PROVIDER_PRIVATE_KEY", "NETWORK_URL", "POLICY_SERVER_API_KEY")


class ProviderSettings(Variables):
    """The Provider API, the chains, and what is fetched for consumers. Names and defaults are those of Ocean's Provider."""

    PROVIDER_PRIVATE_KEY: KeyByChain = Field(
        default_factory=dict,
        repr=False,
        description="secp256k1 keys by chain: publishers encrypt to them, and they sign fees and auth tokens; "
        "the Provider API is on if this and NETWORK_URL are set",
    )
    NETWORK_URL: UrlsByChain = Field(
        default_factory=dict, repr=False, description="URLs of RPC nodes by chain; not shown, because they may contain keys"
    )
    AQUARIUS_URL: HttpUrl | None = Field(default=None, description="URL of the metadata cache")
    ADDRESS_FILE: Path | None = Field(
        default=None, description="Ocean's contract addresses as JSON, from which the default fee token is read"
    )
    PROVIDER_FEE_TOKEN: AddressByChain = Field(
        default_factory=dict,
        description="token that fees are paid in, by chain; the zero address charges nothing; not set: Ocean's token in ADDRESS_FILE",
    )
    ALLOW_NON_PUBLIC_IP: bool = Field(default=False, description="1: fetch from private, loopback and link-local addresses as well")
    IPFS_GATEWAY: HttpUrl | None = Field(default=None, description="where files of type ipfs are read")
    ARWEAVE_GATEWAY: HttpUrl | None = Field(default=None, description="where files of type arweave are read")
    MAX_CHECKSUM_LENGTH: int = Field(
        default=0,
        ge=0,
        description="bytes of the largest file whose checksum is computed; an algorithm with a larger file cannot be started; 0: no limit",
    )
    REQUEST_TIMEOUT: float = Field(
        default=10,
        gt=0,
        le=300,
        description="seconds that a server (node, metadata cache, file server, RBAC or policy server) may be silent",
    )
    REQUEST_RETRIES: int = Field(default=1, ge=0, le=10, description="attempts at a fetch that broke before its first byte; at least one")
    RBAC_SERVER_URL: HttpUrl | None = Field(default=None, description="asked at initialize, download and start")
    POLICY_SERVER_URL: HttpUrl | None = Field(
        default=None, description="asked for each asset at start and download instead of its allow and deny lists, as by ocean-node"
    )
    POLICY_SERVER_API_KEY: str | None = Field(default=None, repr=False, description="sent to the policy server as X-API-Key")
    C2D_DENY_BY_DEFAULT: bool = Field(
        default=False, description="1: a data set with two empty trust lists allows no algorithm; 0: it allows every published one"
    )
    C2D_CHECK_METADATA_HASH: bool = Field(default=True, description="1: a DDO must have the hash that is recorded on chain")
    C2D_LENIENT_STOP: bool = Field(
        default=False, description="1: accept stops signed as ocean.js 3.3.3 to 3.4.6 signs them, without a nonce"
    )
    C2D_ORDERS_ONCE: bool = Field(default=False, description="1: an order pays for one job; 0: for any number of jobs until it expires")
    PRIVATE_PROVIDER: bool = Field(default=False, description="passed on to the RBAC server")
    USE_CHAIN_PROOF: bool = Field(
        default=False, description="1: each download is recorded on chain (orderExecuted), and the Provider pays the gas"
    )
    USE_HTTP_PROOF: HttpUrl | None = Field(default=None, description="URL that is notified of each download")
    AUTHORIZED_DECRYPTERS: Addresses = Field(default=(), description="addresses that may decrypt DDOs; not set: everybody")
    REDIS_CONNECTION: str | None = Field(default=None, repr=False, description="accepted, not needed: nonces and tokens are in PostgreSQL")
    STORAGE_PATH: str | None = Field(default=None, description="accepted, not needed: nonces and tokens are in PostgreSQL")
    OPERATOR_SERVICE_URL: str | None = Field(default=None, repr=False, description="accepted, not needed: jobs run here")

    @field_validator("NETWORK_URL")
    @classmethod
    def _rpc(cls, value: dict[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
        if not all(is_http(url) for urls in value.values() for url in urls):
            raise ValueError("must be http:// or https:// URLs of JSON-RPC nodes")
        return value

    @field_validator("ADDRESS_FILE")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            ocean_tokens(value)
        return value

    @model_validator(mode="after")
    def _same_chains(self) -> ProviderSettings:
        keys, urls = set(self.PROVIDER_PRIVATE_KEY), set(self.NETWORK_URL)
        if keys and EVERY_CHAIN not in keys and not (urls and urls <= keys):
            raise ValueError("PROVIDER_PRIVATE_KEY must have a key for each chain of NETWORK_URL, and NETWORK_URL must name its chains")
        return self

    @property
    def on(self) -> bool:
        """Whether the Provider API is on."""
        return bool(self.PROVIDER_PRIVATE_KEY and self.NETWORK_URL)

    def key(self, chain_id: int) -> str | None:
        """The Provider's private key on a chain, or None."""
        return self.PROVIDER_PRIVATE_KEY.get(chain_id) or self.PROVIDER_PRIVATE_KEY.get(EVERY_CHAIN)

    def address(self, chain_id: int) -> str | None:
        """The Provider's address on a chain, checksummed, or None."""
        from c2d.crypto import signatures

        key = self.key(chain_id)
        return signatures.address_of(key) if key else None

    def fee_token(self, chain_id: int) -> str | None:
        """The token that fees are paid in on a chain. None: it is not known."""
        token = self.PROVIDER_FEE_TOKEN.get(chain_id) or self.PROVIDER_FEE_TOKEN.get(EVERY_CHAIN)
        return token or (ocean_tokens(self.ADDRESS_FILE).get(chain_id) if self.ADDRESS_FILE else None)

    def shown(self) -> dict[str, str]:
        """The settings that are set, by name, for a person to read. Of keys and RPC URLs it has only addresses and numbers."""
        from c2d.crypto import signatures

        shown = {name: str(getattr(self, name)) for name in self.model_fields_set if name not in (*_SECRET, *NOT_NEEDED)}
        for chain, key in self.PROVIDER_PRIVATE_KEY.items():
            shown[f"address on {_chain(chain)}"] = signatures.address_of(key)
        for chain, urls in self.NETWORK_URL.items():
            shown[f"RPC URLs of {_chain(chain)}"] = str(len(urls))
        return shown

    def notes(self) -> list[str]:
        """What a person should know about these settings: those that are set without effect."""
        return [f"{name}: not needed; {why}" for name, why in NOT_NEEDED.items() if getattr(self, name)]


def _chain(chain_id: int) -> str:
    return "every chain" if chain_id == EVERY_CHAIN else f"chain {chain_id}"


def ocean_tokens(address_file: Path) -> dict[int, str]:
    """Ocean's token on each chain.

    :raises ValueError: the file cannot be read, or is not Ocean's address file.
    """
    try:
        networks = json.loads(address_file.read_text())
        return {
            int(n["chainId"]): str(n["Ocean"]) for n in networks.values() if isinstance(n, dict) and n.get("chainId") and n.get("Ocean")
        }
    except OSError as e:
        raise ValueError(f"cannot be read ({e.strerror})") from None
    except (ValueError, TypeError, AttributeError):
        raise ValueError("must be Ocean's address file: a JSON object of networks with chainId and Ocean") from None
