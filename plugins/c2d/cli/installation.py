"""Commands for the operator's installation: ``migrate``, ``check``, ``networkpolicy``."""

from __future__ import annotations

import argparse

from c2d.cli.command import Commands, add_command
from c2d.errors import InvalidSettings, ResultStoreError, UpstreamUnavailable
from c2d.settings.environment import Environment
from c2d.settings.installation import load
from c2d.settings.provider import ProviderSettings


def add_commands(commands: Commands) -> None:
    """Add this module's commands to the command line."""
    add_command(commands, "migrate", _migrate, "create or update the jobs' tables in C2D_DATABASE_URL")
    add_command(commands, "check", _check, "read all settings, and report what is wrong or has no effect")
    purpose = "print the NetworkPolicy that lets publish reach the result stores of the settings, for kubectl apply"
    add_command(commands, "networkpolicy", _network_policy, purpose)


def _migrate(arguments: argparse.Namespace) -> None:
    from c2d.database.connections import migrate

    migrate(load().C2D_DATABASE_URL)


def _check(arguments: argparse.Namespace) -> None:
    settings = load()
    _print_provider(settings.provider)
    for note in settings.notes():
        print(f"  {note}")
    for env in settings.environments:
        _print_environment(env)


def _print_provider(provider: ProviderSettings) -> None:
    print(f"Provider API: {'on' if provider.on else 'off (PROVIDER_PRIVATE_KEY and NETWORK_URL turn it on)'}")
    for name, value in provider.shown().items():
        print(f"  {name}: {value}")


def _print_environment(env: Environment) -> None:
    print(f"environment {env.id}: {env.nCPU} CPU, {env.ramGB} GiB, {env.maxJobs} jobs at once, {env.maxJobDuration} s each")
    network = "the network if the owner of each data set allows it" if env.enableNetwork else "no network"
    print(f"  access_control: {env.access_control}; algorithms get {network}; encrypt_results: {env.encryption}")
    for warning in [*env.notes(), *_excessive_rights(env)]:
        print(f"  {warning}")


def _excessive_rights(env: Environment) -> list[str]:
    """What pods could do in the result stores beyond adding results. The stores themselves are asked."""
    from c2d.results.destinations import destinations
    from c2d.results.ipfs_store import IpfsResultStore

    try:
        stores = destinations(env).all
    except UpstreamUnavailable as e:
        return [str(e)]
    warnings = []
    for store in stores:
        if store.type == "ipfs":
            try:
                IpfsResultStore(env, store.location, store.prefix, "check").upload_rights(60, 0)
            except (ResultStoreError, UpstreamUnavailable, ConnectionError) as e:
                warnings.append(str(e))
    return warnings


def _network_policy(arguments: argparse.Namespace) -> None:
    import yaml

    from c2d.pods import network_policy

    try:
        policy = network_policy.publish_policy(load())
    except OSError:
        raise InvalidSettings("the host name of a result store cannot be resolved; run this where the pods' DNS names resolve") from None
    print(yaml.safe_dump(policy, sort_keys=False) if policy else "# results go to a volume: publish needs no network", end="")
