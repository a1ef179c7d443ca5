"""Patterns and limits of single fields, for jobs, settings and requests alike, and the sentences that explain them."""

from __future__ import annotations

DID = r"^did:op:[A-Za-z0-9]{1,128}$"
IMAGE = r"^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$"
TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
ADDRESS = r"^0x[0-9a-fA-F]{40}$"
TRANSACTION = r"^0x[0-9a-fA-F]{64}$"
SERVICE_ID = r"^[^\x00-\x1f\x7f-\x9f]{1,256}$"
HTTP_URL = r"^https?://[^\s]+$"
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"

YEAR = 366 * 24 * 3600
"""Seconds; the upper bound of every duration."""

SENTENCES = {
    DID: "must be did:op: followed by 1 to 128 letters or digits",
    IMAGE: "must be an image name in lower case without tag, such as library/python",
    TAG: "must be an image tag: letters, digits, '_', '.', '-', at most 128",
    DIGEST: "must be sha256: followed by 64 hex digits in lower case",
    ADDRESS: "must be 0x followed by 40 hex digits",
    HEADER_NAME: "must be a valid HTTP header name",
    TRANSACTION: "must be 0x followed by 64 hex digits",
    SERVICE_ID: "must be 1 to 256 characters, no control characters",
    HTTP_URL: "must be an http:// or https:// URL",
}
"""What a value must look like to match a pattern. The sentence continues ``<field>:``."""


def is_text(text: str) -> bool:
    """Whether PostgreSQL can store the text: valid UTF-8 without NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can express and UTF-8 cannot
        return False
    return "\x00" not in text
