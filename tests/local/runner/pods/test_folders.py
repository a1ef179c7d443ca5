"""Paths in folders that a container has written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local.runner.pods.folders import UnsafePath, open_within, remove_tree


def test_no_path_leads_out_of_a_volume(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")
    for path in ("link", "link/passwd", "..", "a/../../x", "fifo"):
        with pytest.raises(UnsafePath):
            os.close(open_within(tmp_path, path, "folder"))
    os.close(open_within(tmp_path, "new/deep", "folder"))
    os.close(open_within(tmp_path, "new/file", "file"))
    assert (tmp_path / "new" / "deep").is_dir() and (tmp_path / "new" / "file").is_file()
    with pytest.raises(FileNotFoundError):
        open_within(tmp_path, "absent", None)


def test_a_locked_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(tmp_path / "outside")
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(0o500)
    remove_tree(tree)
    assert not tree.exists() and (tmp_path / "outside" / "keep").exists()
