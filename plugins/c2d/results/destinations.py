"""Where a job's results and admin logs go, by the settings, and what the outside is told of it.

The incumbent's priority: IPFS where IPFS_OUTPUT is set, else S3 where AWS_BUCKET_OUTPUT is set, else the results volume. Admin logs have
settings of their own, and go where the results go if those are not set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from c2d.settings.installation import Environment


@dataclass(frozen=True)
class Destination:
    """One store. ``at``: the bucket, or the URL of the IPFS API; "" for the results volume. ``prefix``: what a CID is added to."""

    type: Literal["directory", "s3", "ipfs"]
    at: str = ""
    prefix: str = ""

    def dump(self, **more: Any) -> dict[str, Any]:
        """What the job's row keeps of it: enough to read and remove what lies there when the settings are others."""
        kept = {"s3": {"bucket": self.at}, "ipfs": {"api": self.at}, "directory": {}}[self.type]
        return {"type": self.type, **kept, **more}


@dataclass(frozen=True)
class Destinations:
    """The stores of a job; the same one twice where admin logs have none of their own."""

    results: Destination
    admin_logs: Destination

    @property
    def all(self) -> tuple[Destination, ...]:
        return (self.results,) if self.results == self.admin_logs else (self.results, self.admin_logs)

    def dump(self) -> dict[str, Any]:
        """As the job's row keeps them."""
        one = {"results": self.results.dump()}
        return one if self.results == self.admin_logs else {**one, "adminLogs": self.admin_logs.dump()}

    @property
    def volume(self) -> bool:
        """Whether the results volume is needed."""
        return any(place.type == "directory" for place in self.all)


def destinations(env: Environment) -> Destinations:
    """The stores that ``env`` names."""
    results = _place(env.IPFS_OUTPUT, env.IPFS_OUTPUT_PREFIX, env.AWS_BUCKET_OUTPUT) or Destination("directory")
    return Destinations(results, _place(env.IPFS_ADMINLOGS, env.IPFS_ADMINLOGS_PREFIX, env.AWS_BUCKET_ADMINLOGS) or results)


def _place(ipfs: str | None, prefix: str | None, bucket: str | None) -> Destination | None:
    if ipfs:
        return Destination("ipfs", ipfs.rstrip("/"), ipfs_prefix(ipfs, prefix))
    return Destination("s3", bucket) if bucket else None


def ipfs_prefix(url: str, prefix: str | None) -> str:
    """What a CID is added to, as the incumbent has it: the prefix, with a slash where it needs one, or the API's own ``/ipfs/``."""
    if not prefix:
        return url.rstrip("/") + "/ipfs/"
    return prefix if prefix.endswith("/") else prefix + "/"


def kept_for(env: Environment, place: Destination) -> timedelta | None:
    """How long results at ``place`` stay; None: until they are deleted by hand."""
    terms = [timedelta(hours=env.STORAGE_EXPIRY)] if env.STORAGE_EXPIRY else []
    if env.IPFS_EXPIRY_TIME and place.type == "ipfs":
        terms.append(timedelta(seconds=env.IPFS_EXPIRY_TIME))
    return min(terms, default=None)
