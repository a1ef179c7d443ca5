"""A namespace for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.runner.client import Cluster


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A namespace of its own, on the runner; or on the cluster of $C2D_TEST_KUBECONFIG, to compare the two."""
    elsewhere = os.environ.get("C2D_TEST_KUBECONFIG")
    kubeconfig = Path(elsewhere) if elsewhere else request.getfixturevalue("runner").kubeconfig
    it = Cluster(kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    it.core.create_namespace({"metadata": {"name": it.namespace}})
    yield it
    it.core.delete_namespace(it.namespace)
