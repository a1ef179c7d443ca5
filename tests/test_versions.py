"""Versions that appear in several files agree, and requirements.lock is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from c2d import __version__

ROOT = Path(__file__).parents[1]


def pins(file: str) -> set[str]:
    """The requirements of a file as ``name==version``."""
    lines = (line.split(" #")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return {str(Requirement(line)).lower() for line in lines if line and not line.startswith("#")}


def locked() -> dict[str, str]:
    """Each entry of requirements.lock: its first line, ``name==version`` with a marker, and the rest, hashes and ``# via`` lines."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    split = (entry.partition("\n") for entry in entries if not entry.startswith("#"))
    return {first.removesuffix(" \\"): rest for first, _, rest in split}


def test_the_lock_has_the_versions_of_requirements_txt() -> None:
    direct = {pin for pin, rest in locked().items() if "-r requirements.txt" in rest}
    assert direct == pins("requirements.txt"), "requirements.lock is out of date; `make lock` writes it"


def test_every_package_of_the_lock_has_hashes() -> None:
    assert [pin for pin, rest in locked().items() if "--hash=sha256:" not in rest] == []


def test_the_lock_names_no_registry_and_no_path_of_a_machine() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert re.findall(r".*(?:://|--index-url|--find-links|file:| /).*", text) == []


def test_requirements_files_pin_exact_versions() -> None:
    files = ("requirements.txt", "local/requirements.txt", "requirements-dev.txt")
    assert [pin for file in files for pin in pins(file) if "==" not in pin] == []


def test_the_stage_image_encrypts_with_the_same_version_that_decrypts() -> None:
    (stage,) = (pin for pin in pins("pod_images/requirements.txt") if pin.startswith("cryptography=="))
    assert stage in pins("requirements.txt")


def test_the_hosted_workflow_runs_every_supported_python() -> None:
    supported = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert supported
    minors = range(int(supported[1]), int(supported[2]))
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    for name in ("tests", "demo"):
        assert jobs[name]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in minors]


def test_the_changelog_begins_with_the_version_of_the_code() -> None:
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == __version__
