"""Commands for keys and secrets: ``keygen``, ``publickey``, ``seal``."""

from __future__ import annotations

import argparse
import json
import os
import sys

from c2d.cli.command import Commands, add_command
from c2d.crypto import ecies
from c2d.errors import InvalidJob, InvalidSettings
from c2d.settings import installation


def add_commands(commands: Commands) -> None:
    """Add this module's commands to the command line."""
    add_command(commands, "keygen", _keygen, "print a new private key for OPERATOR_PRIVATE_KEY")
    add_command(commands, "publickey", _publickey, "print the operator's public key, which belongs to OPERATOR_PRIVATE_KEY")
    seal = add_command(commands, "seal", _seal, "seal the secrets of a job (URLs, headers, secret): JSON from stdin to stdout")
    seal.add_argument(
        "--public-key", metavar="KEY", help="the operator's (default: from OPERATOR_PRIVATE_KEY); the DAG's page in Airflow shows it"
    )
    seal.add_argument("--job", metavar="ID", help="seal for the job with this id only")


def _keygen(arguments: argparse.Namespace) -> None:
    print(ecies.new_private_key())


def _publickey(arguments: argparse.Namespace) -> None:
    print(installation.load().public_key)


def _seal(arguments: argparse.Namespace) -> None:
    from c2d.jobs.model import Job

    public_key = arguments.public_key or _operators_public_key()
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


def _operators_public_key() -> str:
    if "OPERATOR_PRIVATE_KEY" not in os.environ:
        raise InvalidSettings("--public-key: give the operator's public key, or set OPERATOR_PRIVATE_KEY")
    return installation.load().public_key
