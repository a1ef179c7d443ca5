"""Registers Compute-to-Data with Airflow. The only file of the package that Airflow's plugin walk runs (.airflowignore)."""

from __future__ import annotations

import logging
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from c2d.api.common.slash import PROVIDER, WithSlash
from c2d.api.trigger import TriggerGuard
from c2d.lifecycle import listener
from c2d.lifecycle.airflow_runs import airflow_component
from c2d.settings import installation

log = logging.getLogger("c2d")


def _apps() -> list[dict[str, Any]]:
    """The APIs; built in the API server alone, for the other processes would only pay for it."""
    if airflow_component() != "api-server":
        return []
    from c2d.api.operator_service.app import create_app

    operator = create_app(installation.load())
    apps: list[dict[str, Any]] = [{"name": "operator-service", "url_prefix": "/operator-service", "app": operator}]
    if installation.load().provider.on:
        from c2d.api.provider.app import create_app as create_provider
        from c2d.api.provider.service import ProviderService

        apps.append({"name": "provider", "url_prefix": PROVIDER, "app": create_provider(ProviderService(operator.state.service))})
    return apps


class C2DPlugin(AirflowPlugin):
    """Listeners for every process; what serves HTTP only for the API server."""

    name = "c2d"
    listeners: list[Any] = [listener]
    fastapi_root_middlewares: list[Any] = [
        {"name": "c2d trigger guard", "middleware": TriggerGuard},
        {"name": "c2d provider without slash", "middleware": WithSlash},
    ]
    fastapi_apps: list[Any] = _apps()


if airflow_component() in ("api-server", "scheduler"):
    loaded = installation.load()  # a wrong setting ends the process here, with its name
    for env in loaded.environments:
        for warning in env.notes():
            log.warning("environment %s: %s", env.id, warning)
    for note in loaded.notes():
        log.warning("%s", note)
    if not loaded.SIGNATURE_REQUIRED:
        log.warning("SIGNATURE_REQUIRED=0: whoever reaches /operator-service/ starts, sees and stops any job; for closed networks only")
    elif not loaded.ALLOWED_PROVIDERS:
        log.warning("ALLOWED_PROVIDERS is not set: nobody may start a job by /operator-service/")
