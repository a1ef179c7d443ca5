from __future__ import annotations

from pathlib import Path

import pytest

from c2d.crypto import ecies
from c2d.errors import InvalidSettings
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings, read
from c2d.settings.provider import ProviderSettings

KEY = ecies.new_private_key()
BASE = {"OPERATOR_PRIVATE_KEY": KEY, "C2D_DATABASE_URL": "postgresql+psycopg2://u:DBSECRET@h/d"}

# The environment file of an operator-engine deployment, with every name that its README documents.
OPERATOR_ENGINE = {
    "OPERATOR_PRIVATE_KEY": KEY,
    "POSTGRES_HOST": "db",
    "POSTGRES_PORT": "5433",
    "POSTGRES_DB": "jobs",
    "POSTGRES_USER": "op",
    "POSTGRES_PASSWORD": "p@ss/word",
    "nCPU": "0.5",
    "cpuType": "AMD",
    "nGPU": "1",
    "gpuRam": "8",
    "gpuType": "A100",
    "ramGB": "2",
    "diskGB": "4",
    "priceMinute": "0.1",
    "description": "for tests",
    "maxJobs": "3",
    "maxJobDuration": "600",
    "STORAGE_EXPIRY": "24",
    "IPFS_TYPE": "CLIENT",
    "IPFS_OUTPUT": "http://ipfs.example:5001",
    "IPFS_ADMINLOGS": "http://ipfs.example:5001",
    "IPFS_OUTPUT_PREFIX": "ipfs://",
    "IPFS_ADMINLOGS_PREFIX": "ipfs://",
    "IPFS_EXPIRY_TIME": "3600",
    "IPFS_API_KEY": "k",
    "IPFS_API_CLIENT": "c",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_REGION": "r",
    "AWS_BUCKET_OUTPUT": "o",
    "AWS_BUCKET_ADMINLOGS": "l",
    "STORAGE_CLASS": "standard",
    "NOTIFY_START_URL": "https://n.example/start",
    "NOTIFY_STOP_URL": "https://n.example/stop",
    "SERVICE_ACCOUNT": "default",
    "NODE_SELECTOR": "compute",
    "PULL_SECRET": "registry",
    "PULL_POLICY": "Always",
    "FILTERING_CONTAINER": "registry.example/filter:2",
    "LOG_CFG": "",
    "LOG_LEVEL": "DEBUG",
}


def test_an_operator_engine_environment_file_gives_one_environment() -> None:
    loaded = read(OPERATOR_ENGINE)
    (env,) = loaded.environments
    assert (env.id, float(env.nCPU), env.nGPU, env.maxJobs, env.maxJobDuration) == ("ocean-compute", 0.5, 1, 3, 600)
    assert env.FILTERING_CONTAINER == "registry.example/filter:2" and env.NODE_SELECTOR == "compute"
    assert loaded.C2D_DATABASE_URL == "postgresql+psycopg2://op:p%40ss%2Fword@db:5433/jobs"


def test_an_empty_variable_counts_as_not_set() -> None:
    names = {
        *Settings.model_fields,
        *Environment.model_fields,
        *ProviderSettings.model_fields,
        *OPERATOR_ENGINE,
    }
    assert read(dict.fromkeys(names, "") | BASE) == read(BASE)
    without_url = {**OPERATOR_ENGINE, "C2D_DATABASE_URL": " "}
    assert read(without_url) == read(OPERATOR_ENGINE)


def test_a_default_environment_that_does_not_exist_is_noted() -> None:
    assert read({**BASE, "DEFAULT_NAMESPACE": "ocean-compute"}).notes() == []
    assert read({**BASE, "DEFAULT_NAMESPACE": "other"}).notes() == [
        "DEFAULT_NAMESPACE: there is no environment other; a job that names none is rejected"
    ]


def test_a_setting_without_effect_is_noted() -> None:
    note = "LOG_CFG is set but has no effect: Airflow's logging configuration applies"
    assert read({**OPERATOR_ENGINE, "LOG_CFG": "/etc/logging.cfg"}).environments[0].notes() == [note]
    assert read(OPERATOR_ENGINE).environments[0].notes() == []


@pytest.mark.parametrize("model", [Environment, Settings, ProviderSettings])
def test_every_setting_has_a_description(model: type[Environment | Settings | ProviderSettings]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_the_defaults_are_those_of_operator_engine() -> None:
    (env,) = read(BASE).environments
    assert (env.nCPU, env.nGPU, env.ramGB, env.diskGB, env.maxJobDuration, env.priceMinute) == (1, 0, 1, 1, 60, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"OPERATOR_PRIVATE_KEY": "SECRETKEY"}, "OPERATOR_PRIVATE_KEY: must"),
        ({"nCPU": "many"}, "nCPU: "),
        ({"nCPU": "-1"}, "nCPU: "),
        ({"maxJobs": "1.5"}, "maxJobs: "),
        ({"IPFS_TYPE": "S3"}, "IPFS_TYPE: "),
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: must both be set"),
        ({"C2D_S3_KMS_KEY_ID": "k", "C2D_S3_ENCRYPTION": "AES256"}, "C2D_S3_KMS_KEY_ID: needs C2D_S3_ENCRYPTION"),
        ({"C2D_IPFS_ADD_AUTH": "SECRET"}, "C2D_IPFS_ADD_AUTH: "),
        ({"IPFS_TYPE": "CLUSTER", "IPFS_OUTPUT": "http://c.example"}, "C2D_IPFS_ADD_URL: must name a kubo"),
        ({"PULL_POLICY": "Sometimes"}, "PULL_POLICY: "),
        ({"NOTIFY_STOP_URL": "ftp://x"}, "NOTIFY_STOP_URL: must be an http"),
        ({"FILTERING_CONTAINER": "a b"}, "FILTERING_CONTAINER: "),
        ({"C2D_NAMESPACE": "Not A Name"}, "C2D_NAMESPACE: "),
        ({"OPERATOR_PRIVATE_KEY": "0x" + "0" * 64}, "OPERATOR_PRIVATE_KEY: must be a secp256k1 private key"),
        ({"OPERATOR_PRIVATE_KEY": "f" * 64}, "OPERATOR_PRIVATE_KEY: must be a secp256k1 private key"),
        ({"PROVIDER_PRIVATE_KEY": "0x" + "0" * 64}, "PROVIDER_PRIVATE_KEY[0]: must be a secp256k1 private key"),
        ({"nCPU": "0.0001"}, "nCPU: input should be greater than or equal to 0.001"),
        ({"ramGB": "1e-9"}, "ramGB: input should be greater than or equal to 0.01"),
        ({"STORAGE_CLASS": "Fast SSD"}, "STORAGE_CLASS: must match"),
        ({"SERVICE_ACCOUNT": "a/b"}, "SERVICE_ACCOUNT: must match"),
        ({"NODE_SELECTOR": "a b"}, "NODE_SELECTOR: must match"),
        ({"PULL_SECRET": "{}"}, "PULL_SECRET: must match"),
        ({"C2D_STAGE_IMAGE": "a b"}, "C2D_STAGE_IMAGE: must match"),
        ({"NOTIFY_STOP_URL": "https://n.example\n"}, "NOTIFY_STOP_URL: must be an http"),
        ({"C2D_ENVIRONMENT": "../x"}, "C2D_ENVIRONMENT: must match"),
        ({"C2D_ENVIRONMENT": "c2d_janitor"}, "C2D_ENVIRONMENT: must not be c2d_janitor"),
        ({"C2D_DATABASE_URL": "mysql://u:DBSECRET@h/d"}, "C2D_DATABASE_URL: must be a PostgreSQL URL"),
        ({**OPERATOR_ENGINE, "C2D_DATABASE_URL": "", "POSTGRES_PORT": "SECRET"}, "POSTGRES_PORT: must be a port"),
        ({"C2D_DATABASE_URL": ""}, "C2D_DATABASE_URL (or POSTGRES_HOST"),
        ({"C2D_ENVIRONMENTS": "/no/such/file"}, "C2D_ENVIRONMENTS: cannot be read"),
    ],
)
def test_an_invalid_setting_is_named_and_its_value_is_not_shown(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidSettings) as e:
        read({**BASE, **changes})
    assert str(e.value).startswith(sentence) and "tuple" not in str(e.value)
    assert "SECRET" not in str(e.value).replace("AWS_SECRET", "").replace("PULL_SECRET", "")


def test_an_invalid_environment_is_not_reported_as_missing_as_well() -> None:
    with pytest.raises(InvalidSettings) as e:
        read({**BASE, "nCPU": "-1"})
    assert str(e.value) == "nCPU: input should be greater than or equal to 0.001"


def test_ordered_assets_need_the_key_that_decrypts_their_files() -> None:
    with pytest.raises(InvalidSettings, match="access_control of environment ocean-compute: datatoken needs PROVIDER_PRIVATE_KEY"):
        read({**BASE, "access_control": "datatoken"})
    read({**BASE, "access_control": "datatoken", "PROVIDER_PRIVATE_KEY": ecies.new_private_key()})


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(InvalidSettings, match="OPERATOR_PRIVATE_KEY: is required"):
        read({"C2D_DATABASE_URL": "postgresql://x"})


def test_the_environments_of_a_yaml_file_share_what_the_variables_set(tmp_path: Path) -> None:
    file = tmp_path / "environments.yaml"
    file.write_text("environments:\n- {id: small, ramGB: 2}\n- {id: large, nCPU: 8, maxJobs: 9}\n")
    small, large = read({**BASE, "C2D_ENVIRONMENTS": str(file), "maxJobs": "4"}).environments
    assert (small.id, small.maxJobs, small.ramGB, large.nCPU, large.maxJobs) == ("small", 4, 2, 8, 9)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("environments: [{id: a, nosuch: 1}]", "environments[0].nosuch: is not a known field"),
        ("environments: [{id: a}, {id: a}]", "environments: must be one or more, each with its own id"),
        ("environments: [5]", "environments[0]: "),
        ("environments: []", "environments: "),
        ("a: 1", "must have one key"),
        ("{", "must be valid YAML"),
    ],
)
def test_an_invalid_yaml_file_is_rejected_with_the_reason(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "environments.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as e:
        read({**BASE, "C2D_ENVIRONMENTS": str(file)})
    assert sentence in str(e.value)


def test_the_text_of_settings_has_no_secrets() -> None:
    text = repr(read({**BASE, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "AWSSECRET"}))
    assert KEY not in text and "DBSECRET" not in text and "AWSSECRET" not in text
