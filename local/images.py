"""What the pod runner runs in place of container images: `python -m local.images FILE` writes its images.yaml (local/runner/images.py).

The stage image is Python's own library, pod_images/, and what the publish stage encrypts with: the plugin's module and the packages of
pod_images/requirements.txt. An image for algorithms is an environment made from the same requirements file as the container image of that
name. The environments are shared by all stacks of this project.
"""

import compileall
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from local.home import PROJECT

STORE = PROJECT / ".venv" / "images"
POD_IMAGES = PROJECT / "pod_images"
PLUGINS = PROJECT / "plugins"


def environment(name: str, requirements: Path) -> Path:
    """The image's Python environment, made once for each content of its requirements file."""
    folder = STORE / f"{name}-{hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    uv = [sys.executable, "-m", "local.uv"]
    for command in (
        [*uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--quiet", "-r", str(requirements)],
    ):
        if subprocess.run(command, cwd=PROJECT, env={**os.environ, "UV_PYTHON": str(folder)}).returncode:
            raise SystemExit(f"The Python environment of image {name} could not be created (reason above).")
    compiled(folder)
    (folder / "complete").touch()
    return folder


def compiled(folder: Path) -> None:
    """Bytecode now: a container sees the folder read-only and would compile at each start, longer than a small job takes."""
    compileall.compile_dir(folder, quiet=2, workers=0)


def digest(name: str) -> str:
    """What stands here for the digest of an image for algorithms, with which assets name it: it changes with what is in the image."""
    return "sha256:" + hashlib.sha256((POD_IMAGES / name / "requirements.txt").read_bytes()).hexdigest()


def images(python_data: Path, stages_packages: Path) -> dict[str, Any]:
    (packages,) = stages_packages.glob("lib/python*/site-packages")
    binds = {"/opt/c2d": str(POD_IMAGES), "/opt/plugins": str(PLUGINS), "/opt/packages": str(packages)}
    stages = {"python": "base", "binds": binds, "env": {"PYTHONPATH": ":".join(binds)}, "trusted": True}
    # at /opt/venv as in the container image: below its own path a pod's /tmp may hide it, when this project lies in /tmp
    path = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    tmp = {"MPLCONFIGDIR": "/tmp", "MPLBACKEND": "Agg"}
    # trusted matters only where no sandbox is possible and the user has asked for none (C2D_UNSAFE_NO_SANDBOX): the examples run then
    data = {"python": "base", "binds": {"/opt/venv": str(python_data)}, "env": {"PATH": path, **tmp}, "trusted": True}
    names = ("c2d.test/python-data:1", f"c2d.test/python-data@{digest('python-data')}")
    return {os.environ.get("C2D_STAGE_IMAGE") or "c2d.test/stages:1": stages, **dict.fromkeys(names, data)}


def main() -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / ".lock").open("w") as lock:  # stacks that start at the same time share what is made here
        fcntl.flock(lock, fcntl.LOCK_EX)
        compiled(POD_IMAGES / "c2d_stages")
        compileall.compile_file(PLUGINS / "c2d" / "crypto" / "result_files.py", quiet=2)
        python_data = environment("python-data", POD_IMAGES / "python-data" / "requirements.txt")
        stages = environment("stages", POD_IMAGES / "requirements.txt")
    Path(sys.argv[1]).write_text(yaml.safe_dump(images(python_data, stages)))


if __name__ == "__main__":
    main()
