"""Results in S3, or another store with its API.

The account's keys never leave the operator. A pod gets a POST policy for its job's prefix; for large files it puts an upload plan into the
store, which the operator answers with signed requests for their parts (docs/stages.md, *publish*).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import quote

from c2d.contract import (
    MANIFEST,
    PLAN,
    PLAN_ANSWER,
    ManifestEntry,
    Plan,
    PlanAnswer,
    PlannedFile,
    PlannedFileAnswer,
    S3Post,
    S3Target,
    SignedPart,
    StoreCids,
    Target,
)
from c2d.errors import InvalidField, ResultStoreError
from c2d.hooks.s3 import CONNECTIONS, s3_client
from c2d.settings.environment import Environment

POST_BYTES = 64 * 2**20
"""Larger files are sent in parts. S3 would accept 5 GiB, but an interrupted upload starts over."""

PLAN_BYTES = 256 * 2**20
MAX_SIGNED_SECONDS = 7 * 24 * 3600
"""S3's limit on the life of a signature."""

PROBE_SECONDS = 10
DELETED_AT_ONCE = 1000
"""S3's limit."""

PATH = re.compile(r"data(/[^/\x00-\x1f\x7f]+)+")


class StoredObject(NamedTuple):
    """An object in the bucket. size: in bytes."""

    key: str
    size: int
    etag: str


class S3ResultStore:
    """A job's objects in one bucket, below ``<job>/`` (:class:`c2d.results.stores.ResultStore`).

    :param job_name: :func:`c2d.jobs.ids.object_name` of the job.
    """

    def __init__(self, env: Environment, bucket: str, job_name: str, client: Any = None):
        self.env, self.bucket, self.prefix = env, bucket, f"{job_name}/"
        self.client = client or s3_client(env)

    # -- before the pod --------------------------------------------------------------------------------------------------------

    def upload_rights(self, seconds: int, log_bytes: int) -> Target:
        seconds = min(seconds, MAX_SIGNED_SECONDS)
        post_bytes = max(POST_BYTES, log_bytes)
        fields = self._encryption_fields()
        conditions: list[Any] = [
            ["content-length-range", 0, max(post_bytes, PLAN_BYTES)],
            ["starts-with", "$Content-Type", ""],
            ["starts-with", "$x-amz-checksum-sha256", ""],
            *({name: value} for name, value in fields.items()),
        ]
        post = self.client.generate_presigned_post(
            self.bucket, self.prefix + "${filename}", Fields=dict(fields), Conditions=conditions, ExpiresIn=seconds
        )
        answer = self.client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": self.prefix + PLAN_ANSWER}, ExpiresIn=seconds
        )
        return S3Target(
            post=S3Post(url=post["url"], fields=post["fields"]),
            prefix=self.prefix,
            postBytes=post_bytes,
            answer=answer,
            url=f"{post['url'].rstrip('/')}/{quote(self.prefix)}",
            resume=self._may_have_objects(),
        )

    def _may_have_objects(self) -> bool:
        """Whether an earlier run may have left objects. True if the store does not answer soon: the pod can wait for it, and be stopped.

        :raises ResultStoreError: the store refuses.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        client = s3_client(self.env, connect_timeout=PROBE_SECONDS, read_timeout=PROBE_SECONDS, retries={"total_max_attempts": 1})
        try:
            return bool(client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1).get("KeyCount"))
        except ClientError as e:
            if e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                return True
            raise ResultStoreError(
                f"bucket {self.bucket}: the store refuses to list it ({e.response.get('Error', {}).get('Code')})"
            ) from None
        except (BotoCoreError, HTTPClientError):
            return True

    def _encryption_fields(self) -> dict[str, str]:
        """The form fields (and headers) that ask for encryption at rest."""
        fields = {
            "x-amz-server-side-encryption": self.env.C2D_S3_ENCRYPTION,
            "x-amz-server-side-encryption-aws-kms-key-id": self.env.C2D_S3_KMS_KEY_ID,
        }
        return {name: value for name, value in fields.items() if value}

    def _encryption_parameters(self) -> dict[str, str]:
        """The same as boto3's parameters."""
        parameters = {"ServerSideEncryption": self.env.C2D_S3_ENCRYPTION, "SSEKMSKeyId": self.env.C2D_S3_KMS_KEY_ID}
        return {name: value for name, value in parameters.items() if value}

    # -- while the pod works -----------------------------------------------------------------------------------------------------

    def answer_plan(self, seconds: int) -> bool:
        """Tells the pod which files the store has already, and gives it signed requests for the parts of the others."""
        plan = self._plan()
        if plan is None:
            return False
        sizes = {stored.key: stored.size for stored in self._objects()}

        def answer_for(file: PlannedFile) -> PlannedFileAnswer:
            if not PATH.fullmatch(file.path) or ".." in file.path.split("/"):
                raise ResultStoreError("the plan names a file outside of the job's results")
            key = self.prefix + file.path
            if sizes.get(key) == file.size and (etag := self._verified_etag(key, _checksum(file))):
                return PlannedFileAnswer(etag=etag)
            return self._signed_parts(key, file, file.parts, min(seconds, MAX_SIGNED_SECONDS)) if file.parts else PlannedFileAnswer()

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            answers = list(pool.map(answer_for, plan.files))
        answer = PlanAnswer(id=plan.id, files={file.path: each for file, each in zip(plan.files, answers, strict=True)})
        body = json.dumps(answer.to_json()).encode()
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + PLAN_ANSWER, Body=body, **self._encryption_parameters())
        return True

    def _plan(self) -> Plan | None:
        """The pod's plan, or None.

        :raises ResultStoreError: the object is not a plan.
        """
        try:
            content = self.client.get_object(Bucket=self.bucket, Key=self.prefix + PLAN)["Body"].read(PLAN_BYTES)
        except self.client.exceptions.NoSuchKey:
            return None
        try:
            return Plan.from_json(json.loads(content))
        except (ValueError, RecursionError) as e:
            raise ResultStoreError(f"{PLAN}: {e}" if isinstance(e, InvalidField) else f"{PLAN}: must be JSON") from None

    def _verified_etag(self, key: str, checksum: str) -> str | None:
        """The object's ETag if the store has verified this checksum, else None."""
        head = self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        return str(head["ETag"]).strip('"') if head.get("ChecksumSHA256") == checksum else None

    def _signed_parts(self, key: str, file: PlannedFile, digests: Sequence[str], seconds: int) -> PlannedFileAnswer:
        """Signed requests for the parts that are missing. Continues an upload that an earlier run began."""
        uploads = self._uploads(key)
        upload = uploads[-1] if uploads else self._begin_upload(key, file)
        sent = self._sent_parts(key, upload) if uploads else {}
        target = {"Bucket": self.bucket, "Key": key, "UploadId": upload}
        parts = []
        for number, digest in enumerate(digests, start=1):
            if digest in sent.get(number, {}):
                parts.append(SignedPart(number=number, etag=sent[number][digest]))
                continue
            part = {**target, "PartNumber": number, "ChecksumSHA256": digest}
            url = self.client.generate_presigned_url("upload_part", Params=part, ExpiresIn=seconds)
            parts.append(SignedPart(number=number, url=url))
        complete = self.client.generate_presigned_url("complete_multipart_upload", Params=target, ExpiresIn=seconds)
        return PlannedFileAnswer(parts=tuple(parts), complete=complete)

    def _begin_upload(self, key: str, file: PlannedFile) -> str:
        upload = self.client.create_multipart_upload(
            Bucket=self.bucket,
            Key=key,
            ChecksumAlgorithm="SHA256",
            ContentType=file.contentType,
            **self._encryption_parameters(),
        )
        return str(upload["UploadId"])

    def _uploads(self, key: str) -> list[str]:
        """The unfinished uploads of this object, the newest last. MinIO lists uploads by the whole key only."""
        uploads = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=key).get("Uploads", [])
        return [u["UploadId"] for u in sorted(uploads, key=lambda u: u["Initiated"]) if u["Key"] == key]

    def _sent_parts(self, key: str, upload: str) -> dict[int, dict[str, str]]:
        """The parts that have arrived: their ETag by part number and checksum."""
        parts: dict[int, dict[str, str]] = {}
        for page in self.client.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload):
            for part in page.get("Parts", []):
                if "ChecksumSHA256" in part:
                    parts[part["PartNumber"]] = {part["ChecksumSHA256"]: part["ETag"].strip('"')}
        return parts

    # -- after the pod -----------------------------------------------------------------------------------------------------------

    def manifest(self, cids: StoreCids) -> bytes:
        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=self.prefix + MANIFEST)["Body"].read())
        except self.client.exceptions.NoSuchKey:
            raise ResultStoreError("the manifest is not in the store") from None

    def verify(self, entries: Sequence[ManifestEntry], cids: StoreCids) -> None:
        """Compares size and ETag: the store gave the ETag when it had verified the sha256. Then removes all other objects of the job."""
        stored = {each.key: each for each in self._objects()}
        expected = {self.prefix + entry.in_store.path: (entry.in_store.size, entry.etag) for entry in entries}
        for key, size_and_etag in expected.items():
            if key not in stored or (stored[key].size, stored[key].etag) != size_and_etag:
                raise ResultStoreError(f"{key.removeprefix(self.prefix)}: is not in the store as it was sent")
        self._abort_uploads()
        self._delete([key for key in stored if key not in expected and key != self.prefix + MANIFEST])

    def remove(self, cids: StoreCids) -> None:
        self._abort_uploads()
        self._delete([each.key for each in self._objects()])

    def _objects(self) -> Iterator[StoredObject]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            for each in page.get("Contents", []):
                yield StoredObject(each["Key"], each["Size"], each["ETag"].strip('"'))

    def _delete(self, keys: list[str]) -> None:
        for begin in range(0, len(keys), DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[begin : begin + DELETED_AT_ONCE]]
            errors = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors", [])
            if errors:
                raise ResultStoreError(f"the store does not delete: {errors[0].get('Code')}")

    def _abort_uploads(self) -> None:
        plan = None
        with contextlib.suppress(ResultStoreError):  # a malformed plan was never answered, so it has begun no upload
            plan = self._plan()
        for file in plan.files if plan else ():
            key = self.prefix + file.path
            for upload in self._uploads(key) if file.parts else []:
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)


def _checksum(file: PlannedFile) -> str:
    """S3's checksum of a file in a plan: for an object in parts, the digest of the parts' digests, and the number of parts."""
    if file.parts:
        digest = hashlib.sha256(b"".join(base64.b64decode(part) for part in file.parts)).digest()
        return f"{base64.b64encode(digest).decode()}-{len(file.parts)}"
    return base64.b64encode(bytes.fromhex(file.sha256 or "")).decode()
