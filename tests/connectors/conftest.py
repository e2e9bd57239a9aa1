"""The outside world as real HTTP servers: what the adapters are tried against."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from connectors.sandbox.app import create_app
from connectors.sandbox.config import SandboxConfig
from tests.connectors.outside import OAUTH, SECRET, World


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    database = tmp_path_factory.mktemp("sandbox") / "world.db"
    config = SandboxConfig.model_validate(
        {
            "database": database,
            "crossdock_url": "http://127.0.0.1:1",
            "control_token": "control-token",
            "nodes": {"DC-DAL": {"secret": SECRET}},
            "shops": {
                "webshop": {"kind": "shopify", "webhook_secret": SECRET, "access_token": "shpat"},
                "outlet": {"kind": "magento", "oauth": OAUTH},
            },
            "pace": {"accept_ms": [60_000, 60_000]},
        }
    )
    server = uvicorn.Server(uvicorn.Config(create_app(config), log_level="critical"))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    headers = {"authorization": "Bearer control-token"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        yield World(url, client, database)
    server.should_exit = True
    await serving


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client
