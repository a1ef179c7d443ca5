"""Airflow connections, looked up at most once a minute."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from c2d.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONNECTION_SECONDS = 60
"""A changed connection takes effect within this time."""


def connection(conn_id: str) -> Connection | None:
    """The connection; None if it is not defined. Airflow does not tell apart a connection that is missing and one it could not look up."""
    return _connection(conn_id, int(time.monotonic() / CONNECTION_SECONDS))


def required_connection(conn_id: str, setting: str) -> Connection:
    """The connection that a setting names.

    :raises c2d.errors.UpstreamUnavailable: it is not defined, or Airflow could not look it up.
    """
    defined = connection(conn_id)
    if defined is None:
        raise UpstreamUnavailable(f"connection {conn_id} ({setting}): is not defined in Airflow, or Airflow could not look it up")
    return defined


@functools.lru_cache(maxsize=16)
def _connection(conn_id: str, period: int) -> Connection | None:
    """:param period: changes once a minute, so that a cached result is looked up again."""
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
