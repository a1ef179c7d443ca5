"""Every setting, read once and checked at start.

A setting of Ocean's operator-engine has the engine's name and default, so that the environment file of such a deployment can be reused
and gives one compute environment. For several environments, a YAML file lists them (``C2D_ENVIRONMENTS``)::

    environments:
      - {id: small, nCPU: 1, ramGB: 2, maxJobs: 4, maxJobDuration: 600}
      - {id: large, nCPU: 8, ramGB: 64, nGPU: 1, FILTERING_CONTAINER: registry.example/filter:2}

What the file does not set for an environment is taken from the process environment. Settings that exist only here begin with ``C2D_``.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import Field, ValidationError, field_validator

from c2d.crypto import ecies
from c2d.errors import InvalidSettings
from c2d.jobs.explain import explain
from c2d.jobs.patterns import ADDRESS, YEAR
from c2d.settings.environment import IMAGE, NAME, Environment
from c2d.settings.provider import ProviderSettings
from c2d.settings.variables import Addresses, Names, PrivateKey, Variables

JANITOR = "c2d_janitor"


class Settings(Variables):
    """The settings of the whole installation, and its environments."""

    OPERATOR_PRIVATE_KEY: PrivateKey = Field(
        repr=False, description="decrypts sealed values and signs for assets of other Providers; orders must name its address as consumer"
    )
    C2D_DATABASE_URL: str = Field(repr=False, description="the jobs' PostgreSQL: postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE")
    C2D_NAMESPACE: str = Field(
        default="c2d-jobs", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Kubernetes namespace of the jobs"
    )
    C2D_STAGE_IMAGE: str = Field(default="c2d.test/stages:1", pattern=IMAGE, description="image of configure, filter and publish")
    C2D_RESULTS_CLAIM: str = Field(
        default="c2d-results", pattern=NAME, description="PersistentVolumeClaim of the results volume, in the jobs' namespace"
    )
    C2D_RESULTS_PATH: Path = Field(
        default=Path("/opt/airflow/results"), description="folder at which Airflow's processes see the results volume"
    )
    environments: tuple[Environment, ...] = Field(description="one from the variables, or those in the file C2D_ENVIRONMENTS")
    provider: ProviderSettings = Field(default=ProviderSettings(), description="the Provider API, the chains and what is fetched")

    # the Operator-Service API (docs/reference/operator-service.md)
    SIGNATURE_REQUIRED: bool = Field(default=True, description="0: legacy mode, which accepts any signature and refuses no replay")
    ALLOWED_PROVIDERS: Addresses = Field(default=(), description="Providers that may send jobs; not set: none")
    ALLOWED_ADMINS: Names = Field(default=(), repr=False, description="accepted values of the header Admin; not set: nobody is admin")
    OPERATOR_ADDRESS: str | None = Field(
        default=None, pattern=ADDRESS, description="the address that the API shows; not set: that of OPERATOR_PRIVATE_KEY"
    )
    DEFAULT_NAMESPACE: str | None = Field(default=None, description="environment of a job that names none")
    ALGO_POD_TIMEOUT: int | None = Field(
        default=None, ge=1, le=YEAR, description="seconds that the algorithm of a job from an API may run, besides maxJobDuration"
    )
    C2D_MAX_JOBS_PER_OWNER: int = Field(default=100, ge=1, description="unfinished jobs that one owner may have")
    C2D_STARTS_PER_SECOND: float = Field(
        default=10, gt=0, description="job starts of one owner per second, on average; bursts of ten times as many"
    )
    C2D_REQUESTS_PER_SECOND: float = Field(
        default=2000, gt=0, description="requests of one signer per second and process, on average; bursts of twice as many"
    )
    C2D_NOTIFY_HOSTS: Names = Field(
        default=(), description="the only hosts that may be notified, by http:// as well; not set: any host, by https:// only"
    )
    C2D_NOTIFY_SECONDS: float = Field(default=10, gt=0, le=60, description="seconds that a notification's receiver may take to answer")
    C2D_NOTIFY_ATTEMPTS: int = Field(
        default=16, ge=1, le=100, description="attempts before a notification is given up; 16 attempts take about five hours"
    )

    @field_validator("C2D_DATABASE_URL")
    @classmethod
    def _postgresql(cls, value: str) -> str:
        if not re.fullmatch(r"postgresql(\+psycopg2)?://\S+", value):
            raise ValueError("must be a PostgreSQL URL: postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE")
        return value

    @property
    def address(self) -> str:
        """The operator's Ethereum address, which orders must name as their consumer."""
        from c2d.crypto import signatures

        return signatures.address_of(self.OPERATOR_PRIVATE_KEY)

    @property
    def public_key(self) -> str:
        """The key that others seal secrets to (0x, uncompressed)."""
        return ecies.public_key(self.OPERATOR_PRIVATE_KEY)

    def environment(self, environment_id: str) -> Environment:
        """:raises InvalidSettings: there is no such environment."""
        for env in self.environments:
            if env.id == environment_id:
                return env
        raise InvalidSettings(f"environment: must be one of {', '.join(env.id for env in self.environments)}")

    def may_notify(self, url: str) -> bool:
        """Whether notifications may go to ``url``: to a host in C2D_NOTIFY_HOSTS, or by https if there are none."""
        parts = urlsplit(url)
        if self.C2D_NOTIFY_HOSTS:
            return (parts.hostname or "").lower() in self.C2D_NOTIFY_HOSTS
        return parts.scheme == "https"

    def notes(self) -> list[str]:
        """What a person should know about the installation's settings: those that are set without effect."""
        notes = self.provider.notes()
        if self.DEFAULT_NAMESPACE and self.DEFAULT_NAMESPACE not in [e.id for e in self.environments]:
            notes.append(f"DEFAULT_NAMESPACE: there is no environment {self.DEFAULT_NAMESPACE}; a job that names none is rejected")
        return notes


@functools.cache
def load() -> Settings:
    """The settings of this process (``os.environ``), read once."""
    return read(os.environ)


def read(variables: Mapping[str, str]) -> Settings:
    """The settings in ``variables``, which are ``os.environ`` or the content of an environment file.

    :raises InvalidSettings: names every setting that is missing or invalid.
    """
    values = {name: value for name, value in variables.items() if value.strip()}
    own: dict[str, Any] = {n: values[n] for n in Settings.model_fields if n in values and n not in ("environments", "provider")}
    if not own.setdefault("C2D_DATABASE_URL", _database_url(values)):
        raise InvalidSettings(
            "C2D_DATABASE_URL (or POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER, POSTGRES_PASSWORD): must name the jobs' PostgreSQL"
        )
    environments = _environments(values)
    try:
        provider = ProviderSettings.model_validate({n: values[n] for n in ProviderSettings.model_fields if n in values})
        settings = Settings.model_validate({**own, "environments": environments, "provider": provider})
    except ValidationError as e:
        sentences = explain(e)
        raise InvalidSettings(sentences if "C2D_ENVIRONMENTS" in values else _with_variables_names(sentences)) from None
    _check_environments(settings)
    return settings


def _environments(variables: Mapping[str, str]) -> list[Any]:
    """The values of each environment: those in the file, or a single one from the variables."""
    shared = {n: variables[n] for n in Environment.model_fields if n in variables and n != "id"}
    if file := variables.get("C2D_ENVIRONMENTS"):
        return [{**shared, **env} if isinstance(env, dict) else env for env in _from_yaml(file)]
    return [{"id": variables.get("C2D_ENVIRONMENT", "ocean-compute"), **shared}]


def _with_variables_names(sentences: str) -> str:
    """The sentences with the paths of a single environment replaced by the variables that it was made from."""
    return sentences.replace("environments[0].id:", "C2D_ENVIRONMENT:").replace("environments[0].", "").replace("environments[0]: ", "")


def _check_environments(settings: Settings) -> None:
    """:raises InvalidSettings: the environments clash with each other or with the settings of the installation."""
    ids = [env.id for env in settings.environments]
    if len(set(ids)) < len(ids) or not ids:
        raise InvalidSettings("environments: must be one or more, each with its own id")
    if JANITOR in ids:
        raise InvalidSettings(f"C2D_ENVIRONMENT: must not be {JANITOR}, which is the id of the janitor's DAG")
    for env in settings.environments:
        for name, url in (("NOTIFY_START_URL", env.NOTIFY_START_URL), ("NOTIFY_STOP_URL", env.NOTIFY_STOP_URL)):
            if url and not settings.may_notify(url):
                raise InvalidSettings(f"{name} of environment {env.id}: must be https://, or its host must be in C2D_NOTIFY_HOSTS")
        if env.access_control == "datatoken" and not settings.provider.PROVIDER_PRIVATE_KEY:
            raise InvalidSettings(
                f"access_control of environment {env.id}: datatoken needs PROVIDER_PRIVATE_KEY, which decrypts the assets' files"
            )


def _database_url(variables: Mapping[str, str]) -> str:
    """operator-engine's POSTGRES_* as one URL; "" unless all are set."""
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
        raise InvalidSettings("C2D_ENVIRONMENTS: must have one key, environments, with a list")
    return content["environments"]
