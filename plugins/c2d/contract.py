"""The contract between the plugin and the stage image: what operators write into ``stage.json``, what stages answer, and what they publish.

docs/stages.md describes it for people; a test compares the two. The stage image carries this very file (pod_images/Containerfile), so it
needs nothing but the standard library and c2d.shared.

Before you change a record, consider who still holds its old form:

* Jobs that run during an upgrade have pods of the old image and operators of the new plugin, or the reverse. A new field needs a default,
  and a field that the other side still reads must not be removed or renamed. Readers ignore fields that they do not know.
* The entries of manifests are stored for as long as the results. The plugin must read every manifest that was ever written.

Names of fields are Ocean's where Ocean has one. A field that is None is left out of the JSON if None is its default.
"""

from dataclasses import field
from typing import Annotated, Any, Literal, NamedTuple

from c2d.errors import InvalidField
from c2d.shared.records import AtLeast, JsonObject, Matches, Record, record

Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
Text = Annotated[str, Matches(".+", "must be a non-empty string")]
HttpUrl = Annotated[str, Matches("(?i:https?://).*", "must start with http:// or https://")]
Sha256 = Annotated[str, Matches("[0-9a-f]{64}", "must be 64 hex digits")]

RESERVED_HEADERS = frozenset(
    (
        *("accept-encoding", "connection", "content-length", "expect", "host", "if-range", "range"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Request headers, in lower case, that a job or an asset cannot set. The sender sets them: another value could smuggle a second request,
break a resumed download, or change the bytes that a checksum is of."""


# -- every stage ---------------------------------------------------------------------------------------------------------------

ANSWER_BYTES = 4096
"""The most that an answer has, for it is the termination message of a pod: Kubernetes keeps no more."""

INPUT_FAILED, ALGORITHM_FAILED = 31, 32
"""Ocean's job statuses for an input and an algorithm that cannot be fetched."""


@record
class Failure(Record):
    """The answer of every stage that failed."""

    ok: Literal[False] = False
    status: int | None = None  # of configure only: INPUT_FAILED or ALGORITHM_FAILED
    resource: str | None = None  # the field, input or file at fault, such as inputs[1].files[0]
    message: str  # one sentence: what is at fault, and what would be right; no URL, header or secret


# -- configure -----------------------------------------------------------------------------------------------------------------

AssetId = Annotated[
    str, Matches("(did:op:)?[0-9A-Za-z][0-9A-Za-z._:-]{0,199}", "must be a DID: did:op: and 1 to 200 letters, digits or . _ : -")
]
Method = Annotated[str, Matches("(?i:get|post)", "must be GET or POST")]
Checksum = Annotated[str, Matches("sha256:[0-9a-fA-F]{64}", "must be sha256: and 64 hex digits")]
Signature = Annotated[str, Matches("0x[0-9a-f]{130}", "must be a signature: 0x and 130 hex digits")]


@record
class UrlFile(Record):
    """A file that one HTTP request brings."""

    type: Literal["url"] = "url"
    url: HttpUrl  # user:password@ in it becomes an Authorization header
    method: Method = "GET"
    headers: dict[str, str] = field(default_factory=dict)  # sent to the URL's own origin only; RESERVED_HEADERS are dropped
    checksum: Checksum | None = None  # of the content
    body: str | None = None  # of a POST


@record
class TextFile(Record):
    """A file whose content the operator already has: what a contract's function returned."""

    type: Literal["text"] = "text"
    text: str  # the content


class Grant(NamedTuple):
    """A right to one download from an Ocean Provider. In JSON the list [nonce, signature]."""

    nonce: int  # the Provider refuses one below the highest that it has seen from the operator
    signature: Signature  # the operator's, of keccak(<did><nonce>)


@record
class Remote(Record):
    """The order of an asset whose files its own Provider serves."""

    txId: Text  # the order's transaction
    serviceId: Text  # the ordered service in the asset's DDO
    userdata: JsonObject | None  # the consumer's parameters, for the Provider
    grants: tuple[Grant, ...]  # with rising nonces; each request uses one up


@record
class InputAsset(Record):
    """A data set. Its files go to /data/inputs/<id without did:op:>/<0..n>."""

    id: AssetId
    files: tuple[UrlFile | TextFile, ...]
    ddo: JsonObject | None  # goes to /data/ddos/
    remote: Remote | None = None  # in place of files


@record
class AlgorithmAsset(Record):
    """The algorithm. Its code goes to /data/transformations/. Without rawcode, files and remote the code is in the image."""

    id: AssetId | None
    files: tuple[UrlFile | TextFile, ...]
    ddo: JsonObject | None  # goes to /data/ddos/
    rawcode: str | None  # the code itself, in place of files and remote
    remote: Remote | None = None  # in place of files and rawcode


@record
class ConfigureLimits(Record):
    """Limits of the downloads."""

    totalBytes: Count  # of all files together
    seconds: Positive  # of all downloads together
    connections: Positive = 4  # downloads at once
    stallSeconds: Positive | None = None  # silence that counts as a broken connection; null: the stage's own number
    publicOnly: bool = False  # whether to connect to public addresses only


@record
class ConfigureInput(Record):
    """stage.json of configure."""

    stage: Literal["configure"] = "configure"
    job: Text  # the job's id
    inputs: tuple[InputAsset, ...]
    algorithm: AlgorithmAsset
    customData: Any  # becomes /data/inputs/algoCustomData.json; null becomes {}
    limits: ConfigureLimits
    metadataUri: HttpUrl | None = None  # where the DDOs of remote assets are
    consumerAddress: Text | None = None  # the operator's address, with which it signed the grants


@record
class ConfigureAnswer(Record):
    """Everything is on the volume."""

    ok: Literal[True] = True
    files: int  # number of files that were downloaded
    bytes: int  # their size together
    seconds: float  # how long the stage took


# -- filter --------------------------------------------------------------------------------------------------------------------


@record
class FilterLimits(Record):
    """Limits of what is released. Sizes are apparent sizes, in bytes."""

    files: Count  # number of files released from outputs
    totalBytes: Count  # of all files released from outputs
    fileBytes: Count  # of one file of outputs
    depth: Count  # of folders below outputs
    nameBytes: Count  # of the name of a file or folder
    logBytes: Count  # of all files of logs; the beginning of algorithm.log comes first


@record
class FilterInput(Record):
    """stage.json of filter."""

    stage: Literal["filter"] = "filter"
    job: Text  # the job's id
    limits: FilterLimits


@record
class FilterAnswer(Record):
    """The verdict is written."""

    ok: Literal[True] = True
    released: int  # number of files that may leave
    withheld: int  # number of files that may not; a log that was cut counts in both
    bytes: int  # size of the released files together


@record
class ReleasedFile(Record):
    """A file that may leave, as the filter read it. Publish sends these very bytes or nothing."""

    path: Text  # below /data: outputs/sub/a.csv or logs/algorithm.log
    size: Count  # in bytes
    sha256: Sha256  # of the content
    type: Literal["output", "algorithmLog"]
    parts: tuple[Text, ...] | None = None  # of a large file: the sha256 of each part as it is sent to S3, base64
    cid: Text | None = None  # of a large file: its CID in IPFS
    cutFrom: int | None = None  # the size of the whole file, if only its first bytes may leave


@record
class Withheld(Record):
    """A file that may not leave."""

    path: str  # below /data, control characters escaped; empty: several files
    reason: Text


@record
class Release(Record):
    """release.json: the filter's verdict, on the job's volume."""

    version: Literal[1] = 1
    files: tuple[ReleasedFile, ...]  # outputs, then logs
    withheld: tuple[Withheld, ...]  # the last one may count the files that are not named


# -- publish -------------------------------------------------------------------------------------------------------------------


@record
class DirectoryTarget(Record):
    """A folder on a mounted volume."""

    type: Literal["directory"] = "directory"
    path: Text  # absolute


@record
class S3Post(Record):
    """A POST policy, which ends soon and is good for the job's prefix only."""

    url: HttpUrl
    fields: dict[str, str]  # of the form; the pod adds key, Content-Type and x-amz-checksum-sha256


@record
class S3Target(Record):
    """A bucket, below the job's prefix."""

    type: Literal["s3"] = "s3"
    post: S3Post  # for each file of at most postBytes
    prefix: Annotated[str, Matches(".+/", "must end with /")]  # of the job's keys
    postBytes: Positive  # a larger file goes in parts that the operator signs (Plan)
    answer: HttpUrl | None = None  # signed GET of the operator's PlanAnswer
    url: Text  # in the manifest, a file's URL is this and its path
    resume: bool = False  # whether an earlier run may have sent some of the files


@record
class IpfsTarget(Record):
    """A kubo node that the pod may add to, and nothing else."""

    type: Literal["ipfs"] = "ipfs"
    url: HttpUrl  # of the node's API
    headers: dict[str, str] = field(default_factory=dict)  # the right to add
    prefix: Text  # in the manifest, a file's URL is this, the directory's CID and the file's path


Target = DirectoryTarget | S3Target | IpfsTarget


@record
class EncryptionKeys(Record):
    """The keys of the job's results, in hex (docs/reference/encryption.md)."""

    results: Sha256  # of outputs, the algorithm's log and the manifest
    adminlogs: Sha256  # of the admin logs
    sealedKey: Text | None = None  # the results' key sealed to the consumer; absent: the operator decrypts


@record
class PublishLimits(Record):
    """Limits of publish."""

    logBytes: Count  # of each log that no filter has judged
    seconds: Positive  # of the whole stage
    retrySeconds: Count = 600  # for which one request may go on failing
    connections: Positive | None = None  # uploads at once; null: the stage's own number


@record
class PublishInput(Record):
    """stage.json of publish."""

    stage: Literal["publish"] = "publish"
    job: Text  # the job's id
    release: Literal["filtered", "logs"]  # filtered: what release.json lists; logs: only logs, for the filter failed
    store: Target  # of the results and the manifest
    adminLogs: Target | None = None  # of the admin logs, if they have a store of their own
    encryption: EncryptionKeys | None  # null: files are stored in clear
    limits: PublishLimits


@record
class StoreCids(Record):
    """What the operator has to pin; empty for a store that is not in IPFS."""

    cid: str | None = None  # of the directory with the files
    manifest: str | None = None  # of the directory with the manifest


@record
class StoresAnswer(Record):
    """What publish answers about its stores."""

    results: StoreCids
    adminLogs: StoreCids


@record
class PublishAnswer(Record):
    """The manifest is in the store."""

    ok: Literal[True] = True
    files: int  # number of published files
    bytes: int  # their size together, before encryption
    manifestSha256: Sha256  # of the manifest, before encryption
    stores: StoresAnswer | None = None  # absent if no store is in IPFS


# -- the manifest --------------------------------------------------------------------------------------------------------------

MANIFEST = "manifest.json"
"""The name of the manifest in every store."""

FileType = Literal["output", "algorithmLog", "configrationLog", "filteringLog", "publishLog"]
"""Ocean's types of results, in Ocean's spelling."""

LOGS: dict[str, FileType] = {
    "configure": "configrationLog",
    "algorithm": "algorithmLog",
    "filter": "filteringLog",
    "publish": "publishLog",
}
"""The type of each stage's log. All but the algorithm's are admin logs."""


def folder_of(type: str) -> str:
    """The folder of the job's volume that files of this type come from."""
    return {"output": "outputs", "algorithmLog": "logs"}.get(type, "adminlogs")


def is_admin_log(type: str) -> bool:
    """Whether files of this type are admin logs: the operator can always read them, and may keep them in a store of their own."""
    return folder_of(type) == "adminlogs"


@record
class StoredFile(Record):
    """What a store holds, byte by byte."""

    path: Text  # below the job's place in the store
    size: Count  # in bytes
    sha256: Sha256  # of the bytes


@record
class ManifestEntry(Record):
    """A published file."""

    index: Count  # Ocean's index of the result: the position in the list
    path: Text  # data/outputs/sub/a.csv; the path in the store too, unless the file is encrypted
    filename: Text  # what follows the folder: sub/a.csv
    size: Count  # of the content, in bytes
    sha256: Sha256  # of the content
    type: FileType
    contentType: Text  # by the ending of the name
    encrypted: Literal["store", "consumer"] | None = None  # who can decrypt it; absent: it is stored in clear
    stored: StoredFile | None = None  # the encrypted file; absent: it is stored in clear
    url: Text | None = None  # in S3 or IPFS
    etag: Text | None = None  # in S3
    cid: Text | None = None  # in IPFS

    @property
    def in_store(self) -> StoredFile:
        """The bytes in the store: the encrypted file, or the file itself."""
        return self.stored or StoredFile(path=self.path, size=self.size, sha256=self.sha256)


@record
class Manifest(Record):
    """manifest.json: the published files, in the order of Ocean's result list."""

    version: Literal[1] = 1
    job: Text  # the job's id
    files: tuple[ManifestEntry, ...]  # outputs, logs, admin logs
    withheld: tuple[Withheld, ...]  # what the filter did not let go


Answer = ConfigureAnswer | FilterAnswer | PublishAnswer | Failure

_ANSWERS: dict[str, type[ConfigureAnswer | FilterAnswer | PublishAnswer]] = {
    "configure": ConfigureAnswer,
    "filter": FilterAnswer,
    "publish": PublishAnswer,
}


def read_answer(stage: str, message: object) -> Answer | None:
    """The answer in a stage's decoded termination message; None if it is not one."""
    if isinstance(message, dict) and message.get("ok") is False:
        kind: type[Answer] = Failure
    elif stage in _ANSWERS:
        kind = _ANSWERS[stage]
    else:
        return None
    try:
        return kind.from_json(message)
    except InvalidField:
        return None


# -- large files to S3 ---------------------------------------------------------------------------------------------------------

PLAN, PLAN_ANSWER = ".publish/plan.json", ".publish/answer.json"
"""Below the job's prefix: the pod puts the plan, and the operator, which has the keys that sign uploads, puts the answer."""

PLAN_LINE = "plan "
"""The beginning of the line in publish's log that announces a plan. No other line begins so."""


@record
class PlannedFile(Record):
    """A file that the pod wants to send."""

    path: Text  # below the job's prefix
    size: Count  # in bytes
    contentType: Text
    sha256: Sha256 | None = None  # of a file that goes as a whole
    partBytes: Positive | None = None  # of a file in parts: the size of each but the last
    parts: tuple[Text, ...] | None = None  # of a file in parts: the sha256 of each, base64


@record
class Plan(Record):
    """plan.json."""

    id: Text  # random; the answer repeats it
    files: tuple[PlannedFile, ...]  # those in parts; all of them with S3Target.resume


@record
class SignedPart(Record):
    """A part of a file: to send (url), or already there (etag)."""

    number: Positive  # from 1
    url: HttpUrl | None = None  # signed PUT of this part and its sha256
    etag: Text | None = None  # of the part in the store


@record
class PlannedFileAnswer(Record):
    """What to do with a file of the plan. Empty: send it as a whole."""

    etag: Text | None = None  # the file is in the store, which has verified its digest
    parts: tuple[SignedPart, ...] | None = None
    complete: HttpUrl | None = None  # signed POST that joins the parts


@record
class PlanAnswer(Record):
    """answer.json."""

    id: Text  # the plan's
    files: dict[str, PlannedFileAnswer]  # by the path in the plan
