"""What Airflow's providers manager is told, so that the connection type ``ocean`` has a form and a test button (entry point
``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any

UI = {
    "hidden-fields": ["host", "schema", "login", "password", "port"],
    "relabeling": {"extra": "RPC URLs by chain id"},
    "placeholders": {"extra": '{"1": ["https://rpc.example/KEY", "https://second.example"], "8996": "http://127.0.0.1:8545"}'},
}


def get_provider_info() -> dict[str, Any]:
    return {
        "package-name": "c2d",
        "name": "Ocean Compute-to-Data",
        "description": "RPC servers of the chains that Ocean's assets and orders are on.",
        "connection-types": [
            {
                "hook-class-name": "c2d.hooks.datatoken.DatatokenHook",
                "connection-type": "ocean",
                "ui-field-behaviour": UI,
            }
        ],
    }
