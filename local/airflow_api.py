"""A client of Airflow's REST API, for the stack, the demo and the tests."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import httpx

from local.airflow import USER

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")


class Client:
    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self.password = password
        # without the environment's proxies: the server is on this machine
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def log_in(self) -> None:
        """Get a token for all further requests.

        :raises httpx.HTTPError: Airflow cannot be reached, or rejects the password.
        """
        answer = self.http.post("/auth/token", json={"username": USER, "password": self.password})
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path below /api/v2.

        :raises httpx.HTTPError: Airflow cannot be reached, or answers with an error.
        """
        answer = self.http.get(f"/api/v2{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """The response to any request below /api/v2, errors included."""
        return self.http.request(method, f"/api/v2{path}", json=body)

    def health(self) -> dict[str, str]:
        """`healthy` or `unhealthy` for each component; empty while the API server does not answer."""
        try:
            answer = self.http.get("/api/v2/monitor/health", timeout=5)
            health = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return {}
        return {name: (health.get(name) or {}).get("status") or "unhealthy" for name in COMPONENTS}

    def warm_up(self) -> None:
        """Make the API server build the API that tasks use. Its first request takes seconds, which the first task would have to wait."""
        with contextlib.suppress(httpx.HTTPError):
            self.http.get("/execution/health", timeout=60)

    def dags_parsed_since(self, moment: str) -> list[dict[str, Any]]:
        """The DAGs that the DAG processor has read after a moment, in the format of :func:`now`."""
        return [dag for dag in self.get("/dags", limit=100)["dags"] if (dag.get("last_parsed_time") or "") > moment]

    def import_errors_since(self, moment: str) -> list[dict[str, Any]]:
        """The DAG files that could not be imported after a moment."""
        return [error for error in self.get("/importErrors")["import_errors"] if error["timestamp"] > moment]


def now() -> str:
    """The current time in the format of Airflow's API: ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
