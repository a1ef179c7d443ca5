"""What the pod runner runs in place of container images: `python -m local.images FILE` writes its images.yaml (local/runner/images.py).

The stage image is this Python, pod_images/, the plugin's modules that pod_images/Containerfile copies, and the packages of
pod_images/requirements.txt. An image for algorithms is a virtual environment with the same requirements file as the container image of that
name. All stacks of this project share these virtual environments.
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
    """An image's virtual environment. It is made again only when its requirements file or this Python changes."""
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
            raise SystemExit(f"The Python environment of the image {name} could not be created; the reason is above.")
    compile_folder(folder)
    (folder / "complete").touch()
    return folder


def compile_folder(folder: Path) -> None:
    """Compile to bytecode now. A container sees the folder read-only, so it would compile at each start, which takes longer than a job."""
    compileall.compile_dir(folder, quiet=2, workers=0)


def digest(name: str) -> str:
    """A stand-in for the digest of an image for algorithms, which assets refer to. It changes with the image's content."""
    return "sha256:" + hashlib.sha256((POD_IMAGES / name / "requirements.txt").read_bytes()).hexdigest()


def images(python_data: Path, stages_packages: Path) -> dict[str, Any]:
    """The content of images.yaml, with the virtual environments of the two images."""
    (packages,) = stages_packages.glob("lib/python*/site-packages")
    binds = {"/opt/c2d": str(POD_IMAGES), "/opt/plugins": str(PLUGINS), "/opt/packages": str(packages)}
    stages = {"python": "base", "binds": binds, "env": {"PYTHONPATH": ":".join(binds)}, "trusted": True}
    # at /opt/venv, as in the container image: if this project lies in /tmp, the pod's own /tmp hides its path
    path = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    tmp = {"MPLCONFIGDIR": "/tmp", "MPLBACKEND": "Agg"}
    # `trusted` only matters if the user has turned the sandbox off (C2D_UNSAFE_NO_SANDBOX): only trusted images run then
    data = {"python": "base", "binds": {"/opt/venv": str(python_data)}, "env": {"PATH": path, **tmp}, "trusted": True}
    names = ("c2d.test/python-data:1", f"c2d.test/python-data@{digest('python-data')}")
    return {os.environ.get("C2D_STAGE_IMAGE") or "c2d.test/stages:1": stages, **dict.fromkeys(names, data)}


def main() -> None:
    """Make what is missing, and write images.yaml."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / ".lock").open("w") as lock:  # stacks may start at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        compile_folder(POD_IMAGES / "c2d_stages")
        compile_folder(PLUGINS / "c2d" / "shared")
        for module in ("contract.py", "errors.py", "crypto/result_files.py"):
            compileall.compile_file(PLUGINS / "c2d" / module, quiet=2)
        python_data = environment("python-data", POD_IMAGES / "python-data" / "requirements.txt")
        stages = environment("stages", POD_IMAGES / "requirements.txt")
    Path(sys.argv[1]).write_text(yaml.safe_dump(images(python_data, stages)))


if __name__ == "__main__":
    main()
