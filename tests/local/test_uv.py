"""uv takes pip's settings (local/uv.py)."""

from __future__ import annotations

import os
import subprocess
import sys
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
    configuration = """[global]
index-url = https://a.example/simple
extra-index-url = https://b.example/simple
    https://c.example/simple
trusted-host = a.example b.example
timeout = 180
[install]
find-links = /wheels /more-wheels
"""
    assert {
        "UV_DEFAULT_INDEX": "https://a.example/simple",
        "UV_INDEX": "https://b.example/simple https://c.example/simple",
        "UV_INSECURE_HOST": "a.example b.example",
        "UV_HTTP_TIMEOUT": "180",
        "UV_FIND_LINKS": "/wheels,/more-wheels",
    }.items() <= variables(tmp_path, configuration).items()


def test_a_pip_variable_overrides_pip_conf_and_the_install_section_overrides_the_global_one(tmp_path: Path) -> None:
    configuration = "[global]\nindex-url = https://global.example\n[install]\nindex-url = https://install.example\n"
    assert variables(tmp_path, configuration)["UV_DEFAULT_INDEX"] == "https://install.example"
    set_by_variable = variables(tmp_path, configuration, PIP_INDEX_URL="https://variable.example")
    assert set_by_variable["UV_DEFAULT_INDEX"] == "https://variable.example"


def test_the_sections_of_other_pip_commands_do_not_count(tmp_path: Path) -> None:
    assert "UV_DEFAULT_INDEX" not in variables(tmp_path, "[download]\nindex-url = https://a.example\n")


def test_uv_asks_the_registry_that_pip_names(tmp_path: Path) -> None:
    without_uv = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    done = subprocess.run(
        [sys.executable, "-m", "local.uv", "pip", "install", "--dry-run", "--no-cache", "no-such-package"],
        cwd=PROJECT,
        env={**without_uv, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode != 0
    assert "http://127.0.0.1:9/simple/no-such-package/" in done.stderr
