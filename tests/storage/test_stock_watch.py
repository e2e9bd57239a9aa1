"""A watch tells once when a SKU falls low and once when it is back, whoever looks and how often."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Invalid
from domain.orders import Units
from storage import reservations, stock, stock_watch
from storage.asks import Ask
from storage.database import transaction
from storage.stock_watch import Watch
from tests.storage.conftest import stocked


async def watched(engine: AsyncEngine, *watches: Watch) -> None:
    async with transaction(engine) as conn:
        await stock_watch.put(conn, watches, "ann")


async def look(engine: AsyncEngine) -> int:
    async with transaction(engine) as conn:
        return await stock_watch.look(conn, ["A"])


async def events(engine: AsyncEngine, after: int = 0) -> list[tuple[int, str, str, int]]:
    async with transaction(engine) as conn:
        found = await stock_watch.events(conn, after=after)
    return [(event.id, event.type, event.node, event.units) for event in found]


async def count(engine: AsyncEngine, key: str, units: int, node: str = "DC-A") -> None:
    async with transaction(engine) as conn:
        await stock.count(conn, key, node, [("A", units)], "test")


async def test_units_that_come_and_go_tell_nobody(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 9})
    await watched(world, Watch(sku="A", low=3, high=5))
    told = []
    for number, units in enumerate((9, 3, 2, 5, 3, 6, 5, 4, 3)):
        await count(world, f"c{number}", units)
        told.append(await look(world))
    assert told == [0, 1, 0, 0, 0, 1, 0, 0, 1]
    assert await events(world) == [
        (1, "low_stock", "", 3), (2, "back_in_stock", "", 6), (3, "low_stock", "", 3),
    ]  # fmt: skip
    assert await events(world, after=2) == [(3, "low_stock", "", 3)]


async def test_the_network_and_a_node_are_watched_apart(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 4, ("A", "ST-C"): 9})
    await watched(world, Watch(sku="A", low=8, high=8), Watch(sku="A", node="DC-A", low=2, high=2))
    assert await look(world) == 0
    units = [Units(line_id="1", sku="A", quantity=6)]
    async with transaction(world) as conn:
        assert not (await reservations.reserve(conn, Ask("R1", "web-1", units))).missing
    assert await look(world) == 1
    await count(world, "c", 2)
    assert await look(world) == 1
    assert [(node, n) for _, _, node, n in await events(world)] == [("", 7), ("DC-A", 2)]


async def test_many_who_look_at_once_tell_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 1})
    await watched(world, Watch(sku="A", low=1, high=1))
    assert sum(await asyncio.gather(*(look(world) for _ in range(8)))) == 1
    async with transaction(world) as conn:
        [kept] = await stock_watch.listed(conn, sku="A")
        assert (kept.state, kept.actor) == ("low", "ann")
        assert await stock_watch.remove(conn, [("A", ""), ("B", "")]) == 1
        assert await stock_watch.listed(conn) == ()


async def test_a_watch_at_a_node_that_is_not_there_is_refused(world: AsyncEngine) -> None:
    with pytest.raises(Invalid, match=r"watches\.0\.node: there is no node X"):
        await watched(world, Watch(sku="A", node="X", low=1, high=1))
