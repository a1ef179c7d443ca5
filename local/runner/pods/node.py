"""The one node: it runs every pod, gives claims their folders, and cleans up after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from local.runner.containers.logs import Log
from local.runner.pods import status
from local.runner.pods.events import EventRecorder
from local.runner.pods.folders import remove_tree
from local.runner.pods.host import Host
from local.runner.pods.life import PodLife
from local.runner.pods.termination import Cause
from local.runner.store.deletion import Deletion
from local.runner.store.objects import Object


class Node:
    """Where pods run."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._store = host.store
        self._events = EventRecorder(host.store)
        self._lives: dict[str, PodLife] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.deletion = Deletion(host.store, self._terminate, self._delete_volume)

    def recover(self) -> None:
        """After a restart: record that pods which had not ended are lost, complete deletions, remove folders that belong to nothing."""
        for pod in self._store.all("pods"):
            metadata = pod["metadata"]
            if pod["status"]["phase"] not in status.FINAL_PHASES:
                self._store.update("pods", metadata["namespace"], metadata["name"], status.lost)
            if metadata.get("deletionTimestamp"):
                self._remove_pod(pod)
        for claim in self._store.all("persistentvolumeclaims"):
            if claim["metadata"].get("deletionTimestamp"):
                self.deletion.delete("persistentvolumeclaims", claim["metadata"]["namespace"], claim["metadata"]["name"])
        for name, plural in (("pods", "pods"), ("volumes", "persistentvolumeclaims")):
            folder = self._host.state / name
            folder.mkdir(parents=True, exist_ok=True)
            uids = {obj["metadata"]["uid"] for obj in self._store.all(plural)}
            for left in folder.iterdir():
                if left.name not in uids:
                    remove_tree(left)

    def created(self, plural: str, obj: Object) -> None:
        """Act on a new object: run a pod, give a claim its folder."""
        if plural == "pods":
            life = self._lives[obj["metadata"]["uid"]] = PodLife(obj, self._host, self._events)
            self._run(self._live(obj, life))
        elif plural == "persistentvolumeclaims":
            self._bind(obj)
        self.deletion.delete_if_orphaned(plural, obj)

    def log(self, pod: Object, container: str) -> Log:
        """The log of a container that has been started."""
        life = self._lives.get(pod["metadata"]["uid"])
        if life and container in life.logs:
            return life.logs[container]
        return Log(self._host.pod_folder(pod) / f"{container}.log", ended=True)

    async def stop(self) -> None:
        """Kill every container and wait until all are gone. The pods stay in the store, as lost."""
        for life in list(self._lives.values()):
            life.terminate(Cause(0, "Terminated", "The laptop runner was stopped"))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _live(self, pod: Object, life: PodLife) -> None:
        metadata = pod["metadata"]
        try:
            await life.run()
        finally:
            del self._lives[metadata["uid"]]
            if self._store.get("pods", metadata["namespace"], metadata["name"])["metadata"].get("deletionTimestamp"):
                self._remove_pod(pod)
            else:
                self.deletion.release_claims(metadata["namespace"])

    def _terminate(self, pod: Object) -> None:
        """End a pod that has its deletionTimestamp; remove it at once if it has ended already."""
        life = self._lives.get(pod["metadata"]["uid"])
        if life:
            life.terminate(Cause(pod["metadata"]["deletionGracePeriodSeconds"]))
        else:
            self._remove_pod(pod)

    def _remove_pod(self, pod: Object) -> None:
        removed = self._store.remove("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        remove_tree(self._host.pod_folder(removed))
        self.deletion.delete_dependents(removed)
        self.deletion.release_claims(removed["metadata"]["namespace"])

    def _bind(self, claim: Object) -> None:
        folder = self._host.claim_folder(claim)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)

        def bound(new: Object) -> None:
            spec = new["spec"]
            spec.setdefault("volumeName", f"pvc-{new['metadata']['uid']}")
            new["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": dict(spec["resources"]["requests"])}

        self._store.update("persistentvolumeclaims", claim["metadata"]["namespace"], claim["metadata"]["name"], bound)

    def _delete_volume(self, claim: Object) -> None:
        folder = self._host.claim_folder(claim)
        if folder.exists():
            gone = folder.with_name(folder.name + ".deleted")
            folder.rename(gone)
            self._run(asyncio.to_thread(remove_tree, gone))

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
