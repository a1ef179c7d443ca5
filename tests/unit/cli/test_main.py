from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from c2d.cli import main
from c2d.crypto import ecies
from c2d.jobs.model import Job
from c2d.settings import installation
from tests.unit.examples import job


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    installation.load.cache_clear()
    for name in ("OPERATOR_PRIVATE_KEY", "C2D_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def run(monkeypatch: pytest.MonkeyPatch, text: str, *argv: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return main.main(list(argv))


def test_seal_prints_the_job_with_its_secrets_sealed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    key = ecies.new_private_key()
    assert run(monkeypatch, json.dumps(job()), "seal", "--public-key", ecies.public_key(key), "--job", "j1") == 0
    printed = capsys.readouterr().out
    assert "SECRET" not in printed
    assert Job.parse(json.loads(printed), "x").opened(key, "j1") == Job.parse(job(), "x")


@pytest.mark.parametrize(
    ("text", "argv", "sentence"),
    [
        ("{", ["seal", "--public-key", "0x"], "stdin: must be a job as JSON"),
        (json.dumps(job(owner="me")), ["seal", "--public-key", "0x"], "owner: must be 0x"),
        (json.dumps(job()), ["seal"], "--public-key: give the operator's public key"),
        (json.dumps(job()), ["seal", "--public-key", "0x1234"], "--public-key: must be"),
        ("", ["publickey"], "C2D_DATABASE_URL"),
    ],
)
def test_an_error_is_one_sentence_that_names_the_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, argv: list[str], sentence: str
) -> None:
    assert run(monkeypatch, text, *argv) == 1
    assert sentence in capsys.readouterr().err


def test_keygen_prints_a_usable_private_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["keygen"]) == 0
    key = capsys.readouterr().out.strip()
    assert ecies.unseal(key, ecies.seal(ecies.public_key(key), {"a": 1}), "j") == {"a": 1}


def test_check_names_a_setting_that_has_no_effect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {
        "OPERATOR_PRIVATE_KEY": ecies.new_private_key(),
        "C2D_DATABASE_URL": "postgresql://x",
        "LOG_CFG": "/etc/logging.cfg",
    }.items():
        monkeypatch.setenv(name, value)
    assert main.main(["check"]) == 0
    assert "LOG_CFG is set but has no effect: Airflow's logging configuration applies" in capsys.readouterr().out


def test_check_reports_an_ipfs_account_that_may_do_more_than_add(
    kubo: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"OPERATOR_PRIVATE_KEY": ecies.new_private_key(), "C2D_DATABASE_URL": "postgresql://x", **kubo.settings()}
    variables["C2D_IPFS_ADD_AUTH"] = f"bearer:{kubo.operator_token}"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "C2D_IPFS_ADD_AUTH: at the IPFS API a pod could do more than add" in printed and kubo.operator_token not in printed


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("migrate", "check", "networkpolicy", "keygen", "publickey", "seal", "republish", "results"):
        with pytest.raises(SystemExit) as e:
            main.main([command, "--help"])
        assert e.value.code == 0
        usage, purpose, *_ = capsys.readouterr().out.split("\n\n")
        assert usage.startswith(f"usage: c2d {command}") and purpose.endswith(".")
