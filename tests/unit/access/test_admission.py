"""Whose jobs an environment accepts, for every combination of access_control, sender and job, and the owner's signature of a job."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.access import admission
from c2d.crypto import signatures
from c2d.errors import AccessDenied, InvalidJob
from c2d.jobs.model import Job
from c2d.market.approval import ApprovedCompute
from c2d.settings.environment import Environment
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

PROVIDERS_ONLY = "access_control: this environment accepts jobs from Ocean Providers only"
NO_ORDER = "inputs[0].order: is required, this environment accepts ordered data sets only"
# By access_control and sender (None: a run that was started in Airflow): jobs, and how the error begins (None: the job is accepted).
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
CASES = [(mode, sender, kind) for (mode, sender), jobs in TABLE.items() for kind in jobs]


def signed(conf: dict[str, Any], key: str = KEY, nonce: int = 7) -> Job:
    """The job, with this nonce, signed with the key."""
    unsigned = Job.parse({**conf, "owner": OWNER, "nonce": nonce}, "env")
    return unsigned.model_copy(update={"signature": signatures.sign_hash(key, admission.signed_text(unsigned))})


def env(mode: str, **more: Any) -> Environment:
    return Environment.model_validate({"id": "env", "access_control": mode, **more})


@pytest.mark.parametrize(("mode", "sender", "kind"), CASES)
def test_an_environment_accepts_jobs_by_access_control_and_sender(mode: str, sender: str | None, kind: str) -> None:
    conf, fault = TABLE[mode, sender][kind]
    if fault is None:
        admission.check(signed(conf), env(mode), sender, OWN)
        return
    with pytest.raises(InvalidJob) as e:
        admission.check(signed(conf), env(mode), sender, OWN)
    assert str(e.value).startswith(fault)


def test_by_default_an_environment_accepts_jobs_of_providers_only_as_operator_service_does() -> None:
    assert Environment(id="env").access_control == "provider"


def test_the_case_of_our_own_providers_address_does_not_matter() -> None:
    admission.check(signed(BOTH), env("datatoken"), OWN.upper().replace("0X", "0x"), OWN)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"signature": None}, "signature: a job with orders needs a nonce and the owner's signature"),
        ({"nonce": None}, "signature: a job with orders needs a nonce and the owner's signature"),
        ({"nonce": 8}, "signature: must be the owner's"),
        ({"owner": OTHER}, "signature: must be the owner's"),
        ({"signature": "0x12"}, "signature: must be 65 bytes in hex"),
        ({"signature": signatures.sign_hash("0x" + "43" * 32, f"{OWNER}did:op:aa7")}, "signature: must be the owner's"),
    ],
)
def test_a_run_with_orders_that_is_started_in_airflow_needs_its_owners_signature(change: dict[str, Any], fault: str) -> None:
    job = signed(ORDERS)
    admission.check(job, env("open"), None, OWN)
    with pytest.raises(InvalidJob) as e:
        admission.check(job.model_copy(update=change), env("open"), None, OWN)
    assert str(e.value).startswith(fault)


def test_the_signed_text_is_that_of_a_compute_start() -> None:
    assert admission.signed_text(signed(MIXED)) == f"{OWNER}did:op:aa7"


def test_a_providers_job_with_orders_needs_a_chain_but_no_signature() -> None:
    unsigned = Job.parse(ORDERS, "env")
    admission.check(unsigned, env("provider"), OWN, OWN)
    with pytest.raises(InvalidJob, match="chainId: is required with orders"):
        admission.check(unsigned.model_copy(update={"chainId": None}), env("provider"), OWN, OWN)


# -- a job's orders as a compute start -----------------------------------------------------------------------------------------------


def ordered_job(it: m.Market, **changes: Any) -> Job:
    """A job on the market's ordered data set and algorithm."""
    conf = {
        "inputs": [{"id": it.data["id"], "order": {"txId": m.tx(1), "serviceId": "compute_1"}}],
        "algorithm": {"id": it.algorithm["id"], "container": m.CONTAINER, "order": {"txId": m.tx(2), "serviceId": "algo_1"}},
        "owner": m.CONSUMER,
        "chainId": 8996,
    }
    return Job.parse({**conf, **changes}, "ocean-compute")


ENV = Environment.model_validate({"id": "ocean-compute", "maxJobDuration": 600})


def approve(it: m.Market, job: Job) -> ApprovedCompute:
    return it.world.access().approve_start(admission.request_of(job, ENV))


def test_a_jobs_orders_are_checked_like_those_of_a_compute_start() -> None:
    it = m.market()
    job = ordered_job(it)
    assert approve(it, job) == it.world.access().approve_start(it.request)
    admission.check_approved(job, ENV, approve(it, job), m.NOW)
    it.world.receipts[m.tx(1)] = None
    with pytest.raises(AccessDenied, match="order_invalid"):
        approve(it, job)


def test_orders_from_another_provider_are_checked_too() -> None:
    it = m.market()
    it.data["services"][1]["files"] = m.service(it.data["nftAddress"], m.address(3), key=m.OTHER_PROVIDER_KEY)["files"]
    remote = {"id": it.data["id"][:-1] + "0", "remote": {"txId": m.tx(3), "serviceId": "access_1"}}
    job = ordered_job(it, inputs=[*ordered_job(it).dump()["inputs"], remote], output=URI)
    with pytest.raises(AccessDenied, match=r"datasets\[1\]\.documentId: did_not_found"):
        approve(it, job)


@pytest.mark.parametrize(
    "algorithm",
    [{"rawcode": "x"}, {"files": [{"url": "https://h/x"}]}, {}],
    ids=["rawcode", "files", "in the image"],
)
def test_an_algorithm_without_order_is_raw_code(algorithm: dict[str, Any]) -> None:
    it = m.market()
    job = ordered_job(it, algorithm={"container": m.CONTAINER, **algorithm})
    assert approve(it, job).algorithm is None
    it.data["services"][0]["compute"]["allowRawAlgorithm"] = False
    with pytest.raises(AccessDenied, match="dataset: no_raw_algo_allowed"):
        approve(it, job)


def test_an_ordered_algorithm_runs_only_in_its_published_container() -> None:
    it = m.market()
    for name, value in (("image", "evil"), ("entrypoint", "sh"), ("checksum", "sha256:" + "00" * 32)):
        job = ordered_job(it, algorithm={**ordered_job(it).dump()["algorithm"], "container": {**m.CONTAINER, name: value}})
        with pytest.raises(InvalidJob, match=f"algorithm.container.{name}: must be the one in the algorithm's DDO"):
            admission.check_approved(job, ENV, approve(it, job), None)


def test_a_run_that_is_started_in_airflow_cannot_last_longer_than_the_paid_time() -> None:
    it = m.market()
    approved = approve(it, ordered_job(it))
    with pytest.raises(InvalidJob, match="maxJobDuration: must be at most 599, the seconds left of the ordered time"):
        admission.check_approved(ordered_job(it), ENV, approved, m.NOW + 3001)
    admission.check_approved(ordered_job(it, maxJobDuration=599), ENV, approved, m.NOW + 3001)
    admission.check_approved(ordered_job(it), ENV, approved, None)


def test_an_ordered_algorithm_needs_an_ordered_data_set() -> None:
    it = m.market()
    with pytest.raises(InvalidJob, match="inputs: an ordered algorithm needs an ordered data set"):
        admission.request_of(ordered_job(it, inputs=[]), ENV)
