"""Creates or upgrades the tables of one database: `python -m local.migrations airflow|c2d STAMP`. A step of the stack's plan.

Airflow needs 7 s to find out that its tables are up to date. The file STAMP, which lies beside the databases and is deleted with them,
records for which version they are; if it is the current one, nothing runs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from local.home import PROJECT, write_private

C2D = Path(sys.executable).with_name("c2d")


def migrate(database: str, stamp: Path) -> int:
    """Run a migration if the stamp is not that of the current version. The exit code."""
    if database == "airflow":
        command, version = [sys.executable, "-m", "airflow", "db", "migrate"], importlib.metadata.version("apache-airflow-core")
    else:
        command, version = [str(C2D), "migrate"], fingerprint((PROJECT / "plugins" / "c2d").rglob("migrations/**/*.py"))
    if stamp.exists() and stamp.read_text() == version:
        return 0
    stamp.unlink(missing_ok=True)
    code = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    if code == 0:
        write_private(stamp, version)
    return code


def fingerprint(files: Iterable[Path]) -> str:
    """A hash of some files' paths and contents."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(str(file).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(migrate(sys.argv[1], Path(sys.argv[2])))
