"""Where a file of an asset comes from. A new kind (ipfs, arweave) is one more class with from_field(), request() and outdated().

An asset that is named by transaction (c2d_stages.remote) has its own kind.
"""

import re
from dataclasses import dataclass, field
from typing import Protocol

from c2d_stages.fields import Field

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Set by the download itself: a resumed, identity-coded request is not the dataset owner's to change.
OWN_HEADERS = frozenset(
    (
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "range",
        "if-range",
        "accept-encoding",
    )
)


@dataclass(frozen=True)
class Request:
    """One HTTP request. `headers` are the asset's secrets: they go to the first host only."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)  # of a POST


class Source(Protocol):
    @property
    def checksum(self) -> str | None:
        """The sha256 that the asset promises: 64 hex digits."""

    def request(self) -> Request:
        """What to ask for; called anew for each attempt."""

    def outdated(self, status: int) -> bool:
        """Whether a refusal with this HTTP status is of the last request alone, so that the next one may succeed."""


@dataclass(frozen=True)
class UrlSource:
    """Ocean's file object of type "url"."""

    url: str = field(repr=False)
    method: str
    headers: dict[str, str] = field(repr=False)
    checksum: str | None
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def from_field(cls, file: Field) -> "UrlSource":
        url = file.get("url")
        if not url.text().lower().startswith(("http://", "https://")):
            raise url.wrong("must start with http:// or https://")
        headers = file.get("headers")
        method = file.get("method")
        if isinstance(method.value, str):
            method = Field(method.name, method.value.upper())
        chosen, body = method.choice(("GET", "POST"), "GET"), file.get("body")
        if body.value is not None and chosen != "POST":
            raise body.wrong("must be absent where the method is not POST")
        content = b"" if body.value is None else body.text().encode()
        return cls(url.text().strip(), chosen, _headers(headers), _checksum(file.get("checksum")), content)

    def request(self) -> Request:
        return Request(self.url, self.method, self.headers, self.body)

    def outdated(self, status: int) -> bool:
        return False


@dataclass(frozen=True)
class Text:
    """A file whose content stands in stage.json: what a contract answered to the operator."""

    content: bytes = field(repr=False)

    @classmethod
    def from_field(cls, file: Field) -> "Text":
        text = file.get("text")
        if not isinstance(text.value, str):
            raise text.wrong("must be a text")
        return cls(text.value.encode("utf-8", "surrogatepass"))


SOURCES: dict[str, type[UrlSource] | type[Text]] = {"url": UrlSource, "text": Text}


def source_from_field(file: Field) -> Source | Text:
    return SOURCES[file.get("type").choice(tuple(SOURCES), "url")].from_field(file)


def _headers(headers: Field) -> dict[str, str]:
    """The asset's headers without OWN_HEADERS. An error never repeats a name or a value: either may be a secret."""
    result = {}
    for number, (name, value) in enumerate((headers.object() or {}).items()):
        place = Field(f"{headers.name}[{number}]", value)
        if not HEADER_NAME.fullmatch(name):
            raise place.wrong("the name must be an HTTP header name")
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not all(
            character == "\t" or (32 <= ord(character) < 256 and ord(character) != 127) for character in text
        ):
            raise place.wrong("the value must be one line of Latin-1 text")
        if name.lower() not in OWN_HEADERS:
            result[name] = text
    return result


def _checksum(checksum: Field) -> str | None:
    """The hex digits of "sha256:<64 hex>", in lower case."""
    if checksum.value is None:
        return None
    match = re.fullmatch(r"sha256:([0-9a-fA-F]{64})", checksum.text())
    if match is None:
        raise checksum.wrong("must be sha256: and 64 hex digits")
    return match[1].lower()
