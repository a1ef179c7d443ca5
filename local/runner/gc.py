"""Deletion: what goes at once, what waits for someone, and what goes with its owner (background garbage collection)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from .errors import conflict
from .objects import Object, Store

DeletePod = Callable[[Object], None]
"""Told that a pod has just begun to terminate (it has its deletionTimestamp)."""


class Deletion:
    """Deletes objects the way each kind wants it, and everything that hangs on them."""

    def __init__(self, store: Store, delete_pod: DeletePod, delete_claim: Callable[[Object], None]) -> None:
        self._store = store
        self._delete_pod = delete_pod
        self._delete_claim = delete_claim

    def delete(
        self, plural: str, namespace: str, name: str, grace: int | None = None, uid: str | None = None, orphan: bool = False
    ) -> Object:
        """Begins (pods, claims in use) or completes the deletion of an object; returns its last state.

        `grace`: seconds between SIGTERM and SIGKILL, by default the pod's own. `orphan`: dependants stay, without their reference.
        """
        obj = self._store.get(plural, namespace, name)
        if uid and obj["metadata"]["uid"] != uid:
            raise conflict(plural, name, f"the UID in the precondition ({uid}) is not that of the object ({obj['metadata']['uid']})")
        if orphan:
            for kind, dependant in list(self._store.everything()):
                self._drop_reference(kind, dependant, obj["metadata"]["uid"])
        if plural == "pods":
            return self._begin_pod(obj, grace)
        if plural == "persistentvolumeclaims":
            return self._begin_claim(obj)
        removed = self._store.remove(plural, namespace, name)
        self.removed(plural, removed)
        return removed

    def removed(self, plural: str, obj: Object) -> None:
        """Follows the removal of an object: dependants, and a namespace's contents."""
        uid = obj["metadata"]["uid"]
        for kind, dependant in list(self._store.everything()):
            metadata = dependant["metadata"]
            if self._store.find(kind, metadata.get("namespace", ""), metadata["name"]) is not dependant:
                continue  # gone, or changed, through one of the deletions above
            if plural == "namespaces" and metadata.get("namespace") == obj["metadata"]["name"]:
                self.delete(kind, metadata["namespace"], metadata["name"])
            elif any(owner["uid"] == uid for owner in metadata.get("ownerReferences") or []):
                if self._has_other_owner(metadata, uid):
                    self._drop_reference(kind, dependant, uid)
                else:
                    self._delete_dependant(kind, dependant)
        if plural == "pods":
            self.release_claims(obj)

    def created(self, plural: str, obj: Object) -> None:
        """A new object whose owners are all gone already goes as well: a job may be deleted while its next pod is being made."""
        owners = obj["metadata"].get("ownerReferences") or []
        if owners and not any(self._store.by_uid(owner["uid"]) for owner in owners):
            self._delete_dependant(plural, obj)

    def release_claims(self, pod: Object) -> None:
        """Completes the deletion of claims that only this pod, which has ended, still held."""
        for claim in self._store.all("persistentvolumeclaims", pod["metadata"]["namespace"]):
            if claim["metadata"].get("deletionTimestamp") and not self._in_use(claim):
                self._finish_claim(claim)

    def _delete_dependant(self, plural: str, obj: Object) -> None:
        self.delete(plural, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])

    def _has_other_owner(self, metadata: dict[str, Any], uid: str) -> bool:
        return any(owner["uid"] != uid and self._store.by_uid(owner["uid"]) for owner in metadata["ownerReferences"])

    def _drop_reference(self, plural: str, obj: Object, uid: str) -> None:
        def change(new: Object) -> None:
            owners = new["metadata"].get("ownerReferences")
            if owners:
                new["metadata"]["ownerReferences"] = [owner for owner in owners if owner["uid"] != uid]

        self._store.update(plural, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], change)

    def _begin_pod(self, pod: Object, grace: int | None) -> Object:
        if grace is None:
            grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        metadata = pod["metadata"]
        until = (datetime.now(UTC) + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")

        def change(new: Object) -> None:
            # a second deletion may only shorten the time
            if grace <= new["metadata"].get("deletionGracePeriodSeconds", grace):
                new["metadata"].update(deletionTimestamp=until, deletionGracePeriodSeconds=grace)

        pod = self._store.update("pods", metadata["namespace"], metadata["name"], change)
        self._delete_pod(pod)
        return pod

    def _begin_claim(self, claim: Object) -> Object:
        if not self._in_use(claim):
            return self._finish_claim(claim)
        metadata = claim["metadata"]

        def change(new: Object) -> None:
            new["metadata"].setdefault("deletionTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

        return self._store.update("persistentvolumeclaims", metadata["namespace"], metadata["name"], change)

    def _finish_claim(self, claim: Object) -> Object:
        removed = self._store.remove("persistentvolumeclaims", claim["metadata"]["namespace"], claim["metadata"]["name"])
        self._delete_claim(removed)
        self.removed("persistentvolumeclaims", removed)
        return removed

    def _in_use(self, claim: Object) -> bool:
        return any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim["metadata"]["name"]
            for pod in self._store.all("pods", claim["metadata"]["namespace"])
            if pod["status"].get("phase") not in ("Succeeded", "Failed") and pod["spec"].get("nodeName")
            for volume in pod["spec"].get("volumes") or []
        )
