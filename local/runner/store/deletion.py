"""Deletion: which objects go at once, which wait for something, and which go with their owner (background garbage collection)."""

from __future__ import annotations

from collections.abc import Callable

from local.runner.store.objects import Object, now
from local.runner.store.store import Store


class Deletion:
    """Deletes objects, and all that belongs to them."""

    def __init__(self, store: Store, terminate_pod: Callable[[Object], None], delete_volume: Callable[[Object], None]) -> None:
        """`terminate_pod` gets a pod that has its deletionTimestamp; `delete_volume` gets a claim that has been removed."""
        self._store = store
        self._terminate_pod = terminate_pod
        self._delete_volume = delete_volume

    def delete(self, plural: str, namespace: str, name: str, grace: int | None = None) -> Object:
        """Delete an object, or begin to (a pod, a claim in use); return its last state.

        :param grace: seconds between SIGTERM and SIGKILL; by default those in the pod's spec.
        """
        obj = self._store.get(plural, namespace, name)
        if plural == "pods":
            return self._begin_pod(obj, grace)
        if plural == "persistentvolumeclaims":
            return self._begin_claim(obj)
        removed = self._store.remove(plural, namespace, name)
        self.delete_dependents(removed)
        return removed

    def delete_dependents(self, owner: Object) -> None:
        """Delete all that belonged to an object that was removed: its dependents, and the contents of a namespace."""
        for plural, obj in self._store.everything():
            metadata = obj["metadata"]
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            if self._store.find(plural, namespace, name) is None:
                continue  # one of the deletions before has taken it along
            if owner["kind"] == "Namespace" and namespace == owner["metadata"]["name"]:
                self.delete(plural, namespace, name)
            elif any(reference["uid"] == owner["metadata"]["uid"] for reference in metadata.get("ownerReferences") or []):
                self.delete_if_orphaned(plural, obj)

    def delete_if_orphaned(self, plural: str, obj: Object) -> None:
        """Delete an object that names owners, none of which exists. A new object too: its owner may go while it is being created."""
        metadata = obj["metadata"]
        owners = metadata.get("ownerReferences") or []
        if owners and not any(self._store.has_uid(owner["uid"]) for owner in owners):
            self.delete(plural, metadata.get("namespace", ""), metadata["name"])

    def release_claims(self, namespace: str) -> None:
        """After a pod has ended: complete the deletion of claims that no pod uses any more."""
        for claim in self._store.all("persistentvolumeclaims", namespace):
            if claim["metadata"].get("deletionTimestamp") and not self._in_use(claim):
                self._remove_claim(claim)

    def _begin_pod(self, pod: Object, grace: int | None) -> Object:
        seconds = pod["spec"]["terminationGracePeriodSeconds"] if grace is None else grace
        metadata = pod["metadata"]

        def change(new: Object) -> None:
            # a second deletion can only shorten the time
            if seconds <= new["metadata"].get("deletionGracePeriodSeconds", seconds):
                new["metadata"].update(deletionTimestamp=now(seconds), deletionGracePeriodSeconds=seconds)

        pod = self._store.update("pods", metadata["namespace"], metadata["name"], change)
        self._terminate_pod(pod)
        return pod

    def _begin_claim(self, claim: Object) -> Object:
        if not self._in_use(claim):
            return self._remove_claim(claim)
        metadata = claim["metadata"]

        def change(new: Object) -> None:
            new["metadata"].setdefault("deletionTimestamp", now())

        return self._store.update("persistentvolumeclaims", metadata["namespace"], metadata["name"], change)

    def _remove_claim(self, claim: Object) -> Object:
        removed = self._store.remove("persistentvolumeclaims", claim["metadata"]["namespace"], claim["metadata"]["name"])
        self._delete_volume(removed)
        self.delete_dependents(removed)
        return removed

    def _in_use(self, claim: Object) -> bool:
        return any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim["metadata"]["name"]
            for pod in self._store.all("pods", claim["metadata"]["namespace"])
            if pod["status"]["phase"] not in ("Succeeded", "Failed") and pod["spec"].get("nodeName")
            for volume in pod["spec"].get("volumes") or []
        )
