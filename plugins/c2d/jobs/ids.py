"""A job's id, and the names of the Kubernetes objects that are made from it."""

from __future__ import annotations

import hashlib
import re
import uuid

from c2d.jobs.status import Stage

JOB_ID = r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$"
"""Ids that a run started in Airflow may have. They name Kubernetes objects: ``<job id>-configure`` must fit in a label."""

API_JOB_ID = re.compile(r"^[0-9a-f]{31}[a-f]$")
"""Ids that :func:`new_job_id` makes."""


def new_job_id() -> str:
    """A UUID4 in hex that ends in a letter.

    A Provider signs owner + job id + nonce with nothing between them. The id ends in a letter and a nonce has digits only, so a signed
    text can be read in one way only.
    """
    while True:
        job_id = uuid.uuid4().hex
        if API_JOB_ID.match(job_id):
            return job_id


def object_name(job_id: str) -> str:
    """The name of a job's Kubernetes objects: the job id, or a digest of it if the id is not a Kubernetes name."""
    return job_id if re.fullmatch(JOB_ID, job_id) else "job-" + hashlib.sha256(job_id.encode()).hexdigest()[:32]


def stage_name(job_id: str, stage: Stage) -> str:
    """The name of a stage's pod and Secret."""
    return f"{object_name(job_id)}-{stage}"
