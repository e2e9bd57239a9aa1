"""The worker finds what is wrong, mends what it may, and one worker makes each pass."""

import asyncio
import logging
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities import auditing
from activities.house import House
from storage import network, passes, repairs, stock
from storage.database import transaction
from tests.samples import a_node


async def by_hand(engine: AsyncEngine, statement: str) -> None:
    async with transaction(engine) as conn:
        await conn.execute(text("SET LOCAL application_name = 'psql'"))
        await conn.execute(text(statement))


async def decided(engine: AsyncEngine, count: int) -> tuple[repairs.Repair, ...]:
    """The repairs, once there are so many."""
    made: tuple[repairs.Repair, ...] = ()
    while len(made) < count:
        await asyncio.sleep(0.05)
        async with transaction(engine) as conn:
            made = await repairs.listed(conn)
    return made


async def told(engine: AsyncEngine, kind: passes.Kind) -> None:
    """Until a pass of this kind has ended."""
    ended = False
    while not ended:
        await asyncio.sleep(0.05)
        async with transaction(engine) as conn:
            ended = any(p.kind == kind and p.ended_at for p in await passes.last(conn))
    await asyncio.sleep(0)


async def test_three_workers_mend_what_is_wrong_once(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "_SETTLE", 0.05)
    async with transaction(engine) as conn:
        await network.put_node(conn, a_node("DC-A"))
        await stock.receive(conn, "in", "DC-A", [("A", 20), ("B", 5)], "receipt", "test")
    await by_hand(engine, "UPDATE pool SET available = 1 WHERE sku = 'A'")
    async with httpx.AsyncClient() as http:
        nothing = cast("Any", None)
        house = House(
            engine=engine,
            client=nothing,
            keyring=nothing,
            http=http,
            audit_seconds=0.1,
            audit_full_seconds=3600,
        )
        with caplog.at_level(logging.WARNING, auditing.__name__):
            auditors = [asyncio.create_task(auditing.run(house)) for _ in range(3)]
            [first] = await decided(engine, 1)  # by the full pass
            await by_hand(engine, "UPDATE pool SET available = 2 WHERE sku = 'B'")
            async with transaction(engine) as conn:  # the pool is wrong, and its SKU moves
                await stock.receive(conn, "more", "DC-A", [("B", 1)], "receipt", "test")
            [_, second] = await decided(engine, 2)
            await told(engine, "quick")
            await asyncio.sleep(0.3)  # its line is written after that
            assert not any(task.done() for task in auditors)
            for task in auditors:
                task.cancel()
            await asyncio.gather(*auditors, return_exceptions=True)
    assert (first.status, first.after) == ("applied", {"sku": "A", "available": 20})
    assert (second.status, second.after) == ("applied", {"sku": "B", "available": 6})
    assert "audit pass=full findings=0 applied=1 proposed=0" in caplog.text
    assert "audit repair id=2 status=applied table=pool" in caplog.text
    async with transaction(engine) as conn:
        assert {made.kind for made in await passes.last(conn)} == {"full", "quick"}


async def test_a_pass_is_one_workers_and_has_its_time(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        await conn.execute(text("TRUNCATE audit_passes"))
        assert await passes.claim(conn, "full", 60)
        assert not await passes.claim(conn, "full", 0)  # under way
        await passes.end(conn, "full", 3)
        assert [made.findings for made in await passes.last(conn)] == [3]
    async with transaction(engine) as conn:
        assert not await passes.claim(conn, "full", 60)  # not due
        assert await passes.claim(conn, "full", 0)
        await conn.execute(text("UPDATE audit_passes SET at = now() - interval '2 hours'"))
        assert await passes.claim(conn, "full", 0)  # its worker is gone


async def test_no_interval_is_no_audit(engine: AsyncEngine) -> None:
    async with httpx.AsyncClient() as http:
        nothing = cast("Any", None)
        house = House(engine=nothing, client=nothing, keyring=nothing, http=http, audit_seconds=0)
        idle = asyncio.create_task(auditing.run(house))
        await asyncio.sleep(0)
        assert not idle.done()
        idle.cancel()
        await asyncio.gather(idle, return_exceptions=True)
