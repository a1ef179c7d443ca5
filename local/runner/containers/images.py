"""What an image is on a laptop: the host's userland, with a Python installation and some folders added.

`images.yaml` describes each image that pods may name. Nothing is pulled and nothing is built::

    c2d.test/stages:1:
      python: venv                        # which python3 comes first in PATH (default: venv)
      binds: {/opt/c2d: ../pod_images}    # read-only; path in the container: path on the host, relative to this file
      env: {PYTHONPATH: /opt/c2d}         # like ENV in a Containerfile: the pod's own variables win
      user: 1000                          # uid and gid, unless the pod sets them (default 1000)
      trusted: true                       # may run on a machine without a sandbox (default false)

`python` is one of

* `venv`: the environment that the runner itself runs in, with everything installed there;
* `base`: the interpreter that this environment was made from, without any packages;
* `none`: only what /usr/bin has;
* a path to an environment or installation, relative to this file. `~` and `$NAME` are expanded, here and in `binds`.

Images have no entrypoint, so a container needs a `command`. References are compared as text: a digest (`@sha256:`) is just another name.
The file is read again when it has changed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEYS = {"python", "binds", "env", "user", "trusted"}


class ImagesError(Exception):
    """images.yaml cannot be used. The message says where and why."""


class ImageUnknown(Exception):
    """A pod names an image that is not in images.yaml. The message is for the author of the pod."""


@dataclass(frozen=True)
class Image:
    """One image, with every path resolved. `binds`: path in the container -> path on the host, read-only."""

    name: str
    binds: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    user: int = 1000
    trusted: bool = False


class Images:
    """The images of one images.yaml."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at: int | None = None
        self._images: dict[str, Image] = {}
        self._refresh()

    def find(self, reference: str) -> Image:
        """The image of this name. Raises ImageUnknown."""
        self._refresh()
        image = self._images.get(reference)
        if image is None:
            names = ", ".join(sorted(self._images)) or "none"
            raise ImageUnknown(
                f'image "{reference}" is not available: the laptop runner cannot pull images, it has {names} (from {self._file.name}); '
                "any other image needs a cluster"
            )
        return image

    def _refresh(self) -> None:
        changed = self._file.stat().st_mtime_ns
        if changed != self._read_at:
            self._images = read_images(self._file)
            self._read_at = changed


def read_images(file: Path) -> dict[str, Image]:
    """The images that a file describes, by reference. Raises ImagesError."""
    content = yaml.safe_load(file.read_text()) or {}
    if not isinstance(content, dict):
        raise ImagesError(f"{file.name}: must be a mapping of image references")
    return {str(name): _image(str(name), entry or {}, file.parent.resolve(), file.name) for name, entry in content.items()}


def _image(name: str, entry: dict[str, Any], folder: Path, where: str) -> Image:
    if unknown := set(entry) - KEYS:
        raise ImagesError(f"{where}: {name}: unknown key {', '.join(sorted(unknown))}; the keys are {', '.join(sorted(KEYS))}")
    binds: dict[str, str] = {}
    path = PATH
    for prefix in _python(str(entry.get("python", "venv")), folder, f"{where}: {name}"):
        binds |= {str(seen): str(seen.resolve()) for seen in (prefix, prefix.resolve()) if not _is_within_usr(seen)}
        path = f"{prefix}/bin:{path}" if path == PATH else path
    for inside, outside in (entry.get("binds") or {}).items():
        source = _path(str(outside), folder)
        if not str(inside).startswith("/") or ".." in str(inside).split("/"):
            raise ImagesError(f"{where}: {name}: binds: {inside} must be an absolute path in the container")
        if not source.exists():
            raise ImagesError(f"{where}: {name}: binds: {outside} does not exist (relative to {folder})")
        binds[os.path.normpath(inside)] = str(source.resolve())
    env = {"PATH": path} | {str(key): str(value) for key, value in (entry.get("env") or {}).items()}
    return Image(name, binds, env, int(entry.get("user", 1000)), bool(entry.get("trusted", False)))


def _path(text: str, folder: Path) -> Path:
    return folder / Path(os.path.expandvars(text)).expanduser()


def _python(choice: str, folder: Path, where: str) -> list[Path]:
    """The folders that this choice of Python needs; the bin of the first one goes into PATH."""
    if choice == "none":
        return []
    if choice == "base":
        prefixes = [Path(sys.base_prefix)]
    else:
        prefix = Path(sys.prefix) if choice == "venv" else Path(os.path.normpath(_path(choice, folder)))
        if not (prefix / "bin" / "python3").exists():
            raise ImagesError(f"{where}: python: {choice} has no bin/python3")
        prefixes = [prefix, *python_bases(prefix)]
    home = Path.home().resolve()
    for prefix in prefixes:
        if prefix.resolve() == home or prefix.resolve() in home.parents:
            raise ImagesError(
                f"{where}: python: {prefix} contains your home folder, which a container must not see; use a virtual environment"
            )
    return prefixes


def python_bases(prefix: Path) -> list[Path]:
    """The installations that a virtual environment takes its interpreter and standard library from; none for an installation itself."""
    config = prefix / "pyvenv.cfg"
    if not config.exists():
        return []
    settings = dict(line.partition("=")[::2] for line in config.read_text().splitlines())
    home = next((Path(value.strip()) for key, value in settings.items() if key.strip() == "home"), None)
    # bin/python3 may lead to the installation by another path than `home` (uv and pyenv have links such as 3.11 -> 3.11.7)
    bases = [home.parent] if home else []
    link = prefix / "bin" / "python3"
    while link.is_symlink():
        link = Path(os.path.normpath(link.parent / link.readlink()))
        bases.append(link.parent.parent)
    return [base for base in dict.fromkeys(bases) if base != prefix]


def _is_within_usr(path: Path) -> bool:
    return path == Path("/usr") or Path("/usr") in path.parents
