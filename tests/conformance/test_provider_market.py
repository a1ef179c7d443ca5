"""The Provider API on a real chain with Ocean's contracts: what is priced, ordered, started, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from c2d import intake, seal
from c2d.api.provider.service import FETCHES, QUESTIONS
from c2d.hooks.networks import networks
from c2d.intake import Wanted
from c2d.signatures import address_of, signer_of_hash
from c2d.store import jobs
from local.market.chain import Chain, fee_of
from tests.c2d.market import PROVIDER_KEY, document, service
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.provider_server import CODE, Market, market

HOUR = 3600
PRICE = "0.6"  # a minute


@pytest.fixture(scope="module")
def place(chain: Chain, postgres: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    name = f"t{uuid.uuid4().hex}"
    with sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE migrated"))
    url = sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)
    folder: Path = tmp_path_factory.mktemp("market")
    environments = folder / "environments.yaml"
    paid = f"{{id: paid, priceMinute: {PRICE}, maxJobDuration: {100 * HOUR}}}"
    environments.write_text(f"environments: [{paid}, {{id: free}}, {{id: confidential, encrypt_results: consumer}}]")
    given = {
        "OPERATOR_PRIVATE_KEY": seal.new_private_key(),
        "C2D_DATABASE_URL": url,
        "C2D_RESULTS_PATH": str(folder),
        "C2D_ENVIRONMENTS": str(environments),
    }
    with market(chain, given) as it:
        yield it
    intake.close(url)


@pytest.fixture
def consumer(place: Market) -> Consumer:
    account = place.chain.accounts[4]
    return Consumer(place.client, account.key)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def publisher(place: Market) -> str:
    return place.chain.accounts[2].address


@pytest.fixture(scope="module")
def algorithm(place: Market, publisher: str) -> Any:
    return place.publish(publisher, ("/algo.py",), "algorithm")


@pytest.fixture(scope="module")
def dataset(place: Market, publisher: str) -> Any:
    return place.publish(publisher)


def initialize(place: Market, consumer: Consumer, datasets: list[Any], algorithm: Any, env: str = "paid", seconds: int = HOUR) -> Any:
    """`datasets`, `algorithm`: assets, or what the request has for them."""
    until = int(time.time()) + seconds

    def asked(asset: Any, service: str) -> Any:
        return asset if isinstance(asset, dict) else {"documentId": asset.did, "serviceId": service}

    body = {
        "datasets": [asked(d, "compute_1") for d in datasets],
        "algorithm": asked(algorithm, "access_1"),
        "compute": {"env": env, "validUntil": until},
        "consumerAddress": consumer.address,
    }
    return place.client.post(f"{SERVICES}/initializeCompute", json=body)


def ordered(place: Market, consumer: Consumer, asset: Any, answer: dict[str, Any]) -> str:
    """Orders as clients do: for the environment, paid by the consumer."""
    env = place.service.settings.address
    return place.chain.buy(asset, env, fee_of(answer["providerFee"]), payer=consumer.address)


def start_body(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, env: str = "paid", **more: Any) -> dict[str, Any]:
    body = {"environment": env, "dataset": dataset, "algorithm": algorithm, **more}
    return {**body, **consumer.signed(consumer.address, str(dataset.get("documentId")))}


def start(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, env: str = "paid", **more: Any) -> Any:
    return place.client.post(f"{SERVICES}/compute", json=start_body(place, consumer, dataset, algorithm, env, **more))


def bought(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, env: str = "paid") -> tuple[dict[str, Any], dict[str, Any]]:
    """Both, ordered: as a start names them."""
    answer = initialize(place, consumer, [dataset], algorithm, env)
    assert answer.status_code == 200, answer.text
    fees = answer.json()
    of_data = {"documentId": dataset.did, "serviceId": "compute_1", "transferTxId": ordered(place, consumer, dataset, fees["datasets"][0])}
    of_code = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": ordered(place, consumer, algorithm, fees["algorithm"])}
    return of_data, of_code


def error(answer: Any) -> tuple[int, Any]:
    assert set(answer.json()) == {"error"}, answer.text
    return answer.status_code, answer.json()["error"]


# -- the whole way --------------------------------------------------------------------------------------------------------


def test_a_consumer_orders_starts_looks_stops_and_uses_the_order_again(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any
) -> None:
    answer = initialize(place, consumer, [dataset], algorithm)
    assert answer.status_code == 200, answer.text
    fees = answer.json()
    (of_data,) = fees["datasets"]
    assert of_data["datatoken"] == dataset.datatoken and fees["algorithm"]["datatoken"] == algorithm.datatoken
    paid = int(of_data["providerFee"]["providerFeeAmount"])
    assert isinstance(of_data["providerFee"]["providerFeeAmount"], str)
    assert 0.99 < paid / (0.6 * 60 * 10**18) <= 1 and fees["algorithm"]["providerFee"]["providerFeeAmount"] == "0"

    data_tx, code_tx = ordered(place, consumer, dataset, of_data), ordered(place, consumer, algorithm, fees["algorithm"])
    named = {"documentId": dataset.did, "serviceId": "compute_1", "transferTxId": data_tx, "userdata": {"from": 3}}
    code = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": code_tx, "algocustomdata": {"k": 1}}
    answer = start(place, consumer, named, code)
    assert answer.status_code == 200, answer.text
    (job,) = answer.json()
    assert (job["status"], job["statusText"], job["owner"], job["agreementId"]) == (1, "Warming up", consumer.address, data_tx)
    assert job["inputDID"] == [dataset.did] and job["algoDID"] == algorithm.did

    with place.service.jobs.intake.engine.connect() as c:
        conf = c.execute(sa.select(jobs.c.conf).where(jobs.c.jobId == job["jobId"])).scalar_one()
    assert conf["inputs"] == [{"id": dataset.did, "order": {"txId": data_tx, "serviceId": "compute_1", "userdata": {"from": 3}}}]
    assert conf["algorithm"]["order"] == {"txId": code_tx, "serviceId": "access_1"} and conf["algorithm"]["algocustomdata"] == {"k": 1}
    assert HOUR - 60 < conf["maxJobDuration"] <= HOUR  # what was paid for
    assert place.files.url not in json.dumps(conf)

    seen = place.client.get(f"{SERVICES}/compute", params={"consumerAddress": consumer.address, "jobId": job["jobId"]}).json()
    assert [j["jobId"] for j in seen] == [job["jobId"]]
    asked = {**consumer.signed(consumer.address, job["jobId"], dataset.did), "jobId": job["jobId"], "documentId": dataset.did}
    (stopped,) = place.client.put(f"{SERVICES}/compute", json=asked).json()
    assert stopped["stopreq"] == 1 and stopped["status"] == 70

    # The orders still cover a shorter job: nothing is to be paid.
    again = initialize(place, consumer, [named], code, seconds=HOUR // 2).json()
    assert again == {"datasets": [{"validOrder": data_tx}], "algorithm": {"validOrder": code_tx}}
    assert start(place, consumer, named, code).status_code == 200

    # For a longer one there is a new fee, paid by using the order again.
    longer = initialize(place, consumer, [named], code, seconds=26 * HOUR).json()
    assert longer["datasets"][0]["validOrder"] == data_tx
    amount = int(longer["datasets"][0]["providerFee"]["providerFeeAmount"])
    assert 0.99 < amount / (0.6 * 60 * 26 * 10**18) <= 1, "whole days count"


def test_a_free_environment_costs_nothing(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    fees = initialize(place, consumer, [dataset], algorithm, "free").json()
    assert fees["datasets"][0]["providerFee"]["providerFeeAmount"] == fees["algorithm"]["providerFee"]["providerFeeAmount"] == "0"
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    (job,) = start(place, consumer, of_data, of_code, "free").json()
    assert job["status"] == 1


def test_raw_code_runs_where_it_is_allowed(place: Market, consumer: Consumer, dataset: Any) -> None:
    container = {"image": "node", "tag": "10", "checksum": "sha256:" + "8221d20c" * 8, "entrypoint": "node $ALGO"}
    raw = {"meta": {"rawcode": "console.log('raw code')", "container": container}}
    fees = initialize(place, consumer, [dataset], raw, "free").json()
    assert set(fees) == {"datasets"}
    of_data = {"documentId": dataset.did, "serviceId": "compute_1", "transferTxId": ordered(place, consumer, dataset, fees["datasets"][0])}
    (job,) = start(place, consumer, of_data, raw, "free").json()
    assert job["algoDID"] == "raw"


def test_a_start_is_taken_once_and_only_with_the_consumers_signature(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any
) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm)
    body = start_body(place, consumer, of_data, of_code)
    thief = Consumer(place.client, place.chain.accounts[5].key)  # type: ignore[arg-type]
    refused = place.client.post(f"{SERVICES}/compute", json={**body, **thief.signed(thief.address, "did:op:other")})
    assert refused.json()["errors"] == {"signature": ["Invalid signature provided. Please check the nonce or documentId."]}
    # signed well, but not its order
    assert error(start(place, thief, of_data, of_code)) == (400, {"dataset.serviceId": "order_invalid"})
    assert place.client.post(f"{SERVICES}/compute", json=body).status_code == 200
    replayed = place.client.post(f"{SERVICES}/compute", json={**body, "consumerAddress": consumer.address.lower()})
    assert "errors" in replayed.json()
    # One order, one job at a time.
    assert error(start(place, consumer, of_data, of_code)) == (400, "`agreementId` already in use for other job.")


def test_a_start_is_refused_in_the_providers_words(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm)

    def refused(data: Any = of_data, code: Any = of_code, env: str = "paid", **more: Any) -> Any:
        return error(start(place, consumer, data, code, env, **more))

    assert refused(env="nowhere") == (400, "Compute environment does not exist")
    assert refused(additionalDatasets="x") == (400, {"additional_input": "invalid"})
    assert refused({**of_data, "documentId": "did:op:" + "0" * 64}) == (400, {"dataset.documentId": "did_not_found"})
    assert refused({**of_data, "serviceId": "other"}) == (400, {"dataset.serviceId": "not_found"})
    assert refused({**of_data, "transferTxId": "0x" + "0" * 64}) == (400, {"dataset.serviceId": "order_invalid"})
    assert refused({**of_data, "transferTxId": of_code["transferTxId"]}) == (400, {"dataset.serviceId": "order_invalid"})
    assert refused(env="free") == (400, {"dataset.serviceId": "order_invalid"})
    assert refused(code={**of_code, "documentId": dataset.did}) == (400, {"algorithm": "not_algo"})
    assert refused(code={**of_code, "transferTxId": of_data["transferTxId"]}) == (400, {"algorithm": "in_use_or_not_on_chain"})
    assert refused(additionalDatasets=[{"documentId": dataset.did}])[1] == {"datasets[1].transferTxId": "missing"}
    unpaid = place.chain.buy(algorithm, place.service.settings.address, _free(place, consumer, algorithm), payer=consumer.address)
    assert refused(output="[1]", code={**of_code, "transferTxId": unpaid}) == (400, {"output": "invalid"})


def _free(place: Market, consumer: Consumer, algorithm: Any) -> Any:
    asked = {"documentId": algorithm.did, "serviceId": "access_1", "consumerAddress": consumer.address}
    return fee_of(place.client.get(f"{SERVICES}/initialize", params=asked).json()["providerFee"])


def test_results_are_encrypted_to_who_signed_the_start(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    data, code = bought(place, consumer, dataset, algorithm, "confidential")

    def key_of(job: dict[str, Any]) -> str:
        with place.service.jobs.intake.engine.connect() as c:
            conf = c.execute(sa.select(jobs.c.conf).where(jobs.c.jobId == job["jobId"])).scalar_one()
        asked = {**consumer.signed(consumer.address, job["jobId"], dataset.did), "jobId": job["jobId"], "documentId": dataset.did}
        assert place.client.put(f"{SERVICES}/compute", json=asked).status_code == 200
        return str(conf["output"]["publicKey"])

    (job,) = start(place, consumer, data, code, "confidential").json()
    assert key_of(job) == seal.public_key(consumer.key)
    other = seal.public_key("0x" + "44" * 32)
    (job,) = start(place, consumer, data, code, "confidential", output={"publicKey": other}).json()
    assert key_of(job) == other
    expiring = {**consumer.signed(consumer.address, who="address"), "expiration": int(time.time()) + 600}
    token = place.client.get(f"{SERVICES}/createAuthToken", params=expiring).json()["token"]
    body = {"environment": "confidential", "dataset": data, "algorithm": code, "consumerAddress": consumer.address}
    answer = place.client.post(f"{SERVICES}/compute", json={**body, "nonce": consumer.next_nonce()}, headers={"AuthToken": token})
    assert answer.status_code == 400 and "output.publicKey: is required" in answer.text, answer.text


def test_initialize_compute_is_refused_in_the_providers_words(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    assert error(initialize(place, consumer, [dataset], algorithm, seconds=-5)) == (400, "The validUntil value is not correct.")
    assert error(initialize(place, consumer, [dataset], algorithm, env="nowhere")) == (400, "Compute environment does not exist")
    code_as_data = {"documentId": dataset.did, "serviceId": "compute_1"}
    assert error(initialize(place, consumer, [dataset], code_as_data)) == (400, "DID is not a valid algorithm")
    unknown = {"documentId": "did:op:" + "0" * 64, "serviceId": "x"}
    assert error(initialize(place, consumer, [unknown], algorithm)) == (400, {"datasets[0].documentId": "did_not_found"})
    assert error(initialize(place, consumer, [dataset, unknown], algorithm)) == (400, {"datasets[1].documentId": "did_not_found"})
    body = {"datasets": {"documentId": "x"}, "algorithm": {"meta": {"x": 1}}, "consumerAddress": consumer.address}
    body |= {"compute": {"env": "paid", "validUntil": int(time.time()) + 60}}
    assert error(place.client.post(f"{SERVICES}/initializeCompute", json=body)) == (400, {"datasets": "invalid"})


# -- files ------------------------------------------------------------------------------------------------------------------


def test_fileinfo_of_an_asset_tells_no_stranger_where_its_files_are(place: Market, algorithm: Any, dataset: Any) -> None:
    asked = {"did": algorithm.did, "serviceId": "access_1", "checksum": True}
    (info,) = place.client.post(f"{SERVICES}/fileinfo", json=asked).json()
    assert info == {
        "index": 0,
        "valid": True,
        "type": "url",
        "contentLength": str(len(CODE)),
        "contentType": "text/plain",
        "checksum": hashlib.sha256(CODE).hexdigest(),
        "checksumType": "sha256",
    }
    wrong = [
        ({"did": "did:op:" + "0" * 64, "serviceId": "x"}, "Cannot resolve DID"),
        ({"did": dataset.did, "serviceId": "x"}, "Invalid serviceId"),
    ]
    for body, text in wrong:
        assert error(place.client.post(f"{SERVICES}/fileinfo", json=body)) == (400, text)


def test_an_ordered_file_is_downloaded_whole_and_in_parts(place: Market, consumer: Consumer, publisher: str) -> None:
    asset = place.publish(publisher, ("/table.csv", "/algo.py"), id="access_1", type="access")
    asked = {"documentId": asset.did, "serviceId": "access_1", "consumerAddress": consumer.address, "fileIndex": 0}
    fees = place.client.get(f"{SERVICES}/initialize", params=asked).json()
    assert (fees["datatoken"], fees["providerFee"]["providerFeeAmount"]) == (asset.datatoken, "0") and isinstance(fees["nonce"], str)
    tx = place.chain.buy(asset, consumer.address, fee_of(fees["providerFee"]))

    def download(who: Consumer, index: int = 0, did: str = asset.did, headers: Any = None, **more: str) -> Any:
        given = {"documentId": did, "serviceId": "access_1", "transferTxId": tx, "fileIndex": index, **who.signed(did), **more}
        return place.client.get(f"{SERVICES}/download", params=given, headers=headers)

    whole = download(consumer, 1)
    assert whole.content == CODE and whole.headers["content-disposition"] == "attachment;filename=algo.py"
    part = download(consumer, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"b\n1", "bytes 2-4/8")
    assert error(download(consumer, 2)) == (400, "No such fileIndex 2")
    assert error(download(consumer, -1)) == (400, "No such fileIndex -1")
    thief = Consumer(place.client, place.chain.accounts[5].key)  # type: ignore[arg-type]
    status, text = error(download(thief))
    assert status == 400 and text.startswith(f"Order with tx_id {tx} could not be validated due to error: ")
    assert place.files.url not in text
    reused = place.client.get(f"{SERVICES}/initialize", params={**asked, "transferTxId": tx}).json()
    assert reused["validOrder"] == tx


def test_a_compute_asset_is_not_downloaded(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    of_data, _ = bought(place, consumer, dataset, algorithm, "free")
    given = {**of_data, "fileIndex": 0, **consumer.signed(dataset.did)}
    answer = place.client.get(f"{SERVICES}/download", params=given)
    assert error(answer) == (400, "Service with index=compute_1 is not an access service.")
    asked = {"documentId": dataset.did, "serviceId": "compute_1", "consumerAddress": consumer.address}
    refused = error(place.client.get(f"{SERVICES}/initialize", params=asked))
    assert refused == (400, "Use the initializeCompute endpoint to initialize compute jobs.")


# -- decrypt ----------------------------------------------------------------------------------------------------------------


def test_a_ddo_is_decrypted_for_a_metadata_cache(place: Market, consumer: Consumer, dataset: Any) -> None:
    tx = place.client.get("").json() and place.service.access.assets.ddos([dataset.did])[dataset.did]["event"]["tx"]
    chain = str(place.chain.chain_id)

    def ask(first: str, **changes: Any) -> Any:
        signed = consumer.signed(first, consumer.address, chain, who="decrypterAddress")
        return place.client.post(f"{SERVICES}/decrypt", json={**signed, "chainId": int(chain), "dataNftAddress": dataset.nft, **changes})

    answer = ask(tx, transactionId=tx)
    assert answer.status_code == 201 and answer.json()["id"] == dataset.did
    # A metadata cache takes the second for its nonce: several documents in one second, none of them twice.
    second = str(int(time.time()) + 10)
    bodies = [{**consumer.signed(first, consumer.address, chain, nonce=second, who="decrypterAddress")} for first in (tx, dataset.nft)]
    first, other = [{**b, "chainId": int(chain), "dataNftAddress": dataset.nft} for b in bodies]
    other |= {"encryptedDocument": "0x00", "flags": 0, "documentHash": "0x00"}
    answers = [place.client.post(f"{SERVICES}/decrypt", json=b) for b in ({**first, "transactionId": tx}, other, other)]
    assert [a.status_code for a in answers] == [201, 400, 400]
    assert error(answers[1]) == (400, "Checksum doesn't match.") and "nonce" in answers[2].json()["errors"]
    assert error(ask("0x" + "0" * 64, transactionId="0x" + "0" * 64)) == (400, "Failed to process transaction id.")
    given = {"encryptedDocument": "0x00", "flags": 2, "documentHash": "0x00"}
    assert error(ask(dataset.nft, **given)) == (400, "Failed to decrypt.")
    assert error(ask(dataset.nft, **{**given, "flags": 1})) == (400, "Failed to decompress")
    assert error(ask(dataset.nft, **{**given, "flags": "x"})) == (400, "Failed to convert input args to bytes.")
    assert error(ask(dataset.nft, **{**given, "flags": 0})) == (400, "Checksum doesn't match.")


def test_encrypted_files_are_not_had_in_the_name_of_an_nft_of_ones_own(place: Market, consumer: Consumer, dataset: Any) -> None:
    """The files of an asset stand encrypted in its DDO; whoever guesses their digest may still not read them."""
    from ecies import decrypt

    sealed = place.documents[dataset.did]["services"][0]["files"]
    digest = hashlib.sha256(decrypt(PROVIDER_KEY, bytes.fromhex(sealed[2:]))).hexdigest()
    signed = consumer.signed(dataset.nft, consumer.address, str(place.chain.chain_id), who="decrypterAddress")
    body = {**signed, "chainId": place.chain.chain_id, "dataNftAddress": dataset.nft}
    body |= {"encryptedDocument": sealed, "flags": 2, "documentHash": digest}
    assert error(place.client.post(f"{SERVICES}/decrypt", json=body)) == (400, "the document is not the DDO of dataNftAddress")


def test_jobs_are_released_with_the_orders_they_came_with(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    (job,) = start(place, consumer, of_data, of_code, "free").json()
    own = place.service.jobs.intake
    while job["jobId"] not in place.runs.started:
        assert own.release_next("free", 100, place.runs.start)
    (row,) = own.see(place.service.caller.sees, Wanted(jobId=job["jobId"]))
    assert row.provider == place.service.settings.address.lower()
    assert place.runs.started[job["jobId"]]["inputs"][0]["order"]["txId"] == of_data["transferTxId"]


# -- others that are asked -------------------------------------------------------------------------------------------------


def with_settings(place: Market, tmp_path: Path, **variables: str) -> Any:
    """The same place under other settings, as a client of its own."""
    from tests.conformance.provider_server import serving_with

    return serving_with(place, {"C2D_RESULTS_PATH": str(tmp_path), **variables})


def test_rbac_is_asked_and_has_the_last_word(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, tmp_path: Path) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    said = [{"RBAC": "RBAC Validation failed!"}]
    asked = {"documentId": algorithm.did, "serviceId": "access_1", "consumerAddress": consumer.address}
    with with_settings(place, tmp_path, RBAC_SERVER_URL=f"{place.files.url}/rbac") as client:
        place.files.contents["/rbac"] = b"false"
        body = start_body(place, consumer, of_data, of_code, "free")
        assert client.post(f"{SERVICES}/compute", json=body).json()["errors"] == said
        assert client.get(f"{SERVICES}/initialize", params=asked).json()["errors"] == said
        assert json.loads(place.files.asked[-1][3])["eventType"] == "initialize"
        place.files.contents["/rbac"] = b"true"
        assert client.get(f"{SERVICES}/initialize", params=asked).status_code == 200
        del place.files.contents["/rbac"]
        assert client.get(f"{SERVICES}/initialize", params=asked).status_code == 400


def test_a_chain_that_is_away_is_said_to_be_and_nothing_passes(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any, tmp_path: Path
) -> None:
    with with_settings(place, tmp_path, NETWORK_URL='{"8996": "http://127.0.0.1:9/RPCSECRET"}') as client:
        body = {
            "datasets": [{"documentId": dataset.did, "serviceId": "compute_1"}],
            "algorithm": {"documentId": algorithm.did, "serviceId": "access_1"},
            "compute": {"env": "free", "validUntil": int(time.time()) + 60},
            "consumerAddress": consumer.address,
        }
        answer = client.post(f"{SERVICES}/initializeCompute", json=body)
        assert answer.status_code == 503 and set(answer.json()) == {"error", "context"} and "Retry-After" in answer.headers
        assert "RPCSECRET" not in answer.text and "127.0.0.1" not in answer.text
        # what needs no chain goes on
        assert client.get("").json()["chainIds"] == [8996]
        assert client.get(f"{SERVICES}/compute", params={"consumerAddress": consumer.address}).status_code == 200


def test_a_metadata_cache_that_is_away_is_said_to_be(place: Market, consumer: Consumer, algorithm: Any, tmp_path: Path) -> None:
    with with_settings(place, tmp_path, AQUARIUS_URL="http://127.0.0.1:9/SECRET") as client:
        asked = {"documentId": algorithm.did, "serviceId": "access_1", "consumerAddress": consumer.address}
        answer = client.get(f"{SERVICES}/initialize", params=asked)
        assert answer.status_code == 503 and "SECRET" not in answer.text


def test_decrypters_can_be_named(place: Market, consumer: Consumer, dataset: Any, tmp_path: Path) -> None:
    chain = str(place.chain.chain_id)
    with with_settings(place, tmp_path, AUTHORIZED_DECRYPTERS=json.dumps([place.chain.accounts[9].address])) as client:
        signed = consumer.signed(dataset.nft, consumer.address, chain, who="decrypterAddress")
        body = {**signed, "chainId": int(chain), "dataNftAddress": dataset.nft, "encryptedDocument": "0x", "flags": 0, "documentHash": "0x"}
        assert error(client.post(f"{SERVICES}/decrypt", json=body)) == (403, "Decrypter not authorized")


def downloaded(place: Market, client: Any, consumer: Consumer, publisher: str) -> tuple[Any, str]:
    """An asset of which a file was downloaded, and its order."""
    asset = place.publish(publisher, id="access_1", type="access")
    tx = place.chain.buy(asset, consumer.address, _free(place, consumer, asset))
    given = {"documentId": asset.did, "serviceId": "access_1", "transferTxId": tx, "fileIndex": 0, **consumer.signed(asset.did)}
    assert client.get(f"{SERVICES}/download", params=given).content == b"a,b\n1,2\n"
    return asset, tx


def test_a_download_is_proven_to_a_url(place: Market, consumer: Consumer, publisher: str, tmp_path: Path) -> None:
    place.files.contents["/proof"] = b"{}"
    with with_settings(place, tmp_path, USE_HTTP_PROOF=f"{place.files.url}/proof") as client:
        asset, tx = downloaded(place, client, consumer, publisher)
        (body,) = [json.loads(body) for _, path, _, body in place.files.asked if path == "/proof"]
        assert body["orderTxId"] == tx and body["consumerAddress"] == consumer.address and body["consumerData"].startswith(asset.did)
        assert signer_of_hash(body["consumerData"], body["consumerSignature"]) == consumer.address
        assert signer_of_hash(body["providerData"], body["providerSignature"]) == address_of(PROVIDER_KEY)
        # A receiver that is away holds nobody up.
        del place.files.contents["/proof"]
        downloaded(place, client, consumer, publisher)


def test_a_download_is_proven_on_the_chain(place: Market, consumer: Consumer, publisher: str, tmp_path: Path) -> None:
    place.chain.rpc("anvil_setBalance", address_of(PROVIDER_KEY), hex(10**20))
    with with_settings(place, tmp_path, USE_CHAIN_PROOF="1") as client:
        asset, tx = downloaded(place, client, consumer, publisher)
    block = place.chain.rpc("eth_getBlockByNumber", "latest", False)
    (event,) = place.chain.events(block["transactions"][0], "ERC20Template", "OrderExecuted")
    assert event.address.lower() == asset.datatoken.lower() and "0x" + bytes(event.args["orderTxId"]).hex() == tx
    assert event.args["consumerAddress"] == consumer.address


def test_another_providers_asset_is_priced_by_that_provider(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    other = place.chain.publish(place.chain.accounts[3].address)
    sealed = service(other.nft, other.datatoken, key="0x" + "44" * 32, id="access_1", type="access", serviceEndpoint=place.files.url)
    place.describe(other, document(other.nft, [sealed]))
    said = {"datatoken": other.datatoken, "providerFee": {"providerFeeAmount": "0"}, "nonce": "1", "more": "x"}
    place.files.contents["/api/services/initialize"] = json.dumps(said).encode()
    more = {"documentId": other.did, "serviceId": "access_1"}
    fees = initialize(place, consumer, [dataset, more], algorithm).json()
    assert fees["datasets"][1] == {"datatoken": other.datatoken, "providerFee": {"providerFeeAmount": "0"}}
    assert int(fees["datasets"][0]["providerFee"]["providerFeeAmount"]) > 0
    (path,) = [path for _, path, _, _ in place.files.asked if path.startswith("/api/services/initialize")]
    assert f"documentId={other.did.replace(':', '%3A')}" in path and f"consumerAddress={consumer.address}" in path
    for content in (b"{", b"[]", b"x" * 100_000):
        place.files.contents["/api/services/initialize"] = content
        assert initialize(place, consumer, [dataset, more], algorithm).status_code == 400
    del place.files.contents["/api/services/initialize"]
    assert initialize(place, consumer, [dataset, more], algorithm).status_code == 400


def test_only_so_many_ask_the_chain_at_once(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(QUESTIONS):
            stack.enter_context(place.service.asking())
        assert initialize(place, consumer, [dataset], algorithm).status_code == 429
        assert place.client.get("").status_code == 200
    assert initialize(place, consumer, [dataset], algorithm).status_code == 200


def test_no_more_data_sets_are_looked_at_than_a_job_may_have(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be a request to the metadata cache, all at once, for anybody who asks."""
    monkeypatch.setattr(type(place.service.access.assets), "ddos", lambda *_: pytest.fail("the cache was asked"))
    many = [{"documentId": f"did:op:{n:064x}", "serviceId": "s", "transferTxId": "0x"} for n in range(101)]
    assert error(initialize(place, consumer, many, algorithm)) == (400, {"datasets": "invalid"})
    code = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": "0x"}
    assert error(start(place, consumer, many[0], code, additionalDatasets=many)) == (400, {"additional_input": "invalid"})


def test_a_chain_whose_id_is_not_given_is_asked_for_it(place: Market) -> None:
    dead = "http://127.0.0.1:9"
    assert networks({0: (dead, place.chain.url)}) == {place.chain.chain_id: (dead, place.chain.url)}
    assert networks({0: (dead,)}) == networks({0: (dead,)}) == {}
    assert networks({1: (dead,), 0: (place.chain.url,)}) == {1: (dead,), place.chain.chain_id: (place.chain.url,)}


def test_only_so_many_files_are_looked_at_at_once(place: Market, algorithm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told to come back: each look holds one of the API server's threads."""
    asked = {"did": algorithm.did, "serviceId": "access_1"}
    with contextlib.ExitStack() as stack:
        for _ in range(FETCHES):
            stack.enter_context(place.service.fetching())
        answer = place.client.post(f"{SERVICES}/fileinfo", json=asked)
        assert answer.status_code == 429 and answer.headers["Retry-After"]
    assert place.client.post(f"{SERVICES}/fileinfo", json=asked).status_code == 200


def test_a_file_by_itself_is_looked_at_under_guard(place: Market, tmp_path: Path) -> None:
    file = {"type": "url", "url": f"{place.files.url}/table.csv", "checksum": True}
    (info,) = place.client.post(f"{SERVICES}/fileinfo", json=file).json()
    assert info["valid"] and info["filename"] == "table.csv" and info["checksum"] == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    place.files.asked.clear()
    with with_settings(place, tmp_path, ALLOW_NON_PUBLIC_IP="0") as client:
        assert client.post(f"{SERVICES}/fileinfo", json=file).json() == [{"index": 0, "valid": False, "type": "url"}]
    assert place.files.asked == []


def test_a_container_is_looked_up_in_its_registry(place: Market) -> None:
    whole = {"entrypoint": "node $ALGO", "image": "node", "tag": "10", "checksum": "sha256:" + "8221d20c" * 8}
    for change, text in (
        ({"image": ""}, "missing_entrypoint_image_checksum"),
        ({"entrypoint": None}, "missing_entrypoint_image_checksum"),
        ({"checksum": ""}, "missing_entrypoint_image_checksum"),
        ({"checksum": "8221"}, "checksum_prefix"),
        ({"checksum": "sha256:1"}, "invalid"),
        ({"image": "../x"}, "invalid"),
        ({"image": "127.0.0.1:9/x"}, "invalid"),
    ):
        assert error(place.client.post(f"{SERVICES}/validateContainer", json={**whole, **change})) == (400, text)
