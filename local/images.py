"""What the pod runner runs in place of container images: `python -m local.images FILE` writes its images.yaml.

An image is a Python environment of its own, made from the same requirements file as the container image of that name.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from local.home import PROJECT
from local.venv import install, run

STORE = PROJECT / ".venv" / "images"
POD_IMAGES = PROJECT / "pod_images"


def environment(name: str, requirements: Path) -> Path:
    """The image's environment, made once for each content of its requirements file."""
    text = requirements.read_bytes() if requirements.exists() else b""
    folder = STORE / f"{name}-{hashlib.sha256(text + sys.version.encode()).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    uv = PROJECT / ".venv/bin/uv"
    made = uv.exists() and run([str(uv), "venv", "--quiet", "--python", sys.executable, str(folder)])
    if not made and subprocess.run([sys.executable, "-m", "venv", str(folder)]).returncode:
        raise SystemExit(f"the environment of image {name} could not be made")
    # --python: uv must not touch the environment that this process runs in
    if text.strip() and not install(folder, ["-r", str(requirements)]):
        raise SystemExit(f"the packages of image {name} could not be installed ({requirements.relative_to(PROJECT)})")
    (folder / "complete").touch()
    return folder


def main() -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    with open(STORE / ".lock", "w") as lock:  # stacks that start at the same time share what is made here
        fcntl.flock(lock, fcntl.LOCK_EX)
        stages = environment("stages", POD_IMAGES / "requirements.txt")
        python_data = environment("python-data", POD_IMAGES / "python-data" / "requirements.txt")
    images = {
        os.environ.get("C2D_STAGE_IMAGE") or "c2d.test/stages:1": {"python": str(stages), "binds": {"/opt/c2d": str(POD_IMAGES)}, "env": {"PYTHONPATH": "/opt/c2d"}},
        "c2d.test/python-data:1": {"python": str(python_data)},
    }
    Path(sys.argv[1]).write_text(yaml.safe_dump({"images": images}))


if __name__ == "__main__":
    main()
