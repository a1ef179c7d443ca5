"""Finishes and removes what a crash left behind. Everything here is usually done already, by publish or by the listener."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from c2d.database.jobs import JobRepository, JobRow
from c2d.database.retention import UNPUBLISHED_KEPT, Retention, StoredResults
from c2d.errors import InvalidSettings, ResultStoreError
from c2d.hooks.kubernetes import Pods
from c2d.jobs import ids
from c2d.jobs.status import Reason
from c2d.pods import manifests
from c2d.results.destinations import Destination, destinations
from c2d.results.stores import JobResultStores, VolumeResultStore, results_at
from c2d.settings.installation import Environment, Settings

log = logging.getLogger(__name__)

UNKNOWN_KEPT = timedelta(hours=1)
"""How long objects of a job stay that has no row."""

FAILURES = 20
"""Jobs of an environment whose results cannot be removed, before a sweep leaves the others for the next one."""


def sweep(
    store: JobRepository, pods: Pods, run_goes_on: Callable[[str, str], bool], clear: Callable[[JobRow], None] = lambda row: None
) -> None:
    """Ends every job whose run has ended, and removes the objects of every job that has ended.

    :param clear: removes what a job left half in its stores whose results could not be published; called before its volume goes.
    :param run_goes_on: whether the DAG run (DAG id, run id) is queued or running. Must raise where it cannot tell.
    """
    for row in store.unfinished():
        if not run_goes_on(row.environment, row.jobId):
            log.info("job %s: its run has ended, so it has", row.jobId)
            store.finish_job(row.jobId)
    now = datetime.now(UTC)
    for owner in pods.owners(manifests.JOB_LABEL):
        job_id = owner["metadata"]["annotations"][manifests.JOB_ANNOTATION]
        job = store.job(job_id)
        if not is_left_behind(owner, job, now):
            continue
        if job is not None and is_unpublished(job):
            if run_goes_on(job.environment, job_id):  # it is being published again
                continue
            clear(job)
        log.info("job %s: removing its objects", job_id)
        pods.delete_owner(owner["metadata"]["name"])


def is_left_behind(owner: dict[str, Any], row: JobRow | None, now: datetime) -> bool:
    """Whether the objects that hang on ``owner`` serve nobody any more."""
    if row is None:
        created = datetime.fromisoformat(owner["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        return now - created > UNKNOWN_KEPT
    if row.dateFinished is None:
        return False
    return now - row.dateFinished > UNPUBLISHED_KEPT if is_unpublished(row) else True


def is_unpublished(row: JobRow) -> bool:
    return (row.terminationDetails or {}).get("reason") == Reason.PUBLISH_FAILED


def clear_half(settings: Settings) -> Callable[[JobRow], None]:
    """Removes what a publish that failed left in its stores. One that does not answer is left to its own lifecycle rules."""

    def clear(row: JobRow) -> None:
        try:
            env = settings.environment(row.environment)
            results = JobResultStores(destinations(env), env, settings, row.jobId)
            for place in results.places.all:
                results.at(place).remove({})
        except Exception as e:
            log.warning("job %s: what was half published cannot be removed (%s)", row.jobId, _said(e))

    return clear


def expire(store: JobRepository, settings: Settings, now: datetime) -> None:
    """Removes the results whose time is over, from every environment's stores. What cannot be removed now is tried again the next time."""
    retention = Retention(store)
    for env in settings.environments:
        if marked := retention.expire(env, now):
            log.info("environment %s: the results of %d jobs have expired", env.id, marked)
        _empty(env.id, env, settings, retention)
    known = [env.id for env in settings.environments]
    if marked := retention.expire_gone(known, now):
        log.info("the results of %d jobs have expired whose environments are not in the settings any more", marked)
    for environment in retention.gone(known):
        log.warning("environment %s: is not in the settings, but results of its jobs are in their stores", environment)
        _empty(environment, None, settings, retention)


def _empty(environment: str, env: Environment | None, settings: Settings, retention: Retention) -> None:
    """:param env: None: its settings are not known any more."""
    failed = 0
    for stored in retention.to_remove(environment):
        try:
            _remove(stored, env, settings, retention)
        except Exception as e:
            log.warning("job %s: its results cannot be removed yet (%s)", stored.jobId, _said(e))
            failed += 1
            if failed == FAILURES:  # a store that is away takes its time for each
                log.warning("environment %s: the rest is tried the next time", environment)
                return


def _remove(stored: StoredResults, env: Environment | None, settings: Settings, retention: Retention) -> None:
    for kept in stored.stores.values():
        place = Destination(kept["type"], kept.get("bucket") or kept.get("api") or "")
        if env is None:
            if place.type != "directory":
                raise InvalidSettings(
                    "the account of its store was in the environment's settings; put the environment back, or empty it by hand"
                )
            VolumeResultStore(settings.C2D_RESULTS_PATH, ids.object_name(stored.jobId)).remove(kept)
            continue
        if "cid" in kept and retention.shared(stored.jobId, kept["cid"]):
            kept = {name: value for name, value in kept.items() if name != "cid"}
            if "manifest" not in kept:
                continue
        results_at(place, env, settings, stored.jobId).remove(kept)
    retention.removed(stored.jobId)


def _said(error: Exception) -> str:
    """A failure without what may be secret in its text."""
    return str(error) if isinstance(error, (InvalidSettings, ResultStoreError)) else type(error).__name__
