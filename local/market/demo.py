"""`python -m local.market.demo` (make demo-market): Ocean's own client publishes data, buys them and computes on them.

Everything is real and on this machine: a chain with Ocean's contracts, the whole stack with its Provider API, and the unmodified
@oceanprotocol/lib. One owner sells the two tables of examples/join, another one the algorithm. The consumer sees neither, only the results.
The exit code is 0 only if the results are as expected and a stranger gets nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from local import cluster, demo, images, stack, terminal
from local.home import Home, StackError, home, write_private
from local.market import chain, metadata_cache, npm, ocean_js
from local.market.bridge import OceanJsError
from local.market.chain import ONE, Account, Chain
from local.market.ocean_js import OceanJs, Published

EXAMPLE = "join"
TABLES = {"Penguins: size": "penguins_size.csv", "Penguins: isotopes": "penguins_isotopes.csv"}
ENVIRONMENT = {
    "id": "ocean-compute",
    "description": "Environment of the demonstration: jobs need paid orders",
    "access_control": "datatoken",
    "priceMinute": 0.5,  # OCEAN
    "maxJobs": 2,
    "maxJobDuration": 3600,
}
MINUTES = 10
PRICE = "5"  # OCEAN for a datatoken
JOB_TIMEOUT = 300  # seconds
CACHE_KEY = "0x" + "18" * 32
begin = time.monotonic()


def report(step: str, text: str) -> None:
    """Print one step with the time since the start."""
    print(f"{time.monotonic() - begin:5.0f} s  {step:9} {text}", flush=True)


def short(text: str) -> str:
    """The start of a DID or of a transaction id."""
    return f"{text[:18]}…" if len(text) > 20 else text


# -- what runs -------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def market(place: Home) -> Iterator[tuple[Chain, OceanJs, dict[str, str]]]:
    """Run the chain, the metadata cache and the stack for the block. The last item is the stack's `env`."""
    place.create()
    down(place)  # the stack of a demonstration that was killed
    with contextlib.ExitStack() as running:
        blocks = running.enter_context(chain.running(place.path))
        report("chain", f"{blocks.url}, id {blocks.chain_id}, with Ocean's contracts")
        cache = running.enter_context(metadata_cache.running(blocks, CACHE_KEY))
        write_private(place.path / "environments.yaml", yaml.safe_dump({"environments": [ENVIRONMENT]}))
        settings = {
            "C2D_ENVIRONMENTS": "environments.yaml",
            "NETWORK_URL": json.dumps({str(blocks.chain_id): blocks.url}),
            "AQUARIUS_URL": cache.url,
            "ADDRESS_FILE": str(blocks.address_file),
            "ALLOW_NON_PUBLIC_IP": "1",  # the data are on this machine
        }
        write_private(place.path / "market.env", "".join(f"{name}='{value}'\n" for name, value in settings.items()))
        running.callback(down, place)
        env = stack.up(place, place.path / "market.env")
        report("stack", f"Provider {env['PROVIDER_URL']}, Airflow {stack.login(env)}")
        yield blocks, running.enter_context(ocean_js.running(blocks, env["PROVIDER_URL"], cache.url)), env


def down(place: Home) -> None:
    with terminal.uninterrupted():
        stack.down(place)


# -- from publishing to downloading ----------------------------------------------------------------------------------
def publish(js: OceanJs, data_url: str, owner: Account, author: Account) -> tuple[list[Published], Published]:
    """Publish the algorithm, and two tables that only this algorithm may compute on. Returns the tables and the algorithm."""

    def file(path: str) -> dict[str, Any]:
        return {"type": "url", "url": f"{data_url}/{path}", "method": "GET"}

    container = {"image": "c2d.test/python-data", "tag": "1", "entrypoint": "python3 $ALGO", "checksum": images.digest("python-data")}
    algorithm = js.publish(author, "Join two tables", [file(f"algorithms/{EXAMPLE}.py")], algorithm=container, price=PRICE)
    js.known(algorithm)
    report("publish", f"algorithm “Join two tables”, {short(algorithm.did)}, for {PRICE} OCEAN")
    trusted = {"publisherTrustedAlgorithms": [js.trusted(algorithm)]}
    tables = [js.publish(owner, name, [file(path)], price=PRICE, compute=trusted) for name, path in TABLES.items()]
    for table in tables:
        js.known(table)
        name = table.ddo["metadata"]["name"]
        report("publish", f"data set “{name}”, {short(table.did)}, for {PRICE} OCEAN; only this algorithm may compute on it")
    return tables, algorithm


def buy(js: OceanJs, tables: list[Published], algorithm: Published, consumer: Account) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Buy and order each asset, and pay for the computing time. Returns the references for the job: data sets and algorithm."""
    (environment,) = js.environments()
    valid_until = int(time.time()) + MINUTES * 60
    data = [table.order() for table in tables]
    offer = js.initialize_compute(consumer.address, data, algorithm.order(), environment["id"], valid_until)
    orders = []
    for published, asset in zip([*tables, algorithm], [*offer["datasets"], offer["algorithm"]], strict=True):
        price = js.buy_datatoken(consumer, published)
        tx = js.order(consumer, environment["consumerAddress"], asset)
        fee = int(asset["providerFee"]["providerFeeAmount"]) / ONE
        compute = f", and {fee:.2f} OCEAN for {MINUTES} minutes of computing" if fee else ""
        report("buy", f"“{published.ddo['metadata']['name']}” for {price} OCEAN{compute}: order {short(tx)}")
        orders.append(published.order(tx))
    return orders[:-1], orders[-1]


def compute(js: OceanJs, data: list[dict[str, Any]], algorithm: dict[str, Any], consumer: Account) -> dict[str, Any]:
    """Run the job. Returns its last status.

    :raises StackError: the job has not ended after JOB_TIMEOUT seconds.
    """
    job = js.start(consumer, str(ENVIRONMENT["id"]), data[0], algorithm, data[1:])
    report("compute", f"job {job['jobId']}")
    printed = ""
    deadline = time.monotonic() + JOB_TIMEOUT
    while time.monotonic() < deadline:
        status = js.status(consumer.address, job["jobId"])
        text = f"{status['status']} {status['statusText'].strip()}"
        if text != printed:
            report("", text)
            printed = text
        if status["dateFinished"]:
            return status
        time.sleep(ocean_js.POLL_INTERVAL)
    raise StackError(f"The job has not ended after {JOB_TIMEOUT} s.")


def download(js: OceanJs, status: dict[str, Any], consumer: Account, folder: Path) -> dict[str, str]:
    """Download every result to `folder` and print its first lines. Returns the texts by file name."""
    texts = {}
    folder.mkdir(parents=True, exist_ok=True)
    for index, result in enumerate(status["results"]):
        name, content = js.result(consumer, status["jobId"], index)
        target = folder / os.path.basename(name)
        target.write_bytes(content)
        texts[target.name] = content.decode(errors="replace")
        report("download", f"{terminal.display_path(target)} ({result['type']}, {len(content)} bytes)")
        if result["type"] in ("output", "algorithmLog"):
            demo.show_lines(texts[target.name])
    return texts


def stranger_gets(js: OceanJs, job_id: str, data: list[dict[str, Any]], algorithm: dict[str, Any], stranger: Account) -> list[str]:
    """What a stranger gets who tries to use the consumer's orders and to download a result. Empty if the Provider rejects both."""
    problems = []
    try:
        js.start(stranger, str(ENVIRONMENT["id"]), data[0], algorithm, data[1:])
        problems.append("a stranger started a job with the consumer's orders")
    except OceanJsError as error:
        report("reject", f"a stranger uses the consumer's orders: {json.dumps(error.reason)}")
    answer = httpx.get(js.provider("getComputeResultUrl", js.provider_url, stranger, job_id, 0))
    if answer.is_success:
        problems.append("a stranger downloaded a result")
    else:
        report("reject", f"a stranger downloads the results: {answer.text[:200]}")
    return problems


def differences(expect: dict[str, Any], status: dict[str, Any], texts: dict[str, str]) -> list[str]:
    """How the job differs from examples/join/expect.json; empty if it does not."""
    problems = [f"{name} is missing" for name in expect["outputs"] if name not in texts]
    if status["status"] != 70:
        problems.append(f"the job ended with status {status['status']} {status['statusText']} instead of 70")
    for path, line in expect["lines"].items():
        if line not in texts.get(os.path.basename(path), ""):
            problems.append(f"{path} does not have the line: {line}")
    return problems


def main() -> int:
    """Run the demonstration. Returns the exit code."""
    npm.node()
    if cluster.is_kubernetes():
        raise StackError("The market runs on this machine only. Unset C2D_CLUSTER.")
    expect = demo.load(EXAMPLE).expect
    print("A market on this machine: a consumer buys two tables and an algorithm, and computes without seeing any of them.", flush=True)
    npm.modules()
    report("client", "@oceanprotocol/lib 3.3.0, unmodified")
    with market(Home(home().path / "market")) as (blocks, js, env):
        _, owner, author, consumer, stranger = blocks.accounts[:5]
        blocks.transfer(blocks.ocean, blocks.owner.address, consumer.address, 100 * ONE)
        tables, algorithm = publish(js, env["DATA_URL"], owner, author)
        orders = buy(js, tables, algorithm, consumer)
        status = compute(js, *orders, consumer)
        texts = download(js, status, consumer, Path(env["C2D_HOME"]) / "downloads" / status["jobId"])
        problems = differences(expect, status, texts) + stranger_gets(js, status["jobId"], *orders, stranger)
    return demo.verdict(problems, begin)


if __name__ == "__main__":
    terminal.run(main)
