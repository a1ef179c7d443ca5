"""Container registries (OCI distribution API). They are asked under guard, because a stranger names the image."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, urlencode

from c2d.hooks.guarded_http import Fetcher, Response
from c2d.market.service_files import Request

DOCKER_HUB = "registry-1.docker.io"
ANSWER_BYTES = 256 * 1024
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


def has_image(fetcher: Fetcher, image: str, digest: str) -> bool:
    """Whether the image's registry has a manifest with this digest.

    :param image: without tag. An image without a registry's name is in Docker Hub.
    :raises c2d.errors.FetchError: the registry does not answer.
    """
    registry, repository = _registry_and_repository(image)
    scheme = "http" if registry.partition(":")[0] in ("localhost", "127.0.0.1") else "https"  # as Docker has it
    url = f"{scheme}://{registry}/v2/{quote(repository)}/manifests/{quote(digest, safe=':')}"
    with fetcher.open(Request(url, "HEAD", {"Accept": _MANIFESTS})) as response:
        status, challenge = response.status, response.headers.get("www-authenticate", "")
    if status == 401 and (token := _anonymous_token(fetcher, challenge)):
        with fetcher.open(Request(url, "HEAD", {"Accept": _MANIFESTS, "Authorization": f"Bearer {token}"})) as response:
            status = response.status
    return status == 200


def _registry_and_repository(image: str) -> tuple[str, str]:
    """As Docker reads an image's name: the first part is a registry if it looks like a host."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (DOCKER_HUB, rest) if first in ("docker.io", "index.docker.io") else (first, rest)
    return DOCKER_HUB, image if slash else f"library/{image}"


def _anonymous_token(fetcher: Fetcher, challenge: str) -> str | None:
    """The token that the registry's token server gives to anybody.

    :param challenge: the WWW-Authenticate header of the registry.
    """
    parameters = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer ") or "realm" not in parameters:
        return None
    query = urlencode({name: parameters[name] for name in ("service", "scope") if name in parameters})
    with fetcher.open(Request(f"{parameters['realm']}?{query}")) as response:
        return _token_in(response)


def _token_in(response: Response) -> str | None:
    try:
        body = json.loads(b"".join(response.chunks(ANSWER_BYTES)))
        token = body.get("token") or body.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        return None
    return token if isinstance(token, str) and token.isprintable() else None
