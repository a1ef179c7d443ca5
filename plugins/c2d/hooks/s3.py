"""Results in S3: what a pod is allowed to do there, checked afterwards, and removed at last. Any store with the S3 API.

The account's keys stay in this process: the environment's own (``AWS_ACCESS_KEY_ID``), or an Airflow connection (``C2D_AWS_CONN_ID``).
A pod gets a POST policy for its job's prefix, and for large files signed requests for single parts; the way of these is in
docs/stages.md, *publish*.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
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
)
from c2d.errors import InvalidField, ResultStoreError
from c2d.settings.installation import Environment

POST_BYTES = 64 * 2**20
"""Up to here a file is one POST; S3 would take 5 GiB, but an upload that breaks is sent again as a whole."""

PLAN_BYTES = 256 * 2**20
LONGEST_SECONDS = 7 * 24 * 3600  # that S3 lets a signature live
AT_ONCE = 16
BRIEF_SECONDS = 10
PATH = re.compile(r"data(/[^/\x00-\x1f\x7f]+)+")


def hook_of(env: Environment) -> Any:
    """The amazon provider's hook for the environment's account."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper

    if not env.AWS_ACCESS_KEY_ID:
        return S3Hook(aws_conn_id=env.C2D_AWS_CONN_ID, region_name=env.AWS_REGION)
    from airflow.sdk import Connection

    extra = {"region_name": env.AWS_REGION, "endpoint_url": env.AWS_ENDPOINT_URL}
    own = Connection(
        conn_id="c2d_results",
        conn_type="aws",
        login=env.AWS_ACCESS_KEY_ID,
        password=env.AWS_SECRET_ACCESS_KEY,
        extra=json.dumps({name: value for name, value in extra.items() if value}),
    )
    hook = S3Hook(aws_conn_id=None)
    hook.conn_config = AwsConnectionWrapper(conn=own, region_name=env.AWS_REGION)
    return hook


def client_of(env: Environment, **options: Any) -> Any:
    """boto3's client for the environment's account. ``options``: of botocore's ``Config``, in place of ours."""
    from botocore.config import Config

    hook = hook_of(env)
    ours = Config(
        signature_version="s3v4",
        # A signed request of a part must ask for the checksum that it is signed with, and for no other.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=AT_ONCE,
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 5},
    ).merge(Config(**options))
    return hook.get_client_type(config=hook.config.merge(ours))


class S3ResultStore:
    """A job's results in one bucket, below ``<job>/``.

    :param job_name: :func:`c2d.pods.manifests.object_name` of the job.
    """

    def __init__(self, env: Environment, bucket: str, job_name: str, client: Any = None):
        self.env, self.bucket, self.prefix = env, bucket, f"{job_name}/"
        self.client = client or client_of(env)

    # -- before the pod --------------------------------------------------------------------------------------------------------

    def right(self, seconds: int, log_bytes: int) -> S3Target:
        """``store`` of publish's stage.json: what the pod may do, for ``seconds``."""
        seconds = min(seconds, LONGEST_SECONDS)
        most = max(POST_BYTES, log_bytes)
        fields = self._encryption()
        conditions: list[Any] = [
            ["content-length-range", 0, max(most, PLAN_BYTES)],
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
            postBytes=most,
            answer=answer,
            url=f"{post['url'].rstrip('/')}/{quote(self.prefix)}",
            resume=self._holds_something(),
        )

    def _holds_something(self) -> bool:
        """Whether an earlier run may have left something; also while the store is away: it is asked once and briefly, for a pod is ready
        to wait for it, and can be stopped.

        :raises ResultStoreError: the store refuses.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        brief = client_of(self.env, connect_timeout=BRIEF_SECONDS, read_timeout=BRIEF_SECONDS, retries={"total_max_attempts": 1})
        try:
            return bool(brief.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1).get("KeyCount"))
        except ClientError as e:
            if e.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                return True
            raise ResultStoreError(
                f"bucket {self.bucket}: the store refuses to list it ({e.response.get('Error', {}).get('Code')})"
            ) from None
        except (BotoCoreError, HTTPClientError):
            return True

    def _encryption(self) -> dict[str, str]:
        """The form fields (and headers) that ask for encryption at rest."""
        fields: dict[str, str] = {"x-amz-server-side-encryption": self.env.C2D_S3_ENCRYPTION} if self.env.C2D_S3_ENCRYPTION else {}
        if self.env.C2D_S3_KMS_KEY_ID:
            fields["x-amz-server-side-encryption-aws-kms-key-id"] = self.env.C2D_S3_KMS_KEY_ID
        return fields

    def _encryption_parameters(self) -> dict[str, str]:
        parameters: dict[str, str | None] = {"ServerSideEncryption": self.env.C2D_S3_ENCRYPTION, "SSEKMSKeyId": self.env.C2D_S3_KMS_KEY_ID}
        return {name: value for name, value in parameters.items() if value}

    # -- while the pod works -----------------------------------------------------------------------------------------------------

    def answer(self, seconds: int) -> bool:
        """Answers the pod's plan, if there is one here: which files are there already, and signed requests for the parts of the others.

        :raises ResultStoreError: the plan asks for something outside of its job.
        """
        plan = self._plan()
        if plan is None:
            return False
        there = {key: size for key, size, _ in self._listed()}

        def answer_for(file: PlannedFile) -> PlannedFileAnswer:
            if not PATH.fullmatch(file.path) or ".." in file.path.split("/"):
                raise ResultStoreError("the plan names a file outside of the job's results")
            key = self.prefix + file.path
            if there.get(key) == file.size and (etag := self._etag_if(key, _checksum_of(file))):
                return PlannedFileAnswer(etag=etag)
            return self._parts(key, file, file.parts, min(seconds, LONGEST_SECONDS)) if file.parts else PlannedFileAnswer()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(answer_for, plan.files))
        answer = PlanAnswer(id=plan.id, files={file.path: each for file, each in zip(plan.files, answers, strict=True)})
        body = json.dumps(answer.to_json()).encode()
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + PLAN_ANSWER, Body=body, **self._encryption_parameters())
        return True

    def _plan(self) -> Plan | None:
        """The pod's plan; None: there is none. :raises ResultStoreError: what lies there is not a plan."""
        try:
            text = self.client.get_object(Bucket=self.bucket, Key=self.prefix + PLAN)["Body"].read(PLAN_BYTES)
        except self.client.exceptions.NoSuchKey:
            return None
        try:
            return Plan.from_json(json.loads(text))
        except (ValueError, RecursionError) as e:
            raise ResultStoreError(f"{PLAN}: {e}" if isinstance(e, InvalidField) else f"{PLAN}: must be JSON") from None

    def _etag_if(self, key: str, checksum: str) -> str | None:
        """The object's ETag, if the store has verified this checksum of it."""
        found = self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        return str(found["ETag"]).strip('"') if found.get("ChecksumSHA256") == checksum else None

    def _parts(self, key: str, file: PlannedFile, digests: Sequence[str], seconds: int) -> PlannedFileAnswer:
        """Signed requests for the parts of a file that are not there yet. Goes on with an upload that an earlier run began."""
        uploads = self._uploads(key)
        upload = uploads[-1] if uploads else self._begin(key, file)
        sent = self._sent(key, upload) if uploads else {}
        parts = []
        for number, digest in enumerate(digests, start=1):
            if digest in sent.get(number, {}):
                parts.append(SignedPart(number=number, etag=sent[number][digest]))
                continue
            where = {"Bucket": self.bucket, "Key": key, "UploadId": upload, "PartNumber": number, "ChecksumSHA256": digest}
            url = self.client.generate_presigned_url("upload_part", Params=where, ExpiresIn=seconds)
            parts.append(SignedPart(number=number, url=url))
        where = {"Bucket": self.bucket, "Key": key, "UploadId": upload}
        complete = self.client.generate_presigned_url("complete_multipart_upload", Params=where, ExpiresIn=seconds)
        return PlannedFileAnswer(parts=tuple(parts), complete=complete)

    def _begin(self, key: str, file: PlannedFile) -> str:
        begun = self.client.create_multipart_upload(
            Bucket=self.bucket,
            Key=key,
            ChecksumAlgorithm="SHA256",
            ContentType=file.contentType,
            **self._encryption_parameters(),
        )
        return str(begun["UploadId"])

    def _uploads(self, key: str) -> list[str]:
        """The unfinished uploads of this object, the newest last. (MinIO lists them by whole keys only.)"""
        listed = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=key).get("Uploads", [])
        return [u["UploadId"] for u in sorted(listed, key=lambda u: u["Initiated"]) if u["Key"] == key]

    def _sent(self, key: str, upload: str) -> dict[int, dict[str, str]]:
        """What has arrived of an upload: number of the part -> its checksum -> its ETag."""
        found: dict[int, dict[str, str]] = {}
        for page in self.client.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload):
            for part in page.get("Parts", []):
                if "ChecksumSHA256" in part:
                    found[part["PartNumber"]] = {part["ChecksumSHA256"]: part["ETag"].strip('"')}
        return found

    # -- after the pod -----------------------------------------------------------------------------------------------------------

    def manifest(self, cids: StoreCids) -> bytes:
        """:raises ResultStoreError: there is none."""
        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=self.prefix + MANIFEST)["Body"].read())
        except self.client.exceptions.NoSuchKey:
            raise ResultStoreError("the manifest is not in the store") from None

    def verify(self, files: Sequence[ManifestEntry], cids: StoreCids) -> None:
        """Whether each file of the manifest is there as the store verified it while it came: same size, same ETag.

        Removes whatever else lies below the job's prefix, but for the manifest.

        :raises ResultStoreError: naming the first file that is not.
        """
        there = {key: (size, etag) for key, size, etag in self._listed()}
        wanted = {self.prefix + file.in_store.path: (file.in_store.size, file.etag) for file in files}
        for key, expected in wanted.items():
            if there.get(key) != expected:
                raise ResultStoreError(f"{key.removeprefix(self.prefix)}: is not in the store as it was sent")
        self._abort_uploads()
        self._delete([key for key in there if key not in wanted and key != self.prefix + MANIFEST])

    def remove(self, cids: StoreCids) -> None:
        """Removes everything of the job."""
        self._abort_uploads()
        self._delete([key for key, _, _ in self._listed()])

    def _listed(self) -> Iterator[tuple[str, int, str]]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            for found in page.get("Contents", []):
                yield found["Key"], found["Size"], found["ETag"].strip('"')

    def _delete(self, keys: list[str]) -> None:
        for begin in range(0, len(keys), 1000):
            gone = [{"Key": key} for key in keys[begin : begin + 1000]]
            failed = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": gone, "Quiet": True}).get("Errors", [])
            if failed:
                raise ResultStoreError(f"the store does not delete: {failed[0].get('Code')}")

    def _abort_uploads(self) -> None:
        plan = None
        with contextlib.suppress(ResultStoreError):  # what is not a plan has begun no upload
            plan = self._plan()
        for file in plan.files if plan else ():
            key = self.prefix + file.path
            for upload in self._uploads(key) if file.parts else []:
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)


def _checksum_of(file: PlannedFile) -> str:
    """The checksum by which S3 knows a file of a plan: of an object in parts, the digest of its parts' digests, and their number."""
    if file.parts:
        whole = hashlib.sha256(b"".join(base64.b64decode(digest) for digest in file.parts)).digest()
        return f"{base64.b64encode(whole).decode()}-{len(file.parts)}"
    return base64.b64encode(bytes.fromhex(file.sha256 or "")).decode()
