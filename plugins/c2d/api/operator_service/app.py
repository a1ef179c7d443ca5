"""The Operator-Service app."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI

from c2d import __version__
from c2d.api.common import errors
from c2d.api.common.job_service import JobService
from c2d.api.common.route_policy import admit
from c2d.api.operator_service.routes import admin, compute, environments, live, results, root, running_jobs
from c2d.lifecycle.airflow_runs import AirflowRuns, Runs
from c2d.lifecycle.dispatch import Dispatcher
from c2d.settings.installation import Settings

PREFIX = "/api/v1/operator"


def create_app(settings: Settings, runs: Runs | None = None, work: bool = True) -> FastAPI:
    """Ocean's operator-service. ``app.state.service`` is its :class:`JobService`.

    :param runs: how jobs' DAG runs are reached. None: Airflow in this process.
    :param work: whether to start jobs and deliver notifications in this process.
    """
    service = JobService(Dispatcher(settings, runs or AirflowRuns()))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not work:
            yield
            return
        async with service.dispatcher.working():
            yield

    app = FastAPI(
        title="Operator-Service",
        description="The protocol of Ocean's operator-service for Compute-to-Data, on Apache Airflow.",
        version=__version__,
        docs_url="/api/v1/docs",
        redoc_url=None,
        openapi_url="/spec",
        dependencies=[Depends(admit)],
        lifespan=lifespan,
    )
    app.state.service = service
    errors.register(app)
    app.include_router(root.router)
    for part in (compute, running_jobs, results, environments, live, admin):
        app.include_router(part.router, prefix=PREFIX)
    return app
