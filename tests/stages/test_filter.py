"""The filter stage, against outputs that an algorithm made to smuggle something past it or to stop it."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from c2d.contract import FilterLimits
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths
from c2d_stages.common.stage import run as run_stage
from c2d_stages.filter import release as release_module
from c2d_stages.filter import stage as filter_stage
from tests.stages.conftest import Outcome, Pod, sha256

LIMITS = {"files": 100, "totalBytes": 10_000, "fileBytes": 5_000, "depth": 3, "nameBytes": 20, "logBytes": 1_000}


def stage_json(**limits: int) -> dict[str, Any]:
    return {"stage": "filter", "job": "j1", "limits": {**LIMITS, **limits}}


def released(pod: Pod) -> list[str]:
    return [file["path"] for file in pod.json("data/filter/release.json")["files"]]


def reasons(pod: Pod) -> dict[str, str]:
    return {line["path"]: line["reason"] for line in pod.json("data/filter/release.json")["withheld"]}


def run(pod: Pod, **limits: int) -> Outcome:
    return pod.run("filter", stage_json(**limits))


def test_regular_files_are_released_with_size_and_sha256_outputs_first(pod: Pod) -> None:
    pod.write("data/outputs/sub/a.csv", b"a,b\n1,2\n")
    pod.write("data/outputs/ünï.txt", b"")
    pod.write("data/logs/algorithm.log", b"hello")
    outcome = run(pod)
    assert outcome.code == 0 and outcome.answer == {"ok": True, "released": 3, "withheld": 0, "bytes": 13}
    assert pod.json("data/filter/release.json") == {
        "version": 1,
        "files": [
            {"path": "outputs/sub/a.csv", "size": 8, "sha256": sha256(b"a,b\n1,2\n"), "type": "output"},
            {"path": "outputs/ünï.txt", "size": 0, "sha256": sha256(b""), "type": "output"},
            {"path": "logs/algorithm.log", "size": 5, "sha256": sha256(b"hello"), "type": "algorithmLog"},
        ],
        "withheld": [],
    }


def test_special_files_are_withheld_by_name_and_never_block_the_filter(pod: Pod) -> None:
    outputs = pod.write("data/outputs/plain").parent
    pod.write("data/inputs/aa/0", b"secret rows")
    os.symlink("/etc/passwd", outputs / "link")
    os.symlink("../inputs/aa", outputs / "folder-link")
    os.symlink("missing", outputs / "broken-link")
    os.link(pod.data / "inputs/aa/0", outputs / "hard-link")
    os.mkfifo(outputs / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.open(outputs, os.O_RDONLY)
        unix.bind(f"/proc/self/fd/{here}/socket")  # the path itself may be longer than a socket's name can be
        os.close(here)
    if os.getuid() == 0:
        try:
            os.mknod(outputs / "null", 0o20666, os.makedev(1, 3))
        except PermissionError:
            pass
    assert run(pod).answer["ok"] is True  # a stage that blocks would run into the time limit of `finish`
    assert released(pod) == ["outputs/plain"]
    withheld = reasons(pod)
    assert withheld.pop("outputs/null", "a device").startswith("a device")
    assert {path: reason.split(" is not released")[0] for path, reason in withheld.items()} == {
        "outputs/link": "a symbolic link",
        "outputs/folder-link": "a symbolic link",
        "outputs/broken-link": "a symbolic link",
        "outputs/hard-link": "a hard link (a file with more than one name)",
        "outputs/fifo": "a FIFO",
        "outputs/socket": "a socket",
    }
    log = (pod.data / "adminlogs/filter.log").read_text()
    assert "withheld outputs/link: a symbolic link is not released; write a regular file" in log


def test_an_outputs_folder_that_is_a_link_releases_nothing(pod: Pod) -> None:
    pod.write("data/inputs/aa/0", b"secret rows")
    os.symlink("inputs/aa", pod.data / "outputs")
    pod.write("data/filter/release.json", b"{}")
    outcome = run(pod)
    assert outcome.code == 1 and outcome.answer["ok"] is False
    assert os.listdir(pod.data / "filter") == []


def test_names_that_could_mislead_a_reader_are_withheld_and_shown_escaped(pod: Pod) -> None:
    for name in (b"not-\xff-utf8", b"new\nline", b"esc\x1b[31m", b"turned\xe2\x80\xae", b"twenty-one-bytes-long", b"good name"):
        (Path(os.fsdecode(os.fsencode(pod.data) + b"/outputs/" + name))).parent.mkdir(exist_ok=True)
        with open(os.fsencode(pod.data) + b"/outputs/" + name, "wb"):
            pass
    outcome = run(pod)
    assert released(pod) == ["outputs/good name"]
    assert reasons(pod) == {
        r"outputs/not-\xff-utf8": "the name is not valid UTF-8",
        r"outputs/new\x0aline": "the name has control characters",
        r"outputs/esc\x1b[31m": "the name has control characters",
        r"outputs/turned\u202e": "the name has control characters",
        "outputs/twenty-one-bytes-long": "the name has 21 bytes; 20 are allowed (limits.nameBytes)",
    }
    assert "\x1b" not in outcome.output and len(outcome.output.splitlines()) == 7


def test_a_path_that_is_too_long_for_a_store_is_withheld(pod: Pod) -> None:
    folder = pod.data / "outputs"
    for _ in range(5):
        folder = folder / ("d" * 200)
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"x")
    run(pod, nameBytes=255, depth=16)
    assert [reason for reason in reasons(pod).values()] == ["the path has 1012 bytes; 900 are allowed"]


def test_folders_are_entered_up_to_the_limit(pod: Pod) -> None:
    pod.write("data/outputs/1/2/3/ok")
    pod.write("data/outputs/1/2/3/4/too-deep")
    run(pod)
    assert released(pod) == ["outputs/1/2/3/ok"]
    assert reasons(pod) == {"outputs/1/2/3/4": "a folder more than 3 deep (limits.depth)"}


def test_locked_files_and_folders_are_opened(pod: Pod, no_privileges: tuple[str, ...]) -> None:
    locked = pod.write("data/outputs/dir/sub/file").parent.parent
    (locked / "sub/file").chmod(0)
    (locked / "sub").chmod(0)
    locked.chmod(0)
    outcome = pod.run("filter", stage_json(), before=no_privileges)
    assert outcome.answer["released"] == 1, outcome
    assert released(pod) == ["outputs/dir/sub/file"]


def test_files_are_released_in_sorted_order_while_they_fit_in_the_total(pod: Pod) -> None:
    for name, size in (("a", 5_000), ("b", 4_000), ("c", 2_000), ("d", 1_000), ("e", 1)):
        pod.write(f"data/outputs/{name}", b"x" * size)
    run(pod)
    assert released(pod) == ["outputs/a", "outputs/b", "outputs/d"]
    assert reasons(pod) == {
        "outputs/c": "2000 bytes; 1000 are left of the total (limits.totalBytes)",
        "outputs/e": "1 bytes; 0 are left of the total (limits.totalBytes)",
    }


def test_a_sparse_file_counts_with_its_apparent_size(pod: Pod) -> None:
    with pod.write("data/outputs/sparse").open("wb") as file:
        file.truncate(1 << 40)
    run(pod)
    assert reasons(pod) == {"outputs/sparse": "1099511627776 bytes; 5000 are allowed for a file (limits.fileBytes)"}


def test_the_beginning_of_a_long_algorithm_log_is_released_before_anything_else(pod: Pod) -> None:
    pod.write("data/logs/a-first.log", b"y" * 1_000)
    pod.write("data/logs/algorithm.log", b"x" * 100_000)
    pod.write("data/outputs/big", b"z" * 5_000)
    assert run(pod, totalBytes=5_000, files=1).answer["released"] == 2
    log = pod.json("data/filter/release.json")["files"][1]
    assert log == {"path": "logs/algorithm.log", "size": 1_000, "sha256": sha256(b"x" * 1_000), "type": "algorithmLog", "cutFrom": 100_000}
    assert reasons(pod)["logs/algorithm.log"] == "only the first 1000 of 100000 bytes are released (limits.logBytes)"
    assert "logs/a-first.log" in reasons(pod)


def test_a_log_that_is_a_link_is_withheld(pod: Pod) -> None:
    pod.write("data/logs/other")
    os.symlink("/etc/passwd", pod.data / "logs/algorithm.log")
    run(pod)
    assert released(pod) == ["logs/other"]


def test_the_number_of_released_and_of_reported_files_is_limited(pod: Pod) -> None:
    outputs = pod.write("data/outputs/0000").parent
    for number in range(1, 1_500):
        (outputs / f"{number:04}").touch()
    outcome = run(pod, files=5)
    assert released(pod) == [f"outputs/{number:04}" for number in range(5)]
    withheld = pod.json("data/filter/release.json")["withheld"]
    assert outcome.answer["withheld"] == 1_495
    assert sum(line["path"] != "" for line in withheld) <= 1_000
    assert "more" in withheld[-1]["reason"]


def test_a_folder_with_too_many_names_is_examined_up_to_a_limit(pod: Pod, tmp_path: Path) -> None:
    outputs = pod.write("data/outputs/a").parent
    for number in range(2_000):
        (outputs / f"n{number:05}").touch()
    limits = FilterLimits(**{**LIMITS, "files": 100})
    verdict = release_module.judge(str(pod.data), limits, StageLog(str(tmp_path / "log")))
    assert len(verdict.files) == 100 and verdict.withheld_count == 1_901
    assert verdict.names_left == 0
    assert release_module.smallest_names(os.open(outputs, os.O_RDONLY), 0) == ([], 2_001)


def test_missing_or_empty_folders_are_not_an_error(pod: Pod) -> None:
    outcome = run(pod)
    assert outcome.answer == {"ok": True, "released": 0, "withheld": 0, "bytes": 0}
    (pod.data / "outputs").mkdir()
    assert run(pod).answer["ok"] is True


@pytest.mark.parametrize("wrong", [{"limits": {}}, {"limits": None}, {"limits": {**LIMITS, "files": "many"}}, {"stage": "publish"}])
def test_any_error_fails_closed(pod: Pod, wrong: dict[str, Any]) -> None:
    pod.write("data/outputs/a")
    pod.write("data/filter/release.json", b'{"version": 1, "files": [], "withheld": []}')
    outcome = pod.run("filter", {**stage_json(), **wrong})
    assert outcome.code == 1 and outcome.answer["ok"] is False and outcome.answer["message"]
    assert not (pod.data / "filter/release.json").exists()


def test_an_unexpected_error_fails_closed_and_does_not_show_its_text(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    pod.write("data/outputs/a")
    pod.write("c2d/stage.json", json.dumps(stage_json()).encode())
    monkeypatch.setattr(release_module, "name_problem", lambda *arguments: 1 / 0)
    paths = Paths(str(pod.root), str(pod.answer))
    assert run_stage("filter", filter_stage.work, paths) == 1
    assert pod.json("dev/termination-log")["message"].startswith("filter: unexpected error in the stage itself (ZeroDivisionError)")
    assert not (pod.data / "filter/release.json").exists()


def test_a_file_that_changes_while_it_is_read_is_withheld(pod: Pod, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    growing = pod.write("data/outputs/growing", b"x" * 100)
    real = release_module.chunks

    def chunks(*arguments: Any) -> Any:
        yield from real(*arguments)
        with growing.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(release_module, "chunks", chunks)
    verdict = release_module.judge(str(pod.data), FilterLimits(**LIMITS), StageLog(str(tmp_path / "log")))
    assert verdict.files == [] and verdict.withheld[0].reason == "the file changed while it was read"
