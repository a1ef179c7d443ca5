"""One runner process for the test session, and a namespace of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from runner_client import Cluster, Runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    it = Runner(tmp_path_factory.mktemp("runner"))
    yield it
    it.stop()


@pytest.fixture
def cluster(runner: Runner) -> Cluster:
    """A namespace of its own for the test."""
    return Cluster(runner.kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
