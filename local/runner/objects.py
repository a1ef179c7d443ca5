"""The object store: every Kubernetes object that the runner knows, its versions, and who waits for changes.

Objects handed out are shared and never changed in place: `update` works on a copy. Everything except Events is also kept as a JSON
file below the state directory, so that claims, Secrets and the fate of pods survive a restart of the runner.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import already_exists, conflict, not_found
from .wakeup import Wakeup

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of object: how it is called in paths and bodies, and which fields a field selector may name."""

    plural: str
    name: str
    short: tuple[str, ...] = ()
    group: str = ""
    namespaced: bool = True
    fields: frozenset[str] = frozenset()

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


_POD_FIELDS = {"status.phase", "status.podIP", "spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName"}
_EVENT_FIELDS = {f"involvedObject.{key}" for key in ("name", "namespace", "kind", "uid", "apiVersion", "resourceVersion", "fieldPath")}
KINDS = {
    kind.plural: kind
    for kind in (
        Kind("pods", "Pod", ("po",), fields=frozenset(_POD_FIELDS)),
        Kind("events", "Event", ("ev",), fields=frozenset(_EVENT_FIELDS | {"reason", "type", "source"})),
        Kind("secrets", "Secret", fields=frozenset({"type"})),
        Kind("configmaps", "ConfigMap", ("cm",)),
        Kind("persistentvolumeclaims", "PersistentVolumeClaim", ("pvc",)),
        Kind("serviceaccounts", "ServiceAccount", ("sa",)),
        Kind("namespaces", "Namespace", ("ns",), namespaced=False),
        Kind("networkpolicies", "NetworkPolicy", ("netpol",), group="networking.k8s.io"),
    )
}


@dataclass(frozen=True)
class Change:
    """One step of an object: `before` is None for a creation, `after` is None for a removal. `version` is the store's."""

    version: int
    plural: str
    before: Object | None
    after: Object | None
    last: Object
    """The object as it is (or was) with this change's resourceVersion."""


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def random_suffix() -> str:
    """As in Kubernetes' generateName: five characters without vowels, so that no word comes out."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))


class Store:
    """All objects. Belongs to one event loop; none of its methods blocks for longer than writing one small file."""

    HISTORY = 4096
    """Changes that a watch can be taken up from; older resourceVersions answer 410 Gone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in KINDS}
        self._history: deque[Change] = deque(maxlen=self.HISTORY)
        self._wakeup = Wakeup()
        self.version = 1000
        self.closed = False
        self._load()
        self.oldest = self.version
        """The first version that the history can answer for."""

    # -- reading ------------------------------------------------------------------------------------------------
    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        return self._objects[plural].get((namespace, name))

    def get(self, plural: str, namespace: str, name: str) -> Object:
        found = self.find(plural, namespace, name)
        if found is None:
            raise not_found(plural, name)
        return found

    def all(self, plural: str, namespace: str | None = None) -> list[Object]:
        """The objects of a kind, of one namespace or of all, by name."""
        return [obj for (space, _), obj in sorted(self._objects[plural].items()) if namespace in (None, "", space)]

    def by_uid(self, uid: str) -> Object | None:
        return next((obj for kind in self._objects.values() for obj in kind.values() if obj["metadata"]["uid"] == uid), None)

    def everything(self) -> Iterator[tuple[str, Object]]:
        for plural, kind in self._objects.items():
            for obj in list(kind.values()):
                yield plural, obj

    def changes(self, after: int) -> list[Change] | None:
        """What happened after a version, or None where that is too long ago."""
        if after < self.oldest or (len(self._history) == self.HISTORY and after < self._history[0].version - 1):
            return None
        recent: list[Change] = []
        for change in reversed(self._history):
            if change.version <= after:
                break
            recent.append(change)
        return recent[::-1]

    async def wait(self, after: int) -> None:
        """Returns as soon as the store is newer than `after`, or closed."""
        while self.version <= after and not self.closed:
            await self._wakeup.wait()

    # -- writing ------------------------------------------------------------------------------------------------
    def create(self, plural: str, obj: Object) -> Object:
        """Keeps a new object; metadata must have a name or a generateName. 409 if it exists."""
        kind = KINDS[plural]
        obj = copy.deepcopy(obj) | {"kind": kind.name, "apiVersion": kind.api_version}
        metadata = obj["metadata"]
        if not metadata.get("name"):
            metadata["name"] = metadata["generateName"][:58] + random_suffix()
        key = (metadata.get("namespace", ""), metadata["name"])
        if key in self._objects[plural]:
            raise already_exists(f"{plural}.{kind.group}" if kind.group else plural, metadata["name"])
        metadata.pop("deletionTimestamp", None)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now())
        return self._put(plural, key, None, obj)

    def update(self, plural: str, namespace: str, name: str, change: Callable[[Object], None]) -> Object:
        """Changes a copy of the object and keeps that. If `change` leaves it as it was, nothing happens, as in Kubernetes."""
        before = self.get(plural, namespace, name)
        after = copy.deepcopy(before)
        change(after)
        return before if after == before else self._put(plural, (namespace, name), before, after)

    def remove(self, plural: str, namespace: str, name: str, uid: str | None = None) -> Object:
        """Forgets the object at once. With `uid`, only that very object: 409 for a later one of the same name."""
        before = self.get(plural, namespace, name)
        if uid and before["metadata"]["uid"] != uid:
            raise conflict(plural, name, f"the UID in the precondition ({uid}) is not that of the object ({before['metadata']['uid']})")
        del self._objects[plural][namespace, name]
        self.version += 1
        last = before | {"metadata": before["metadata"] | {"resourceVersion": str(self.version)}}
        self._file(plural, namespace, name).unlink(missing_ok=True)
        self._record(Change(self.version, plural, before, None, last))
        return last

    def close(self) -> None:
        """Ends every watch."""
        self.closed = True
        self._wakeup.fire()

    def _put(self, plural: str, key: tuple[str, str], before: Object | None, obj: Object) -> Object:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._objects[plural][key] = obj
        if plural != "events":
            path = self._file(plural, *key)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + "~")
            partial.write_text(json.dumps(obj))
            partial.replace(path)
        self._record(Change(self.version, plural, before, obj, obj))
        return obj

    def _record(self, change: Change) -> None:
        self._history.append(change)
        self._wakeup.fire()

    # -- the copy on disk ---------------------------------------------------------------------------------------
    def _file(self, plural: str, namespace: str, name: str) -> Path:
        # names are checked to be DNS-1123, so none of them can lead out of the directory
        return self._directory / plural / (namespace or "_") / f"{name}.json"

    def _load(self) -> None:
        for plural in KINDS:
            for path in sorted((self._directory / plural).glob("*/*.json")):
                obj = json.loads(path.read_text())
                metadata = obj["metadata"]
                self._objects[plural][metadata.get("namespace", ""), metadata["name"]] = obj
                self.version = max(self.version, int(metadata["resourceVersion"]))
        # removals and events of the last run have used versions that no file remembers
        self.version += 100_000 if any(self._objects.values()) else 0


def remove_tree(path: Path) -> None:
    """Deletes a directory that a container may have made awkward (folders without rights). Never follows a symbolic link."""

    def open_up(_function: Any, name: str, _error: Any) -> None:
        # the failure is either "cannot list this folder" or "cannot unlink in its parent"
        at = Path(name)
        for folder in (at.parent, at):
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o700)
        if at.is_dir() and not at.is_symlink():
            shutil.rmtree(at, ignore_errors=True)
        else:
            at.unlink(missing_ok=True)

    shutil.rmtree(path, onerror=open_up)
