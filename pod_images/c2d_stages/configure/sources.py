"""Where the content of an asset's file comes from. A new kind (ipfs, arweave) is one more class with the methods of Source."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from c2d.contract import RESERVED_HEADERS, TextFile, UrlFile
from c2d.errors import InvalidField

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Request:
    """One HTTP request. `headers` are the asset's secrets: they go to the first origin only."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)  # of a POST


class Source(Protocol):
    """A file that has to be downloaded."""

    @property
    def checksum(self) -> str | None:
        """The sha256 that the asset promises, in hex."""

    def request(self) -> Request:
        """The request for the file; called again for each attempt. Raises PermanentError."""

    def may_succeed_after(self, status: int) -> bool:
        """Whether a new request may succeed after the server refused the last one with this HTTP status."""


@dataclass(frozen=True)
class UrlSource:
    """A URL of the asset's owner."""

    fixed_request: Request
    checksum: str | None

    def request(self) -> Request:
        return self.fixed_request

    def may_succeed_after(self, status: int) -> bool:
        return False


@dataclass(frozen=True)
class Text:
    """A file whose content stands in stage.json."""

    content: bytes = field(repr=False)


def source_of(file: UrlFile | TextFile, name: str) -> Source | Text:
    """The source of a file.

    :param name: its path in stage.json.
    :raises InvalidField: it cannot be requested.
    """
    if isinstance(file, TextFile):
        return Text(file.text.encode("utf-8", "surrogatepass"))
    method = file.method.upper()
    if file.body is not None and method != "POST":
        raise InvalidField(f"{name}.body", "must be absent if the method is not POST")
    request = Request(file.url.strip(), method, _sendable(file.headers, f"{name}.headers"), (file.body or "").encode())
    return UrlSource(request, file.checksum.removeprefix("sha256:").lower() if file.checksum else None)


def _sendable(headers: Mapping[str, str], path: str) -> dict[str, str]:
    """The headers without reserved ones. An error repeats neither name nor value: both may be secrets."""
    for number, (name, value) in enumerate(headers.items()):
        if not HEADER_NAME.fullmatch(name):
            raise InvalidField(f"{path}[{number}]", "the name must be an HTTP header name")
        if not all(character == "\t" or (32 <= ord(character) < 256 and ord(character) != 127) for character in value):
            raise InvalidField(f"{path}[{number}]", "the value must be one line of Latin-1 text")
    return {name: value for name, value in headers.items() if name.lower() not in RESERVED_HEADERS}
