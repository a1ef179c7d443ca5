from __future__ import annotations

import json
import subprocess
import sys

import pytest

from c2d.api.common.untrusted_json import MAX_DEPTH, parse_json


@pytest.mark.parametrize("value", [{}, [], 'a[{"\\', {"a": ['["[[[', "\\\\", {"b": "}]"}]}, 1.5, None])
def test_valid_json_is_parsed(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("body", [b"", b"{", b'"', b'{"a":"\\', b"\xff", b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)])
def test_invalid_or_deep_json_raises_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_json(body)


def test_brackets_in_strings_and_beside_each_other_add_no_depth() -> None:
    assert parse_json(b'["' + b"[" * 1000 + b'"]') == ["[" * 1000]
    assert parse_json(b"[" + b"[]," * 1000 + b"[]]") == [[]] * 1001


@pytest.mark.parametrize("body", ['b"[" * 2000000', "b'{\"a\":' * 300000", 'b"[" * 100000 + b"]" * 100000'])
def test_a_deep_body_does_not_crash_a_process_that_has_loaded_web3(body: str) -> None:
    code = f"""
import sys, threading, eth_account
from c2d.api.common.untrusted_json import parse_json
assert sys.getrecursionlimit() >= 100000
def read():
    try: parse_json({body})
    except ValueError: print("refused")
t = threading.Thread(target=read); t.start(); t.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_a_large_flat_body_is_parsed() -> None:
    assert len(parse_json(b"[" + b'{"a":"b"},' * 190_000 + b"{}]")) == 190_001
