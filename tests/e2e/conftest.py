"""One demo, left running, that every test here looks at, sends to, and audits."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from cli.stack.site import Site
from connectors.sandbox.config import SandboxConfig, ShopifyConfig, load

pytest.register_assert_rewrite("tests.e2e.documents")

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
_NOT_READY = {"received", "on_hold", "rejected", "backordered"}
Found = TypeVar("Found")
Json = dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> Json:
        found: Json = json.loads(self.out.splitlines()[-1])
        return found


def crossdock(home: Path, *words: str) -> subprocess.Popen[str]:
    """The command as a user starts it, with a home of its own."""
    clean = {name: os.environ[name] for name in os.environ if "CROSSDOCK" not in name}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", *words],
        env={**clean, "PYTHONPATH": str(ROOT), "CROSSDOCK_HOME": str(home), "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(running: subprocess.Popen[str]) -> Finished:
    out, err = running.communicate(timeout=240)
    return Finished(running.returncode, out, err)


@dataclass(frozen=True)
class Demo:
    """A demo that has ended and was left up: what it said, and where its parts are."""

    home: Path
    said: Finished

    @property
    def site(self) -> Site:
        return Site("demo", self.home)

    @property
    def settings(self) -> dict[str, str]:
        record = self.site.record()
        assert record is not None
        return self.site.environment(record.ports)

    @property
    def partners(self) -> SandboxConfig:
        return load(self.site.sandbox_file)

    def does(self, *words: str) -> Finished:
        return finished(crossdock(self.home, *words))

    def asks(self, query: str, *values: object) -> list[Json]:
        """Rows of our own database."""
        with psycopg.connect(
            self.settings["CROSSDOCK_DATABASE_URL"], autocommit=True, row_factory=dict_row
        ) as db:
            cursor = db.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def partners_run(self, statement: str, *values: object) -> None:
        """Change what the partners hold true, behind everyone's back."""
        with closing(sqlite3.connect(self.partners.database, timeout=10)) as db, db:
            db.execute(statement, values)


class Operator:
    """Someone with a key of all scopes, and the shops' secrets."""

    def __init__(self, demo: Demo, http: httpx.AsyncClient) -> None:
        self.demo = demo
        self.http = http
        webshop = demo.partners.shops["webshop"]
        assert isinstance(webshop, ShopifyConfig)
        self._secret = webshop.webhook_secret

    async def reads(self, path: str, **query: str) -> Json:
        found: Json = (await self.http.get(path, params=query)).raise_for_status().json()
        return found

    async def sends(self, method: str, path: str, body: Json) -> Json:
        answer = await self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    async def order(self, order_id: str) -> Json | None:
        answer = await self.http.get(f"/v1/orders/{order_id}")
        return answer.json() if answer.is_success else None

    async def under_way(self, order_id: str) -> Json:
        """The order, once nothing holds it back any more."""

        async def look() -> Json | None:
            found = await self.order(order_id)
            return found if found and found["status"] not in _NOT_READY else None

        return await self.waits(look, f"{order_id} to get under way")

    async def intake(self, order_id: str) -> list[Json]:
        """What the channel sent of an order and what it led to, newest first."""
        found: list[Json] = (await self.reads("/v1/intake", q=order_id))["items"]
        return found

    async def stocks(self, skus: Sequence[str], units: int = 1000) -> None:
        """Puts products into the catalogue and their goods into two distribution centers."""
        products = [{"sku": sku, "title": sku, "weight_g": 200} for sku in skus]
        await self.sends("PUT", "/v1/products", {"products": products})
        for node in ("DC-DAL", "DC-ATL"):
            lines = [{"sku": sku, "quantity": units} for sku in skus]
            receipt = {"node": node, "key": uuid4().hex, "lines": lines}
            await self.sends("POST", "/v1/stock/receipts", receipt)

    async def webhook(
        self,
        raw: bytes,
        *,
        topic: str = "orders/create",
        delivery: str = "",
        signature: str | None = None,
    ) -> httpx.Response:
        """A webhook of the shop, signed as Shopify signs unless told otherwise."""
        headers = {
            "X-Shopify-Topic": topic,
            "X-Shopify-Shop-Domain": "webshop.myshopify.com",
            "X-Shopify-API-Version": "2026-10",
            "X-Shopify-Webhook-Id": delivery or uuid4().hex,
            "X-Shopify-Hmac-Sha256": self.signature(raw) if signature is None else signature,
            "Content-Type": "application/json",
        }
        return await self.http.post("/webhooks/shopify/webshop", content=raw, headers=headers)

    def signature(self, raw: bytes) -> str:
        digest = hmac.new(self._secret.encode(), raw, hashlib.sha256).digest()
        return base64.b64encode(digest).decode()

    def sells_at_the_outlet(self, body: Json) -> None:
        """An order in Magento's words stands in the Magento shop, changed just now."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        told = {**body, "updated_at": now}
        values = (body["entity_id"], body["increment_id"], now, now, json.dumps(told))
        self.demo.partners_run(
            "INSERT OR REPLACE INTO shop_orders VALUES ('outlet', ?, ?, ?, ?, NULL, ?)", *values
        )

    async def waits(self, ask: Callable[[], Awaitable[Found | None]], what: str) -> Found:
        """The answer, once there is one."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (found := await ask()) is None:
            assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
            await asyncio.sleep(0.2)
        return found

    async def settled(self, order_id: str) -> list[Json]:
        """The intake of an order, once all that came was taken up."""

        async def look() -> list[Json] | None:
            found = await self.intake(order_id)
            return found if found and all(entry["done_at"] for entry in found) else None

        return await self.waits(look, f"the intake of {order_id}")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    home = tmp_path_factory.mktemp("home")
    try:
        yield Demo(home, finished(crossdock(home, "demo", "--orders", "30", "--json", "--keep")))
    finally:
        finished(crossdock(home, "down"))


@pytest.fixture(scope="session")
async def operator(demo: Demo) -> AsyncIterator[Operator]:
    made = demo.does("key", "create", "e2e", "--scope", "admin")
    assert made.code == 0, f"{made.err}{demo.said.err}"
    url, headers = (
        demo.settings["CROSSDOCK_API_URL"],
        {"Authorization": f"Bearer {made.out.strip()}"},
    )
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        yield Operator(demo, http)
