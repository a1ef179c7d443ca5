"""Access to the API."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

import pytest
from kubernetes import config

from tests.local.runner.client import Runner


def test_a_request_without_the_token_is_rejected(runner: Runner) -> None:
    settings = config.new_client_from_config(str(runner.kubeconfig)).configuration
    trust = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for path in ("/api/v1/namespaces/default/pods", "/version", "/nothing"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(settings.host + path, headers=headers), context=trust)
            assert refused.value.code == 401
            assert json.load(refused.value)["reason"] == "Unauthorized"
    assert runner.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert settings.host.startswith("https://127.0.0.1:")
