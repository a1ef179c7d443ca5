"""Registers our connection types with Airflow (entry point ``apache_airflow_provider``): their forms in the UI and their test buttons.

Airflow imports a hook only when it tests a connection. S3 uses the amazon provider's type ``aws``, and notifications use the type ``http``
of the HTTP provider, so both are registered already.
"""

from __future__ import annotations

from typing import Any

_OCEAN = {
    "connection-type": "ocean",
    "hook-class-name": "c2d.hooks.datatoken.DatatokenHook",
    "hook-name": "Ocean (EVM chains)",
    "ui-field-behaviour": {
        "hidden-fields": ["host", "schema", "login", "password", "port"],
        "relabeling": {"extra": "RPC URLs by chain id"},
        "placeholders": {"extra": '{"1": ["https://rpc.example/KEY", "https://second.example"], "8996": "http://127.0.0.1:8545"}'},
    },
}


def _text(label: str, description: str, *, secret: bool = False) -> dict[str, Any]:
    """A text field below the standard ones. Airflow stores it in the connection's extra."""
    schema: dict[str, Any] = {"type": ["string", "null"]}
    return {"label": label, "description": description, "schema": schema | ({"format": "password"} if secret else {})}


# Airflow masks a field of `extra` if its name contains, for example, `authorization` or `api_key`.
_IPFS = {
    "connection-type": "ipfs",
    "hook-class-name": "c2d.hooks.ipfs.IpfsHook",
    "hook-name": "IPFS (kubo or IPFS Cluster)",
    "ui-field-behaviour": {
        "hidden-fields": [],
        "relabeling": {"host": "API host", "schema": "API scheme", "port": "API port"},
        "placeholders": {
            "host": "ipfs",
            "schema": "http",
            "port": "5001",
            "login": "user name, for basic authorization",
            "password": "with a user name its password, else bearer:TOKEN",
        },
    },
    "conn-fields": {
        "add_url": _text("URL that pods add to", "A kubo node's API; the API above if empty. Required for an IPFS Cluster."),
        "add_authorization": _text("Pods' authorization", "bearer:TOKEN or basic:USER:PASSWORD; may only allow /api/v0/add.", secret=True),
        "read_authorization": _text("Authorization to read", "The operator's at the URL that pods add to; as above if empty.", secret=True),
        "api_key": _text("X-API-KEY", "Sent by the operator and by pods, for an API behind a gateway.", secret=True),
        "client_id": _text("CLIENT-ID", "Sent by the operator and by pods, for an API behind a gateway."),
    },
}


def get_provider_info() -> dict[str, Any]:
    """What Airflow's providers manager reads."""
    return {
        "package-name": "c2d",
        "name": "Ocean Compute-to-Data",
        "description": "Connections to the RPC servers of chains and to IPFS.",
        "connection-types": [_OCEAN, _IPFS],
    }
