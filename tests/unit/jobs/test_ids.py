from __future__ import annotations

import re

from c2d.jobs.ids import API_JOB_ID, JOB_ID, new_job_id


def test_job_ids_of_the_apis_end_in_a_letter() -> None:
    ids = [new_job_id() for _ in range(100)]
    assert all(len(i) == 32 and i[-1] in "abcdef" for i in ids)
    assert all(API_JOB_ID.match(i) and re.fullmatch(JOB_ID, i) for i in ids)
