"""Results in an S3 bucket, with short-lived rights that end at the job's prefix; no key of the account is in the pod.

Files up to `postBytes` go by one POST policy: it names bucket, prefix and sizes, and each request carries the file's sha256, which the
store verifies. For larger ones the operator must sign each part, and knows neither names nor digests before. So the pod puts a plan below
its own prefix and says so in its log, which the operator follows; the answer comes back through the same store (docs/stages.md).
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from c2d_stages.content import BytesContent, Content, digest_of, in_base64, part_bytes, parts_of
from c2d_stages.download import Broken, Refused
from c2d_stages.fields import Field
from c2d_stages.stage import Paths, StageError
from c2d_stages.stores import MANIFEST, Item, Run
from c2d_stages.upload import Answer, Client, in_parallel, judged, persistently, target_of

PLAN = ".publish/plan.json"
PLANS = 3  # of one run: an upload may be lost in between
CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")
ETAG = re.compile(rb"<ETag>(?:&#34;|&quot;|\")?([^<&\"]+)(?:&#34;|&quot;|\")?</ETag>")
# Damaged on the way, or a store that is not quite there.
AGAIN = ("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "RequestTimeout", "IncompleteBody", "OperationAborted")
POLL_SECONDS = (0.05, 2.0)


class Lost(Exception):
    """The upload in parts does not exist any more: it was completed, or taken away."""


class S3Store:
    """A bucket, below one prefix. post: URL and fields of the POST policy; answer: URL of what the operator answers a plan with.

    url: what a file's path is added to for the manifest; resume: an earlier run may have left files that need not be sent again.
    """

    def __init__(self, post: str, fields: dict[str, str], prefix: str, postBytes: int, answer: str | None, url: str, resume: bool):
        self._fields, self._prefix, self._post_bytes, self._url = fields, prefix, postBytes, url
        self._post_url, self._answer, self._resume = post, answer, resume
        self._clients: dict[str, Client] = {}
        self._client(post)

    @classmethod
    def from_field(cls, store: Field, paths: Paths) -> "S3Store":
        post = store.get("post")
        fields = post.get("fields").object() or {}
        prefix = store.get("prefix").text()
        if not prefix.endswith("/"):
            raise store.get("prefix").wrong("must end with /")
        answer = store.get("answer")
        try:
            return cls(
                post.get("url").text(),
                {str(name): str(value) for name, value in fields.items()},
                prefix,
                store.get("postBytes").integer(),
                None if answer.value is None else answer.text(),
                store.get("url").text(),
                bool(store.get("resume").value),
            )
        except Refused as error:
            raise post.get("url").wrong(str(error)) from None

    def _client(self, url: str) -> Client:
        """What speaks with the URL's host: Amazon's differ between a policy and a signed request, which is good for its own host only."""
        host = urlsplit(url).netloc
        if host not in self._clients:  # reading the system's certificates takes 20 ms
            self._clients[host] = Client(url)
        return self._clients[host]

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """The operator looks, before there is a pod: a pod may not read the bucket."""
        return None

    def put(self, items: Sequence[Item], run: Run) -> dict[str, dict[str, Any]]:
        resume = self._resume
        for attempt in range(PLANS):
            try:
                etags = self._put(items, run, resume)
                return {path: {"url": self._url + quote(path), "etag": etag} for path, etag in etags.items()}
            except Lost:
                run.log.line("store: an upload in parts is gone; the operator is asked again")
                resume = attempt < PLANS
        raise StageError(f"store: an upload in parts was lost {PLANS} times", "store")

    def commit(self, manifest: bytes, run: Run) -> None:
        self._post(MANIFEST, "application/json", BytesContent(manifest), run)

    def kept(self) -> dict[str, str]:
        return {}

    def abort(self) -> None:
        """Nothing: what has arrived need not be sent again by the next run, and the operator removes what nobody will finish."""

    def _put(self, items: Sequence[Item], run: Run, resume: bool) -> dict[str, str]:
        large = [item for item in items if item.content.size > self._post_bytes]
        plan = self._ask(items if resume else large, run) if large or resume else {}
        etags = {path: answer["etag"] for path, answer in plan.items() if "etag" in answer}
        works: list[partial[None]] = []
        done: dict[str, dict[int, str]] = {}
        for item in large:
            if item.path not in etags:
                parts = done[item.path] = {}
                works += [partial(self._part, item, part, plan[item.path]["partBytes"], parts, run) for part in plan[item.path]["parts"]]
        works += [partial(self._small, item, etags, run) for item in items if item.path not in etags and item.path not in done]
        in_parallel(works, run.connections)
        in_parallel([partial(self._complete, path, plan[path], parts, etags, run) for path, parts in done.items()], run.connections)
        return etags

    # -- one request -----------------------------------------------------------------------------------------------------------

    def _small(self, item: Item, etags: dict[str, str], run: Run) -> None:
        etags[item.path] = self._post(item.path, item.contentType, item.content, run)

    def _post(self, path: str, content_type: str, content: Content, run: Run) -> str:
        """One object by the POST policy. Returns its ETag."""
        boundary = "c2d" + os.urandom(12).hex()
        fields = {
            **self._fields,
            "key": self._prefix + path,
            "Content-Type": content_type,
            "x-amz-checksum-sha256": in_base64(bytes.fromhex(digest_of(content))),
        }
        part = f"--{boundary}\r\nContent-Disposition: form-data; name="
        head = "".join(f'{part}"{n}"\r\n\r\n{v}\r\n' for n, v in fields.items())
        file = f'{part}"file"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\n'
        before, after = (head + file).encode(), f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        length = len(before) + content.size + len(after)

        def attempt() -> str:
            answer = self._client(self._post_url).request(
                "POST", target_of(self._post_url), headers, length, run.progress.counted(_body(before, content, after))
            )
            try:
                return str(_judged(answer).headers.get("ETag", "")).strip('"')
            except Broken:
                _same(content, 0, content.size, fields["x-amz-checksum-sha256"])
                raise

        return persistently(attempt, path, run)

    def _part(self, item: Item, part: dict[str, Any], size: int, done: dict[int, str], run: Run) -> None:
        number = int(part["number"])
        if "etag" in part:  # an earlier run has sent it
            done[number] = part["etag"]
            return
        begin = (number - 1) * size
        length = min(size, item.content.size - begin)

        def attempt() -> str:
            headers = {"x-amz-checksum-sha256": part["sha256"]}
            pieces = run.progress.counted(item.content.read(begin, length))
            answer = self._client(part["url"]).request("PUT", target_of(part["url"]), headers, length, pieces)
            try:
                return str(_judged(answer).headers.get("ETag", "")).strip('"')
            except Broken:
                _same(item.content, begin, length, part["sha256"])
                raise

        done[number] = persistently(attempt, f"{item.path}, part {number}", run)

    def _complete(self, path: str, plan: dict[str, Any], done: dict[int, str], etags: dict[str, str], run: Run) -> None:
        digests = {part["number"]: part["sha256"] for part in plan["parts"]}
        parts = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{etag}&quot;</ETag><ChecksumSHA256>{digests[n]}</ChecksumSHA256></Part>"
            for n, etag in sorted(done.items())
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()

        def attempt() -> str:
            answer = _judged(self._client(plan["complete"]).request("POST", target_of(plan["complete"]), {}, len(body), [body]))
            found = ETAG.search(answer.body)
            if not found:  # S3 begins its answer before it is done, and may end it with an error
                code = CODE.search(answer.body)
                raise Broken(f"the store could not join the parts ({code[1].decode() if code else 'no ETag'})")
            return found[1].decode()

        etags[path] = persistently(attempt, path, run)

    # -- asking the operator -----------------------------------------------------------------------------------------------------

    def _ask(self, items: Iterable[Item], run: Run) -> dict[str, dict[str, Any]]:
        """What the operator says of each file, by its path: that it is there (etag), or how to send its parts."""
        if self._answer is None:
            raise StageError(f"store: takes no file of more than {self._post_bytes} bytes", "store")
        files: list[dict[str, Any]] = []
        for item in items:
            run.check()
            described: dict[str, Any] = {"path": item.path, "size": item.content.size, "contentType": item.contentType}
            if item.content.size > self._post_bytes:
                size = part_bytes(item.content.size)
                described |= {"partBytes": size, "parts": parts_of(item.content)}
            else:
                described["sha256"] = digest_of(item.content)
            files.append(described)
        name = os.urandom(8).hex()
        plan = {"id": name, "files": files}
        self._post(PLAN, "application/json", BytesContent(json.dumps(plan).encode()), run)
        run.log.line(f"plan {name}: {len(files)} files; waiting for the operator")
        answer = self._await_answer(name, run)
        sizes = {file["path"]: file.get("partBytes") for file in files}
        digests = {file["path"]: file.get("parts", []) for file in files}
        for path, told in answer.items():
            told["partBytes"] = sizes[path]
            for part in told.get("parts", []):
                part["sha256"] = digests[path][part["number"] - 1]
        return answer

    def _await_answer(self, name: str, run: Run) -> dict[str, dict[str, Any]]:
        pause, most = POLL_SECONDS
        url = str(self._answer)

        def attempt() -> dict[str, Any] | None:
            answer = self._client(url).request("GET", target_of(url), {})
            if answer.status in (403, 404):  # a store that may not be listed does not say that nothing is there
                return None
            return dict(json.loads(_judged(answer).body))

        while True:
            answer = persistently(attempt, "the operator's answer", run)
            if answer is not None and answer.get("id") == name:
                return dict(answer["files"])
            run.check()
            time.sleep(pause)
            pause = min(pause * 1.5, most)


def _judged(answer: Answer) -> Answer:
    found = CODE.search(answer.body[:4096])
    code = found[1].decode() if found else ""
    if code == "NoSuchUpload":
        raise Lost
    return judged(answer, AGAIN, code)


def _body(before: bytes, content: Content, after: bytes) -> Iterator[bytes | memoryview]:
    if content.size <= 1 << 16:  # in one piece: three small ones would be three packets
        yield b"".join([before, *(bytes(piece) for piece in content.read(0, content.size)), after])
        return
    yield before
    yield from content.read(0, content.size)
    yield after


def _same(content: Content, offset: int, length: int, sha256: str) -> None:
    """Raises StageError when these bytes are not those of the digest: then they were not damaged on the way."""
    digest = hashlib.sha256()
    for piece in content.read(offset, length):
        digest.update(piece)
    if in_base64(digest.digest()) != sha256:
        raise content.changed()
