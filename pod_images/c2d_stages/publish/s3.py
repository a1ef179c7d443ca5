"""Results in an S3 bucket, with short-lived rights to the job's prefix only. No key of the account is in the pod.

Files up to `postBytes` go by one POST policy: it names bucket, prefix and sizes, and each request carries the file's sha256, which the
store verifies. For larger files the operator must sign each part, and does not know their names and digests: see c2d.contract.Plan.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from urllib.parse import quote, urlsplit

from c2d.contract import MANIFEST, PLAN, PLAN_LINE, Plan, PlanAnswer, PlannedFile, PlannedFileAnswer, S3Target, SignedPart, StoreCids
from c2d.errors import InvalidField
from c2d_stages.common.digests import in_base64, part_bytes
from c2d_stages.common.stage import StageError
from c2d_stages.common.transfer import PermanentError, TransientError
from c2d_stages.publish.content import BytesContent, Content, digest_of, parts_of
from c2d_stages.publish.store import Item, Location, Run
from c2d_stages.publish.upload import Answer, Client, in_parallel, judged, persistently, target_of

PLANS = 3  # in one run: an upload may be lost meanwhile
CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")
ETAG = re.compile(rb"<ETag>(?:&#34;|&quot;|\")?([^<&\"]+)(?:&#34;|&quot;|\")?</ETag>")
# Damaged on the way, or a store that is not quite ready.
AGAIN = ("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "RequestTimeout", "IncompleteBody", "OperationAborted")
POLL_SECONDS = (0.05, 2.0)


class UploadLost(Exception):
    """The upload in parts does not exist any more: it was completed, or removed."""


class PartsUpload:
    """A large file on its way, in the parts that the operator has signed."""

    def __init__(self, item: Item, planned: PlannedFile, answer: PlannedFileAnswer):
        self.item = item
        self.part_bytes = planned.partBytes or item.content.size
        self.digests = planned.parts or ()
        self.complete = answer.complete or ""
        self.parts = answer.parts or ()
        self.etags = {part.number: part.etag for part in self.parts if part.etag}  # of the parts that have arrived

    def missing(self) -> list[SignedPart]:
        return [part for part in self.parts if part.number not in self.etags]


class S3Store:
    """A bucket, below the job's prefix."""

    def __init__(self, target: S3Target, name: str):
        self._target = target
        self._clients: dict[str, Client] = {}
        try:
            self._client(target.post.url)
        except PermanentError as error:
            raise InvalidField(f"{name}.post.url", str(error)) from None

    def _client(self, url: str) -> Client:
        """The client for the URL's host. Amazon's differs between a policy and a signed request, whose signature covers the host."""
        host = urlsplit(url).netloc
        if host not in self._clients:  # reading the system's certificates takes 20 ms
            self._clients[host] = Client(url)
        return self._clients[host]

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """None: the pod may not read the bucket. The operator looks before it starts the pod."""
        return None

    def put(self, items: Sequence[Item], run: Run) -> dict[str, Location]:
        resume = self._target.resume
        for attempt in range(PLANS):
            try:
                etags = self._put(items, run, resume)
                return {path: Location(url=self._target.url + quote(path), etag=etag) for path, etag in etags.items()}
            except UploadLost:
                run.log.line("store: an upload in parts is gone; asking the operator again")
                resume = attempt < PLANS
        raise StageError(f"store: an upload in parts was lost {PLANS} times", "store")

    def commit(self, manifest: bytes, run: Run) -> None:
        self._post(MANIFEST, "application/json", BytesContent(manifest), run)

    def cids(self) -> StoreCids:
        return StoreCids()

    def abort(self) -> None:
        """Nothing to do: the next run need not send again what has arrived, and the operator removes what nobody will finish."""

    def _put(self, items: Sequence[Item], run: Run, resume: bool) -> dict[str, str]:
        """Send all files. Returns their ETags by path. Raises UploadLost or StageError."""
        large = [item for item in items if item.content.size > self._target.postBytes]
        plan, answers = self._ask(items if resume else large, run) if large or resume else ({}, {})
        etags = {path: answer.etag for path, answer in answers.items() if answer.etag}
        uploads = [PartsUpload(item, plan[item.path], answers[item.path]) for item in large if item.path not in etags]
        in_parts = {upload.item.path for upload in uploads}
        small = [item for item in items if item.path not in etags and item.path not in in_parts]
        works = [partial(self._send_part, part, upload, run) for upload in uploads for part in upload.missing()]
        works += [partial(self._send_small, item, etags, run) for item in small]
        in_parallel(works, run.connections)
        in_parallel([partial(self._complete, upload, etags, run) for upload in uploads], run.connections)
        return etags

    # -- one request -----------------------------------------------------------------------------------------------------------

    def _send_small(self, item: Item, etags: dict[str, str], run: Run) -> None:
        etags[item.path] = self._post(item.path, item.contentType, item.content, run)

    def _post(self, path: str, content_type: str, content: Content, run: Run) -> str:
        """One object by the POST policy. Returns its ETag."""
        url, digest = self._target.post.url, in_base64(bytes.fromhex(digest_of(content)))
        fields = {
            **self._target.post.fields,
            "key": self._target.prefix + path,
            "Content-Type": content_type,
            "x-amz-checksum-sha256": digest,
        }
        headers, before, after = _form(fields)
        length = len(before) + content.size + len(after)

        def attempt() -> str:
            pieces = run.progress.counted(_body(before, content, after))
            answer = self._client(url).request("POST", target_of(url), headers, length, pieces)
            return _etag_of(answer, content, 0, content.size, digest)

        return persistently(attempt, path, run)

    def _send_part(self, part: SignedPart, upload: PartsUpload, run: Run) -> None:
        content, number = upload.item.content, part.number
        begin = (number - 1) * upload.part_bytes
        length = min(upload.part_bytes, content.size - begin)
        digest, url = upload.digests[number - 1], part.url or ""

        def attempt() -> str:
            pieces = run.progress.counted(content.read(begin, length))
            answer = self._client(url).request("PUT", target_of(url), {"x-amz-checksum-sha256": digest}, length, pieces)
            return _etag_of(answer, content, begin, length, digest)

        upload.etags[number] = persistently(attempt, f"{upload.item.path}, part {number}", run)

    def _complete(self, upload: PartsUpload, etags: dict[str, str], run: Run) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag>"
            f"<ChecksumSHA256>{upload.digests[number - 1]}</ChecksumSHA256></Part>"
            for number, etag in sorted(upload.etags.items())
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()

        def attempt() -> str:
            answer = _judged(self._client(upload.complete).request("POST", target_of(upload.complete), {}, len(body), [body]))
            etag = ETAG.search(answer.body)
            if not etag:  # S3 begins its answer before it has joined the parts, and may end it with an error
                code = CODE.search(answer.body)
                raise TransientError(f"the store could not join the parts ({code[1].decode() if code else 'no ETag'})")
            return etag[1].decode()

        etags[upload.item.path] = persistently(attempt, upload.item.path, run)

    # -- asking the operator -----------------------------------------------------------------------------------------------------

    def _ask(self, items: Iterable[Item], run: Run) -> tuple[dict[str, PlannedFile], dict[str, PlannedFileAnswer]]:
        """The plan, and what the operator answers, both by the files' paths."""
        if self._target.answer is None:
            raise StageError(f"store: takes no file of more than {self._target.postBytes} bytes", "store")
        files = [self._planned(item, run) for item in items]
        plan = Plan(id=os.urandom(8).hex(), files=tuple(files))
        self._post(PLAN, "application/json", BytesContent(json.dumps(plan.to_json()).encode()), run)
        run.log.line(f"{PLAN_LINE}{plan.id}: {len(files)} files; waiting for the operator")
        answer = self._await_answer(plan.id, self._target.answer, run)
        return {file.path: file for file in files}, answer.files

    def _planned(self, item: Item, run: Run) -> PlannedFile:
        run.check()
        size = item.content.size
        if size > self._target.postBytes:
            parts = tuple(parts_of(item.content))
            return PlannedFile(path=item.path, size=size, contentType=item.contentType, partBytes=part_bytes(size), parts=parts)
        return PlannedFile(path=item.path, size=size, contentType=item.contentType, sha256=digest_of(item.content))

    def _await_answer(self, plan_id: str, url: str, run: Run) -> PlanAnswer:
        pause, most = POLL_SECONDS

        def attempt() -> PlanAnswer | None:
            answer = self._client(url).request("GET", target_of(url), {})
            if answer.status in (403, 404):  # 403: a store whose bucket we may not list does not say that nothing is there
                return None
            return PlanAnswer.from_json(json.loads(_judged(answer).body))

        while True:
            answer = persistently(attempt, "the operator's answer", run)
            if answer is not None and answer.id == plan_id:
                return answer
            run.check()
            time.sleep(pause)
            pause = min(pause * 1.5, most)


def _judged(answer: Answer) -> Answer:
    match = CODE.search(answer.body[:4096])
    code = match[1].decode() if match else ""
    if code == "NoSuchUpload":
        raise UploadLost
    return judged(answer, AGAIN, code)


def _etag_of(answer: Answer, content: Content, offset: int, length: int, digest: str) -> str:
    """The ETag in the store's answer to these bytes.

    Raises StageError if the store rejects bytes that are not those of the digest: then it was not the way there that damaged them.
    """
    try:
        return str(_judged(answer).headers.get("ETag", "")).strip('"')
    except TransientError:
        actual = hashlib.sha256()
        for piece in content.read(offset, length):
            actual.update(piece)
        if in_base64(actual.digest()) != digest:
            raise content.changed() from None
        raise


def _form(fields: dict[str, str]) -> tuple[dict[str, str], bytes, bytes]:
    """The header of a form with these fields and a file, and what stands before and after the file's content."""
    boundary = "c2d" + os.urandom(12).hex()
    part = f"--{boundary}\r\nContent-Disposition: form-data; name="
    head = "".join(f'{part}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    file = f'{part}"file"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, (head + file).encode(), f"\r\n--{boundary}--\r\n".encode()


def _body(before: bytes, content: Content, after: bytes) -> Iterator[bytes | memoryview]:
    if content.size <= 1 << 16:  # in one piece: three small ones would be three packets
        yield b"".join([before, *(bytes(piece) for piece in content.read(0, content.size)), after])
        return
    yield before
    yield from content.read(0, content.size)
    yield after
