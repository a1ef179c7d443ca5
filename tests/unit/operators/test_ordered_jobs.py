"""A job with orders, as its configure task sees it: the real chain, the jobs' real tables, files served on loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from c2d.access import admission
from c2d.crypto import ecies, signatures
from c2d.database.consumers import Consumers
from c2d.database.jobs import JobRepository
from c2d.database.tables import jobs
from c2d.errors import ManifestRejected, UpstreamUnavailable
from c2d.jobs.model import Job
from c2d.market import fees
from c2d.operators.configure import ConfigureOperator
from c2d.settings import installation
from tests.unit import sample_market as m
from tests.unit.rpc_server import no_logs, server  # noqa: F401

CODE = b"print('trusted')"


@pytest.fixture(scope="module")
def files() -> Iterator[dict[str, Any]]:
    """A server for the assets' files: by path, what it answers. ``asked``: the paths that were asked for."""
    served: dict[str, Any] = {"asked": [], "/code": CODE}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served["asked"].append(self.path)
            content = served.get(self.path.split("?")[0])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    served["url"] = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def fee_for(chain: Any, doc: dict[str, Any], environment: str | None, amount: int = 0, seconds: int = 3600) -> tuple[Any, ...]:
    service, now = doc["services"][0], chain.now()
    it = fees.make(
        m.PROVIDER_KEY,
        chain.ocean,
        amount,
        environment=environment,
        datatoken=service["datatokenAddress"],
        service_id=service["id"],
        valid_until=now + seconds,
        now=now,
    )
    return it.providerFeeAddress, it.providerFeeToken, it.providerFeeAmount, it.v, it.r, it.s, it.validUntil, it.providerData


@dataclass
class Deal:
    """A data set and an algorithm, published and ordered."""

    chain: Any
    asset: Any
    data: dict[str, Any]
    algorithm: dict[str, Any]
    data_tx: str
    algorithm_tx: str
    consumer: Any

    def job(self, job_id: str, nonce: int, **changes: Any) -> Job:
        conf = {
            "inputs": [{"id": self.data["id"], "order": {"txId": self.data_tx, "serviceId": "compute_1"}, "ddo": self.data}],
            "algorithm": {
                "id": self.algorithm["id"],
                "container": m.CONTAINER,
                "order": {"txId": self.algorithm_tx, "serviceId": "algo_1"},
                "ddo": self.algorithm,
            },
            "owner": self.consumer.address,
            "chainId": 8996,
            "nonce": nonce,
            **changes,
        }
        it = Job.parse(conf, "ocean-compute")
        return it.model_copy(update={"signature": signatures.sign_hash(self.consumer.key, admission.signed_text(it))})


def publish(chain: Any, owner: str, doc_of: Callable[[Any], dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    asset = chain.publish(owner)
    doc = doc_of(asset)
    text = m.text_of(doc)
    chain.set_metadata(asset, text, hashlib.sha256(text).hexdigest())
    return asset, doc


@pytest.fixture(scope="module")
def deal(chain: Any, files: dict[str, Any]) -> Deal:
    publisher, consumer = chain.accounts[1], chain.accounts[2]
    code = {"type": "url", "url": files["url"] + "/code"}
    algo, algorithm = publish(
        chain,
        publisher.address,
        lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken, of=[code], id="algo_1", type="access")], kind="algorithm"),
    )
    trusted = {
        "allowNetworkAccess": True,
        "publisherTrustedAlgorithms": [{"did": algorithm["id"], "filesChecksum": hashlib.sha256(CODE).hexdigest()}],
    }
    of = [{**m.URL, "headers": {"X-Key": "TOPSECRET"}}, {"type": "graphql", "url": "https://data.example/graphql", "query": "{ birds }"}]
    asset, data = publish(chain, publisher.address, lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken, of=of, compute=trusted)]))
    tx = chain.buy(asset, chain.accounts[9].address, fee_for(chain, data, "ocean-compute"), payer=consumer.address)
    algorithm_tx = chain.buy(algo, consumer.address, fee_for(chain, algorithm, None))
    return Deal(chain, asset, data, algorithm, tx, algorithm_tx, consumer)


@pytest.fixture
def configure(chain: Any, database_url: str) -> Callable[..., ConfigureOperator]:
    """The configure task of a job that was opened in the jobs' tables."""

    def make(wanted: Job, job_id: str = "j1", url: str = "", provider: str | None = None, **variables: str) -> ConfigureOperator:
        operator = ConfigureOperator()
        operator.settings = installation.read(
            {
                "OPERATOR_PRIVATE_KEY": ecies.new_private_key(),
                "PROVIDER_PRIVATE_KEY": m.PROVIDER_KEY,
                "NETWORK_URL": json.dumps({"8996": url or chain.url}),
                "PROVIDER_FEE_TOKEN": chain.ocean,
                "C2D_DATABASE_URL": database_url,
                "ALLOW_NON_PUBLIC_IP": "1",
                "access_control": "datatoken",
                "maxJobDuration": "600",
                **variables,
            }
        )
        operator.environment, operator.job_id, operator.job = operator.settings.environments[0], job_id, wanted
        operator.store = JobRepository(database_url)
        operator.store.open_job(job_id, "ocean-compute", wanted)
        if provider:
            with operator.store.engine.begin() as c:
                c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(provider=provider))
        return operator

    return make


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """DatatokenHook takes NETWORK_URL from the operator's settings, as there is no Airflow connection here."""
    from c2d.hooks import connections

    connections._connection.cache_clear()


def test_what_is_fetched_is_opened_here_and_nowhere_else(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = deal.job("j1", 1)
    operator = configure(wanted)
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    content = json.loads(operator.content({})["stage.json"])
    (data,), algorithm = content["inputs"], content["algorithm"]
    assert data["files"][0] == {"type": "url", "url": m.URL["url"], "method": "GET", "headers": {"X-Key": "TOPSECRET"}}
    assert data["files"][1]["method"] == "POST" and json.loads(data["files"][1]["body"]) == {"query": "{ birds }"}
    assert data["ddo"]["id"] == deal.data["id"]
    # The code that is fetched later must be the one that was trusted now.
    assert algorithm["files"][0]["checksum"] == "sha256:" + hashlib.sha256(CODE).hexdigest()
    assert operator.store.network_allowed("j1") is True
    assert "TOPSECRET" not in json.dumps(wanted.dump()) and "TOPSECRET" not in repr(operator.store.job("j1"))
    assert json.loads(operator.content({})["stage.json"]) == content, "a further try of the same job"


def test_a_jobs_first_task_does_not_wait_for_web3(deal: Deal) -> None:
    """It is a fresh process for each job, and to load web3 takes a second; what it asks of a chain it asks without."""
    program = """
import sys
from c2d.market.chain_facts import ChainQuestions
from c2d.hooks.datatoken import DatatokenHook
from c2d.access.asset_content import asset_files
from c2d.operators.configure import ConfigureOperator
url, nft, datatoken, tx = sys.argv[1:]
asked = ChainQuestions(frozenset({(nft, datatoken, None)}), frozenset({tx}), frozenset({datatoken}))
facts = DatatokenHook(urls={8996: [url]}).facts(8996, asked)
assert facts.receipts[tx].started and facts.nfts[nft.lower()].metadataHash and facts.decimals[datatoken.lower()] == 18
sys.exit("web3 was loaded" if "web3" in sys.modules else 0)
"""
    arguments = [deal.chain.url, deal.asset.nft, deal.asset.datatoken, deal.data_tx.lower()]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_owners_signature_is_good_for_one_job(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = configure(deal.job("j1", 5)), configure(deal.job("j2", 5), "j2")
    monkeypatch.setattr(installation, "load", lambda: first.settings)
    first.content({})
    with pytest.raises(
        ManifestRejected, match="nonce: must be higher than every nonce that the owner has used at the Provider API, and new"
    ):
        second.content({})
    configure(deal.job("j4", 4), "j4").content({})  # runs that were started together are looked at in any order
    own = Consumers(first.settings.C2D_DATABASE_URL, m.PROVIDER_KEY)
    owner, did = deal.consumer.address, deal.data["id"]
    assert not own.use_nonce(owner, "5", f"{owner}{did}5"), "nor is it a compute start's any more"
    assert own.use_nonce(owner, "6", f"{owner}{did}6")
    for nonce in (3, 5, 6):  # and what the API has passed is good for no run
        with pytest.raises(ManifestRejected, match="nonce: must be higher"):
            configure(deal.job(f"late{nonce}", nonce), f"late{nonce}").content({})
    with pytest.raises(ManifestRejected, match="signature: must be the owner's"):
        configure(deal.job("j3", 6).model_copy(update={"nonce": 7}), "j3").content({})


def test_no_order_no_file(deal: Deal, files: dict[str, Any], configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = deal.chain.accounts[4]
    mine = deal.job("j1", 9)
    of_another = Deal(**{**vars(deal), "consumer": stranger}).job("j2", 1)
    no_tx = deal.job("j3", 2, inputs=[{**mine.dump()["inputs"][0], "order": {"txId": "0x" + "00" * 32, "serviceId": "compute_1"}}])
    operator = configure(mine)
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    for wanted, said in (
        (of_another, "dataset.serviceId: order_invalid (Provider 8996: sender of order transaction is not the consumer/payer.)"),
        (no_tx, "dataset.serviceId: order_invalid (Provider 8996: Failed to get tx receipt for the `startOrder` transaction.)"),
    ):
        with pytest.raises(ManifestRejected) as e:
            configure(wanted, f"x{wanted.nonce}{wanted.owner[-4:].lower()}").content({})
        assert str(e.value) == said
    with pytest.raises(ManifestRejected, match="algorithm: file_unavailable"):
        files["/code"] = None
        try:
            operator.content({})
        finally:
            files["/code"] = CODE
    files["/code"] = b"print('changed')"
    try:
        with pytest.raises(ManifestRejected, match="dataset: algorithm_file_checksum_mismatch"):
            operator.content({})
    finally:
        files["/code"] = CODE
    assert not any("graphql" in path for path in files["asked"])


def test_an_asset_that_is_disabled_after_the_order(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = configure(deal.job("j1", 1))
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    deal.chain.set_state(deal.asset, 4)
    try:
        with pytest.raises(ManifestRejected, match="dataset: Asset is not consumable"):
            operator.content({})
    finally:
        deal.chain.set_state(deal.asset, 0)


def test_a_ddo_that_was_changed_on_the_way(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = json.loads(json.dumps(deal.data))
    altered["services"][0]["compute"]["publisherTrustedAlgorithms"] = []
    wanted = deal.job("j1", 1, inputs=[{**deal.job("j1", 1).dump()["inputs"][0], "ddo": altered}])
    operator = configure(wanted)
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    with pytest.raises(ManifestRejected, match="dataset: Asset malformed or disabled"):
        operator.content({})


def test_a_former_ddo_does_not_pass_where_the_node_gives_no_logs(
    deal: Deal,
    configure: Any,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its owner allows no raw code any more; the consumer brings the old one with its event."""
    publisher = deal.chain.accounts[1]
    asset, old = publish(deal.chain, publisher.address, lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken)]))
    new = json.loads(json.dumps(old))
    new["services"][0]["compute"]["allowRawAlgorithm"] = False
    was, now = m.text_of(old), m.text_of(new)
    former = {"tx": deal.chain.set_metadata(asset, was, hashlib.sha256(was).hexdigest()), "block": 0}
    deal.chain.set_metadata(asset, now, hashlib.sha256(now).hexdigest())
    tx = deal.chain.buy(asset, deal.consumer.address, fee_for(deal.chain, new, "ocean-compute"))
    brought = {**old, "event": former}
    order = {"txId": tx, "serviceId": "compute_1"}
    code = {"rawcode": "print('leak')", "container": m.CONTAINER}
    job = deal.job("j1", 1, inputs=[{"id": old["id"], "order": order, "ddo": brought}], algorithm=code)
    job = job.model_copy(update={"signature": signatures.sign_hash(deal.consumer.key, admission.signed_text(job))})
    operator = configure(job, url=server(no_logs(deal.chain)))
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    with pytest.raises(UpstreamUnavailable, match="chain 8996: the RPC servers give no events of"):
        operator.content({})


def test_a_chain_that_does_not_answer_is_no_pass_and_is_tried_again(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = configure(deal.job("j1", 1), url="http://127.0.0.1:1/KEY")
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    with pytest.raises(UpstreamUnavailable, match="chain 8996: no RPC server answers; try again later") as e:
        operator.content({})
    assert "KEY" not in str(e.value) and "127.0.0.1" not in str(e.value)


def test_a_job_that_waited_in_our_queue_keeps_what_it_has_paid_for(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = deal.chain.snapshot()
    try:
        operator = configure(Job.parse({**deal.job("j1", 1).dump()}, "ocean-compute"), provider="0x" + "aa" * 20)
        monkeypatch.setattr(installation, "load", lambda: operator.settings)
        deal.chain.forward(2 * 3600)
        with pytest.raises(ManifestRejected, match="order_invalid"):
            configure(deal.job("j2", 9), "j2").content({})
        operator.content({})
    finally:
        deal.chain.revert(kept)


def test_an_order_for_one_job(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = configure(deal.job("j1", 1), C2D_ORDERS_ONCE="1")
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    operator.content({})
    operator.content({})
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(deal.job("j2", 2), "j2", C2D_ORDERS_ONCE="1").content({})
    # Whatever the job says of the order's chain, and however the transaction is written.
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(deal.job("j3", 3, chainId=1), "j3", C2D_ORDERS_ONCE="1").content({})
    shouted = {**deal.job("j4", 4).dump()["inputs"][0], "order": {"txId": f"0x{deal.data_tx[2:].upper()}", "serviceId": "compute_1"}}
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(deal.job("j4", 4, inputs=[shouted]), "j4", C2D_ORDERS_ONCE="1").content({})


def test_an_order_for_one_job_is_not_for_more_by_being_used_on(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may use an order on, for a fee that may be nothing; the datatoken was paid once."""
    operator = configure(deal.job("j1", 1), C2D_ORDERS_ONCE="1")
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    operator.content({})
    fee = fee_for(deal.chain, deal.data, "ocean-compute")
    again = deal.chain.reuse_order(deal.consumer.address, deal.asset.datatoken, deal.data_tx, fee)
    second = Deal(**{**vars(deal), "data_tx": again})
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(second.job("j2", 2), "j2", C2D_ORDERS_ONCE="1").content({})
    configure(second.job("j3", 3), "j3", C2D_ORDERS_ONCE="0").content({})


def test_the_operator_may_forbid_the_network(deal: Deal, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = configure(deal.job("j1", 1), enableNetwork="0")
    monkeypatch.setattr(installation, "load", lambda: operator.settings)
    operator.content({})
    assert operator.store.network_allowed("j1") is False


def test_without_a_providers_key_no_asset_is_kept_here(deal: Deal, configure: Any) -> None:
    with pytest.raises(ManifestRejected, match="no assets are kept here"):
        configure(deal.job("j1", 1), PROVIDER_PRIVATE_KEY="", access_control="open").content({})
