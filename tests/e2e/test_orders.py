"""Runs with orders on a real chain, started in Airflow: without valid orders they are rejected before anything is fetched."""

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
from tests.unit.operators.test_configure_orders import fee_for, publish

NONCES = itertools.count(time.time_ns())


@dataclass
class Deal:
    """A published data set with one file, and a published algorithm, the only one that the data set trusts."""

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
        unsigned = {
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
        text = admission.signed_text(Conf.parse(unsigned, "ordered"))
        return {**unsigned, "signature": signatures.sign_hash(owner.key, text)}


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
def test_a_job_with_valid_orders_runs_and_its_signature_works_only_once(deal: Deal, stack: Stack) -> None:
    sent = deal.conf(deal.ordered())
    job = stack.submit(sent, "ordered", "ordered")
    job.await_end().has_ended("success", 70, "Job finished", exitCode=0)
    assert job.published("outputs/where") == b"from a remote file"
    seen = json.dumps(stack.api.get(job.path)["conf"])
    assert "table.csv" not in seen and sent["signature"] not in seen, "secrets are sealed in the run, which other users can see"
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


def test_nothing_is_fetched_without_a_valid_order(deal: Deal, stack: Stack) -> None:
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


def test_an_environment_rejects_a_job_without_the_required_access_at_once(deal: Deal, stack: Stack) -> None:
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
        response = answer(stack, environment, sent)
        assert response.status_code == 400 and response.json()["detail"].startswith(why), response.text


def test_configure_rejects_a_run_that_was_not_checked_when_it_was_triggered(stack: Stack) -> None:
    before = fetched(stack)
    job = Job(stack, "providers-only", f"past-the-guard-{secrets.token_hex(4)}")
    sent = json.dumps(stack.filled(conf(inputs=[data_set("aa", file("table.csv"))])))
    done = stack.airflow("dags", "trigger", job.environment, "--run-id", job.id, "--conf", sent)
    assert done.returncode == 0, done.stderr
    until(lambda: job.row and job.row.dateFinished, f"the end of {job}")
    refused(job, "access_control: this environment accepts jobs from Ocean Providers only")
    assert fetched(stack) == before


def test_the_access_control_of_an_environment_is_a_tag_of_its_dag(stack: Stack) -> None:
    tags = {dag["dag_id"]: {t["name"] for t in dag["tags"]} for dag in stack.api.get("/dags")["dags"]}
    assert (
        "access: datatoken" in tags["ordered"] and "access: provider" in tags["providers-only"] and "access: open" in tags["ocean-compute"]
    )
