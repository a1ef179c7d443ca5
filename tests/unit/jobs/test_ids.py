from __future__ import annotations

import pytest

from c2d.jobs import ids
from c2d.jobs.status import Stage


@pytest.mark.parametrize("job_id", ["manual__2026-11-22T06:05:00+00:00", "UPPER", "x" * 80, "-a", "a_b"])
def test_a_job_id_that_is_not_a_kubernetes_name_becomes_a_digest(job_id: str) -> None:
    name = ids.object_name(job_id)
    assert name.startswith("job-") and len(name) == 36


def test_the_name_of_every_object_fits_into_a_label() -> None:
    longest = "a" * 50
    assert ids.object_name(longest) == longest
    assert max(len(ids.stage_name(longest, stage)) for stage in Stage) <= 63


def test_a_new_job_id_ends_in_a_letter_so_that_no_digit_of_a_nonce_can_belong_to_it() -> None:
    made = [ids.new_job_id() for _ in range(100)]
    assert len(set(made)) == 100
    assert all(len(job_id) == 32 and job_id[-1] in "abcdef" and ids.object_name(job_id) == job_id for job_id in made)
