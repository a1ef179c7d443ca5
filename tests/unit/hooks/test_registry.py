"""has_image, with a registry on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from c2d.errors import UnsafeAddress
from c2d.hooks import registry
from c2d.hooks.guarded_http import Fetcher
from tests.conformance.provider_server import Files

OPEN = Fetcher(allow_non_public=True, timeout=5)
GUARDED = Fetcher(timeout=5)


@pytest.fixture
def served() -> Iterator[Files]:
    server = Files()
    yield server
    server.shutdown()
    server.server_close()


def test_a_registry_is_asked_with_the_anonymous_token_that_it_gives(served: Files) -> None:
    digest = "sha256:" + "ab" * 32
    path = f"/v2/team/algo/manifests/{digest}"
    image = f"localhost:{served.server_port}/team/algo"
    assert not registry.has_image(OPEN, image, digest)
    served.answers[path] = (
        401,
        {"WWW-Authenticate": f'Bearer realm="{served.url}/token",service="here",scope="repository:team/algo:pull"'},
    )
    served.contents["/token"] = b'{"token": "T"}'
    assert not registry.has_image(OPEN, image, digest)  # the registry refuses the token too
    assert served.asked[-1][2]["Authorization"] == "Bearer T"
    assert served.asked[-2][1] == "/token?service=here&scope=repository%3Ateam%2Falgo%3Apull"
    served.contents["/token"] = b"[]"
    assert not registry.has_image(OPEN, image, digest) and "Authorization" not in served.asked[-1][2]
    served.answers[path] = (200, {})
    assert registry.has_image(OPEN, image, digest)
    with pytest.raises(UnsafeAddress):
        registry.has_image(GUARDED, image, digest)


def test_an_images_registry_is_the_one_that_docker_would_ask() -> None:
    assert registry._registry_and_repository("node") == ("registry-1.docker.io", "library/node")
    assert registry._registry_and_repository("oceanprotocol/algo_dockers") == ("registry-1.docker.io", "oceanprotocol/algo_dockers")
    assert registry._registry_and_repository("docker.io/library/node") == ("registry-1.docker.io", "library/node")
    assert registry._registry_and_repository("ghcr.io/a/b") == ("ghcr.io", "a/b")
    assert registry._registry_and_repository("localhost:5000/a") == ("localhost:5000", "a")
