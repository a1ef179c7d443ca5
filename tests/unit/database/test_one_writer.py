"""Every change of a job's row goes through c2d.database.jobs."""

from __future__ import annotations

import re
from pathlib import Path

import c2d

PACKAGE = Path(c2d.__file__).parent
CHANGE = re.compile(r"(?:update|insert|delete)\((?:tables\.)?jobs\)|(?:UPDATE|INSERT INTO|DELETE FROM) (?:c2d\.)?jobs\b")
SQL = re.compile(r"^\s*(?:import sqlalchemy|from sqlalchemy)", re.MULTILINE)


def files_with(pattern: re.Pattern[str]) -> set[str]:
    return {str(f.relative_to(PACKAGE)) for f in PACKAGE.rglob("*.py") if pattern.search(f.read_text()) and "migrations" not in f.parts}


def test_one_module_changes_jobs() -> None:
    assert files_with(CHANGE) == {"database/jobs.py"}


def test_sql_stays_in_the_database_package() -> None:
    outside = {f for f in files_with(SQL) if not f.startswith("database/")}
    # The one reads Airflow's tables; the other answers 503 for a database that is away.
    assert outside == {"lifecycle/airflow_runs.py", "api/common/errors.py"}


def test_termination_details_are_built_in_one_place() -> None:
    assert files_with(re.compile(r'"exitCode": .*"OOMKilled":')) == {"jobs/status.py"}
