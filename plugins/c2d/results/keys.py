"""The keys of a job's encrypted results (:mod:`c2d.crypto.result_files`). They are made when publish begins and stored in the job's row:

    {"results": "0x...", "adminlogs": "0x...", "consumer": "0x..."}

``results`` and ``adminlogs`` are the keys of the results and of the admin logs, sealed to the operator for this job. ``consumer`` (only
with ``encrypt_results: consumer``) is the key of the results sealed to the consumer; in this mode ``results`` is deleted once the results
are published, so that only the consumer can read them. All keys are deleted when the results expire.
"""

from __future__ import annotations

from c2d.contract import MANIFEST, EncryptionKeys, ManifestEntry, is_admin_log
from c2d.crypto import ecies, result_files
from c2d.errors import InvalidJob
from c2d.jobs.model import Job
from c2d.settings.environment import Environment


def consumers_key(job: Job, env: Environment) -> str | None:
    """The public key that the job's results are encrypted to; None if the environment does not encrypt them to the consumer.

    :raises InvalidJob: the environment does, and the job has no key.
    """
    if env.encryption != "consumer":
        return None
    if job.output is None or job.output.publicKey is None:
        raise InvalidJob(f"output.publicKey: is required, for environment {env.id} encrypts results to the consumer")
    return job.output.publicKey


def new_keys(job_id: str, job: Job, env: Environment, operators_key: str) -> dict[str, str]:
    """New keys as they are stored in the job's row; empty if the environment does not encrypt.

    :param operators_key: the operator's public key.
    """
    consumer = consumers_key(job, env)
    if env.encryption == "none":
        return {}
    results, adminlogs = result_files.new_key().hex(), result_files.new_key().hex()
    keys = {"results": ecies.seal(operators_key, results, job_id), "adminlogs": ecies.seal(operators_key, adminlogs, job_id)}
    return keys | ({"consumer": ecies.seal(consumer, results)} if consumer else {})


def for_publish(keys: dict[str, str], private_key: str, job_id: str) -> EncryptionKeys | None:
    """``encryption`` in publish's stage.json: this job's keys in clear. None if nothing is encrypted.

    :param private_key: the operator's.
    """
    if not keys:
        return None
    results, adminlogs = (ecies.unseal(private_key, keys[name], job_id) for name in ("results", "adminlogs"))
    return EncryptionKeys(results=results, adminlogs=adminlogs, sealedKey=keys.get("consumer"))


def open_manifest(stored: bytes, keys: dict[str, str] | None, private_key: str, job_id: str) -> bytes:
    """The decrypted manifest.

    :raises ValueError: publish did not write it, or its key has been deleted.
    """
    if not keys:
        return stored
    if "results" not in keys:
        raise ValueError("its key has been forgotten: only the consumer can read it")
    return result_files.decrypted(stored, bytes.fromhex(ecies.unseal(private_key, keys["results"], job_id)), MANIFEST)


def key_of(entry: ManifestEntry, keys: dict[str, str] | None, private_key: str, job_id: str) -> bytes | None:
    """The key that the operator decrypts a file with; None if the file is stored in clear, or only the consumer can decrypt it.

    :raises LookupError: the key has been deleted.
    """
    if entry.encrypted != "store":
        return None
    name = "adminlogs" if is_admin_log(entry.type) else "results"
    if not keys or name not in keys:
        raise LookupError("the key of these results has been deleted")
    return bytes.fromhex(ecies.unseal(private_key, keys[name], job_id))
