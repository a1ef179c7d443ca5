from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.env_files import operator_settings, read_dotenv, read_env, write_env
from local.home import StackError

VALUES = {"PLAIN": "1", "EMPTY": "", "JSON": '{"1": "it\'s"}', "SPACES": " a  b ", "LINES": "a\nb", "DOLLAR": "$HOME `id`"}


def test_an_empty_setting_in_env_file_counts_as_not_set(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("OPERATOR_PRIVATE_KEY=\nnCPU=2\nNOTIFY_START_URL=''\n")
    assert operator_settings(file) == {"nCPU": "2"}


def test_a_file_of_environments_is_looked_for_beside_env_file(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("C2D_ENVIRONMENTS=places.yaml\n")
    assert operator_settings(file) == {"C2D_ENVIRONMENTS": str(tmp_path / "places.yaml")}


def test_env_file_may_have_comments_quotes_and_exports_and_nothing_is_expanded(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text(
        "# comment\n\nA=1 # comment\nexport B='2 # 3'\n  C = \"x y\"\nD=$HOME\nE='${HOME}'\n" + 'F=\'{"8996": "http://127.0.0.1"}\'\n'
    )
    assert read_dotenv(file) == {"A": "1", "B": "2 # 3", "C": "x y", "D": "$HOME", "E": "${HOME}", "F": '{"8996": "http://127.0.0.1"}'}


@pytest.mark.parametrize("text", ["A=1\n\n  \nno assignment\n", "A=1\n\n  \n=5\n", "A=1\n\n  \nB='unclosed\n"])
def test_a_line_in_env_file_that_is_no_assignment_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "my.env"
    file.write_text(text)
    with pytest.raises(StackError, match=r"my\.env, line 4: expected NAME=value"):
        read_dotenv(file)


@pytest.mark.parametrize("content, reason", [(None, "No such file"), (b"\xff\xfe", "not UTF-8")])
def test_an_env_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "my.env"
    if content:
        file.write_bytes(content)
    with pytest.raises(StackError, match=rf"ENV_FILE=.*my\.env cannot be read: .*{reason}"):
        read_dotenv(file)


def test_the_stack_and_a_shell_read_the_variables_that_the_stack_has_written(tmp_path: Path) -> None:
    file = tmp_path / "env"
    write_env(file, VALUES)
    assert read_env(file) == VALUES
    names = " ".join(f'"${name}"' for name in VALUES)
    shell = subprocess.run(["sh", "-c", f". {file}; printf '%s\\0' {names}"], capture_output=True, text=True, check=True)
    assert shell.stdout.split("\0")[:-1] == list(VALUES.values())
    assert file.stat().st_mode & 0o077 == 0
