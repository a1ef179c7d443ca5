"""DDOs, the documents that describe assets, as publishers write them."""

from __future__ import annotations

import hashlib
from typing import Any

from local.market.anvil import CHAIN_ID
from local.market.chain import did


def document(
    nft: str, datatoken: str, name: str, encrypted_files: str, provider_url: str, container: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The DDO of an asset with one service: a data set with a compute service, or an algorithm if there is a `container`."""
    kind = "algorithm" if container else "dataset"
    ddo: dict[str, Any] = {
        "@context": ["https://w3id.org/did/v1"],
        "id": did(nft),
        "version": "4.1.0",
        "chainId": CHAIN_ID,
        "nftAddress": nft,
        "metadata": {
            "created": "2024-06-25T12:00:00Z",
            "updated": "2024-06-25T12:00:00Z",
            "type": kind,
            "name": name,
            "description": f"The {kind} {name}.",
            "author": "somebody",
            "license": "CC0",
        },
    }
    service = {
        "files": encrypted_files,
        "datatokenAddress": datatoken,
        "serviceEndpoint": provider_url,
        "timeout": 86400,
    }
    if container:
        ddo["metadata"]["algorithm"] = {"language": "python", "version": "1", "container": container}
        return {**ddo, "services": [{"id": "algorithm-service", "type": "access", **service}]}
    rules = {
        "allowRawAlgorithm": False,
        "allowNetworkAccess": False,
        "publisherTrustedAlgorithmPublishers": [],
        "publisherTrustedAlgorithms": [],
    }
    return {**ddo, "services": [{"id": "compute-service", "type": "compute", **service, "compute": rules}]}


def container_checksum(container: dict[str, Any]) -> str:
    """The checksum by which a publisher refers to a trusted container (`containerSectionChecksum`)."""
    return hashlib.sha256((container["entrypoint"] + container["checksum"]).encode()).hexdigest()
