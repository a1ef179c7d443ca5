"""Results in IPFS: one directory, added to a kubo node where this pod may add and do nothing else. The operator pins it.

Each file's CID is computed here while it is sent (for a large file, by the filter), and must be the CID that the node answers: then what
arrived is what was sent.
"""

import contextlib
import http.client
import json
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import quote, urlencode

from c2d.contract import MANIFEST, IpfsTarget, StoreCids
from c2d.errors import InvalidField
from c2d_stages.common.transfer import PermanentError, TransientError, connection_error, split_url
from c2d_stages.common.unixfs import OPTIONS, FileCid, watched
from c2d_stages.publish.content import BytesContent, Content, checked
from c2d_stages.publish.store import Item, Location, Run
from c2d_stages.publish.upload import STALL_SECONDS, Answer, connection_to, judged, persistently

LINE_BYTES = 64 << 10


class IpfsStore:
    """A node's `add`."""

    def __init__(self, target: IpfsTarget, name: str):
        self._target = target
        self._directory: str | None = None
        self._manifest: str | None = None
        try:
            self._parts = split_url(target.url)
        except PermanentError as error:
            raise InvalidField(f"{name}.url", str(error)) from None

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """None: a node does not know which job added what. Files that are added again get the same CIDs."""
        return None

    def put(self, items: Sequence[Item], run: Run) -> dict[str, Location]:
        files = [(item.path, item.content) for item in items]
        cids = persistently(lambda: self._add(files, run), f"{len(items)} files", run)
        self._directory = cids[""]
        url = f"{self._target.prefix}{self._directory}/"
        return {item.path: Location(url=url + quote(item.path), cid=cids[item.path]) for item in items}

    def commit(self, manifest: bytes, run: Run) -> None:
        """Added by itself, for it names the directory's CID. In a directory too, which preserves its name."""
        file = (MANIFEST, BytesContent(manifest))
        self._manifest = persistently(lambda: self._add([file], run), MANIFEST, run)[""]

    def cids(self) -> StoreCids:
        return StoreCids(cid=self._directory, manifest=self._manifest)

    def abort(self) -> None:
        """Nothing to do: the node's garbage collection removes what is not pinned."""

    def _add(self, files: Sequence[tuple[str, Content]], run: Run) -> dict[str, str]:
        """Add the files in one directory. Returns the CID of each path, and the directory's as that of ""."""
        form = _Form(files, run)
        cids = self._exchange(form)
        for path, cid in form.cids.items():
            if cids.get(path) != cid:
                for content in (content for at, content in files if at == path and content.cid is not None):
                    deque(checked(content), maxlen=0)  # if it is not what the filter read, another attempt does not help
                raise TransientError(f"the node has another content for {path}" if path in cids else f"the node does not know {path}")
        if "" not in cids:
            raise TransientError("the node did not answer the directory's CID")
        return cids

    def _exchange(self, form: "_Form") -> dict[str, str]:
        """Send the form, and read each path's CID at the same time: a node that cannot write its answer stops reading."""
        connection = connection_to(self._parts)
        cids: dict[str, str] = {}
        failures: list[Exception] = []

        def listen() -> None:
            try:
                # Not connection.getresponse(), which would close the socket that we still send to: the answer is the connection's last.
                response = http.client.HTTPResponse(sock, method="POST")
                response.begin()
                cids.update(_cids_in(response))
            except Exception as error:
                failures.append(error)
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # ends the sending too

        try:
            parameters = {**OPTIONS, "wrap-with-directory": "true", "pin": "false", "progress": "false", "stream-channels": "true"}
            connection.putrequest("POST", f"{self._parts.path.rstrip('/')}/api/v0/add?{urlencode(parameters)}", skip_accept_encoding=True)
            for name, value in {**self._target.headers, "User-Agent": "c2d-publish", **form.headers}.items():
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
                raise TimeoutError
            if failures:
                raise failures[0]
            return cids
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise connection_error(error, STALL_SECONDS) from None
        finally:
            connection.close()


def _cids_in(response: http.client.HTTPResponse) -> dict[str, str]:
    """The CID of each path in an answer of `add`. Raises TransientError or PermanentError."""
    if response.status != 200:
        judged(Answer(response.status, response.headers, response.read(LINE_BYTES)))
    cids = {}
    while line := response.readline(LINE_BYTES):
        try:
            event = json.loads(line)
        except ValueError:
            raise TransientError("the node's answer is not JSON") from None
        if "Hash" in event:
            cids[str(event.get("Name", ""))] = str(event["Hash"])
        elif event.get("Type") == "error" or "Message" in event:
            raise TransientError("the node could not add the files")
    return cids


class _Form:
    """The body of `add`: the files, each named by its path. Its length is known in advance."""

    def __init__(self, files: Sequence[tuple[str, Content]], run: Run):
        self._boundary = "c2d" + os.urandom(12).hex()
        self._run = run
        # The files of a directory must come together.
        self._files = sorted(files, key=lambda file: file[0].split("/"))
        self._end = f"--{self._boundary}--\r\n".encode()
        self.cids: dict[str, str] = {}  # of the files that were sent
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
            if content.cid is not None:  # of what the filter read: comparing it with the node's verifies the content
                yield from content.read(0, content.size)
                self.cids[path] = content.cid
            else:
                cid = FileCid()
                yield from watched(checked(content), cid)
                self.cids[path] = cid.text()
            yield b"\r\n"
        yield self._end


def _gathered(pieces: Iterable[bytes | memoryview], size: int = 64 << 10) -> Iterator[bytes | memoryview]:
    """The same bytes, with small pieces joined: a packet for each would be slow."""
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
