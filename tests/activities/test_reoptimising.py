"""Allocated work that no node was asked for is sourced anew where it pays, on real rows."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.batches import decide_due
from activities.house import House
from activities.reoptimising import reoptimise
from activities.worker import adapters, workers
from storage import audit, cooling
from storage.database import transaction
from storage.tables import allocations, inbox, node_capacity
from storage.tables import stock as shelves
from tests.activities.lives import (
    AUSTIN,
    DEAR,
    NEAR,
    NEWARK,
    Life,
    housed,
    placed,
    receive,
)
from tests.domain.rules.written import a_rule
from workflows import client
from workflows.messages import SourceAgain


async def messages(engine: AsyncEngine) -> dict[str, SourceAgain]:
    async with transaction(engine) as conn:
        query = select(inbox.c.order_id, inbox.c.body).where(inbox.c.kind == "source_again")
        rows = (await conn.execute(query)).all()
    return {row.order_id: SourceAgain.model_validate(row.body) for row in rows}


async def obeyed(engine: AsyncEngine, lives: Sequence[Life]) -> None:
    """What the orders' workflows do when they are told."""
    told = await messages(engine)
    assert {life.order.order_id for life in lives} == told.keys()
    for life in lives:
        message = told[life.order.order_id]
        assert message.fulfillments == (life.waiting.fulfillment_id,)
        await life.taken_back()
        assert not await life.sourced(message.batch)
    async with transaction(engine) as conn:
        assert await cooling.hasten(conn) == len(lives)
    assert await decide_due(engine, 1.0) == len(lives)
    for life in lives:
        assert await life.sourced(told[life.order.order_id].batch)


async def sound(engine: AsyncEngine, held: dict[str, int]) -> None:
    """Nothing is wrong, and each node has so many units, and places of its day, taken."""
    async with transaction(engine) as conn:
        findings = await audit.audit(conn)
        rows = (await conn.execute(select(shelves.c.node, shelves.c.allocated))).all()
        days = (await conn.execute(select(node_capacity))).all()
        open_ = select(allocations.c.node).where(allocations.c.capacity_day.is_not(None))
        places = sorted((await conn.execute(open_)).scalars())
    assert [f for f in findings if f.invariant in {1, 2, 3, 5}] == []
    assert {row.node: row.allocated for row in rows if row.allocated} == held
    assert {row.node: row.used for row in days if row.used} == held
    assert {row.node: row.units for row in days if row.units} == held
    assert places == sorted(node for node, units in held.items() for _ in range(units))


@pytest.mark.parametrize("limit", [9, None])
async def test_an_order_moves_to_a_cheaper_node_that_got_stock(
    engine: AsyncEngine, limit: int | None
) -> None:
    house = await housed(engine, {DEAR.code: 3}, limit)
    (life,) = await placed(house, AUSTIN)
    first = life.waiting
    assert first.node == DEAR.code
    assert first.release_at is not None
    assert timedelta(hours=3) < first.release_at - datetime.now(UTC) <= timedelta(hours=4)
    none = await reoptimise(house, dry_run=False)
    assert (none.looked_at, none.moved, await messages(house)) == (1, 0, {})

    await receive(house, NEAR.code, 1)
    dry = await reoptimise(house, dry_run=True)
    [better] = dry.orders
    assert (dry.moved, better.moves, await messages(house)) == (1, True, {})
    assert (list(better.before), list(better.after)) == ([DEAR.code], [NEAR.code])
    done = await reoptimise(house, dry_run=False)
    assert done == dry
    await obeyed(house, [life])

    assert life.waiting.node == NEAR.code
    assert life.waiting.release_at == first.release_at  # an order waits once
    assert first.cost_minor - life.waiting.cost_minor == better.saves_minor > 100
    await sound(house, {NEAR.code: 1})
    assert (await reoptimise(house, dry_run=True)).orders == ()


async def test_what_saves_no_more_than_its_price_stays(engine: AsyncEngine) -> None:
    house = await housed(engine, {DEAR.code: 3}, stability_minor=100_000)
    await placed(house, AUSTIN)
    await receive(house, NEAR.code, 1)
    found = await reoptimise(house, dry_run=False)
    assert (found.looked_at, found.moved, await messages(house)) == (1, 0, {})
    [better] = found.orders
    assert better.saves_minor > 0
    assert not better.moves


@pytest.mark.parametrize("limits", [[], [a_rule("calm", "max_orders", value=1)]])
async def test_two_orders_swap_though_neither_could_move_alone(
    engine: AsyncEngine, limits: list[dict[str, Any]]
) -> None:
    """Each got the one node that had stock when it came; there is no other unit, or no room."""
    house = await housed(engine, {DEAR.code: 1}, rules=limits)
    first = Life(house, "1", AUSTIN)
    await first.reserved()
    assert await first.sourced()
    await receive(house, NEAR.code, 1)
    second = Life(house, "2", NEWARK)
    await second.reserved()
    assert await second.sourced()
    assert (first.waiting.node, second.waiting.node) == (DEAR.code, NEAR.code)
    before = first.waiting.cost_minor + second.waiting.cost_minor

    found = await reoptimise(house, dry_run=False)
    assert (found.looked_at, found.moved) == (2, 2)
    await obeyed(house, [first, second])
    assert (first.waiting.node, second.waiting.node) == (NEAR.code, DEAR.code)
    after = first.waiting.cost_minor + second.waiting.cost_minor
    assert before - after == found.saves_minor > 200
    await sound(house, {NEAR.code: 1, DEAR.code: 1})


async def test_a_pass_is_made_on_demand_by_a_worker_for_sourcing(house: House) -> None:
    await housed(house.engine, {DEAR.code: 3})
    await placed(house.engine, AUSTIN)
    await receive(house.engine, NEAR.code, 1)
    async with AsyncExitStack() as stack:
        for worker in workers(house.client, adapters(house), "again", ["workflows", "sourcing"]):
            await stack.enter_async_context(worker)
        dry = await client.reoptimise(house.client, dry_run=True, queue="again")
        assert (dry.moved, await messages(house.engine)) == (1, {})
        done = await client.reoptimise(house.client, dry_run=False, queue="again")
    assert done == dry
    assert list(await messages(house.engine)) == ["web-1"]


@pytest.mark.parametrize("why", ["held", "asked", "soon", "promised"])
async def test_what_is_not_to_be_touched_is_not_looked_at(engine: AsyncEngine, why: str) -> None:
    house = await housed(engine, {DEAR.code: 3})
    await placed(house, AUSTIN)
    await receive(house, NEAR.code, 1)
    wanted = {
        "held": "UPDATE orders SET state = jsonb_set(state, '{holds}', '[{}]')",
        "asked": "UPDATE fulfillments SET submitted_at = now()",
        "soon": "UPDATE fulfillments SET release_at = now() + interval '30 seconds'",
        "promised": "UPDATE orders SET body = jsonb_set(body, '{promise_token}', '\"p-1\"')",
    }
    async with transaction(house) as conn:
        await conn.exec_driver_sql(wanted[why])
    assert (await reoptimise(house, dry_run=True)).looked_at == 0
