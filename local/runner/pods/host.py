"""What pods need of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local.runner.containers.images import Images
from local.runner.containers.sandbox import Sandbox
from local.runner.store.objects import Object
from local.runner.store.store import Store


@dataclass(frozen=True)
class Host:
    """The objects, images, folders and sandbox of this machine."""

    store: Store
    images: Images
    state: Path
    sandbox: Sandbox

    def pod_folder(self, pod: Object) -> Path:
        """The pod's logs, volumes and files of /etc."""
        return self.state / "pods" / str(pod["metadata"]["uid"])

    def claim_folder(self, claim: Object) -> Path:
        """The content of a claim's volume."""
        return self.state / "volumes" / str(claim["metadata"]["uid"])
