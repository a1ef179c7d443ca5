from __future__ import annotations

import json
import subprocess
import sys

import pytest

from c2d.api.common.untrusted_json import MAX_DEPTH, parse_json


@pytest.mark.parametrize("value", [{}, [], 'a[{"\\', {"a": ['["[[[', "\\\\", {"b": "}]"}]}, 1.5, None])
def test_json_is_read(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("body", [b"", b"{", b'"', b'{"a":"\\', b"\xff", b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_json(body)


def test_brackets_in_texts_do_not_count() -> None:
    assert parse_json(b'["' + b"[" * 1000 + b'"]') == ["[" * 1000]
    assert parse_json(b"[" + b"[]," * 1000 + b"[]]") == [[]] * 1001


@pytest.mark.parametrize("body", ['b"[" * 2000000', "b'{\"a\":' * 300000", 'b"[" * 100000 + b"]" * 100000'])
def test_a_deep_body_does_not_end_the_process_where_web3_is_loaded(body: str) -> None:
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


def test_a_large_flat_body_is_read() -> None:
    assert len(parse_json(b"[" + b'{"a":"b"},' * 190_000 + b"{}]")) == 190_001
