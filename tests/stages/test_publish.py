"""The publish stage: all of what the filter released, exactly that, or nothing."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.publish import stage as publish
from c2d_stages.publish import store
from c2d_stages.publish.collect import content_type
from tests.stages.conftest import Pod, sha256

FILTER = {
    "stage": "filter",
    "job": "j1",
    "limits": {"files": 20_000, "totalBytes": 10**8, "fileBytes": 10**8, "depth": 16, "nameBytes": 255, "logBytes": 1_000},
}


def stage_json(release: str = "filtered", job: str = "j1", **limits: int) -> dict[str, Any]:
    store = {"type": "directory", "path": "/results"}
    return {"stage": "publish", "job": job, "release": release, "store": store, "limits": {"logBytes": 1_000, "seconds": 60, **limits}}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def filtered(pod: Pod) -> Pod:
    """A job after its filter: two outputs, a log, admin logs, and one withheld link."""
    pod.write("data/outputs/sub/a.csv", b"a,b\n")
    pod.write("data/outputs/z.bin", os.urandom(3_000_000))
    os.symlink("/etc/passwd", pod.data / "outputs/link")
    pod.write("data/logs/algorithm.log", b"hello")
    pod.write("data/adminlogs/configure.log", b"configured")
    assert pod.run("filter", FILTER).answer["ok"] is True
    return pod


def test_the_manifest_lists_outputs_logs_and_admin_logs_in_oceans_order(filtered: Pod) -> None:
    outcome = filtered.run("publish", stage_json())
    assert outcome.code == 0, outcome
    manifest = filtered.json("results/manifest.json")
    assert [(file["index"], file["path"], file["filename"], file["type"], file["contentType"]) for file in manifest["files"]] == [
        (0, "data/outputs/sub/a.csv", "sub/a.csv", "output", "text/csv"),
        (1, "data/outputs/z.bin", "z.bin", "output", "application/octet-stream"),
        (2, "data/logs/algorithm.log", "algorithm.log", "algorithmLog", "text/plain"),
        (3, "data/adminlogs/configure.log", "configure.log", "configrationLog", "text/plain"),
        (4, "data/adminlogs/filter.log", "filter.log", "filteringLog", "text/plain"),
        (5, "data/adminlogs/publish.log", "publish.log", "publishLog", "text/plain"),
    ]
    assert manifest["job"] == "j1" and manifest["withheld"][0]["path"] == "outputs/link"
    store = contents(filtered.results)
    text = store.pop("manifest.json")
    assert store == {file["path"]: store[file["path"]] for file in manifest["files"]}
    assert all((len(store[file["path"]]), sha256(store[file["path"]])) == (file["size"], file["sha256"]) for file in manifest["files"])
    size = sum(map(len, store.values()))
    assert outcome.answer == {"ok": True, "files": 6, "bytes": size, "manifestSha256": sha256(text)}
    assert store["data/adminlogs/publish.log"] == b"6 files, this log is the last; 1 withheld\n"


def test_a_second_run_finds_the_results_and_changes_nothing(filtered: Pod) -> None:
    first = filtered.run("publish", stage_json())
    before = {path: path.stat().st_mtime_ns for path in filtered.results.rglob("*")}
    second = filtered.run("publish", stage_json())
    assert second.answer == first.answer
    assert {path: path.stat().st_mtime_ns for path in filtered.results.rglob("*")} == before


def test_a_store_whose_files_were_damaged_is_written_again(filtered: Pod) -> None:
    first = filtered.run("publish", stage_json())
    filtered.write("results/data/outputs/sub/a.csv", b"evil")
    assert filtered.run("publish", stage_json()).answer == first.answer
    assert (filtered.results / "data/outputs/sub/a.csv").read_bytes() == b"a,b\n"


def test_the_results_of_another_job_are_not_replaced(filtered: Pod) -> None:
    filtered.run("publish", stage_json())
    before = contents(filtered.results)
    outcome = filtered.run("publish", stage_json(job="j2"))
    assert outcome.code == 1 and outcome.answer["message"] == "store: holds the results of another job"
    assert contents(filtered.results) == before


CALLS = ("open", "mkdir", "write", "rename", "unlink", "rmdir", "close")


def test_a_crash_at_any_point_leaves_a_store_that_the_next_run_completes(filtered: Pod, tmp_path: Path) -> None:
    filtered.run("publish", stage_json())
    whole = contents(filtered.results)
    script = (
        "import os, sys\n"
        "left = int(sys.argv.pop(1))\n"
        "def wrap(name):\n"
        "    real = getattr(os, name)\n"
        "    def call(*a, **k):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left < 0: real_exit(9)\n"
        "        return real(*a, **k)\n"
        "    setattr(os, name, call)\n"
        "real_exit = os._exit\n"
        f"for name in {CALLS!r}: wrap(name)\n"
        "import json; from c2d_stages.publish import stage as publish; from c2d_stages.common.stage import Paths, run\n"
        "code = run('publish', publish.work, Paths.from_environment(os.environ)); os._exit(code)\n"
    )
    runner = tmp_path / "crash.py"
    runner.write_text(script)
    import subprocess
    import sys

    from tests.stages.conftest import PYTHONPATH

    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "C2D_ROOT": str(filtered.root)}
    crashes = 0
    for point in range(0, 400, 9):
        shutil.rmtree(filtered.results)
        filtered.results.mkdir()
        if point % 2:  # every other time on top of an old store that does not verify
            filtered.write("results/manifest.json", b"{}")
            filtered.write("results/data/outputs/old", b"old")
        code = subprocess.run([sys.executable, str(runner), str(point)], env=environment, stdout=subprocess.DEVNULL).returncode
        crashes += code == 9
        if (filtered.results / "manifest.json").exists() and (filtered.results / "manifest.json").read_bytes() != b"{}":
            assert {key: value for key, value in contents(filtered.results).items() if not key.startswith(".staging")} == whole
        again = publish.work(stage_json(), Paths(str(filtered.root), ""), StageLog(str(tmp_path / "publish.log"), repeatable=True))
        assert again.files == 6
        assert contents(filtered.results) == whole, point
        if code == 0:
            break
    assert crashes >= 5


def change_content(pod: Pod) -> None:
    pod.write("data/outputs/sub/a.csv", b"b,a\n")


def change_size(pod: Pod) -> None:
    pod.write("data/outputs/sub/a.csv", b"a,b\nmore")


def change_to_link(pod: Pod) -> None:
    pod.write("data/inputs/secret", b"a,b\n")
    (pod.data / "outputs/sub/a.csv").unlink()
    os.symlink("../../inputs/secret", pod.data / "outputs/sub/a.csv")


def change_folder_to_link(pod: Pod) -> None:
    (pod.data / "outputs/sub").rename(pod.data / "elsewhere")
    os.symlink("../elsewhere", pod.data / "outputs/sub")


def change_to_fifo(pod: Pod) -> None:
    (pod.data / "outputs/z.bin").unlink()
    os.mkfifo(pod.data / "outputs/z.bin")


def remove(pod: Pod) -> None:
    (pod.data / "outputs/z.bin").unlink()


@pytest.mark.parametrize("change", [change_content, change_size, change_to_link, change_folder_to_link, change_to_fifo, remove])
def test_a_file_that_changed_after_the_filter_publishes_nothing(filtered: Pod, change: Any) -> None:
    change(filtered)
    outcome = filtered.run("publish", stage_json())
    assert outcome.code == 1
    assert outcome.answer["message"].endswith("is not what the filter released; nothing is published")
    assert contents(filtered.results) == {} and os.listdir(filtered.results) == []


def test_without_the_filters_list_nothing_is_published(pod: Pod) -> None:
    pod.write("data/outputs/a")
    outcome = pod.run("publish", stage_json())
    assert outcome.code == 1
    assert outcome.answer["message"] == "filter/release.json: is missing; nothing is published without the filter's list"
    assert os.listdir(pod.results) == []


@pytest.mark.parametrize(
    "path",
    ["inputs/aa/0", "outputs/../inputs/0", "/etc/passwd", "outputs", "outputs//a", "outputs/", "logs/x", "outputs/\x1b", "outputs/./a"],
)
def test_a_release_list_with_a_path_outside_of_outputs_is_rejected(filtered: Pod, path: str) -> None:
    filtered.write("data/inputs/aa/0", b"a,b\n")
    entry = {"path": path, "size": 4, "sha256": sha256(b"a,b\n"), "type": "output"}
    filtered.write("data/filter/release.json", json.dumps({"version": 1, "files": [entry], "withheld": []}).encode())
    log = StageLog(str(filtered.root / "publish.log"), repeatable=True)
    with pytest.raises(StageError, match=r"files\[0\]\.path: must be a plain path below outputs/"):
        publish.work(stage_json(), Paths(str(filtered.root), ""), log)
    assert os.listdir(filtered.results) == []


def test_after_a_failed_filter_only_logs_are_published_and_a_long_algorithm_log_is_cut(filtered: Pod) -> None:
    filtered.write("data/logs/algorithm.log", b"x" * 5_000)
    (filtered.data / "filter/release.json").unlink()
    outcome = filtered.run("publish", stage_json(release="logs"))
    assert outcome.answer["ok"] is True
    manifest = filtered.json("results/manifest.json")
    assert [(file["path"], file["size"]) for file in manifest["files"]][:2] == [
        ("data/logs/algorithm.log", 1_000),
        ("data/adminlogs/configure.log", 10),
    ]
    assert manifest["withheld"] == [{"path": "outputs", "reason": "the filter stage did not succeed, so no output is released"}]
    assert manifest["files"][-1]["type"] == "publishLog"


def test_a_log_that_the_filter_cut_is_published_up_to_the_cut(filtered: Pod) -> None:
    filtered.write("data/logs/algorithm.log", b"x" * 5_000)
    filtered.run("filter", FILTER)
    assert filtered.run("publish", stage_json()).answer["ok"] is True
    assert (filtered.results / "data/logs/algorithm.log").read_bytes() == b"x" * 1_000


def test_logs_that_are_links_or_missing_are_left_out(pod: Pod) -> None:
    (pod.data / "logs").mkdir()
    os.symlink("/etc/passwd", pod.data / "logs/algorithm.log")
    assert pod.run("publish", stage_json(release="logs")).answer["files"] == 1


def test_a_stop_removes_what_was_staged(filtered: Pod) -> None:
    os.mkfifo(filtered.root / "gate")
    script = (
        "import os; from c2d_stages.publish import stage as publish; from c2d_stages.common.stage import Paths, run\n"
        f"publish.entry = lambda *a: open({str(filtered.root / 'gate')!r}).read()\n"
        "code = run('publish', publish.work, Paths.from_environment(os.environ)); os._exit(code)\n"
    )
    import subprocess
    import sys

    from tests.stages.conftest import PYTHONPATH

    filtered.write("c2d/stage.json", json.dumps(stage_json()).encode())
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "C2D_ROOT": str(filtered.root)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.DEVNULL)
    gate = os.open(filtered.root / "gate", os.O_WRONLY)  # opens when the stage stands at it
    assert (filtered.results / ".staging/data/outputs/z.bin").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1
    os.close(gate)
    assert os.listdir(filtered.results) == []
    assert filtered.json("dev/termination-log")["message"] == "publish: stopped before it was complete"


def test_ten_thousand_files_arrive(pod: Pod) -> None:
    for folder in range(100):
        (pod.data / f"outputs/{folder:02}").mkdir(parents=True)
        for number in range(100):
            (pod.data / f"outputs/{folder:02}/{number:02}").write_bytes(b"%d" % number)
    assert pod.run("filter", FILTER).answer["released"] == 10_000
    assert pod.run("publish", stage_json()).answer["files"] == 10_002
    assert sum(1 for _ in (pod.results / "data/outputs").rglob("??/??")) == 10_000


def test_publishing_stops_at_its_time_limit(filtered: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with pytest.raises(StageError, match=r"limits\.seconds"):
        publish.work(stage_json(), Paths(str(filtered.root), ""), StageLog(str(filtered.root / "log"), repeatable=True))
    assert os.listdir(filtered.results) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "text/csv"),
        ("a.png", "image/png"),
        ("a.csv.gz", "application/gzip"),
        ("a", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("a.log", "text/plain"),
    ],
)
def test_the_content_type_follows_the_name(name: str, expected: str) -> None:
    assert content_type(f"outputs/{name}") == expected


@pytest.mark.parametrize(
    "store", [{"type": "s3"}, {"type": "directory"}, {"type": "directory", "path": "results"}, {"type": "directory", "path": "/a/../b"}]
)
def test_an_error_in_the_store_names_the_field(pod: Pod, store: dict[str, str]) -> None:
    outcome = pod.run("publish", {**stage_json(), "store": store})
    assert outcome.code == 1 and outcome.answer["message"].startswith("store.")


def test_progress_is_logged_in_the_form_that_the_live_view_reads_but_not_published(
    filtered: Pod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from c2d.api.operator_service.progress import progress as progress_in

    outcome = filtered.run("publish", stage_json())
    assert progress_in(outcome.output) == {"bytes": 0, "totalBytes": 3_000_000}
    assert "MB" not in (filtered.results / "data/adminlogs/publish.log").read_text()
    monkeypatch.setattr(store, "PROGRESS_SECONDS", 0)
    progress = store.Progress(StageLog(str(filtered.root / "log")))
    progress.begin(3_000_000)
    assert list(progress.counted([b"x" * 1_000_000] * 4))  # a part of it is sent twice
    printed = capsys.readouterr().out
    assert "store: 1.0 of 3.0 MB, " in printed and progress_in(printed) == {"bytes": 3_000_000, "totalBytes": 3_000_000}
