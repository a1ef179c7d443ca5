"""Whose jobs an environment takes, combination by combination (docs/operator.md, "Who may have jobs run"), and the owner's proof."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from c2d.access import admission
from c2d.crypto import signatures
from c2d.errors import AccessDenied, InvalidJob
from c2d.jobs.model import Job
from c2d.settings.installation import Environment
from tests.unit import sample_market as m
from tests.unit.examples import REMOTE, TX, job

KEY = "0x" + "42" * 32
OWNER = signatures.address_of(KEY)
OWN, OTHER = "0x" + "aa" * 20, "0x" + "bb" * 20
ORDER = {"txId": TX, "serviceId": "compute_1"}
URI = {"metadataUri": "https://aquarius.example"}

FILES = job()
CODE = job(inputs=[])
REMOTES = job(**{"inputs.0": {"id": "did:op:aa", "remote": REMOTE}}, output=URI)
ORDERS = job(**{"inputs.0": {"id": "did:op:aa", "order": ORDER}}, chainId=8996)
BOTH = job(inputs=[{"id": "did:op:aa", "order": ORDER}, {"id": "did:op:bb", "remote": REMOTE}], output=URI, chainId=8996)
MIXED = job(inputs=[{"id": "did:op:aa", "order": ORDER}, {"id": "did:op:bb", "files": [{"url": "https://h/x"}]}], chainId=8996)

PROVIDERS_ONLY = "access_control: this environment takes jobs from Ocean Providers only"
NO_ORDER = "inputs[0].order: is required"
# what it takes: (access_control, who sent it) -> the job -> what is said (None: taken)
TABLE: dict[tuple[str, str | None], dict[str, tuple[dict[str, Any], str | None]]] = {
    ("open", None): {
        "files": (FILES, None),
        "code alone": (CODE, None),
        "remote": (REMOTES, "remote: is accepted from Ocean Providers only"),
        "orders": (ORDERS, None),
        "orders and files": (MIXED, None),
    },
    ("open", OTHER): {"files": (FILES, None), "remote": (REMOTES, None)},
    ("open", OWN): {"orders": (ORDERS, None), "both": (BOTH, None)},
    ("provider", None): {
        "files": (FILES, PROVIDERS_ONLY),
        "code alone": (CODE, PROVIDERS_ONLY),
        "remote": (REMOTES, PROVIDERS_ONLY),
        "orders": (ORDERS, PROVIDERS_ONLY),
    },
    ("provider", OTHER): {"files": (FILES, None), "code alone": (CODE, None), "remote": (REMOTES, None)},
    ("provider", OWN): {"orders": (ORDERS, None), "both": (BOTH, None)},
    ("datatoken", None): {
        "files": (FILES, NO_ORDER),
        "code alone": (CODE, "inputs: this environment accepts ordered data sets only"),
        "remote": (REMOTES, "remote: is accepted from Ocean Providers only"),
        "orders": (ORDERS, None),
        "orders and files": (MIXED, "inputs[1].order: is required"),
        "both": (BOTH, "remote: is accepted from Ocean Providers only"),
    },
    ("datatoken", OTHER): {"files": (FILES, NO_ORDER), "remote": (REMOTES, NO_ORDER), "orders": (ORDERS, None)},
    ("datatoken", OWN): {"orders": (ORDERS, None), "both": (BOTH, None), "files": (FILES, NO_ORDER)},
}
CASES = [(mode, sender, what) for (mode, sender), jobs in TABLE.items() for what in jobs]


def signed(conf: dict[str, Any], key: str = KEY, nonce: int = 7) -> Job:
    it = Job.parse({**conf, "owner": OWNER, "nonce": nonce}, "env")
    return it.model_copy(update={"signature": signatures.sign_hash(key, admission.signed_text(it))})


def env(mode: str, **more: Any) -> Environment:
    return Environment.model_validate({"id": "env", "access_control": mode, **more})


@pytest.mark.parametrize(("mode", "sender", "what"), CASES)
def test_what_an_environment_takes(mode: str, sender: str | None, what: str) -> None:
    conf, said = TABLE[mode, sender][what]
    if said is None:
        admission.check(signed(conf), env(mode), sender, OWN)
        return
    with pytest.raises(InvalidJob) as e:
        admission.check(signed(conf), env(mode), sender, OWN)
    assert str(e.value).startswith(said)


def test_what_is_not_set_is_the_incumbents_way() -> None:
    assert Environment(id="env").access_control == "provider"


def test_the_own_providers_address_counts_whatever_its_letters() -> None:
    admission.check(signed(BOTH), env("datatoken"), OWN.upper().replace("0X", "0x"), OWN)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signature": None}, "signature: a job with orders needs a nonce and the owner's signature"),
        ({"nonce": None}, "signature: a job with orders needs a nonce and the owner's signature"),
        ({"nonce": 8}, "signature: must be the owner's"),
        ({"owner": OTHER}, "signature: must be the owner's"),
        ({"signature": "0x12"}, "signature: must be 65 bytes in hex"),
        ({"signature": signatures.sign_hash("0x" + "43" * 32, f"{OWNER}did:op:aa7")}, "signature: must be the owner's"),
    ],
)
def test_a_run_with_orders_that_was_started_in_airflow_is_signed_by_its_owner(change: dict[str, Any], said: str) -> None:
    good = signed(ORDERS)
    admission.check(good, env("open"), None, OWN)
    with pytest.raises(InvalidJob) as e:
        admission.check(good.model_copy(update=change), env("open"), None, OWN)
    assert str(e.value).startswith(said)


def test_the_signature_is_a_compute_starts() -> None:
    assert admission.signed_text(signed(MIXED)) == f"{OWNER}did:op:aa7"


def test_a_providers_job_needs_no_signature_but_a_chain() -> None:
    unsigned = Job.parse(ORDERS, "env")
    admission.check(unsigned, env("provider"), OWN, OWN)
    with pytest.raises(InvalidJob, match="chainId: is required with orders"):
        admission.check(unsigned.model_copy(update={"chainId": None}), env("provider"), OWN, OWN)


# -- a job's orders as a request, and what they allow ------------------------------------------------------------------------------


def ordered_job(it: m.Market, **changes: Any) -> Job:
    conf = {
        "inputs": [{"id": it.data["id"], "order": {"txId": m.tx(1), "serviceId": "compute_1"}}],
        "algorithm": {"id": it.algorithm["id"], "container": m.CONTAINER, "order": {"txId": m.tx(2), "serviceId": "algo_1"}},
        "owner": m.CONSUMER,
        "chainId": 8996,
    }
    return Job.parse({**conf, **changes}, "ocean-compute")


ENV = Environment.model_validate({"id": "ocean-compute", "maxJobDuration": 600})


def granted(it: m.Market, wanted: Job) -> Any:
    return it.world.access().approve_start(admission.request_of(wanted, ENV))


def test_a_jobs_orders_are_checked_as_a_compute_start() -> None:
    it = m.market()
    wanted = ordered_job(it)
    assert granted(it, wanted) == it.world.access().approve_start(it.request)
    admission.check_approved(wanted, ENV, granted(it, wanted), m.NOW)
    it.world.receipts[m.tx(1)] = None
    with pytest.raises(AccessDenied, match="order_invalid"):
        granted(it, wanted)


def test_what_another_provider_hands_out_is_checked_too() -> None:
    it = m.market()
    it.data["services"][1]["files"] = m.service(it.data["nftAddress"], m.address(3), key="0x" + "11" * 32)["files"]
    remote = {"id": it.data["id"][:-1] + "0", "remote": {"txId": m.tx(3), "serviceId": "access_1"}}
    wanted = ordered_job(it, inputs=[*ordered_job(it).dump()["inputs"], remote], output=URI)
    with pytest.raises(AccessDenied, match=r"datasets\[1\]\.documentId: did_not_found"):
        granted(it, wanted)


@pytest.mark.parametrize(
    "algorithm",
    [{"rawcode": "x"}, {"files": [{"url": "https://h/x"}]}, {}],
    ids=["rawcode", "files", "in the image"],
)
def test_code_of_the_consumers_own_is_raw_code(algorithm: dict[str, Any]) -> None:
    it = m.market()
    wanted = ordered_job(it, algorithm={"container": m.CONTAINER, **algorithm})
    assert granted(it, wanted).algorithm is None
    it.data["services"][0]["compute"]["allowRawAlgorithm"] = False
    with pytest.raises(AccessDenied, match="dataset: no_raw_algo_allowed"):
        granted(it, wanted)


def test_an_ordered_algorithm_runs_in_the_container_that_was_published() -> None:
    it = m.market()
    for name, value in (("image", "evil"), ("entrypoint", "sh"), ("checksum", "sha256:" + "00" * 32)):
        wanted = ordered_job(it, algorithm={**ordered_job(it).dump()["algorithm"], "container": {**m.CONTAINER, name: value}})
        with pytest.raises(InvalidJob, match=f"algorithm.container.{name}: must be the one in the algorithm's DDO"):
            admission.check_approved(wanted, ENV, granted(it, wanted), None)


def test_a_run_that_was_started_in_airflow_ends_with_the_time_that_was_paid_for() -> None:
    it = m.market()
    start = granted(it, ordered_job(it))
    with pytest.raises(InvalidJob, match="maxJobDuration: must be at most 599, the seconds left of the ordered time"):
        admission.check_approved(ordered_job(it), ENV, start, m.NOW + 3001)
    admission.check_approved(ordered_job(it, maxJobDuration=599), ENV, start, m.NOW + 3001)
    admission.check_approved(ordered_job(it), ENV, start, None)


def test_an_order_without_end_pays_for_nothing_but_what_is_free() -> None:
    it = m.market()
    it.world.receipts[m.tx(1)] = m.order_of(it.data, m.tx(1), until=0)
    it.world.receipts[m.tx(2)] = m.order_of(it.algorithm, m.tx(2), environment=None, until=0)
    assert granted(it, ordered_job(it)).validUntil == 0
    with pytest.raises(AccessDenied, match="order: fees_not_paid"):
        it.world.access().approve_start(dataclasses.replace(it.request, priceMinute=Decimal(1)))


def test_an_ordered_algorithm_needs_an_ordered_data_set() -> None:
    it = m.market()
    with pytest.raises(InvalidJob, match="inputs: an ordered algorithm needs an ordered data set"):
        admission.request_of(ordered_job(it, inputs=[]), ENV)
