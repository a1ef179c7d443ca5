"""The keys that a job's results are encrypted with (:mod:`c2d.crypto.result_files`): made when publish begins, sealed in the job's row.

    {"results": "0x...", "adminlogs": "0x...", "consumer": "0x..."}

``results`` and ``adminlogs`` are sealed to the operator and good for this job alone; ``consumer`` (``encrypt_results: consumer``) is the
key of the results sealed to the consumer. Once such a job's results are published ``results`` is forgotten, and only the consumer can
read them.
With the expiry of the results all keys are deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2d.contract import MANIFEST, EncryptionKeys, ManifestEntry, is_admin_log
from c2d.crypto import ecies, result_files
from c2d.errors import InvalidJob
from c2d.jobs.model import Job
from c2d.settings.installation import Environment


@dataclass(frozen=True)
class ClientFile:
    """A published file as a client downloads it. ``suffix``: what the name has after the file's own name."""

    filename: str
    size: int
    sha256: str
    contentType: str | None
    suffix: str = ""


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


def for_publish(keys: dict[str, str], private_key: str, job_id: str) -> EncryptionKeys | None:
    """The keys that publish encrypts this job's results with. None: it does not encrypt."""
    if not keys:
        return None
    results, adminlogs = (ecies.unseal(private_key, keys[name], job_id) for name in ("results", "adminlogs"))
    return EncryptionKeys(results=results, adminlogs=adminlogs, sealedKey=keys.get("consumer"))


def open_manifest(stored: bytes, keys: dict[str, str] | None, private_key: str, job_id: str) -> bytes:
    """The manifest that lies beside the results.

    :raises ValueError: it is not what publish wrote, or its key has been forgotten.
    """
    if not keys:
        return stored
    if "results" not in keys:
        raise ValueError("its key has been forgotten: only the consumer can read it")
    return result_files.decrypted(stored, bytes.fromhex(ecies.unseal(private_key, keys["results"], job_id)), MANIFEST)


def key_of(file: ManifestEntry, keys: dict[str, str] | None, private_key: str, job_id: str) -> bytes | None:
    """The key that the operator decrypts a file with. None: it is stored in clear, or only the consumer can decrypt it.

    :raises LookupError: the key has been deleted.
    """
    if file.encrypted != "store":
        return None
    name = "adminlogs" if is_admin_log(file.type) else "results"
    if not keys or name not in keys:
        raise LookupError("the key of these results has been deleted")
    return bytes.fromhex(ecies.unseal(private_key, keys[name], job_id))


def client_file(file: ManifestEntry) -> ClientFile:
    """What a client gets of a file: the stored bytes if only the consumer can decrypt them, else the content."""
    if file.encrypted != "consumer":
        return ClientFile(file.filename, file.size, file.sha256, file.contentType)
    stored = file.in_store
    return ClientFile(file.filename + result_files.SUFFIX, stored.size, stored.sha256, None, result_files.SUFFIX)
