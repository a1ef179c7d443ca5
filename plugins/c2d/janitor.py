"""Finishes and removes what a crash left behind. Everything here is usually done already, by publish or by the listener."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from c2d import objects
from c2d.hooks.pods import Pods
from c2d.status import Reason
from c2d.store import JobRow, Store

log = logging.getLogger(__name__)

UNPUBLISHED_KEPT = timedelta(hours=24)
"""How long the volume of a job stays whose results could not be published."""

UNKNOWN_KEPT = timedelta(hours=1)
"""How long objects of a job stay that has no row."""


def sweep(store: Store, pods: Pods, run_goes_on: Callable[[str, str], bool]) -> None:
    """Ends every job whose run has ended, and removes the objects of every job that has ended.

    :param run_goes_on: whether the DAG run (DAG id, run id) is queued or running. Must raise where it cannot tell.
    """
    for row in store.unfinished():
        if not run_goes_on(row.environment, row.jobId):
            log.info("job %s: its run has ended, so it has", row.jobId)
            store.finish_job(row.jobId)
    now = datetime.now(UTC)
    for owner in pods.owners(objects.JOB_LABEL):
        job_id = owner["metadata"]["annotations"][objects.JOB_ANNOTATION]
        if is_left_behind(owner, store.job(job_id), now):
            log.info("job %s: removing its objects", job_id)
            pods.delete_owner(owner["metadata"]["name"])


def is_left_behind(owner: dict[str, Any], row: JobRow | None, now: datetime) -> bool:
    """Whether the objects that hang on ``owner`` serve nobody any more."""
    if row is None:
        created = datetime.fromisoformat(owner["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        return now - created > UNKNOWN_KEPT
    if row.dateFinished is None:
        return False
    unpublished = (row.terminationDetails or {}).get("reason") == Reason.PUBLISH_FAILED
    return now - row.dateFinished > UNPUBLISHED_KEPT if unpublished else True
