"""The stores that an environment's settings choose for results and admin logs.

The priority is operator-engine's: IPFS if IPFS_OUTPUT is set, else S3 if AWS_BUCKET_OUTPUT is set, else the results volume. Admin logs have
settings of their own; without these they go where the results go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from c2d.hooks.ipfs import IpfsHook
from c2d.settings.environment import Environment


@dataclass(frozen=True)
class Destination:
    """One store.

    location: the bucket, or the URL of the IPFS API; empty for the results volume. prefix: an IPFS result's URL is this and its CID.
    """

    type: Literal["directory", "s3", "ipfs"]
    location: str = ""
    prefix: str = ""

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Destination:
        """The destination in a record that :meth:`dump` has made."""
        return cls(record["type"], record.get("bucket") or record.get("api") or "")

    def dump(self, **details: Any) -> dict[str, Any]:
        """The record in the job's row: what is needed to read and remove the results even if the settings change."""
        location = {"s3": {"bucket": self.location}, "ipfs": {"api": self.location}, "directory": {}}[self.type]
        return {"type": self.type, **location, **details}


VOLUME = Destination("directory")


@dataclass(frozen=True)
class Destinations:
    """The stores of a job; both are the same if admin logs have no store of their own."""

    results: Destination
    admin_logs: Destination

    @property
    def all(self) -> tuple[Destination, ...]:
        """One destination or two."""
        return (self.results,) if self.results == self.admin_logs else (self.results, self.admin_logs)

    @property
    def include_volume(self) -> bool:
        """Whether the results volume is one of them."""
        return VOLUME in self.all

    def dump(self) -> dict[str, Any]:
        """The record in the job's row."""
        record = {"results": self.results.dump()}
        return record if self.results == self.admin_logs else {**record, "adminLogs": self.admin_logs.dump()}


def destinations(env: Environment) -> Destinations:
    """The stores of the environment.

    :raises c2d.errors.UpstreamUnavailable: the Airflow connection that C2D_IPFS_CONN_ID names cannot be used.
    """
    results = _destination(_ipfs_output(env), env.IPFS_OUTPUT_PREFIX, env.AWS_BUCKET_OUTPUT) or VOLUME
    admin_logs = _destination(env.IPFS_ADMINLOGS, env.IPFS_ADMINLOGS_PREFIX, env.AWS_BUCKET_ADMINLOGS) or results
    return Destinations(results, admin_logs)


def _ipfs_output(env: Environment) -> str | None:
    """IPFS_OUTPUT, or the host of the connection."""
    if env.IPFS_OUTPUT or not env.C2D_IPFS_CONN_ID:
        return env.IPFS_OUTPUT
    return IpfsHook.of(env).get_conn().api_url


def _destination(ipfs_url: str | None, prefix: str | None, bucket: str | None) -> Destination | None:
    if ipfs_url:
        return Destination("ipfs", ipfs_url.rstrip("/"), _ipfs_prefix(ipfs_url, prefix))
    return Destination("s3", bucket) if bucket else None


def _ipfs_prefix(url: str, prefix: str | None) -> str:
    """As operator-engine has it: the setting, with a slash at its end, or else ``/ipfs/`` at the API."""
    if not prefix:
        return url.rstrip("/") + "/ipfs/"
    return prefix if prefix.endswith("/") else prefix + "/"


def storage_term(env: Environment, destination: Destination) -> timedelta | None:
    """How long results are stored there; None: until somebody deletes them."""
    terms = [timedelta(hours=env.STORAGE_EXPIRY)] if env.STORAGE_EXPIRY else []
    if env.IPFS_EXPIRY_TIME and destination.type == "ipfs":
        terms.append(timedelta(seconds=env.IPFS_EXPIRY_TIME))
    return min(terms, default=None)
