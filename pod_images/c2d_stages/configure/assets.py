"""The assets of a job as configure fetches them, checked, and their places on the volume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from c2d.contract import ALGORITHM_FAILED, INPUT_FAILED, AlgorithmAsset, ConfigureInput, InputAsset, Remote
from c2d.errors import InvalidField
from c2d.shared.records import JsonObject
from c2d_stages.common.stage import StageError
from c2d_stages.configure.download import Download
from c2d_stages.configure.session import Subject
from c2d_stages.configure.sources import Source, Text, source_of

CUSTOM_DATA = "algoCustomData.json"


@dataclass(frozen=True)
class Asset:
    """A data set or the algorithm.

    folder: the DID without did:op:, as Ocean's algorithms expect it; empty for an algorithm without a DID.
    sources: of its files; none if it is remote.
    """

    subject: Subject
    did: str
    folder: str
    is_algorithm: bool
    sources: tuple[Source | Text, ...]
    ddo: JsonObject | None = field(repr=False)
    remote: Remote | None

    def place(self, index: int) -> tuple[str, int]:
        """Where a file goes, relative to /data, and its mode."""
        if self.is_algorithm:
            return f"transformations/{index or 'algorithm'}", 0o755
        return f"inputs/{self.folder}/{index}", 0o644

    def downloads(self, sources: Sequence[Source | Text], data: str) -> Iterator[Download]:
        """The files among `sources` that have to be downloaded.

        :param data: the folder that is /data in a pod.
        """
        for index, source in enumerate(sources):
            if not isinstance(source, Text):
                path, mode = self.place(index)
                subject = _subject(f"{self.subject.resource}.files[{index}]", self.did, self.is_algorithm)
                yield Download(subject, source, f"{data}/{path}", mode)


def assets_of(stage_input: ConfigureInput) -> list[Asset]:
    """The inputs, then the algorithm: the order in which the nonces of their grants rise.

    :raises StageError: one of them cannot be fetched as described, with the status of an input or of the algorithm.
    """
    assets: list[Asset] = []
    try:
        for number, data_set in enumerate(stage_input.inputs):
            name = f"inputs[{number}]"
            asset = _asset(data_set, name, stage_input)
            if any(asset.folder == earlier.folder for earlier in assets):
                raise InvalidField(f"{name}.id", "must not be the id of an earlier input")
            assets.append(asset)
        return [*assets, _algorithm(stage_input)]
    except InvalidField as error:
        raise wrong_input(error) from None


def wrong_input(error: InvalidField) -> StageError:
    """The failure for a wrong field of stage.json."""
    return StageError(str(error), error.field, ALGORITHM_FAILED if error.field.startswith("algorithm") else INPUT_FAILED)


def _algorithm(stage_input: ConfigureInput) -> Asset:
    algorithm = stage_input.algorithm
    if algorithm.rawcode and (algorithm.files or algorithm.remote):
        other = "files" if algorithm.files else "remote"
        raise InvalidField("algorithm.rawcode", f"must be absent if the algorithm has {other}")
    return _asset(algorithm, "algorithm", stage_input)


def _asset(asset: InputAsset | AlgorithmAsset, name: str, stage_input: ConfigureInput) -> Asset:
    did = asset.id or ""
    folder = did.removeprefix("did:op:")
    if folder == CUSTOM_DATA:
        raise InvalidField(f"{name}.id", f"must not be {CUSTOM_DATA}, which is the name of a file")
    sources = tuple(source_of(file, f"{name}.files[{number}]") for number, file in enumerate(asset.files))
    if asset.remote:
        _check_remote(asset.remote, asset, f"{name}.remote", stage_input)
    is_algorithm = isinstance(asset, AlgorithmAsset)
    return Asset(_subject(name, did, is_algorithm), did, folder, is_algorithm, sources, asset.ddo, asset.remote)


def _check_remote(remote: Remote, asset: InputAsset | AlgorithmAsset, name: str, stage_input: ConfigureInput) -> None:
    if asset.files:
        raise InvalidField(name, "must be absent if the asset has files")
    if not asset.id:
        raise InvalidField(name, "needs the asset's id")
    nonces = [grant.nonce for grant in remote.grants]
    if not nonces or nonces != sorted(set(nonces)):
        raise InvalidField(f"{name}.grants", "must be grants with rising nonces")
    if stage_input.metadataUri is None:
        raise InvalidField("metadataUri", "is required, for an asset is remote")
    if stage_input.consumerAddress is None:
        raise InvalidField("consumerAddress", "is required, for an asset is remote")


def _subject(resource: str, did: str, is_algorithm: bool) -> Subject:
    return Subject(resource, f"{resource} ({did})" if did else resource, ALGORITHM_FAILED if is_algorithm else INPUT_FAILED)
