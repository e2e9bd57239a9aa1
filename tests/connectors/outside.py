"""The outside world, seen from a test: the sandbox's controls, and shipments to tell of."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from connectors.channels import Connection, Shipment
from domain.fulfillments import Fulfillment, LineQuantity, Package
from domain.orders import DeliveryMethod, Order

SECRET = "a-secret-of-24-characters"
OAUTH = {
    "consumer_key": "consumer",
    "consumer_secret": "consumer+secret/&",
    "access_token": "token",
    "access_token_secret": "token%secret",
}
ADDRESS = {"city": "Dallas", "region": "TX", "postal_code": "75201"}


@dataclass(frozen=True)
class World:
    """The sandbox, and a client that plays customers and turns knobs."""

    url: str
    client: httpx.AsyncClient
    database: Path

    def shop(self, code: str, **settings: Any) -> Connection:
        secrets = {
            "webshop": {"webhook_secret": json.dumps([SECRET]), "access_token": "shpat"},
            "outlet": {"oauth": json.dumps(OAUTH)},
        }
        url = f"{self.url}/shops/{code}"
        return Connection(code=code, url=url, settings=settings, secrets=secrets[code])

    async def place(self, shop: str, *quantities: int, **changes: Any) -> int:
        lines = [{"sku": f"SKU-{i}", "quantity": q} for i, q in enumerate(quantities, 1)]
        spec = {"lines": lines, "address": ADDRESS, **changes}
        answer = await self.client.post(f"/_control/shops/{shop}/orders", json=spec)
        assert answer.is_success, answer.text
        return int(answer.json()["id"])

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the partners wrote down themselves."""
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(sql, values).fetchall()

    def change(self, sql: str, *values: Any) -> None:
        """What a merchant does in the shop, for which the sandbox has no call."""
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute(sql, values)

    async def turn(self, shop: str, *behaviours: str) -> None:
        """The next call goes wrong in each of these ways."""
        knobs = [{"behaviour": behaviour, "count": 1} for behaviour in behaviours]
        answer = await self.client.put(f"/_control/shops/{shop}", json={"behaviours": knobs})
        assert answer.is_success, answer.text


def shipment(
    order: Order, *quantities: int, number: int = 1, tracking: str | None = "1Z999"
) -> Shipment:
    """So many units of the order's lines, in their order, from DC-DAL."""
    lines = tuple(
        LineQuantity(line_id=line.line_id, quantity=quantity)
        for line, quantity in zip(order.lines, quantities, strict=False)
        if quantity
    )
    at = datetime(2026, 11, 21, tzinfo=UTC)
    fulfillment = Fulfillment(
        fulfillment_id=f"{order.order_id}-F{number}",
        order_id=order.order_id,
        node="DC-DAL",
        method=DeliveryMethod.SHIP,
        service="ground",
        lines=lines,
        skus={},
        ship_by=at,
        deliver_by=at,
    )
    packages = (Package(tracking_number=tracking, carrier="ups"),) if tracking else ()
    return Shipment(order=order, fulfillment=fulfillment, lines=lines, packages=packages)
