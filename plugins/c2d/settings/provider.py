"""What Ocean's Provider is told, under the Provider's own names: the environment file of such a deployment works as it is.

``PROVIDER_PRIVATE_KEY`` and ``NETWORK_URL`` are one value, or a JSON object with one for each chain id. A chain may have several URLs, as
a JSON list or with commas between them; the second is asked where the first does not answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from c2d.jobs.patterns import ADDRESS

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1
EVERY_CHAIN = 0
"""Stands in a map by chain where one value was given, for whichever chain there is."""


class Variables(BaseModel):
    """Settings as an environment file gives them: one that is empty is not set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if not (isinstance(value, str) and not value.strip())}


def _private_key(text: str) -> str:
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text) or not 0 < int(text, 16) < CURVE_ORDER:
        raise ValueError("must be a secp256k1 private key: 0x and 64 hex digits (`c2d keygen` makes one)")
    return text


def _by_chain(value: Any) -> Any:
    """One value, or a JSON object with one for each chain id, as a map by chain id."""
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


def _url_list_by_chain(value: Any) -> Any:
    if isinstance(value, str) and value.strip().startswith("["):
        value = {EVERY_CHAIN: value}
    value = _by_chain(value)
    return {chain: _urls(each) for chain, each in value.items()} if isinstance(value, dict) else value


def listed(value: Any) -> Any:
    """A JSON list, as the incumbent has it, or names with commas between them; in lower case, for comparison."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip().startswith("[") else [v for v in value.split(",") if v.strip()]
        except ValueError:
            raise ValueError('must be a JSON list of texts, such as ["0x..."]') from None
    return tuple(v.strip().lower() if isinstance(v, str) else v for v in value) if isinstance(value, (list, tuple)) else value


PrivateKey = Annotated[str, AfterValidator(_private_key)]
Chains = Annotated[dict[int, PrivateKey], BeforeValidator(_by_chain)]
AddressByChain = Annotated[dict[int, Annotated[str, Field(pattern=ADDRESS)]], BeforeValidator(_by_chain)]
UrlsByChain = Annotated[dict[int, Annotated[tuple[str, ...], Field(min_length=1)]], BeforeValidator(_url_list_by_chain)]
Addresses = Annotated[tuple[Annotated[str, Field(pattern=ADDRESS)], ...], BeforeValidator(listed)]

# Accepted, so that a Provider's file works, and answered by something else here.
ANSWERED = {
    "REDIS_CONNECTION": "nonces and tokens are in the jobs' PostgreSQL",
    "STORAGE_PATH": "nonces and tokens are in the jobs' PostgreSQL",
    "OPERATOR_SERVICE_URL": "jobs run here",
}


class ProviderSettings(Variables):
    """The Provider API, the chains, and what is fetched for strangers. Names and defaults are Ocean Provider's."""

    PROVIDER_PRIVATE_KEY: Chains = Field(default_factory=dict, repr=False, description="the API is on where this and NETWORK_URL are set")
    NETWORK_URL: UrlsByChain = Field(default_factory=dict, repr=False, description="RPC URLs; repr hides them, for they may hold keys")
    AQUARIUS_URL: str | None = Field(default=None, description="the metadata cache")
    ADDRESS_FILE: Path | None = Field(default=None, description="Ocean's contracts, JSON")
    PROVIDER_FEE_TOKEN: AddressByChain = Field(default_factory=dict, description="Ocean's token, by ADDRESS_FILE, where it is not set")
    ALLOW_NON_PUBLIC_IP: bool = Field(default=False, description="fetch from private, loopback and link-local addresses too")
    IPFS_GATEWAY: str | None = None
    ARWEAVE_GATEWAY: str | None = None
    MAX_CHECKSUM_LENGTH: int = Field(default=0, ge=0, description="bytes of a file whose checksum is computed; 0: any")
    REQUEST_TIMEOUT: float = Field(default=10, gt=0, le=300, description="seconds that a server may be silent")
    REQUEST_RETRIES: int = Field(default=1, ge=0, le=10, description="attempts at a fetch that broke before its first byte; at least one")
    RBAC_SERVER_URL: str | None = None
    POLICY_SERVER_URL: str | None = Field(
        default=None, description="asked at each start and download (as ocean-node), in place of credentials"
    )
    POLICY_SERVER_API_KEY: str | None = Field(default=None, repr=False)
    C2D_DENY_BY_DEFAULT: bool = Field(default=False, description="a data set whose trust lists are both empty allows no algorithm")
    C2D_CHECK_METADATA_HASH: bool = Field(default=True, description="a DDO must be the one whose hash is on chain")
    C2D_LENIENT_STOP: bool = Field(default=False, description="take the stops of ocean.js 3.3.3 to 3.4.6, signed without nonce")
    C2D_ORDERS_ONCE: bool = Field(default=False, description="an order is good for one job")
    PRIVATE_PROVIDER: bool = Field(default=False, description="told to the RBAC server")
    USE_CHAIN_PROOF: bool = Field(default=False, description="write each download on the chain")
    USE_HTTP_PROOF: str | None = Field(default=None, description="a URL that is told of each download")
    AUTHORIZED_DECRYPTERS: Addresses = Field(default=(), description="who may ask to decrypt a DDO; unset: anybody")
    REDIS_CONNECTION: str | None = Field(default=None, repr=False)
    STORAGE_PATH: str | None = None
    OPERATOR_SERVICE_URL: str | None = Field(default=None, repr=False)

    @field_validator("AQUARIUS_URL", "IPFS_GATEWAY", "ARWEAVE_GATEWAY", "RBAC_SERVER_URL", "USE_HTTP_PROOF", "POLICY_SERVER_URL")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not is_http(value):
            raise ValueError("must be an http:// or https:// URL")
        return value

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
        """Whether there is a Provider API."""
        return bool(self.PROVIDER_PRIVATE_KEY and self.NETWORK_URL)

    def key(self, chain_id: int) -> str | None:
        """The Provider's private key on a chain."""
        return self.PROVIDER_PRIVATE_KEY.get(chain_id) or self.PROVIDER_PRIVATE_KEY.get(EVERY_CHAIN)

    def address(self, chain_id: int) -> str | None:
        """The Provider's address on a chain, checksummed."""
        from c2d.crypto import signatures

        key = self.key(chain_id)
        return signatures.address_of(key) if key else None

    def fee_token(self, chain_id: int) -> str | None:
        """The token that fees are paid in on a chain; None where it is not known."""
        given = self.PROVIDER_FEE_TOKEN.get(chain_id) or self.PROVIDER_FEE_TOKEN.get(EVERY_CHAIN)
        return given or (ocean_tokens(self.ADDRESS_FILE).get(chain_id) if self.ADDRESS_FILE else None)

    def shown(self) -> dict[str, str]:
        """What is set, for a person; of keys and RPC URLs only the addresses, the chains and the number of URLs."""
        from c2d.crypto import signatures

        shown = {name: str(getattr(self, name)) for name in self.model_fields_set if name not in (*_SECRET, *ANSWERED)}
        for chain, key in self.PROVIDER_PRIVATE_KEY.items():
            shown[f"address on {_chain(chain)}"] = signatures.address_of(key)
        for chain, urls in self.NETWORK_URL.items():
            shown[f"RPC URLs of {_chain(chain)}"] = str(len(urls))
        return shown

    def notes(self) -> list[str]:
        """What is to be said of the settings that are given and do not act."""
        return [f"{name}: not needed; {why}" for name, why in ANSWERED.items() if getattr(self, name)]


_SECRET = ("PROVIDER_PRIVATE_KEY", "NETWORK_URL", "POLICY_SERVER_API_KEY")


def _chain(chain_id: int) -> str:
    return f"chain {chain_id}" if chain_id else "every chain"


def ocean_tokens(path: Path) -> dict[int, str]:
    """Ocean's token on each chain, by the address file.

    :raises ValueError: it cannot be read, or is none.
    """
    try:
        networks = json.loads(path.read_text())
        return {
            int(n["chainId"]): str(n["Ocean"]) for n in networks.values() if isinstance(n, dict) and n.get("chainId") and n.get("Ocean")
        }
    except OSError as e:
        raise ValueError(f"cannot be read ({e.strerror})") from None
    except (ValueError, TypeError, AttributeError):
        raise ValueError("must be Ocean's address file: a JSON object of networks with chainId and Ocean") from None


def is_http(url: Any) -> bool:
    try:
        return isinstance(url, str) and bool(re.fullmatch(r"https?://[^\s]+", url)) and bool(urlsplit(url).hostname)
    except ValueError:
        return False
