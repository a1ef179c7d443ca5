"""The Provider API on a real chain: files of assets, decryption of DDOs, proofs of downloads, containers."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from c2d.api.provider.service import DOWNLOAD_SLOTS
from c2d.crypto.signatures import address_of, signer_of_hash
from local.market.fees import fee_of
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.deals import algorithm, bought, consumer, dataset, error, free_fee, place, publisher, with_settings  # noqa: F401
from tests.conformance.provider_server import CODE, Market
from tests.unit.sample_market import PROVIDER_KEY

# -- files ------------------------------------------------------------------------------------------------------------------


def test_fileinfo_of_an_asset_does_not_reveal_the_addresses_of_its_files(place: Market, algorithm: Any, dataset: Any) -> None:
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
        ({"did": dataset.did, "type": "url", "url": "http://127.0.0.1:9/"}, "Invalid serviceId"),
    ]
    for body, text in wrong:
        assert error(place.client.post(f"{SERVICES}/fileinfo", json=body)) == (400, text)


def test_an_ordered_file_can_be_downloaded_whole_and_in_parts(place: Market, consumer: Consumer, publisher: str) -> None:
    asset = place.publish(publisher, ("/table.csv", "/algo.py"), id="access_1", type="access")
    asked = {"documentId": asset.did, "serviceId": "access_1", "consumerAddress": consumer.address, "fileIndex": 0}
    fees = place.client.get(f"{SERVICES}/initialize", params=asked).json()
    assert (fees["datatoken"], fees["providerFee"]["providerFeeAmount"]) == (asset.datatoken, "0") and isinstance(fees["nonce"], str)
    tx = place.chain.buy(asset, consumer.address, fee_of(fees["providerFee"]))

    def download(who: Consumer, index: int = 0, did: str = asset.did, headers: Any = None, **more: str) -> Any:
        request = {"documentId": did, "serviceId": "access_1", "transferTxId": tx, "fileIndex": index, **who.signed(did), **more}
        return place.client.get(f"{SERVICES}/download", params=request, headers=headers)

    whole = download(consumer, 1)
    assert whole.content == CODE and whole.headers["content-disposition"] == "attachment;filename=algo.py"
    part = download(consumer, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"b\n1", "bytes 2-4/8")
    assert error(download(consumer, 2)) == (400, "No such fileIndex 2")
    assert error(download(consumer, -1)) == (400, "No such fileIndex -1")
    # The signed text does not contain the address, so a request with the address in other letter case is a replay.
    signed = consumer.signed(asset.did)
    assert download(consumer, **signed).status_code == 200
    for letters in (consumer.address, consumer.address.lower(), "0x" + consumer.address[2:].upper()):
        assert "nonce" in download(consumer, **{**signed, "consumerAddress": letters}).json()["errors"]
    thief = Consumer(place.client, place.chain.accounts[5].key)  # type: ignore[arg-type]
    status, text = error(download(thief))
    assert status == 400 and text.startswith(f"Order with tx_id {tx} could not be validated due to error: ")
    assert place.files.url not in text
    reused = place.client.get(f"{SERVICES}/initialize", params={**asked, "transferTxId": tx}).json()
    assert reused["validOrder"] == tx


def test_an_aborted_download_releases_its_slot(place: Market, consumer: Consumer, publisher: str) -> None:
    place.files.contents["/large"] = bytes(64 * 2**20)
    asset = place.publish(publisher, ("/large",), id="access_1", type="access")
    tx = place.chain.buy(asset, consumer.address, free_fee(place, consumer, asset))
    request = {"documentId": asset.did, "serviceId": "access_1", "transferTxId": tx, "fileIndex": 0, **consumer.signed(asset.did)}
    with place.client.stream("GET", f"{SERVICES}/download", params=request) as answer:
        assert answer.status_code == 200 and next(answer.iter_raw())
    free = place.service._download_slots._free
    assert all(free.acquire(timeout=20) for _ in range(DOWNLOAD_SLOTS))
    free.release(DOWNLOAD_SLOTS)


def test_an_asset_for_computing_cannot_be_downloaded(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    of_data, _ = bought(place, consumer, dataset, algorithm, "free")
    request = {**of_data, "fileIndex": 0, **consumer.signed(dataset.did)}
    answer = place.client.get(f"{SERVICES}/download", params=request)
    assert error(answer) == (400, "Service with index=compute_1 is not an access service.")
    asked = {"documentId": dataset.did, "serviceId": "compute_1", "consumerAddress": consumer.address}
    refused = error(place.client.get(f"{SERVICES}/initialize", params=asked))
    assert refused == (400, "Use the initializeCompute endpoint to initialize compute jobs.")


def test_fileinfo_of_a_url_does_not_connect_to_private_addresses(place: Market, tmp_path: Path) -> None:
    file = {"type": "url", "url": f"{place.files.url}/table.csv", "checksum": True}
    (info,) = place.client.post(f"{SERVICES}/fileinfo", json=file).json()
    assert info["valid"] and info["filename"] == "table.csv" and info["checksum"] == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    place.files.asked.clear()
    with with_settings(place, tmp_path, ALLOW_NON_PUBLIC_IP="0") as client:
        assert client.post(f"{SERVICES}/fileinfo", json=file).json() == [{"index": 0, "valid": False, "type": "url"}]
    assert place.files.asked == []


def test_an_invalid_container_is_rejected(place: Market) -> None:
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


def downloaded(place: Market, client: Any, consumer: Consumer, publisher: str) -> tuple[Any, str]:
    """Publish an asset, order it and download its file. Returns the asset and the order's transaction id."""
    asset = place.publish(publisher, id="access_1", type="access")
    tx = place.chain.buy(asset, consumer.address, free_fee(place, consumer, asset))
    request = {"documentId": asset.did, "serviceId": "access_1", "transferTxId": tx, "fileIndex": 0, **consumer.signed(asset.did)}
    assert client.get(f"{SERVICES}/download", params=request).content == b"a,b\n1,2\n"
    return asset, tx


def test_a_proof_of_a_download_is_sent_to_a_url(place: Market, consumer: Consumer, publisher: str, tmp_path: Path) -> None:
    place.files.contents["/proof"] = b"{}"
    with with_settings(place, tmp_path, USE_HTTP_PROOF=f"{place.files.url}/proof") as client:
        asset, tx = downloaded(place, client, consumer, publisher)
        (body,) = [json.loads(body) for _, path, _, body in place.files.asked if path == "/proof"]
        assert body["orderTxId"] == tx and body["consumerAddress"] == consumer.address and body["consumerData"].startswith(asset.did)
        assert signer_of_hash(body["consumerData"], body["consumerSignature"]) == consumer.address
        assert signer_of_hash(body["providerData"], body["providerSignature"]) == address_of(PROVIDER_KEY)
        # An unavailable receiver does not prevent downloads.
        del place.files.contents["/proof"]
        downloaded(place, client, consumer, publisher)


def test_a_proof_of_a_download_is_sent_to_the_chain(place: Market, consumer: Consumer, publisher: str, tmp_path: Path) -> None:
    place.chain.rpc("anvil_setBalance", address_of(PROVIDER_KEY), hex(10**20))
    with with_settings(place, tmp_path, USE_CHAIN_PROOF="1") as client:
        asset, tx = downloaded(place, client, consumer, publisher)
    block = place.chain.rpc("eth_getBlockByNumber", "latest", False)
    (event,) = place.chain.events(block["transactions"][0], "ERC20Template", "OrderExecuted")
    assert event.address.lower() == asset.datatoken.lower() and "0x" + bytes(event.args["orderTxId"]).hex() == tx
    assert event.args["consumerAddress"] == consumer.address


# -- decrypt ----------------------------------------------------------------------------------------------------------------


def test_a_ddo_is_decrypted_for_a_metadata_cache(place: Market, consumer: Consumer, dataset: Any) -> None:
    tx = place.client.get("").json() and place.service.access.assets.ddos([dataset.did])[dataset.did]["event"]["tx"]
    chain = str(place.chain.chain_id)

    def ask(first: str, **changes: Any) -> Any:
        signed = consumer.signed(first, consumer.address, chain, who="decrypterAddress")
        return place.client.post(f"{SERVICES}/decrypt", json={**signed, "chainId": int(chain), "dataNftAddress": dataset.nft, **changes})

    answer = ask(tx, transactionId=tx)
    assert answer.status_code == 201 and answer.json()["id"] == dataset.did
    # A metadata cache uses the current second as its nonce: several documents in one second are allowed, each only once.
    second = str(int(time.time()) + 10)
    bodies = [{**consumer.signed(first, consumer.address, chain, nonce=second, who="decrypterAddress")} for first in (tx, dataset.nft)]
    first, other = [{**b, "chainId": int(chain), "dataNftAddress": dataset.nft} for b in bodies]
    other |= {"encryptedDocument": "0x00", "flags": 0, "documentHash": "0x00"}
    answers = [place.client.post(f"{SERVICES}/decrypt", json=b) for b in ({**first, "transactionId": tx}, other, other)]
    assert [a.status_code for a in answers] == [201, 400, 400]
    assert error(answers[1]) == (400, "Checksum doesn't match.") and "nonce" in answers[2].json()["errors"]
    assert error(ask("0x" + "0" * 64, transactionId="0x" + "0" * 64)) == (400, "Failed to process transaction id.")
    request = {"encryptedDocument": "0x00", "flags": 2, "documentHash": "0x00"}
    assert error(ask(dataset.nft, **request)) == (400, "Failed to decrypt.")
    assert error(ask(dataset.nft, **{**request, "flags": 1})) == (400, "Failed to decompress")
    assert error(ask(dataset.nft, **{**request, "flags": "x"})) == (400, "Failed to convert input args to bytes.")
    assert error(ask(dataset.nft, **{**request, "flags": 0})) == (400, "Checksum doesn't match.")


def test_encrypted_files_are_not_decrypted_as_a_document(place: Market, consumer: Consumer, dataset: Any) -> None:
    """The files of an asset are encrypted in its DDO. Knowing their hash must not be enough to decrypt them."""
    from ecies import decrypt

    sealed = place.documents[dataset.did]["services"][0]["files"]
    digest = hashlib.sha256(decrypt(PROVIDER_KEY, bytes.fromhex(sealed[2:]))).hexdigest()
    signed = consumer.signed(dataset.nft, consumer.address, str(place.chain.chain_id), who="decrypterAddress")
    body = {**signed, "chainId": place.chain.chain_id, "dataNftAddress": dataset.nft}
    body |= {"encryptedDocument": sealed, "flags": 2, "documentHash": digest}
    assert error(place.client.post(f"{SERVICES}/decrypt", json=body)) == (400, "the document is not the DDO of dataNftAddress")


def test_only_authorized_decrypters_can_decrypt_a_ddo(place: Market, consumer: Consumer, dataset: Any, tmp_path: Path) -> None:
    chain = str(place.chain.chain_id)
    with with_settings(place, tmp_path, AUTHORIZED_DECRYPTERS=json.dumps([place.chain.accounts[9].address])) as client:
        signed = consumer.signed(dataset.nft, consumer.address, chain, who="decrypterAddress")
        body = {**signed, "chainId": int(chain), "dataNftAddress": dataset.nft, "encryptedDocument": "0x", "flags": 0, "documentHash": "0x"}
        assert error(client.post(f"{SERVICES}/decrypt", json=body)) == (403, "Decrypter not authorized")
