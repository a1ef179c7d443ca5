"""The life of a pod: Pending -> Running -> Succeeded or Failed, its containers, its events, its end."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import usage
from .expansion import ConfigMissing, container_env, expand
from .gc import Deletion
from .images import Images, ImageUnknown
from .logs import Log
from .objects import Object, Store, now, remove_tree
from .process import Ended, Process, StartFailed
from .quantities import quantity
from .sandbox import Bubblewrap, Mount, View, etc_files, is_within
from .selectors import egress_allowed
from .unsafe import Proot
from .volumes import UnsafePath, VolumeNotReady, lookup_in, open_within, write_files

NODE = "laptop"
SCRATCH = 1 << 30
"""Bytes of a tmpfs (emptyDir, /tmp) for which nothing sets a size."""
MESSAGE = 4096
"""Bytes of a termination message that are kept: the last ones, as the kubelet does."""
BACKOFF = 1.0
"""Seconds from ErrImagePull to ImagePullBackOff."""
DISK_POLL = 1.0
KEEP_FREE = 512 << 20
"""Bytes of the state directory's file system that pods must leave free; the kubelet keeps a tenth."""


@dataclass(frozen=True)
class Ending:
    """Why a pod is being ended from outside: `grace` seconds until SIGKILL; `reason` and `message` go into its status."""

    grace: float
    reason: str = ""
    message: str = ""


class Waiting(Exception):
    """A container cannot start yet. `reason` and the text are what its status says meanwhile."""

    def __init__(self, reason: str, message: str, event: str = "Failed") -> None:
        super().__init__(message)
        self.reason = reason
        self.event = event


class Node:
    """The one node: where pods run. Also gives claims their folders and keeps the event list short."""

    EVENTS = 2000

    def __init__(self, store: Store, images: Images, state: Path, sandbox: Bubblewrap | Proot) -> None:
        self.store = store
        self.images = images
        self.state = state
        self.sandbox = sandbox
        self.deletion = Deletion(store, self.terminate, self._remove_claim)
        self._lives: dict[str, PodLife] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._events: deque[tuple[str, str]] = deque()
        self.stopping = False

    def recover(self) -> None:
        """After a restart: pods that ran then are lost, and say so; what nobody owns any more is deleted."""
        for pod in self.store.all("pods"):
            metadata = pod["metadata"]
            if pod["status"].get("phase") not in ("Succeeded", "Failed"):
                self.store.update("pods", metadata["namespace"], metadata["name"], _lost)
            if metadata.get("deletionTimestamp"):
                self._remove_pod(metadata["namespace"], metadata["name"], metadata["uid"])
        for claim in self.store.all("persistentvolumeclaims"):
            if claim["metadata"].get("deletionTimestamp"):
                self.deletion.delete("persistentvolumeclaims", claim["metadata"]["namespace"], claim["metadata"]["name"])
        for group, plural in (("pods", "pods"), ("volumes", "persistentvolumeclaims")):
            folder = self.state / group
            folder.mkdir(parents=True, exist_ok=True)
            known = {obj["metadata"]["uid"] for obj in self.store.all(plural)}
            for left in folder.iterdir():
                if left.name not in known:
                    remove_tree(left)

    # -- what the API calls -------------------------------------------------------------------------------------
    def created(self, plural: str, obj: Object) -> None:
        if plural == "pods":
            life = PodLife(self, obj)
            self._lives[obj["metadata"]["uid"]] = life
            self._run(life.run())
        elif plural == "persistentvolumeclaims":
            self._bind(obj)
        self.deletion.created(plural, obj)

    def terminate(self, pod: Object) -> None:
        """Ends a pod that has its deletionTimestamp; one that has ended already is forgotten at once."""
        life = self._lives.get(pod["metadata"]["uid"])
        if life is None:
            self._remove_pod(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"])
        else:
            life.end(Ending(pod["metadata"]["deletionGracePeriodSeconds"]))

    def log(self, pod: Object, container: str) -> Log:
        """The log of a container that has been started."""
        life = self._lives.get(pod["metadata"]["uid"])
        if life and container in life.logs:
            return life.logs[container]
        return Log(self.folder(pod) / f"{container}.log", ended=True)

    async def stop(self) -> None:
        """Kills every container and waits until they are gone. The pods stay in the store, as lost."""
        self.stopping = True
        for life in list(self._lives.values()):
            life.end(Ending(0, "Terminated", "The laptop runner was stopped"))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    # -- what pods call -----------------------------------------------------------------------------------------
    def folder(self, pod: Object) -> Path:
        return self.state / "pods" / pod["metadata"]["uid"]

    def claim_folder(self, claim: Object) -> Path:
        return self.state / "volumes" / claim["metadata"]["uid"]

    def event(self, obj: Object, reason: str, message: str, container: str | None = None, warning: bool = False) -> None:
        metadata = obj["metadata"]
        involved = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "resourceVersion": metadata["resourceVersion"]}
        involved |= {key: metadata[key] for key in ("namespace", "name", "uid")}
        if container:
            involved["fieldPath"] = container
        name = f"{metadata['name'][:230]}.{time.time_ns():x}"
        moment = now()
        self.store.create(
            "events",
            {
                "metadata": {"name": name, "namespace": metadata["namespace"]},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "type": "Warning" if warning else "Normal",
                "source": {"component": "kubelet", "host": NODE},
                "firstTimestamp": moment,
                "lastTimestamp": moment,
                "count": 1,
                "eventTime": None,
                "reportingComponent": "kubelet",
                "reportingInstance": NODE,
            },
        )
        self._events.append((metadata["namespace"], name))
        while len(self._events) > self.EVENTS:
            old = self._events.popleft()
            if self.store.find("events", *old):
                self.store.remove("events", *old)

    def ended(self, life: PodLife) -> None:
        """The pod's containers are gone for good and its status is final."""
        self._lives.pop(life.uid, None)
        pod = self.store.find("pods", life.namespace, life.name)
        if pod is None or pod["metadata"]["uid"] != life.uid:
            return
        if pod["metadata"].get("deletionTimestamp"):
            self._remove_pod(life.namespace, life.name, life.uid)
        else:
            self.deletion.release_claims(pod)

    # -----------------------------------------------------------------------------------------------------------
    def _run(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _bind(self, claim: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        folder = self.claim_folder(claim)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)

        def bound(new: Object) -> None:
            new["spec"].setdefault("volumeName", f"pvc-{metadata['uid']}")
            new["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": dict(spec["resources"]["requests"])}

        self.store.update("persistentvolumeclaims", metadata["namespace"], metadata["name"], bound)

    def _remove_claim(self, claim: Object) -> None:
        folder = self.claim_folder(claim)
        if folder.exists():
            gone = folder.with_name(folder.name + ".deleted")
            folder.rename(gone)
            self._run(asyncio.to_thread(remove_tree, gone))

    def _remove_pod(self, namespace: str, name: str, uid: str) -> None:
        removed = self.store.remove("pods", namespace, name, uid)
        remove_tree(self.folder(removed)) if self.folder(removed).exists() else None
        self.deletion.removed("pods", removed)


def _lost(pod: Object) -> None:
    status = pod["status"]
    status.update(phase="Failed", reason="Terminated", message="The laptop runner was stopped while this pod had not ended")
    for group in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(group) or []:
            if "terminated" not in container["state"]:
                container["state"] = _terminated(Ended(137, "ContainerStatusUnknown", "The container was lost with the runner"), None, None)
                container.update(ready=False, started=False)


def _terminated(ended: Ended, started: str | None, container_id: str | None) -> dict[str, Any]:
    state: dict[str, Any] = {"exitCode": ended.code, "reason": ended.reason, "startedAt": started, "finishedAt": now()}
    if ended.message:
        state["message"] = ended.message
    if container_id:
        state["containerID"] = container_id
    return {"terminated": state}


class PodLife:
    """One pod from its creation to its final status."""

    def __init__(self, node: Node, pod: Object) -> None:
        self._node = node
        self._pod = pod
        self.namespace, self.name, self.uid = (pod["metadata"][key] for key in ("namespace", "name", "uid"))
        self._spec = pod["spec"]
        self._folder = node.folder(pod)
        self.logs: dict[str, Log] = {}
        self._processes: dict[str, Process] = {}
        self._ending: Ending | None = None
        self._ending_set = asyncio.Event()
        self._killer: asyncio.Task[None] | None = None
        self._kill_at = float("inf")
        self._scheduled = False
        self._states: dict[str, dict[str, Any]] = {
            group: {container["name"]: _new_status(container) for container in self._spec.get(spec) or []}
            for group, spec in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers"))
        }

    def end(self, ending: Ending) -> None:
        """SIGTERM now, SIGKILL after the grace period. The first call says why; a later one can only shorten the time."""
        first = self._ending is None
        if first:
            self._ending = ending
            self._ending_set.set()
        deadline = time.monotonic() + ending.grace
        if first or deadline < self._kill_at:
            self._kill_at = deadline
            if self._killer:
                self._killer.cancel()
            self._killer = asyncio.get_running_loop().create_task(self._kill(first))

    async def run(self) -> None:
        guards = [asyncio.create_task(self._watch_deadline()), asyncio.create_task(self._watch_disk())]
        failure: str | None = None
        try:
            await self._live()
        except Exception as error:  # a defect of the runner must not leave a pod that never ends
            failure = f"the laptop runner failed: {type(error).__name__}: {error}"
            for process in self._processes.values():
                process.kill()
        finally:
            for guard in (*guards, self._killer):
                if guard:
                    guard.cancel()
            self._finish(failure)
            for log in self.logs.values():
                log.end()
            remove_tree(self._folder / "volumes") if (self._folder / "volumes").exists() else None
            self._node.ended(self)

    # -- the way of a pod ---------------------------------------------------------------------------------------
    async def _live(self) -> None:
        (self._folder / "volumes").mkdir(parents=True)
        self._save(startTime=now(), hostIP="127.0.0.1", hostIPs=[{"ip": "127.0.0.1"}])
        if not await self._until(self._schedule):
            return
        if not await self._until(self._make_volumes):
            return
        for container in self._spec.get("initContainers") or []:
            process = await self._start(container, "initContainerStatuses")
            if process is None or (await self._wait(container, "initContainerStatuses", process)).code != 0:
                return
        started = [(container, await self._start(container, "containerStatuses")) for container in self._spec["containers"]]
        await asyncio.gather(
            *(self._wait(container, "containerStatuses", process) for container, process in started if process is not None)
        )

    def _schedule(self) -> None:
        missing = next((name for name in self._claims() if not self._node.store.find("persistentvolumeclaims", self.namespace, name)), None)
        if missing:
            raise Waiting("Unschedulable", f'0/1 nodes are available: persistentvolumeclaim "{missing}" not found.', "FailedScheduling")

        def assign(pod: Object) -> None:
            pod["spec"]["nodeName"] = NODE

        self._scheduled = True
        try:
            self._pod = self._node.store.update("pods", self.namespace, self.name, assign)
        except Exception as error:
            raise Waiting("Unschedulable", str(error), "FailedScheduling") from error
        self._save(podIP="127.0.0.1", podIPs=[{"ip": "127.0.0.1"}])
        self._event("Scheduled", f"Successfully assigned {self.namespace}/{self.name} to {NODE}")

    def _make_volumes(self) -> None:
        for volume in self._spec.get("volumes") or []:
            folder = self._folder / "volumes" / volume["name"]
            if volume.get("persistentVolumeClaim"):
                continue
            if volume.get("emptyDir") is not None:
                folder.mkdir(exist_ok=True)
                folder.chmod(0o777)
                continue
            try:
                write_files(volume, self._pod, self._node.store, folder)
            except VolumeNotReady as error:
                raise Waiting("ContainerCreating", str(error), "FailedMount") from error

    async def _until(self, step: Callable[[], None]) -> bool:
        """Tries a step until it succeeds, each time anything in the store has changed. False: the pod is ended meanwhile."""
        said = ""
        while self._ending is None:
            seen = self._node.store.version
            try:
                step()
                return True
            except Waiting as waiting:
                if str(waiting) != said:
                    said = str(waiting)
                    if waiting.event == "FailedScheduling":
                        self._save(unschedulable=said)
                    self._event(waiting.event, said, warning=True)
                    seen = self._node.store.version
            await self._or_ending(self._node.store.wait(seen))
        return False

    async def _or_ending(self, awaitable: Any) -> None:
        tasks = {asyncio.ensure_future(awaitable), asyncio.ensure_future(self._ending_set.wait())}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _start(self, container: dict[str, Any], group: str) -> Process | None:
        """Starts a container as soon as it can be. None: it never ran, and its status says why."""
        name = container["name"]
        path = f"spec.{group[:-8]}s{{{name}}}"
        tries = 0
        while self._ending is None:
            seen = self._node.store.version
            try:
                view, command, memory = self._prepare(container, group)
                break
            except Waiting as waiting:
                backoff = waiting.reason == "ErrImagePull" and tries > 0
                reason = "ImagePullBackOff" if backoff else waiting.reason
                text = f'Back-off pulling image "{container["image"]}": ErrImagePull: {waiting}' if backoff else str(waiting)
                state = {"waiting": {"reason": reason, "message": text}}
                if self._states[group][name]["state"] != state:
                    self._set(group, name, state)
                    self._event("BackOff" if backoff else waiting.event, text if backoff else f"Error: {waiting}", path, warning=True)
                    seen = self._node.store.version
                if waiting.reason == "ErrImagePull":
                    await self._or_ending(asyncio.sleep(BACKOFF))
                else:
                    await self._or_ending(self._node.store.wait(seen))
                tries += 1
        else:
            return None
        self._event("Pulled", f'Container image "{container["image"]}" already present on machine', path)
        log = self.logs[name] = Log(self._folder / f"{name}.log")
        try:
            sandbox = self._node.sandbox
            if isinstance(sandbox, Proot):
                root = self._folder / "volumes" / f"{name}.root"  # no volume's name has a dot
                root.mkdir()
                process = await Process.start_unsafe(view, command, sandbox, root, log, memory)
            else:
                process = await Process.start(view, command, sandbox, log, memory)
        except (StartFailed, OSError) as error:
            self._event("Failed", f"Error: {error}", path, warning=True)
            self._set(group, name, _terminated(Ended(128, "StartError", str(error)[:1024]), now(), None))
            return None
        finally:
            for mount in view.mounts:
                if mount.fd is not None:
                    os.close(mount.fd)
        self._processes[name] = process
        if self._ending:
            process.signal(signal.SIGTERM)
        container_id = f"bwrap://{uuid.uuid4().hex}"
        status = self._states[group][name]
        status.update(containerID=container_id, imageID=container["image"], started=True, ready=group == "containerStatuses")
        self._event("Created", f"Created container: {name}", path)
        self._event("Started", f"Started container {name}", path)
        self._set(group, name, {"running": {"startedAt": now()}})
        return process

    async def _wait(self, container: dict[str, Any], group: str, process: Process) -> Ended:
        ended = await process.ended()
        name = container["name"]
        del self._processes[name]
        status = self._states[group][name]
        status.update(ready=ended.code == 0 and group == "initContainerStatuses", started=False)
        message = ended.message or self._answer(container, ended)
        started = status["state"]["running"]["startedAt"]
        state = _terminated(Ended(ended.code, ended.reason, message), started, status["containerID"])
        status["state"] = state
        if not self._all_terminated():
            self._save()  # otherwise it is saved with the pod's final phase
        return ended

    def _prepare(self, container: dict[str, Any], group: str) -> tuple[View, list[str], int | None]:
        """What a container needs to start; opens the folders that it mounts. Raises Waiting."""
        try:
            image = self._node.images.find(container["image"])
        except ImageUnknown as error:
            raise Waiting("ErrImagePull", str(error)) from error
        if isinstance(self._node.sandbox, Proot) and not image.trusted:
            raise Waiting("CreateContainerError", f'image "{image.name}" is not marked as trusted, and the laptop runner has no sandbox')
        security = (self._spec.get("securityContext") or {}) | (container.get("securityContext") or {})
        uid = security["runAsUser"] if security.get("runAsUser") is not None else image.user
        gid = security["runAsGroup"] if security.get("runAsGroup") is not None else image.user
        if security.get("runAsNonRoot") and uid == 0:
            raise Waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
        lookup = lookup_in(self._node.store, self.namespace)
        try:
            own = container_env(container, self._pod, lookup)
        except ConfigMissing as error:
            raise Waiting("CreateContainerConfigError", str(error)) from error
        command = [expand(word, own) for word in (container.get("command") or []) + (container.get("args") or [])]
        if not container.get("command"):
            raise Waiting(
                "CreateContainerError", "no command specified: images of the laptop runner have no entrypoint, so `command` is needed"
            )
        hostname = (self._spec.get("hostname") or self.name)[:63].rstrip("-.")
        etc = self._folder / "etc" / container["name"]
        etc.mkdir(parents=True, exist_ok=True)
        for file, content in etc_files(uid, gid, hostname, self._spec.get("hostAliases") or []).items():
            (etc / file).write_text(content)
            (etc / file).chmod(0o644)
        answer = self._answer_file(container)
        answer.touch()
        answer.chmod(0o666)
        policies = self._node.store.all("networkpolicies", self.namespace)
        labels = self._pod["metadata"].get("labels") or {}
        limits = (container.get("resources") or {}).get("limits") or {}
        view = View(
            hostname=hostname,
            uid=uid,
            gid=gid,
            network=egress_allowed(policies, labels),
            etc=str(etc),
            binds=image.binds,
            mounts=self._mounts(container, own),
            env=image.env | {"HOSTNAME": hostname, "HOME": "/root" if uid == 0 else "/"} | own,
            workdir=os.path.normpath(container.get("workingDir") or "/"),
            answer=(container["terminationMessagePath"], str(answer)),
            scratch=None if security.get("readOnlyRootFilesystem") else self._scratch(container),
        )
        return view, command, quantity(limits["memory"]) if "memory" in limits else None

    def _mounts(self, container: dict[str, Any], env: dict[str, str]) -> tuple[Mount, ...]:
        volumes = {volume["name"]: volume for volume in self._spec.get("volumes") or []}
        mounts: list[Mount] = []
        made: list[tuple[Mount, str]] = []
        try:
            for entry in sorted(container.get("volumeMounts") or [], key=lambda entry: os.path.normpath(entry["mountPath"]).count("/")):
                volume, path = volumes[entry["name"]], os.path.normpath(entry["mountPath"])
                read_only = bool(entry.get("readOnly")) or not ("emptyDir" in volume or "persistentVolumeClaim" in volume)
                below = entry.get("subPath") or expand(entry.get("subPathExpr") or "", env)
                if self._private(volume) and not below:
                    mount = Mount(path, None, self._size(volume, container), read_only)
                else:
                    make = "folder" if "emptyDir" in volume or "persistentVolumeClaim" in volume else None
                    mount = Mount(path, open_within(self._source(volume), below, make), None, read_only)
                mounts.append(mount)
                self._make_mount_point(mount, mounts[:-1])
                made.append((mount, entry["name"]))
        except (UnsafePath, OSError) as error:
            for mount in mounts:
                if mount.fd is not None:
                    os.close(mount.fd)
            raise Waiting("CreateContainerConfigError", f"failed to prepare subPath for volumeMount {entry['name']!r}: {error}") from error
        return tuple(mounts)

    def _make_mount_point(self, mount: Mount, earlier: list[Mount]) -> None:
        """Where a mount lies in another volume, its place in there is made here: bubblewrap would follow links that a container has put."""
        parents = [other for other in earlier if other.fd is not None and is_within(mount.path, other.path) and not other.read_only]
        if not parents:
            return
        parent = max(parents, key=lambda other: len(other.path))
        assert parent.fd is not None
        folder = mount.fd is None or Path(f"/proc/self/fd/{mount.fd}").is_dir()
        os.close(open_within(parent.fd, os.path.relpath(mount.path, parent.path), "folder" if folder else "file"))

    def _source(self, volume: dict[str, Any]) -> Path:
        if claim := volume.get("persistentVolumeClaim"):
            return self._node.claim_folder(self._node.store.get("persistentvolumeclaims", self.namespace, claim["claimName"]))
        return self._folder / "volumes" / volume["name"]

    def _private(self, volume: dict[str, Any]) -> bool:
        """Whether an emptyDir can be a tmpfs: only one mount uses it, and the whole of it. Others are folders whose size is watched."""
        if volume.get("emptyDir") is None:
            return False
        containers = (self._spec.get("initContainers") or []) + self._spec["containers"]
        uses = [mount for container in containers for mount in container.get("volumeMounts") or [] if mount["name"] == volume["name"]]
        return len(uses) == 1 and not uses[0].get("subPath") and not uses[0].get("subPathExpr")

    def _size(self, volume: dict[str, Any], container: dict[str, Any]) -> int:
        limit = volume["emptyDir"].get("sizeLimit")
        return quantity(limit) if limit is not None else self._scratch(container)

    def _scratch(self, container: dict[str, Any]) -> int:
        limits = (container.get("resources") or {}).get("limits") or {}
        return quantity(limits.get("ephemeral-storage", SCRATCH))

    def _claims(self) -> list[str]:
        volumes = self._spec.get("volumes") or []
        return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]

    def _answer_file(self, container: dict[str, Any]) -> Path:
        return self._folder / "etc" / container["name"] / "termination-log"

    def _answer(self, container: dict[str, Any], ended: Ended) -> str:
        with self._answer_file(container).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MESSAGE))
            text = file.read(MESSAGE)
        if not text and ended.code and container["terminationMessagePolicy"] == "FallbackToLogsOnError":
            text = self.logs[container["name"]].last(2048, 80)
        return text.decode(errors="replace")

    # -- what ends a pod ----------------------------------------------------------------------------------------
    async def _kill(self, first: bool) -> None:
        if first and self._processes:
            for group, field in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers")):
                for name in self._states[group].keys() & self._processes.keys():
                    self._event("Killing", f"Stopping container {name}", f"spec.{field}{{{name}}}")
        for process in list(self._processes.values()) if first else []:
            process.signal(signal.SIGTERM)
        await asyncio.sleep(max(0.0, self._kill_at - time.monotonic()))
        while True:  # a container that was being started meanwhile appears a moment later
            for process in list(self._processes.values()):
                process.kill()
            await asyncio.sleep(0.05)

    async def _watch_deadline(self) -> None:
        begun = time.monotonic()
        while (left := self._deadline() - (time.monotonic() - begun)) > 0:
            await asyncio.sleep(min(left, 1))  # a patch may bring it nearer
        message = "Pod was active on the node longer than the specified deadline"
        self._event("DeadlineExceeded", message)
        self.end(Ending(self._spec["terminationGracePeriodSeconds"], "DeadlineExceeded", message))

    def _deadline(self) -> float:
        pod = self._node.store.find("pods", self.namespace, self.name)
        return ((pod or {}).get("spec") or {}).get("activeDeadlineSeconds") or math.inf

    async def _watch_disk(self) -> None:
        """Evicts a pod that outgrows its ephemeral storage, an emptyDir its sizeLimit, or the disk itself."""
        limits: list[tuple[Path, int, str]] = []
        total = 0
        for container in self._spec["containers"]:
            limit = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
            total += quantity(limit) if limit is not None else 1 << 62
        if total < 1 << 62:
            limits.append((self._folder, total, f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "))
        for volume in self._spec.get("volumes") or []:
            size = (volume.get("emptyDir") or {}).get("sizeLimit")
            if size is not None and not self._private(volume):
                text = f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{size}". '
                limits.append((self._folder / "volumes" / volume["name"], quantity(size), text))
        pause = DISK_POLL
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            for folder, limit, text in limits:
                if await asyncio.to_thread(usage.disk, folder, limit) > limit:
                    return self._evict(text)
            room = os.statvfs(self._node.state)
            if room.f_bavail * room.f_frsize < KEEP_FREE:
                return self._evict("The node was low on resource: ephemeral-storage. ")
            pause = max(DISK_POLL, 10 * (time.monotonic() - begun))

    def _evict(self, message: str) -> None:
        self._event("Evicted", message, warning=True)
        self.end(Ending(0, "Evicted", message))

    # -- what the world sees ------------------------------------------------------------------------------------
    def _all_terminated(self) -> bool:
        return all("terminated" in status["state"] for status in self._states["containerStatuses"].values())

    def _finish(self, failure: str | None) -> None:
        """The final phase. Containers that never ran stay `waiting`, as on a real node."""
        states = [status["state"] for group in self._states.values() for status in group.values()]
        good = all(state.get("terminated", {}).get("exitCode") == 0 for state in states)
        extra: dict[str, Any] = {"phase": "Succeeded" if good else "Failed"}
        if failure:
            extra |= {"phase": "Failed", "reason": "RunnerError", "message": failure}
        elif self._ending and self._ending.reason:
            extra |= {"phase": "Failed", "reason": self._ending.reason, "message": self._ending.message}
        self._save(**extra)

    def _set(self, group: str, name: str, state: dict[str, Any]) -> None:
        self._states[group][name]["state"] = state
        self._save()

    def _event(self, reason: str, message: str, container: str | None = None, warning: bool = False) -> None:
        self._node.event(self._pod, reason, message, container, warning)

    def _save(self, unschedulable: str = "", **fields: Any) -> None:
        states = copy.deepcopy(self._states)

        def change(pod: Object) -> None:
            status = pod["status"]
            for group, containers in states.items():
                if containers and self._scheduled:
                    status[group] = list(containers.values())
            if any("running" in state["state"] for state in states["containerStatuses"].values()):
                status["phase"] = "Running"
            status.update(fields)
            done = status["phase"] in ("Succeeded", "Failed")
            initialized = all("terminated" in state["state"] for state in states["initContainerStatuses"].values())
            ready = status["phase"] == "Running" and all(state["ready"] for state in states["containerStatuses"].values())
            why = "PodCompleted" if status["phase"] == "Succeeded" else "PodFailed" if done else "ContainersNotReady"
            status["conditions"] = [
                _condition(status, "PodScheduled", self._scheduled, "Unschedulable" if unschedulable else "", unschedulable),
                _condition(status, "Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
                _condition(status, "Ready", ready, "" if ready else why),
                _condition(status, "ContainersReady", ready, "" if ready else why),
            ]

        pod = self._node.store.find("pods", self.namespace, self.name)
        if pod is not None and pod["metadata"]["uid"] == self.uid:
            self._pod = self._node.store.update("pods", self.namespace, self.name, change)


def _condition(status: dict[str, Any], kind: str, true: bool, reason: str = "", message: str = "") -> dict[str, Any]:
    value = "True" if true else "False"
    old = next((one for one in status.get("conditions") or [] if one["type"] == kind), None)
    since = old["lastTransitionTime"] if old and old["status"] == value else now()
    condition: dict[str, Any] = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
    return condition | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def _new_status(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "lastState": {},
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }
