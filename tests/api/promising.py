"""A small network to quote from: Dallas ships and two stores near by give out; New York is far."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from activities.worker import adapters, workers
from domain.network import Calendar, Node, NodeKind, Product, RateCard, Zone
from storage import network, stock
from storage.database import transaction
from workflows.addressing import ORDERS
from workflows.codec import Keyring

WEEK = (0, 1, 2, 3, 4, 5, 6)
CHICAGO, NEW_YORK = "America/Chicago", "America/New_York"
_STOCK = {
    "DC-DAL": {"MUG": 10, "TEE": 10},
    "DC-NYC": {"MUG": 100, "LAMP": 5, "CAP": 40},
    "ST-DAL": {"MUG": 3},
    "ST-FTW": {"MUG": 50, "TEE": 50, "CAP": 40},
}


async def open_shop(engine: AsyncEngine) -> None:
    """The network and its goods, committed."""
    async with transaction(engine) as conn:
        for node in _nodes():
            await network.put_node(conn, node)
        await network.put_products(
            conn,
            [
                Product(sku="MUG", aliases=("cup",)),
                Product(sku="TEE"),
                Product(sku="LAMP", handling_class="oversized"),
                Product(sku="HAT"),
                Product(sku="CAP"),
            ],
        )
        await network.put_rate_cards(conn, [_card("ground", 1), _card("overnight", 3, slowest=1)])
        for node_code, goods in _STOCK.items():
            await stock.receive(conn, "first", node_code, list(goods.items()), "first", "test")


def cart(*lines: tuple[str, int], to: str = "75201", **more: Any) -> dict[str, Any]:
    """The body of a request."""
    return {
        "channel": "api",
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines],
        "ship_to": {"postal_code": to},
        **more,
    }


def an_order(
    number: str, *lines: tuple[str, int], to: str = "75201", **more: Any
) -> dict[str, Any]:
    """The body of an order for the same; its lines have names of their own."""
    return {
        "channel": "api",
        "channel_order_id": number,
        "placed_at": "2026-09-01T10:00:00Z",
        "currency": "USD",
        "lines": [
            {"line_id": f"line {i}", "sku": sku, "quantity": quantity}
            for i, (sku, quantity) in enumerate(lines)
        ],
        "ship_to": {"name": "Ada Byron", "postal_code": to, "country": "US"},
        **more,
    }


def local(text: str, zone: str = CHICAGO) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _nodes() -> list[Node]:
    shop = Calendar(
        timezone=CHICAGO,
        weekdays=WEEK,
        opens=time(10),
        closes=time(20),
        holidays="",
        cutoff=time(13),
    )
    dallas = _node("DC-DAL", "75201", (32.78, -96.8), Calendar(timezone=CHICAGO), NodeKind.DC)
    new_york = _node("DC-NYC", "10001", (40.75, -73.99), Calendar(timezone=NEW_YORK), NodeKind.DC)
    store = {"pickup": True, "ships": False}
    return [
        dallas,
        new_york,
        _node("ST-DAL", "75202", (32.78, -96.8), shop, NodeKind.STORE, **store),
        _node("ST-FTW", "76102", (32.76, -97.33), shop, NodeKind.STORE, **store),
    ]


def _node(
    code: str,
    postal_code: str,
    at: tuple[float, float],
    calendar: Calendar,
    kind: NodeKind,
    **more: Any,
) -> Node:
    return Node(
        code=code,
        name=f"The place {code}",
        kind=kind,
        postal_code=postal_code,
        latitude=at[0],
        longitude=at[1],
        calendar=calendar,
        order_cost_minor=100,
        **more,
    )


def _card(service: str, factor: int, *, slowest: int = 9) -> RateCard:
    zones = ((150, 700, 1), (1000, 900, 3), (3000, 1200, 4))
    return RateCard(
        service=service,
        carrier="Meridian",
        zones=tuple(
            Zone(
                max_miles=miles,
                base_minor=base * factor,
                per_lb_minor=20 * factor,
                transit_days=min(days, slowest),
            )
            for miles, base, days in zones
        ),
    )


@asynccontextmanager
async def at_work(
    engine: AsyncEngine, temporal: WorkflowEnvironment, keyring: Keyring
) -> AsyncIterator[House]:
    """The real activities; no partner is asked."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient())
        house = House(engine=engine, client=temporal.client, keyring=keyring, http=http)
        for each in workers(temporal.client, adapters(house), ORDERS, {"workflows"}):
            await stack.enter_async_context(each)
        yield house
