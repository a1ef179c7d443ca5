"""uv takes pip's settings (local/uv.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from local.home import PROJECT
from local.uv import uv_variables


def variables(tmp_path: Path, configuration: str, **environment: str) -> dict[str, str]:
    """What uv gets when pip has this configuration file and these variables."""
    file = tmp_path / "pip.conf"
    file.write_text(configuration)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**clean, "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file), **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return uv_variables(listing)


def test_a_registry_of_pip_conf_is_the_registry_of_uv(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    configuration = f"""[global]
index-url = https://a.example/simple
extra-index-url = https://b.example/simple
    https://c.example/simple
trusted-host = a.example b.example
timeout = 180
[install]
find-links = {tmp_path}/wheels https://d.example/wheels {tmp_path}/no-such-folder
"""
    assert {
        "UV_DEFAULT_INDEX": "https://a.example/simple",
        "UV_INDEX": "https://b.example/simple https://c.example/simple",
        "UV_INSECURE_HOST": "a.example b.example",
        "UV_HTTP_TIMEOUT": "180",
        "UV_FIND_LINKS": f"{tmp_path}/wheels,https://d.example/wheels",
    }.items() <= variables(tmp_path, configuration).items()


def test_a_pip_variable_overrides_pip_conf_and_the_install_section_overrides_the_global_one(tmp_path: Path) -> None:
    configuration = "[global]\nindex-url = https://global.example\n[install]\nindex-url = https://install.example\n"
    assert variables(tmp_path, configuration)["UV_DEFAULT_INDEX"] == "https://install.example"
    set_by_variable = variables(tmp_path, configuration, PIP_INDEX_URL="https://variable.example")
    assert set_by_variable["UV_DEFAULT_INDEX"] == "https://variable.example"


def test_the_sections_of_other_pip_commands_do_not_count(tmp_path: Path) -> None:
    assert "UV_DEFAULT_INDEX" not in variables(tmp_path, "[download]\nindex-url = https://a.example\n")


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m local.uv`` without the settings that this machine has for uv."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    command = [sys.executable, "-m", "local.uv", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, env={**clean, **environment}, capture_output=True, text=True)


def test_uv_asks_the_registry_that_pip_names() -> None:
    registry = "http://127.0.0.1:9/simple"
    done = run(
        "pip", "install", "--dry-run", "no-such-package", PIP_INDEX_URL=registry, UV_NO_CACHE="1", UV_HTTP_RETRIES="0", PIP_RETRIES="0"
    )
    assert done.returncode != 0
    assert f"{registry}/no-such-package/" in done.stderr


def test_pip_installs_into_the_same_environment_if_uv_fails(tmp_path: Path) -> None:
    metadata = "Metadata-Version: 2.1\nName: example\nVersion: 1\n"
    with zipfile.ZipFile(tmp_path / "example-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("example-1.dist-info/METADATA", metadata)
        wheel.writestr("example-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("example-1.dist-info/RECORD", "")
    venv = tmp_path / "venv"
    assert run("venv", venv).returncode == 0
    done = run(
        "pip",
        "install",
        "--no-index",
        "example",
        UV_PYTHON=str(venv),
        UV_FIND_LINKS=str(tmp_path / "missing"),
        PIP_FIND_LINKS=str(tmp_path),
    )
    assert "Trying pip" in done.stderr
    assert (done.returncode, len(list(venv.glob("lib/*/site-packages/example-1.dist-info")))) == (0, 1)
