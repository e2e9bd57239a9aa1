"""The worker follows what changes and tells of each crossing once, of however many there are."""

import asyncio
from typing import Any, cast

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from activities import watch
from activities.house import House
from domain.network import Calendar, Node, NodeKind
from domain.stock_rules import Rule, RuleKind
from storage import network, stock, stock_rules, stock_watch
from storage.database import transaction
from storage.stock_watch import StockEvent, Watch


async def told(engine: AsyncEngine, count: int) -> list[tuple[str, int]]:
    """The events, once there are so many."""
    events: tuple[StockEvent, ...] = ()
    while len(events) < count:
        await asyncio.sleep(0.05)
        async with transaction(engine) as conn:
            events = await stock_watch.events(conn)
    return [(event.type, event.units) for event in events]


async def count(engine: AsyncEngine, key: str, units: int) -> None:
    async with transaction(engine) as conn:
        await stock.count(conn, key, "DC-A", [("A", units)], "test")


async def test_three_workers_tell_of_each_crossing_once(engine: AsyncEngine) -> None:
    node = Node(
        code="DC-A",
        name="A",
        kind=NodeKind.DC,
        postal_code="75201",
        latitude=32.8,
        longitude=-96.8,
        calendar=Calendar(timezone="UTC"),
    )
    async with transaction(engine) as conn:
        await network.put_node(conn, node)
        await stock.receive(conn, "in", "DC-A", [("A", 20)], "receipt", "test")
        await stock_watch.put(conn, [Watch(sku="A", low=3, high=5)], "test")
    async with httpx.AsyncClient() as http:
        nothing = cast("Any", None)
        house = House(engine=engine, client=nothing, keyring=nothing, http=http)
        following = [asyncio.create_task(watch.run(house)) for _ in range(3)]
        seen: list[tuple[str, int]] = []
        for number, units in enumerate((2, 9, 1)):
            await count(engine, f"c{number}", units)
            seen = await told(engine, number + 1)
        async with transaction(engine) as conn:
            await stock.receive(conn, "more", "DC-A", [("A", 9)], "receipt", "test")
        seen = await told(engine, 4)
        async with transaction(engine) as conn:
            await stock_rules.put(conn, [Rule(kind=RuleKind.SAFETY, units=8)], "test")
        seen = await told(engine, 5)
        assert not any(task.done() for task in following)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    low, back = "low_stock", "back_in_stock"
    assert seen == [(low, 2), (back, 9), (low, 1), (back, 10), (low, 2)]
