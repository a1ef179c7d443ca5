"""What a consumer asks for: one compute job.

The same model is the schema of the DAG's params, the body that the APIs build, and what every operator reads.
It is closed: an unknown key is refused, and every refusal names the field and says what would be right. Names are Ocean's.

A value that must stay secret (a file with its URL and headers, the job's ``secret``) may stand there as it is or sealed to
the operator's key (:mod:`c2d.crypto.ecies`). Whatever enters Airflow's database is sealed first (:meth:`Job.sealed`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from c2d.contract import RESERVED_HEADERS
from c2d.crypto import ecies
from c2d.errors import InvalidJob, InvalidSeal

DID = r"^did:op:[A-Za-z0-9]{1,128}$"
IMAGE = r"^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$"
TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
ADDRESS = r"^0x[0-9a-fA-F]{40}$"
TRANSACTION = r"^0x[0-9a-fA-F]{64}$"
SERVICE_ID = r"^[^\x00-\x1f\x7f-\x9f]{1,256}$"
HTTP_URL = r"^https?://[^\s]+$"
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"

MOST_INPUTS = 100
MOST_FILES = 1000  # of a job: each is sealed on its own
CODE_BYTES = 512 * 1024
DATA_BYTES = 128 * 1024
JOB_BYTES = 800 * 1024  # of inputs and algorithm as JSON: with what is added they reach configure in one Secret (1 MiB)
REMOTE_DATA_BYTES = 4096  # goes to the Provider in the request's first line
YEAR = 366 * 24 * 3600


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sealed(_Closed):
    """A value sealed to the operator's key, as ``c2d seal`` prints it."""

    sealed: str = Field(pattern=r"^0x[0-9a-f]+$", max_length=256 * 1024, description="ECIES ciphertext, hex")


class File(_Closed):
    """One file to fetch. ``ipfs`` and ``arweave`` will be further types beside ``url``."""

    type: Literal["url"] = "url"
    url: str = Field(max_length=8192, description="an http:// or https:// URL")
    method: Literal["GET", "POST"] = "GET"
    headers: dict[Annotated[str, Field(pattern=HEADER_NAME)], Annotated[str, Field(max_length=8192)]] = Field(
        default_factory=dict, max_length=64
    )
    checksum: str | None = Field(default=None, pattern=r"^(sha256:)?[0-9a-f]{64}$", description="sha256 of the content, where it is known")

    @field_validator("url")
    @classmethod
    def _fetchable(cls, url: str) -> str:
        if not re.match(r"^https?://", url):
            raise ValueError("must begin with http:// or https://")
        try:
            parts = urlsplit(url)
            has_host, _ = bool(parts.hostname), parts.port
        except ValueError:
            has_host = False
        if not has_host or re.search(r"[\s\x00-\x1f\x7f\\]", url):
            raise ValueError("must be a URL with a host and without blanks or control characters")
        if "@" in parts.netloc:
            raise ValueError("must not hold a user name or password; put them in headers")
        return url

    @field_validator("headers")
    @classmethod
    def _harmless(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if name.lower() in RESERVED_HEADERS:
                raise ValueError(f"{name} is set by the transfer itself and cannot be given")
            if not value.isprintable():
                raise ValueError(f"the value of {name} must be printable text on one line")
        return headers

    @field_validator("checksum")
    @classmethod
    def _with_algorithm(cls, checksum: str | None) -> str | None:
        return checksum if checksum is None or checksum.startswith("sha256:") else f"sha256:{checksum}"


def _sealed_or(kind: str) -> Discriminator:
    # Chosen by the key, so that a wrong File is refused for what is wrong in it and not for not being Sealed as well.
    return Discriminator(lambda v: "~sealed" if isinstance(v, Sealed) or (isinstance(v, dict) and "sealed" in v) else kind)


SealableFile = Annotated[Annotated[File, Tag("~file")] | Annotated[Sealed, Tag("~sealed")], _sealed_or("~file")]
Secret = Annotated[Annotated[str, Field(max_length=4096), Tag("~text")] | Annotated[Sealed, Tag("~sealed")], _sealed_or("~text")]
Did = Annotated[str, Field(pattern=DID, description="an Ocean DID: did:op: and letters or digits")]


def _ddo_text(given: Any) -> Any:
    try:
        document = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ValueError("must be a JSON object")
    return given if isinstance(given, str) else json.dumps(given, separators=(",", ":"), ensure_ascii=False)


# Kept as text: its sha256 is on chain, and a database gives an object's keys back in an order of its own.
Ddo = Annotated[str, BeforeValidator(_ddo_text), WithJsonSchema({"type": ["object", "string"]})]
Files = Annotated[list[SealableFile], Field(max_length=MOST_FILES)]


class Remote(_Closed):
    """An asset that was ordered for the operator: its Provider hands out the files."""

    txId: str = Field(pattern=TRANSACTION, description="the order's transaction: 0x and 64 hex digits")
    serviceId: str = Field(pattern=SERVICE_ID, description="the id of the service in the asset's DDO")
    userdata: dict[str, Any] | None = Field(default=None, description="the consumer's parameters for the asset's files")

    @field_validator("userdata")
    @classmethod
    def _short(cls, userdata: dict[str, Any] | None) -> dict[str, Any] | None:
        if len(json.dumps(userdata)) > REMOTE_DATA_BYTES:
            raise ValueError(f"must have at most {REMOTE_DATA_BYTES} bytes")
        return userdata


class RemoteAlgorithm(Remote):
    """The same of an algorithm."""

    serviceEndpoint: str | None = Field(default=None, max_length=2048, pattern=HTTP_URL, description="recorded; the DDO's own holds")


class OrderReference(Remote):
    """An asset of this operator's own Provider key: the order is checked on chain and the files opened before they are fetched."""


class Input(_Closed):
    """One data set: its files arrive as ``/data/inputs/<id without did:op:>/<0..n>``."""

    id: Did
    files: Files | None = Field(default=None, min_length=1)
    order: OrderReference | None = Field(default=None, description="in place of files: the order of an asset that is kept here")
    remote: Remote | None = Field(default=None, description="in place of files: the order of an asset that its own Provider keeps")
    ddo: Ddo | None = Field(default=None, description="the asset's DDO, laid down for the algorithm")

    @model_validator(mode="after")
    def _one_source(self) -> Input:
        if sum(source is not None for source in (self.files, self.order, self.remote)) != 1:
            raise ValueError("must have one of files, order and remote, and not several")
        return self


class Container(_Closed):
    """The image that the algorithm runs in, and its command."""

    image: str = Field(max_length=255, pattern=IMAGE, description="an image name in lower case without tag, such as library/python")
    tag: str | None = Field(default=None, pattern=TAG)
    checksum: str | None = Field(default=None, pattern=DIGEST, description="sha256:<64 hex>; wins over tag")
    entrypoint: str = Field(min_length=1, max_length=4096, description="a shell command; $ALGO is the algorithm's file")

    @model_validator(mode="after")
    def _resolvable(self) -> Container:
        if not (self.tag or self.checksum):
            raise ValueError("must have a tag or a checksum")
        return self

    @property
    def reference(self) -> str:
        """The image as Kubernetes takes it: by digest where one is known."""
        return f"{self.image}@{self.checksum}" if self.checksum else f"{self.image}:{self.tag}"


class Algorithm(_Closed):
    """What to run: code as raw text, as remote files, or already in the image."""

    id: Did | None = None
    container: Container
    rawcode: str | None = Field(default=None, max_length=CODE_BYTES, description="the algorithm's source")
    files: Files | None = Field(default=None, min_length=1)
    order: OrderReference | None = Field(default=None, description="in place of both: the order of an algorithm that is kept here")
    remote: RemoteAlgorithm | None = Field(default=None, description="in place of both: the order of one that its own Provider keeps")
    ddo: Ddo | None = None
    algocustomdata: dict[str, Any] = Field(default_factory=dict, description="becomes /data/inputs/algoCustomData.json")

    @model_validator(mode="after")
    def _one_source(self) -> Algorithm:
        if sum(source is not None for source in (self.rawcode, self.files, self.order, self.remote)) > 1:
            raise ValueError("must have one of rawcode, files, order and remote, not several")
        if (self.order or self.remote) and self.id is None:
            raise ValueError("must have an id where it has order or remote")
        return self


class Output(_Closed):
    """Where the results go, as far as the consumer has a say."""

    metadataUri: str | None = Field(default=None, max_length=2048, pattern=HTTP_URL, description="where the DDOs are")
    publicKey: str | None = Field(
        default=None, max_length=132, description="secp256k1, 0x and hex; encrypt_results: consumer encrypts the results to it"
    )

    @field_validator("publicKey")
    @classmethod
    def _on_the_curve(cls, key: str | None) -> str | None:
        if key is not None and not ecies.is_public_key(key):
            raise ValueError("must be a secp256k1 public key, 0x and hex")
        return key


class Job(_Closed):
    """One compute job. The job id is not part of it: it is the DAG run's id."""

    inputs: list[Input] = Field(default_factory=list, max_length=MOST_INPUTS, description="the data sets to compute on")
    algorithm: Algorithm = Field(description="what to run on them")
    owner: str = Field(pattern=ADDRESS, description="who asks for the job: 0x and 40 hex digits")
    environment: str | None = Field(default=None, max_length=250, description="the environment's id; it is the DAG's id")
    agreementId: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,128}$")
    chainId: int | None = Field(default=None, ge=0, lt=2**53)
    maxJobDuration: int | None = Field(default=None, ge=1, le=YEAR, description="seconds; the environment's own limit holds as well")
    output: Output | None = None
    userdata: dict[str, Any] = Field(default_factory=dict, description="the consumer's parameters, recorded with the job")
    secret: Secret | None = Field(default=None, description="handed to the algorithm as $secret")
    nonce: int | None = Field(default=None, ge=0, lt=2**63, description="with orders: new, and higher than those used at the Provider API")
    signature: Secret | None = Field(default=None, description="with orders: the owner's, over owner + first input's id + nonce")
    policyServer: Secret | None = Field(default=None, description="with orders: what the operator's policy server is told, JSON text")

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        ids = [i.id for i in self.inputs]
        if len(set(ids)) < len(ids):
            raise ValueError("inputs must not name the same id twice")
        assets: list[Input | Algorithm] = [*self.inputs, self.algorithm]
        if sum(len(a.files or ()) for a in assets) > MOST_FILES:
            raise ValueError(f"inputs and algorithm must have at most {MOST_FILES} files together")
        if self.remotes and not (self.output and self.output.metadataUri):
            raise ValueError("output.metadataUri is required where an asset has remote: the DDOs come from there")
        for name, value, limit in (
            ("algorithm.rawcode", self.algorithm.rawcode or "", CODE_BYTES),
            ("algorithm.algocustomdata", json.dumps(self.algorithm.algocustomdata), DATA_BYTES),
            ("userdata", json.dumps(self.userdata), DATA_BYTES),
            ("ddo", "".join(self.ddos), 2 * DATA_BYTES),
        ):
            if len(value.encode()) > limit:
                raise ValueError(f"{name} must have at most {limit} bytes")
        return self

    @property
    def ddos(self) -> list[str]:
        """The DDOs that the job carries, as JSON text."""
        return [ddo for ddo in (*(i.ddo for i in self.inputs), self.algorithm.ddo) if ddo]

    @property
    def orders(self) -> list[tuple[str, OrderReference]]:
        """The assets that are kept here, as id and order: the inputs, then the algorithm."""
        assets: list[Input | Algorithm] = [*self.inputs, self.algorithm]
        return [(a.id or "", a.order) for a in assets if a.order]

    @property
    def remotes(self) -> list[tuple[str, Remote]]:
        """The assets that are named by transaction, as id and order, in the order in which configure fetches them."""
        assets: list[Input | Algorithm] = [*self.inputs, self.algorithm]
        return [(a.id or "", a.remote) for a in assets if a.remote]

    @classmethod
    def parse(cls, conf: object, environment: str) -> Job:
        """The job in a DAG run's conf.

        :param conf: what the consumer sent, decoded from JSON.
        :param environment: the id of the environment (DAG) that it was sent to.
        :raises InvalidJob: naming every field that is wrong. Never shows a value.
        """
        if not isinstance(conf, dict):
            raise InvalidJob("conf: must be a JSON object, the job")
        for path, value in _leaves(conf):
            if isinstance(value, str) and not is_text(value):
                raise InvalidJob(f"{path}: must be valid UTF-8 text without NUL")
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidJob(f"{path}: must be a finite number")  # JSON has no other; it would become null
        try:
            # A form sends null for what was left empty.
            job = cls.model_validate({k: v for k, v in conf.items() if v is not None})
        except ValidationError as e:
            raise InvalidJob(explain(e)) from None
        if job.environment not in (None, environment):
            raise InvalidJob(f"environment: must be {environment}, the one that this job was sent to, or be left out")
        return job

    def sealed(self, public_key: str, job_id: str | None) -> Job:
        """The same job with every secret sealed to ``public_key``, good for the job ``job_id`` only (None: for any)."""

        def file(f: File | Sealed, path: str) -> Sealed:
            return f if isinstance(f, Sealed) else Sealed(sealed=ecies.seal(public_key, f.model_dump(exclude_defaults=True), job_id))

        def text(value: str | Sealed | None, path: str) -> Sealed | None:
            return Sealed(sealed=ecies.seal(public_key, value, job_id)) if isinstance(value, str) else value

        return self._with_secrets(file, text)

    def opened(self, private_key: str, job_id: str) -> Job:
        """The same job with every sealed value in clear.

        :raises InvalidJob: a sealed value was not made for this operator or this job, or holds something else than the field needs; or the
            whole is larger than a pod can be given.
        """

        def clear(path: str, value: Sealed) -> Any:
            try:
                return ecies.unseal(private_key, value.sealed, job_id)
            except InvalidSeal as e:
                raise InvalidJob(f"{path}: {e}") from None

        def file(f: File | Sealed, path: str) -> File:
            if isinstance(f, File):
                return f
            try:
                return File.model_validate(clear(path, f))
            except ValidationError as e:
                raise InvalidJob(explain(e, path)) from None

        def text(value: str | Sealed | None, path: str) -> str | None:
            if not isinstance(value, Sealed):
                return value
            opened = clear(path, value)
            if not isinstance(opened, str) or len(opened) > 4096:
                raise InvalidJob(f"{path}: must hold text of at most 4096 characters")
            return opened

        job = self._with_secrets(file, text)
        fetched = job.model_dump(mode="json", include={"inputs", "algorithm"}, exclude_none=True, exclude_defaults=True)
        if len(json.dumps(fetched, ensure_ascii=False).encode()) > JOB_BYTES:
            raise InvalidJob(
                f"job: inputs and algorithm must have at most {JOB_BYTES} bytes as JSON, all their URLs, code and parameters together"
            )
        return job

    def _with_secrets(self, file: Callable[[File | Sealed, str], File | Sealed], text: Callable[[str | Sealed | None, str], Any]) -> Job:
        def files(fs: list[File | Sealed] | None, path: str) -> list[File | Sealed] | None:
            return None if fs is None else [file(f, f"{path}[{n}]") for n, f in enumerate(fs)]

        texts = {name: text(getattr(self, name), name) for name in ("secret", "signature", "policyServer")}
        inputs = [i.model_copy(update={"files": files(i.files, f"inputs[{n}].files")}) for n, i in enumerate(self.inputs)]
        algorithm = self.algorithm.model_copy(update={"files": files(self.algorithm.files, "algorithm.files")})
        return self.model_copy(update={"inputs": inputs, "algorithm": algorithm, **texts})

    def dump(self) -> dict[str, Any]:
        """The job as conf: JSON without what is only a default."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)

    def digest(self) -> str:
        """sha256 (hex) of the job as conf, the same before and after a database has had it: JSONB orders keys and writes 1e22 out."""
        return hashlib.sha256(json.dumps(_plain(self.dump()), sort_keys=True).encode()).hexdigest()


def params_schema() -> dict[str, dict[str, Any]]:
    """A JSON schema for each field of :class:`Job`, self-contained, as Airflow's ``Param`` takes it."""
    whole = Job.model_json_schema()
    defs = whole.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(n) for n in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            rest = {k: v for k, v in node.items() if k != "$ref"}
            return inline({**defs[node["$ref"].rsplit("/", 1)[1]], **rest})
        node = {k: inline(v) for k, v in node.items() if k not in ("title", "discriminator", "default")}
        options = node.get("anyOf", [])
        if len(options) == 2 and {"type": "null"} in options and isinstance(options[0].get("type"), str):
            # The trigger form shows a field by its type; "anyOf null" it cannot show.
            del node["anyOf"]
            return {**options[0], **node, "type": [options[0]["type"], "null"]}
        return node

    return {name: {**inline(schema), "required": name in whole["required"]} for name, schema in whole["properties"].items()}


def explain(error: ValidationError, at: str = "") -> str:
    """One sentence for each wrong field: ``inputs[0].files[0].url: must begin with http:// ...``. Never shows a value."""
    sentences = []
    found = error.errors(include_url=False, include_input=False)
    for e in found:
        if e["type"] == "too_short" and any(o["loc"][:-1][: len(e["loc"])] == e["loc"] for o in found):
            continue  # a list that lacks only what is wrong
        path = at
        for part in e["loc"]:
            if part == "[key]" or str(part).startswith("~"):
                continue  # a mark, or the tag of a choice: not a field
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        kind, context = e["type"], e.get("ctx", {})
        if kind == "extra_forbidden":
            text = "is not a known field"
        elif kind == "missing":
            text = "is required"
        elif kind == "string_pattern_mismatch":
            text = _WANTED.get(context["pattern"], "must match " + context["pattern"])
        elif kind == "value_error":
            text = str(context["error"])
        else:
            text = e["msg"][0].lower() + e["msg"][1:]
        sentences.append(f"{path or 'job'}: {text}")
    return "; ".join(sentences[:10])


_WANTED = {
    DID: "must be did:op: followed by 1 to 128 letters or digits",
    IMAGE: "must be an image name in lower case without tag, such as library/python",
    TAG: "must be an image tag: letters, digits, '_', '.', '-', at most 128",
    DIGEST: "must be sha256: followed by 64 hex digits in lower case",
    ADDRESS: "must be 0x followed by 40 hex digits",
    HEADER_NAME: "must be a valid HTTP header name",
    TRANSACTION: "must be 0x followed by 64 hex digits",
    SERVICE_ID: "must be 1 to 256 characters, no control characters",
    HTTP_URL: "must be an http:// or https:// URL",
}


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield "conf", key
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for n, value in enumerate(node):
            yield from _leaves(value, f"{path}[{n}]")
    else:
        yield path or "conf", node


def is_text(text: str) -> bool:
    """Whether it is valid UTF-8 without NUL, as the database takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can carry it, UTF-8 cannot
        return False
    return "\x00" not in text
