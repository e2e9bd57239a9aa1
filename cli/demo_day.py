"""A day of the sample network as its people make it: they order, cancel, release, book goods in."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from cli.demo_shop import Shop
from cli.sample import DemoOrder
from domain.orders import OrderStatus
from storage import reads
from storage.database import transaction
from storage.reads import OrderProgress

_ORDERS_PER_SECOND: Final = 9.0
_LOOK: Final = 0.4


@dataclass
class Day:
    """The orders of the day as they are sent, and how far each is."""

    orders: list[DemoOrder]
    sent_at: dict[str, datetime] = field(default_factory=dict)
    of: dict[str, DemoOrder] = field(default_factory=dict)
    seen: dict[str, OrderProgress] = field(default_factory=dict)

    def named(self, scenario: str) -> list[OrderProgress]:
        """The orders of a scenario that are known already."""
        ids = [order_id for order_id, order in self.of.items() if order.scenario == scenario]
        return [self.seen[order_id] for order_id in ids if order_id in self.seen]

    def expected(self, scenario: str) -> int:
        return sum(order.scenario == scenario for order in self.orders)

    @property
    def over(self) -> int:
        return sum(progress.terminal for progress in self.seen.values())


def scenes_first(orders: list[DemoOrder]) -> list[DemoOrder]:
    """What takes its time starts first: the day is over sooner."""
    slow = ("silent", "pickup_expired", "node_down", "backorder")
    return sorted(orders, key=lambda order: (order.scenario not in slow, order.scenario == "plain"))


async def send(day: Day, shop: Shop) -> None:
    """The shops' customers order, at a steady pace, each without waiting for the others."""

    async def place(order: DemoOrder) -> None:
        order_id, at = await shop.place(order)
        day.of[order_id] = order
        day.sent_at[order_id] = at

    async with asyncio.TaskGroup() as customers:
        for order in day.orders:
            customers.create_task(place(order))
            await asyncio.sleep(1 / _ORDERS_PER_SECOND)


async def look(day: Day, opened: AsyncEngine) -> None:
    """Learn how far the orders are. Raises Outage."""
    open_now = [o for o in day.of if o not in day.seen or not day.seen[o].terminal]
    async with transaction(opened) as conn:
        for found in await reads.progress(conn, open_now):
            day.seen[found.order_id] = found


async def direct(day: Day, shop: Shop, stop: asyncio.Event) -> None:
    """What people do meanwhile: release, cancel, take a node down, book goods in."""
    done: set[str] = set()
    while not stop.is_set():
        for held in day.named("held"):
            if held.status is OrderStatus.ON_HOLD and held.order_id not in done:
                done.add(held.order_id)
                await shop.release(held.order_id)
        for wanted in day.named("cancelled"):
            if "accepted" in (wanted.requests or ()) and wanted.order_id not in done:
                done.add(wanted.order_id)
                await shop.cancel(wanted.order_id, day.of[wanted.order_id])
        short = [o for o in day.named("backorder") if o.status is OrderStatus.BACKORDERED]
        if len(short) == day.expected("backorder") > 0 and "receipt" not in done:
            done.add("receipt")
            await shop.receive("DC-IND", "SCN-BACKORDER", 20)
        working = [o for o in day.named("node_down") if "accepted" in (o.requests or ())]
        if len(working) == day.expected("node_down") > 0 and "down" not in done:
            done.add("down")
            await shop.node("TPL-RNO", "down")
        moved = [o for o in day.named("node_down") if o.terminal]
        if len(moved) == day.expected("node_down") > 0 and "up" not in done:
            done.add("up")
            await shop.node("TPL-RNO", "up")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK)
