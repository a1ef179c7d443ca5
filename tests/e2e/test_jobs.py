"""Jobs that run to their own end, successfully or not."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from tests.e2e.client import Job, Stack
from tests.e2e.confs import GUARDED, IMAGE, conf, data_set, file
from tests.e2e.data_server import BIG, TABLE

LOGS = ["logs/algorithm.log", "adminlogs/configure.log", "adminlogs/filter.log", "adminlogs/publish.log"]
WHOLE_WAY = [1, 20, 30, 40, 50, 60, 70]


@pytest.mark.job(
    conf(
        """
        import hashlib, json, os, pathlib
        inputs, outputs = pathlib.Path(os.environ["INPUTS"]), pathlib.Path(os.environ["OUTPUTS"])
        digest = lambda content: hashlib.sha256(content).hexdigest()
        names = ("DIDS", "TRANSFORMATION_DID", "VOLUME", "LOGS", "INPUTS", "OUTPUTS")
        report = {
            "inputs": {str(p.relative_to(inputs)): digest(p.read_bytes()) for p in sorted(inputs.glob("*/*"))},
            "custom": json.loads((inputs / "algoCustomData.json").read_text()),
            "ddo": json.loads(pathlib.Path("/data/ddos/aa").read_text()),
            "environment": {name: os.environ[name] for name in names},
            "secret": digest(os.environ["secret"].encode()),
            "algorithm": pathlib.Path("/data/transformations/algorithm").is_file(),
        }
        (outputs / "sub" / "deeper").mkdir(parents=True)
        (outputs / "sub" / "deeper" / "report.json").write_text(json.dumps(report))
        (outputs / "one.txt").write_text("1")
        print("hello from the algorithm")
        """,
        inputs=[data_set("aa", GUARDED, file("table.csv"), ddo={"id": "did:op:aa"}), data_set("bb", file("table.csv"))],
        algorithm_id="did:op:cc",
        algorithm_algocustomdata={"threshold": 3},
        userdata={"any": "thing"},
        secret="{KEY}",
    )
)
def test_a_job_gets_its_data_sets_raw_code_and_secret_and_publishes_results(ended: Job, stack: Stack) -> None:
    row = ended.has_ended("success", 70, "Job finished", exitCode=0, OOMKilled=False, reason="Completed")
    assert ended.statuses == WHOLE_WAY
    assert (row.algoDID, row.inputDID) == ("did:op:cc", ["did:op:aa", "did:op:bb"])
    assert ended.files == ["outputs/one.txt", "outputs/sub/deeper/report.json", *LOGS]
    report, table = json.loads(ended.published("outputs/sub/deeper/report.json")), hashlib.sha256(TABLE).hexdigest()
    assert report == {
        "inputs": {"aa/0": table, "aa/1": table, "bb/0": table},
        "custom": {"threshold": 3},
        "ddo": {"id": "did:op:aa"},
        "environment": {
            "DIDS": '["aa", "bb"]',
            "TRANSFORMATION_DID": "cc",
            "VOLUME": "/data",
            "LOGS": "/data/logs",
            "INPUTS": "/data/inputs",
            "OUTPUTS": "/data/outputs",
        },
        "secret": hashlib.sha256(stack.key.encode()).hexdigest(),
        "algorithm": True,
    }
    assert ended.published("logs/algorithm.log") == b"hello from the algorithm\n"
    assert "algorithm | hello from the algorithm" in ended.task_log("algorithm")


@pytest.mark.job(conf(code=None, entrypoint="echo in the image >$OUTPUTS/place; test ! -s $ALGO"))
def test_an_image_may_contain_the_algorithm(ended: Job) -> None:
    ended.has_ended("success", 70, "Job finished", exitCode=0)
    assert ended.published("outputs/place") == b"in the image\n"


@pytest.mark.job(conf(code=None, algorithm_files=[file("algorithm.py")]))
def test_an_algorithm_may_be_a_remote_file(ended: Job) -> None:
    ended.has_ended("success", 70, "Job finished", exitCode=0)
    assert ended.published("outputs/where") == b"from a remote file"


@pytest.mark.job(conf("open('/data/outputs/part', 'w').write('so far'); print('oh no'); raise SystemExit(3)"))
def test_a_failing_algorithm_ends_the_job_with_status_70_and_its_exit_code(ended: Job) -> None:
    ended.has_ended("failed", 70, "Job finished", exitCode=3, OOMKilled=False, reason="Error", message="ended with exit code 3")
    assert ended.files == ["outputs/part", *LOGS]
    assert b"oh no" in ended.published("logs/algorithm.log")
    assert ended.pods_made("algorithm") == 1


@pytest.mark.job(conf("open('/data/outputs/part', 'w').write('so far'); x = [bytearray(b'x' * (1 << 20)) for _ in range(4096)]"), "small")
def test_an_algorithm_that_exceeds_its_memory_ends_as_oom_killed(ended: Job) -> None:
    ended.has_ended("failed", 70, "Job finished", exitCode=137, OOMKilled=True, reason="OOMKilled")
    assert "outputs/part" in ended.files
    assert ended.pods_made("algorithm") == 1


@pytest.mark.job(conf("open('/data/outputs/part', 'w').write('so far'); import time; time.sleep(600)"), "small")
def test_an_algorithm_that_runs_too_long_is_stopped_and_its_outputs_so_far_are_published(ended: Job) -> None:
    ended.has_ended("failed", 70, "Job finished", stopreq=2, OOMKilled=False, reason="DeadlineExceeded")
    assert ended.pod("algorithm")["spec"]["activeDeadlineSeconds"] < 900, "the deadline counts from the start of the container"
    assert ended.files == ["outputs/part", *LOGS]


@pytest.mark.job(conf(algorithm_container={**IMAGE, "image": "127.0.0.1:{PORT}/no/such/image", "entrypoint": "true"}))
def test_a_missing_image_ends_the_job_at_once(ended: Job) -> None:
    row = ended.has_ended("failed", 70, "Job finished", exitCode=None, OOMKilled=False, reason="NotStarted")
    assert row.terminationDetails and "no/such/image" in row.terminationDetails["message"]
    assert ended.files == LOGS[1:]


@pytest.mark.job(conf(inputs=[data_set("aa", file("table.csv")), data_set("bb", file("table.csv"), file("missing?token={KEY}"))]))
def test_an_error_names_the_input_that_cannot_be_fetched(ended: Job, stack: Stack) -> None:
    row = ended.has_ended("failed", 31, "Data provisioning failed", exitCode=None, reason="ProvisioningFailed")
    assert row.terminationDetails and row.terminationDetails["message"].startswith(
        "inputs[1].files[1] (did:op:bb): the server answered 404"
    )
    assert "missing" not in row.terminationDetails["message"]
    assert ended.pods_made("algorithm") == 0
    assert b"inputs[1].files[1]" in ended.published("adminlogs/configure.log")
    assert stack.key.encode() not in ended.published("adminlogs/configure.log")


@pytest.mark.job(conf(code=None, algorithm_files=[file("missing")], inputs=[data_set("aa", file("table.csv"))]))
def test_an_error_names_the_algorithm_file_that_cannot_be_fetched(ended: Job) -> None:
    row = ended.has_ended("failed", 32, "Algorithm provisioning failed", exitCode=None, reason="ProvisioningFailed")
    assert row.terminationDetails and row.terminationDetails["message"].startswith("algorithm.files[0]")
    assert ended.pods_made("algorithm") == 0


@pytest.mark.job(conf(inputs=[data_set("aa", file("table.csv", checksum="sha256:" + "0" * 64))]))
def test_an_input_with_a_wrong_checksum_is_rejected(ended: Job) -> None:
    row = ended.has_ended("failed", 31, "Data provisioning failed", reason="ProvisioningFailed")
    assert row.terminationDetails and re.match(r"inputs\[0\]\.files\[0\] .*sha256", row.terminationDetails["message"])


@pytest.mark.job(
    conf(
        "import hashlib; print(hashlib.sha256(open('/data/inputs/aa/0', 'rb').read()).hexdigest())",
        inputs=[data_set("aa", file("breaks", checksum=hashlib.sha256(BIG).hexdigest()))],
    )
)
def test_an_interrupted_download_resumes_where_it_stopped(ended: Job, stack: Stack) -> None:
    ended.has_ended("success", 70, "Job finished", exitCode=0)
    assert ended.published("logs/algorithm.log").decode().strip() == hashlib.sha256(BIG).hexdigest()
    first, *others = stack.data.requested("/breaks")
    assert first is None and others and all(requested and requested != "bytes=0-" for requested in others)


@pytest.mark.job(
    conf(
        """
        import os
        os.symlink("/etc/passwd", "/data/outputs/leak")
        open("/data/outputs/table.csv", "w").write("good")
        """
    )
)
def test_the_filter_withholds_a_symbolic_link_and_gives_the_reason(ended: Job) -> None:
    row = ended.has_ended("success", 70, "Job finished", exitCode=0, reason="Completed")
    assert ended.files == ["outputs/table.csv", *LOGS]
    assert [w["path"] for w in row.withheld] == ["outputs/leak"]
    assert b"outputs/leak" in ended.published("adminlogs/filter.log")
    assert b"symbolic link" in ended.published("adminlogs/filter.log")


@pytest.mark.job(conf("open('/data/outputs/table.csv', 'w').write('not for you'); print('log')"), "owners-filter")
def test_a_failing_filter_withholds_the_outputs(ended: Job) -> None:
    row = ended.has_ended("failed", 70, "Job finished", exitCode=0, OOMKilled=False, reason="FilterFailed")
    assert "logs/algorithm.log" in ended.files and not [f for f in ended.files if f.startswith("outputs/")]
    assert [w["path"] for w in row.withheld] == ["outputs"]


@pytest.mark.job(
    conf(
        r"""
        print("\x1b[31mred\x1b[0m\r\x07 ::group::hidden", flush=True)
        print("::endgroup::", flush=True)
        for n in range(500):
            print(f"{n:05}", "x" * 3000, flush=n < 3)
        import sys, time
        sys.stdout.flush()
        time.sleep(3)  # so that all of it is shown while it runs, even on a busy machine
        """
    ),
    "small",
)
def test_an_endless_log_is_truncated_and_cannot_control_a_terminal(ended: Job) -> None:
    ended.has_ended("success", 70, "Job finished", exitCode=0)
    log = ended.published("logs/algorithm.log")
    assert len(log) == 65536 and log.startswith(b"\x1b[31mred") and b"00005 xxx" in log
    shown = ended.task_log("algorithm")
    assert r"\\x1b[31mred" in shown or r"\x1b[31mred" in shown
    assert "::group::hidden" not in shown and ": :group::hidden" in shown and "| ::endgroup::" not in shown
    assert "\x1b" not in shown and "\x07" not in shown
    assert 2**20 < len(shown) < 3 * 2**19
    assert "(more was printed than is shown here" in shown


def test_a_second_job_waits_in_an_environment_that_runs_one_at_a_time(stack: Stack) -> None:
    first = stack.submit(conf("import time; time.sleep(4)"), "single", "first")
    second = stack.submit(conf(), "single", "second")
    third = stack.submit(conf(), "single", "third")
    first.await_running("algorithm")
    assert (second.run["state"], third.run["state"]) == ("queued", "queued")
    assert second.row is None

    third.stop_run()  # stopped in the queue: the job never began
    third.await_end()
    assert third.run["state"] == "failed"
    assert third.row is None or third.row.dateFinished

    for job in (first, second):
        job.await_end().has_ended("success", 70, "Job finished", exitCode=0)
    assert second.run["start_date"] >= first.run["end_date"]
    assert [third.pods_made(stage) for stage in ("configure", "algorithm", "filter", "publish")] == [0, 0, 0, 0]
