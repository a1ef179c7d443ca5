"""Runs that are started in Airflow with orders on a real chain: taken where they are good, else refused before anything is fetched."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from c2d.access import admission
from c2d.crypto import signatures
from c2d.jobs.model import Job as Conf
from tests.e2e.client import Job, Stack, until
from tests.e2e.confs import IMAGE, conf, data_set, file
from tests.e2e.data_server import ALGORITHM
from tests.unit import sample_market as m
from tests.unit.operators.test_ordered_jobs import fee_for, publish

NONCES = itertools.count(time.time_ns())


@dataclass
class Deal:
    """A data set (one file at a path of its own) and an algorithm, both published; the data set trusts that algorithm alone."""

    stack: Stack
    chain: Any
    path: str
    data: dict[str, Any]
    asset: Any
    algorithm: dict[str, Any]
    algorithm_tx: str
    consumer: Any
    container: dict[str, Any]

    def ordered(self) -> str:
        return self.chain.buy(
            self.asset, self.chain.accounts[9].address, fee_for(self.chain, self.data, "ordered"), payer=self.consumer.address
        )

    def conf(self, tx: str, nonce: int | None = None, who: Any = None) -> dict[str, Any]:
        """The job as its owner sends it."""
        owner = who or self.consumer
        wanted = {
            "inputs": [{"id": self.data["id"], "order": {"txId": tx, "serviceId": "compute_1"}, "ddo": self.data}],
            "algorithm": {
                "id": self.algorithm["id"],
                "container": self.container,
                "order": {"txId": self.algorithm_tx, "serviceId": "algo_1"},
                "ddo": self.algorithm,
            },
            "owner": owner.address,
            "chainId": 8996,
            "nonce": next(NONCES) if nonce is None else nonce,
        }
        text = admission.signed_text(Conf.parse(wanted, "ordered"))
        return {**wanted, "signature": signatures.sign_hash(owner.key, text)}


@pytest.fixture(scope="module")
def deal(stack: Stack, chain: Any) -> Deal:
    publisher, consumer = chain.accounts[1], chain.accounts[2]
    path = f"table.csv?{secrets.token_hex(4)}"

    def url(of: str) -> dict[str, Any]:
        return {"type": "url", "url": stack.filled("{DATA}/" + of)}

    container = {**IMAGE, "entrypoint": "python3 $ALGO", "checksum": stack.digest}

    def code_of(a: Any) -> dict[str, Any]:
        doc = m.document(a.nft, [m.service(a.nft, a.datatoken, of=[url("algorithm.py")], id="algo_1", type="access")], kind="algorithm")
        doc["metadata"]["algorithm"]["container"] = container
        return doc

    algo, algorithm = publish(chain, publisher.address, code_of)
    trusted = [{"did": algorithm["id"], "filesChecksum": hashlib.sha256(ALGORITHM).hexdigest(), "containerSectionChecksum": ""}]
    rules = {"allowRawAlgorithm": False, "publisherTrustedAlgorithms": trusted}
    asset, data = publish(
        chain, publisher.address, lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken, of=[url(path)], compute=rules)])
    )
    algorithm_tx = chain.buy(algo, consumer.address, fee_for(chain, algorithm, None))
    return Deal(stack, chain, path, data, asset, algorithm, algorithm_tx, consumer, container)


def fetched(stack: Stack) -> int:
    return len(stack.data.requested("/table.csv"))


@pytest.mark.digest
def test_an_ordered_data_set_and_algorithm_run_and_a_signature_is_good_once(deal: Deal, stack: Stack) -> None:
    sent = deal.conf(deal.ordered())
    job = stack.submit(sent, "ordered", "ordered")
    job.await_end().has_ended("success", 70, "Job finished", exitCode=0)
    assert job.published("outputs/where") == b"from a remote file"
    seen = json.dumps(stack.api.get(job.path)["conf"])
    assert "table.csv" not in seen and sent["signature"] not in seen, "what is secret is sealed in the run that everybody sees"
    assert "table.csv" not in job.task_log("configure")

    before = fetched(stack)
    again = stack.submit(sent, "ordered", "again")
    again.await_end()
    refused(again, "nonce: must be higher than every nonce that the owner has used at the Provider API, and new")
    assert fetched(stack) == before


def refused(job: Job, why: str) -> None:
    until(lambda: not job.goes_on(), f"the end of {job}")
    row = job.row
    assert row is not None and (row.status, row.statusText) == (31, "Data provisioning failed")
    assert row.terminationDetails is not None and row.terminationDetails["message"].startswith(why)
    assert job.run["state"] == "failed" and "algorithm" not in {s.value for s in job.ends}


def test_without_a_good_order_nothing_is_fetched(deal: Deal, stack: Stack) -> None:
    before, stranger, invalid = fetched(stack), deal.chain.accounts[4], "dataset.serviceId: order_invalid (Provider 8996: "
    tx = deal.ordered()
    cases = {
        invalid + "Failed to get tx receipt": deal.conf("0x" + "00" * 32),
        invalid + "sender of order transaction is not the consumer/payer.": deal.conf(tx, who=stranger),
        invalid + "Cannot find the event for the provider fee": deal.conf(deal.algorithm_tx),
        "dataset: Asset malformed or disabled.": {**deal.conf(tx), "inputs": [{**deal.conf(tx)["inputs"][0], "ddo": altered(deal.data)}]},
        "algorithm.container.entrypoint: must be the one in the algorithm's DDO": with_entrypoint(deal.conf(tx)),
    }
    jobs = {why: stack.submit(sent, "ordered", "no-order") for why, sent in cases.items()}
    for why, job in jobs.items():
        job.await_end()
        refused(job, why)
        assert stack.job_objects(job.id) == []
    assert fetched(stack) == before


def altered(ddo: dict[str, Any]) -> dict[str, Any]:
    copy = json.loads(json.dumps(ddo))
    copy["services"][0]["compute"]["allowRawAlgorithm"] = True
    return copy


def with_entrypoint(sent: dict[str, Any]) -> dict[str, Any]:
    container = {**sent["algorithm"]["container"], "entrypoint": "sh -c 'cp -r /data/inputs /data/outputs'"}
    return {**sent, "algorithm": {**sent["algorithm"], "container": container}}


def answer(stack: Stack, environment: str, sent: dict[str, Any]) -> httpx.Response:
    return stack.trigger(environment, sent, f"refused-{secrets.token_hex(4)}")


def test_what_an_environment_does_not_take_is_refused_at_once(deal: Deal, stack: Stack) -> None:
    good = deal.conf("0x" + "00" * 32)
    unsigned = {name: value for name, value in good.items() if name != "signature"}
    forged = {**good, "nonce": good["nonce"] + 1}
    for environment, sent, why in (
        ("ordered", conf(inputs=[data_set("aa", file("table.csv"))]), "inputs[0].order: is required"),
        ("ordered", conf(), "inputs: this environment accepts ordered data sets only"),
        ("ordered", unsigned, "signature: a job with orders needs a nonce and the owner's signature"),
        ("ordered", forged, "signature: must be the owner's"),
        ("providers-only", conf(), "access_control: this environment accepts jobs from Ocean Providers only"),
        ("providers-only", good, "access_control: this environment accepts jobs from Ocean Providers only"),
    ):
        said = answer(stack, environment, sent)
        assert said.status_code == 400 and said.json()["detail"].startswith(why), said.text


def test_what_comes_past_the_guard_is_refused_by_configure(stack: Stack) -> None:
    before = fetched(stack)
    job = Job(stack, "providers-only", f"past-the-guard-{secrets.token_hex(4)}")
    sent = json.dumps(stack.filled(conf(inputs=[data_set("aa", file("table.csv"))])))
    done = stack.airflow("dags", "trigger", job.environment, "--run-id", job.id, "--conf", sent)
    assert done.returncode == 0, done.stderr
    until(lambda: job.row and job.row.dateFinished, f"the end of {job}")
    refused(job, "access_control: this environment accepts jobs from Ocean Providers only")
    assert fetched(stack) == before


def test_whose_jobs_an_environment_takes_is_a_tag_of_its_dag(stack: Stack) -> None:
    tags = {dag["dag_id"]: {t["name"] for t in dag["tags"]} for dag in stack.api.get("/dags")["dags"]}
    assert (
        "access: datatoken" in tags["ordered"] and "access: provider" in tags["providers-only"] and "access: open" in tags["ocean-compute"]
    )
