"""The rules in a DDO: checksums, containers, consumer parameters. Trust lists and credentials are tested in test_decision.py."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.market import asset_rules


def test_the_container_checksum_is_that_of_oceans_provider() -> None:
    checksum = "sha256:8221d20c1c16491d7d56b9657ea09082c0ee4a8ab1a6621fa720da58b09580e4"
    assert asset_rules.container_checksum("node $ALGO", checksum) == "a8f87b1d14fd8304fb7825da73790e5de47b218ff38e6d94b12fca75f0a8a48a"


def test_the_files_checksum_concatenates_the_files_checksums() -> None:
    assert asset_rules.files_checksum(["AA", "bb"]) == "aabb"


@pytest.mark.parametrize(
    ("container", "key"),
    [
        (None, "missing_entrypoint_image_checksum"),
        ({}, "missing_entrypoint_image_checksum"),
        ({"entrypoint": "x", "image": "y"}, "missing_entrypoint_image_checksum"),
        ({"entrypoint": "x", "image": "y", "checksum": "44e1"}, "checksum_prefix"),
        ({"entrypoint": "x", "image": "y", "checksum": "sha256:1"}, None),
    ],
)
def test_a_container_needs_an_entrypoint_an_image_and_a_sha256_checksum(container: Any, key: str | None) -> None:
    assert asset_rules.why_bad_container(container) == key


SCHEMA: list[dict[str, Any]] = [
    {"name": "n", "type": "number", "required": True},
    {"name": "b", "type": "boolean", "required": False},
    {"name": "t", "type": "text", "required": True, "default": "x"},
    {"name": "s", "type": "select", "required": False, "options": [{"nodejs": "NodeJS"}, {"python": "Python"}]},
    {"name": "old", "type": "select", "options": '[{"a": "A"}]'},
]


@pytest.mark.parametrize(
    ("userdata", "fault"),
    [
        ({"n": 1}, None),
        ({"n": "1.5", "b": "true", "t": "y", "s": "python", "old": "a"}, None),
        (None, "userdata.n: is required"),
        ({}, "userdata.n: is required"),
        ({"n": ""}, "userdata.n: is required"),
        ({"n": "many"}, "userdata.n: must be a number"),
        ({"n": True}, "userdata.n: must be a number"),
        ({"n": [1]}, "userdata.n: must be a number"),
        ({"n": 1, "b": "yes"}, "userdata.b: must be true or false"),
        ({"n": 1, "t": {"x": 1}}, "userdata.t: must be text"),
        ({"n": 1, "s": "NodeJS"}, "userdata.s: must be one of nodejs, python"),
        ({"n": 1, "old": "b"}, "userdata.old: must be one of a"),
        ({"n": 1, "more": 1}, "userdata.more: is not a parameter of this asset"),
    ],
)
def test_parameters_must_match_the_publishers_schema(userdata: Any, fault: str | None) -> None:
    assert asset_rules.why_bad_userdata(userdata, SCHEMA) == fault


def test_without_a_schema_any_parameters_are_accepted() -> None:
    assert asset_rules.why_bad_userdata({"x": [1]}, ()) is None
