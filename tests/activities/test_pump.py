"""The pump over the real inbox: each row once at a time, and given up only for its own faults."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.pump import Box, Pump
from domain.errors import Outage
from storage import inbox
from storage.database import transaction
from storage.inbox import InboxItem


class Desk(Box[InboxItem]):
    """The inbox, with work that a test decides on, and no wait before the next try."""

    def __init__(
        self, engine: AsyncEngine, does: Callable[[InboxItem], Awaitable[str]], lease: float = 30
    ) -> None:
        self._engine = engine
        self._does = does
        self.lease = lease

    async def claim(self, limit: int) -> Sequence[InboxItem]:
        async with transaction(self._engine) as conn:
            return await inbox.claim(conn, limit, self.lease)

    async def work(self, row: InboxItem) -> str:
        return await self._does(row)

    async def done(self, rows: Collection[int], note: str) -> None:
        async with transaction(self._engine) as conn:
            await inbox.done(conn, rows, note)

    async def failed(self, row: int, error: str, retry_at: datetime | None, attempts: int) -> None:
        soon = retry_at and datetime.now(UTC)
        async with transaction(self._engine) as conn:
            await inbox.failed(conn, row, error, soon, attempts)

    async def released(self, rows: Collection[int]) -> None:
        async with transaction(self._engine) as conn:
            await inbox.released(conn, rows)


@pytest.fixture
async def rows(engine: AsyncEngine) -> AsyncEngine:
    """Three deliveries of one order."""
    async with transaction(engine) as conn:
        await conn.execute(text("TRUNCATE inbox RESTART IDENTITY"))
        for n in (1, 2, 3):
            await inbox.put(conn, "shop", f"d{n}", "shopify", {}, order_id="a")
    return engine


@asynccontextmanager
async def pumping(desk: Desk) -> AsyncIterator[None]:
    running = asyncio.create_task(Pump(desk, width=8, idle=0.01).run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _all_done(engine: AsyncEngine) -> None:
    async with asyncio.timeout(20):
        while True:
            async with transaction(engine) as conn:
                waiting = await inbox.waiting(conn)
            assert waiting.dead == 0
            if waiting.count == 0:
                return
            await asyncio.sleep(0.02)


async def test_an_outage_however_long_gives_nothing_up(rows: AsyncEngine) -> None:
    tries: Counter[str] = Counter()

    async def away_then_clumsy(row: InboxItem) -> str:
        tries[row.delivery_id] += 1
        if row.delivery_id == "d1" and tries["d1"] <= 40:
            raise Outage("temporal")
        if tries[row.delivery_id] in (1, 41):
            raise ValueError("a slip")
        return "delivered"

    async with pumping(Desk(rows, away_then_clumsy)):
        await _all_done(rows)
    assert tries == {"d1": 42, "d2": 2, "d3": 2}


async def test_what_was_not_tried_does_not_wait_for_its_lease(rows: AsyncEngine) -> None:
    seen: list[tuple[str, int]] = []

    async def slips_once(row: InboxItem) -> str:
        seen.append((row.delivery_id, row.attempts))
        if len(seen) == 1:
            raise ValueError("a slip")
        return "delivered"

    async with pumping(Desk(rows, slips_once, lease=3600)):
        await _all_done(rows)
    assert seen == [("d1", 1), ("d1", 2), ("d2", 1), ("d3", 1)]


async def test_a_row_that_outlasts_its_lease_is_not_worked_on_twice_at_once(
    rows: AsyncEngine,
) -> None:
    at_work: Counter[str] = Counter()
    most: Counter[str] = Counter()
    tries: Counter[str] = Counter()

    async def slow_at_first(row: InboxItem) -> str:
        key = row.delivery_id
        tries[key] += 1
        at_work[key] += 1
        most[key] = max(most[key], at_work[key])
        try:
            await asyncio.sleep(3 if tries[key] == 1 and key == "d1" else 0)
        finally:
            at_work[key] -= 1
        return "delivered"

    async with pumping(Desk(rows, slow_at_first, lease=1)):
        await _all_done(rows)
    assert set(most.values()) == {1}
