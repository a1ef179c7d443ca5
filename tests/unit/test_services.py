"""The real stores that other tests use: that they are what those tests take them for."""

from __future__ import annotations

import time
from typing import Any


def test_minio_keeps_an_object(minio: Any) -> None:
    client, bucket = minio.client(), minio.bucket()
    client.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_a_pods_right_at_kubo_is_to_add_and_nothing_else(kubo: Any) -> None:
    import httpx

    def status(command: str, token: str | None, **options: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.post(f"{kubo.url}/api/v0/{command}", headers=headers, **options).status_code

    added = httpx.post(f"{kubo.url}/api/v0/add", headers={"Authorization": f"Bearer {kubo.pod_token}"}, files={"file": b"x"}).json()["Hash"]
    assert kubo.cat(added) == b"x"
    assert [status(c, kubo.pod_token) for c in ("id", "pin/ls", f"cat?arg={added}", f"pin/rm?arg={added}")] == [403] * 4
    assert [status("add", t, files={"file": b"y"}) for t in (None, "wrong")] == [403, 403]
    assert status("version", kubo.operator_token) == 200


def test_what_is_added_to_kubo_is_pinned_on_both_peers_of_the_cluster(ipfs_cluster: Any) -> None:
    import httpx

    node = ipfs_cluster.adds
    answer = httpx.post(
        f"{node.url}/api/v0/add?cid-version=1", headers={"Authorization": f"Bearer {node.pod_token}"}, files={"file": b"x" * 1000}
    )
    cid = answer.json()["Hash"]
    first = ipfs_cluster.peers[0]
    assert httpx.post(f"{first.url}/pins/{cid}").status_code == 401
    assert first.api("POST", f"pins/{cid}").status_code in (200, 202)
    deadline = time.monotonic() + 30
    while first.pinned_on(cid) < 2:
        assert time.monotonic() < deadline, first.api("GET", f"pins/{cid}").text
        time.sleep(0.1)
