"""A node's day: held by allocations, confirmed by its word, given back, and never overfull."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import NotFound
from domain.fulfillments import LineQuantity, NodeEvent, NodeEventType
from domain.network import Calendar
from domain.orders import Units
from storage import (
    audit,
    capacity,
    database,
    inbox,
    network,
    reservations,
    signals,
    snapshot,
    stock,
)
from storage.asks import Ask
from storage.capacity import Share
from storage.database import transaction
from storage.signals import Kind, Signal
from storage.tables import allocations, node_capacity, node_log
from tests.samples import NOON, a_node, a_share
from tests.storage.conftest import stocked

FULL = {"DC-A": "no capacity"}


async def limited(engine: AsyncEngine, orders: int | None = None, units: int | None = None) -> None:
    async with transaction(engine) as conn:
        await network.put_node(conn, a_node("DC-A", capacity_per_day=orders, units_per_day=units))


async def sent(engine: AsyncEngine, number: int, units: int, key: str = "1") -> dict[str, str]:
    """An order of so many units that is to go from DC-A; its reservation is made once."""
    name = f"web-{number}"
    async with transaction(engine) as conn:
        lines = [Units(line_id="1", sku="A", quantity=units)]
        assert not (await reservations.reserve(conn, Ask(f"{name}-R1", name, lines))).missing
    share = a_share(f"{name}-F{key}", "DC-A", {"1": units}, order_id=name)
    async with transaction(engine) as conn:
        return await stock.allocate(conn, f"{name}/{key}", f"{name}-R1", [share])


async def back(engine: AsyncEngine, number: int, units: int = 0) -> None:
    lines = [LineQuantity(line_id="1", quantity=units)] if units else []
    name = f"web-{number}"
    async with transaction(engine) as conn:
        key = f"{name}/back/{units}"
        await stock.give_back(conn, key, f"{name}-F1", lines, "free", f"{name}-R1", "no")


async def shipped(engine: AsyncEngine, number: int, units: int) -> None:
    lines = [LineQuantity(line_id="1", quantity=units)]
    async with transaction(engine) as conn:
        await stock.ship(conn, f"web-{number}/ship/{units}", f"web-{number}-F1", lines)


async def accepted(engine: AsyncEngine, number: int) -> None:
    said = NodeEvent(
        event_id=f"e{number}",
        fulfillment_id=f"web-{number}-F1",
        node="DC-A",
        type=NodeEventType.ACCEPTED,
        occurred_at=NOON,
    )
    async with transaction(engine) as conn:
        body = said.model_dump(mode="json")
        await inbox.put(conn, "node:DC-A", said.event_id, "node_event", body)


async def taken(engine: AsyncEngine) -> tuple[tuple[int, int], tuple[int, int]]:
    """Held and confirmed today at DC-A, of orders and of units."""
    async with transaction(engine) as conn:
        day = await capacity.on(conn, "DC-A")
    return (day.orders.held, day.orders.confirmed), (day.units.held, day.units.confirmed)


async def room(engine: AsyncEngine) -> tuple[int | None, int | None]:
    async with transaction(engine) as conn:
        now = await snapshot.sourcing(conn, ["A"])
        day = await capacity.on(conn, "DC-A")
    left = now.capacity_left.get("DC-A"), now.units_left.get("DC-A")
    assert left == (day.orders.left, day.units.left)
    return left


async def signalled(engine: AsyncEngine, kind: Kind, value: int = 0) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    said = Signal(kind=kind, value=value, until=until, reason="flood")
    async with transaction(engine) as conn:
        await signals.put(conn, "DC-A", said, "ann")


async def run_out(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        await conn.execute(text("UPDATE node_signals SET until = now()"))


async def findings(engine: AsyncEngine) -> list[audit.Finding]:
    async with transaction(engine) as conn:
        return [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5, 7}]


@pytest.fixture
async def many(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """32 sessions."""
    engine = database.engine(postgres_url, size=32)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(("limits", "fit"), [((9, None), 9), ((None, 15), 7)])
async def test_32_sessions_never_take_on_more_than_a_day_holds(
    world: AsyncEngine, many: AsyncEngine, limits: tuple[int | None, int | None], fit: int
) -> None:
    await stocked(world, {("A", "DC-A"): 200})
    await limited(world, *limits)

    async def waiting() -> list[int]:
        async with transaction(world) as conn:
            taken_on = set((await conn.execute(select(allocations.c.order_id))).scalars())
        return [n for n in range(32) if f"web-{n}" not in taken_on]

    async def all_at_once(key: str, numbers: Sequence[int]) -> int:
        answers = await asyncio.gather(*(sent(many, n, 2, key) for n in numbers))
        assert all(answer in ({}, FULL) for answer in answers)
        return answers.count({})

    assert await all_at_once("1", range(32)) == fit
    left = await waiting()
    first = sorted(set(range(32)) - set(left))
    given_back = asyncio.gather(*(back(many, n) for n in first[:4]))
    again, _ = await asyncio.gather(all_at_once("2", left), given_back)
    assert again + await all_at_once("3", await waiting()) == 4
    assert await taken(world) == ((fit, 0), (2 * fit, 0))
    assert await findings(world) == []


async def test_what_is_held_is_confirmed_by_the_nodes_word_or_deed(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 20})
    await limited(world, orders=5, units=12)
    for number in (1, 2, 3):
        assert await sent(world, number, 3) == {}
    assert await taken(world) == ((3, 0), (9, 0))
    await accepted(world, 1)
    await accepted(world, 1)
    await shipped(world, 2, 1)
    assert await taken(world) == ((1, 2), (3, 6))
    assert await room(world) == (2, 3)
    async with transaction(world) as conn:
        day = await capacity.on(conn, "DC-A")
        with pytest.raises(NotFound):
            await capacity.on(conn, "NOWHERE")
    assert day.orders == Share(limit=5, held=1, confirmed=2, left=2)
    assert day.units == Share(limit=12, held=3, confirmed=6, left=3)
    assert await findings(world) == []


async def test_units_come_back_one_by_one_and_the_place_with_the_last(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 20})
    await limited(world, orders=3, units=6)
    assert await sent(world, 1, 3) == {}
    assert await sent(world, 2, 3) == {}
    assert await sent(world, 3, 2) == FULL
    await back(world, 1, 2)
    assert await taken(world) == ((2, 0), (4, 0))
    await accepted(world, 1)
    await back(world, 1)
    await back(world, 1)
    assert await taken(world) == ((1, 0), (3, 0))
    await accepted(world, 1)  # too late: there is nothing to confirm
    await shipped(world, 2, 1)
    await back(world, 2, 2)
    assert await taken(world) == ((0, 1), (0, 1))
    assert await sent(world, 4, 5) == {}
    assert await room(world) == (1, 0)
    assert await findings(world) == []


async def test_a_word_that_comes_before_its_allocation_confirms_nothing(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await accepted(world, 1)
    assert await sent(world, 1, 2) == {}
    assert await taken(world) == ((1, 0), (2, 0))


async def test_a_pickup_takes_nothing_of_the_day(world: AsyncEngine) -> None:
    await stocked(world, {("A", "ST-C"): 5})
    async with transaction(world) as conn:
        await network.put_node(conn, a_node("ST-C", pickup=True, units_per_day=1))
        lines = [Units(line_id="1", sku="A", quantity=3)]
        await reservations.reserve(conn, Ask("R1", "web-1", lines, "ST-C"))
        assert await stock.allocate(conn, "K1", "R1", [a_share("F1", "ST-C", {"1": 3})]) == {}
        day = await capacity.on(conn, "ST-C")
    assert day.units == Share(limit=1, held=0, confirmed=0, left=1)
    assert await findings(world) == []


async def test_a_day_is_the_nodes_own_and_one_that_is_over_keeps_its_limits(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await limited(world, orders=3, units=8)
    assert await sent(world, 1, 2) == {}
    async with transaction(world) as conn:
        # A day later, as far as its rows know.
        await conn.execute(text("UPDATE node_capacity SET day = day - 1"))
        await conn.execute(text("UPDATE allocations SET capacity_day = capacity_day - 1"))
        east, west = "Pacific/Kiritimati", "Pacific/Pago_Pago"  # 25 hours apart
        for code, zone in (("DC-B", east), ("ST-C", west)):
            await network.put_node(conn, a_node(code, calendar=Calendar(timezone=zone)))
        days = [(await capacity.on(conn, code)).day for code in ("DC-B", "ST-C")]
    assert timedelta(days=1) <= days[0] - days[1] <= timedelta(days=2)
    await limited(world, orders=1, units=1)
    async with transaction(world) as conn:
        today = await capacity.on(conn, "DC-A")
        before = await capacity.on(conn, "DC-A", today.day - timedelta(days=1))
    assert today.orders == Share(limit=1, held=0, confirmed=0, left=1)
    assert before.orders == Share(limit=3, held=1, confirmed=0, left=2)
    assert before.units == Share(limit=8, held=2, confirmed=0, left=6)


async def test_a_signal_bends_a_days_limits_and_ends_by_itself(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 20})
    await limited(world, orders=5, units=9)
    assert await sent(world, 1, 3) == {}
    await signalled(world, "capacity_percent", 50)
    assert await room(world) == (1, 1)
    assert await sent(world, 2, 2) == FULL
    await signalled(world, "capacity_percent", 20)
    assert await room(world) == (0, 0)
    await run_out(world)
    assert await room(world) == (4, 6)
    assert await sent(world, 3, 6) == {}
    async with transaction(world) as conn:
        kept = (await conn.execute(select(node_capacity))).mappings().one()
        assert await signals.standing(conn, "DC-A") == ()
    assert (kept["used"], kept["capacity"]) == (2, 5)
    assert (kept["units"], kept["units_capacity"]) == (9, 9)
    assert await findings(world) == []


async def test_a_decision_obeys_the_signals_that_stand(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 20})
    await signalled(world, "lead_hours", 30)
    await signalled(world, "offline_for_sourcing")
    async with transaction(world) as conn:
        seen = await snapshot.sourcing(conn, ["A"])
        known = await network.node(conn, "DC-A")
        late, until = (signal.until for signal in await signals.standing(conn, "DC-A"))
    node = next(node for node in seen.nodes if node.code == "DC-A")
    assert (node.lead_hours, node.ships, known and known.lead_hours) == (30, False, 30)
    told = f"takes no new orders until {until:%Y-%m-%d %H:%M} UTC: flood"
    assert seen.hidden == {"DC-A": told}
    async with transaction(world) as conn:
        assert await signals.end(conn, "DC-A", "offline_for_sourcing", "ben")
        assert not await signals.end(conn, "DC-A", "offline_for_sourcing", "ben")
        query = select(node_log.c.status, node_log.c.actor).order_by(node_log.c.id)
        log = [f"{status} by {actor}" for status, actor in await conn.execute(query)]
    assert log == [
        f"lead_hours 30 until {late.isoformat()} by ann",
        f"offline_for_sourcing 0 until {until.isoformat()} by ann",
        "offline_for_sourcing ended by ben",
    ]
    await run_out(world)
    async with transaction(world) as conn:
        seen = await snapshot.sourcing(conn, ["A"])
    node = next(node for node in seen.nodes if node.code == "DC-A")
    assert (node.lead_hours, node.ships, seen.hidden) == (0, True, {})
    assert await findings(world) == []
