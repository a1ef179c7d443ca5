"""images.yaml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local.runner.containers.images import Images, ImagesError, ImageUnknown, python_bases, read_images
from tests.local.runner.client import Cluster


def test_images_yaml_is_read_again_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    (tmp_path / "code").mkdir()
    file.write_text("a:1: {python: none, binds: {/opt/x: code}, env: {N: 1}, user: 7, trusted: true}\n")
    images = Images(file)
    image = images.find("a:1")
    assert (image.binds, image.env["N"], image.user, image.trusted) == ({"/opt/x": str(tmp_path / "code")}, "1", 7, True)
    with pytest.raises(ImageUnknown, match=r"it has a:1 \(from images.yaml\)"):
        images.find("b:1")
    file.write_text("b:1: {python: none}\n")
    os.utime(file, ns=(1, 1))
    assert images.find("b:1").env["PATH"].startswith("/usr/local/sbin")


@pytest.mark.parametrize("entry", ["{pythn: base}", "{binds: {/x: missing}}", "{binds: {x: .}}", "{python: nowhere}"])
def test_an_invalid_images_yaml_is_rejected(tmp_path: Path, entry: str) -> None:
    (tmp_path / "images.yaml").write_text(f"a:1: {entry}\n")
    with pytest.raises(ImagesError, match=r"images\.yaml: a:1: "):
        read_images(tmp_path / "images.yaml")


def test_a_virtual_environment_includes_its_base_installation(tmp_path: Path) -> None:
    real = tmp_path / "pythons" / "3.11.7"
    (real / "bin").mkdir(parents=True)
    (real / "bin" / "python3.11").touch()
    (tmp_path / "pythons" / "3.11").symlink_to(real)
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/pythons/3.11/bin\n")
    (venv / "bin" / "python3").symlink_to(tmp_path / "pythons" / "3.11" / "bin" / "python3.11")
    assert python_bases(venv) == [tmp_path / "pythons" / "3.11"]
    assert python_bases(real) == []


def test_a_container_has_the_files_and_variables_of_its_image(cluster: Cluster) -> None:
    assert cluster.log(cluster.run("python3", "-m", "hello")) == "hello from the image\n"
    assert cluster.log(cluster.run("sh", "-c", "echo $FLAVOUR")) == "image\n"
