"""Results in IPFS: what a pod may do at a node, checked before it is given away; pinned and looked at afterwards, unpinned at last.

``CLIENT`` pins at a kubo (ipfshttpclient), ``CLUSTER`` in an IPFS cluster (its REST API). Either way a pod adds to a kubo
(``C2D_IPFS_ADD_URL``, or ``IPFS_OUTPUT``) with a right to add and nothing else: kubo's ``API.Authorizations``. What it adds is not pinned;
the operator pins what the job's manifest names, so that a failed run leaves nothing that a node's garbage collection does not take.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from c2d.contract import MANIFEST, IpfsTarget, ManifestEntry, StoreCids
from c2d.errors import ResultStoreError
from c2d.settings.installation import Environment

ADD = "/api/v0/add"
MORE_THAN_ADD = ("pin/ls?arg=bafkqaaa", "cat?arg=bafkqaaa&offline=true", "files/ls", "id", "repo/stat")
"""Commands that a right to add alone does not give. The first two name the empty identity CID, so that no data is touched."""

READ_SECONDS = 120
PIN_SECONDS = 600  # for a node or a cluster to have all blocks of a job
MANIFEST_BYTES = 64 * 2**20


def headers_of(auth: str | None) -> dict[str, str]:
    """The header for a right in kubo's form (``bearer:TOKEN``, ``basic:USER:PASSWORD``)."""
    if not auth:
        return {}
    kind, _, secret = auth.partition(":")
    value = f"Bearer {secret}" if kind == "bearer" else f"Basic {base64.b64encode(secret.encode()).decode()}"
    return {"Authorization": value}


def account_headers(env: Environment) -> dict[str, str]:
    """The incumbent's headers for an API behind a gateway."""
    given = {"X-API-KEY": env.IPFS_API_KEY, "CLIENT-ID": env.IPFS_API_CLIENT}
    return {name: value for name, value in given.items() if value}


def node_of(env: Environment, api: str) -> tuple[str, dict[str, str]]:
    """URL of the kubo that has a job's files, and the operator's headers there: to read, and where it is also ``api``, to pin."""
    if env.C2D_IPFS_ADD_URL:
        return env.C2D_IPFS_ADD_URL.rstrip("/"), account_headers(env) | headers_of(env.C2D_IPFS_READ_AUTH or env.C2D_IPFS_AUTH)
    return api, account_headers(env) | headers_of(env.C2D_IPFS_AUTH)


class IpfsResultStore:
    """A job's directory in IPFS, and beside it its manifest (``cids``)."""

    def __init__(self, env: Environment, api: str, prefix: str, job_name: str):
        self.env, self.prefix, self.name = env, prefix, job_name
        self.node, self._node_headers = node_of(env, api)
        self.pins: Pins = ClusterPins(env, api, job_name) if env.IPFS_TYPE == "CLUSTER" else NodePins(env, api, job_name)

    # -- before the pod --------------------------------------------------------------------------------------------------------

    def right(self, seconds: int, log_bytes: int) -> IpfsTarget:
        """``store`` of publish's stage.json.

        :raises ResultStoreError: the right that the settings give to pods is more than to add.
        """
        headers = account_headers(self.env) | headers_of(self.env.C2D_IPFS_ADD_AUTH)
        if not self.env.C2D_IPFS_OPEN and (more := self.more_than_add(headers)):
            raise ResultStoreError(
                f"C2D_IPFS_ADD_AUTH: at the IPFS API a pod could do more than add ({more}); let API.Authorizations of kubo give it"
                f' AllowedPaths ["{ADD}"], or accept this with C2D_IPFS_OPEN=1'
            )
        return IpfsTarget(url=self.node, headers=headers, prefix=self.prefix)

    def more_than_add(self, headers: dict[str, str]) -> str | None:
        """A command beside ``add`` that the node runs for these headers; None: it runs none."""
        for command in MORE_THAN_ADD:
            if self._post(command, headers).status_code not in (401, 403, 404, 405):
                return command.split("?")[0]
        return None

    def answer(self, seconds: int) -> bool:
        """There are no plans: an upload is one request."""
        return False

    # -- after the pod -----------------------------------------------------------------------------------------------------------

    def manifest(self, cids: StoreCids) -> bytes:
        """:raises ResultStoreError: there is none."""
        answer = self._post(f"cat?arg={_added(cids.manifest, 'manifest')}/{MANIFEST}&offline=true", self._node_headers)
        if answer.status_code != 200:
            raise ResultStoreError(f"the manifest cannot be read: the node answered {answer.status_code}")
        return bytes(answer.content[:MANIFEST_BYTES])

    def verify(self, files: Sequence[ManifestEntry], cids: StoreCids) -> None:
        """Pins the job's directory and manifest, with all their blocks; and whether each file is in the directory under its own CID.

        :raises ResultStoreError: naming the first file that is not.
        """
        root = _added(cids.cid, "cid")
        for cid in filter(None, (root, cids.manifest)):
            self.pins.add(cid)
        wanted = {file.in_store.path: file.cid for file in files}
        there: dict[str, str] = {}
        for folder in sorted({path.rsplit("/", 1)[0] for path in wanted}):
            there |= self._listed(root, folder)
        for path, own_cid in wanted.items():
            if not own_cid or there.get(path) != own_cid:
                raise ResultStoreError(f"{path}: is not in IPFS as it was sent")

    def _listed(self, root: str, folder: str) -> dict[str, str]:
        from urllib.parse import quote

        command = f"ls?arg={root}/{quote(folder)}&resolve-type=false&size=false&offline=true"
        answer = self._post(command, self._node_headers)
        if answer.status_code != 200:
            raise ResultStoreError(f"{folder}: cannot be listed: the node answered {answer.status_code}")
        return {f"{folder}/{link['Name']}": link["Hash"] for link in answer.json()["Objects"][0]["Links"]}

    def remove(self, cids: StoreCids) -> None:
        """Unpins what was kept; else whatever is pinned in the job's name."""
        for cid in [cid for cid in (cids.cid, cids.manifest) if cid] or self.pins.named():
            self.pins.remove(cid)

    def _post(self, command: str, headers: dict[str, str]) -> Any:
        import httpx

        try:
            return httpx.post(f"{self.node}/api/v0/{command}", headers=headers, timeout=READ_SECONDS)
        except httpx.HTTPError as e:
            raise ConnectionError(f"the IPFS node does not answer ({type(e).__name__})") from None  # tried again; no URL in the text


class Pins:
    """What keeps a CID, in a job's name."""

    def __init__(self, env: Environment, api: str, job_name: str):
        self.env, self.api, self.name = env, api, job_name

    def add(self, cid: str) -> None:
        """:raises ResultStoreError: not all blocks are there."""
        raise NotImplementedError

    def named(self) -> list[str]:
        """The CIDs that are pinned in the job's name."""
        raise NotImplementedError

    def remove(self, cid: str) -> None:
        """One that is not pinned is fine."""
        raise NotImplementedError


class NodePins(Pins):
    """At a kubo."""

    def _client(self) -> Any:
        import ipfshttpclient

        parts = urlsplit(self.api)
        host = parts.hostname or ""
        kind = "ip6" if ":" in host else "ip4" if host.replace(".", "").isdigit() else "dns"
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return ipfshttpclient.Client(
            f"/{kind}/{host}/tcp/{port}/{parts.scheme}",
            f"{parts.path.strip('/')}/api/v0".lstrip("/"),
            headers=account_headers(self.env) | headers_of(self.env.C2D_IPFS_AUTH),
            timeout=PIN_SECONDS + 30,
        )

    def add(self, cid: str) -> None:
        import ipfshttpclient

        with self._client() as client:
            try:
                # A block that is missing is looked for as long as the node is let.
                client.pin.add(cid, opts={"name": self.name, "timeout": f"{PIN_SECONDS}s"})
            except ipfshttpclient.exceptions.ErrorResponse:
                raise ResultStoreError("the node does not pin what was sent") from None

    def named(self) -> list[str]:
        with self._client() as client:
            pinned = client.pin.ls(type="recursive", opts={"names": "true", "name": self.name})
        return [cid for cid, pin in pinned["Keys"].items() if pin.get("Name") == self.name]

    def remove(self, cid: str) -> None:
        import ipfshttpclient

        with self._client() as client:
            try:
                client.pin.rm(cid)
            except ipfshttpclient.exceptions.ErrorResponse as e:
                if "not pinned" not in str(e):
                    raise ResultStoreError("the node does not unpin") from None


class ClusterPins(Pins):
    """In an IPFS cluster, on as many peers as the settings say, until the term of IPFS_EXPIRY_TIME is over."""

    def _call(self, method: str, path: str, **parameters: Any) -> Any:
        import httpx

        headers = account_headers(self.env) | headers_of(self.env.C2D_IPFS_AUTH)
        try:
            return httpx.request(method, f"{self.api}/{path}", params=parameters, headers=headers, timeout=READ_SECONDS)
        except httpx.HTTPError as e:
            raise ConnectionError(f"the IPFS cluster does not answer ({type(e).__name__})") from None

    def add(self, cid: str) -> None:
        parameters: dict[str, Any] = {"name": self.name, "mode": "recursive"}
        least, most = self.env.C2D_IPFS_REPLICATION_MIN, self.env.C2D_IPFS_REPLICATION_MAX
        if least or most:
            parameters |= {"replication-min": least or most, "replication-max": most or least}
        if self.env.IPFS_EXPIRY_TIME:
            until = datetime.now(UTC) + timedelta(seconds=self.env.IPFS_EXPIRY_TIME)
            parameters["expire-at"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = self._call("POST", f"pins/{cid}", **parameters)
        if answer.status_code not in (200, 202):
            if answer.status_code >= 500:  # too few peers at the moment, perhaps
                raise ConnectionError(f"the IPFS cluster answered {answer.status_code}")
            raise ResultStoreError(f"the IPFS cluster does not pin what was sent: it answered {answer.status_code}")
        deadline = time.monotonic() + PIN_SECONDS
        pause = 0.1
        while not self._is_pinned(cid, least):
            if time.monotonic() > deadline:
                raise ResultStoreError("the IPFS cluster has not pinned all in time")
            time.sleep(pause)
            pause = min(pause * 1.5, 5)

    def _is_pinned(self, cid: str, least: int) -> bool:
        """Whether as many peers have it as must: all that it was given to where the least is not said."""
        peers = self._call("GET", f"pins/{cid}").json().get("peer_map", {}).values()
        states = [peer["status"] for peer in peers if peer["status"] != "remote"]
        pinned = states.count("pinned")
        return pinned >= least if least > 0 else bool(states) and pinned == len(states)

    def named(self) -> list[str]:
        import json

        lines = self._call("GET", "allocations", filter="pin").text.splitlines()
        found = [pin for line in lines if line.strip() for pin in _pins_of(json.loads(line))]
        return [str(pin["cid"]) for pin in found if pin.get("name") == self.name]

    def remove(self, cid: str) -> None:
        answer = self._call("DELETE", f"pins/{cid}")
        if answer.status_code not in (200, 202, 404):
            raise ResultStoreError(f"the IPFS cluster does not unpin: it answered {answer.status_code}")


def _pins_of(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value]


def _added(cid: str | None, name: str) -> str:
    """A CID that publish must have answered. :raises ResultStoreError: it has not."""
    if not cid or not cid.isalnum():
        raise ResultStoreError(f"publish did not answer the {name} of what it added")
    return cid
