"""The files and secret texts of a job, in clear or sealed to the operator's key (:mod:`c2d.crypto.ecies`)."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from c2d.contract import RESERVED_HEADERS
from c2d.jobs.patterns import HEADER_NAME

MOST_FILES = 1000
"""Files that all assets of a job may have together. Each is sealed separately, which takes time."""


class Closed(BaseModel):
    """A part of a job. Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sealed(Closed):
    """A value sealed to the operator's key, as `c2d seal` prints it."""

    sealed: str = Field(pattern=r"^0x[0-9a-f]+$", max_length=256 * 1024, description="ECIES ciphertext, hex")


class File(Closed):
    """A file to fetch."""

    type: Literal["url"] = "url"
    url: str = Field(max_length=8192, description="an http:// or https:// URL")
    method: Literal["GET", "POST"] = "GET"
    headers: dict[Annotated[str, Field(pattern=HEADER_NAME)], Annotated[str, Field(max_length=8192)]] = Field(
        default_factory=dict, max_length=64
    )
    checksum: str | None = Field(
        default=None, pattern=r"^(sha256:)?[0-9a-f]{64}$", description="sha256 of the content; the job fails if the content differs"
    )

    @field_validator("url")
    @classmethod
    def _fetchable(cls, url: str) -> str:
        if not re.match(r"^https?://", url):
            raise ValueError("must begin with http:// or https://")
        try:
            parts = urlsplit(url)
            has_host, _ = bool(parts.hostname), parts.port
        except ValueError:
            has_host = False
        if not has_host or re.search(r"[\s\x00-\x1f\x7f\\]", url):
            raise ValueError("must be a URL with a host and without spaces or control characters")
        if "@" in parts.netloc:
            raise ValueError("must not contain a user name or password; use headers for credentials")
        return url

    @field_validator("headers")
    @classmethod
    def _harmless(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"{name} is set by the transfer itself; remove it")
            if not value.isprintable():
                raise ValueError(f"the value of {name} must be printable text on one line")
        return headers

    @field_validator("checksum")
    @classmethod
    def _with_algorithm(cls, checksum: str | None) -> str | None:
        return checksum if checksum is None or checksum.startswith("sha256:") else f"sha256:{checksum}"


def _sealed_or(kind: str) -> Discriminator:
    # Chosen by the key `sealed`, so that the error about an invalid File does not also complain that it is not a Sealed.
    return Discriminator(lambda v: "~sealed" if isinstance(v, Sealed) or (isinstance(v, dict) and "sealed" in v) else kind)


SealableFile = Annotated[Annotated[File, Tag("~file")] | Annotated[Sealed, Tag("~sealed")], _sealed_or("~file")]
SealableText = Annotated[Annotated[str, Field(max_length=4096), Tag("~text")] | Annotated[Sealed, Tag("~sealed")], _sealed_or("~text")]
Files = Annotated[list[SealableFile], Field(max_length=MOST_FILES)]
