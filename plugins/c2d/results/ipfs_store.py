"""Results in IPFS: one directory per job, and beside it a directory with the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from c2d.contract import MANIFEST, IpfsTarget, ManifestEntry, StoreCids, Target
from c2d.errors import ResultStoreError
from c2d.hooks.ipfs import ADD, IpfsHook, NodePins, Pins
from c2d.hooks.ipfs_cluster import ClusterPins
from c2d.settings.environment import Environment

MANIFEST_BYTES = 64 * 2**20


class IpfsResultStore:
    """A job's directory in IPFS (:class:`c2d.results.stores.ResultStore`).

    :param api_url: of the API that pins, a kubo node's or an IPFS Cluster's.
    :param prefix: the URL of a result is this, the directory's CID and the result's path.
    """

    def __init__(self, env: Environment, api_url: str, prefix: str, job_name: str):
        self.env, self.prefix, self.name = env, prefix, job_name
        self.ipfs = IpfsHook.of(env, api_url)

    def upload_rights(self, seconds: int, log_bytes: int) -> Target:
        """A kubo node's authorization to add. It does not end, so it must allow nothing else.

        :raises ResultStoreError: the configured authorization allows more than adding.
        """
        node = self.ipfs.adding_node()
        if not self.env.C2D_IPFS_OPEN and (probe := node.allowed_probe()):
            raise ResultStoreError(
                f"C2D_IPFS_ADD_AUTH: at the IPFS API a pod could do more than add ({probe}); let API.Authorizations of kubo give it"
                f' AllowedPaths ["{ADD}"], or accept this with C2D_IPFS_OPEN=1'
            )
        return IpfsTarget(url=node.url, headers=node.headers, prefix=self.prefix)

    def answer_plan(self, seconds: int) -> bool:
        """Publish uploads with one request and has no plans."""
        return False

    def manifest(self, cids: StoreCids) -> bytes:
        response = self.ipfs.reading_node().command(f"cat?arg={_required_cid(cids.manifest, 'manifest')}/{MANIFEST}&offline=true")
        if response.status_code != 200:
            raise ResultStoreError(f"the manifest cannot be read: the node answered {response.status_code}")
        return bytes(response.content[:MANIFEST_BYTES])

    def verify(self, entries: Sequence[ManifestEntry], cids: StoreCids) -> None:
        """Pins the directory and the manifest with all their blocks, then looks for each file's CID in the directory.

        :raises ResultStoreError: something cannot be pinned, or naming the first file that is missing or different.
        """
        root = _required_cid(cids.cid, "cid")
        for pinned in filter(None, (root, cids.manifest)):
            self._pins().add(pinned)
        cid_by_path = {entry.in_store.path: entry.cid for entry in entries}
        stored: dict[str, str] = {}
        for folder in sorted({path.rsplit("/", 1)[0] for path in cid_by_path}):
            stored |= self._files_in(root, folder)
        for path, expected in cid_by_path.items():
            if not expected or stored.get(path) != expected:
                raise ResultStoreError(f"{path}: is not in IPFS as it was sent")

    def remove(self, cids: StoreCids) -> None:
        """Unpins the CIDs, or without any, whatever is pinned with the job's name. The node's garbage collection deletes the blocks."""
        pins = self._pins()
        for pinned in [cid for cid in (cids.cid, cids.manifest) if cid] or pins.cids():
            pins.remove(pinned)

    def _files_in(self, root: str, folder: str) -> dict[str, str]:
        """The CIDs of the files in a folder, by their path."""
        command = f"ls?arg={root}/{quote(folder)}&resolve-type=false&size=false&offline=true"
        response = self.ipfs.reading_node().command(command)
        if response.status_code != 200:
            raise ResultStoreError(f"{folder}: cannot be listed: the node answered {response.status_code}")
        return {f"{folder}/{link['Name']}": link["Hash"] for link in response.json()["Objects"][0]["Links"]}

    def _pins(self) -> Pins:
        api, env = self.ipfs.pinning_api(), self.env
        if env.IPFS_TYPE != "CLUSTER":
            return NodePins(api, self.name)
        return ClusterPins(api, self.name, env.C2D_IPFS_REPLICATION_MIN, env.C2D_IPFS_REPLICATION_MAX, env.IPFS_EXPIRY_TIME)


def _required_cid(cid: str | None, name: str) -> str:
    if cid is None or not cid.isalnum():
        raise ResultStoreError(f"publish did not answer the {name} of what it added")
    return cid
