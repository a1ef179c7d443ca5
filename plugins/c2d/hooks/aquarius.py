"""AssetsHook: DDOs from a metadata cache (Aquarius), or given inline."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from c2d.errors import UpstreamUnavailable
from c2d.jobs.model import DID

if TYPE_CHECKING:
    import httpx

DDO_BYTES = 4 * 2**20


class AssetsHook:
    """The DDOs at ``AQUARIUS_URL``.

    :param url: of the metadata cache; None: only inline DDOs are known.
    :param inline: DDOs that the job carries; they come first. None is trusted, nor is the cache: c2d.market.decision compares each
        with the chain. What a cache would say beside a DDO they cannot say: of a node that gives no logs, a former DDO's event would pass
        for the last.
    :param seconds: that the cache may be silent.
    """

    def __init__(self, url: str | None, inline: Sequence[Mapping[str, Any]] = (), seconds: float = 10):
        self.url, self.seconds = url, seconds
        self.inline = {str(d.get("id")): {k: v for k, v in d.items() if k != "event"} for d in inline}

    def ddos(self, dids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The DDOs that there are, by DID.

        :raises c2d.errors.UpstreamUnavailable: the metadata cache does not answer.
        """
        wanted = {did for did in dids if re.match(DID, did)}
        found = {did: self.inline[did] for did in wanted if did in self.inline}
        missing = sorted(wanted - set(found))
        if not missing or self.url is None:
            return found
        with ThreadPoolExecutor(len(missing)) as pool:
            fetched = list(pool.map(self._fetch, missing))
        return {**found, **{did: ddo for did, ddo in zip(missing, fetched, strict=True) if ddo is not None}}

    def _fetch(self, did: str) -> Mapping[str, Any] | None:
        import httpx

        url = f"{(self.url or '').rstrip('/')}/api/aquarius/assets/ddo/{did}"
        try:
            with client().stream("GET", url, timeout=self.seconds) as response:
                if response.status_code == 404:
                    return None
                if response.status_code != 200:
                    raise UpstreamUnavailable(f"metadata cache: HTTP status {response.status_code} for {did}; try again later")
                content = b""
                for part in response.iter_bytes():
                    content += part
                    if len(content) > DDO_BYTES:
                        raise UpstreamUnavailable(f"metadata cache: the DDO of {did} has more than {DDO_BYTES} bytes")
        except httpx.HTTPError as e:  # its text holds the URL
            raise UpstreamUnavailable(f"metadata cache: does not answer ({type(e).__name__}); try again later") from None
        try:
            ddo = json.loads(content)
        except (ValueError, RecursionError):
            raise UpstreamUnavailable(f"metadata cache: its answer for {did} is no JSON") from None
        return ddo if isinstance(ddo, dict) else None


@functools.cache
def client() -> httpx.Client:
    """One for the process: to make one costs tens of milliseconds. Redirects are not followed: the operator names its own servers."""
    import httpx

    return httpx.Client(follow_redirects=False, limits=httpx.Limits(max_connections=50))
