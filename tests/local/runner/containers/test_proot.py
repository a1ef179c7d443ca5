"""The stand-in for the sandbox: its command line."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from local.runner.containers.proot import Proot, arguments
from local.runner.containers.view import OWN_ETC, Mount, View


def test_the_command_line_shows_the_paths_of_the_view_and_sets_only_its_variables(tmp_path: Path) -> None:
    etc, data, log = tmp_path / "etc", tmp_path / "data", tmp_path / "log"
    etc.mkdir()
    data.mkdir()
    for file in (*(etc / name for name in OWN_ETC), log):
        file.touch()
    fd = os.open(data, os.O_PATH)
    try:
        view = View(
            hostname="pod",
            uid=1000,
            gid=1000,
            network=False,
            etc=etc,
            root=tmp_path / "root",
            mounts=(Mount("/data/in", fd=fd), Mount("/data/tmp", size=5)),
            env={"A": "b"},
            workdir="/data",
            termination_log=("/dev/termination-log", log),
        )
        words = arguments(view, Proot("proot"))
    finally:
        os.close(fd)
    assert words[:7] == ["proot", "-r", str(view.root), "-i", "1000:1000", "-w", "/data"]
    assert words[-3:] == ["/usr/bin/env", "-i", "A=b"]
    binds = [word for before, word in itertools.pairwise(words) if before == "-b"]
    assert {"/usr:/usr!", f"{etc}/passwd:/etc/passwd!", f"{data}:/data/in!", f"{log}:/dev/termination-log!"} <= set(binds)
    assert (view.root / "tmp").is_dir() and (view.root / "data" / "tmp").is_dir()
