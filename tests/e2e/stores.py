"""The stores of the e2e stacks, on an address that pods can reach: one environment for each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.services import Cluster, Kubo, Minio


class Stores:
    """MinIO, kubo and an IPFS cluster: made before the stack, whose settings name them, and running only for the tests of them."""

    def __init__(self, folder: Path, address: str) -> None:
        self.minio = Minio(folder / "minio", address)
        self.kubo = Kubo(folder / "kubo", address)
        self.cluster = Cluster(folder / "cluster", address)
        self.results, self.admin_logs = "c2d-results", "c2d-adminlogs"
        self.running = False

    def environments(self) -> list[dict[str, Any]]:
        s3 = {"AWS_BUCKET_OUTPUT": self.results, "AWS_BUCKET_ADMINLOGS": self.admin_logs}
        return [
            {"id": "s3", "C2D_UPLOAD_RETRY_SECONDS": 3, **self.minio.settings(**s3)},
            {"id": "ipfs", "encrypt_results": "none", **self.kubo.settings()},
            {"id": "ipfs-cluster", "C2D_IPFS_REPLICATION_MIN": 2, **self.cluster.settings(IPFS_OUTPUT_PREFIX="ipfs://")},
        ]

    def start(self) -> None:
        if not self.running:
            self.running = True
            for service in (self.minio, self.kubo, self.cluster):
                service.start()
            for bucket in (self.results, self.admin_logs):
                self.minio.bucket(bucket)

    def stop(self) -> None:
        if self.running:
            for service in (self.minio, self.kubo, self.cluster):
                service.stop()
