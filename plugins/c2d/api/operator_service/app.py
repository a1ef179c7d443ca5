"""The app: who may ask what, which routes there are, what runs beside them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI

from c2d.api.operator_service import errors
from c2d.api.operator_service.auth import admit
from c2d.api.operator_service.routes import admin, compute, environments, live, results, root, running_jobs
from c2d.api.operator_service.routes.root import our_version
from c2d.api.operator_service.service import Service, StartRun, StopRun
from c2d.database.queue import Intake
from c2d.lifecycle import airflow_runs, dispatch
from c2d.settings.installation import Settings

PREFIX = "/api/v1/operator"


def create_app(
    settings: Settings, start_run: StartRun = airflow_runs.start, stop_run: StopRun = airflow_runs.stop, work: bool = True
) -> FastAPI:
    """Ocean's Operator-Service.

    :param start_run, stop_run: the edge to Airflow.
    :param work: whether to release jobs and deliver notifications in this process.
    """
    service = Service(settings, Intake(settings.C2D_DATABASE_URL), start_run, stop_run)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not work:
            yield
            return
        async with dispatch.working(service):
            yield

    app = FastAPI(
        title="Operator service",
        description="Ocean's Operator-Service for Compute-to-Data, on Apache Airflow.",
        version=our_version(),
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
