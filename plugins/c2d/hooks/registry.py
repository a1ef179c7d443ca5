"""Whether an image is in its registry (OCI distribution API), asked under guard: the image's name is a stranger's."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, urlencode

from c2d.hooks.guarded_http import Answer, Fetcher
from c2d.market.service_files import Request

HUB = "registry-1.docker.io"
ANSWER_BYTES = 256 * 1024
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


def has(fetcher: Fetcher, image: str, digest: str) -> bool:
    """Whether the registry has a manifest of ``image`` with this digest.

    :param image: without tag; one without a registry's name is Docker Hub's.
    :raises c2d.errors.FetchError: the registry cannot be asked.
    """
    registry, name = _place(image)
    scheme = "http" if registry.partition(":")[0] in ("localhost", "127.0.0.1") else "https"  # as Docker has it
    url = f"{scheme}://{registry}/v2/{quote(name)}/manifests/{quote(digest, safe=':')}"
    with fetcher.open(Request(url, "HEAD", {"Accept": _MANIFESTS})) as answer:
        status, challenge = answer.status, answer.headers.get("www-authenticate", "")
    if status == 401 and (token := _token(fetcher, challenge)):
        with fetcher.open(Request(url, "HEAD", {"Accept": _MANIFESTS, "Authorization": f"Bearer {token}"})) as answer:
            status = answer.status
    return status == 200


def _place(image: str) -> tuple[str, str]:
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (HUB, rest) if first in ("docker.io", "index.docker.io") else (first, rest)
    return HUB, image if slash else f"library/{image}"


def _token(fetcher: Fetcher, challenge: str) -> str | None:
    """What a registry gives to anybody who wants to pull."""
    given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer ") or "realm" not in given:
        return None
    query = urlencode({name: given[name] for name in ("service", "scope") if name in given})
    with fetcher.open(Request(f"{given['realm']}?{query}")) as answer:
        return _token_in(answer)


def _token_in(answer: Answer) -> str | None:
    try:
        said = json.loads(b"".join(answer.chunks(ANSWER_BYTES)))
        token = said.get("token") or said.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        return None
    return token if isinstance(token, str) and token.isprintable() else None
