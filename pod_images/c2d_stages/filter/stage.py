"""The filter stage: writes the list of the files that may leave, which publish follows.

It fails closed: without /data/filter/release.json nothing of /data/outputs is published, and any error removes that file.
"""

import json
import os

from c2d.contract import FilterAnswer, FilterInput
from c2d.shared.records import JsonObject
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.filter.release import judge


def begin(paths: Paths) -> None:
    """Remove the list of an earlier run, before anything can go wrong. Raises OSError."""
    for old in _release_files(paths):
        if os.path.lexists(old):
            os.unlink(old)


def work(stage_json: JsonObject, paths: Paths, log: StageLog) -> FilterAnswer:
    complete = False
    try:
        verdict = judge(paths.data, FilterInput.from_json(stage_json).limits, log)
        _write(json.dumps(verdict.as_release().to_json(), ensure_ascii=False).encode(), paths)
        size = sum(file.size for file in verdict.files)
        log.line(f"released {len(verdict.files)} files with {size} bytes, withheld {verdict.withheld_count}")
        complete = True
    except OSError as error:
        raise StageError(f"the outputs cannot be checked ({error.strerror}); nothing is released", "outputs") from None
    finally:
        if not complete:
            begin(paths)
    return FilterAnswer(released=len(verdict.files), withheld=verdict.withheld_count, bytes=size)


def _write(content: bytes, paths: Paths) -> None:
    """release.json, whole or not at all, also after a crash of the node."""
    path, part = _release_files(paths)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(part, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)


def _release_files(paths: Paths) -> tuple[str, str]:
    """The paths of release.json, and of the file that becomes it once it is complete."""
    path = f"{paths.data}/filter/release.json"
    return path, path + ".part"
