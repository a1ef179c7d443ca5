"""IPFS: the kubo node or the IPFS Cluster that an environment's results go to, and how to authorize there.

Pods add files to a kubo node with credentials that only allow adding (kubo's ``API.Authorizations``). What they add is not pinned, so the
node's garbage collection removes what a failed run leaves. The operator pins the results of a successful run: at the node, or in an IPFS
Cluster (:mod:`c2d.hooks.ipfs_cluster`).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from airflow.sdk.bases.hook import BaseHook
from pydantic import Field, ValidationError, field_validator

from c2d.errors import ResultStoreError, UpstreamUnavailable
from c2d.hooks.connections import required_connection
from c2d.jobs.explain import explain
from c2d.settings.environment import Credentials, Environment
from c2d.settings.variables import Variables, is_http

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection

CONN_ID = "ipfs_default"
ADD = "/api/v0/add"
PROBES = ("pin/ls?arg=bafkqaaa", "cat?arg=bafkqaaa&offline=true", "files/ls", "id", "repo/stat")
"""Commands that an authorization to add must not allow. The first two name the empty identity CID, so they touch no data."""

READ_SECONDS = 120
PIN_SECONDS = 600
"""How long a node or a cluster may take to collect all blocks of a job."""


class IpfsAccess(Variables):
    """Addresses and credentials. Empty values count as unset; see C2D_IPFS_AUTH and the settings after it."""

    api_url: str | None = None
    authorization: Credentials = Field(default=None, repr=False)
    add_url: str | None = None
    add_authorization: Credentials = Field(default=None, repr=False)
    read_authorization: Credentials = Field(default=None, repr=False)
    api_key: str | None = Field(default=None, repr=False)
    client_id: str | None = Field(default=None, repr=False)

    @field_validator("api_url", "add_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not is_http(value):
            raise ValueError("must be an http:// or https:// URL")
        return value.rstrip("/") if value else None

    def or_else(self, other: IpfsAccess) -> IpfsAccess:
        """These values, and where one is unset, that of ``other``."""
        return IpfsAccess(**{**other.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


@dataclass(frozen=True)
class IpfsApi:
    """The HTTP API of a kubo node or an IPFS Cluster, with the headers that authorize."""

    url: str
    headers: dict[str, str] = field(repr=False)

    def command(self, command: str) -> httpx.Response:
        """Runs a command of kubo's RPC API, such as ``files/ls``.

        :raises ConnectionError: the node does not answer. The text contains no URL.
        """
        import httpx

        try:
            return httpx.post(f"{self.url}/api/v0/{command}", headers=self.headers, timeout=READ_SECONDS)
        except httpx.HTTPError as e:
            raise ConnectionError(f"the IPFS node does not answer ({type(e).__name__})") from None

    def allowed_probe(self) -> str | None:
        """The first of PROBES that the node runs with these headers; None if it allows none of them."""
        for probe in PROBES:
            if self.command(probe).status_code not in (401, 403, 404, 405):
                return probe.split("?")[0]
        return None


class IpfsHook(BaseHook):
    """An IPFS API. Airflow connection type ``ipfs``: host, schema and port are the API's URL; login and password, or kubo's form
    (``bearer:TOKEN``, ``basic:USER:PASSWORD``) in the password alone, are the operator's authorization; extra has the other fields of
    :class:`IpfsAccess`.

    :param ipfs_conn_id: None: there is no connection.
    :param access: takes precedence over the connection.
    :param cluster: the API is that of an IPFS Cluster.
    """

    conn_name_attr = "ipfs_conn_id"
    default_conn_name = CONN_ID
    conn_type = "ipfs"
    hook_name = "IPFS (kubo or IPFS Cluster)"

    def __init__(self, ipfs_conn_id: str | None = CONN_ID, *, access: IpfsAccess | None = None, cluster: bool = False):
        super().__init__()
        self.ipfs_conn_id, self.cluster = ipfs_conn_id, cluster
        self._own_access = access or IpfsAccess()

    @classmethod
    def of(cls, env: Environment, api_url: str | None = None) -> IpfsHook:
        """The IPFS of an environment: its settings, and for what they leave unset, the connection C2D_IPFS_CONN_ID.

        :param api_url: used instead of IPFS_OUTPUT, for admin logs and for results of earlier settings.
        """
        access = IpfsAccess(
            api_url=api_url or env.IPFS_OUTPUT,
            authorization=env.C2D_IPFS_AUTH,
            add_url=env.C2D_IPFS_ADD_URL,
            add_authorization=env.C2D_IPFS_ADD_AUTH,
            read_authorization=env.C2D_IPFS_READ_AUTH,
            api_key=env.IPFS_API_KEY,
            client_id=env.IPFS_API_CLIENT,
        )
        return cls(env.C2D_IPFS_CONN_ID, access=access, cluster=env.IPFS_TYPE == "CLUSTER")

    def get_conn(self) -> IpfsAccess:
        """Addresses and credentials.

        :raises c2d.errors.UpstreamUnavailable: the connection is not defined or is malformed.
        """
        if self.ipfs_conn_id is None:
            return self._own_access
        return self._own_access.or_else(_access_in(required_connection(self.ipfs_conn_id, "C2D_IPFS_CONN_ID")))

    def pinning_api(self) -> IpfsApi:
        """The API that pins, with the operator's authorization.

        :raises c2d.errors.UpstreamUnavailable: as :meth:`get_conn`, or no URL is configured.
        """
        access = self.get_conn()
        return IpfsApi(_required_url(access), _headers(access, access.authorization))

    def adding_node(self) -> IpfsApi:
        """The kubo node that pods add to, with the pods' authorization.

        :raises c2d.errors.UpstreamUnavailable: as :meth:`get_conn`, or no URL is configured.
        :raises c2d.errors.ResultStoreError: only an IPFS Cluster is configured, whose API cannot restrict a client to adding.
        """
        access = self.get_conn()
        if self.cluster and not access.add_url:
            raise ResultStoreError("C2D_IPFS_ADD_URL (or add_url in the connection): must name a kubo node; pods cannot add to a cluster")
        return IpfsApi(access.add_url or _required_url(access), _headers(access, access.add_authorization))

    def reading_node(self) -> IpfsApi:
        """The kubo node that has the files which pods added, with the operator's authorization.

        :raises c2d.errors.UpstreamUnavailable: as :meth:`get_conn`, or no URL is configured.
        """
        access = self.get_conn()
        if access.add_url is None:
            return self.pinning_api()
        return IpfsApi(access.add_url, _headers(access, access.read_authorization or access.authorization))

    def test_connection(self) -> tuple[bool, str]:
        """For the test button in Airflow's UI: asks the API for its version, and tries what pods must not be able to do."""
        try:
            api = self.pinning_api()
            name, pods_node = _name_of(api), self.adding_node()
            if name is None:
                return False, "the API is neither kubo's nor an IPFS Cluster's, or the authorization is wrong"
            if name != KUBO and self.get_conn().add_url is None:
                return False, f"{name} answers, but add_url is not set: pods cannot add to a cluster"
            if probe := pods_node.allowed_probe():
                return False, f"{name} answers, but add_authorization allows more than adding ({probe})"
            return True, f"{name} answers, and pods can only add"
        except (UpstreamUnavailable, ConnectionError) as e:
            return False, str(e)


KUBO, CLUSTER = "kubo", "IPFS Cluster"


def _name_of(api: IpfsApi) -> str | None:
    """Which software the API belongs to; None if it is another one, or does not accept the authorization."""
    import httpx

    if api.command("version").status_code == 200:
        return KUBO
    try:
        is_cluster = httpx.get(f"{api.url}/id", headers=api.headers, timeout=READ_SECONDS).status_code == 200
    except httpx.HTTPError as e:
        raise ConnectionError(f"the IPFS API does not answer ({type(e).__name__})") from None
    return CLUSTER if is_cluster else None


def _access_in(connection: Connection) -> IpfsAccess:
    """:raises c2d.errors.UpstreamUnavailable: a field is malformed; retrying helps once the operator has corrected it."""
    from airflow.sdk.log import mask_secret

    authorization = f"basic:{connection.login}:{connection.password or ''}" if connection.login else connection.password
    standard = {"api_url": _url_in(connection), "authorization": authorization}
    try:
        access = IpfsAccess.model_validate({**connection.extra_dejson, **{name: value for name, value in standard.items() if value}})
    except ValidationError as e:
        raise UpstreamUnavailable(f"connection {connection.conn_id}: {explain(e)}") from None
    # Airflow masks the password and the whole of extra, but not the parts that become headers.
    authorizations = (access.authorization, access.add_authorization, access.read_authorization)
    for secret in filter(None, (access.api_key, *(each.partition(":")[2] for each in authorizations if each))):
        mask_secret(secret)
    return access


def _url_in(connection: Connection) -> str | None:
    if not connection.host:
        return None
    base = connection.host if "://" in connection.host else f"{connection.schema or 'http'}://{connection.host}"
    return f"{base}:{connection.port}" if connection.port else base


def _required_url(access: IpfsAccess) -> str:
    if access.api_url is None:
        raise UpstreamUnavailable("the URL of the IPFS API is not set: it is IPFS_OUTPUT, or the connection's host")
    return access.api_url


def _headers(access: IpfsAccess, authorization: str | None) -> dict[str, str]:
    """X-API-KEY and CLIENT-ID are operator-engine's headers for an API behind a gateway."""
    headers = {"X-API-KEY": access.api_key, "CLIENT-ID": access.client_id, "Authorization": _authorization_header(authorization)}
    return {name: value for name, value in headers.items() if value}


def _authorization_header(authorization: str | None) -> str | None:
    """:param authorization: in kubo's form."""
    if not authorization:
        return None
    kind, _, secret = authorization.partition(":")
    return f"Bearer {secret}" if kind == "bearer" else f"Basic {base64.b64encode(secret.encode()).decode()}"


# -- pinning -----------------------------------------------------------------------------------------------------------------------


class Pins(Protocol):
    """Pins of one job, which have the job's name."""

    def add(self, cid: str) -> None:
        """Pins ``cid`` with all its blocks.

        :raises ResultStoreError: it cannot be pinned, for example because blocks are missing.
        :raises ConnectionError: the API does not answer.
        """

    def cids(self) -> list[str]:
        """The CIDs that are pinned with the job's name."""

    def remove(self, cid: str) -> None:
        """Unpins ``cid``. One that is not pinned is not an error.

        :raises ResultStoreError: it cannot be unpinned.
        """


@dataclass(frozen=True)
class NodePins:
    """Pins at a kubo node."""

    api: IpfsApi
    name: str

    def add(self, cid: str) -> None:
        import ipfshttpclient

        with self._client() as client:
            try:
                # kubo searches for missing blocks until the timeout.
                client.pin.add(cid, opts={"name": self.name, "timeout": f"{PIN_SECONDS}s"})
            except ipfshttpclient.exceptions.ErrorResponse:
                raise ResultStoreError("the node does not pin what was sent") from None

    def cids(self) -> list[str]:
        with self._client() as client:
            listed = client.pin.ls(type="recursive", opts={"names": "true", "name": self.name})
        return [cid for cid, pin in listed["Keys"].items() if pin.get("Name") == self.name]

    def remove(self, cid: str) -> None:
        import ipfshttpclient

        with self._client() as client:
            try:
                client.pin.rm(cid)
            except ipfshttpclient.exceptions.ErrorResponse as e:
                if "not pinned" not in str(e):
                    raise ResultStoreError("the node does not unpin") from None

    def _client(self) -> Any:
        """ipfshttpclient's client, which wants the address as a multiaddress."""
        import ipfshttpclient

        parts = urlsplit(self.api.url)
        host = parts.hostname or ""
        kind = "ip6" if ":" in host else "ip4" if host.replace(".", "").isdigit() else "dns"
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return ipfshttpclient.Client(
            f"/{kind}/{host}/tcp/{port}/{parts.scheme}",
            f"{parts.path.strip('/')}/api/v0".lstrip("/"),
            headers=self.api.headers,
            timeout=PIN_SECONDS + 30,
        )
