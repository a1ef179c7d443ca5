"""AssetsHook: DDOs from a metadata cache (Aquarius), or given inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class AssetsHook:
    """The DDOs at ``AQUARIUS_URL``.

    :param url: of the metadata cache; None: only inline DDOs are known.
    :param inline: DDOs that the job carries. None of them is trusted: c2d.access compares each with the chain.
    """

    def __init__(self, url: str | None, inline: Sequence[Mapping[str, Any]] = (), seconds: float = 10):
        self.url, self.seconds = url, seconds
        self.inline = {str(d.get("id")): d for d in inline}

    def ddos(self, dids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The DDOs that there are, by DID.

        :raises c2d.access.Unavailable: the metadata cache does not answer.
        """
        raise NotImplementedError
