"""DDOs from the metadata cache (Aquarius) or from the job itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow.sdk.bases.hook import BaseHook

from c2d.errors import UpstreamUnavailable
from c2d.hooks.http_client import client
from c2d.jobs.patterns import DID

DDO_BYTES = 4 * 2**20
"""The largest DDO that is read."""


class AquariusHook(BaseHook):
    """Looks up DDOs: first among those that came with the job, then at ``AQUARIUS_URL``.

    Neither source is trusted: :mod:`c2d.market.decision` compares every DDO with the chain. The ``event`` of an inline DDO is
    dropped, because it tells where on the chain to look. If an RPC node serves no logs, a consumer could otherwise name the event of an
    older DDO and have that one accepted.

    :param url: of the metadata cache; None: only inline DDOs are known.
    :param inline: the DDOs that came with the job.
    :param seconds: timeout for connecting and for each read.
    """

    def __init__(self, url: str | None, inline: Sequence[Mapping[str, Any]] = (), seconds: float = 10):
        super().__init__()
        self.url, self.seconds = url, seconds
        self.inline = {str(ddo.get("id")): {name: value for name, value in ddo.items() if name != "event"} for ddo in inline}

    def ddos(self, dids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The DDOs of ``dids`` by DID. Malformed and unknown DIDs are left out.

        :raises c2d.errors.UpstreamUnavailable: the metadata cache did not give a usable answer.
        """
        valid = {did for did in dids if re.match(DID, did)}
        ddos: dict[str, Mapping[str, Any]] = {did: self.inline[did] for did in valid if did in self.inline}
        missing = sorted(valid - set(ddos))
        if not missing or self.url is None:
            return ddos
        with ThreadPoolExecutor(len(missing)) as pool:
            fetched = list(pool.map(self._fetch, missing))
        return ddos | {did: ddo for did, ddo in zip(missing, fetched, strict=True) if ddo is not None}

    def _fetch(self, did: str) -> Mapping[str, Any] | None:
        """The DDO in the cache; None if the cache does not know it."""
        import httpx

        url = f"{(self.url or '').rstrip('/')}/api/aquarius/assets/ddo/{did}"
        try:
            with client().stream("GET", url, timeout=self.seconds) as response:
                if response.status_code == 404:
                    return None
                if response.status_code != 200:
                    raise UpstreamUnavailable(f"metadata cache: HTTP status {response.status_code} for {did}; try again later")
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > DDO_BYTES:
                        raise UpstreamUnavailable(f"metadata cache: the DDO of {did} has more than {DDO_BYTES} bytes")
        except httpx.HTTPError as e:  # its text contains the URL
            raise UpstreamUnavailable(f"metadata cache: does not answer ({type(e).__name__}); try again later") from None
        try:
            ddo = json.loads(content)
        except (ValueError, RecursionError):
            raise UpstreamUnavailable(f"metadata cache: the answer for {did} is not JSON") from None
        return ddo if isinstance(ddo, dict) else None
