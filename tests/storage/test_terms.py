"""Orders allocated in parallel on the terms of their decisions: as many as these allow, no more."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.fulfillments import Fulfillment, FulfillmentStatus
from domain.orders import Units
from domain.sourcing.terms import Terms
from storage import database, open_orders, records, reservations, stock
from storage.asks import Ask
from storage.database import transaction
from tests.samples import a_change, a_share, an_order
from tests.storage.conftest import stocked

STAY, CROWDED = "its last units stay there", "too many open orders"


@pytest.fixture
async def many(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """32 sessions."""
    engine = database.engine(postgres_url, size=32)
    yield engine
    await engine.dispose()


async def reserve(engine: AsyncEngine, number: int, units: int, node: str | None = None) -> None:
    """An order that is accepted, with its units."""
    order, lines = an_order(str(number)), [Units(line_id="1", sku="A", quantity=units)]
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", a_change(order))
        ask = Ask(f"R-{number}", order.order_id, lines, node)
        assert not (await reservations.reserve(conn, ask)).missing


async def allocate(
    engine: AsyncEngine, number: int, terms: dict[str, Terms], **nodes: int
) -> dict[str, str]:
    """So many units to each of these nodes, ever in another order, as the order's step does it."""
    order = an_order(str(number))
    shares: list[Fulfillment] = [
        a_share(f"{number}-{node}", node.replace("_", "-"), {"1": n}, order_id=order.order_id)
        for node, n in sorted(nodes.items(), reverse=bool(number % 2))
    ]
    async with transaction(engine) as conn:
        dry = await stock.allocate(conn, f"K-{number}", f"R-{number}", shares, terms)
        if not dry:
            await records.apply(conn, a_change(order, 2, fulfillments=tuple(shares)))
    return dry


async def open_at(engine: AsyncEngine) -> dict[str, int]:
    async with transaction(engine) as conn:
        return await open_orders.by_node(conn)


async def free(engine: AsyncEngine, node: str) -> int:
    async with transaction(engine) as conn:
        [level] = await stock.levels(conn, skus=["A"], node=node)
    return level.free


async def test_32_orders_at_once_are_no_more_than_may_be_open(
    world: AsyncEngine, many: AsyncEngine
) -> None:
    await stocked(world, {("A", "DC-A"): 90, ("A", "DC-B"): 90})
    for number in range(32):
        await reserve(world, number, 2)
    both = {"DC-A": Terms(most_orders=3), "DC-B": Terms(most_orders=9)}
    answers = await asyncio.gather(
        *(allocate(many, number, both, DC_A=1, DC_B=1) for number in range(32))
    )
    assert answers.count({}) == 3
    assert answers.count({"DC-A": CROWDED}) == 29
    rest = [number for number, answer in enumerate(answers) if answer]
    answers = await asyncio.gather(*(allocate(many, n, both, DC_B=2) for n in rest))
    assert answers.count({}) == 6
    assert await open_at(world) == {"DC-A": 3, "DC-B": 9}


async def test_32_orders_at_once_leave_what_must_stay(
    world: AsyncEngine, many: AsyncEngine
) -> None:
    await stocked(world, {("A", "DC-A"): 20, ("A", "DC-B"): 50})
    for number in range(32):
        await reserve(world, number, 2)
    asked = {"DC-A": Terms(least={"A": 5, "B": 99})}
    answers = await asyncio.gather(*(allocate(many, n, asked, DC_A=2) for n in range(32)))

    assert answers.count({}) == 7
    assert answers.count({"DC-A": STAY}) == 25
    assert await free(world, "DC-A") == 6


async def test_only_orders_that_have_not_ended_are_counted(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 9})
    for number in (1, 2):
        await reserve(world, number, 1)
    one = {"DC-A": Terms(most_orders=1)}
    assert await allocate(world, 1, one, DC_A=1) == {}
    assert await allocate(world, 2, one, DC_A=1) == {"DC-A": CROWDED}
    assert await free(world, "DC-A") == 8

    share = a_share("1-DC_A", "DC-A", {"1": 1}, order_id="web-1")
    ended = share.model_copy(update={"status": FulfillmentStatus.CLOSED})
    async with transaction(world) as conn:
        await records.apply(conn, a_change(an_order("1"), 3, fulfillments=(ended,)))
    assert await allocate(world, 2, one, DC_A=1) == {}
    assert await allocate(world, 2, one, DC_A=1) == {}  # it was, so it is not counted again


async def test_pickups_and_packages_take_turns(world: AsyncEngine, many: AsyncEngine) -> None:
    await stocked(world, {("A", "ST-C"): 90})
    for number in range(16):
        await reserve(world, number, 1, "ST-C" if number % 2 else None)
    two = {"ST-C": Terms(most_orders=2)}
    answers = await asyncio.gather(*(allocate(many, n, two, ST_C=1) for n in range(16)))

    assert (answers.count({}), answers.count({"ST-C": CROWDED})) == (2, 14)
    assert await open_at(world) == {"ST-C": 2}


async def test_the_count_goes_along_an_index_and_ends_with_the_limit(world: AsyncEngine) -> None:
    order = an_order()
    async with transaction(world) as conn:
        await records.accept(conn, order, "run", a_change(order))
        await conn.execute(
            text(
                "INSERT INTO fulfillments (fulfillment_id, order_id, node, method, service, status,"
                " request, ship_by, deliver_by, cost_minor, goods_minor, reason, body)"
                " SELECT format('f%s', n), 'web-1', 'DC-A', 'ship', '',"
                " CASE WHEN n % 4 = 0 THEN 'open' ELSE 'closed' END, '', now(), now(), 0, 0, '',"
                " '{}' FROM generate_series(1, 20000) AS n"
            )
        )
        await conn.execute(text("ANALYZE fulfillments"))
        asked = {"nodes": ["DC-A"], "most": [3], "open": ["open", "in_progress"]}
        query = f"EXPLAIN (ANALYZE, FORMAT JSON) {open_orders.CROWDED.text}"
        [told] = (await conn.execute(text(query), asked)).scalar_one()
    plan = told["Plan"]
    while "Plans" in plan:
        [plan] = plan["Plans"]
    assert plan["Index Name"] == "ix_fulfillments_node_status"
    assert plan["Actual Rows"] == 3
