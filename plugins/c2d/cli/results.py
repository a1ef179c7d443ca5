"""Commands for jobs' results: ``results``, ``republish``."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from c2d.cli.command import Commands, add_command
from c2d.errors import DownloadFailed
from c2d.settings import installation

if TYPE_CHECKING:
    from c2d.results.download import Source


def add_commands(commands: Commands) -> None:
    """Add this module's commands to the command line."""
    purpose = "publish the results of a job that ended with status 62, within 24 hours of its end"
    republish = add_command(commands, "republish", _republish, purpose)
    republish.add_argument("job", metavar="JOB", help="the job's id")
    results = add_command(commands, "results", _results, "list, download, verify and decrypt the results of a job")
    results.add_argument("what", nargs="+", metavar="JOB", help="the job's id; with --decrypt: files, or folders with files")
    results.add_argument("--to", metavar="DIR", help="download to this folder; continues a download that was interrupted")
    results.add_argument("--index", type=int, metavar="N", action="append", help="only this result; can be repeated (default: all)")
    results.add_argument(
        "--url", help="download from this Provider (key: CONSUMER_PRIVATE_KEY) or Operator-Service (key: PROVIDER_PRIVATE_KEY)"
    )
    results.add_argument("--owner", metavar="ADDRESS", help="the consumer's address; needed with an Operator-Service")
    results.add_argument(
        "--decrypt", action="store_true", help="decrypt files on this machine, without network (key: CONSUMER_PRIVATE_KEY)"
    )
    results.add_argument("--key-file", metavar="FILE", help="read the private key from this file instead of the variable")


def _republish(arguments: argparse.Namespace) -> None:
    from c2d.database.jobs import JobRepository
    from c2d.database.retention import Retention

    Retention(JobRepository(installation.load().C2D_DATABASE_URL)).request_republish(arguments.job, datetime.now(UTC))
    print(f"job {arguments.job}: will be published again; its status shows the result")


def _results(arguments: argparse.Namespace) -> None:
    from c2d.results import decrypt, download

    consumers_key = download.private_key_from("CONSUMER_PRIVATE_KEY", None if arguments.owner else arguments.key_file)
    folder = Path(arguments.to) if arguments.to else None
    if arguments.decrypt:
        paths = [Path(path) for path in arguments.what]
        decrypt.decrypt_all(paths, folder, _required(consumers_key, "CONSUMER_PRIVATE_KEY"), _report)
        return
    source = _source(arguments, consumers_key)
    results = source.list()
    if unknown := set(arguments.index or ()) - {result.index for result in results}:
        raise DownloadFailed(f"--index: there is no result {min(unknown)}")
    selected = [result for result in results if not arguments.index or result.index in arguments.index]
    if folder is None:
        print(download.table(selected))
        return
    for result in selected:
        download.download(source, result, folder, consumers_key, _report)


def _source(arguments: argparse.Namespace, consumers_key: str | None) -> Source:
    """Where the results come from: a Provider, an Operator-Service, or the stores of this installation."""
    from c2d.results import download, sources

    if len(arguments.what) > 1:
        raise DownloadFailed("JOB: give one job id")
    (job_id,) = arguments.what
    if not arguments.url:
        return sources.StoreSource(installation.load(), job_id)
    if not arguments.owner:
        return sources.ApiSource(arguments.url, job_id, _required(consumers_key, "CONSUMER_PRIVATE_KEY"), None)
    providers_key = download.private_key_from("PROVIDER_PRIVATE_KEY", arguments.key_file)
    return sources.ApiSource(arguments.url, job_id, _required(providers_key, "PROVIDER_PRIVATE_KEY"), arguments.owner)


def _required(private_key: str | None, variable: str) -> str:
    if private_key is None:
        raise DownloadFailed(f"{variable}: set it, or name a file that holds the key with --key-file")
    return private_key


def _report(text: str) -> None:
    """Progress goes to stderr, results go to stdout."""
    print(text, file=sys.stderr)
