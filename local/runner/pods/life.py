"""The life of a pod: scheduled, its volumes made, its init containers run one after the other, then its containers side by side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from local.runner.containers.logs import Log
from local.runner.containers.process import Ended, Process, StartFailed
from local.runner.pods import status
from local.runner.pods.container_plan import Plan, Waiting, plan_container, termination_message, write_etc
from local.runner.pods.events import NODE, EventRecorder
from local.runner.pods.folders import remove_tree
from local.runner.pods.host import Host
from local.runner.pods.limits import deadline, disk_exceeded, disk_limits
from local.runner.pods.termination import Cause, Termination
from local.runner.pods.volumes import VolumeNotReady, claim_names, make_volumes
from local.runner.store.objects import Object

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class PodEnded(Exception):
    """The pod is being ended, so the next step of its life is not taken."""


class PodLife:
    """One pod, from its creation to its final status."""

    def __init__(self, pod: Object, host: Host, events: EventRecorder) -> None:
        self._pod = pod
        self._spec = pod["spec"]
        self._host = host
        self._events = events
        self._folder = host.pod_folder(pod)
        self._processes: dict[str, Process] = {}
        self._termination = Termination(self._processes)
        self.logs: dict[str, Log] = {}

    def terminate(self, cause: Cause) -> None:
        """End the pod, whatever it is doing."""
        running = list(self._processes)
        if self._termination.begin(cause):
            for name in running:
                self._event("Killing", f"Stopping container {name}", name)

    async def run(self) -> None:
        """Run the pod. Its status is final when this returns, whatever happens."""
        guards = [asyncio.create_task(self._end_at_deadline()), asyncio.create_task(self._end_when_disk_is_full())]
        failure = None
        try:
            await self._live()
        except Exception as error:  # a defect of the runner must not leave a pod that never ends
            logger.exception("the runner failed to run pod %s", self._pod["metadata"]["name"])
            failure = Cause(0, "RunnerError", f"the laptop runner failed: {type(error).__name__}: {error}")
            for process in self._processes.values():
                process.kill()
        finally:
            for guard in guards:
                guard.cancel()
            self._termination.close()
            self._update(status.finished, failure or self._termination.cause)
            for log in self.logs.values():
                log.end()
            remove_tree(self._folder / "volumes")

    async def _live(self) -> None:
        (self._folder / "volumes").mkdir(parents=True)
        self._update(status.accepted)
        with contextlib.suppress(PodEnded):
            await self._when_possible(self._schedule, self._report_unschedulable)
            await self._when_possible(self._make_volumes, self._report_event)
            for container in self._spec.get("initContainers") or []:
                if await self._run_container(container) != 0:
                    return
            await asyncio.gather(*(self._run_container(container) for container in self._spec["containers"]))

    # -- scheduling and volumes ---------------------------------------------------------------------------------
    def _schedule(self) -> None:
        namespace, name = self._pod["metadata"]["namespace"], self._pod["metadata"]["name"]
        for claim in claim_names(self._spec):
            if not self._host.store.find("persistentvolumeclaims", namespace, claim):
                message = f'0/1 nodes are available: persistentvolumeclaim "{claim}" not found.'
                raise Waiting("Unschedulable", message, "FailedScheduling")
        self._update(status.scheduled, NODE)
        self._event("Scheduled", f"Successfully assigned {namespace}/{name} to {NODE}")

    def _make_volumes(self) -> None:
        try:
            make_volumes(self._pod, self._host.store, self._folder / "volumes")
        except VolumeNotReady as error:
            raise Waiting("ContainerCreating", str(error), "FailedMount") from error

    # -- containers ---------------------------------------------------------------------------------------------
    async def _run_container(self, container: dict[str, Any]) -> int | None:
        """Run one container to its end; its exit code, or None if it never ran. Its status says why."""
        name = container["name"]
        try:
            plan = await self._when_possible(
                lambda: plan_container(container, self._current(), self._host), lambda waiting: self._report_waiting(name, waiting)
            )
        except PodEnded:
            return None
        self._event("Pulled", f'Container image "{container["image"]}" already present on machine', name)
        try:
            process = await self._start(name, plan)
        except (StartFailed, OSError) as error:
            self._event("Failed", f"Error: {error}", name, warning=True)
            self._record_end(name, Ended(128, "StartError", str(error)[:1024]))
            return None
        ended = await process.ended()
        del self._processes[name]
        message = ended.message or self._termination_message(container, ended.code)
        self._record_end(name, Ended(ended.code, ended.reason, message))
        return ended.code

    async def _start(self, name: str, plan: Plan) -> Process:
        with contextlib.closing(plan.view):
            write_etc(plan.view, self._spec.get("hostAliases") or [])
            log = self.logs[name] = Log(self._folder / f"{name}.log")
            process = await self._host.sandbox.start(plan.view, plan.command, log, plan.memory)
        self._processes[name] = process
        if self._termination.cause:  # it came while the container was starting
            process.signal(signal.SIGTERM)
        self._event("Created", f"Created container: {name}", name)
        self._event("Started", f"Started container {name}", name)
        self._update(status.running, name, f"bwrap://{uuid.uuid4().hex}")
        return process

    def _termination_message(self, container: dict[str, Any], code: int) -> str:
        message = termination_message(self._folder, container)
        if not message and code and container["terminationMessagePolicy"] == "FallbackToLogsOnError":
            message = self.logs[container["name"]].last(2048, 80)
        return message.decode(errors="replace")

    def _record_end(self, name: str, ended: Ended) -> None:
        def change(pod: Object) -> None:
            status.terminated(pod, name, ended)
            if status.all_terminated(pod):  # in one change: no watcher sees a running pod without a running container
                status.finished(pod, self._termination.cause)

        self._update(change)

    # -- what ends it from outside ------------------------------------------------------------------------------
    async def _end_at_deadline(self) -> None:
        await deadline(lambda: self._current()["spec"].get("activeDeadlineSeconds"))
        message = "Pod was active on the node longer than the specified deadline"
        self._event("DeadlineExceeded", message)
        self.terminate(Cause(self._spec["terminationGracePeriodSeconds"], "DeadlineExceeded", message))

    async def _end_when_disk_is_full(self) -> None:
        message = await disk_exceeded(disk_limits(self._spec, self._folder), self._host.state)
        self._event("Evicted", message, warning=True)
        self.terminate(Cause(0, "Evicted", message))

    # -- steps that may have to wait ----------------------------------------------------------------------------
    async def _when_possible(self, step: Callable[[], Result], report: Callable[[Waiting], None]) -> Result:
        """Take a step; if it has to wait, report why and try again after each change of an object.

        :raises PodEnded: the pod is being ended.
        """
        reported = ""
        while not self._termination.cause:
            version = self._host.store.version
            try:
                return step()
            except Waiting as waiting:
                if str(waiting) != reported:
                    reported = str(waiting)
                    report(waiting)
                    version = self._host.store.version
                await self._next_change(version, waiting.retry_after)
        raise PodEnded

    async def _next_change(self, version: int, timeout: float | None) -> None:
        """Wait until the store is newer than `version`, the timeout has passed or the pod is being ended."""
        tasks = {asyncio.ensure_future(self._host.store.wait(version)), asyncio.ensure_future(self._termination.wait())}
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    def _report_unschedulable(self, waiting: Waiting) -> None:
        self._update(status.unschedulable, str(waiting))
        self._report_event(waiting)

    def _report_event(self, waiting: Waiting) -> None:
        self._event(waiting.event, str(waiting), warning=True)

    def _report_waiting(self, name: str, waiting: Waiting) -> None:
        self._update(status.waiting, name, waiting.reason, str(waiting))
        self._event(waiting.event, f"Error: {waiting}", name, warning=True)

    # -- the pod in the store -----------------------------------------------------------------------------------
    def _current(self) -> Object:
        return self._host.store.get("pods", self._pod["metadata"]["namespace"], self._pod["metadata"]["name"])

    def _update(self, change: Callable[..., None], *arguments: object) -> None:
        metadata = self._pod["metadata"]
        self._pod = self._host.store.update("pods", metadata["namespace"], metadata["name"], lambda pod: change(pod, *arguments))

    def _event(self, reason: str, message: str, container: str = "", warning: bool = False) -> None:
        self._events.record(self._pod, reason, message, container, warning)
