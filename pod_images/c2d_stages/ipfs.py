"""Results in IPFS: one directory, added to a kubo where this pod may add and do nothing else. The operator pins it.

Each file's CID is computed here while it is sent (of a large one, by the filter), and must be what the node says of it: what has arrived is
what was sent.
"""

import contextlib
import http.client
import json
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from c2d_stages.content import BytesContent, Content, checked
from c2d_stages.download import Broken, Refused, describe, split_url
from c2d_stages.fields import Field
from c2d_stages.stage import Paths
from c2d_stages.stores import MANIFEST, Item, Run
from c2d_stages.unixfs import OPTIONS, FileCid, watched
from c2d_stages.upload import STALL_SECONDS, Answer, connection_to, judged, persistently

LINE_BYTES = 64 << 10


class IpfsStore:
    """A node's `add`. prefix: what a CID is added to for the manifest's URLs."""

    def __init__(self, url: str, headers: dict[str, str], prefix: str):
        self._parts, self._headers, self._prefix = split_url(url), headers, prefix
        self._kept: dict[str, str] = {}

    @classmethod
    def from_field(cls, store: Field, paths: Paths) -> "IpfsStore":
        headers = store.get("headers").object() or {}
        try:
            return cls(store.get("url").text(), {str(n): str(v) for n, v in headers.items()}, store.get("prefix").text())
        except Refused as error:
            raise store.get("url").wrong(str(error)) from None

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """Nobody can tell by a node what a job has added; what is added again gets the same CIDs."""
        return None

    def put(self, items: Sequence[Item], run: Run) -> dict[str, dict[str, Any]]:
        files = [(item.path, item.content) for item in items]
        cids = persistently(lambda: self._add(files, run), f"{len(items)} files", run)
        root = self._kept["cid"] = cids[""]
        return {i.path: {"url": f"{self._prefix}{root}/{quote(i.path)}", "cid": cids[i.path]} for i in items}

    def commit(self, manifest: bytes, run: Run) -> None:
        """Added by itself, for it names the directory's CID; in a directory too, which keeps its name."""
        file = (MANIFEST, BytesContent(manifest))
        self._kept["manifest"] = persistently(lambda: self._add([file], run), MANIFEST, run)[""]

    def kept(self) -> dict[str, str]:
        return dict(self._kept)

    def abort(self) -> None:
        """Nothing: what is not pinned goes when the node collects its garbage."""

    def _add(self, files: Sequence[tuple[str, Content]], run: Run) -> dict[str, str]:
        """Adds the files in one directory. Returns the CID of each path, and the directory's as that of ""."""
        form = _Form(files, run)
        told = self._exchange(form)
        for path, cid in form.cids.items():
            if told.get(path) != cid:
                for content in (content for at, content in files if at == path and content.cid is not None):
                    deque(checked(content), maxlen=0)  # not what the filter saw? Then another attempt does not help
                raise Broken(f"the node has another content for {path}" if path in told else f"the node does not know {path}")
        if "" not in told:
            raise Broken("the node did not say the directory's CID")
        return told

    def _exchange(self, form: "_Form") -> dict[str, str]:
        """Sends the form and hears of each path's CID meanwhile: a node that cannot tell stops to listen."""
        connection = connection_to(self._parts)
        heard: dict[str, str] = {}
        failures: list[Exception] = []

        def listen() -> None:
            try:
                # Not connection.getresponse(): it would close the socket that is still sent to, for the answer is the connection's last.
                response = http.client.HTTPResponse(sock, method="POST")
                response.begin()
                heard.update(_heard(response))
            except Exception as error:
                failures.append(error)
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # whoever sends need not go on

        try:
            parameters = {**OPTIONS, "wrap-with-directory": "true", "pin": "false", "progress": "false", "stream-channels": "true"}
            connection.putrequest("POST", f"{self._parts.path.rstrip('/')}/api/v0/add?{urlencode(parameters)}", skip_accept_encoding=True)
            for name, value in {**self._headers, "User-Agent": "c2d-publish", **form.headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            sock = connection.sock
            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            try:
                for piece in form.body():
                    sock.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the answer says why, or that there is none
            listener.join(STALL_SECONDS * 2)
            if listener.is_alive():
                raise Broken(describe(TimeoutError(), STALL_SECONDS))
            if failures:
                raise failures[0]
            return heard
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise Broken(describe(error, STALL_SECONDS)) from None
        finally:
            connection.close()


def _heard(response: http.client.HTTPResponse) -> dict[str, str]:
    """The CID of each path that an answer of `add` names. Raises Broken or Refused."""
    if response.status != 200:
        judged(Answer(response.status, response.headers, response.read(LINE_BYTES)))
    told = {}
    while line := response.readline(LINE_BYTES):
        try:
            event = json.loads(line)
        except ValueError:
            raise Broken("the node's answer is not JSON") from None
        if "Hash" in event:
            told[str(event.get("Name", ""))] = str(event["Hash"])
        elif event.get("Type") == "error" or "Message" in event:
            raise Broken("the node could not add the files")
    return told


class _Form:
    """The body of `add`: the files, each with its path for a name. The length is known in advance."""

    def __init__(self, files: Sequence[tuple[str, Content]], run: Run):
        self._boundary = "c2d" + os.urandom(12).hex()
        self._run = run
        # A directory's files must come together.
        self._files = sorted(files, key=lambda file: file[0].split("/"))
        self._end = f"--{self._boundary}--\r\n".encode()
        self.cids: dict[str, str] = {}
        length = sum(len(self._head(path)) + content.size + 2 for path, content in files) + len(self._end)
        self.headers = {"Content-Type": f"multipart/form-data; boundary={self._boundary}", "Content-Length": str(length)}

    def _head(self, path: str) -> bytes:
        name = quote(path, safe="")
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        return f"--{self._boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()

    def body(self) -> Iterator[bytes | memoryview]:
        return self._run.progress.counted(_gathered(self._pieces()))

    def _pieces(self) -> Iterator[bytes | memoryview]:
        for path, content in self._files:
            self._run.check()
            yield self._head(path)
            if content.cid is not None:  # of what the filter saw: the node tells whether it is that
                yield from content.read(0, content.size)
                self.cids[path] = content.cid
            else:
                cid = FileCid()
                yield from watched(checked(content), cid)
                self.cids[path] = cid.text()
            yield b"\r\n"
        yield self._end


def _gathered(pieces: Iterable[bytes | memoryview], size: int = 64 << 10) -> Iterator[bytes | memoryview]:
    """The same bytes, the small pieces put together: a packet each would be slow."""
    waiting: list[bytes] = []
    count = 0
    for piece in pieces:
        if len(piece) < size:
            waiting.append(bytes(piece))
            count += len(piece)
            if count < size:
                continue
            piece = b"".join(waiting)
        elif waiting:
            yield b"".join(waiting)
        waiting, count = [], 0
        yield piece
    if waiting:
        yield b"".join(waiting)
