"""The janitor's work: finish and remove what a crash left behind, and remove results that have expired.

Usually there is nothing to do, because publish or the listener has done it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from c2d.contract import StoreCids
from c2d.database.jobs import JobRepository, JobRow
from c2d.database.retention import UNPUBLISHED_RETENTION, Retention, StoredResults
from c2d.errors import InvalidSettings, ResultStoreError
from c2d.hooks.kubernetes import Pods
from c2d.jobs import ids
from c2d.jobs.status import Reason
from c2d.pods import manifests
from c2d.results.destinations import Destination, destinations
from c2d.results.stores import JobResultStores, result_store
from c2d.results.volume_store import VolumeResultStore
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

log = logging.getLogger(__name__)

UNKNOWN_JOB_RETENTION = timedelta(hours=1)
"""How long the objects of a job stay that has no row."""

MAX_FAILURES = 20
"""After this many failures to remove results, a sweep leaves the rest of the environment to the next one."""


def sweep(
    repository: JobRepository,
    pods: Pods,
    run_is_active: Callable[[str, str], bool],
    clear_stores: Callable[[JobRow], None] = lambda row: None,
) -> None:
    """End every job whose run has ended, and remove the objects of every job that has ended.

    :param run_is_active: whether the DAG run (DAG id, run id) is queued or running. It must raise if it cannot tell.
    :param clear_stores: removes the partial upload of a job whose results could not be published, before its volume goes.
    """
    for row in repository.unfinished_with_run():
        if not run_is_active(row.environment, row.jobId):
            log.info("job %s: its run has ended, so the job ends", row.jobId)
            repository.finish_job(row.jobId)
    now = datetime.now(UTC)
    for owner in pods.owners(manifests.JOB_LABEL):
        job_id = owner["metadata"]["annotations"][manifests.JOB_ANNOTATION]
        job = repository.job(job_id)
        if not is_left_behind(owner, job, now):
            continue
        if job is not None and is_unpublished(job):
            if run_is_active(job.environment, job_id):  # it is being published again
                continue
            clear_stores(job)
        log.info("job %s: removing its objects", job_id)
        pods.delete_owner(owner["metadata"]["name"])


def is_left_behind(owner: dict[str, Any], row: JobRow | None, now: datetime) -> bool:
    """Whether nobody needs the objects that ``owner`` owns any more.

    :param owner: the ConfigMap that owns the job's objects.
    """
    if row is None:
        created = datetime.fromisoformat(owner["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        return now - created > UNKNOWN_JOB_RETENTION
    if row.dateFinished is None:
        return False
    return now - row.dateFinished > UNPUBLISHED_RETENTION if is_unpublished(row) else True


def is_unpublished(row: JobRow) -> bool:
    """Whether the job ended because its results could not be published."""
    return (row.terminationDetails or {}).get("reason") == Reason.PUBLISH_FAILED


def partial_upload_remover(settings: Settings) -> Callable[[JobRow], None]:
    """A function that removes a job's partial upload. If a store does not answer, the upload stays for the store's own lifecycle rules."""

    def remove(row: JobRow) -> None:
        try:
            env = settings.environment(row.environment)
            JobResultStores(destinations(env), env, settings, row.jobId).remove_partial_uploads()
        except Exception as e:
            log.warning("job %s: its partial upload cannot be removed (%s)", row.jobId, _without_secrets(e))

    return remove


def expire(repository: JobRepository, settings: Settings, now: datetime) -> None:
    """Remove the results that have expired from every environment's stores. A failure is tried again at the next sweep."""
    retention = Retention(repository)
    for env in settings.environments:
        if marked := retention.expire(env, now):
            log.info("environment %s: the results of %d jobs have expired", env.id, marked)
        _empty(env.id, env, settings, retention)
    environments = [env.id for env in settings.environments]
    if marked := retention.expire_in_former_environments(environments, now):
        log.info("the results of %d jobs of former environments have expired", marked)
    for environment in retention.former_environments(environments):
        log.warning("environment %s: is no longer in the settings, but results of its jobs are in their stores", environment)
        _empty(environment, None, settings, retention)


def _empty(environment: str, env: Environment | None, settings: Settings, retention: Retention) -> None:
    """:param env: None: the environment is no longer in the settings."""
    failures = 0
    for stored in retention.results_to_remove(environment):
        try:
            _remove(stored, env, settings, retention)
        except Exception as e:
            log.warning("job %s: its results cannot be removed yet (%s)", stored.jobId, _without_secrets(e))
            failures += 1
            if failures == MAX_FAILURES:  # each attempt at a store that is away takes its time
                log.warning("environment %s: the next sweep removes the rest", environment)
                return


def _remove(stored: StoredResults, env: Environment | None, settings: Settings, retention: Retention) -> None:
    for record in stored.stores.values():
        destination, cids = Destination.of_record(record), StoreCids.from_json(record)
        if env is None:
            if destination.type != "directory":
                raise InvalidSettings(
                    "the credentials of its store were in the environment's settings; put the environment back, or empty the store by hand"
                )
            VolumeResultStore(settings.C2D_RESULTS_PATH, ids.object_name(stored.jobId)).remove(cids)
            continue
        if cids.cid and retention.is_shared(stored.jobId, cids.cid):
            cids = StoreCids(manifest=cids.manifest)
            if cids.manifest is None:
                continue
        result_store(destination, env, settings, stored.jobId).remove(cids)
    retention.removed(stored.jobId)


def _without_secrets(error: Exception) -> str:
    """An error's text, or only its class if the text may hold a secret."""
    return str(error) if isinstance(error, (InvalidSettings, ResultStoreError)) else type(error).__name__
