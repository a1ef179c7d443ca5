"""Connections to PostgreSQL: one engine for task processes, a pair of pools for the API server."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

# Set here because the server's default may be off (the laptop's is). Otherwise a crash could lose the record of a stage's end,
# or a job that was answered with 200.
DURABLE = "-c synchronous_commit=on"
_TASK = {"connect_timeout": 10, "application_name": "c2d", "options": DURABLE}


@dataclass(frozen=True)
class Pools:
    """The API server's connections.

    :param changes: for transactions that must survive a crash of the server.
    :param reads: for queries. They change nothing but a nonce, so they do not wait for the disk.
    """

    changes: sa.Engine
    reads: sa.Engine


@functools.cache
def task_engine(url: str) -> sa.Engine:
    """An engine that opens a connection for each use.

    It has no pool: task processes are forked from the scheduler, and a connection must never be shared over a fork.
    """
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args=_TASK)


def single_connection_engine(url: str) -> sa.Engine:
    """An engine that holds on to one connection between uses, for a process that does not fork afterwards."""
    return sa.create_engine(url, pool_size=1, pool_pre_ping=True, connect_args=_TASK)


@functools.cache
def pools(url: str) -> Pools:
    """The API server's two pools, shared by everything in the process."""

    def engine(name: str, options: str, **arguments: Any) -> sa.Engine:
        connect = {"connect_timeout": 5, "application_name": name, "options": options}
        return sa.create_engine(
            url, connect_args=connect, pool_size=8, max_overflow=8, pool_timeout=20, pool_pre_ping=False, pool_recycle=1800, **arguments
        )

    return Pools(engine("c2d-api", DURABLE), engine("c2d-api-read", "-c synchronous_commit=off", isolation_level="AUTOCOMMIT"))


def close(url: str) -> None:
    """Close the pooled connections to ``url``."""
    pools(url).changes.dispose()
    pools(url).reads.dispose()


def migrate(url: str) -> None:
    """Bring the tables in ``url`` to this version. Safe to call at every start, from several processes at once."""
    from pathlib import Path

    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")
