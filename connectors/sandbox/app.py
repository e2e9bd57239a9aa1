"""Serves every partner of the outside world from one process: nodes, shops and their controls."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import httpx
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from connectors.sandbox import control, magento, nodes, shopify
from connectors.sandbox.config import SandboxConfig
from connectors.sandbox.courier import Courier
from connectors.sandbox.store import Store
from connectors.sandbox.world import World

_log = logging.getLogger(__name__)


def create_app(config: SandboxConfig) -> FastAPI:
    """The whole outside world. What it knows is in `config.database`, and outlives a kill -9."""
    world = World(config, Store(config.database))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=config.crossdock_url, timeout=10) as client:
            running = asyncio.create_task(Courier(world, client).run())
            running.add_done_callback(_complain)
            app.state.courier = running
            yield
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        world.store.close()

    app = FastAPI(title="Crossdock sandbox partners", lifespan=lifespan)
    for routes in (nodes, shopify, magento, control):
        app.include_router(routes.router(world))

    @app.get("/healthz")
    async def health() -> JSONResponse:
        alive = not app.state.courier.done()
        status = HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"ok": alive}, status)

    return app


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("the sandbox's partners stand still", exc_info=error)
