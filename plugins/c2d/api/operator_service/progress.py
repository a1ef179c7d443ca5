"""How much configure has downloaded, or publish has uploaded: read from the stage's log."""

from __future__ import annotations

import re
from collections.abc import Iterable

# configure writes "inputs[0].files[0]: 12.3 of 45.6 MB, 9 MB/s", and at the end "inputs[0].files[0]: complete, 45.6 MB in 5.0 s".
# publish writes "store: 12.3 of 45.6 MB, 9 MB/s".
_PROGRESS = re.compile(r"(?P<item>\S+): (?P<complete>complete, )?(?P<done>[0-9.]+)(?: of (?P<total>[0-9.]+))? MB(?:,| in) ")


def progress(log: str) -> dict[str, int | None] | None:
    """``bytes`` moved and ``totalBytes`` (None: not known) of all files together. None: the log does not say.

    The last line about each file counts.
    """
    done: dict[str, float] = {}
    totals: dict[str, float | None] = {}
    for line in _PROGRESS.finditer(log):
        done[line["item"]] = float(line["done"])
        total = line["total"] or (line["done"] if line["complete"] else None)
        totals[line["item"]] = float(total) if total else None
    if not done:
        return None
    known = [total for total in totals.values() if total is not None]
    return {"bytes": _bytes(done.values()), "totalBytes": _bytes(known) if len(known) == len(totals) else None}


def _bytes(megabytes: Iterable[float]) -> int:
    return int(sum(megabytes) * 1e6)
