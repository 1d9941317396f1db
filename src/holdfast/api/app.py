"""Puts the service together. Enter at `create_app`.

Refuses to build when a route does not say what it requires: nothing is open by omission.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from holdfast import __version__
from holdfast.api import documentation, openapi, problems
from holdfast.api.access.rules import require_rules
from holdfast.api.context import ServiceContext
from holdfast.api.dashboard import Dashboard
from holdfast.api.gate import Gate
from holdfast.api.routes import AT_THE_ROOT, ROUTERS
from holdfast.api.upkeep import Upkeep

PREFIX = "/api/v1"


def create_app(context: ServiceContext) -> FastAPI:
    """The ASGI application. Its lifespan starts and stops the live events and the upkeep."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        upkeep = Upkeep(context)
        await context.events.start()
        await upkeep.start()
        try:
            yield
        finally:
            await upkeep.stop()
            context.unique.close()
            await context.events.stop()
            await run_in_threadpool(context.mounts.close)

    app = FastAPI(
        title="Holdfast",
        version=__version__,
        summary="Backup and restore of virtual machines",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    for router in AT_THE_ROOT:
        app.include_router(router)
    app.state.routes = require_rules(app)
    problems.install(app)
    openapi.install(app)
    documentation.install(app, PREFIX)
    app.mount("/socket.io", context.events.asgi)
    app.router.default = Dashboard(context.settings.dashboard_root)
    app.add_middleware(Gate, context=context)
    return app
