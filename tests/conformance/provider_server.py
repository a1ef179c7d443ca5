"""Serves our Provider API on a loopback port, with a real chain, a metadata cache and a file server, but without Airflow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from fastapi import FastAPI

from c2d.api.operator_service.app import create_app as create_operator
from c2d.api.provider.app import create_app
from c2d.api.provider.service import ProviderService
from c2d.api.provider.trailing_slash import PROVIDER_PATH, AddTrailingSlash
from c2d.crypto import ecies
from c2d.market import service_files
from c2d.settings import installation
from local.market.chain import Asset, Chain
from tests.conformance.airflow_app import serving
from tests.conformance.conftest import Runs
from tests.unit.sample_market import PROVIDER_KEY, document, service, text_of

CODE = b"print('an algorithm')\n"


class Files(ThreadingHTTPServer):
    """A file server on a loopback port. `asked` records its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents: dict[str, bytes] = {"/algo.py": CODE, "/table.csv": b"a,b\n1,2\n"}
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Files

    def log_message(self, *arguments: Any) -> None:
        pass

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        path = self.path.split("?")[0]
        content = self.server.contents.get(path)
        status, headers = self.server.answers.get(path, (200 if content is not None else 404, {}))
        content = content or b""
        requested = self.headers.get("Range")
        if requested and status == 200:
            first, _, last = requested.removeprefix("bytes=").partition("-")
            total, content = len(content), content[int(first) : int(last) + 1]
            status, headers = 206, {**headers, "Content-Range": f"bytes {first}-{last}/{total}"}
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # a client may disconnect before the end
                self.wfile.write(content)

    do_GET = do_HEAD = do_POST = _do


@dataclass
class Market:
    """A Provider with everything around it. `url` is the providerUri for clients."""

    chain: Chain
    service: ProviderService
    runs: Runs
    files: Files
    url: str
    client: httpx.Client
    variables: dict[str, str] = field(repr=False)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def publish(self, owner: str, paths: tuple[str, ...] = ("/table.csv",), kind: str = "dataset", state: int = 0, **fields: Any) -> Asset:
        """Publish an asset with one service.

        :param fields: fields of the service; `ddo` has fields of the document.
        """
        asset = self.chain.publish(owner)
        ddo = fields.pop("ddo", {})
        of = [{"type": "url", "url": self.files.url + path, "method": "GET"} for path in paths]
        if kind == "algorithm":
            fields = {"id": "access_1", "type": "access", **fields}
        one = service(asset.nft, asset.datatoken, of=of, **{"serviceEndpoint": self.url, **fields})
        return self.describe(asset, {**document(asset.nft, [one], kind=kind), **ddo}, state)

    def describe(self, asset: Asset, ddo: dict[str, Any], state: int = 0) -> Asset:
        """Write a DDO to the chain, encrypted."""
        text = text_of(ddo)
        sealed = bytes.fromhex(service_files.encrypt(ecies.public_key(PROVIDER_KEY), text)[2:])
        self.chain.set_metadata(asset, sealed, hashlib.sha256(text).hexdigest(), state, flags=2, decryptor_url=self.url)
        self.documents[asset.did] = ddo
        return asset


def provider_app(loaded: installation.Settings, runs: Runs) -> tuple[ProviderService, FastAPI]:
    """The Provider API at its path in Airflow."""
    provider = ProviderService(create_operator(loaded, runs, work=False).state.service)
    web = FastAPI()
    web.mount(PROVIDER_PATH, create_app(provider))
    web.add_middleware(AddTrailingSlash)
    return provider, web


@contextlib.contextmanager
def serving_with(place: Market, variables: dict[str, str]) -> Iterator[httpx.Client]:
    """Run another server of the same market with other settings. Yields a client of it."""
    _, web = provider_app(installation.read({**place.variables, **variables}), place.runs)
    with serving(web) as url, httpx.Client(base_url=url + PROVIDER_PATH, timeout=30, trust_env=False) as client:
        yield client


@contextlib.contextmanager
def market(chain: Chain, variables: dict[str, str]) -> Iterator[Market]:
    """Run a market during the block.

    :param variables: settings in addition to those of the chain.
    """
    from local.market import metadata_cache

    with contextlib.ExitStack() as stack:
        served = Files()
        stack.callback(served.server_close)
        stack.callback(served.shutdown)
        # Assets of other tests are encrypted to Providers that have stopped.
        since = int(chain.rpc("eth_blockNumber"), 16) + 1
        cache = stack.enter_context(metadata_cache.running(chain, chain.accounts[9].key, since=since))
        runs = Runs()
        settings = {
            "PROVIDER_PRIVATE_KEY": PROVIDER_KEY,
            "NETWORK_URL": json.dumps({str(chain.chain_id): chain.url}),
            "AQUARIUS_URL": cache.url,
            "ADDRESS_FILE": str(chain.address_file),
            "ALLOW_NON_PUBLIC_IP": "1",
            **variables,
        }
        provider, web = provider_app(installation.read(settings), runs)
        url = stack.enter_context(serving(web)) + PROVIDER_PATH
        client = stack.enter_context(httpx.Client(base_url=url, timeout=30, trust_env=False))
        yield Market(chain, provider, runs, served, url, client, settings)
