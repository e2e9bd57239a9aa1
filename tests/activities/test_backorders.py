"""What an order's own steps do to its place in the line: it waits, is served, or is cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.orders import Orders
from activities.stock import Stock
from domain.lifecycle import all_moved
from domain.orders import Bucket, OrderStatus, Units
from domain.records import Change, OrderEvent, OrderState
from storage import audit, backorders, network, reads, records, reservations, stock, supplies
from storage.asks import Ask
from storage.database import transaction
from storage.supplies import Supply
from storage.tables import inbox, metadata
from tests.samples import NOON, a_change, a_node, an_order
from workflows.ports import Release, Reserve

DUE = datetime(2126, 12, 9, 12, tzinfo=UTC)
ORDER = an_order()  # three of A


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncEngine:
    """One node, one order, and supply that is to come; committed."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        await network.put_node(conn, a_node("DC-A"))
        await records.accept(conn, ORDER, "run", a_change(ORDER, 1, events=(said("received"),)))
        await supplies.put(
            conn,
            Supply(
                source="erp",
                ref="PO-1",
                sequence=1,
                kind="production",
                node="DC-A",
                sku="A",
                quantity=10,
                expected_at=DUE,
            ),
            "test",
        )
    return engine


def said(kind: str) -> OrderEvent:
    return OrderEvent(type=kind, summary="so it is", cause=kind)


def step(seq: int, state: OrderState, to: Bucket, status: OrderStatus) -> Change:
    """All units that wait go to a bucket."""
    after = all_moved(state, (Bucket.OPEN, Bucket.BACKORDERED), to)
    return Change(
        key=f"run:{seq}",
        at=NOON + timedelta(minutes=seq),
        seq=seq,
        state=after.model_copy(update={"status": status, "short": {}}),
        events=(said(to.value),),
    )


async def reserve(house: AsyncEngine, seq: int, *, waits: bool = True) -> datetime | None:
    """The order's own step; when what is missing is expected."""
    state = await state_of(house)
    request = Reserve(
        reservation_id=f"{ORDER.order_id}-R1",
        order_id=ORDER.order_id,
        channel=ORDER.channel,
        units=(Units(line_id="1", sku="A", quantity=3),),
        node=None,
        reserved=step(seq, state, Bucket.RESERVED, OrderStatus.SOURCING),
        short=step(seq, state, Bucket.BACKORDERED, OrderStatus.BACKORDERED),
        waits=waits,
    )
    return (await Stock(house).reserve(request)).expected


async def state_of(house: AsyncEngine) -> OrderState:
    async with transaction(house) as conn:
        state = await records.state(conn, ORDER.order_id)
    assert state is not None
    return state


async def waits_for(house: AsyncEngine) -> list[int]:
    async with transaction(house) as conn:
        return [a.units for a in await backorders.awaited(conn, ORDER.order_id)]


async def came(house: AsyncEngine, units: int) -> int:
    """Units of the supply come; how many anyone may have."""
    async with transaction(house) as conn:
        await stock.receive(
            conn, f"in {units}", "DC-A", [("A", units)], "received", "test", ("erp", "PO-1")
        )
        return (await stock.available(conn, ["A"]))["A"]


async def clean(house: AsyncEngine) -> None:
    async with transaction(house) as conn:
        assert await audit.audit(conn, grace=timedelta(days=9999)) == ()


async def test_an_order_waits_by_name_and_takes_what_came_for_it(house: AsyncEngine) -> None:
    assert await reserve(house, 2) == DUE
    assert await waits_for(house) == [3]
    async with transaction(house) as conn:
        told = await reads.timeline(conn, ORDER.order_id, after=0, limit=9)
    assert "expected 2126-12-09" in told[-1].summary
    assert await came(house, 4) == 1
    await clean(house)
    assert await reserve(house, 3) is None
    assert (await state_of(house)).status is OrderStatus.SOURCING
    assert await waits_for(house) == []
    await clean(house)


async def test_a_cancelled_order_gives_its_place_and_what_came_for_it_to_all(
    house: AsyncEngine,
) -> None:
    await reserve(house, 2)
    assert await came(house, 2) == 0
    over = step(3, await state_of(house), Bucket.CANCELLED, OrderStatus.CANCELLED)
    await Orders(house).record(over)
    await Orders(house).record(over)
    assert await waits_for(house) == []
    async with transaction(house) as conn:
        assert (await stock.available(conn, ["A"]))["A"] == 2
    await clean(house)


async def test_an_order_that_must_not_wait_claims_nothing(house: AsyncEngine) -> None:
    assert await reserve(house, 2, waits=False) is None
    assert await waits_for(house) == []


async def test_what_a_cancelled_order_gives_back_wakes_who_waits_for_it(
    house: AsyncEngine,
) -> None:
    async with transaction(house) as conn:
        await stock.receive(conn, "in", "DC-A", [("A", 3)], "received", "test")
    assert await reserve(house, 2) is None
    other = an_order("2")
    async with transaction(house) as conn:
        first = a_change(other, 1, events=(said("received"),))
        await records.accept(conn, other, "run", first)
        short = step(2, first.state, Bucket.BACKORDERED, OrderStatus.BACKORDERED)
        waits = short.state.model_copy(update={"short": {"A": 3}})
        await records.apply(conn, short.model_copy(update={"state": waits}))
    over = all_moved(await state_of(house), (Bucket.RESERVED,), Bucket.CANCELLED)
    change = step(3, over, Bucket.CANCELLED, OrderStatus.CANCELLED)
    request = Release(reservation_id=f"{ORDER.order_id}-R1", change=change)
    for _ in range(2):
        await Stock(house).release(request)
    async with transaction(house) as conn:
        woken = (await conn.execute(select(inbox.c.order_id))).scalars().all()
    assert woken == [other.order_id]


async def test_a_reservation_made_for_an_order_ends_with_the_order_that_never_took_it(
    house: AsyncEngine,
) -> None:
    order = an_order("made-for", reservation="k1")
    async with transaction(house) as conn:
        await stock.receive(conn, "in", "DC-A", [("B", 2)], "receipt", "test")
        await records.accept(conn, order, "run", a_change(order))
        units = [Units(line_id="1", sku="B", quantity=2)]
        ask = Ask("web/k1", "web-made-for", units, channel="web", digest="d")
        assert not (await reservations.reserve(conn, ask)).missing
    refused = a_change(order, 2, status=OrderStatus.REJECTED)
    for _ in range(2):
        await Orders(house).record(refused)
    async with transaction(house) as conn:
        assert await stock.available(conn, ["B"]) == {"B": 2}
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []
