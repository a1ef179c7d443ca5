"""What all settings have in common: how the text of an environment variable becomes a value."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from c2d.jobs.patterns import ADDRESS

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1


class Variables(BaseModel):
    """Settings, each field named after its environment variable. An empty variable counts as not set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, variables: Any) -> Any:
        if not isinstance(variables, dict):
            return variables
        return {name: value for name, value in variables.items() if not (isinstance(value, str) and not value.strip())}


def is_http(url: Any) -> bool:
    """Whether ``url`` is an http:// or https:// URL with a host."""
    try:
        return isinstance(url, str) and bool(re.fullmatch(r"https?://[^\s]+", url)) and bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _http_url(url: str) -> str:
    if not is_http(url):
        raise ValueError("must be an http:// or https:// URL")
    return url


def _private_key(text: str) -> str:
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text) or not 0 < int(text, 16) < CURVE_ORDER:
        raise ValueError("must be a secp256k1 private key: 0x and 64 hex digits (`c2d keygen` makes one)")
    return text


def _lower_case_list(value: Any) -> Any:
    """A JSON list, as in the Provider's settings, or texts with commas between them; in lower case, so that they can be compared."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip().startswith("[") else [text for text in value.split(",") if text.strip()]
        except ValueError:
            raise ValueError('must be a JSON list of texts, such as ["0x..."]') from None
    return tuple(v.strip().lower() if isinstance(v, str) else v for v in value) if isinstance(value, (list, tuple)) else value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
PrivateKey = Annotated[str, AfterValidator(_private_key)]
Names = Annotated[tuple[str, ...], BeforeValidator(_lower_case_list)]
Addresses = Annotated[tuple[Annotated[str, Field(pattern=ADDRESS)], ...], BeforeValidator(_lower_case_list)]
