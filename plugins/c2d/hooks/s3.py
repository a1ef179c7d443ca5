"""S3, or another store with its API, through the amazon provider's hook.

The account is that of AWS_ACCESS_KEY_ID, or without this setting that of the Airflow connection C2D_AWS_CONN_ID (type ``aws``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from c2d.settings.environment import Environment

CONNECTIONS = 16
"""Concurrent connections of a client."""


def s3_hook(env: Environment) -> S3Hook:
    """The amazon provider's hook for the environment's account."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper

    if not env.AWS_ACCESS_KEY_ID:
        return S3Hook(aws_conn_id=env.C2D_AWS_CONN_ID, region_name=env.AWS_REGION)
    from airflow.sdk import Connection

    extra = {"region_name": env.AWS_REGION, "endpoint_url": env.AWS_ENDPOINT_URL}
    connection = Connection(
        conn_id="c2d_results",
        conn_type="aws",
        login=env.AWS_ACCESS_KEY_ID,
        password=env.AWS_SECRET_ACCESS_KEY,
        extra=json.dumps({name: value for name, value in extra.items() if value}),
    )
    hook = S3Hook(aws_conn_id=None)
    hook.conn_config = AwsConnectionWrapper(conn=connection, region_name=env.AWS_REGION)
    return hook


def s3_client(env: Environment, **options: Any) -> Any:
    """boto3's client for the environment's account.

    :param options: of botocore's ``Config``; they override the defaults set here.
    """
    from botocore.config import Config

    hook = s3_hook(env)
    config = Config(
        signature_version="s3v4",
        # The pod sends the signed requests of parts, and must not have to send any checksum but the one that was signed.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 5},
    ).merge(Config(**options))
    return hook.get_client_type(config=hook.config.merge(config))
