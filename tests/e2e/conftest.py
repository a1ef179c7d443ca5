"""One stack for each platform and session. Independent jobs are sent together.

A test names its job with ``@pytest.mark.job(conf, environment)`` and gets it from the fixture ``job`` or ``ended``. All jobs of the
selected tests of a file are sent before its first test runs, so that tests wait as little as possible. ``once_running=function`` calls a
function with the job as soon as its algorithm runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.market import metadata_cache
from local.market.chain import Chain
from local.market.metadata_cache import MetadataCache
from tests.conformance.ocean_js.market import CACHE_KEY, PROVIDER_KEY
from tests.e2e.client import Job, Stack

PLATFORMS = ["laptop", *(["kubernetes"] if os.environ.get("C2D_CLUSTER") == "kubernetes" else [])]
NUMBERS: list[tuple[str, str, str]] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kubernetes: runs on a real cluster (with C2D_CLUSTER=kubernetes); for selection with -m")
    config.addinivalue_line("markers", "cluster_only: an e2e test of something that the pod runner does not have")
    config.addinivalue_line("markers", "digest: on a cluster, needs C2D_PYTHON_DATA_DIGEST, the cluster's digest of the image")
    config.addinivalue_line("markers", "job(conf, environment='ocean-compute', once_running=None): the job of an e2e test")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {"laptop": "cluster_only", "kubernetes": "" if os.environ.get("C2D_PYTHON_DATA_DIGEST") else "digest"}
    platform = {i: i.callspec.params.get("stack") for i in items if getattr(i, "callspec", None)}
    left_out = [i for i, on in platform.items() if missing.get(on) and i.get_closest_marker(missing[on])]
    items[:] = [i for i in items if i not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        if getattr(item, "callspec", None) and item.callspec.params.get("stack") == "kubernetes":
            item.add_marker("kubernetes")


@pytest.fixture(scope="session")
def cache(chain: Chain) -> Iterator[MetadataCache]:
    """The metadata cache of all stacks. It ignores what other tests have published, because their Providers have stopped."""
    since = int(chain.rpc("eth_blockNumber"), 16) + 1
    with metadata_cache.running(chain, CACHE_KEY, since=since) as it:
        yield it


@pytest.fixture(scope="session", params=PLATFORMS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, chain: Chain, cache: MetadataCache) -> Iterator[Stack]:
    """The whole system on one platform, connected to the chain."""
    settings = {
        "NETWORK_URL": json.dumps({str(chain.chain_id): chain.url}),
        "AQUARIUS_URL": cache.url,
        "ADDRESS_FILE": str(chain.address_file),
        "ALLOW_NON_PUBLIC_IP": "1",
        "PROVIDER_PRIVATE_KEY": PROVIDER_KEY,
    }
    it = Stack(request.param, tmp_path_factory.mktemp(request.param), settings)
    try:
        it.up()
        yield it
        it.show_status_lag()
    finally:
        NUMBERS.extend((it.platform, what, value) for what, value in it.numbers)
        it.remove(keep=request.session.testsfailed > 0)


@pytest.fixture(scope="module")
def batch(request: pytest.FixtureRequest, stack: Stack) -> dict[str, Job]:
    """The jobs of the selected tests of this file, by test name."""
    markers = {
        item.originalname: item.get_closest_marker("job")
        for item in request.session.items
        if item.module is request.module and item.callspec.params["stack"] == stack.platform
    }
    sent = {}
    for name, marker in markers.items():
        if marker:
            conf, environment = marker.args[0], marker.args[1] if len(marker.args) > 1 else "ocean-compute"
            sent[name] = stack.submit(conf, environment, name.removeprefix("test_").replace("_", "-"))
    calls = [(function, job) for name, job in sent.items() if (function := markers[name].kwargs.get("once_running"))]
    with ThreadPoolExecutor() as threads:  # in parallel, because the order in which the jobs run is not known
        list(threads.map(lambda call: call[0](call[1].await_running("algorithm")), calls))
    return sent


@pytest.fixture
def job(request: pytest.FixtureRequest, batch: dict[str, Job]) -> Job:
    """This test's job, which has been sent."""
    return batch[request.node.originalname]


@pytest.fixture
def ended(job: Job) -> Job:
    """This test's job, after it has ended and its objects have been deleted."""
    return job.await_end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if NUMBERS:
        terminalreporter.section("end-to-end numbers")
        for platform, what, value in NUMBERS:
            terminalreporter.write_line(f"{platform:11} {what}: {value}")
