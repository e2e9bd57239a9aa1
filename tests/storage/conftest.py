"""A small network in an empty database, and orders to try it with."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.fulfillments import Fulfillment, LineQuantity
from domain.network import Calendar, Node, NodeKind
from domain.orders import DeliveryMethod, Line, LineState, Order, OrderStatus
from domain.records import Change, OrderState
from domain.values import Value
from storage import network, stock
from storage.database import transaction
from storage.tables import metadata

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NODES = ("DC-A", "DC-B", "ST-C")


class Unit(Value):
    line_id: str
    sku: str
    quantity: int


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncEngine:
    """Three online nodes, one a store; committed, and emptied before each test."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for code in NODES:
            await network.put_node(conn, a_node(code, pickup=code.startswith("ST")))
    return engine


def a_node(code: str, **changes: Any) -> Node:
    node = Node(
        code=code,
        name=f"Node {code}",
        kind=NodeKind.DC,
        postal_code="75201",
        latitude=32.78,
        longitude=-96.8,
        calendar=Calendar(timezone="America/Chicago"),
    )
    return node.model_copy(update=changes)


async def stocked(engine: AsyncEngine, shelves: Mapping[tuple[str, str], int]) -> None:
    async with transaction(engine) as conn:
        for (sku, node), quantity in shelves.items():
            await stock.receive(conn, f"{sku}@{node}", node, [(sku, quantity)], "receipt", "test")


def a_share(  # noqa: PLR0913
    fulfillment_id: str,
    node: str,
    lines: Mapping[str, int],
    *,
    sku: str = "A",
    order_id: str = "web-1",
    method: DeliveryMethod = DeliveryMethod.SHIP,
) -> Fulfillment:
    return Fulfillment(
        fulfillment_id=fulfillment_id,
        order_id=order_id,
        node=node,
        method=method,
        service="ground",
        lines=tuple(LineQuantity(line_id=line, quantity=q) for line, q in lines.items()),
        skus=dict.fromkeys(lines, sku),
        ship_by=NOON,
        deliver_by=NOON + timedelta(days=3),
    )


def an_order(number: str = "1", **changes: Any) -> Order:
    order = Order(
        channel="web",
        channel_order_id=number,
        placed_at=NOON,
        currency="USD",
        total_minor=3000,
        lines=(Line(line_id="1", sku="A", quantity=3, unit_price_minor=1000),),
        email="ann@example.com",
    )
    return order.model_copy(update=changes)


def a_change(order: Order, seq: int = 1, **changes: Any) -> Change:
    """A change to the state of a new order, `seq` minutes after noon."""
    state = OrderState(
        order_id=order.order_id,
        channel=order.channel,
        channel_order_id=order.channel_order_id,
        status=OrderStatus.RECEIVED,
        lines=tuple(LineState.new(line, line.sku) for line in order.lines),
    )
    of_change = {k: changes.pop(k) for k in ("events", "messages") if k in changes}
    return Change(
        key=f"run:{seq}",
        at=NOON + timedelta(minutes=seq),
        seq=seq,
        state=state.model_copy(update=changes),
        **of_change,
    )
