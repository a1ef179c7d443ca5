"""configure compared with curl, and publish with cp: megabytes per second of the real stage programs on this machine's disk."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

MB = 1_000_000
SIZE = 500 * MB
PROJECT = Path(__file__).parents[2]


def run_stage(root: Path, stage: dict[str, object]) -> None:
    """Run a stage program with `root` in place of the pod's file system."""
    (root / "c2d").mkdir(parents=True, exist_ok=True)
    (root / "dev").mkdir(exist_ok=True)
    (root / "c2d" / "stage.json").write_text(json.dumps(stage))
    env = {**os.environ, "C2D_ROOT": str(root), "PYTHONPATH": f"{PROJECT}/pod_images:{PROJECT}/plugins"}
    subprocess.run([sys.executable, "-m", "c2d_stages", str(stage["stage"])], env=env, check=True, stdout=subprocess.DEVNULL)


def rate(work: Callable[[], object]) -> float:
    """MB/s at which ``work`` writes SIZE bytes, until they are on the disk. Pending writes of earlier runs are flushed first."""
    os.sync()
    begin = time.monotonic()
    work()
    os.sync()
    return SIZE / MB / (time.monotonic() - begin)


def fresh(folder: Path) -> Path:
    """The folder, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def measure(rounds: int, spread: Callable[..., str]) -> None:
    """Run the benchmark and print its result."""
    with tempfile.TemporaryDirectory() as work:
        top = Path(work)
        served = fresh(top / "served")
        with (served / "data").open("wb") as f:
            for _ in range(SIZE // MB):
                f.write(os.urandom(MB))
        handler = functools.partial(_Quiet, directory=str(served))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}/data"
            print(f"\n{SIZE // MB} MB over the loopback interface and on this disk: MB/s, {rounds} interleaved rounds")
            fetch = {"inputs": [{"id": "did:op:aa", "files": [{"type": "url", "url": url}]}], "algorithm": {}, "customData": {}}
            limits = {"limits": {"totalBytes": 2 * SIZE, "seconds": 600, "connections": 4}}
            pairs: dict[str, list[float]] = {"curl": [], "configure": [], "cp": [], "publish": []}
            for _ in range(rounds):
                out = fresh(top / "out")
                pairs["curl"].append(rate(lambda out=out: subprocess.run(["curl", "-sfo", str(out / "data"), url], check=True)))
                root = fresh(top / "configure")
                (root / "data").mkdir()
                pairs["configure"].append(rate(lambda root=root: run_stage(root, {"stage": "configure", "job": "b", **fetch, **limits})))
                pairs["cp"].append(rate(lambda out=out: subprocess.run(["cp", str(out / "data"), str(out / "copy")], check=True)))
                root = fresh(top / "publish")
                for folder in ("data/outputs", "data/logs", "data/adminlogs", "data/filter", "results"):
                    (root / folder).mkdir(parents=True)
                os.link(out / "data", root / "data/outputs/data")
                (out / "data").unlink()
                filtering = {"files": 10, "totalBytes": 2 * SIZE, "fileBytes": 2 * SIZE, "depth": 4, "nameBytes": 255, "logBytes": 1024}
                run_stage(root, {"stage": "filter", "job": "b", "limits": filtering})
                publish = {
                    "release": "filtered",
                    "store": {"type": "directory", "path": "/results"},
                    "limits": {"logBytes": 1024, "seconds": 600},
                }
                pairs["publish"].append(
                    rate(lambda root=root, publish=publish: run_stage(root, {"stage": "publish", "job": "b", **publish}))
                )
            for name, values in pairs.items():
                print(f"{name:10} {spread(values)}")
            for ours, theirs in (("configure", "curl"), ("publish", "cp")):
                print(f"{ours} / {theirs}: {spread([a / b for a, b in zip(pairs[ours], pairs[theirs], strict=True)])}")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
