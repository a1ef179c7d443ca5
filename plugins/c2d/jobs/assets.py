"""The assets of a job: its data sets and its algorithm, and the three ways to name the files of one."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from c2d.jobs.files import Closed, Files
from c2d.jobs.patterns import DID, DIGEST, HTTP_URL, IMAGE, SERVICE_ID, TAG, TRANSACTION

CODE_BYTES = 512 * 1024
ORDER_DATA_BYTES = 4096  # the Provider gets it in the first line of a request


def _ddo_text(ddo: Any) -> Any:
    try:
        document = json.loads(ddo) if isinstance(ddo, str) else ddo
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ValueError("must be a JSON object")
    return ddo if isinstance(ddo, str) else json.dumps(ddo, separators=(",", ":"), ensure_ascii=False)


Did = Annotated[str, Field(pattern=DID, description="an Ocean DID: did:op: and letters or digits")]
# Stored as text: its sha256 is on chain, and PostgreSQL does not preserve the order of an object's keys.
Ddo = Annotated[str, BeforeValidator(_ddo_text), WithJsonSchema({"type": ["object", "string"]})]


class Remote(Closed):
    """The order of an asset whose own Provider hands out the files. The order names this operator as its consumer."""

    txId: str = Field(pattern=TRANSACTION, description="the order's transaction: 0x and 64 hex digits")
    serviceId: str = Field(pattern=SERVICE_ID, description="the id of the service in the asset's DDO")
    userdata: dict[str, Any] | None = Field(default=None, description="the consumer's parameters for the asset's files")

    @field_validator("userdata")
    @classmethod
    def _short(cls, userdata: dict[str, Any] | None) -> dict[str, Any] | None:
        if len(json.dumps(userdata)) > ORDER_DATA_BYTES:
            raise ValueError(f"must have at most {ORDER_DATA_BYTES} bytes")
        return userdata


class RemoteAlgorithm(Remote):
    """The order of an algorithm whose own Provider hands out the files."""

    serviceEndpoint: str | None = Field(
        default=None, max_length=2048, pattern=HTTP_URL, description="recorded only; the endpoint in the DDO is used"
    )


class OrderReference(Remote):
    """The order of an asset of this operator's own Provider. It is checked on chain before the files are decrypted."""


class Input(Closed):
    """One data set. Its files arrive as `/data/inputs/<id without did:op:>/<0..n>`."""

    id: Did
    files: Files | None = Field(default=None, min_length=1)
    order: OrderReference | None = Field(default=None, description="instead of files: the order of an asset of this operator's Provider")
    remote: Remote | None = Field(default=None, description="instead of files: the order of an asset of another Provider")
    ddo: Ddo | None = Field(default=None, description="the asset's DDO, which the algorithm can read in /data/ddos")

    @model_validator(mode="after")
    def _one_source(self) -> Input:
        if sum(source is not None for source in (self.files, self.order, self.remote)) != 1:
            raise ValueError("must have exactly one of files, order and remote")
        return self


class Container(Closed):
    """The image that the algorithm runs in, and its command."""

    image: str = Field(max_length=255, pattern=IMAGE, description="an image name in lower case without tag, such as library/python")
    tag: str | None = Field(default=None, pattern=TAG)
    checksum: str | None = Field(default=None, pattern=DIGEST, description="sha256:<64 hex>; takes precedence over tag")
    entrypoint: str = Field(min_length=1, max_length=4096, description="a shell command; $ALGO is the path of the algorithm's file")

    @model_validator(mode="after")
    def _resolvable(self) -> Container:
        if not (self.tag or self.checksum):
            raise ValueError("must have a tag or a checksum")
        return self

    @property
    def reference(self) -> str:
        """The image as Kubernetes takes it, by digest if there is one."""
        return f"{self.image}@{self.checksum}" if self.checksum else f"{self.image}:{self.tag}"


class Algorithm(Closed):
    """What to run: code as text, files to fetch, or code that is already in the image."""

    id: Did | None = None
    container: Container
    rawcode: str | None = Field(default=None, max_length=CODE_BYTES, description="the algorithm's source")
    files: Files | None = Field(default=None, min_length=1)
    order: OrderReference | None = Field(
        default=None, description="instead of rawcode and files: the order of an algorithm of this operator's Provider"
    )
    remote: RemoteAlgorithm | None = Field(
        default=None, description="instead of rawcode and files: the order of an algorithm of another Provider"
    )
    ddo: Ddo | None = None
    algocustomdata: dict[str, Any] = Field(default_factory=dict, description="becomes /data/inputs/algoCustomData.json")

    @model_validator(mode="after")
    def _one_source(self) -> Algorithm:
        if sum(source is not None for source in (self.rawcode, self.files, self.order, self.remote)) > 1:
            raise ValueError("must have at most one of rawcode, files, order and remote")
        if (self.order or self.remote) and self.id is None:
            raise ValueError("must have an id if it has order or remote")
        return self
