"""The configure task of a job with orders, on a real chain and the jobs' real tables, with files served on loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sqlalchemy as sa

from c2d.access import admission
from c2d.crypto import ecies, signatures
from c2d.database.consumers import Consumers
from c2d.database.jobs import JobRepository
from c2d.database.tables import jobs
from c2d.errors import ManifestRejected, UpstreamUnavailable
from c2d.hooks.kubernetes import Pods
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.market import fees
from c2d.operators.configure import ConfigureOperator
from c2d.operators.context import StageContext
from c2d.settings import installation
from tests.unit import sample_market as m
from tests.unit.operators.stage import FakePods
from tests.unit.rpc_server import no_logs, server  # noqa: F401

CODE = b"print('trusted')"


@pytest.fixture(scope="module")
def files() -> Iterator[dict[str, Any]]:
    """The content of a server for the assets' files, by path. ``requested``: the paths of its requests."""
    served: dict[str, Any] = {"requested": [], "/code": CODE}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served["requested"].append(self.path)
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


@dataclass
class Configure:
    """The configure task of one job."""

    ctx: StageContext

    def stage_json(self) -> Any:
        """What its pod gets."""
        return json.loads(ConfigureOperator().stage_input(self.ctx, {})["stage.json"])


@pytest.fixture
def configure(chain: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Configure]:
    """The configure task of a job that has a row. DatatokenHook reads NETWORK_URL from the settings of the last one made."""

    def make(job: Job, job_id: str = "j1", url: str = "", provider: str | None = None, **variables: str) -> Configure:
        settings = installation.read(
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
        monkeypatch.setattr(installation, "load", lambda: settings)
        repository = JobRepository(database_url)
        repository.open_job(job_id, "ocean-compute", job)
        if provider:
            with repository.engine.begin() as c:
                c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(provider=provider))
        pods = cast(Pods, FakePods())
        return Configure(StageContext(Stage.CONFIGURE, job_id, job, settings.environments[0], settings, repository, pods))

    return make


@pytest.fixture(autouse=True)
def no_connection() -> None:
    """There is no Airflow connection, so DatatokenHook reads NETWORK_URL from the settings."""
    from c2d.hooks import connections

    connections._connection.cache_clear()


def test_configure_gets_the_decrypted_files_and_nobody_else(deal: Deal, configure: Any) -> None:
    job = deal.job("j1", 1)
    task = configure(job)
    content = task.stage_json()
    (data,), algorithm = content["inputs"], content["algorithm"]
    assert data["files"][0] == {"type": "url", "url": m.URL["url"], "method": "GET", "headers": {"X-Key": "TOPSECRET"}}
    assert data["files"][1]["method"] == "POST" and json.loads(data["files"][1]["body"]) == {"query": "{ birds }"}
    assert data["ddo"]["id"] == deal.data["id"]
    # The code that is fetched later must be the code that was approved now.
    assert algorithm["files"][0]["checksum"] == "sha256:" + hashlib.sha256(CODE).hexdigest()
    assert task.ctx.repository.network_allowed("j1") is True
    assert "TOPSECRET" not in json.dumps(job.dump()) and "TOPSECRET" not in repr(task.ctx.repository.job("j1"))
    assert task.stage_json() == content, "a later try of the same job gets the same"


def test_the_configure_task_does_not_load_web3(deal: Deal) -> None:
    """Loading web3 takes a second, in a new process for each job. The task reads the chain without it."""
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


def test_the_owners_signature_is_valid_for_one_job(deal: Deal, configure: Any) -> None:
    first, second = configure(deal.job("j1", 5)), configure(deal.job("j2", 5), "j2")
    first.stage_json()
    with pytest.raises(
        ManifestRejected, match="nonce: must be higher than every nonce that the owner has used at the Provider API, and new"
    ):
        second.stage_json()
    configure(deal.job("j4", 4), "j4").stage_json()  # runs that start together are checked in any order
    own = Consumers(first.ctx.settings.C2D_DATABASE_URL, m.PROVIDER_KEY)
    owner, did = deal.consumer.address, deal.data["id"]
    assert not own.use_nonce(owner, "5", f"{owner}{did}5"), "the nonce is not valid at the Provider API either"
    assert own.use_nonce(owner, "6", f"{owner}{did}6")
    for nonce in (3, 5, 6):  # a nonce that the Provider API has seen, or one below it, is not valid for a run
        with pytest.raises(ManifestRejected, match="nonce: must be higher"):
            configure(deal.job(f"late{nonce}", nonce), f"late{nonce}").stage_json()
    with pytest.raises(ManifestRejected, match="signature: must be the owner's"):
        configure(deal.job("j3", 6).model_copy(update={"nonce": 7}), "j3").stage_json()


def test_without_a_valid_order_no_file_is_fetched(deal: Deal, files: dict[str, Any], configure: Any) -> None:
    stranger = deal.chain.accounts[4]
    mine = deal.job("j1", 9)
    of_another = Deal(**{**vars(deal), "consumer": stranger}).job("j2", 1)
    no_tx = deal.job("j3", 2, inputs=[{**mine.dump()["inputs"][0], "order": {"txId": "0x" + "00" * 32, "serviceId": "compute_1"}}])
    task = configure(mine)
    for job, error in (
        (of_another, "dataset.serviceId: order_invalid (Provider 8996: sender of order transaction is not the consumer/payer.)"),
        (no_tx, "dataset.serviceId: order_invalid (Provider 8996: Failed to get tx receipt for the `startOrder` transaction.)"),
    ):
        with pytest.raises(ManifestRejected) as e:
            configure(job, f"x{job.nonce}{job.owner[-4:].lower()}").stage_json()
        assert str(e.value) == error
    with pytest.raises(ManifestRejected, match="algorithm: file_unavailable"):
        files["/code"] = None
        try:
            task.stage_json()
        finally:
            files["/code"] = CODE
    files["/code"] = b"print('changed')"
    try:
        with pytest.raises(ManifestRejected, match="dataset: algorithm_file_checksum_mismatch"):
            task.stage_json()
    finally:
        files["/code"] = CODE
    assert not any("graphql" in path for path in files["requested"])


def test_an_asset_that_was_disabled_after_the_order_is_rejected(deal: Deal, configure: Any) -> None:
    task = configure(deal.job("j1", 1))
    deal.chain.set_state(deal.asset, 4)
    try:
        with pytest.raises(ManifestRejected, match="dataset: Asset is not consumable"):
            task.stage_json()
    finally:
        deal.chain.set_state(deal.asset, 0)


def test_a_ddo_that_differs_from_the_one_on_chain_is_rejected(deal: Deal, configure: Any) -> None:
    altered = json.loads(json.dumps(deal.data))
    altered["services"][0]["compute"]["publisherTrustedAlgorithms"] = []
    task = configure(deal.job("j1", 1, inputs=[{**deal.job("j1", 1).dump()["inputs"][0], "ddo": altered}]))
    with pytest.raises(ManifestRejected, match="dataset: Asset malformed or disabled"):
        task.stage_json()


def test_an_older_ddo_is_not_accepted_if_the_node_serves_no_events(deal: Deal, configure: Any, server: Any) -> None:
    """The publisher no longer allows raw code. The consumer sends the older DDO, with its event."""
    publisher = deal.chain.accounts[1]
    asset, old = publish(deal.chain, publisher.address, lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken)]))
    new = json.loads(json.dumps(old))
    new["services"][0]["compute"]["allowRawAlgorithm"] = False
    events = [deal.chain.set_metadata(asset, text, hashlib.sha256(text).hexdigest()) for text in (m.text_of(old), m.text_of(new))]
    tx = deal.chain.buy(asset, deal.consumer.address, fee_for(deal.chain, new, "ocean-compute"))
    sent = {**old, "event": {"tx": events[0], "block": 0}}
    order = {"txId": tx, "serviceId": "compute_1"}
    code = {"rawcode": "print('leak')", "container": m.CONTAINER}
    job = deal.job("j1", 1, inputs=[{"id": old["id"], "order": order, "ddo": sent}], algorithm=code)
    job = job.model_copy(update={"signature": signatures.sign_hash(deal.consumer.key, admission.signed_text(job))})
    task = configure(job, url=server(no_logs(deal.chain)))
    with pytest.raises(UpstreamUnavailable, match="chain 8996: the RPC servers give no events of"):
        task.stage_json()


def test_a_chain_that_does_not_answer_is_asked_again_later(deal: Deal, configure: Any) -> None:
    task = configure(deal.job("j1", 1), url="http://127.0.0.1:1/KEY")
    with pytest.raises(UpstreamUnavailable, match="chain 8996: no RPC server answers; try again later") as e:
        task.stage_json()
    assert "KEY" not in str(e.value) and "127.0.0.1" not in str(e.value)


def test_an_order_does_not_expire_while_its_job_waits_in_the_queue(deal: Deal, configure: Any) -> None:
    snapshot = deal.chain.snapshot()
    try:
        task = configure(Job.parse({**deal.job("j1", 1).dump()}, "ocean-compute"), provider="0x" + "aa" * 20)
        deal.chain.forward(2 * 3600)
        with pytest.raises(ManifestRejected, match="order_invalid"):
            configure(deal.job("j2", 9), "j2").stage_json()
        task.stage_json()
    finally:
        deal.chain.revert(snapshot)


def test_with_orders_once_an_order_is_valid_for_one_job(deal: Deal, configure: Any) -> None:
    task = configure(deal.job("j1", 1), C2D_ORDERS_ONCE="1")
    task.stage_json()
    task.stage_json()
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(deal.job("j2", 2), "j2", C2D_ORDERS_ONCE="1").stage_json()
    # Neither another chainId nor another spelling of the transaction makes it a new order.
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(deal.job("j3", 3, chainId=1), "j3", C2D_ORDERS_ONCE="1").stage_json()
    upper_case = {**deal.job("j4", 4).dump()["inputs"][0], "order": {"txId": f"0x{deal.data_tx[2:].upper()}", "serviceId": "compute_1"}}
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(deal.job("j4", 4, inputs=[upper_case]), "j4", C2D_ORDERS_ONCE="1").stage_json()


def test_with_orders_once_a_reused_order_is_not_valid_for_another_job(deal: Deal, configure: Any) -> None:
    """Anybody can reuse an order for a fee, which may be zero. The datatoken was paid once."""
    task = configure(deal.job("j1", 1), C2D_ORDERS_ONCE="1")
    task.stage_json()
    fee = fee_for(deal.chain, deal.data, "ocean-compute")
    again = deal.chain.reuse_order(deal.consumer.address, deal.asset.datatoken, deal.data_tx, fee)
    second = Deal(**{**vars(deal), "data_tx": again})
    with pytest.raises(ManifestRejected, match="has been used for another job; order it again"):
        configure(second.job("j2", 2), "j2", C2D_ORDERS_ONCE="1").stage_json()
    configure(second.job("j3", 3), "j3", C2D_ORDERS_ONCE="0").stage_json()


def test_the_environment_can_forbid_the_network(deal: Deal, configure: Any) -> None:
    task = configure(deal.job("j1", 1), enableNetwork="0")
    task.stage_json()
    assert task.ctx.repository.network_allowed("j1") is False


def test_orders_are_rejected_by_an_installation_without_a_providers_key(deal: Deal, configure: Any) -> None:
    with pytest.raises(ManifestRejected, match="PROVIDER_PRIVATE_KEY is not set"):
        configure(deal.job("j1", 1), PROVIDER_PRIVATE_KEY="", access_control="open").stage_json()
