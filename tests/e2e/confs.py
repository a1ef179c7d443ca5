"""Jobs as consumers send them. :meth:`Stack.submit` replaces ``{DATA}``, ``{PORT}`` and ``{KEY}``."""

from __future__ import annotations

import textwrap
from typing import Any

OWNER = "0x" + "ab" * 20
IMAGE = {"image": "c2d.test/python-data", "tag": "1"}


def conf(code: str | None = "print('hello')", entrypoint: str = "python3 $ALGO", **more: Any) -> dict[str, Any]:
    """A job that runs ``code``. ``more`` has further fields; the prefix ``algorithm_`` marks those of ``algorithm``."""
    algorithm: dict[str, Any] = {"container": {**IMAGE, "entrypoint": entrypoint}}
    if code is not None:
        algorithm["rawcode"] = textwrap.dedent(code)
    algorithm |= {name.removeprefix("algorithm_"): value for name, value in more.items() if name.startswith("algorithm_")}
    return {"algorithm": algorithm, "owner": OWNER, **{n: v for n, v in more.items() if not n.startswith("algorithm_")}}


def data_set(did: str, *files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": f"did:op:{did}", "files": list(files), **more}


def file(path: str, **more: Any) -> dict[str, Any]:
    return {"url": "{DATA}/" + path, **more}


GUARDED = file("guarded?token={KEY}", headers={"X-Key": "{KEY}"})
"""A file whose URL and headers are secret."""

SLEEP = "import time; print('working', flush=True); time.sleep({})"
"""An algorithm that sleeps. It is a child of process 1, so SIGTERM ends it at once."""

ONCE = """
    import time, uuid
    for path in ("/data/outputs/runs", "/data/logs/runs"):
        with open(path, "a") as runs:
            print(uuid.uuid4(), file=runs)
    print("begun", flush=True)
    time.sleep({})
    print("done", flush=True)
"""
"""An algorithm that writes a line each time it runs."""
