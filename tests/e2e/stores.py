"""The stores of the e2e stacks, on an address that pods can reach, with an environment for each kind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.proxy import Proxy
from tests.services import Cluster, Kubo, Minio


class Stores:
    """MinIO, kubo and an IPFS cluster. They are created before the stack, whose settings name them, but run only when tests need them."""

    def __init__(self, folder: Path, address: str) -> None:
        self.minio = Minio(folder / "minio", address)
        self.kubo = Kubo(folder / "kubo", address)
        self.cluster = Cluster(folder / "cluster", address)
        self.slow = Proxy(self.minio.endpoint, address)
        """The connection of the environment ``slow`` to MinIO."""
        self.results, self.admin_logs = "c2d-results", "c2d-adminlogs"

    def environments(self) -> list[dict[str, Any]]:
        s3 = {"AWS_BUCKET_OUTPUT": self.results, "AWS_BUCKET_ADMINLOGS": self.admin_logs}
        return [
            {"id": "slow", **self.minio.settings(AWS_BUCKET_OUTPUT=self.results, AWS_ENDPOINT_URL=self.slow.url)},
            {"id": "s3", "C2D_UPLOAD_RETRY_SECONDS": 3, **self.minio.settings(**s3)},
            {"id": "ipfs", "encrypt_results": "none", **self.kubo.settings()},
            {"id": "ipfs-cluster", "C2D_IPFS_REPLICATION_MIN": 2, **self.cluster.settings(IPFS_OUTPUT_PREFIX="ipfs://")},
        ]

    def s3(self) -> Minio:
        """MinIO. It is started at its first use and runs until the stack ends."""
        if self.minio.process is None:
            self.minio.start()
            for bucket in (self.results, self.admin_logs):
                self.minio.bucket(bucket)
        return self.minio

    @contextlib.contextmanager
    def slowly(self) -> Iterator[None]:
        """Make publishing in the environment ``slow`` take minutes, until the block ends."""
        self.s3()
        self.slow.rate = 100_000
        try:
            yield
        finally:
            self.slow.rate = 0

    def start_ipfs(self) -> None:
        for service in (self.kubo, self.cluster):
            service.start()

    def stop_ipfs(self) -> None:
        for service in (self.kubo, self.cluster):
            service.stop()

    def stop(self) -> None:
        self.stop_ipfs()
        self.slow.close()
        self.minio.stop()
