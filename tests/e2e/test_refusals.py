"""Malformed jobs are rejected with one sentence and leave nothing behind."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx
import pytest

from tests.e2e.client import Stack, until
from tests.e2e.confs import conf, data_set, file

CONTAINER = {"image": "c2d.test/python-data", "tag": "1", "entrypoint": "python3 $ALGO"}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in conf().items() if key != name}


def container(**changes: Any) -> dict[str, Any]:
    return conf(algorithm_container={**CONTAINER, **changes})


REJECTED = {
    "unknown key": (conf(priority="high"), "priority: is not a known field"),
    "unknown key inside": (container(privileged=True), "algorithm.container.privileged: is not a known field"),
    "no owner": (without("owner"), "owner: is required"),
    "no algorithm": (without("algorithm"), "algorithm: is required"),
    "no image": (conf(algorithm_container={"tag": "1", "entrypoint": "true"}), "algorithm.container.image: is required"),
    "nothing": (None, "conf: must be a JSON object"),
    "not an object": ([1, 2], "conf: must be a JSON object"),
    "malformed URL": (conf(inputs=[data_set("aa", {"url": "http://"})]), "inputs[0].files[0].url: must be a URL with a host"),
    "URL with a blank": (conf(inputs=[data_set("aa", {"url": "http://a b/"})]), "inputs[0].files[0].url: must be a URL"),
    "file URL": (conf(inputs=[data_set("aa", {"url": "file:///etc/passwd"})]), "inputs[0].files[0].url: must begin with http"),
    "gopher URL": (conf(code=None, algorithm_files=[{"url": "gopher://a/"}]), "algorithm.files[0].url: must begin with http"),
    "header in a header": (conf(inputs=[data_set("aa", file("x", headers={"A": "b\r\nHost: c"}))]), "inputs[0].files[0].headers: "),
    "shell in the image": (container(image="a; touch /tmp/x"), "algorithm.container.image: must be an image name"),
    "Jinja in the image": (container(image="{{ macros.os }}"), "algorithm.container.image: must be an image name"),
    "shell in the tag": (container(tag="$(id)"), "algorithm.container.tag: must be an image tag"),
    "entrypoint of 1 MB": (container(entrypoint="x" * 2**20), "algorithm.container.entrypoint: "),
    "code of 1 MB": (conf("x" * 2**20), "algorithm.rawcode: "),
    "negative limit": (conf(maxJobDuration=-1), "maxJobDuration: "),
    "huge limit": (conf(maxJobDuration=10**12), "maxJobDuration: "),
    "limit that is no number": (conf(maxJobDuration="soon"), "maxJobDuration: "),
    "lone surrogate in the code": (conf("print('\ud800')"), "algorithm.rawcode: must be valid UTF-8"),
    "NUL in the code": (conf("print('\0')"), "algorithm.rawcode: must be valid UTF-8 text without NUL"),
    "traversal in a DID": (conf(inputs=[data_set("../../etc", file("x"))]), "inputs[0].id: must be did:op:"),
    "the same DID twice": (conf(inputs=[data_set("aa", file("x")), data_set("aa", file("x"))]), "inputs must not name the same id twice"),
    "an environment that does not exist": (conf(environment="moon"), "environment: must be ocean-compute"),
    "sealed to somebody else": (conf(secret={"sealed": "0x" + "ab" * 100}), "secret: must be sealed to this operator"),
}
IDS = ["../up", "Capital", "a" * 51, "with blank", "", "-a", 7]


def sent_raw(stack: Stack, environment: str, body: Any) -> httpx.Response:
    """Send a body as ASCII JSON, which can contain a lone surrogate."""
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return stack.api.http.post(f"/api/v2/dags/{environment}/dagRuns", content=content, headers=headers)


def left_no_trace(stack: Stack, job_id: str, environment: str = "ocean-compute") -> None:
    assert stack.api.http.get(f"/api/v2/dags/{environment}/dagRuns/{job_id}").status_code == 404
    assert stack.store.job(job_id) is None
    assert stack.job_objects(job_id) == []


@pytest.mark.parametrize("case", REJECTED)
def test_a_malformed_job_is_rejected_with_a_sentence_that_names_the_field(case: str, stack: Stack) -> None:
    malformed, sentence = REJECTED[case]
    job_id = f"rejected-{secrets.token_hex(4)}"
    answer = sent_raw(stack, "ocean-compute", {"dag_run_id": job_id, "logical_date": None, "conf": stack.filled(malformed)})
    assert answer.status_code == 400, answer.text
    detail = answer.json()["detail"]
    assert sentence in detail and "\n" not in detail and len(detail) < 300
    left_no_trace(stack, job_id)


@pytest.mark.parametrize("job_id", IDS)
def test_a_run_id_that_is_not_a_valid_job_id_is_rejected(job_id: Any, stack: Stack) -> None:
    before = stack.api.get("/dags/ocean-compute/dagRuns", limit=1)["total_entries"]
    answer = sent_raw(stack, "ocean-compute", {"dag_run_id": job_id, "logical_date": None, "conf": conf()})
    if job_id == "":  # the same as none: the run gets a generated id
        assert answer.status_code == 200
        return
    assert answer.status_code == 400 and answer.json()["detail"].startswith("dag_run_id: must be")
    assert stack.api.get("/dags/ocean-compute/dagRuns", limit=1)["total_entries"] == before


def test_a_body_that_is_not_json_is_rejected(stack: Stack) -> None:
    for content in (b"", b"{", b'{"conf": "\xff"}', b"[" * 100_000, b'"text"'):
        answer = stack.api.http.post("/api/v2/dags/ocean-compute/dagRuns", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["detail"].split(":")[0]) == (400, "body"), content[:20]
    assert stack.api.http.post("/api/v2/dags/ocean-compute/dagRuns", content=b" " * (3 * 2**20)).status_code == 413


def test_an_unknown_environment_is_not_found(stack: Stack) -> None:
    job_id = f"nowhere-{secrets.token_hex(4)}"
    assert stack.trigger("no-such-environment", conf(), job_id).status_code == 404
    left_no_trace(stack, job_id)


def test_a_job_id_cannot_be_used_twice(stack: Stack) -> None:
    job = stack.submit(conf("print('the first')"), name="twice")
    assert stack.trigger(job.environment, conf("print('the second')"), job.id).status_code == 409
    job.await_end().has_ended("success", 70, "Job finished")
    assert stack.trigger(job.environment, conf("print('the third')"), job.id).status_code == 409
    assert job.published("logs/algorithm.log") == b"the first\n"


def test_the_stages_reject_a_job_id_that_another_environment_has_used(stack: Stack) -> None:
    job = stack.submit(conf("print('the first')"), name="elsewhere")
    job.await_end().has_ended("success", 70, "Job finished")
    row = job.row
    assert stack.trigger("small", conf("print('the second')"), job.id).status_code in (200, 409)
    path = f"/dags/small/dagRuns/{job.id}"
    if stack.api.http.get(f"/api/v2{path}").status_code == 200:
        until(lambda: stack.api.get(path)["state"] == "failed", f"the end of small/{job.id}")
    assert job.row == row
    assert job.published("logs/algorithm.log") == b"the first\n"


def test_a_malformed_job_triggered_on_the_command_line_fails_and_leaves_nothing(stack: Stack) -> None:
    job_id = f"unchecked-{secrets.token_hex(4)}"
    bad = {**conf(), "inputs": [data_set("aa", {"url": "file:///etc/passwd"})]}
    done = stack.airflow("dags", "trigger", "ocean-compute", "--run-id", job_id, "--conf", json.dumps(bad))
    path = f"/dags/ocean-compute/dagRuns/{job_id}"
    if done.returncode == 0:  # the schema of the DAG's params may already reject it
        until(lambda: stack.api.get(path)["state"] in ("failed", "success"), f"the end of {job_id}")
        assert stack.api.get(path)["state"] == "failed"
    assert stack.store.job(job_id) is None
    assert stack.job_objects(job_id) == []


def test_a_valid_job_triggered_on_the_command_line_runs(stack: Stack) -> None:
    job_id = f"unchecked-{secrets.token_hex(4)}"
    done = stack.airflow("dags", "trigger", "ocean-compute", "--run-id", job_id, "--conf", json.dumps(conf()))
    assert done.returncode == 0, done.stderr
    until(lambda: (row := stack.store.job(job_id)) and row.status == 70, f"the end of {job_id}")
