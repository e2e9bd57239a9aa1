"""Orders that wait to be sourced together: until when, by whom, and that they are told."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.orders import OrderStatus
from storage import cooling, records
from storage.database import transaction
from storage.tables import inbox
from tests.samples import a_change, an_order

HOUR = timedelta(hours=1)


@pytest.fixture
async def engine_of_four(world: AsyncEngine) -> AsyncEngine:
    async with transaction(world) as conn:
        for number in "1234":
            order = an_order(number)
            await records.accept(conn, order, "run", a_change(order))
    return world


async def enter(
    engine: AsyncEngine,
    number: str,
    profile: str = "calm",
    window: timedelta = HOUR,
    round: int = 1,
) -> datetime:
    request = {"order_id": f"web-{number}", "round": round}
    async with transaction(engine) as conn:
        return await cooling.enter(conn, profile, window, request)


async def claimed(engine: AsyncEngine) -> list[str]:
    async with transaction(engine) as conn:
        return [row.order_id for row in await cooling.claim(conn)]


async def test_asked_again_it_waits_until_the_same_instant(engine_of_four: AsyncEngine) -> None:
    until = await enter(engine_of_four, "1")
    assert await enter(engine_of_four, "1", window=2 * HOUR) == until
    assert await enter(engine_of_four, "1", window=2 * HOUR, round=2) > until


async def test_all_of_a_profile_are_claimed_once_one_is_due(engine_of_four: AsyncEngine) -> None:
    await enter(engine_of_four, "2")
    await enter(engine_of_four, "1")
    await enter(engine_of_four, "3", "other")
    assert await claimed(engine_of_four) == []
    await enter(engine_of_four, "4", window=timedelta(0))
    assert await claimed(engine_of_four) == ["web-2", "web-1", "web-4"]
    assert await claimed(engine_of_four) == []


async def test_a_batch_that_died_leaves_its_orders_to_the_next(engine_of_four: AsyncEngine) -> None:
    await enter(engine_of_four, "1", window=timedelta(0))
    assert await claimed(engine_of_four) == ["web-1"]
    async with transaction(engine_of_four) as conn:
        await conn.execute(text("UPDATE cooling SET claimed_until = now() - interval '1 second'"))
    assert await claimed(engine_of_four) == ["web-1"]


async def test_whoever_wants_it_now_has_it_now(engine_of_four: AsyncEngine) -> None:
    await enter(engine_of_four, "1")
    await enter(engine_of_four, "2", "other")
    async with transaction(engine_of_four) as conn:
        assert await cooling.hasten(conn, "other") == 1
    assert await claimed(engine_of_four) == ["web-2"]
    async with transaction(engine_of_four) as conn:
        assert await cooling.hasten(conn) == 2


async def test_what_is_decided_is_told_and_what_is_over_waits_no_more(
    engine_of_four: AsyncEngine,
) -> None:
    for number in "123":
        await enter(engine_of_four, number, window=timedelta(0))
    async with transaction(engine_of_four) as conn:
        over = a_change(an_order("3"), 2, status=OrderStatus.CANCELLED)
        await records.apply(conn, over.model_copy(update={"base": "run:1"}))
    assert await claimed(engine_of_four) == ["web-1", "web-2"]
    async with transaction(engine_of_four) as conn:
        await cooling.decided(conn, ["web-1"], "batch-1")
        await cooling.leave(conn, "web-2")
    async with transaction(engine_of_four) as conn:
        assert await cooling.hasten(conn) == 0
        told = select(inbox.c.order_id).where(inbox.c.kind == "supply")
        assert list((await conn.execute(told)).scalars()) == ["web-1"]
