"""From a container's spec to what the sandbox needs to run it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.runner.containers.images import Image, ImagesError, ImageUnknown
from local.runner.containers.view import View, etc_files
from local.runner.pods.environment import ConfigMissing, container_env, expand
from local.runner.pods.host import Host
from local.runner.pods.mounts import MountFailed, open_mounts, scratch_size
from local.runner.pods.network_policy import egress_allowed
from local.runner.pods.volumes import lookup_in
from local.runner.quantities import limit_of
from local.runner.store.objects import Object

IMAGE_RETRY = 1.0
"""Seconds after which an image that was missing is looked for again."""
MESSAGE = 4096
"""Bytes of a termination message; the last ones count, as for the kubelet."""


class Waiting(Exception):
    """A pod or container cannot go on yet. `reason` and the message are for its status."""

    def __init__(self, reason: str, message: str, event: str = "Failed", retry_after: float | None = None) -> None:
        """`event` is the reason of the event about it. It is tried again when an object changes, and after `retry_after` seconds."""
        super().__init__(message)
        self.reason = reason
        self.event = event
        self.retry_after = retry_after


@dataclass(frozen=True)
class Plan:
    """A container that can start."""

    view: View
    command: list[str]
    memory: int | None
    """Bytes, or None without a limit."""


def plan_container(container: dict[str, Any], pod: Object, host: Host) -> Plan:
    """Decide all that a container needs to start, and open what it mounts. The caller closes the view.

    :raises Waiting: something is missing or not allowed.
    """
    spec = pod["spec"]
    image = _image(container, host)
    security = (spec.get("securityContext") or {}) | (container.get("securityContext") or {})
    uid, gid = _user(security, image)
    try:
        variables = container_env(container, pod, lookup_in(host.store, pod["metadata"]["namespace"]))
    except ConfigMissing as error:
        raise Waiting("CreateContainerConfigError", str(error)) from error
    command = _command(container, variables)
    hostname = str(spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")
    folder = host.pod_folder(pod)
    try:
        mounts = open_mounts(container, spec, variables, lambda volume: _volume_folder(volume, pod, host))
    except MountFailed as error:
        raise Waiting("CreateContainerConfigError", str(error)) from error
    view = View(
        hostname=hostname,
        uid=uid,
        gid=gid,
        network=egress_allowed(host.store.all("networkpolicies", pod["metadata"]["namespace"]), pod["metadata"].get("labels") or {}),
        etc=folder / "etc" / container["name"],
        root=folder / "volumes" / f"{container['name']}.root",  # no volume's name has a dot
        binds=image.binds,
        mounts=mounts,
        env=image.env | {"HOSTNAME": hostname, "HOME": "/root" if uid == 0 else "/"} | variables,
        workdir=os.path.normpath(container.get("workingDir") or "/"),
        termination_log=(container["terminationMessagePath"], termination_log(folder, container)),
        scratch=None if security.get("readOnlyRootFilesystem") else scratch_size(container),
    )
    return Plan(view, command, limit_of(container, "memory"))


def write_etc(view: View, host_aliases: list[dict[str, Any]]) -> None:
    """Write the container's own files of /etc, and an empty termination message."""
    view.etc.mkdir(parents=True, exist_ok=True)
    for name, content in etc_files(view.uid, view.gid, view.hostname, host_aliases).items():
        (view.etc / name).write_text(content)
        (view.etc / name).chmod(0o644)
    if view.termination_log:
        file = view.termination_log[1]
        file.touch()
        file.chmod(0o666)


def termination_log(folder: Path, container: dict[str, Any]) -> Path:
    """The file on the host that is the container's terminationMessagePath."""
    return folder / "etc" / str(container["name"]) / "termination-log"


def termination_message(folder: Path, container: dict[str, Any]) -> bytes:
    """What the container has written to its terminationMessagePath."""
    with termination_log(folder, container).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MESSAGE))
        return file.read(MESSAGE)


def _image(container: dict[str, Any], host: Host) -> Image:
    try:
        image = host.images.find(container["image"])
    except (ImageUnknown, ImagesError) as error:
        raise Waiting("ErrImagePull", str(error), retry_after=IMAGE_RETRY) from error
    if not image.trusted and not host.sandbox.isolates:
        raise Waiting("CreateContainerError", f'image "{image.name}" is not marked as trusted, and the laptop runner has no sandbox')
    return image


def _user(security: dict[str, Any], image: Image) -> tuple[int, int]:
    uid = security["runAsUser"] if security.get("runAsUser") is not None else image.user
    gid = security["runAsGroup"] if security.get("runAsGroup") is not None else image.user
    if security.get("runAsNonRoot") and uid == 0:
        raise Waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
    return uid, gid


def _command(container: dict[str, Any], variables: dict[str, str]) -> list[str]:
    if not container.get("command"):
        message = "no command specified: images of the laptop runner have no entrypoint, so `command` is needed"
        raise Waiting("CreateContainerError", message)
    return [expand(word, variables) for word in [*container["command"], *(container.get("args") or [])]]


def _volume_folder(volume: dict[str, Any], pod: Object, host: Host) -> Path:
    claim = volume.get("persistentVolumeClaim")
    if not claim:
        return host.pod_folder(pod) / "volumes" / str(volume["name"])
    return host.claim_folder(host.store.get("persistentvolumeclaims", pod["metadata"]["namespace"], claim["claimName"]))
