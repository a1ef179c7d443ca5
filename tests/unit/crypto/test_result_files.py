"""The format of docs/reference/encryption.md. The vector was made by Google's Tink, which also read files of ours (all sizes of SIZES)."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from c2d.crypto import ecies, result_files
from c2d.crypto.result_files import HEADER, PLAIN, SEGMENT, Decryption, Encrypted
from c2d.errors import TamperedResult

KEY = bytes(range(32))
PATH = "data/outputs/result.csv"
CONTENT = b"id,score\n1,0.5\n"
BY_TINK = bytes.fromhex(
    "2828f6b759482366b15f0a2f23a0c5560c06dcb18944f4e9cc28d29b069cc6c4fbe20af7d43ae581"
    "c0664133692f61729be1b2cf58ca085bb9a0dcd84598b4c936fff8c6b7c10b"
)
BY_US = bytes.fromhex(
    "2850b9941ebdb8ee12f44b65758c6c38b77ee91611beaa533b8e3f91ef2ee846154369d7e59abf0f"
    "a8e557ac87dd5b00be245a3d56840c5fad8144c3c9254314cb72cca32762fd"
)
FIRST = PLAIN - HEADER  # content in the first segment
SIZES = [0, 1, 100, FIRST - 1, FIRST, FIRST + 1, FIRST + PLAIN, FIRST + PLAIN + 1, 3 * SEGMENT + 7]


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def encrypted(data: bytes, path: str = PATH, key: bytes = KEY, prefix: bytes = b"") -> Encrypted:
    return Encrypted(lambda offset, length: data[offset : offset + length], len(data), hashlib.sha256(data).hexdigest(), key, path, prefix)


def stored(data: bytes, path: str = PATH, key: bytes = KEY) -> bytes:
    file = encrypted(data, path, key)
    return file.read(0, file.size)


def decrypted(file: bytes, size: int | None = None, path: str = PATH, key: bytes = KEY, piece: int = 70_000) -> bytes:
    size = result_files.content_size(len(file)) if size is None else size
    decryption = Decryption(key, path, file[:HEADER], size)
    out = b"".join(b"".join(decryption.feed(file[at : at + piece])) for at in range(0, len(file), piece))
    decryption.end()
    return out


def test_files_match_the_vectors_of_tink_and_of_ours() -> None:
    assert stored(CONTENT) == BY_US
    assert decrypted(BY_US) == decrypted(BY_TINK) == CONTENT


@pytest.mark.parametrize("size", SIZES)
def test_a_file_decrypts_to_its_content_and_both_sizes_can_be_computed(size: int) -> None:
    data = content(size)
    file = stored(data)
    assert len(file) == result_files.stored_size(size)
    assert result_files.content_size(len(file)) == size
    assert decrypted(file) == data


def test_any_part_of_a_file_can_be_produced_repeatedly() -> None:
    data, prefix = content(3 * SEGMENT + 7), b'{"c2d": "..."}\n'
    whole = encrypted(data, prefix=prefix).read(0, 10 * SEGMENT)
    assert whole == prefix + stored(data)
    chance = random.Random(2)
    again = encrypted(data, prefix=prefix)
    assert again.size == len(whole)
    for _ in range(100):
        offset, length = chance.randrange(len(whole)), chance.randrange(2 * SEGMENT)
        assert again.read(offset, length) == whole[offset : offset + length]
    assert again.read(len(whole), 1) == b""


def test_any_part_of_the_content_can_be_read_from_its_segments_alone() -> None:
    data = content(3 * SEGMENT + 7)
    file, chance = stored(data), random.Random(3)
    edges = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + PLAIN, len(data) - 1]
    parts = [(a, b) for a in edges for b in [*edges, len(data)] if a < b]
    parts += [tuple(sorted(chance.sample(range(len(data)), 2))) for _ in range(50)]
    header = result_files.header_for(KEY, PATH, hashlib.sha256(data).hexdigest())
    for first, last in parts:
        part = Decryption(KEY, PATH, header, len(data), first, last)
        assert part.length < last - first + 2 * SEGMENT
        decrypted_part = b"".join(part.feed(file[part.offset : part.offset + part.length]))
        part.end()
        assert decrypted_part == data[first:last]


@pytest.mark.parametrize("at", [0, 5, 35, HEADER, HEADER + 5, SEGMENT - 1, SEGMENT, 2 * SEGMENT + 3, -1])
def test_a_changed_byte_is_detected(at: int) -> None:
    data = content(3 * SEGMENT)
    file = bytearray(stored(data))
    file[at] ^= 1
    with pytest.raises(TamperedResult):
        decrypted(bytes(file))


@pytest.mark.parametrize("length", [0, 10, HEADER, SEGMENT - 1, SEGMENT, 2 * SEGMENT, 3 * SEGMENT + 1])
def test_a_truncated_file_is_detected(length: int) -> None:
    """Whether its size is known, from the server's manifest, or computed from the file itself, on a consumer's disk."""
    data = content(3 * SEGMENT)
    cut = stored(data)[:length]
    for size in (len(data), None):
        with pytest.raises(TamperedResult):
            decrypted(cut, size)


def test_appended_bytes_are_detected() -> None:
    data = content(100)
    for more in (b"x", b"x" * 16, b"x" * SEGMENT):
        for size in (len(data), None):
            with pytest.raises(TamperedResult):
                decrypted(stored(data) + more, size)


def test_swapped_segments_are_detected() -> None:
    file = stored(content(4 * SEGMENT))
    pieces = [file[at : at + SEGMENT] for at in range(0, len(file), SEGMENT)]
    pieces[1], pieces[2] = pieces[2], pieces[1]
    with pytest.raises(TamperedResult):
        decrypted(b"".join(pieces))


def test_swapped_files_are_detected() -> None:
    """Of the same size: another content, another path, both, and another job's key."""
    a, b = content(SEGMENT * 2, 1), content(SEGMENT * 2, 2)
    header = result_files.header_for(KEY, "a", hashlib.sha256(a).hexdigest())
    for file in (stored(b, "b"), stored(a, "b"), stored(b, "a"), stored(a, "a", bytes(32))):
        for first, last in ((0, 10), (SEGMENT + 10, SEGMENT + 20)):  # also without reading the beginning
            part = Decryption(KEY, "a", header, len(a), first, last)
            with pytest.raises(TamperedResult):
                list(part.feed(file[part.offset : part.offset + part.length]))


def test_a_wrong_key_is_detected() -> None:
    with pytest.raises(TamperedResult):
        decrypted(stored(CONTENT), key=bytes(32))


def test_no_content_of_a_changed_segment_is_returned() -> None:
    data = content(2 * SEGMENT)
    file = bytearray(stored(data))
    file[SEGMENT + 100] ^= 1
    decryption, returned = Decryption(KEY, PATH, bytes(file[:HEADER]), len(data)), b""
    with pytest.raises(TamperedResult):
        for piece in decryption.feed(bytes(file)):
            returned += piece
    assert returned == data[:FIRST]


def test_different_content_gets_a_different_file_key() -> None:
    """No nonce is used twice: different content at the same path gets a different salt."""
    one, other = stored(b"a" * 50), stored(b"b" * 50)
    assert one[:HEADER] != other[:HEADER]
    assert stored(b"a" * 50, "x")[:HEADER] != one[:HEADER]


def test_the_path_in_a_prefix_is_readable_with_the_key_only() -> None:
    prefix = result_files.prefix_for(KEY, "0xabcd", "data/outputs/ä b.csv")
    assert prefix.count(b"\n") == 1 and "ä".encode() not in prefix and b"outputs" not in prefix
    sealed_key, path = result_files.read_prefix(prefix)
    assert sealed_key == "0xabcd"
    assert result_files.open_path(KEY, path) == "data/outputs/ä b.csv"
    for wrong_key, wrong_path in ((bytes(32), path), (KEY, path[:-2] + "00"), (KEY, "zz")):
        with pytest.raises(TamperedResult):
            result_files.open_path(wrong_key, wrong_path)


@pytest.mark.parametrize("line", [b"", b"\n", b"{}\n", b"[]\n", b'{"c2d": 1, "key": "", "path": ""}\n', b"[" * 200_000, b"\xff\xfe\n"])
def test_a_line_that_is_not_a_prefix_is_rejected(line: bytes) -> None:
    with pytest.raises(ValueError, match="is not a result"):
        result_files.read_prefix(line)


def test_the_documented_reader_reads_a_file_for_the_consumer(tmp_path: Path) -> None:
    """A second implementation, written from the format alone; and the documented vectors are those of this file."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "encryption.md").read_text()
    private_key, data = ecies.new_private_key(), content(2 * SEGMENT)
    prefix = result_files.prefix_for(KEY, ecies.seal(ecies.public_key(private_key), KEY.hex()), PATH)
    file = encrypted(data, prefix=prefix)
    (tmp_path / "reader.py").write_text(page.split("```python\n")[1].split("```")[0])
    (tmp_path / "result.csv.c2d").write_bytes(file.read(0, file.size))
    command = [sys.executable, "reader.py", "result.csv.c2d", "result.csv"]
    done = subprocess.run(command, cwd=tmp_path, env={"CONSUMER_PRIVATE_KEY": private_key}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (PATH + "\n", "")
    assert (tmp_path / "result.csv").read_bytes() == data
    shown = page.replace("\n    ", "")
    assert BY_US.hex() in shown and BY_TINK.hex() in shown
