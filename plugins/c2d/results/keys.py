"""The keys that a job's results are encrypted with (:mod:`c2d.crypto.result_files`): made when publish begins, sealed in the job's row.

    {"results": "0x...", "adminlogs": "0x...", "consumer": "0x..."}

``results`` and ``adminlogs`` are sealed to the operator and good for this job alone; ``consumer`` (``encrypt_results: consumer``) is the
key of the results sealed to the consumer. Once such a job's results are published ``results`` is forgotten, and only the consumer can
read them.
With the expiry of the results all keys are deleted.
"""

from __future__ import annotations

from typing import Any

from c2d.crypto import ecies, result_files
from c2d.errors import InvalidJob
from c2d.jobs.model import Job
from c2d.settings.installation import Environment

OF_TYPE = {"output": "results", "algorithmLog": "results"}
"""By a file's type, which key it has; the others are admin logs."""


def consumers_key(job: Job, env: Environment) -> str | None:
    """The public key that the job's results are encrypted to; None where they are not encrypted to a consumer.

    :raises InvalidJob: the environment needs one and the job has none.
    """
    if env.encryption != "consumer":
        return None
    if job.output is None or job.output.publicKey is None:
        raise InvalidJob(f"output.publicKey: is required, for environment {env.id} encrypts results to the consumer")
    return job.output.publicKey


def new_keys(job_id: str, job: Job, env: Environment, operators_key: str) -> dict[str, str]:
    """Fresh keys as they are kept; none where the environment does not encrypt.

    :param operators_key: the operator's public key.
    """
    consumer = consumers_key(job, env)
    if env.encryption == "none":
        return {}
    results, adminlogs = result_files.new_key().hex(), result_files.new_key().hex()
    keys = {"results": ecies.seal(operators_key, results, job_id), "adminlogs": ecies.seal(operators_key, adminlogs, job_id)}
    return keys | ({"consumer": ecies.seal(consumer, results)} if consumer else {})


def for_publish(keys: dict[str, str], private_key: str, job_id: str) -> dict[str, str] | None:
    """``encryption`` of publish's stage.json: a right to write this job's results, and nothing else. None: nothing is encrypted."""
    if not keys:
        return None
    opened = {name: ecies.unseal(private_key, keys[name], job_id) for name in ("results", "adminlogs")}
    return opened | ({"sealedKey": keys["consumer"]} if "consumer" in keys else {})


def open_manifest(stored: bytes, keys: dict[str, str] | None, private_key: str, job_id: str) -> bytes:
    """The manifest that lies beside the results.

    :raises ValueError: it is not what publish wrote, or its key has been forgotten.
    """
    if not keys:
        return stored
    if "results" not in keys:
        raise ValueError("its key has been forgotten: only the consumer can read it")
    return result_files.decrypted(stored, bytes.fromhex(ecies.unseal(private_key, keys["results"], job_id)), "manifest.json")


def key_of(file: dict[str, Any], keys: dict[str, str] | None, private_key: str, job_id: str) -> bytes | None:
    """The key that the operator reads a file of the manifest with; None where it is stored as it is, or for the consumer alone.

    :raises LookupError: it has been deleted.
    """
    if file.get("encrypted") != "store":
        return None
    name = OF_TYPE.get(file["type"], "adminlogs")
    if not keys or name not in keys:
        raise LookupError("the key of these results has been deleted")
    return bytes.fromhex(ecies.unseal(private_key, keys[name], job_id))


def offered(file: dict[str, Any]) -> dict[str, Any]:
    """A file of the manifest as it is given out: ``filename``, ``size``, ``sha256``, ``contentType``, and what the name has after its own.

    What only the consumer can read is given out as it is stored.
    """
    if file.get("encrypted") != "consumer":
        return {**{n: file.get(n) for n in ("filename", "size", "sha256", "contentType")}, "suffix": ""}
    stored = {n: file["stored"][n] for n in ("size", "sha256")}
    return {"filename": file["filename"] + result_files.SUFFIX, **stored, "contentType": None, "suffix": result_files.SUFFIX}
