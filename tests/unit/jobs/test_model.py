from __future__ import annotations

import json

import jsonschema
import pytest

from c2d.contract import RESERVED_HEADERS
from c2d.crypto import ecies
from c2d.errors import InvalidJob
from c2d.jobs.assets import CODE_BYTES
from c2d.jobs.model import Job
from c2d.jobs.params import params_schema
from c2d.pods.stage_input import configure_input, secret_content
from c2d.settings.environment import Environment
from tests.unit.examples import OWNER, REMOTE, SECRET_URL, job, remote_job

KEY = ecies.new_private_key()
PUBLIC = ecies.public_key(KEY)
ENV = Environment(id="here")

INVALID = {
    "unknown key": ({"nosuch": 1}, "nosuch: is not a known field"),
    "unknown key inside": ({"algorithm.container.nosuch": 1}, "algorithm.container.nosuch: is not a known field"),
    "no algorithm": ({"algorithm": ...}, "algorithm: is required"),
    "no owner": ({"owner": ...}, "owner: is required"),
    "owner is not an address": ({"owner": "me"}, "owner: must be 0x followed by 40 hex digits"),
    "file scheme": ({"inputs.0.files.0.url": "file:///etc/passwd"}, "inputs[0].files[0].url: must begin with http:// or https://"),
    "ftp scheme": ({"inputs.0.files.0.url": "ftp://h/x"}, "inputs[0].files[0].url: must begin with http:// or https://"),
    "no host": ({"inputs.0.files.0.url": "http:///x"}, "inputs[0].files[0].url: must be a URL with a host"),
    "port is text": ({"inputs.0.files.0.url": "http://h:port/"}, "inputs[0].files[0].url: must be a URL with a host"),
    "blank in URL": ({"inputs.0.files.0.url": "http://h/a b"}, "inputs[0].files[0].url: must be a URL with a host"),
    "password in URL": ({"inputs.0.files.0.url": "http://u:p@h/"}, "inputs[0].files[0].url: must not contain a user name or password"),
    "line break in header": (
        {"inputs.0.files.0.headers": {"A": "b\r\nC: d"}},
        "inputs[0].files[0].headers: the value of A must be printable",
    ),
    **{
        f"header {name}": ({"inputs.0.files.0.headers": {name: "x"}}, f"inputs[0].files[0].headers: {name} is set by the transfer")
        for name in ("Host", *sorted(RESERVED_HEADERS))
    },
    "method": ({"inputs.0.files.0.method": "DELETE"}, "inputs[0].files[0].method: input should be 'GET' or 'POST'"),
    "checksum": ({"inputs.0.files.0.checksum": "md5:1"}, "inputs[0].files[0].checksum: "),
    "no files": ({"inputs.0.files": []}, "inputs[0].files: "),
    "traversal in DID": ({"inputs.0.id": "did:op:../../etc"}, "inputs[0].id: must be did:op:"),
    "DID twice": ({"inputs": [{"id": "did:op:aa", "files": [{"url": "http://h/"}]}] * 2}, "inputs must not name the same id twice"),
    "shell in image": ({"algorithm.container.image": "a;rm -rf /"}, "algorithm.container.image: must be an image name"),
    "Jinja in image": ({"algorithm.container.image": "{{ conn.x }}"}, "algorithm.container.image: must be an image name"),
    "Jinja in tag": ({"algorithm.container.tag": "{{ 1 }}"}, "algorithm.container.tag: must be an image tag"),
    "neither tag nor checksum": ({"algorithm.container.tag": ...}, "algorithm.container: must have a tag or a checksum"),
    "image checksum": ({"algorithm.container.checksum": "sha256:xyz"}, "algorithm.container.checksum: must be sha256:"),
    "entrypoint of 1 MB": ({"algorithm.container.entrypoint": "x" * 2**20}, "algorithm.container.entrypoint: "),
    "entrypoint empty": ({"algorithm.container.entrypoint": ""}, "algorithm.container.entrypoint: "),
    "two sources": (
        {"algorithm.files": [{"url": "http://h/a"}]},
        "algorithm: must have at most one of rawcode, files, order and remote",
    ),
    "code too long": ({"algorithm.rawcode": "x" * (CODE_BYTES + 1)}, "algorithm.rawcode: "),
    "code too long in bytes": ({"algorithm.rawcode": "ü" * CODE_BYTES}, "algorithm.rawcode must have at most"),
    "code is not UTF-8": ({"algorithm.rawcode": "\ud800"}, "algorithm.rawcode: must be valid UTF-8"),
    "NUL": ({"algorithm.rawcode": "a\x00b"}, "algorithm.rawcode: must be valid UTF-8 text without NUL"),
    "negative limit": ({"maxJobDuration": -1}, "maxJobDuration: "),
    "huge limit": ({"maxJobDuration": 10**12}, "maxJobDuration: "),
    "limit is text": ({"maxJobDuration": "soon"}, "maxJobDuration: "),
    "another environment": ({"environment": "other"}, "environment: must be here"),
    "secret is a number": ({"secret": 5}, "secret: "),
    "files and remote": ({"inputs.0.remote": REMOTE}, "inputs[0]: must have exactly one of files, order and remote"),
    "neither files nor remote": ({"inputs.0.files": ...}, "inputs[0]: must have exactly one of files, order and remote"),
    "remote without metadataUri": (
        {"inputs.0": {"id": "did:op:aa", "remote": REMOTE}},
        "output.metadataUri is required if an asset has remote",
    ),
    "rawcode and remote": ({"algorithm.remote": REMOTE}, "algorithm: must have at most one of rawcode, files, order and remote"),
    "transaction": (
        {"inputs.0": {"id": "did:op:aa", "remote": {**REMOTE, "txId": "0x12"}}},
        "inputs[0].remote.txId: must be 0x followed by 64 hex digits",
    ),
    "service id": (
        {"inputs.0": {"id": "did:op:aa", "remote": {**REMOTE, "serviceId": "a\nb"}}},
        "inputs[0].remote.serviceId: must be 1 to 256 characters",
    ),
    "unknown key in remote": (
        {"inputs.0": {"id": "did:op:aa", "remote": {**REMOTE, "serviceEndpoint": "http://h"}}},
        "inputs[0].remote.serviceEndpoint: is not a known field",
    ),
    "userdata is text": (
        {"inputs.0": {"id": "did:op:aa", "remote": {**REMOTE, "userdata": "x"}}},
        "inputs[0].remote.userdata: ",
    ),
    "userdata too long": (
        {"inputs.0": {"id": "did:op:aa", "remote": {**REMOTE, "userdata": {"a": "x" * 4096}}}},
        "inputs[0].remote.userdata: must have at most 4096 bytes",
    ),
    "a number that JSON does not have": ({"userdata": {"a": [float("nan")]}}, "userdata.a[0]: must be a finite number"),
    "a number beyond all": ({"algorithm.algocustomdata": {"a": float("inf")}}, "algorithm.algocustomdata.a: must be a finite number"),
    "files without end": (
        {"inputs": [{"id": f"did:op:a{n}", "files": [{"url": "http://h/"}] * 101} for n in range(10)]},
        "inputs and algorithm must have at most 1000 files together",
    ),
    "sealed is not hex": ({"secret": {"sealed": "zz"}}, "secret.sealed: must match"),
}


@pytest.mark.parametrize(("changes", "sentence"), INVALID.values(), ids=INVALID)
def test_an_invalid_job_is_rejected_with_a_sentence_that_names_the_field(changes: dict, sentence: str) -> None:
    with pytest.raises(InvalidJob) as e:
        Job.parse(job(**changes), "here")
    assert sentence in str(e.value)
    assert "TOPSECRET" not in str(e.value)
    assert len(str(e.value)) < 400


@pytest.mark.parametrize("conf", [None, [], "x", 5])
def test_a_conf_that_is_not_an_object_is_rejected(conf: object) -> None:
    with pytest.raises(InvalidJob, match="conf: must be a JSON object"):
        Job.parse(conf, "here")


def test_null_counts_as_absent_because_the_trigger_form_sends_it_for_empty_fields() -> None:
    assert Job.parse(job(agreementId=None, chainId=None, maxJobDuration=None), "here") == Job.parse(job(), "here")


def test_a_sealed_job_shows_no_secret_and_opens_to_the_same_job() -> None:
    clear = Job.parse(job(), "here")
    sealed = clear.sealed(PUBLIC, "job1")
    text = json.dumps(sealed.dump())
    assert not any(s in text for s in ("TOPSECRET", "HEADERSECRET", "JOBSECRET", "data.example"))
    assert Job.parse(sealed.dump(), "here").opened(KEY, "job1") == clear


def test_a_value_sealed_for_one_job_does_not_open_in_another() -> None:
    sealed = Job.parse(job(), "here").sealed(PUBLIC, "job1")
    with pytest.raises(InvalidJob, match=r"secret: was sealed for another job"):
        sealed.opened(KEY, "job2")


def test_a_value_that_was_altered_or_sealed_to_another_operator_is_rejected_with_its_field() -> None:
    with pytest.raises(InvalidJob, match=r"secret: must be sealed to this operator"):
        Job.parse(job(), "here").sealed(ecies.public_key(ecies.new_private_key()), None).opened(KEY, "j")
    good = Job.parse(job(), "here").sealed(PUBLIC, None).dump()
    blob = good["inputs"][0]["files"][0]["sealed"]
    good["inputs"][0]["files"][0]["sealed"] = blob[:-2] + ("00" if blob[-2:] != "00" else "01")
    with pytest.raises(InvalidJob, match=r"inputs\[0\].files\[0\]: must be sealed to this operator"):
        Job.parse(good, "here").opened(KEY, "j")


def test_a_sealed_file_is_validated_like_a_plain_one() -> None:
    conf = job(**{"inputs.0.files.0": {"sealed": ecies.seal(PUBLIC, {"url": "file:///etc/passwd"})}})
    with pytest.raises(InvalidJob, match=r"inputs\[0\].files\[0\].url: must begin with http"):
        Job.parse(conf, "here").opened(KEY, "j")


def test_the_largest_job_fits_into_configures_secret() -> None:
    """A Secret may have 1 MiB. Non-ASCII letters are stored as UTF-8, not as six-character JSON escapes."""
    code = {"algorithm.rawcode": "\u044f" * (CODE_BYTES // 2), "algorithm.algocustomdata": {"a": "x" * (100 * 1024)}}
    largest = Job.parse(job(**code), "here").opened(KEY, "j")
    content = secret_content(configure_input("j", largest, ENV))["stage.json"]
    assert CODE_BYTES < len(content.encode()) < 2**20
    files = [{"url": f"http://h/{'x' * 800}", "headers": {"A": "b"}}] * 998
    for too_much in ({**code, "inputs.0.files": files[:500]}, {"inputs.0.files": files, "algorithm.rawcode": ...}):
        with pytest.raises(InvalidJob, match="job: inputs and algorithm must have at most 819200 bytes as JSON"):
            Job.parse(job(**too_much), "here").opened(KEY, "j")


def test_a_checksum_without_its_algorithm_is_a_sha256() -> None:
    parsed = Job.parse(job(**{"inputs.0.files.0.checksum": "a" * 64}), "here")
    assert parsed.inputs[0].files[0].checksum == "sha256:" + "a" * 64  # type: ignore[union-attr]


def test_assets_can_be_named_by_their_orders() -> None:
    conf = remote_job()
    conf["algorithm"]["remote"] = {**REMOTE, "serviceEndpoint": "http://provider", "userdata": {"k": 1}}
    parsed = Job.parse(conf, "here")
    assert [did for did, _ in parsed.remotes] == ["did:op:aa", "did:op:cc"]
    assert parsed.sealed(PUBLIC, "j").opened(KEY, "j") == parsed == Job.parse(parsed.dump(), "here")
    for name, field in params_schema().items():
        field.pop("required")
        if name in conf:
            jsonschema.validate(conf[name], field)


def test_an_ordered_algorithm_needs_an_id() -> None:
    conf = remote_job()
    del conf["algorithm"]["id"]
    with pytest.raises(InvalidJob, match="algorithm: must have an id if it has order or remote"):
        Job.parse(conf, "here")


def test_the_image_is_referred_to_by_digest_if_there_is_one() -> None:
    digest = "sha256:" + "0" * 64
    assert Job.parse(job(**{"algorithm.container.checksum": digest}), "x").algorithm.container.reference == f"c2d.test/python-data@{digest}"
    assert Job.parse(job(), "x").algorithm.container.reference == "c2d.test/python-data:1"


def test_owner_and_urls_are_parsed_unchanged() -> None:
    parsed = Job.parse(job(), "x")
    assert parsed.owner == OWNER and parsed.inputs[0].files[0].url == SECRET_URL  # type: ignore[union-attr]


def test_a_ddo_is_kept_as_text_so_that_a_database_does_not_reorder_its_keys() -> None:
    ddo = {"@context": [], "zz": "é", "a": {"b": 1, "a": None}}
    text = '{"@context":[],"zz":"é","a":{"b":1,"a":null}}'
    for sent in (ddo, text):
        it = Job.parse(job(**{"inputs.0.ddo": sent, "algorithm.ddo": sent}), "here")
        assert it.ddos == [text, text] and it.dump()["inputs"][0]["ddo"] == text
        assert Job.parse(it.dump(), "here") == it
    for wrong in ("{", "[]", 5, []):
        with pytest.raises(InvalidJob, match=r"inputs\[0\]\.ddo: must be a JSON object"):
            Job.parse(job(**{"inputs.0.ddo": wrong}), "here")
