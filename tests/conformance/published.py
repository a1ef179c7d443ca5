"""Jobs whose filter and publish stages have really run, for tests that read their results."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from c2d.crypto import ecies, result_files
from c2d.crypto.result_files import SEGMENT
from c2d.jobs import ids
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd
from c2d.results import keys
from c2d.results.destinations import destinations
from c2d.results.stores import JobResultStores
from c2d.settings import installation
from tests.conformance.provider import API, Provider
from tests.stages.conftest import Pod
from tests.stages.publishing import Publishing

PROVIDER = Provider()
CONSUMER = ecies.new_private_key()
BIG = os.urandom(3 * SEGMENT + 12345)
FILES = {"outputs/big.bin": BIG, "outputs/empty": b"", "outputs/sub/ä b.csv": b"id,score\n1,0.5\n", "logs/algorithm.log": b"it ran\n"}


def published(client: TestClient, loaded: installation.Settings, tmp_path: Path, files: dict[str, bytes] = FILES) -> tuple[str, Path]:
    """Run a job to its end. Returns its id and its folder in the results volume, which may be empty."""
    service: Any = client.app.state.service  # type: ignore[attr-defined]
    body = PROVIDER.start_body(f"0x{time.time_ns()}")
    body["workflow"]["stages"][0]["output"]["publicKey"] = ecies.public_key(CONSUMER)
    job_id = str(client.post(f"{API}/compute", json=body).json()[0]["jobId"])
    service.dispatcher.start_runs()
    (env,) = loaded.environments
    job = Job.parse(client.app.state.runs.started[job_id], env.id)  # type: ignore[attr-defined]
    root, folder = tmp_path / "pods" / job_id, loaded.C2D_RESULTS_PATH / ids.object_name(job_id)
    root.mkdir(parents=True)
    folder.mkdir(parents=True)
    pod = Pod(root)
    pod.results.rmdir()
    pod.results.symlink_to(folder)
    for path, content in {**files, "adminlogs/configure.log": b"configured\n"}.items():
        pod.write(f"data/{path}", content)
    result_keys = keys.new_keys(job_id, job, env, loaded.public_key)
    result_keys = service.repository.store_result_keys(job_id, result_keys) if result_keys else result_keys
    publishing = Publishing(pod, job_id)
    publishing.results = JobResultStores(destinations(env), env, loaded, job_id)
    publishing.filter()
    encryption_keys = keys.for_publish(result_keys, loaded.OPERATOR_PRIVATE_KEY, job_id)
    encryption = encryption_keys and encryption_keys.to_json()
    outcome = publishing.follow(publishing.start(lambda stage: stage.update(encryption=encryption)))
    results = publishing.published(outcome, lambda stored: keys.open_manifest(stored, result_keys, loaded.OPERATOR_PRIVATE_KEY, job_id))
    for stage in Stage:
        service.repository.end_stage(job_id, StageEnd(stage, Reason.COMPLETED, 0), None, None)
    service.repository.finish_job(job_id, results.manifest.to_json(), results.stores)
    return job_id, folder


def get(client: Any, job_id: str, index: Any, **headers: str) -> Any:
    return client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index=index), headers=headers)


def listed(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = client.get(f"{API}/compute", params=PROVIDER.signed(job_id)).json()[0]["results"]
    return results


def opened(content: bytes, path: str, mode: str) -> bytes:
    """The content that a consumer gets from an answer, decrypted if necessary."""
    if mode != "consumer" or path.startswith("adminlogs/"):
        return content
    sealed_key, hidden = result_files.read_prefix(content.partition(b"\n")[0])
    key = bytes.fromhex(ecies.unseal(CONSUMER, sealed_key, ""))
    assert result_files.open_path(key, hidden) == f"data/{path}"
    return result_files.decrypted(content, key, f"data/{path}")
