"""Notifications of a job's start and end, posted to NOTIFY_START_URL and NOTIFY_STOP_URL. Body and signature are operator-engine's.

:mod:`c2d.database.notifications` decides when a notification is sent, and when it is sent again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk.bases.hook import BaseHook

from c2d.crypto import ecies, signatures
from c2d.errors import UpstreamUnavailable
from c2d.hooks.connections import required_connection
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection

HTTP_HOOK_OPTIONS = {
    *("allow_redirects", "cert", "check_response", "max_redirects", "proxies", "proxy"),
    *("srv_lookup", "stream", "timeout", "trust_env", "verify", "verify_ssl"),
}
"""Entries of an ``http`` connection's extra that are options of the HTTP provider's hook. All other entries are headers."""


class NotifyHook(BaseHook):
    """Sends the notifications of one environment.

    Its receivers may require credentials: those of the Airflow connection C2D_NOTIFY_CONN_ID (type ``http``), which has a login and a
    password for basic authentication, and headers in extra. If the connection has a host, no other host gets the credentials. User name
    and password in the URL of a setting take precedence over the connection's.
    """

    conn_name_attr = "notify_conn_id"
    conn_type = "http"
    hook_name = "HTTP"

    def __init__(self, settings: Settings, environment: Environment):
        super().__init__()
        self.settings, self.environment = settings, environment
        self.notify_conn_id = environment.C2D_NOTIFY_CONN_ID

    def url(self, event: str) -> str | None:
        """The receiver's URL; None if nobody is to be notified.

        :param event: ``start`` or ``stop``.
        """
        return self.environment.NOTIFY_START_URL if event == "start" else self.environment.NOTIFY_STOP_URL

    async def send(
        self,
        client: httpx.AsyncClient,
        event: str,
        *,
        job_id: str,
        algorithm_did: str | None,
        input_dids: Sequence[str],
        sealed_secret: str | None,
    ) -> str | None:
        """Posts a notification. Returns None if the receiver accepted it, else the reason, which contains neither URL nor secret.

        :param client: must not follow redirects.
        :param event: ``start`` or ``stop``; the environment has a URL for it.
        :param sealed_secret: the job's secret for the receiver, sealed to the operator.
        """
        import httpx

        settings, url = self.settings, self.url(event)
        if url is None:
            return "no URL is set for it"
        if not settings.may_notify(url):
            return "its host is not in C2D_NOTIFY_HOSTS, or it is not https://"
        try:
            secret = ecies.unseal(settings.OPERATOR_PRIVATE_KEY, sealed_secret, job_id) if sealed_secret else None
            body = signed_body(settings.OPERATOR_PRIVATE_KEY, job_id, algorithm_did, input_dids, secret)
            options = await asyncio.to_thread(self._credentials, url)
            async with asyncio.timeout(settings.C2D_NOTIFY_SECONDS), client.stream("POST", url, json=body, **options) as response:
                return None if response.is_success else f"answered {response.status_code}"  # the response's body is not read
        except TimeoutError:
            return f"no answer within {settings.C2D_NOTIFY_SECONDS:g} s"
        except UpstreamUnavailable as e:
            return str(e)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:  # ValueError: InvalidSeal, or a header that cannot be sent
            return type(e).__name__

    def _credentials(self, url: str) -> dict[str, Any]:
        """Arguments of httpx that authenticate at ``url``."""
        if self.notify_conn_id is None:
            return {}
        connection = required_connection(self.notify_conn_id, "C2D_NOTIFY_CONN_ID")
        if connection.host and not _same_host(connection, url):
            return {}
        headers = {str(name): str(value) for name, value in connection.extra_dejson.items() if name not in HTTP_HOOK_OPTIONS}
        options: dict[str, Any] = {"headers": headers}
        if connection.login and "@" not in urlsplit(url).netloc:
            options["auth"] = (connection.login, connection.password or "")
        return options


def signed_body(private_key: str, job_id: str, algorithm_did: str | None, input_dids: Sequence[str], secret: str | None) -> dict[str, Any]:
    """operator-engine's body. The signed text is the JSON of secret, DIDs, job id and algorithm's DID, joined, as Python writes it.

    :param private_key: the operator's.
    :param algorithm_did: None or ``raw`` for an algorithm without a DID.
    """
    algorithm = None if algorithm_did == "raw" else algorithm_did
    text = "".join(json.dumps(value) for value in (secret, list(input_dids), job_id, algorithm))
    signature = signatures.sign_text(private_key, text)
    return {"algoDID": algorithm, "jobId": job_id, "secret": secret, "DID": list(input_dids), "signature": signature}


def _same_host(connection: Connection, url: str) -> bool:
    """Whether ``url`` leads to the connection's host, and if the connection has a port or a scheme, to these."""
    receiver = urlsplit(url)
    host = str(connection.host)
    named = urlsplit(host if "://" in host else f"//{host}")
    scheme, port = named.scheme or connection.schema, named.port or connection.port
    return (
        receiver.hostname == named.hostname
        and (not scheme or receiver.scheme == scheme)
        and (not port or port == (receiver.port or (443 if receiver.scheme == "https" else 80)))
    )
