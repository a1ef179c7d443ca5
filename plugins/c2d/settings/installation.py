"""Every setting, read once and checked at start.

A setting of Ocean's operator-engine has the engine's own name and default, so that the environment file of such a deployment works as it
is and gives one compute environment. Several environments stand in a YAML file (``C2D_ENVIRONMENTS``)::

    environments:
      - {id: small, nCPU: 1, ramGB: 2, maxJobs: 4, maxJobDuration: 600}
      - {id: large, nCPU: 8, ramGB: 64, nGPU: 1, FILTERING_CONTAINER: registry.example/filter:2}

What the file leaves out for an environment is taken from the process environment. Our own settings begin with ``C2D_``.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from c2d.crypto import ecies
from c2d.errors import InvalidSettings
from c2d.jobs.explain import explain
from c2d.jobs.patterns import ADDRESS, YEAR
from c2d.settings.provider import Addresses, PrivateKey, ProviderSettings, Variables, is_http, listed

# Read and checked, but acting only once the part that they steer exists: said at every start, never silently ignored.
NOT_YET_IN_FORCE = {
    "LOG_CFG": "Airflow's own logging configuration holds",
}


# What Kubernetes takes as the name of an object, a label's value, an extended resource; and an image.
NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
LABEL = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
RESOURCE = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
IMAGE = r"^[a-z0-9][a-zA-Z0-9._/:@-]{0,400}$"
JANITOR = "c2d_janitor"


Names = Annotated[tuple[str, ...], BeforeValidator(listed)]
Auth = Annotated[str, Field(pattern=r"^(bearer:[!-~]+|basic:[^:\s]+:[!-~]+)$")] | None
"""A right at an IPFS API, in kubo's own form (API.Authorizations, AuthSecret): ``bearer:TOKEN`` or ``basic:USER:PASSWORD``."""


class Environment(Variables):
    """One compute environment: where jobs run, with limits and a price. It is one DAG."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    description: str = ""
    nCPU: Decimal = Field(default=Decimal(1), ge=Decimal("0.001"), le=1024, description="CPUs for the algorithm")
    cpuType: str = ""
    nGPU: int = Field(default=0, ge=0, le=64)
    gpuRam: Decimal = Field(default=Decimal(0), ge=0, description="announced only, GB")
    gpuType: str = ""
    ramGB: Decimal = Field(default=Decimal(1), ge=Decimal("0.01"), le=65536, description="memory for the algorithm, GiB")
    diskGB: Decimal = Field(default=Decimal(1), ge=Decimal("0.001"), le=1048576, description="size of the job's volume, GiB")
    priceMinute: Decimal = Field(default=Decimal(0), ge=0)
    maxJobs: int = Field(default=1, ge=0, le=10000, description="jobs at once; 0: Airflow's own limit")
    maxJobDuration: int = Field(default=60, ge=1, le=YEAR, description="seconds that an algorithm may run")
    allowedChainId: str | None = Field(
        default=None, pattern=r"^[0-9]+(\s*,\s*[0-9]+)*$", description="chain ids, with commas; unset: every chain"
    )
    encrypt_results: Literal["store", "consumer", "none"] | None = Field(
        default=None, description="if unset: store if IPFS_OUTPUT or C2D_IPFS_CONN_ID is set, else none"
    )
    access_control: Literal["datatoken", "provider", "open"] = Field(
        default="provider", description="whose jobs it takes (c2d.access.admission)"
    )
    enableNetwork: bool = Field(default=True, description="algorithms get the network where each data set's owner allows it; 0: never")
    share_algorithm_logs: bool = Field(default=False, description="the Provider may read the algorithm's log while it runs")

    STORAGE_EXPIRY: int = Field(default=0, ge=0, description="hours; 0: never")
    IPFS_TYPE: Literal["CLIENT", "CLUSTER"] | None = None
    IPFS_OUTPUT: str | None = None
    IPFS_ADMINLOGS: str | None = None
    IPFS_OUTPUT_PREFIX: str | None = None
    IPFS_ADMINLOGS_PREFIX: str | None = None
    IPFS_EXPIRY_TIME: int = Field(default=0, ge=0, description="seconds; 0: never")
    IPFS_API_KEY: str | None = Field(default=None, repr=False)
    IPFS_API_CLIENT: str | None = Field(default=None, repr=False)
    AWS_ACCESS_KEY_ID: str | None = Field(default=None, repr=False)
    AWS_SECRET_ACCESS_KEY: str | None = Field(default=None, repr=False)
    AWS_REGION: str | None = None
    AWS_BUCKET_OUTPUT: str | None = None
    AWS_BUCKET_ADMINLOGS: str | None = None
    AWS_ENDPOINT_URL: str | None = Field(default=None, description="of a store that is not Amazon's; for AWS_ACCESS_KEY_ID")
    C2D_AWS_CONN_ID: str = Field(default="aws_default", description="Airflow's connection to S3, where AWS_ACCESS_KEY_ID is not set")
    C2D_S3_ENCRYPTION: Literal["AES256", "aws:kms"] | None = Field(
        default=None, description="at rest, by the store; the bucket's own setting where it is not set"
    )
    C2D_S3_KMS_KEY_ID: str | None = Field(default=None, description="for aws:kms; the account's default key where it is not set")
    C2D_IPFS_CONN_ID: str | None = Field(
        default=None, description="Airflow connection (type ipfs) for the URL and the credentials that the IPFS settings leave unset"
    )
    C2D_IPFS_AUTH: Auth = Field(default=None, repr=False, description="the operator's right at IPFS_OUTPUT; never in a pod")
    C2D_IPFS_ADD_URL: str | None = Field(default=None, description="the kubo that pods add to; IPFS_OUTPUT where it is not set")
    C2D_IPFS_ADD_AUTH: Auth = Field(default=None, repr=False, description="a pod's right there: to add, and nothing else")
    C2D_IPFS_READ_AUTH: Auth = Field(default=None, repr=False, description="the operator's right there, to read; else C2D_IPFS_AUTH")
    C2D_IPFS_OPEN: bool = Field(default=False, description="1: pods may be given an IPFS API that lets them do more than add")
    C2D_IPFS_REPLICATION_MIN: int = Field(default=0, ge=-1, le=1000, description="peers of an IPFS cluster; 0: its own; -1: all")
    C2D_IPFS_REPLICATION_MAX: int = Field(default=0, ge=-1, le=1000, description="as C2D_IPFS_REPLICATION_MIN")
    C2D_UPLOAD_RETRY_SECONDS: int = Field(default=600, ge=0, le=YEAR, description="that a store may be away before publishing has failed")
    NOTIFY_START_URL: str | None = None
    NOTIFY_STOP_URL: str | None = None
    C2D_NOTIFY_CONN_ID: str | None = Field(
        default=None, description="Airflow connection (type http) with credentials and headers for the receivers of notifications"
    )

    STORAGE_CLASS: str | None = Field(default=None, pattern=NAME, description="the cluster's default where it is not set")
    SERVICE_ACCOUNT: str | None = Field(
        default=None, pattern=NAME, description="the namespace's default where it is not set; its token is never mounted"
    )
    NODE_SELECTOR: str | None = Field(default=None, pattern=LABEL, description="value of the node label `scope`, as in operator-engine")
    PULL_SECRET: str | None = Field(default=None, pattern=NAME)
    PULL_POLICY: Literal["Always", "IfNotPresent", "Never"] | None = None
    FILTERING_CONTAINER: str | None = Field(default=None, pattern=IMAGE, description="the owner's filter image")
    LOG_CFG: str | None = None
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None

    C2D_GPU_RESOURCE: str = Field(default="nvidia.com/gpu", pattern=RESOURCE, description="the extended resource that nGPU counts")
    C2D_TMP_GB: Decimal = Field(default=Decimal(1), gt=0, le=1024, description="/tmp of each pod, GiB; counts as ephemeral storage")
    C2D_START_SECONDS: int = Field(default=900, ge=10, le=86400, description="for a pod to be scheduled and its image pulled")
    C2D_STAGE_SECONDS: int = Field(default=3600, ge=10, le=YEAR, description="for each of configure, filter and publish")
    C2D_OUTPUT_FILES: int = Field(default=10000, ge=1, le=10**7, description="files that the filter releases at most")
    C2D_OUTPUT_DEPTH: int = Field(default=16, ge=1, le=64)
    C2D_LOG_BYTES: int = Field(default=10 * 2**20, ge=1024, le=2**30, description="of an algorithm's log that are kept")

    @field_validator("IPFS_OUTPUT", "IPFS_ADMINLOGS", "C2D_IPFS_ADD_URL", "AWS_ENDPOINT_URL", "NOTIFY_START_URL", "NOTIFY_STOP_URL")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not is_http(value):
            raise ValueError("must be an http:// or https:// URL")
        return value

    @model_validator(mode="after")
    def _stores(self) -> Environment:
        if bool(self.AWS_ACCESS_KEY_ID) != bool(self.AWS_SECRET_ACCESS_KEY):
            raise ValueError("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: must both be set, or neither")
        if self.C2D_S3_KMS_KEY_ID and self.C2D_S3_ENCRYPTION != "aws:kms":
            raise ValueError("C2D_S3_KMS_KEY_ID: is for C2D_S3_ENCRYPTION aws:kms")
        in_ipfs = self.IPFS_OUTPUT or self.IPFS_ADMINLOGS
        if self.IPFS_TYPE == "CLUSTER" and in_ipfs and not self.C2D_IPFS_ADD_URL and not self.C2D_IPFS_CONN_ID:
            raise ValueError("C2D_IPFS_ADD_URL: must name a kubo that pods add to; a cluster's own API gives no right to add alone")
        return self

    @property
    def chains(self) -> frozenset[int]:
        """The chains whose jobs are taken; empty: all."""
        return frozenset(int(c) for c in (self.allowedChainId or "").split(",") if c.strip())

    @property
    def encryption(self) -> str:
        """Who holds the key of stored results: store (the database), consumer, or none (they are not encrypted). docs/encryption.md"""
        return self.encrypt_results or ("store" if self.IPFS_OUTPUT or self.C2D_IPFS_CONN_ID else "none")

    @property
    def at_once(self) -> int:
        """Jobs that may run at the same time."""
        return self.maxJobs or 16  # Airflow's own limit of runs of a DAG

    @property
    def disk_bytes(self) -> int:
        return int(self.diskGB * 2**30)

    def not_in_force(self) -> list[str]:
        """A warning for each setting that is given and does not act yet."""
        given = [n for n in NOT_YET_IN_FORCE if getattr(self, n) not in (None, 0)]
        return [f"{n} is set but not in force yet: {NOT_YET_IN_FORCE[n]}" for n in given]


class Settings(Variables):
    """What the whole installation shares, and its environments."""

    OPERATOR_PRIVATE_KEY: PrivateKey = Field(repr=False)
    C2D_DATABASE_URL: str = Field(repr=False)
    C2D_NAMESPACE: str = Field(default="c2d-jobs", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    C2D_STAGE_IMAGE: str = Field(default="c2d.test/stages:1", pattern=IMAGE)
    C2D_RESULTS_CLAIM: str = Field(default="c2d-results", pattern=NAME)
    C2D_RESULTS_PATH: Path = Path("/opt/airflow/results")
    environments: tuple[Environment, ...]
    provider: ProviderSettings = ProviderSettings()

    # the operator-service API (docs/operator-service.md)
    SIGNATURE_REQUIRED: bool = Field(default=True, description="0: legacy mode, any signature is taken and replays are not refused")
    ALLOWED_PROVIDERS: Addresses = Field(default=(), description="who may sign requests")
    ALLOWED_ADMINS: Names = Field(default=(), repr=False, description="values of the Admin header; nobody where it is not set")
    OPERATOR_ADDRESS: str | None = Field(default=None, pattern=ADDRESS, description="announced; the operator key's where it is not set")
    DEFAULT_NAMESPACE: str | None = Field(default=None, description="the environment of a job that names none")
    ALGO_POD_TIMEOUT: int | None = Field(default=None, ge=1, le=YEAR, description="seconds")
    C2D_MAX_JOBS_PER_OWNER: int = Field(default=100, ge=1, description="jobs of one owner that have not ended, before more are refused")
    C2D_STARTS_PER_SECOND: float = Field(default=10, gt=0, description="of one owner, on average; ten times as many at once")
    C2D_REQUESTS_PER_SECOND: float = Field(default=2000, gt=0, description="of one signer and process, on average; twice as many at once")
    C2D_NOTIFY_HOSTS: Names = Field(
        default=(), description="hosts that may be notified; http:// is for these alone; unset: any by https://"
    )
    C2D_NOTIFY_SECONDS: float = Field(default=10, gt=0, le=60, description="that a receiver has for its answer")
    C2D_NOTIFY_ATTEMPTS: int = Field(default=16, ge=1, le=100, description="before a notification is given up; 16 are about seven hours")

    def notes(self) -> list[str]:
        """What is to be said of settings that are given and cannot act."""
        notes = self.provider.notes()
        if self.DEFAULT_NAMESPACE and self.DEFAULT_NAMESPACE not in [e.id for e in self.environments]:
            notes.append(f"DEFAULT_NAMESPACE: there is no environment {self.DEFAULT_NAMESPACE}; a job that names none is refused")
        return notes

    def may_notify(self, url: str) -> bool:
        """Whether notifications may go to ``url``: by https, and to the hosts in C2D_NOTIFY_HOSTS where there are any."""
        parts = urlsplit(url)
        if self.C2D_NOTIFY_HOSTS:
            return (parts.hostname or "").lower() in self.C2D_NOTIFY_HOSTS
        return parts.scheme == "https"

    @field_validator("C2D_DATABASE_URL")
    @classmethod
    def _postgresql(cls, value: str) -> str:
        if not re.fullmatch(r"postgresql(\+psycopg2)?://\S+", value):
            raise ValueError("must be a PostgreSQL URL: postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE")
        return value

    @property
    def address(self) -> str:
        """The operator's Ethereum address: the consumer that orders must name."""
        from c2d.crypto import signatures

        return signatures.address_of(self.OPERATOR_PRIVATE_KEY)

    @property
    def public_key(self) -> str:
        """What others seal secrets to (0x, uncompressed)."""
        return ecies.public_key(self.OPERATOR_PRIVATE_KEY)

    def environment(self, environment_id: str) -> Environment:
        """:raises InvalidSettings: there is no such environment."""
        for e in self.environments:
            if e.id == environment_id:
                return e
        raise InvalidSettings(f"environment: must be one of {', '.join(e.id for e in self.environments)}")


def read(variables: Mapping[str, str]) -> Settings:
    """The settings in ``variables`` (``os.environ``, or the content of an environment file).

    :raises InvalidSettings: naming every setting that is missing or wrong.
    """
    given = {n: v for n, v in variables.items() if v.strip()}
    own: dict[str, Any] = {n: given[n] for n in Settings.model_fields if n in given and n not in ("environments", "provider")}
    if not own.setdefault("C2D_DATABASE_URL", _database_url(given)):
        raise InvalidSettings(
            "C2D_DATABASE_URL (or POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER, POSTGRES_PASSWORD): must name the jobs' PostgreSQL"
        )
    shared = {n: given[n] for n in Environment.model_fields if n in given and n != "id"}
    several = given.get("C2D_ENVIRONMENTS")
    environments: list[Any] = [{"id": given.get("C2D_ENVIRONMENT", "ocean-compute"), **shared}]
    if several:
        environments = [{**shared, **e} if isinstance(e, dict) else e for e in _from_yaml(several)]
    try:
        provider = ProviderSettings.model_validate({n: given[n] for n in ProviderSettings.model_fields if n in given})
        settings = Settings.model_validate({**own, "environments": environments, "provider": provider})
    except ValidationError as e:
        raise InvalidSettings(explain(e) if several else _of_the_one_environment(explain(e))) from None
    ids = [e.id for e in settings.environments]
    if len(set(ids)) < len(ids) or not ids:
        raise InvalidSettings("environments: must be one or more, none with the id of another")
    if JANITOR in ids:
        raise InvalidSettings(f"C2D_ENVIRONMENT: must not be {JANITOR}, which is a DAG of ours")
    for env in settings.environments:
        for name, url in (("NOTIFY_START_URL", env.NOTIFY_START_URL), ("NOTIFY_STOP_URL", env.NOTIFY_STOP_URL)):
            if url and not settings.may_notify(url):
                raise InvalidSettings(f"{name} of environment {env.id}: must be https://, or its host must stand in C2D_NOTIFY_HOSTS")
        if env.access_control == "datatoken" and not settings.provider.PROVIDER_PRIVATE_KEY:
            raise InvalidSettings(f"access_control of environment {env.id}: datatoken needs PROVIDER_PRIVATE_KEY, which opens the files")
    return settings


def _of_the_one_environment(sentences: str) -> str:
    """The names as they stand in the environment file."""
    return sentences.replace("environments[0].id:", "C2D_ENVIRONMENT:").replace("environments[0].", "").replace("environments[0]: ", "")


@functools.cache
def load() -> Settings:
    """The settings of this process (``os.environ``), read once."""
    return read(os.environ)


def _database_url(variables: Mapping[str, str]) -> str:
    """operator-engine's POSTGRES_* as one URL; "" where they are not all there."""
    names = ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_HOST", "POSTGRES_DB")
    if not all(n in variables for n in names):
        return ""
    port = variables.get("POSTGRES_PORT", "5432")
    if not re.fullmatch("[0-9]{1,5}", port):
        raise InvalidSettings("POSTGRES_PORT: must be a port, a whole number")
    user, password, host, db = (quote(variables[n], safe="") for n in names)
    return f"postgresql+psycopg2://{user}:{password}@{host}:{port}/{db}"


def _from_yaml(path: str) -> list[Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as e:
        raise InvalidSettings(f"C2D_ENVIRONMENTS: cannot be read ({e.strerror})") from None
    except yaml.YAMLError:
        raise InvalidSettings("C2D_ENVIRONMENTS: must be valid YAML") from None
    if not isinstance(content, dict) or set(content) != {"environments"} or not isinstance(content["environments"], list):
        raise InvalidSettings("C2D_ENVIRONMENTS: must hold one key, environments, with a list")
    return content["environments"]
