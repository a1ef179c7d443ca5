"""The runner's pure functions: references, selectors, quantities, images, the sandbox's command line, safe paths."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from local.runner.expansion import ConfigMissing, container_env, expand
from local.runner.images import Images, ImagesError, ImageUnknown, python_bases, read_images
from local.runner.logs import Log
from local.runner.objects import remove_tree
from local.runner.quantities import quantity
from local.runner.sandbox import Bubblewrap, Mount, View, arguments
from local.runner.selectors import egress_allowed, object_selects
from local.runner.volumes import UnsafePath, open_within
from tests.runner_client import ROOT  # noqa: F401 - puts the repository into sys.path


@pytest.mark.parametrize(
    "text, expected",
    [
        # from k8s.io/kubernetes/third_party/forked/golang/expansion/expand_test.go
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)$(VAR_A)", "AA"),
        ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$(VAR_DNE)", "$(VAR_DNE)"),
        ("$(VAR_A", "$(VAR_A"),
        ("$VAR_A)", "$VAR_A)"),
        ("foo$", "foo$"),
        ("$$", "$"),
        ("$(VAR_A)$", "A$"),
        ("$((VAR_A)", "$((VAR_A)"),
        ("ü$(VAR_A)$ü", "üA$ü"),
        ("", ""),
    ],
)
def test_references_are_expanded(text: str, expected: str) -> None:
    assert expand(text, {"VAR_A": "A", "VAR_B": "B"}) == expected


def test_values_refer_only_to_what_stands_above_them() -> None:
    container = {
        "envFrom": [{"secretRef": {"name": "all"}, "prefix": "P_"}, {"configMapRef": {"name": "none", "optional": True}}],
        "env": [{"name": "A", "value": "$(B) $(P_x)"}, {"name": "B", "value": "$(A)"}],
    }
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {}}
    env = container_env(container, pod, lambda _kind, name: {"x": "1"} if name == "all" else None)
    assert env == {"P_x": "1", "A": "$(B) $(P_x)", "B": "$(B) $(P_x)"}
    with pytest.raises(ConfigMissing, match='secret "all" not found'):
        container_env(container, pod, lambda *_: None)


def test_quantities_are_bytes_rounded_up() -> None:
    assert [quantity(text) for text in ("64Mi", "1.5k", "100m", "1e3", 7, "0.5Gi")] == [64 << 20, 1500, 1, 1000, 7, 1 << 29]
    with pytest.raises(ValueError, match="quantities must match"):
        quantity("10 MB")


def test_a_policy_selects_by_labels_and_expressions() -> None:
    expression = {"matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["configure", "publish"]}]}
    assert (
        object_selects({}, {})
        and object_selects(expression, {"stage": "algorithm"})
        and not object_selects(expression, {"stage": "publish"})
    )
    deny = {"spec": {"podSelector": expression, "policyTypes": ["Egress"]}}
    ingress = {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    allow = {"spec": {"podSelector": {"matchLabels": {"net": "yes"}}, "egress": [{}]}}
    assert egress_allowed([ingress], {"stage": "algorithm"})
    assert not egress_allowed([deny, ingress, allow], {"stage": "algorithm"})
    assert egress_allowed([deny, allow], {"stage": "algorithm", "net": "yes"})


def view(**more: object) -> View:
    return View(**({"hostname": "pod", "uid": 1000, "gid": 1000, "network": False, "etc": "/state/etc"} | more))  # type: ignore[arg-type]


def test_the_command_line_isolates_and_orders_mounts_by_depth() -> None:
    mounts = (Mount("/data/outputs", fd=11), Mount("/data", fd=10, read_only=True), Mount("/tmp", size=5))
    words = arguments(
        view(mounts=mounts, env={"LD_PRELOAD": "x"}, answer=("/dev/termination-log", "/state/log")), Bubblewrap("bwrap"), 3, 4
    )
    text = " ".join(words)
    for wanted in (
        "--unshare-user --uid 1000 --gid 1000 --disable-userns",
        "--unshare-net",
        "--die-with-parent",
        "--cap-drop ALL",
        "--clearenv",
    ):
        assert wanted in text
    assert text.index("--ro-bind-fd 10 /data") < text.index("--bind-fd 11 /data/outputs") < text.index("--remount-ro / ")
    assert "--size 5 --tmpfs /tmp" in text and "--setenv LD_PRELOAD x" in text and "resolv.conf" not in text
    assert text.index("--bind /state/log /dev/termination-log") < text.index("--remount-ro /dev")
    with_network = arguments(view(network=True), Bubblewrap("bwrap", user_namespace=False), 3, 4)
    assert "--unshare-net" not in with_network and "--unshare-user" not in with_network and "/etc/resolv.conf" in with_network


def test_a_writable_root_means_a_sized_tmp_only() -> None:
    text = " ".join(arguments(view(scratch=9), Bubblewrap("bwrap"), 3, 4))
    assert "--size 9 --tmpfs /tmp" in text and "--remount-ro /" in text
    assert "--tmpfs /tmp" not in " ".join(arguments(view(scratch=None), Bubblewrap("bwrap"), 3, 4))


def test_images_yaml_is_read_again_when_it_changes(tmp_path: Path) -> None:
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
def test_a_wrong_images_yaml_is_refused(tmp_path: Path, entry: str) -> None:
    (tmp_path / "images.yaml").write_text(f"a:1: {entry}\n")
    with pytest.raises(ImagesError, match=r"images\.yaml: a:1: "):
        read_images(tmp_path / "images.yaml")


def test_an_environment_brings_the_installation_it_borrows_from(tmp_path: Path) -> None:
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


def test_no_link_leads_out_of_a_volume(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")
    for path in ("link", "link/passwd", "..", "a/../../x", "fifo"):
        with pytest.raises(UnsafePath):
            os.close(open_within(tmp_path, path, "folder"))
    os.close(open_within(tmp_path, "new/deep", "folder"))
    os.close(open_within(tmp_path, "new/file", "file"))
    assert (tmp_path / "new" / "deep").is_dir() and (tmp_path / "new" / "file").is_file()
    with pytest.raises(FileNotFoundError):
        open_within(tmp_path, "absent", None)


def test_a_locked_tree_is_removed_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "keep").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(tmp_path / "outside")
    (tree / "a" / "b").chmod(0)
    (tree / "a").chmod(0o500)
    remove_tree(tree)
    assert not tree.exists() and (tmp_path / "outside" / "keep").exists()


def test_a_log_keeps_its_last_part_and_loses_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "MAX", 1000)
    log = Log(tmp_path / "log")
    for number in range(200):
        log.write(f"line {number}\n".encode())
    log.write(b"end without newline")
    log.end()

    async def lines(**options: object) -> list[bytes]:
        return b"".join([piece async for piece in log.read(**options)]).split(b"\n")  # type: ignore[arg-type]

    kept = asyncio.run(lines(follow=True))
    assert kept[-2:] == [b"line 199", b"end without newline"] and 20 < len(kept) < 80
    assert asyncio.run(lines(tail=1)) == [b"end without newline"]
    assert log.size() < 2200
