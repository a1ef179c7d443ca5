"""The sandbox: its command line, and what a container can see and leave behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from local.runner.containers.bubblewrap import Bubblewrap, arguments
from local.runner.containers.view import Mount, View
from tests.local.runner.client import Cluster

VIEW = View(hostname="pod", uid=1000, gid=1000, network=False, etc=Path("/state/etc"), root=Path("/state/root"))


def test_the_options_isolate_and_order_mounts_by_depth() -> None:
    mounts = (Mount("/data/outputs", fd=11), Mount("/data", fd=10, read_only=True), Mount("/tmp", size=5))
    words = arguments(
        replace(VIEW, mounts=mounts, env={"LD_PRELOAD": "x"}, termination_log=("/dev/termination-log", Path("/state/log"))),
        Bubblewrap("bwrap"),
        3,
        4,
    )
    text = " ".join(words)
    for options in (
        "--unshare-user --uid 1000 --gid 1000 --disable-userns",
        "--unshare-net",
        "--die-with-parent",
        "--cap-drop ALL",
        "--clearenv",
    ):
        assert options in text
    assert text.index("--ro-bind-fd 10 /data") < text.index("--bind-fd 11 /data/outputs") < text.index("--remount-ro / ")
    assert "--size 5 --tmpfs /tmp" in text and "--setenv LD_PRELOAD x" in text and "resolv.conf" not in text
    assert text.index("--bind /state/log /dev/termination-log") < text.index("--remount-ro /dev")
    with_network = arguments(replace(VIEW, network=True), Bubblewrap("bwrap", user_namespace=False), 3, 4)
    assert "--unshare-net" not in with_network and "--unshare-user" not in with_network and "/etc/resolv.conf" in with_network


def test_a_container_with_a_writable_root_gets_a_sized_tmp() -> None:
    text = " ".join(arguments(replace(VIEW, scratch=9), Bubblewrap("bwrap"), 3, 4))
    assert "--size 9 --tmpfs /tmp" in text and "--remount-ro /" in text
    assert "--tmpfs /tmp" not in " ".join(arguments(VIEW, Bubblewrap("bwrap"), 3, 4))


def test_a_container_sees_no_home_and_no_repository_and_can_change_nothing(cluster: Cluster) -> None:
    code = """
import os, pathlib
def may(path):
    try: pathlib.Path(path, 'x').write_text('x'); return path
    except OSError: return ''
print([may(p) for p in ('/', '/etc', '/usr', '/usr/bin', '/dev', '/opt/code', '/home', '/var', '/c2d')])
print(os.getuid(), os.getgid(), os.getpid(), os.listdir('/home'), os.listdir('/sys'))
print([p for p in ('/work', '/etc/shadow', '/run/user', '/var/lib', '/tmp/x') if os.path.exists(p)])
status = open('/proc/self/status').read()
print([line.split()[1] for line in status.splitlines() if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))])
"""
    assert (
        cluster.log(cluster.python(code))
        == f"{['' for _ in range(9)]}\n1000 1000 1 [] []\n[]\n['0000000000000000', '0000000000000000', '1']\n"
    )


def test_nothing_of_a_container_survives_its_first_process(cluster: Cluster) -> None:
    volumes = [{"name": "work", "persistentVolumeClaim": {"claimName": cluster.claim("work").metadata.name}}]
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    script = "(trap '' TERM HUP; sleep 0.5; touch /work/survived) & exit 0"
    cluster.run("sh", "-c", script, volumes=volumes, container=mount)
    pod = cluster.run("sh", "-c", "sleep 1; ls /work", volumes=volumes, container=mount)
    assert cluster.log(pod) == ""
