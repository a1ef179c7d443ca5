"""`python -m local.market.demo` (make demo-market): data are published, bought and computed on by Ocean's own client.

Everything is real and on this machine: a chain with Ocean's contracts, the whole stack with its Provider API, the unmodified
@oceanprotocol/lib. One owner sells the two tables of examples/join, another the algorithm; the consumer gets neither, only the results.
Ends with 0 only when the results are the expected ones and a stranger has got nothing.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from local import cluster, demo, images, stack
from local.home import Home, StackError, home, write_private
from local.market import chain, metadata_cache, npm, ocean_js
from local.market.chain import ONE, Account, Chain
from local.market.ocean_js import OceanJs, Published, Refused

EXAMPLE = "join"
TABLES = {"Penguins: size": "penguins_size.csv", "Penguins: isotopes": "penguins_isotopes.csv"}
ENVIRONMENT = {
    "id": "ocean-compute",
    "description": "of the demonstration: only for those who have paid",
    "access_control": "datatoken",
    "priceMinute": 0.5,  # OCEAN
    "maxJobs": 2,
    "maxJobDuration": 3600,
}
MINUTES = 10
PRICE = "5"  # OCEAN for a datatoken
WITHIN = 300  # seconds for the job
CACHE_KEY = "0x" + "18" * 32
begun = time.monotonic()


def say(what: str, text: str) -> None:
    print(f"{time.monotonic() - begun:5.0f} s  {what:9} {text}", flush=True)


def short(text: str) -> str:
    return f"{text[:18]}…" if len(text) > 20 else text


# -- what runs -------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def market(place: Home) -> Iterator[tuple[Chain, OceanJs, dict[str, str]]]:
    """The chain, the metadata cache and the stack, for as long as this lasts; what C2D_HOME/env says."""
    place.create()
    down(place)  # one that was left behind
    with contextlib.ExitStack() as running:
        blocks = running.enter_context(chain.running(place.path))
        say("chain", f"{blocks.url}, id {blocks.chain_id}, with Ocean's contracts")
        cache = running.enter_context(metadata_cache.running(blocks, CACHE_KEY))
        write_private(place.path / "environments.yaml", yaml.safe_dump({"environments": [ENVIRONMENT]}))
        settings = {
            "C2D_ENVIRONMENTS": "environments.yaml",
            "NETWORK_URL": json.dumps({str(blocks.chain_id): blocks.url}),
            "AQUARIUS_URL": cache.url,
            "ADDRESS_FILE": str(blocks.address_file),
            "ALLOW_NON_PUBLIC_IP": "1",  # the data lie on this machine
        }
        write_private(place.path / "market.env", "".join(f"{name}='{value}'\n" for name, value in settings.items()))
        running.callback(down, place)
        told = stack.up(place, place.path / "market.env")
        say("stack", f"{told['PROVIDER_URL']}  (Airflow: {told['AIRFLOW_URL']}, {told['AIRFLOW_USER']}, {told['AIRFLOW_PASSWORD']})")
        yield blocks, running.enter_context(ocean_js.running(blocks, told["PROVIDER_URL"], cache.url)), told


def down(place: Home) -> None:
    with demo.uninterrupted():
        stack.down(place)


# -- the way of the data ---------------------------------------------------------------------------------------------
def publish(js: OceanJs, data_url: str, owner: Account, author: Account) -> tuple[list[Published], Published]:
    """Two tables that this one algorithm may compute on, and the algorithm."""

    def file(path: str) -> dict[str, Any]:
        return {"type": "url", "url": f"{data_url}/{path}", "method": "GET"}

    container = {"image": "c2d.test/python-data", "tag": "1", "entrypoint": "python3 $ALGO", "checksum": images.digest("python-data")}
    algorithm = js.publish(author, "Join two tables", [file(f"algorithms/{EXAMPLE}.py")], algorithm=container, price=PRICE)
    js.known(algorithm)
    say("publish", f"algorithm “Join two tables”, {short(algorithm.did)}, for {PRICE} OCEAN")
    trusted = {"publisherTrustedAlgorithms": [js.trusted(algorithm)]}
    tables = [js.publish(owner, name, [file(path)], price=PRICE, compute=trusted) for name, path in TABLES.items()]
    for table in tables:
        js.known(table)
        name = table.ddo["metadata"]["name"]
        say("publish", f"data “{name}”, {short(table.did)}, for {PRICE} OCEAN; this algorithm alone may compute on it")
    return tables, algorithm


def buy(js: OceanJs, tables: list[Published], algorithm: Published, consumer: Account) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A datatoken and an order of each, and the environment's price for the time; all as the job names it."""
    (environment,) = js.environments()
    valid_until = int(time.time()) + MINUTES * 60
    asked = js.initialize_compute(consumer.address, [table.order() for table in tables], algorithm.order(), environment["id"], valid_until)
    named = []
    for published, asset in zip([*tables, algorithm], [*asked["datasets"], asked["algorithm"]], strict=True):
        paid = js.buy_datatoken(consumer, published)
        tx = js.order(consumer, environment["consumerAddress"], asset)
        fee = int(asset["providerFee"]["providerFeeAmount"]) / ONE
        compute = f", and {fee:.2f} OCEAN for {MINUTES} minutes of computing" if fee else ""
        say("buy", f"“{published.ddo['metadata']['name']}” for {paid} OCEAN{compute}: order {short(tx)}")
        named.append(published.order(tx))
    return named[:-1], named[-1]


def compute(js: OceanJs, data: list[dict[str, Any]], algorithm: dict[str, Any], consumer: Account) -> dict[str, Any]:
    """The job's last status."""
    job = js.start(consumer, str(ENVIRONMENT["id"]), data[0], algorithm, data[1:])
    say("compute", f"job {job['jobId']}")
    said = ""
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        status = js.status(consumer.address, job["jobId"])
        text = f"{status['status']} {status['statusText'].strip()}"
        if text != said:
            say("", text)
            said = text
        if status["dateFinished"]:
            return status
        time.sleep(ocean_js.EVERY)
    raise StackError(f"The job has not ended after {WITHIN} s.")


def download(js: OceanJs, status: dict[str, Any], consumer: Account, folder: Path) -> dict[str, str]:
    """Every result by its name, shown and kept in `folder`."""
    texts = {}
    folder.mkdir(parents=True, exist_ok=True)
    for index, result in enumerate(status["results"]):
        name, content = js.result(consumer, status["jobId"], index)
        target = folder / os.path.basename(name)
        target.write_bytes(content)
        texts[target.name] = content.decode(errors="replace")
        say("download", f"{os.path.relpath(target)} ({result['type']}, {len(content)} bytes)")
        if result["type"] in ("output", "algorithmLog"):
            demo.show_lines(texts[target.name])
    return texts


def refused(js: OceanJs, job_id: str, data: list[dict[str, Any]], algorithm: dict[str, Any], stranger: Account) -> list[str]:
    """What a stranger got who tries the consumer's order and its result; nothing when all is well."""
    wrong = []
    try:
        js.start(stranger, str(ENVIRONMENT["id"]), data[0], algorithm, data[1:])
        wrong.append("a stranger started a job with the consumer's orders")
    except Refused as refusal:
        say("refuse", f"a stranger who uses the consumer's orders: {json.dumps(refusal.reason)}")
    answer = httpx.get(js.provider("getComputeResultUrl", js.provider_url, stranger, job_id, 0))
    if answer.is_success:
        wrong.append("a stranger downloaded a result")
    else:
        say("refuse", f"a stranger who wants the results: {answer.text[:200]}")
    return wrong


def differences(expect: dict[str, Any], status: dict[str, Any], texts: dict[str, str]) -> list[str]:
    """What is not as examples/join/expect.json says."""
    found = [f"{name} is missing" for name in expect["outputs"] if name not in texts]
    if status["status"] != 70:
        found.append(f"the job ended {status['status']} {status['statusText']}, 70 is expected")
    for path, line in expect["lines"].items():
        if line not in texts.get(os.path.basename(path), ""):
            found.append(f"{path} has no line with: {line}")
    return found


def main() -> int:
    npm.node()
    if cluster.is_kubernetes():
        raise StackError("The demonstration of a market runs on this machine alone; unset C2D_CLUSTER.")
    _, expect, _ = demo.load(EXAMPLE)
    print("A market on this machine: two tables and an algorithm are sold, and the buyer computes without seeing either.", flush=True)
    npm.modules()
    say("client", "@oceanprotocol/lib 3.3.0, unmodified")
    with market(Home(home().path / "market")) as (blocks, js, told):
        _, owner, author, consumer, stranger = blocks.accounts[:5]
        blocks.transfer(blocks.ocean, blocks.owner.address, consumer.address, 100 * ONE)
        tables, algorithm = publish(js, told["DATA_URL"], owner, author)
        named = buy(js, tables, algorithm, consumer)
        status = compute(js, *named, consumer)
        texts = download(js, status, consumer, Path(told["C2D_HOME"]) / "downloads" / status["jobId"])
        wrong = differences(expect, status, texts) + refused(js, status["jobId"], *named, stranger)
    return demo.verdict(wrong, begun)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stack.interrupt)
    raise SystemExit(stack.guarded(main))
