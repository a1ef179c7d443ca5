from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from c2d.api.operator_service.app import create_app
from c2d.crypto import ecies
from c2d.crypto.signatures import address_of
from c2d.settings import installation
from c2d.settings.installation import Settings
from tests.conformance.provider import KEY, OTHER_KEY

OPERATOR_KEY = ecies.new_private_key()


def unprotected(client: TestClient) -> list[str]:
    """The routes of an app that do not declare who may use them.

    :raises AssertionError: the app has no routes.
    """

    def endpoints(routes: Any) -> Any:
        for route in routes:
            if hasattr(route, "original_router"):
                yield from endpoints(route.original_router.routes)
            elif getattr(route, "dependant", None):
                yield route.endpoint

    routes = list(endpoints(client.app.routes))  # type: ignore[attr-defined]
    assert len(routes) >= 14
    return [e.__name__ for e in routes if not hasattr(e, "policy")]


class Runs:
    """Records which runs were started and stopped, in place of Airflow's run table. tests/e2e uses the real one."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}
        self.stopped: list[str] = []

    def start(self, environment: str, job_id: str, conf: dict[str, Any]) -> None:
        assert job_id not in self.started, "a job has two runs"
        self.started[job_id] = conf

    def stop(self, environment: str, job_id: str) -> bool:
        self.stopped.append(job_id)
        return False

    def republish(self, environment: str, job_id: str) -> None:
        raise AssertionError("no test here publishes again")


@pytest.fixture
def variables(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "OPERATOR_PRIVATE_KEY": OPERATOR_KEY,
        "C2D_DATABASE_URL": database_url,
        "C2D_RESULTS_PATH": str(tmp_path),
        "ALLOWED_PROVIDERS": f'["{address_of(KEY)}", "{address_of(OTHER_KEY).lower()}"]',
        "ALLOWED_ADMINS": '["0xAdmin"]',
        "maxJobs": "2",
        "maxJobDuration": "300",
        "nCPU": "2",
        "priceMinute": "0.5",
        "description": "for tests",
    }


@pytest.fixture
def loaded(variables: dict[str, str]) -> Settings:
    return installation.read(variables)


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def client(loaded: Settings, runs: Runs) -> Iterator[TestClient]:
    """The API without its background threads, so that a test decides when a job is released."""
    with TestClient(create_app(loaded, runs, work=False), raise_server_exceptions=False) as c:
        yield c
