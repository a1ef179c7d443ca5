"""The operator's and the consumer's command: ``c2d``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from c2d.crypto import ecies
from c2d.errors import C2DError, DownloadFailed, InvalidJob, InvalidSettings
from c2d.jobs.model import Job
from c2d.results import decrypt, download
from c2d.settings import installation
from c2d.settings.environment import Environment


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="c2d", description="Compute-to-Data on Apache Airflow")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="make or update the jobs' tables (C2D_DATABASE_URL)")
    commands.add_parser("check", help="read every setting and report what is wrong or has no effect")
    commands.add_parser("keygen", help="print a new operator private key")
    commands.add_parser("publickey", help="print the operator's public key (from OPERATOR_PRIVATE_KEY)")
    commands.add_parser(
        "networkpolicy", help="print the NetworkPolicy that lets publish reach the stores of the settings, for kubectl apply"
    )
    again = commands.add_parser("republish", help="publish the results of a job that ended at 62 once more, while its volume is kept")
    again.add_argument("job", metavar="JOB", help="its id")
    sealing = commands.add_parser("seal", help="seal the secrets (URLs, headers, secret) of a job: JSON on stdin, JSON on stdout")
    sealing.add_argument("--public-key", help="the operator's (default: from OPERATOR_PRIVATE_KEY); the DAG's page in Airflow shows it")
    sealing.add_argument("--job", metavar="ID", help="make it good for this job id only")
    results = commands.add_parser("results", help="list, download, verify and decrypt a job's results")
    results.add_argument("what", nargs="+", metavar="JOB", help="the job's id; with --decrypt: files, or folders of files")
    results.add_argument("--to", metavar="DIR", help="download to there, sub-folders included; goes on where a former run ended")
    results.add_argument("--index", type=int, action="append", help="only this result; several times for several (default: all)")
    results.add_argument("--url", help="from this operator-service (key: PROVIDER_PRIVATE_KEY) or Provider (key: CONSUMER_PRIVATE_KEY)")
    results.add_argument("--owner", help="with an operator-service: the consumer's address")
    results.add_argument("--decrypt", action="store_true", help="decrypt files that are here, without network (CONSUMER_PRIVATE_KEY)")
    results.add_argument("--key-file", metavar="FILE", help="holds the private key, in place of the variable")
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments)
    except C2DError as e:
        print(f"c2d: {e}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "keygen":
        print(ecies.new_private_key())
    elif arguments.command == "publickey":
        print(installation.load().public_key)
    elif arguments.command == "migrate":
        from c2d.database.connections import migrate

        migrate(installation.load().C2D_DATABASE_URL)
    elif arguments.command == "networkpolicy":
        import yaml

        from c2d.pods import network_policy

        try:
            policy = network_policy.publish_policy(installation.load())
        except OSError:
            raise InvalidSettings("a host of the stores has no address here; run this where pods' names are resolved") from None
        print(yaml.safe_dump(policy, sort_keys=False) if policy else "# results go to a volume: publish needs no network", end="")
    elif arguments.command == "republish":
        from datetime import UTC, datetime

        from c2d.database.jobs import JobRepository
        from c2d.database.retention import Retention

        Retention(JobRepository(installation.load().C2D_DATABASE_URL)).request_republish(arguments.job, datetime.now(UTC))
        print(f"job {arguments.job}: will be published again; its status tells how that went")
    elif arguments.command == "results":
        _results(arguments)
    elif arguments.command == "check":
        loaded = installation.load()
        print(f"Provider API: {'on' if loaded.provider.on else 'off (PROVIDER_PRIVATE_KEY and NETWORK_URL turn it on)'}")
        for name, value in loaded.provider.shown().items():
            print(f"  {name}: {value}")
        for note in loaded.notes():
            print(f"  {note}")
        for env in loaded.environments:
            print(f"environment {env.id}: {env.nCPU} CPU, {env.ramGB} GiB, {env.maxJobs} jobs at once, {env.maxJobDuration} s each")
            network = "the network where the data's owners allow it" if env.enableNetwork else "no network"
            print(f"  access_control: {env.access_control}; its algorithms get {network}; encrypt_results: {env.encryption}")
            for warning in [*env.notes(), *_of_the_stores(env)]:
                print(f"  {warning}")
    else:
        public_key = arguments.public_key or (installation.load().public_key if "OPERATOR_PRIVATE_KEY" in os.environ else None)
        if public_key is None:
            raise InvalidSettings("--public-key: give the operator's public key, or set OPERATOR_PRIVATE_KEY")
        try:
            conf = json.load(sys.stdin)
        except ValueError:
            raise InvalidJob("stdin: must be a job as JSON") from None
        environment = conf.get("environment", "") if isinstance(conf, dict) else ""
        job = Job.parse(conf, environment)
        if not ecies.is_public_key(public_key):
            raise InvalidSettings("--public-key: must be a secp256k1 public key, 0x and hex")
        json.dump(job.sealed(public_key, arguments.job).dump(), sys.stdout, indent=1)
        print()
    return 0


def _results(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.to) if arguments.to else None
    consumers_key = download.private_key_from("CONSUMER_PRIVATE_KEY", None if arguments.owner else arguments.key_file)
    if arguments.decrypt:
        if consumers_key is None:
            raise DownloadFailed("CONSUMER_PRIVATE_KEY: set it, or name a file that holds it with --key-file")
        decrypt.decrypt_all([Path(p) for p in arguments.what], folder, consumers_key, _say)
        return
    if len(arguments.what) > 1:
        raise DownloadFailed("give one job id")
    source = _source(arguments, consumers_key)
    results = source.list()
    if unknown := set(arguments.index or ()) - {r.index for r in results}:
        raise DownloadFailed(f"--index: there is no result {min(unknown)}")
    wanted = [r for r in results if not arguments.index or r.index in arguments.index]
    if folder is None:
        print(download.table(wanted))
        return
    for result in wanted:
        download.download(source, result, folder, consumers_key, _say)


def _source(arguments: argparse.Namespace, consumers_key: str | None) -> download.Source:
    from c2d.results import sources

    (job_id,) = arguments.what
    if not arguments.url:
        return sources.StoreSource(installation.load(), job_id)
    if arguments.owner:
        key, name = download.private_key_from("PROVIDER_PRIVATE_KEY", arguments.key_file), "PROVIDER_PRIVATE_KEY"
    else:
        key, name = consumers_key, "CONSUMER_PRIVATE_KEY"
    if key is None:
        raise DownloadFailed(f"{name}: set it, or name a file that holds it with --key-file")
    return sources.ApiSource(arguments.url, job_id, key, arguments.owner)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _of_the_stores(env: Environment) -> list[str]:
    """What is wrong with the rights that pods are given: asked of the stores themselves."""
    from c2d.errors import ResultStoreError, UpstreamUnavailable
    from c2d.results.destinations import destinations
    from c2d.results.ipfs_store import IpfsResultStore

    try:
        chosen = destinations(env).all
    except UpstreamUnavailable as e:
        return [str(e)]
    problems = []
    for destination in chosen:
        if destination.type == "ipfs":
            try:
                IpfsResultStore(env, destination.location, destination.prefix, "check").upload_rights(60, 0)
            except (ResultStoreError, UpstreamUnavailable, ConnectionError) as e:
                problems.append(str(e))
    return problems
