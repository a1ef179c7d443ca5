"""The configure stage: makes the folders of the job's volume and fills them with the inputs and the algorithm."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from c2d.contract import INPUT_FAILED, ConfigureAnswer, ConfigureInput
from c2d.errors import InvalidField
from c2d.shared.records import JsonObject
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.configure.assets import CUSTOM_DATA, Asset, assets_of, wrong_input
from c2d_stages.configure.download import Download
from c2d_stages.configure.downloads import fetch_all
from c2d_stages.configure.resume import volume_error
from c2d_stages.configure.session import Session
from c2d_stages.configure.sources import Text

FOLDERS = ("inputs", "transformations", "ddos", "outputs", "logs", "adminlogs", "filter")


def work(stage_json: JsonObject, paths: Paths, log: StageLog) -> ConfigureAnswer:
    started = time.monotonic()
    try:
        stage_input = ConfigureInput.from_json(stage_json)
    except InvalidField as error:
        raise wrong_input(error) from None
    assets = assets_of(stage_input)
    try:
        lay_out(stage_input, assets, paths.data)
    except OSError as error:
        raise StageError(volume_error(error), "/data", INPUT_FAILED) from None
    session = Session(stage_input.limits, log)
    downloads = [download for asset in assets for download in asset.downloads(asset.sources, paths.data)]
    number, size = fetch_all(downloads, session, _remote_downloads(stage_input, assets, paths.data, session))
    return ConfigureAnswer(files=number, bytes=size, seconds=round(time.monotonic() - started, 1))


def lay_out(stage_input: ConfigureInput, assets: list[Asset], data: str) -> None:
    """Make the folders, and write the files whose content stands in stage.json. Raises OSError."""
    for name in (*FOLDERS, *(f"inputs/{asset.folder}" for asset in assets if not asset.is_algorithm)):
        os.makedirs(f"{data}/{name}", exist_ok=True)
        os.chmod(f"{data}/{name}", 0o755)  # noqa: S103 (not group- or world-writable)
    write_file(f"{data}/inputs/{CUSTOM_DATA}", _json({} if stage_input.customData is None else stage_input.customData))
    for asset in assets:
        if asset.folder and asset.ddo is not None:
            write_file(f"{data}/ddos/{asset.folder}", _json(asset.ddo))
        for index, source in enumerate(asset.sources):
            if isinstance(source, Text):
                path, mode = asset.place(index)
                write_file(f"{data}/{path}", source.content, mode)
    if stage_input.algorithm.rawcode:
        write_file(f"{data}/transformations/algorithm", stage_input.algorithm.rawcode.encode("utf-8", "surrogatepass"), 0o755)


def _remote_downloads(stage_input: ConfigureInput, assets: list[Asset], data: str, session: Session) -> Iterator[Download] | None:
    """The files of the remote assets, found as they are asked for; None if no asset is remote."""
    if not any(asset.remote for asset in assets):
        return None
    # Imported here: most jobs have no remote asset.
    from c2d_stages.configure.remote import Nonces, Operator, resolve

    operator, nonces = Operator(stage_input.consumerAddress or "", stage_input.metadataUri or ""), Nonces()

    def find() -> Iterator[Download]:
        for asset in assets:
            if asset.remote is None:
                continue
            label = asset.subject.label
            session.running[label] = asset.subject
            resolved = resolve(asset.subject, asset.did, asset.remote, operator, nonces, session)
            try:
                write_file(f"{data}/ddos/{asset.folder}", resolved.ddo)
            except OSError as error:
                raise asset.subject.failed(volume_error(error)) from None
            del session.running[label]
            session.log.line(f"{label}: its Provider has {len(resolved.files)} files")
            yield from asset.downloads(resolved.files, data)

    return find()


def write_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file, which is never incomplete under its own name. Raises OSError."""
    part = path + ".part"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
        os.rename(part, path)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
