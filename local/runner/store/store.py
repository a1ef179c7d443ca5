"""The object store: every object, its resource version, and a history of changes for watches.

Objects that it returns are shared and must not be changed; `update` works on a copy. Everything but Events is also written to a JSON file
below the state directory, so that claims, Secrets and the ends of pods survive a restart of the runner.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.runner.errors import already_exists, expired, not_found
from local.runner.store.objects import KINDS, Object, now
from local.runner.wakeup import Wakeup


@dataclass(frozen=True)
class Change:
    """One change of one object: `before` is None for a creation, `after` is None for a removal."""

    version: int
    plural: str
    before: Object | None
    after: Object | None
    last: Object
    """The object's last state, with this change's resourceVersion."""


class Store:
    """All objects, for one event loop. No method blocks for longer than it takes to write one small file."""

    HISTORY = 4096
    """How many changes a watch can go back; older resource versions get 410 Gone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in KINDS}
        self._history: deque[Change] = deque(maxlen=self.HISTORY)
        self._wakeup = Wakeup()
        self.version = 1000
        self.closed = False
        self._load()
        self._oldest = self.version

    # -- reading ------------------------------------------------------------------------------------------------
    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._objects[plural].get((namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """The object. Raises 404 if there is none."""
        obj = self.find(plural, namespace, name)
        if obj is None:
            raise not_found(plural, name)
        return obj

    def all(self, plural: str, namespace: str = "") -> list[Object]:
        """The objects of a kind in one namespace, or in all of them, sorted by name."""
        return [obj for (space, _), obj in sorted(self._objects[plural].items()) if namespace in ("", space)]

    def everything(self) -> list[tuple[str, Object]]:
        """Every object with its plural."""
        return [(plural, obj) for plural, objects in self._objects.items() for obj in objects.values()]

    def has_uid(self, uid: str) -> bool:
        """Whether an object with this uid exists."""
        return any(obj["metadata"]["uid"] == uid for _, obj in self.everything())

    def changes(self, after: int) -> list[Change]:
        """The changes since a resource version, oldest first. Raises 410 if the history does not reach back so far."""
        oldest = self._history[0].version - 1 if len(self._history) == self.HISTORY else self._oldest
        if after < oldest:
            raise expired(after, oldest)
        recent: list[Change] = []
        for change in reversed(self._history):
            if change.version <= after:
                break
            recent.append(change)
        return recent[::-1]

    async def wait(self, after: int) -> None:
        """Return once the store is newer than the resource version `after`, or closed."""
        while self.version <= after and not self.closed:
            await self._wakeup.wait()

    # -- writing ------------------------------------------------------------------------------------------------
    def create(self, plural: str, obj: Object) -> Object:
        """Store a new object, which must have a name. Raises 409 if the name is taken."""
        kind = KINDS[plural]
        obj = copy.deepcopy(obj) | {"kind": kind.name, "apiVersion": kind.api_version}
        metadata = obj["metadata"]
        if self.find(plural, metadata.get("namespace", ""), metadata["name"]):
            raise already_exists(f"{plural}.{kind.group}" if kind.group else plural, metadata["name"])
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now())
        return self._put(plural, None, obj)

    def update(self, plural: str, namespace: str, name: str, change: Callable[[Object], None]) -> Object:
        """Apply `change` to a copy of the object and store it. As in Kubernetes, there is no new version if nothing changed."""
        before = self.get(plural, namespace, name)
        after = copy.deepcopy(before)
        change(after)
        return before if after == before else self._put(plural, before, after)

    def remove(self, plural: str, namespace: str, name: str) -> Object:
        """Forget the object at once; return its last state."""
        before = self.get(plural, namespace, name)
        del self._objects[plural][namespace, name]
        self._file(plural, before).unlink(missing_ok=True)
        self.version += 1
        last = before | {"metadata": before["metadata"] | {"resourceVersion": str(self.version)}}
        self._record(Change(self.version, plural, before, None, last))
        return last

    def close(self) -> None:
        """End every watch."""
        self.closed = True
        self._wakeup.fire()

    def _put(self, plural: str, before: Object | None, obj: Object) -> Object:
        self.version += 1
        metadata = obj["metadata"]
        metadata["resourceVersion"] = str(self.version)
        self._objects[plural][metadata.get("namespace", ""), metadata["name"]] = obj
        if plural != "events":
            path = self._file(plural, obj)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + "~")
            partial.write_text(json.dumps(obj))
            partial.replace(path)
        self._record(Change(self.version, plural, before, obj, obj))
        return obj

    def _record(self, change: Change) -> None:
        self._history.append(change)
        self._wakeup.fire()

    # -- the files ----------------------------------------------------------------------------------------------
    def _file(self, plural: str, obj: Object) -> Path:
        # validation admits only DNS-1123 names, so none of them can lead out of the directory
        metadata = obj["metadata"]
        return self._directory / plural / (metadata.get("namespace") or "_") / f"{metadata['name']}.json"

    def _load(self) -> None:
        for plural, objects in self._objects.items():
            for path in sorted((self._directory / plural).glob("*/*.json")):
                obj = json.loads(path.read_text())
                metadata = obj["metadata"]
                objects[metadata.get("namespace", ""), metadata["name"]] = obj
                self.version = max(self.version, int(metadata["resourceVersion"]))
        # the last run also used versions that no file remembers, for removals and events
        self.version += 100_000 if self.everything() else 0
