"""The stage image: it contains everything that its programs import."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "pod_images/Containerfile").read_text()
COPIES = [line.split()[1:] for line in CONTAINERFILE.splitlines() if line.startswith(("COPY plugins", "COPY pod_images/c2d_stages"))]


def test_the_image_contains_every_module_that_a_stage_imports(tmp_path: Path) -> None:
    for *sources, target in COPIES:
        for source in sources:
            place = tmp_path / target.strip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    modules = [path.relative_to(tmp_path / "opt/c2d") for path in (tmp_path / "opt/c2d").rglob("*.py") if path.stem[:2] != "__"]
    assert len(modules) > 20
    names = [str(module.with_suffix("")).replace("/", ".") for module in modules]
    code = f"import importlib, c2d.crypto.result_files\nfor name in {names!r}: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": f"{tmp_path}/opt/c2d:{tmp_path}/opt/plugins", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_build_context_contains_every_file_that_is_copied() -> None:
    lines = (ROOT / "pod_images/Containerfile.dockerignore").read_text().splitlines()
    included = [line[1:] for line in lines if line.startswith("!")]
    for *sources, _ in COPIES:
        for source in sources:
            assert any(source == entry or source.startswith(entry + "/") or fnmatch(source, entry) for entry in included), source
