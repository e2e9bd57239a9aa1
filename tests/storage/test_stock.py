"""Units and promises: taken once, given back once, never more than there are."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict, Invalid, NotFound, Refused
from domain.fulfillments import LineQuantity
from domain.orders import Units
from storage import audit, network, reservations, snapshot, stock
from storage.asks import Ask
from storage.database import transaction
from storage.stock import Level
from storage.tables import node_capacity, pool
from tests.samples import a_node, a_share
from tests.storage.conftest import NODES, stocked


async def reserve(
    engine: AsyncEngine, name: str, quantity: int, node: str | None = None
) -> dict[str, int]:
    units = [Units(line_id="1", sku="A", quantity=quantity)]
    async with transaction(engine) as conn:
        return (await reservations.reserve(conn, Ask(name, "web-1", units, node))).missing


async def allocate(
    engine: AsyncEngine, key: str, name: str, *shares: tuple[str, str, int]
) -> dict[str, str]:
    fulfillments = [a_share(fid, node, {"1": quantity}) for fid, node, quantity in shares]
    async with transaction(engine) as conn:
        return await stock.allocate(conn, key, name, fulfillments)


async def give_back(  # noqa: PLR0913
    engine: AsyncEngine,
    key: str,
    fulfillment_id: str,
    quantity: int,
    *,
    to: Literal["reservation", "free"] = "reservation",
    name: str = "R1",
) -> None:
    lines = [LineQuantity(line_id="1", quantity=quantity)] if quantity else []
    async with transaction(engine) as conn:
        await stock.give_back(conn, key, fulfillment_id, lines, to, name, "node said no")


async def ship(engine: AsyncEngine, key: str, fulfillment_id: str, quantity: int = 0) -> None:
    lines = [LineQuantity(line_id="1", quantity=quantity)] if quantity else []
    async with transaction(engine) as conn:
        await stock.ship(conn, key, fulfillment_id, lines)


async def release(engine: AsyncEngine, name: str) -> None:
    async with transaction(engine) as conn:
        await reservations.release(conn, name, "cancelled")


async def set_status(engine: AsyncEngine, node: str, to: Literal["online", "offline"]) -> bool:
    async with transaction(engine) as conn:
        return await stock.set_node_status(conn, node, to, "ops", "test")


async def available(engine: AsyncEngine) -> int:
    async with transaction(engine) as conn:
        return (await stock.available(conn, ["A"]))["A"]


async def shelf(engine: AsyncEngine, node: str = "DC-A") -> tuple[int, int]:
    async with transaction(engine) as conn:
        levels: Sequence[Level] = await stock.levels(conn, skus=["A"], node=node)
    return (levels[0].on_hand, levels[0].allocated)


async def findings(engine: AsyncEngine) -> list[audit.Finding]:
    """What the auditor says of units and capacity; there are no records of orders here."""
    async with transaction(engine) as conn:
        return [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}]


async def test_200_orders_for_100_units_over_3_nodes_get_exactly_100(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 50, ("A", "DC-B"): 30, ("A", "ST-C"): 20})
    answers = await asyncio.gather(*(_patiently(world, f"R{n}") for n in range(200)))
    assert sum(not missing for missing in answers) == 100
    assert await available(world) == 0
    assert await findings(world) == []


async def _patiently(engine: AsyncEngine, name: str) -> dict[str, int]:
    async with _GATE:
        return await reserve(engine, name, 1)


_GATE = asyncio.Semaphore(10)


async def test_all_lines_or_none_and_several_lines_of_a_sku_add_up(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 3, ("B", "DC-A"): 1})
    units = [
        Units(line_id="1", sku="A", quantity=2),
        Units(line_id="2", sku="A", quantity=2),
        Units(line_id="3", sku="B", quantity=1),
        Units(line_id="4", sku="NOWHERE", quantity=5),
    ]
    async with transaction(world) as conn:
        missing = (await reservations.reserve(conn, Ask("R1", "web-1", units))).missing
    assert missing == {"A": 1, "NOWHERE": 5}
    assert await available(world) == 3
    await stocked(world, {("A", "DC-B"): 1})
    async with transaction(world) as conn:
        assert not (await reservations.reserve(conn, Ask("R1", "web-1", units[:3]))).missing
    assert await available(world) == 0
    assert await findings(world) == []


async def test_a_reservation_is_made_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    assert await reserve(world, "R1", 2) == {}
    assert await reserve(world, "R1", 2) == {}
    assert await available(world) == 3
    assert await findings(world) == []


async def test_a_release_that_overtakes_its_reservation_wins(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await release(world, "R1")
    with pytest.raises(Refused) as refusal:
        await reserve(world, "R1", 2)
    assert refusal.value.code == "reservation_released"
    assert await available(world) == 5
    assert await findings(world) == []


async def test_a_release_happens_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await reserve(world, "R1", 2)
    await release(world, "R1")
    await release(world, "R1")
    assert await available(world) == 5
    with pytest.raises(Refused):
        await allocate(world, "K1", "R1", ("F1", "DC-A", 2))
    assert await findings(world) == []


async def test_units_go_to_their_nodes_and_leave_them(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 5})
    await reserve(world, "R1", 6)
    for _ in range(2):
        assert await allocate(world, "K1", "R1", ("F1", "DC-A", 4), ("F2", "DC-B", 2)) == {}
    assert await shelf(world, "DC-A") == (5, 4)
    assert await available(world) == 4
    for _ in range(2):
        await ship(world, "S1", "F1", 3)
    await ship(world, "S2", "F1")
    await ship(world, "S3", "F2")
    assert await shelf(world, "DC-A") == (1, 0)
    assert await shelf(world, "DC-B") == (3, 0)
    assert await available(world) == 4
    with pytest.raises(Conflict) as conflict:
        await ship(world, "S4", "F1", 1)
    assert conflict.value.code == "not_allocated"
    assert await findings(world) == []


async def test_two_lines_of_one_sku_at_one_node_add_up(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 10})
    units = [Units(line_id=line, sku="A", quantity=3) for line in ("1", "2")]
    share = a_share("F1", "DC-A", {"1": 3, "2": 3})
    async with transaction(world) as conn:
        assert not (await reservations.reserve(conn, Ask("R1", "web-1", units))).missing
        assert await stock.allocate(conn, "web-1/1", "R1", [share]) == {}
    async with transaction(world) as conn:
        [shelf] = await stock.levels(conn, skus=["A"])
        assert (shelf.on_hand, shelf.allocated) == (10, 6)
        assert await stock.available(conn, ["A"]) == {"A": 4}
        await stock.ship(conn, "s1", "F1", [])
        [shelf] = await stock.levels(conn, skus=["A"])
        assert (shelf.on_hand, shelf.allocated) == (4, 0)
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2}] == []


async def test_two_lines_of_one_sku_are_not_served_from_the_same_units(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 5})
    units = [Units(line_id=line, sku="A", quantity=4) for line in ("1", "2")]
    share = a_share("F1", "DC-A", {"1": 4, "2": 4})
    async with transaction(world) as conn:
        assert not (await reservations.reserve(conn, Ask("R1", "web-1", units))).missing
        assert await stock.allocate(conn, "web-1/1", "R1", [share]) == {"DC-A": "out of stock"}


async def test_a_dry_node_moves_nothing_anywhere(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 1, ("A", "ST-C"): 5})
    await reserve(world, "R1", 6)
    await set_status(world, "ST-C", "offline")
    plan = (("F1", "DC-A", 2), ("F2", "DC-B", 2), ("F3", "ST-C", 2))
    assert await allocate(world, "K1", "R1", *plan) == {"DC-B": "out of stock", "ST-C": "offline"}
    assert await shelf(world, "DC-A") == (5, 0)
    assert await allocate(world, "K1", "R1", ("F1", "DC-A", 5), ("F2", "DC-B", 1)) == {}
    assert await findings(world) == []


async def test_more_than_was_reserved_is_not_allocated(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    with pytest.raises(Conflict):
        await allocate(world, "K1", "R1", ("F1", "DC-A", 1))
    await reserve(world, "R1", 1)
    with pytest.raises(Conflict) as conflict:
        await allocate(world, "K1", "R1", ("F1", "DC-A", 2))
    assert conflict.value.code == "not_reserved"
    assert await findings(world) == []


async def test_capacity_is_taken_by_day_and_comes_back_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 9})
    async with transaction(world) as conn:
        await network.put_node(conn, a_node("DC-A", capacity_per_day=1))
    for name in ("R1", "R2"):
        await reserve(world, name, 2)
    assert await allocate(world, "K1", "R1", ("F1", "DC-A", 2)) == {}
    assert await allocate(world, "K2", "R2", ("F2", "DC-A", 2)) == {"DC-A": "no capacity"}
    async with transaction(world) as conn:
        assert (await snapshot.sourcing(conn, ["A"])).capacity_left == {"DC-A": 0}
    await give_back(world, "B1", "F1", 1)
    assert await allocate(world, "K2", "R2", ("F2", "DC-A", 2)) == {"DC-A": "no capacity"}
    await give_back(world, "B2", "F1", 1)
    await give_back(world, "B2", "F1", 1)
    assert await allocate(world, "K2", "R2", ("F2", "DC-A", 2)) == {}
    await ship(world, "S1", "F2", 1)
    await give_back(world, "B3", "F2", 1, to="free", name="R2")
    async with transaction(world) as conn:
        assert (await conn.execute(select(node_capacity.c.used))).scalar_one() == 1
    assert await findings(world) == []


async def test_units_come_back_to_the_reservation_or_free(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 5})
    await reserve(world, "R1", 4)
    await allocate(world, "K1", "R1", ("F1", "DC-A", 4))
    for _ in range(2):
        await give_back(world, "B1", "F1", 3)
    assert await shelf(world) == (5, 1)
    assert await available(world) == 6
    assert await allocate(world, "K2", "R1", ("F2", "DC-B", 3)) == {}
    await give_back(world, "B2", "F2", 0, to="free")
    assert await available(world) == 9
    with pytest.raises(Conflict):
        await give_back(world, "B3", "F1", 2)
    assert await findings(world) == []


async def test_what_comes_back_to_a_released_reservation_is_free(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await reserve(world, "R1", 4)
    await allocate(world, "K1", "R1", ("F1", "DC-A", 3))
    await release(world, "R1")
    assert await available(world) == 2
    await give_back(world, "B1", "F1", 3)
    assert await available(world) == 5
    assert await findings(world) == []


async def test_a_give_back_that_overtakes_its_allocation_wins(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await reserve(world, "R1", 4)
    await give_back(world, "B1", "F1", 4)
    with pytest.raises(Refused) as refusal:
        await allocate(world, "K1", "R1", ("F1", "DC-A", 4))
    assert refusal.value.code == "allocation_released"
    assert await shelf(world) == (5, 0)
    assert await findings(world) == []


async def test_a_pickup_is_held_at_its_store_at_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "ST-C"): 2, ("A", "DC-A"): 2})
    assert await reserve(world, "R0", 3) == {}
    assert await reserve(world, "R1", 2, "ST-C") == {"A": 1}  # one is promised to the network
    assert await reserve(world, "R1", 1, "ST-C") == {}
    assert await shelf(world, "ST-C") == (2, 1)
    assert await available(world) == 0
    assert await allocate(world, "K1", "R1", ("F1", "ST-C", 1)) == {}
    assert await shelf(world, "ST-C") == (2, 1)
    await give_back(world, "B1", "F1", 1, to="reservation")
    assert await shelf(world, "ST-C") == (2, 1)
    await release(world, "R1")
    assert await shelf(world, "ST-C") == (2, 0)
    assert await available(world) == 1
    assert await findings(world) == []


async def test_an_offline_store_takes_no_pickup(world: AsyncEngine) -> None:
    await stocked(world, {("A", "ST-C"): 2, ("A", "DC-A"): 2})
    await set_status(world, "ST-C", "offline")
    assert await reserve(world, "R1", 1, "ST-C") == {"A": 1}
    with pytest.raises(NotFound):
        await reserve(world, "R1", 1, "NOWHERE")


async def test_a_node_that_goes_down_takes_its_free_units_off_sale(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 2})
    await reserve(world, "R1", 4)
    await allocate(world, "K1", "R1", ("F1", "DC-A", 2))
    assert await set_status(world, "DC-A", "offline")
    assert not await set_status(world, "DC-A", "offline")
    assert await available(world) == 0
    await give_back(world, "B1", "F1", 2)
    async with transaction(world) as conn:
        assert (await conn.execute(select(pool.c.available))).scalar_one() == -2
    assert await findings(world) == []
    await stocked(world, {("A", "ST-C"): 3})
    async with transaction(world) as conn:
        await stock.receive(conn, "late", "DC-A", [("A", 1)], "receipt", "test")
    assert await available(world) == 1
    assert await set_status(world, "DC-A", "online")
    assert await available(world) == 7
    assert await findings(world) == []


async def test_a_receipt_counts_once_and_a_count_is_absolute(world: AsyncEngine) -> None:
    async with transaction(world) as conn:
        assert await stock.receive(conn, "k", "DC-A", [("A", 2), ("A", 3)], "receipt", "ann")
        assert not await stock.receive(conn, "k", "DC-A", [("A", 2)], "receipt", "ann")
        assert await stock.receive(conn, "k", "DC-B", [("A", 1)], "receipt", "ann")
    await reserve(world, "R1", 4)
    await allocate(world, "K1", "R1", ("F1", "DC-A", 4))
    async with transaction(world) as conn:
        assert await stock.count(conn, "c1", "DC-A", [("A", 4)], "ann")
        assert not await stock.count(conn, "c1", "DC-A", [("A", 9)], "ann")
    assert await shelf(world) == (4, 4)
    assert await available(world) == 1
    with pytest.raises(Refused, match="A: 3 were counted"):
        async with transaction(world) as conn:
            await stock.count(conn, "c2", "DC-A", [("A", 3)], "ann")
    with pytest.raises(Invalid):
        async with transaction(world) as conn:
            await stock.receive(conn, "k2", "DC-A", [("A", 0)], "receipt", "ann")
    assert await findings(world) == []


async def test_levels_come_in_pages(world: AsyncEngine) -> None:
    await stocked(world, {(sku, node): 1 for sku in "ABC" for node in NODES})
    seen: list[tuple[str, str]] = []
    async with transaction(world) as conn:
        while page := await stock.levels(conn, after=seen[-1] if seen else None, limit=4):
            seen += [(level.sku, level.node) for level in page]
        assert await stock.skus_at(conn, "DC-A") == ["A", "B", "C"]
    assert seen == [(sku, node) for sku in "ABC" for node in NODES]


async def test_the_same_give_back_at_once_happens_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await reserve(world, "R1", 4)
    await asyncio.gather(*(allocate(world, "K1", "R1", ("F1", "DC-A", 4)) for _ in range(8)))
    await asyncio.gather(*(give_back(world, "B1", "F1", 3) for _ in range(8)))
    await asyncio.gather(*(release(world, "R1") for _ in range(8)))
    await asyncio.gather(*(ship(world, "S1", "F1") for _ in range(8)))
    assert await shelf(world) == (4, 0)
    assert await available(world) == 4
    assert await findings(world) == []


async def test_what_is_wrong_is_not_hidden_by_time(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    async with transaction(world) as conn:
        await conn.execute(update(pool).values(available=6))
        found = await audit.audit(conn, grace=timedelta(days=9))
    assert [f.invariant for f in found] == [1]
