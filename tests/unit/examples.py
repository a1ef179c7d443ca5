"""Valid jobs for tests to vary."""

from __future__ import annotations

import copy
from typing import Any

OWNER = "0x" + "ab" * 20
SECRET_URL = "https://data.example/table.csv?token=TOPSECRET"

JOB: dict[str, Any] = {
    "inputs": [{"id": "did:op:aa", "files": [{"url": SECRET_URL, "headers": {"X-Key": "HEADERSECRET"}}]}],
    "algorithm": {
        "id": "did:op:cc",
        "container": {"image": "c2d.test/python-data", "tag": "1", "entrypoint": "python3 $ALGO"},
        "rawcode": "print('hello')",
    },
    "owner": OWNER,
    "secret": "JOBSECRET",
}


TX = "0x" + "cd" * 32
REMOTE: dict[str, Any] = {"txId": TX, "serviceId": "f25bc3a2"}


def job(**changes: Any) -> dict[str, Any]:
    """A copy of JOB with the values at dotted paths replaced: ``job(**{"algorithm.container.tag": "2"})``; ``...`` removes the key."""
    conf = copy.deepcopy(JOB)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node: Any = conf
        for key in parents:
            node = node[int(key) if key.isdigit() else key]
        if value is ...:
            del node[last]
        else:
            node[int(last) if last.isdigit() else last] = value
    return conf


def remote_job(**changes: Any) -> dict[str, Any]:
    """A copy of JOB whose assets are all ordered from another Provider."""
    conf = job(**{"inputs.0": {"id": "did:op:aa", "remote": REMOTE}, "algorithm.rawcode": ..., "algorithm.remote": REMOTE})
    return {**conf, "output": {"metadataUri": "https://aquarius.example"}, **changes}
