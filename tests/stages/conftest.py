"""The stages as real programs on a folder that stands for the pod's root, and web servers that misbehave on purpose."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

POD_IMAGES = Path(__file__).parents[2] / "pod_images"
PYTHONPATH = f"{POD_IMAGES}:{POD_IMAGES.parent / 'plugins'}"  # as the image has it; the packages are this environment's


@dataclass
class Outcome:
    code: int
    answer: dict[str, Any]
    output: str


class Pod:
    """A stage's pod: `root` is its file system."""

    def __init__(self, root: Path):
        self.root = root
        self.data = root / "data"
        self.results = root / "results"
        self.answer = root / "dev/termination-log"
        for folder in ("data", "results", "c2d", "dev"):
            (root / folder).mkdir()

    def start(self, stage: str, stage_json: Any, before: tuple[str, ...] = (), **options: Any) -> "subprocess.Popen[str]":
        text = stage_json if isinstance(stage_json, str) else json.dumps(stage_json)
        (self.root / "c2d/stage.json").write_text(text)
        self.answer.unlink(missing_ok=True)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "C2D_ROOT": str(self.root)}
        command = [*before, sys.executable, "-m", "c2d_stages", stage]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)

    def finish(self, process: "subprocess.Popen[str]", timeout: float = 30) -> Outcome:
        output, _ = process.communicate(timeout=timeout)
        text = self.answer.read_text() if self.answer.exists() else "{}"
        assert len(text) <= 4096
        return Outcome(process.returncode, json.loads(text), output)

    def run(self, stage: str, stage_json: Any, **options: Any) -> Outcome:
        return self.finish(self.start(stage, stage_json, **options))

    def write(self, path: str, content: bytes = b"x") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text())

    def parts(self) -> list[Path]:
        return list(self.root.rglob("*.part"))


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


@pytest.fixture(autouse=True)
def same_process_afterwards() -> Iterator[None]:
    """A stage that runs in the test's own process takes SIGTERM and sets the umask."""
    handler, mask = signal.getsignal(signal.SIGTERM), os.umask(0o022)
    yield
    signal.signal(signal.SIGTERM, handler)
    os.umask(mask)


@pytest.fixture
def no_privileges() -> tuple[str, ...]:
    """A command prefix that takes from root the right to read everything; nothing for other users."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, to test as root")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class WebServer:
    """A loopback server. `routes`: what to do for a path."""

    routes: dict[str, Answer] = field(default_factory=dict)
    requests: list[Seen] = field(default_factory=list)
    url: str = ""

    def seen(self, path: str) -> list[Seen]:
        return [request for request in self.requests if request.path == path]

    def serve(self, path: str, answer: Answer) -> str:
        self.routes[path] = answer
        return self.url + path


@pytest.fixture
def web_server() -> Iterator[Callable[[], WebServer]]:
    """Starts loopback servers, each an origin of its own."""
    running: list[ThreadingHTTPServer] = []

    def start() -> WebServer:
        server = WebServer()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def answer(self) -> None:
                path = self.path.split("?")[0]
                server.requests.append(Seen(self.command, path, dict(self.headers)))
                self.close_connection = True
                try:
                    server.routes.get(path, status(404))(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the stage had enough

            do_GET = do_POST = answer

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(httpd)
        server.url = f"http://127.0.0.1:{httpd.server_port}"
        return server

    yield start
    for httpd in running:
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture
def web(web_server: Callable[[], WebServer]) -> WebServer:
    return web_server()


def status(code: int, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
