"""Inbox and outbox: each delivery once, each order's in order, nothing lost with its worker."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from storage import inbox
from storage.database import transaction


async def put(engine: AsyncEngine, delivery: str, order_id: str | None = None) -> bool:
    async with transaction(engine) as conn:
        return await inbox.put(
            conn, "shop", delivery, "shopify", {"n": 1}, order_id=order_id, raw=b"\0raw"
        )


async def claimed(engine: AsyncEngine, limit: int = 10, lease: float = 30) -> list[str]:
    async with transaction(engine) as conn:
        return [item.delivery_id for item in await inbox.claim(conn, limit, lease)]


async def failed(engine: AsyncEngine, item: int, retry_at: datetime | None) -> None:
    async with transaction(engine) as conn:
        await inbox.failed(conn, item, "no", retry_at)


async def test_the_same_delivery_50_times_at_once_is_one(world: AsyncEngine) -> None:
    answers = await asyncio.gather(*(put(world, "d1") for _ in range(50)))
    assert sum(answers) == 1
    assert await claimed(world) == ["d1"]


async def test_what_is_leased_is_not_handed_out_again_until_it_expires(world: AsyncEngine) -> None:
    await put(world, "d1")
    assert await claimed(world, lease=0.2) == ["d1"]
    assert await claimed(world) == []
    await asyncio.sleep(0.3)
    assert await claimed(world) == ["d1"]
    async with transaction(world) as conn:
        await inbox.done(conn, [1], "delivered")
        waiting = await inbox.waiting(conn)
    assert (waiting.count, waiting.dead) == (0, 0)
    assert await claimed(world) == []


async def test_an_orders_deliveries_come_in_order(world: AsyncEngine) -> None:
    for delivery, order_id in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("x1", None), ("x2", None)):
        await put(world, delivery, order_id)
    assert await claimed(world, limit=1) == ["a1"]
    assert await claimed(world) == ["b1", "x1", "x2"]
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    await failed(world, 1, soon)
    assert await claimed(world) == []
    await asyncio.sleep(0.3)
    assert await claimed(world) == ["a1", "a2"]


async def test_what_was_given_up_blocks_nothing_and_is_seen(world: AsyncEngine) -> None:
    await put(world, "a1", "a")
    await put(world, "a2", "a")
    assert await claimed(world, limit=1) == ["a1"]
    await failed(world, 1, None)
    assert await claimed(world) == ["a2"]
    async with transaction(world) as conn:
        waiting = await inbox.waiting(conn)
    assert (waiting.count, waiting.dead) == (1, 1)


async def test_two_workers_never_get_the_same(world: AsyncEngine) -> None:
    for n in range(40):
        await put(world, f"d{n}", f"o{n % 5}")
    hands = await asyncio.gather(*(claimed(world, limit=7) for _ in range(8)))
    got = [delivery for hand in hands for delivery in hand]
    assert len(got) == len(set(got))
