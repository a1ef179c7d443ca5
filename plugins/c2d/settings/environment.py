"""The settings of one compute environment."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from c2d.jobs.patterns import YEAR
from c2d.settings.variables import HttpUrl, Variables

# What Kubernetes accepts as an object's name, as a label's value, as an extended resource, and as an image.
NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
LABEL = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
RESOURCE = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
IMAGE = r"^[a-z0-9][a-zA-Z0-9._/:@-]{0,400}$"

AIRFLOWS_RUN_LIMIT = 16
"""Runs of a DAG at the same time, by Airflow's default."""

Credentials = Annotated[str, Field(pattern=r"^(bearer:[!-~]+|basic:[^:\s]+:[!-~]+)$")] | None
"""Credentials at an IPFS API in kubo's form (API.Authorizations, AuthSecret): ``bearer:TOKEN`` or ``basic:USER:PASSWORD``."""


class Environment(Variables):
    """One compute environment: where jobs run, with limits and a price. It is one DAG."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="the environment's id, and that of its DAG (variable C2D_ENVIRONMENT)"
    )
    description: str = Field(default="", description="shown to clients and in Airflow")
    nCPU: Decimal = Field(default=Decimal(1), ge=Decimal("0.001"), le=1024, description="CPUs of the algorithm, request and limit")
    cpuType: str = Field(default="", description="shown to clients")
    nGPU: int = Field(default=0, ge=0, le=64, description="GPUs of the algorithm")
    gpuRam: Decimal = Field(default=Decimal(0), ge=0, description="GB; accepted for operator-engine's files, no effect")
    gpuType: str = Field(default="", description="shown to clients")
    ramGB: Decimal = Field(
        default=Decimal(1), ge=Decimal("0.01"), le=65536, description="memory of the algorithm in GiB, request and limit"
    )
    diskGB: Decimal = Field(
        default=Decimal(1),
        ge=Decimal("0.001"),
        le=1048576,
        description="size of the job's volume in GiB; also limits what configure downloads",
    )
    priceMinute: Decimal = Field(default=Decimal(0), ge=0, description="price in whole tokens per minute, paid in PROVIDER_FEE_TOKEN")
    maxJobs: int = Field(default=1, ge=0, le=10000, description="jobs that run at the same time; 0: 16, Airflow's own limit")
    maxJobDuration: int = Field(
        default=60, ge=1, le=YEAR, description="seconds that an algorithm may run, counted from the start of its container"
    )
    allowedChainId: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\s*,\s*[0-9]+)*$",
        description="chain ids with commas between them, whose jobs and assets are accepted; not set: all chains",
    )
    encrypt_results: Literal["store", "consumer", "none"] | None = Field(
        default=None, description="who can read stored results; not set: store if IPFS_OUTPUT or C2D_IPFS_CONN_ID is set, else none"
    )
    access_control: Literal["datatoken", "provider", "open"] = Field(
        default="provider", description="who may run jobs (c2d.access.admission)"
    )
    enableNetwork: bool = Field(
        default=True, description="1: an algorithm gets the public internet if the owners of all its data sets allow it; 0: never"
    )
    share_algorithm_logs: bool = Field(
        default=False, description="1: the Provider can read the end of the algorithm's log while it runs, before the filter has seen it"
    )

    # results (docs/reference/storage.md)
    STORAGE_EXPIRY: int = Field(default=0, ge=0, description="hours after which results are removed; 0: never")
    IPFS_TYPE: Literal["CLIENT", "CLUSTER"] | None = Field(
        default=None, description="API at IPFS_OUTPUT: CLIENT (kubo) or CLUSTER (IPFS Cluster); not set: CLIENT"
    )
    IPFS_OUTPUT: HttpUrl | None = Field(default=None, description="URL of the API that pins results")
    IPFS_ADMINLOGS: HttpUrl | None = Field(default=None, description="URL of the API that pins admin logs")
    IPFS_OUTPUT_PREFIX: str | None = Field(default=None, description="what a result's CID is appended to; not set: <IPFS_OUTPUT>/ipfs/")
    IPFS_ADMINLOGS_PREFIX: str | None = Field(
        default=None, description="what an admin log's CID is appended to; not set: <IPFS_ADMINLOGS>/ipfs/"
    )
    IPFS_EXPIRY_TIME: int = Field(default=0, ge=0, description="seconds after which results in IPFS are removed; 0: never")
    IPFS_API_KEY: str | None = Field(default=None, repr=False, description="sent to the IPFS API as header X-API-KEY, by pods as well")
    IPFS_API_CLIENT: str | None = Field(default=None, repr=False, description="sent to the IPFS API as header CLIENT-ID, by pods as well")
    AWS_ACCESS_KEY_ID: str | None = Field(default=None, repr=False, description="of the S3 account")
    AWS_SECRET_ACCESS_KEY: str | None = Field(default=None, repr=False, description="of the S3 account")
    AWS_REGION: str | None = Field(default=None, description="the S3 region")
    AWS_BUCKET_OUTPUT: str | None = Field(default=None, description="S3 bucket for results")
    AWS_BUCKET_ADMINLOGS: str | None = Field(default=None, description="S3 bucket for admin logs")
    AWS_ENDPOINT_URL: HttpUrl | None = Field(
        default=None, description="endpoint of an S3 store other than Amazon's; used with AWS_ACCESS_KEY_ID"
    )
    C2D_AWS_CONN_ID: str = Field(default="aws_default", description="Airflow connection to S3, used if AWS_ACCESS_KEY_ID is not set")
    C2D_S3_ENCRYPTION: Literal["AES256", "aws:kms"] | None = Field(
        default=None, description="encryption at rest by the S3 store; not set: the bucket's own setting"
    )
    C2D_S3_KMS_KEY_ID: str | None = Field(default=None, description="key for aws:kms; not set: the account's default key")
    C2D_IPFS_CONN_ID: str | None = Field(
        default=None, description="Airflow connection (type ipfs) for the URL and the credentials that the IPFS settings leave unset"
    )
    C2D_IPFS_AUTH: Credentials = Field(
        default=None, repr=False, description="the operator's credentials at IPFS_OUTPUT; never given to a pod"
    )
    C2D_IPFS_ADD_URL: HttpUrl | None = Field(default=None, description="the kubo that pods add to; not set: IPFS_OUTPUT")
    C2D_IPFS_ADD_AUTH: Credentials = Field(
        default=None, repr=False, description="the pods' credentials there, which must allow add and nothing else"
    )
    C2D_IPFS_READ_AUTH: Credentials = Field(
        default=None, repr=False, description="the operator's credentials for reading there; not set: C2D_IPFS_AUTH"
    )
    C2D_IPFS_OPEN: bool = Field(default=False, description="1: accept an IPFS API that lets pods do more than add")
    C2D_IPFS_REPLICATION_MIN: int = Field(
        default=0, ge=-1, le=1000, description="least number of peers in IPFS Cluster; 0: the cluster's own setting; -1: all"
    )
    C2D_IPFS_REPLICATION_MAX: int = Field(
        default=0, ge=-1, le=1000, description="greatest number of peers in IPFS Cluster; 0: the cluster's own setting; -1: all"
    )
    C2D_UPLOAD_RETRY_SECONDS: int = Field(
        default=600, ge=0, le=YEAR, description="seconds that a single request to a store may fail before publishing fails"
    )
    NOTIFY_START_URL: HttpUrl | None = Field(default=None, description="called when a job starts")
    NOTIFY_STOP_URL: HttpUrl | None = Field(default=None, description="called when a job ends")
    C2D_NOTIFY_CONN_ID: str | None = Field(
        default=None, description="Airflow connection (type http) with credentials and headers for the receivers of notifications"
    )

    # pods
    STORAGE_CLASS: str | None = Field(
        default=None, pattern=NAME, description="storage class of the job's volume; not set: the cluster's default"
    )
    SERVICE_ACCOUNT: str | None = Field(
        default=None,
        pattern=NAME,
        description="service account of the pods, whose token is never mounted; not set: the namespace's default",
    )
    NODE_SELECTOR: str | None = Field(
        default=None, pattern=LABEL, description="pods run only on nodes whose label `scope` has this value, as with operator-engine"
    )
    PULL_SECRET: str | None = Field(
        default=None, pattern=NAME, description="Secret in the jobs' namespace with credentials for the image registry"
    )
    PULL_POLICY: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="when the algorithm's image is pulled; not set: IfNotPresent"
    )
    FILTERING_CONTAINER: str | None = Field(
        default=None, pattern=IMAGE, description="image of the operator's own filter, which runs before the built-in one"
    )
    LOG_CFG: str | None = Field(default=None, description="accepted for operator-engine's files, no effect")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = Field(
        default=None, description="level of the logger c2d in the tasks of the environment's jobs; not set: Airflow's level"
    )
    C2D_GPU_RESOURCE: str = Field(
        default="nvidia.com/gpu", pattern=RESOURCE, description="the Kubernetes extended resource that nGPU counts"
    )
    C2D_TMP_GB: Decimal = Field(
        default=Decimal(1), gt=0, le=1024, description="size of /tmp in each pod in GiB; counts as ephemeral storage"
    )
    C2D_START_SECONDS: int = Field(
        default=900, ge=10, le=86400, description="seconds that a pod may take to be scheduled and to pull its images"
    )
    C2D_STAGE_SECONDS: int = Field(default=3600, ge=10, le=YEAR, description="seconds that each of configure, filter and publish may run")

    # filter
    C2D_OUTPUT_FILES: int = Field(default=10000, ge=1, le=10**7, description="files that the filter releases at most")
    C2D_OUTPUT_DEPTH: int = Field(default=16, ge=1, le=64, description="how deep folders below /data/outputs may be nested")
    C2D_LOG_BYTES: int = Field(
        default=10 * 2**20, ge=1024, le=2**30, description="bytes of the algorithm's log that are recorded and published"
    )

    @model_validator(mode="after")
    def _consistent_stores(self) -> Environment:
        if bool(self.AWS_ACCESS_KEY_ID) != bool(self.AWS_SECRET_ACCESS_KEY):
            raise ValueError("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: must both be set, or neither")
        if self.C2D_S3_KMS_KEY_ID and self.C2D_S3_ENCRYPTION != "aws:kms":
            raise ValueError("C2D_S3_KMS_KEY_ID: needs C2D_S3_ENCRYPTION to be aws:kms")
        in_ipfs = self.IPFS_OUTPUT or self.IPFS_ADMINLOGS
        if self.IPFS_TYPE == "CLUSTER" and in_ipfs and not self.C2D_IPFS_ADD_URL and not self.C2D_IPFS_CONN_ID:
            raise ValueError(
                "C2D_IPFS_ADD_URL: must name a kubo that pods add to, because an IPFS Cluster API cannot limit credentials to adding"
            )
        return self

    @property
    def chains(self) -> frozenset[int]:
        """The chains whose jobs are accepted. Empty: all."""
        return frozenset(int(c) for c in (self.allowedChainId or "").split(",") if c.strip())

    @property
    def encryption(self) -> str:
        """Who can read stored results (docs/reference/encryption.md): ``store``, ``consumer`` or ``none``.

        The key is in the database or with the consumer; with ``none``, results are not encrypted.
        """
        return self.encrypt_results or ("store" if self.IPFS_OUTPUT or self.C2D_IPFS_CONN_ID else "none")

    @property
    def at_once(self) -> int:
        """Jobs that may run at the same time."""
        return self.maxJobs or AIRFLOWS_RUN_LIMIT

    @property
    def disk_bytes(self) -> int:
        """The size of the job's volume."""
        return int(self.diskGB * 2**30)

    def notes(self) -> list[str]:
        """What a person should know about the environment's settings: those that are set without effect."""
        return ["LOG_CFG is set but has no effect: Airflow's logging configuration applies"] if self.LOG_CFG else []
