"""Registers Compute-to-Data with Airflow. Airflow's walk of the plugins folder runs only this file (.airflowignore)."""

from __future__ import annotations

import logging
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from c2d.api.provider.trailing_slash import PROVIDER_PATH, AddTrailingSlash
from c2d.api.trigger import TriggerGuard
from c2d.lifecycle import listener
from c2d.lifecycle.airflow_runs import airflow_component
from c2d.settings import installation

log = logging.getLogger("c2d")


def _apps() -> list[dict[str, Any]]:
    """The APIs. They are built in the API server only; they would slow the start of every other process."""
    if airflow_component() != "api-server":
        return []
    from c2d.api.operator_service.app import create_app as create_operator_service

    settings = installation.load()
    operator_service = create_operator_service(settings)
    apps = [{"name": "operator-service", "url_prefix": "/operator-service", "app": operator_service}]
    if settings.provider.on:
        from c2d.api.provider.app import create_app as create_provider
        from c2d.api.provider.service import ProviderService

        provider = create_provider(ProviderService(operator_service.state.service))
        apps.append({"name": "provider", "url_prefix": PROVIDER_PATH, "app": provider})
    return apps


def _check_settings() -> None:
    """Log a warning for each setting that has no effect or opens the installation.

    :raises InvalidSettings: a setting is wrong. Airflow's process ends with the text, which names the setting.
    """
    settings = installation.load()
    for env in settings.environments:
        for warning in env.notes():
            log.warning("environment %s: %s", env.id, warning)
    for note in settings.notes():
        log.warning("%s", note)
    if not settings.SIGNATURE_REQUIRED:
        log.warning(
            "SIGNATURE_REQUIRED=0: everybody who reaches /operator-service/ can start, see and stop any job; use it in closed networks only"
        )
    elif not settings.ALLOWED_PROVIDERS:
        log.warning("ALLOWED_PROVIDERS is not set: nobody can start a job through /operator-service/")


class C2DPlugin(AirflowPlugin):
    """Listeners for every Airflow process, and middlewares and APIs for the API server."""

    name = "c2d"
    listeners: list[Any] = [listener]
    fastapi_root_middlewares: list[Any] = [
        {"name": "c2d trigger guard", "middleware": TriggerGuard},
        {"name": "c2d provider without slash", "middleware": AddTrailingSlash},
    ]
    fastapi_apps: list[Any] = _apps()


if airflow_component() in ("api-server", "scheduler"):
    _check_settings()
