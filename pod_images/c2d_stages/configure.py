"""The configure stage: makes the folders of the job's volume and fills them with the inputs and the algorithm."""

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from c2d_stages.download import Download, Limits, Session, Wanted, fetch_all, volume_error
from c2d_stages.fields import Field
from c2d_stages.remote import Nonces, Remote, resolve
from c2d_stages.sources import Source, Text, source_from_field
from c2d_stages.stage import Paths, StageError, StageLog

FOLDERS = ("inputs", "transformations", "ddos", "outputs", "logs", "adminlogs", "filter")
CUSTOM_DATA = "algoCustomData.json"
INPUT_FAILED, ALGORITHM_FAILED = 31, 32  # Ocean's job statuses
DID = re.compile(r"(did:op:)?(?P<folder>[0-9A-Za-z][0-9A-Za-z._:-]{0,199})")


@dataclass(frozen=True)
class Asset:
    """A dataset or an algorithm. id: its DID, None for an algorithm that has none. remote: in place of files, where they are to be had."""

    id: str | None
    files: tuple[Source | Text, ...]
    ddo: dict[str, Any] | None
    remote: Remote | None = None

    @classmethod
    def from_field(cls, asset: Field, top: Field, id_needed: bool) -> "Asset":
        identifier = asset.get("id")
        if identifier.value is None and not id_needed:
            did = None
        else:
            did = identifier.text()
            if DID.fullmatch(did) is None:
                raise identifier.wrong("must be a DID of at most 200 letters, digits and . _ : - after did:op:")
            if folder(did) == CUSTOM_DATA:
                raise identifier.wrong(f"must not be {CUSTOM_DATA}, which is a file of its own")
        files = tuple(source_from_field(file) for file in asset.get("files").items())
        remote = Remote.from_field(asset.get("remote"), top)
        if remote is not None and (files or did is None):
            raise asset.get("remote").wrong("must be absent where the asset has files" if files else "needs the asset's id")
        return cls(did, files, asset.get("ddo").object(), remote)


@dataclass(frozen=True)
class ConfigureInput:
    """stage.json of configure."""

    inputs: tuple[Asset, ...]
    algorithm: Asset
    rawcode: str | None
    customData: Any
    limits: Limits

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ConfigureInput":
        top = Field("", value)
        inputs = tuple(Asset.from_field(asset, top, id_needed=True) for asset in top.get("inputs").items())
        folders = [folder(asset.id) for asset in inputs if asset.id]
        for number, name in enumerate(folders):
            if name in folders[:number]:
                raise Field(f"inputs[{number}].id", None).wrong("must not be the id of an earlier input")
        algorithm = Field("algorithm", top.get("algorithm").object() or {})
        rawcode = algorithm.get("rawcode")
        if rawcode.value is not None and not isinstance(rawcode.value, str):
            raise rawcode.wrong("must be a text")
        asset = Asset.from_field(algorithm, top, id_needed=False)
        if rawcode.value and (asset.files or asset.remote):
            raise rawcode.wrong(f"must be absent where the algorithm has {'files' if asset.files else 'remote'}")
        limits = top.get("limits")
        return cls(
            inputs,
            asset,
            rawcode.value or None,
            value.get("customData"),
            Limits(
                limits.get("totalBytes").integer(0),
                limits.get("seconds").integer(),
                min(limits.get("connections").integer(default=4), 32),
                limits.get("stallSeconds").integer(default=30),
                limits.get("publicOnly").flag(),
            ),
        )


def folder(did: str) -> str:
    """A DID as the name of a folder: without did:op:, as Ocean's algorithms expect it."""
    return did.removeprefix("did:op:")


def assets(wanted: ConfigureInput) -> list[tuple[Asset, Wanted]]:
    """All assets and what messages call them, in the order in which their grants rise: the inputs, then the algorithm."""
    named = [(asset, f"inputs[{number}]", INPUT_FAILED) for number, asset in enumerate(wanted.inputs)]
    named.append((wanted.algorithm, "algorithm", ALGORITHM_FAILED))
    return [(asset, Wanted(path, called(path, asset), status)) for asset, path, status in named]


def called(path: str, asset: Asset) -> str:
    return f"{path} ({asset.id})" if asset.id else path


def files_of(asset: Asset, whole: Wanted, sources: Sequence[Source | Text], data: str) -> Iterator[Download]:
    """The files of an asset that have to be fetched, with their places on the volume."""
    for index, source in enumerate(sources):
        if not isinstance(source, Text):
            path = f"{whole.resource}.files[{index}]"
            target, mode = place(asset, whole.status == ALGORITHM_FAILED, index, data)
            yield Download(path, called(path, asset), whole.status, source, target, mode)


def place(asset: Asset, is_algorithm: bool, index: int, data: str) -> tuple[str, int]:
    """Where a file goes, and its mode."""
    if is_algorithm:
        return f"{data}/transformations/{index or 'algorithm'}", 0o755
    return f"{data}/inputs/{folder(asset.id or '')}/{index}", 0o644


def downloads(wanted: ConfigureInput, data: str) -> list[Download]:
    """All files that stage.json names itself."""
    return [file for asset, whole in assets(wanted) for file in files_of(asset, whole, asset.files, data)]


def remote_downloads(wanted: ConfigureInput, data: str, session: Session) -> Iterator[Download]:
    """The files of the assets that are named by transaction, one asset after the other; lays down the DDO of each."""
    nonces = Nonces()
    for asset, whole in assets(wanted):
        if asset.remote is None or asset.id is None:
            continue
        session.running[whole.name] = whole
        resolved = resolve(whole, asset.id, asset.remote, nonces, session)
        try:
            write_file(f"{data}/ddos/{folder(asset.id)}", resolved.ddo)
        except OSError as error:
            raise whole.failed(volume_error(error)) from None
        del session.running[whole.name]
        session.log.line(f"{whole.name}: its Provider has {len(resolved.files)} files")
        yield from files_of(asset, whole, resolved.files, data)


def write_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a whole file; under its own name it is never half."""
    part = path + ".part"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
        os.rename(part, path)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise


def lay_out(wanted: ConfigureInput, data: str) -> None:
    """The folders, and the files that come from stage.json itself."""
    for name in (*FOLDERS, *(f"inputs/{folder(asset.id)}" for asset in wanted.inputs if asset.id)):
        os.makedirs(f"{data}/{name}", exist_ok=True)
        os.chmod(f"{data}/{name}", 0o755)  # noqa: S103 (not group- or world-writable)
    custom_data = {} if wanted.customData is None else wanted.customData
    write_file(f"{data}/inputs/{CUSTOM_DATA}", json.dumps(custom_data, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for asset in (*wanted.inputs, wanted.algorithm):
        if asset.id and asset.ddo is not None:
            write_file(f"{data}/ddos/{folder(asset.id)}", json.dumps(asset.ddo, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        for index, source in enumerate(asset.files):
            if isinstance(source, Text):
                target, mode = place(asset, asset is wanted.algorithm, index, data)
                write_file(target, source.content, mode)
    if wanted.rawcode is not None:
        write_file(f"{data}/transformations/algorithm", wanted.rawcode.encode("utf-8", "surrogatepass"), 0o755)


def work(stage_json: dict[str, Any], paths: Paths, log: StageLog) -> dict[str, Any]:
    started = time.monotonic()
    try:
        wanted = ConfigureInput.from_json(stage_json)
    except StageError as error:
        error.status = ALGORITHM_FAILED if (error.resource or "").startswith("algorithm") else INPUT_FAILED
        raise
    try:
        lay_out(wanted, paths.data)
    except OSError as error:
        raise StageError(volume_error(error), "/data", INPUT_FAILED) from None
    has_remote = any(asset.remote for asset in (*wanted.inputs, wanted.algorithm))
    ordered = (lambda session: remote_downloads(wanted, paths.data, session)) if has_remote else None
    number, size = fetch_all(downloads(wanted, paths.data), wanted.limits, log, ordered)
    return {"files": number, "bytes": size, "seconds": round(time.monotonic() - started, 1)}
