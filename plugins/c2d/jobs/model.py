"""What a consumer asks for: one compute job.

This one model is the schema of the DAG's params, the body that the APIs build, and what every operator reads. It is closed: an unknown
field is rejected. Every error names the field and says what would be right. The field names are Ocean's.

A value that must stay secret (a file with its URL and headers, the job's ``secret``) is in clear or sealed to the operator's key
(:mod:`c2d.crypto.ecies`). A job is sealed before it enters Airflow's database (:meth:`Job.sealed`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from c2d.crypto import ecies
from c2d.errors import InvalidJob, InvalidSeal
from c2d.jobs.assets import CODE_BYTES, Algorithm, Input, OrderReference, Remote
from c2d.jobs.explain import explain
from c2d.jobs.files import MOST_FILES, Closed, File, SealableText, Sealed
from c2d.jobs.patterns import ADDRESS, HTTP_URL, YEAR, is_text

MOST_INPUTS = 100
DATA_BYTES = 128 * 1024
JOB_BYTES = 800 * 1024
"""Of inputs and algorithm as JSON. With the grants and other additions, they reach configure in one Secret, which may have 1 MiB."""
TEXT_CHARS = 4096
"""Of a sealed text, as of one in clear."""


class Output(Closed):
    """What the consumer decides about the results."""

    metadataUri: str | None = Field(
        default=None, max_length=2048, pattern=HTTP_URL, description="the metadata cache that serves the DDOs of assets with remote"
    )
    publicKey: str | None = Field(
        default=None,
        max_length=132,
        description="secp256k1, 0x and hex; the results are encrypted to it if the environment's encrypt_results is consumer",
    )

    @field_validator("publicKey")
    @classmethod
    def _on_the_curve(cls, key: str | None) -> str | None:
        if key is not None and not ecies.is_public_key(key):
            raise ValueError("must be a secp256k1 public key, 0x and hex")
        return key


class Job(Closed):
    """One compute job. The job id is not part of it: it is the id of the DAG run."""

    inputs: list[Input] = Field(default_factory=list, max_length=MOST_INPUTS, description="the data sets to compute on")
    algorithm: Algorithm = Field(description="what to run on them")
    owner: str = Field(pattern=ADDRESS, description="the consumer's address: 0x and 40 hex digits")
    environment: str | None = Field(default=None, max_length=250, description="the environment's id, which is the DAG's id")
    agreementId: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,128}$")
    chainId: int | None = Field(default=None, ge=0, lt=2**53)
    maxJobDuration: int | None = Field(default=None, ge=1, le=YEAR, description="seconds; the environment's own limit applies as well")
    output: Output | None = None
    userdata: dict[str, Any] = Field(default_factory=dict, description="the consumer's parameters, recorded with the job")
    secret: SealableText | None = Field(default=None, description="passed to the algorithm as the environment variable secret")
    nonce: int | None = Field(
        default=None, ge=0, lt=2**63, description="required with order: higher than every nonce that the owner has used at the Provider API"
    )
    signature: SealableText | None = Field(
        default=None, description="required with order: the owner's signature of owner + first input's id + nonce"
    )
    policyServer: SealableText | None = Field(default=None, description="with order: JSON text for the operator's policy server")

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        ids = [i.id for i in self.inputs]
        if len(set(ids)) < len(ids):
            raise ValueError("inputs must not name the same id twice")
        if sum(len(asset.files or ()) for asset in self._assets) > MOST_FILES:
            raise ValueError(f"inputs and algorithm must have at most {MOST_FILES} files together")
        if self.remotes and not (self.output and self.output.metadataUri):
            raise ValueError("output.metadataUri is required if an asset has remote, because the DDOs come from there")
        for name, text, limit in (
            ("algorithm.rawcode", self.algorithm.rawcode or "", CODE_BYTES),
            ("algorithm.algocustomdata", json.dumps(self.algorithm.algocustomdata), DATA_BYTES),
            ("userdata", json.dumps(self.userdata), DATA_BYTES),
            ("ddo", "".join(self.ddos), 2 * DATA_BYTES),
        ):
            if len(text.encode()) > limit:
                raise ValueError(f"{name} must have at most {limit} bytes")
        return self

    @property
    def _assets(self) -> list[Input | Algorithm]:
        """In the order in which configure fetches them."""
        return [*self.inputs, self.algorithm]

    @property
    def ddos(self) -> list[str]:
        """The DDOs that the job carries, as JSON text."""
        return [asset.ddo for asset in self._assets if asset.ddo]

    @property
    def orders(self) -> list[tuple[str, OrderReference]]:
        """The assets of this operator's Provider, as id and order."""
        return [(asset.id or "", asset.order) for asset in self._assets if asset.order]

    @property
    def remotes(self) -> list[tuple[str, Remote]]:
        """The assets of other Providers, as id and order, in the order in which configure fetches them."""
        return [(asset.id or "", asset.remote) for asset in self._assets if asset.remote]

    @classmethod
    def parse(cls, conf: object, environment: str) -> Job:
        """The job in a DAG run's conf.

        :param conf: what the consumer sent, decoded from JSON.
        :param environment: the id of the environment (DAG) that it was sent to.
        :raises InvalidJob: names every invalid field. Never shows a value.
        """
        if not isinstance(conf, dict):
            raise InvalidJob("conf: must be a JSON object, the job")
        for path, value in _leaves(conf):
            if isinstance(value, str) and not is_text(value):
                raise InvalidJob(f"{path}: must be valid UTF-8 text without NUL")
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidJob(f"{path}: must be a finite number")  # JSON has no other: it would be stored as null
        try:
            # The trigger form sends null for an empty field.
            job = cls.model_validate({k: v for k, v in conf.items() if v is not None})
        except ValidationError as e:
            raise InvalidJob(explain(e)) from None
        if job.environment not in (None, environment):
            raise InvalidJob(f"environment: must be {environment}, the environment that the job was sent to, or be left out")
        return job

    def sealed(self, public_key: str, job_id: str | None) -> Job:
        """The same job with every secret sealed to ``public_key``.

        :param job_id: the only job in which the secrets can be opened. None: any job.
        """

        def file(f: File | Sealed, path: str) -> Sealed:
            return f if isinstance(f, Sealed) else Sealed(sealed=ecies.seal(public_key, f.model_dump(exclude_defaults=True), job_id))

        def text(value: str | Sealed, path: str) -> Sealed:
            return value if isinstance(value, Sealed) else Sealed(sealed=ecies.seal(public_key, value, job_id))

        return self._map_secrets(file, text)

    def opened(self, private_key: str, job_id: str) -> Job:
        """The same job with every sealed value in clear.

        :raises InvalidJob: a sealed value was sealed to another key or for another job, or has a type that the field does not take; or
            inputs and algorithm are larger than :data:`JOB_BYTES`.
        """

        def unseal(value: Sealed, path: str) -> Any:
            try:
                return ecies.unseal(private_key, value.sealed, job_id)
            except InvalidSeal as e:
                raise InvalidJob(f"{path}: {e}") from None

        def file(f: File | Sealed, path: str) -> File:
            if isinstance(f, File):
                return f
            try:
                return File.model_validate(unseal(f, path))
            except ValidationError as e:
                raise InvalidJob(explain(e, path)) from None

        def text(value: str | Sealed, path: str) -> str:
            if isinstance(value, str):
                return value
            opened = unseal(value, path)
            if not isinstance(opened, str) or len(opened) > TEXT_CHARS:
                raise InvalidJob(f"{path}: must hold text of at most {TEXT_CHARS} characters")
            return opened

        job = self._map_secrets(file, text)
        assets = job.model_dump(mode="json", include={"inputs", "algorithm"}, exclude_none=True, exclude_defaults=True)
        if len(json.dumps(assets, ensure_ascii=False).encode()) > JOB_BYTES:
            raise InvalidJob(
                f"job: inputs and algorithm must have at most {JOB_BYTES} bytes as JSON, including all URLs, code and parameters"
            )
        return job

    def _map_secrets(self, file: Callable[[File | Sealed, str], File | Sealed], text: Callable[[str | Sealed, str], str | Sealed]) -> Job:
        """The same job with each file and each secret text replaced by what the functions return for it and its path."""

        def files(asset: Input | Algorithm, path: str) -> list[File | Sealed] | None:
            return None if asset.files is None else [file(f, f"{path}.files[{n}]") for n, f in enumerate(asset.files)]

        secrets = {name: getattr(self, name) for name in ("secret", "signature", "policyServer")}
        texts = {name: None if value is None else text(value, name) for name, value in secrets.items()}
        inputs = [i.model_copy(update={"files": files(i, f"inputs[{n}]")}) for n, i in enumerate(self.inputs)]
        algorithm = self.algorithm.model_copy(update={"files": files(self.algorithm, "algorithm")})
        return self.model_copy(update={"inputs": inputs, "algorithm": algorithm, **texts})

    def dump(self) -> dict[str, Any]:
        """The job as conf: JSON without fields that have their default."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)

    def digest(self) -> str:
        """sha256 (hex) of the job as conf.

        It is the same before and after the job was stored: JSONB reorders keys and writes 1e22 out.
        """
        return hashlib.sha256(json.dumps(_plain(self.dump()), sort_keys=True).encode()).hexdigest()


def _plain(node: Any) -> Any:
    """JSON with whole floats as integers."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in JSON that is not a container, with its path. Keys come too, with the path ``conf``."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield "conf", key
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for n, value in enumerate(node):
            yield from _leaves(value, f"{path}[{n}]")
    else:
        yield path or "conf", node
