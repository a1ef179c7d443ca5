"""A market around our Provider: a real chain, a metadata cache, a data owner's web server, and the unmodified client library."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx

from local.market.chain import ONE, Asset, Chain
from local.market.metadata_cache import MetadataCache
from local.market.ocean_js import OceanJs, Published

# The public test key of Ocean's provider repository.
PROVIDER_KEY = "0xfd5c1ccea015b6d663618850824154a3b3fb2882c46cefb05b9a93fea8c3d215"
CACHE_KEY = "0x" + "18" * 32
HOUR = 3600
NUMBERS: list[str] = []
"""Measurements, which are printed at the end."""
ALGORITHM = b"import os\nprint('counting', os.listdir(os.environ['INPUTS']))\n"
DATA = b"species,mass\nAdelie,3700\n"
ENTRYPOINT = "python3 $ALGO"
DIGEST = "sha256:" + "ab" * 32
CONTAINER = {"image": "c2d.test/python-data", "tag": "1", "entrypoint": ENTRYPOINT, "checksum": DIGEST}

ENVIRONMENTS = [
    {"id": "free", "maxJobs": 100, "maxJobDuration": 7200, "priceMinute": 0},
    {"id": "paid", "maxJobs": 100, "maxJobDuration": 200000, "priceMinute": 1},
]


class Server:
    """Run an HTTP server on a loopback port. `answer` answers its requests."""

    def __init__(self, answer: Any):
        handler = type(
            "Handler", (BaseHTTPRequestHandler,), {"do_GET": answer, "do_POST": answer, "do_HEAD": answer, "log_message": _quiet}
        )
        handler.protocol_version = "HTTP/1.1"  # type: ignore[attr-defined]
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _quiet(*arguments: Any) -> None:
    pass


def answer(request: BaseHTTPRequestHandler, content: bytes, code: int = 200) -> None:
    request.send_response(code)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


@contextlib.contextmanager
def files(contents: dict[str, bytes]) -> Iterator[str]:
    """Run a data owner's web server. Yields its URL. `contents` has the files by path; tests may change it."""

    def serve(request: BaseHTTPRequestHandler) -> None:
        content = contents.get(request.path)
        answer(request, content or b"", 404 if content is None else 200)

    server = Server(serve)
    yield server.url
    server.close()


@dataclass
class Calls:
    """Requests to the RPC: `trips` counts HTTP requests, `methods` lists their calls, including those in batches."""

    url: str = ""
    trips: int = 0
    methods: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        with self.lock:
            self.trips, self.methods = 0, []


@contextlib.contextmanager
def counted(rpc: str) -> Iterator[Calls]:
    """Run a proxy in front of an RPC that counts round trips."""
    calls, to = Calls(), urlsplit(rpc)
    here = threading.local()

    def forward(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        asked = json.loads(body)
        with calls.lock:
            calls.trips += 1
            calls.methods += [each["method"] for each in (asked if isinstance(asked, list) else [asked])]
        if not hasattr(here, "connection"):
            here.connection = http.client.HTTPConnection(to.hostname or "", to.port)
        here.connection.request("POST", "/", body, {"Content-Type": "application/json"})
        response = here.connection.getresponse()
        answer(request, response.read(), response.status)

    server = Server(forward)
    calls.url = server.url
    yield calls
    server.close()


@dataclass
class Market:
    """The parties of a market. `publisher` and `consumer` have coins and OCEAN; `data_url` serves /table.csv and /algorithm.py."""

    chain: Chain
    js: OceanJs
    cache: MetadataCache
    data_url: str
    container: dict[str, Any]

    def __post_init__(self) -> None:
        _, self.publisher, self.consumer, self.stranger, self.other_publisher = self.chain.accounts[:5]
        for account in (self.publisher, self.consumer, self.stranger):
            self.chain.transfer(self.chain.ocean, self.chain.owner.address, account.address, 1000 * ONE)
        self.environment = {each["id"]: each for each in self.js.environments()}

    def file(self, path: str) -> dict[str, Any]:
        return {"type": "url", "url": self.data_url + path, "method": "GET"}

    def dataset(self, name: str = "penguins", **more: Any) -> Published:
        return self._known(self.js.publish(self.publisher, name, [self.file("/table.csv")], **more))

    def algorithm(self, path: str = "/algorithm.py", **more: Any) -> Published:
        return self._known(self.js.publish(self.publisher, "counting", [self.file(path)], algorithm=self.container, **more))

    def _known(self, published: Published) -> Published:
        self.cache.await_asset(published.did, published.tx)
        return published

    def asset(self, published: Published) -> Asset:
        """A published asset as the chain's functions expect it."""
        return Asset(published.owner.address, published.nft, published.datatoken)

    def trust(self, algorithm: Published, **changes: Any) -> dict[str, Any]:
        """Compute rules of a data set that trust only this algorithm."""
        return {"publisherTrustedAlgorithms": [{**self.js.trusted(algorithm), **changes}]}

    def initialize(
        self, datasets: list[dict[str, Any]], algorithm: dict[str, Any], environment: str, hours: float = 1, consumer: str = ""
    ) -> dict[str, Any]:
        valid_until = self.chain.now() + int(hours * HOUR)
        return self.js.initialize_compute(consumer or self.consumer.address, datasets, algorithm, environment, valid_until)

    def buy(self, datasets: list[Published], algorithm: Published, environment: str, hours: float = 1) -> tuple[list[Any], dict[str, Any]]:
        """Order all assets of a job as the library's examples do. Returns the job's references to the data sets and the algorithm."""
        offer = self.initialize([d.order() for d in datasets], algorithm.order(), environment, hours)
        paid = []
        for published, asset in zip([*datasets, algorithm], [*offer["datasets"], offer["algorithm"]], strict=True):
            if not asset.get("validOrder"):
                self.chain.send(published.owner.address, "ERC20Template", published.datatoken, "mint", self.consumer.address, ONE)
            tx = self.js.order(self.consumer, self.environment[environment]["consumerAddress"], asset)
            paid.append(published.order(tx))
        return paid[:-1], paid[-1]


@dataclass
class Place:
    """The market and what is behind it: `runs` replaces Airflow's run table, `rpc` counts the Provider's requests to the chain."""

    market: Market
    runs: Any
    rpc: Calls
    contents: dict[str, bytes]
    variables: dict[str, str] = field(repr=False)


@contextlib.contextmanager
def place(chain: Chain, database_url: str, folder: Any, runs: Any) -> Iterator[Place]:
    """Run a market with our Provider, without Airflow. tests/e2e/test_market.py has it with Airflow."""
    from local.market import metadata_cache, ocean_js

    contents = {"/table.csv": DATA, "/algorithm.py": ALGORITHM}
    with contextlib.ExitStack() as stack:
        data_url = stack.enter_context(files(contents))
        rpc = stack.enter_context(counted(chain.url))
        since = int(chain.rpc("eth_blockNumber"), 16) + 1  # ignores what other tests have published: their Providers have stopped
        cache = stack.enter_context(metadata_cache.running(chain, CACHE_KEY, since=since))
        (folder / "environments.yaml").write_text(json.dumps({"environments": ENVIRONMENTS}))
        variables = {
            "OPERATOR_PRIVATE_KEY": "0x" + "51" * 32,
            "C2D_DATABASE_URL": database_url,
            "C2D_RESULTS_PATH": str(folder),
            "C2D_ENVIRONMENTS": str(folder / "environments.yaml"),
            "PROVIDER_PRIVATE_KEY": json.dumps({str(chain.chain_id): PROVIDER_KEY}),
            "NETWORK_URL": json.dumps({str(chain.chain_id): rpc.url}),
            "AQUARIUS_URL": cache.url,
            "ADDRESS_FILE": str(chain.address_file),
            "ALLOW_NON_PUBLIC_IP": "1",
        }
        url = stack.enter_context(provider(variables, runs))
        js = stack.enter_context(ocean_js.running(chain, url, cache.url))
        yield Place(Market(chain, js, cache, data_url, CONTAINER), runs, rpc, contents, variables)


@contextlib.contextmanager
def provider(variables: dict[str, str], runs: Any) -> Iterator[str]:
    """Run our Provider with these settings. Yields its URL for clients."""
    from c2d.api.provider.trailing_slash import PROVIDER_PATH
    from c2d.settings import installation
    from tests.conformance.airflow_app import serving
    from tests.conformance.provider_server import provider_app

    _, app = provider_app(installation.read(variables), runs)
    with serving(app) as url:
        yield url + PROVIDER_PATH


@dataclass
class Job:
    """What a consumer has bought, as references for a job."""

    dataset: dict[str, Any]
    algorithm: dict[str, Any]
    environment: str


def start(market: Market, job: Job, **changes: Any) -> dict[str, Any]:
    """Start a job and stop it at once, because an order can be used for one job at a time. Returns its first status."""
    order = Job(**{**vars(job), **changes})
    started = market.js.start(market.consumer, order.environment, order.dataset, order.algorithm)
    market.js.stop(market.consumer, order.dataset["documentId"], started["jobId"])
    return started


def price_times(market: Market, datasets: list[Published], algorithm: Published, env: str, until: int) -> list[float]:
    """Seconds of sixty requests for a price, sorted. They are only printed: no test depends on them."""
    url, times = f"{market.js.provider_url}/api/services/initializeCompute", []
    body = {"datasets": [d.order() for d in datasets], "algorithm": algorithm.order(), "consumerAddress": market.consumer.address}
    body["compute"] = {"env": env, "validUntil": until}
    with httpx.Client() as client:
        for _ in range(60):
            begun = time.perf_counter()
            answer = client.post(url, json=body)
            times.append(time.perf_counter() - begun)
            assert answer.json()["algorithm"]["datatoken"] == algorithm.datatoken
    return sorted(times)
