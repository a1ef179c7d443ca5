from __future__ import annotations

from typing import Any

import pytest

from c2d.api.common.job_fields import algorithm_conf, files_conf, parameters, remote_conf, run_seconds, whole_number
from c2d.errors import InvalidJob
from c2d.settings.installation import Settings, read
from tests.unit.settings.test_installation import BASE

CONTAINER = {"image": "python", "tag": "3", "entrypoint": "python3 $ALGO", "checksum": "", "other": "x"}
KEPT = {"image": "python", "tag": "3", "entrypoint": "python3 $ALGO"}


@pytest.mark.parametrize(
    ("algorithm", "conf"),
    [
        ({}, {}),
        ({"id": "did:op:a", "rawcode": "print('hello')"}, {"id": "did:op:a", "rawcode": "print('hello')"}),
        ({"rawcode": "0123456789", "url": "https://a"}, {"files": [{"url": "https://a"}]}),
        ({"rawcode": "", "url": "", "remote": {"txId": "0x1"}}, {"remote": {"txId": "0x1"}}),
        ({"remote": {"unknown": 1}}, {}),
        ({"algocustomdata": '{"k": 1}'}, {"algocustomdata": {"k": 1}}),
    ],
)
def test_an_algorithm_comes_from_its_code_or_its_files_or_its_order(algorithm: dict[str, Any], conf: dict[str, Any]) -> None:
    assert algorithm_conf({**algorithm, "container": CONTAINER}) == {"container": KEPT, **conf}


def test_files_are_one_url_or_several_with_or_without_headers() -> None:
    assert files_conf("", "f") == []
    assert files_conf("https://a", "f") == [{"url": "https://a"}]
    assert files_conf(["https://a", {"url": "https://b", "method": "GET"}], "f") == [
        {"url": "https://a"},
        {"url": "https://b", "method": "GET"},
    ]
    with pytest.raises(InvalidJob, match=r"^f\[1\]: must be an object$"):
        files_conf(["https://a", 5], "f")


def test_an_order_has_its_userdata_in_either_spelling() -> None:
    for name in ("userdata", "userData"):
        assert remote_conf({"txId": "0x1", name: '{"a": 1}'}, "r") == {"txId": "0x1", "userdata": {"a": 1}}
    assert remote_conf(None, "r") == {}


@pytest.mark.parametrize(("value", "result"), [(None, {}), ("", {}), ({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1})])
def test_parameters_are_an_object_or_its_json_text(value: Any, result: dict[str, Any]) -> None:
    assert parameters(value, "p") == result


@pytest.mark.parametrize("value", [" ", "[1]", [1], 5])
def test_parameters_of_another_kind_are_refused(value: Any) -> None:
    with pytest.raises(InvalidJob, match=r"^p: must be an object$"):
        parameters(value, "p")


def test_text_that_is_not_json_is_not_an_object() -> None:
    with pytest.raises(InvalidJob, match=r"^p: must be a JSON object$"):
        parameters("{", "p")


@pytest.mark.parametrize(("value", "number"), [(None, None), ("", None), ("5", 5), (5.0, 5), (-1, -1)])
def test_whole_numbers_may_be_text(value: Any, number: int | None) -> None:
    assert whole_number(value, "n") == number


@pytest.mark.parametrize("value", [True, 1.5, "x", [], float("inf"), float("nan")])
def test_anything_else_is_not_a_whole_number(value: Any) -> None:
    with pytest.raises(InvalidJob, match=r"^n: must be a whole number$"):
        whole_number(value, "n")


def settings(**variables: str) -> Settings:
    return read({**BASE, "maxJobDuration": "300", **variables})


@pytest.mark.parametrize(("valid_until", "seconds"), [(None, 300), (0, 300), (1100, 100), ("1100", 100), (9000, 300)])
def test_an_algorithm_runs_for_the_paid_time_within_the_environments_limit(valid_until: Any, seconds: int) -> None:
    loaded = settings()
    assert run_seconds(valid_until, loaded.environments[0], loaded, now=1000) == seconds


def test_the_pod_timeout_limits_the_run_as_well() -> None:
    loaded = settings(ALGO_POD_TIMEOUT="60")
    assert run_seconds(None, loaded.environments[0], loaded) == 60


def test_paid_time_that_is_over_is_refused() -> None:
    loaded = settings()
    with pytest.raises(InvalidJob, match="validUntil: must be in the future"):
        run_seconds(1000, loaded.environments[0], loaded, now=1000)
