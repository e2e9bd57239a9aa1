"""The sandbox served over real HTTP, and a Crossdock that only listens."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from connectors import signing
from connectors.channels import oauth1
from connectors.sandbox.app import create_app
from connectors.sandbox.config import SandboxConfig

NODE_SECRET = "a secret of the node, long enough"
STORE_KEY = "cd_store"
OAUTH = {
    "consumer_key": "ck",
    "consumer_secret": "cs",
    "access_token": "at",
    "access_token_secret": "ats",
}
ADDRESS = {
    "name": "Ada Byron",
    "line1": "1 Main St",
    "city": "Dallas",
    "region": "TX",
    "postal_code": "75201",
}


@dataclass
class Heard:
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed


@dataclass
class Listener:
    """Crossdock as partners see it. `answers` are given first, by path; then 202."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, heard: Heard) -> int:
        """Take it down; the status to answer with."""
        self.heard.append(heard)
        self.came.set()
        planned = self.answers.get(heard.path)
        return planned.pop(0) if planned else 202

    def of(self, path: str) -> list[Heard]:
        return [one for one in self.heard if one.path == path]

    def events(self, fulfillment: str, node: str = "DC-DAL") -> list[dict[str, Any]]:
        told = [one.body for one in self.of(f"/webhooks/nodes/{node}")]
        return [event for event in told if event["fulfillment_id"] == fulfillment]

    async def wait(self, is_there: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_there():
                self.came.clear()
                await self.came.wait()

    async def until(self, wanted: int, path: str) -> list[Heard]:
        await self.wait(lambda: len(self.of(path)) >= wanted)
        return self.of(path)

    async def until_event(self, kind: str, fulfillment: str, node: str = "DC-DAL") -> list[str]:
        """All event types heard of the fulfillment, once one of this kind has come."""
        await self.wait(lambda: kind in [e["type"] for e in self.events(fulfillment, node)])
        return [event["type"] for event in self.events(fulfillment, node)]


@dataclass
class Sandbox:
    url: str
    config: SandboxConfig
    http: httpx.AsyncClient

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        token = {"Authorization": f"Bearer {self.config.control_token}"}
        answer = await self.http.request(method, f"/_control{path}", json=body, headers=token)
        assert answer.is_success, answer.text
        return answer.json()

    async def knob(self, behaviour: str, node: str = "DC-DAL", **parts: Any) -> None:
        await self.control(
            "PUT", f"/nodes/{node}", {"behaviours": [{"behaviour": behaviour, **parts}]}
        )

    async def ask(
        self, fulfillment: str, *, node: str = "DC-DAL", quantity: int = 2, method: str = "ship"
    ) -> httpx.Response:
        body = {
            "fulfillment_id": fulfillment,
            "order_id": "webshop-1",
            "node": node,
            "method": method,
            "service": "ground",
            "ship_by": "2026-11-23T20:00:00Z",
            "deliver_by": "2026-11-25T23:00:00Z",
            "lines": [{"line_id": "1", "sku": "SKU-0001", "quantity": quantity}],
            "ship_to": {"name": "Ada"},
        }
        return await self.signed(f"/nodes/{node}/fulfillment-requests", fulfillment, body)

    async def cancel(self, fulfillment: str, node: str = "DC-DAL") -> httpx.Response:
        path = f"/nodes/{node}/fulfillment-requests/{fulfillment}/cancel"
        return await self.signed(path, f"{fulfillment}-cancel", {"reason": "test"})

    async def signed(self, path: str, message_id: str, body: Any) -> httpx.Response:
        raw = json.dumps(body).encode()
        headers = signing.sign(NODE_SECRET, message_id, datetime.now(UTC), raw)
        return await self.http.post(path, content=raw, headers=headers)

    async def graphql(self, document: str, /, **variables: Any) -> dict[str, Any]:
        answer = await self.http.post(
            "/shops/webshop/admin/api/2026-10/graphql.json",
            json={"query": document, "variables": variables},
            headers={"X-Shopify-Access-Token": "shpat"},
        )
        assert answer.status_code == 200, answer.text
        parsed: dict[str, Any] = answer.json()
        return parsed

    async def magento(self, method: str, path: str, body: Any = None) -> httpx.Response:
        url = f"{self.url}/shops/outlet/rest/default/V1/{path}"
        credentials = oauth1.Credentials(**OAUTH)
        signed = oauth1.authorization(method, url, credentials, nonce="n", at=datetime.now(UTC))
        return await self.http.request(method, url, json=body, headers={"Authorization": signed})


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Uvicorn without the idle ticks of its main loop."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[sock])
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        await server.shutdown(sockets=[sock])


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    app, listening = FastAPI(), Listener()

    @app.post("/{path:path}")
    async def hear(path: str, request: Request) -> Response:
        heard = Heard(f"/{path}", dict(request.headers), await request.body())
        return Response(status_code=listening.hear(heard))

    async with served(app) as url:
        listening.url = url
        yield listening


@pytest.fixture
def config(listener: Listener, tmp_path: Path) -> SandboxConfig:
    return SandboxConfig.model_validate(
        {
            "database": tmp_path / "sandbox.sqlite3",
            "crossdock_url": listener.url,
            "control_token": "control-token",
            "nodes": {
                "DC-DAL": {"secret": NODE_SECRET},
                "ST-NYC": {"secret": NODE_SECRET, "api_key": STORE_KEY},
            },
            "shops": {
                "webshop": {
                    "kind": "shopify",
                    "webhook_secret": "hush",
                    "access_token": "shpat",
                    "topics": ["orders/create", "orders/updated", "orders/cancelled"],
                },
                "outlet": {"kind": "magento", "oauth": OAUTH},
            },
            "pace": {"accept_ms": [5, 10], "ship_ms": [10, 20], "deliver_ms": [10, 20]},
            "retry_ms": [20, 50],
            "give_up_after": 3,
        }
    )


@pytest.fixture
async def sandbox(config: SandboxConfig) -> AsyncIterator[Sandbox]:
    async with served(create_app(config)) as url, httpx.AsyncClient(base_url=url) as http:
        yield Sandbox(url, config, http)
