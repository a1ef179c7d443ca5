"""Watches: the changes of a collection as a stream of JSON lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from local.runner.api.selectors import Predicate
from local.runner.errors import ApiError
from local.runner.store.objects import Object
from local.runner.store.store import Change, Store


async def watch(store: Store, plural: str, selected: Predicate, version: str, seconds: float) -> AsyncIterator[bytes]:
    """One line for each change after the resource version `version`; without a version, the present objects come first.

    Ends after `seconds`, when the store is closed, or with an ERROR line if the version is too old.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    seen = store.version
    if version.isdigit() and version != "0":
        seen = int(version)
    else:
        for obj in filter(selected, store.all(plural)):
            yield _line("ADDED", obj)
    while not store.closed:
        try:
            changes = store.changes(seen)
        except ApiError as error:
            yield _line("ERROR", error.body)
            return
        for change in changes:
            seen = change.version
            if change.plural == plural and (event := _event_type(change, selected)):
                yield _line(event, change.last)
        try:
            await asyncio.wait_for(store.wait(seen), deadline - loop.time())
        except TimeoutError:
            return


def _event_type(change: Change, selected: Predicate) -> str | None:
    """What a change is for this watcher; None if it never saw the object. One that no longer matches is DELETED for it."""
    before = change.before is not None and selected(change.before)
    after = change.after is not None and selected(change.after)
    if before and after:
        return "MODIFIED"
    if after:
        return "ADDED"
    return "DELETED" if before else None


def _line(event_type: str, obj: Object) -> bytes:
    return json.dumps({"type": event_type, "object": obj}, separators=(",", ":")).encode() + b"\n"
