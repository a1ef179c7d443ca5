"""Pins in an IPFS Cluster, through its REST API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from c2d.errors import ResultStoreError
from c2d.hooks.ipfs import PIN_SECONDS, READ_SECONDS, IpfsApi

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class ClusterPins:
    """Pins in a cluster (:class:`c2d.hooks.ipfs.Pins`).

    :param replication_min: peers that must have a pin; 0: the cluster's default; -1: all.
    :param replication_max: peers that may have it.
    :param expires_after: seconds until the cluster unpins by itself; 0: never.
    """

    api: IpfsApi
    name: str
    replication_min: int = 0
    replication_max: int = 0
    expires_after: int = 0

    def add(self, cid: str) -> None:
        """Returns once enough peers have pinned ``cid``."""
        response = self._request("POST", f"pins/{cid}", **self._pin_options())
        if response.status_code not in (200, 202):
            if response.status_code >= 500:  # for example, too few peers are up
                raise ConnectionError(f"the IPFS cluster answered {response.status_code}")
            raise ResultStoreError(f"the IPFS cluster does not pin what was sent: it answered {response.status_code}")
        deadline = time.monotonic() + PIN_SECONDS
        pause = 0.1
        while not self._is_pinned(cid):
            if time.monotonic() > deadline:
                raise ResultStoreError("the IPFS cluster has not pinned all in time")
            time.sleep(pause)
            pause = min(pause * 1.5, 5)

    def cids(self) -> list[str]:
        lines = self._request("GET", "allocations", filter="pin").text.splitlines()
        return [str(pin["cid"]) for line in lines if line.strip() for pin in _pins_in(line) if pin.get("name") == self.name]

    def remove(self, cid: str) -> None:
        response = self._request("DELETE", f"pins/{cid}")
        if response.status_code not in (200, 202, 404):
            raise ResultStoreError(f"the IPFS cluster does not unpin: it answered {response.status_code}")

    def _pin_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"name": self.name, "mode": "recursive"}
        if self.replication_min or self.replication_max:
            options["replication-min"] = self.replication_min or self.replication_max
            options["replication-max"] = self.replication_max or self.replication_min
        if self.expires_after:
            end = datetime.now(UTC) + timedelta(seconds=self.expires_after)
            options["expire-at"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        return options

    def _is_pinned(self, cid: str) -> bool:
        """Whether ``replication_min`` peers have pinned it; without such a number, all peers that it was allocated to."""
        peers = self._request("GET", f"pins/{cid}").json().get("peer_map", {}).values()
        states = [peer["status"] for peer in peers if peer["status"] != "remote"]
        pinned = states.count("pinned")
        if self.replication_min > 0:
            return pinned >= self.replication_min
        return bool(states) and pinned == len(states)

    def _request(self, method: str, path: str, **parameters: Any) -> httpx.Response:
        import httpx

        try:
            return httpx.request(method, f"{self.api.url}/{path}", params=parameters, headers=self.api.headers, timeout=READ_SECONDS)
        except httpx.HTTPError as e:
            raise ConnectionError(f"the IPFS cluster does not answer ({type(e).__name__})") from None


def _pins_in(line: str) -> Iterator[dict[str, Any]]:
    """A line of the answer is one pin, or a list of pins, depending on the cluster's version."""
    value = json.loads(line)
    yield from value if isinstance(value, list) else [value]
