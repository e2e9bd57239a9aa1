"""Many at once: what there is, first come first served, and an answer for each, come what may."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict, NotFound, Outage, Refused
from domain.orders import Units
from domain.records import Change, OrderEvent
from storage import audit, database, records, reservations, stock
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.tables import order_events, reservation_lines
from storage.tables import reservations as rows
from tests.samples import a_change, an_order
from tests.storage.conftest import stocked

NODES = {("A", "DC-A"): 50, ("A", "DC-B"): 30, ("A", "ST-C"): 20}
TOLD = OrderEvent(type="reserved", summary="reserved", cause="test")


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """What another process would have."""
    engine = database.engine(postgres_url)
    yield engine
    await engine.dispose()


def ask(name: str, quantity: int = 1, sku: str = "A", **more: Any) -> Ask:
    return Ask(name, name, [Units(line_id="1", sku=sku, quantity=quantity)], **more)


async def all_of(batcher: Batcher, asks: Sequence[Ask]) -> list[Answer | BaseException]:
    """What each is told, in order; all ask at the same moment."""
    return await asyncio.gather(*(batcher.reserve(a) for a in asks), return_exceptions=True)


async def kept(engine: AsyncEngine) -> dict[str, int]:
    """What the rows say that each reservation holds."""
    async with transaction(engine) as conn:
        query = select(reservation_lines).where(reservation_lines.c.quantity > 0)
        return {row.reservation_id: row.quantity for row in await conn.execute(query)}


async def available(engine: AsyncEngine, sku: str = "A") -> int:
    async with transaction(engine) as conn:
        return (await stock.available(conn, [sku]))[sku]


async def findings(engine: AsyncEngine) -> Sequence[audit.Finding]:
    async with transaction(engine) as conn:
        return [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}]


async def test_200_orders_for_100_units_over_3_nodes_and_the_first_100_get_them(
    world: AsyncEngine,
) -> None:
    await stocked(world, NODES)
    answers = await all_of(Batcher(world), [ask(f"R{n}") for n in range(200)])
    assert answers[:100] == [Answer({"1": 1}, {})] * 100
    assert answers[100:] == [Answer({}, {"A": 1})] * 100
    assert await kept(world) == {f"R{n}": 1 for n in range(100)}
    assert await available(world) == 0
    assert await findings(world) == []


async def test_two_processes_for_the_same_units_take_each_once(
    world: AsyncEngine, other: AsyncEngine
) -> None:
    await stocked(world, {**NODES, ("B", "DC-A"): 1000, ("C", "DC-B"): 1000})
    units = [Units(line_id=sku, sku=sku, quantity=1) for sku in ("C", "A", "B")]
    doors = (Batcher(world), Batcher(other))

    async def customer(door: int, n: int) -> int:
        """Two orders, one after the other; both doors know some of the same keys."""
        taken = 0
        for name in (f"R{door}-{n}", f"R{n % 7}"):
            wanted = units if n % 2 else units[::-1]
            answer = await doors[door].reserve(Ask(name, name, wanted))
            taken += name != f"R{n % 7}" and not answer.missing
        return taken

    taken = await asyncio.gather(*(customer(door, n) for n in range(100) for door in (0, 1)))
    shared = [name for name in await kept(world) if "-" not in name]
    assert sum(taken) + len(shared) == 100
    assert (await available(world), await available(world, "B")) == (0, 900)
    assert await findings(world) == []


async def test_who_came_first_is_served_first_and_what_is_left_goes_on(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("B", "DC-A"): 1})
    batcher = Batcher(world)
    told = await all_of(
        batcher,
        [
            ask("R1", 3),
            ask("R2", 3),
            ask("R3", 2),
            ask("R4"),
            ask("R5", sku="B"),
            ask("R6", sku="C"),
        ],
    )
    assert told == [
        Answer({"1": 3}, {}),
        Answer({}, {"A": 1}),
        Answer({"1": 2}, {}),
        Answer({}, {"A": 1}),
        Answer({"1": 1}, {}),
        Answer({}, {"C": 1}),
    ]
    await stocked(world, {("A", "DC-B"): 9})
    again = [ask("R2", 3), ask("R4"), ask("R7", 2), ask("R8", 9, partial=True)]
    assert [answer.taken for answer in await all_of(batcher, again)] == [  # type: ignore[union-attr]
        {"1": 3},
        {"1": 1},
        {"1": 2},
        {"1": 3},
    ]
    assert await findings(world) == []


async def test_the_same_key_many_times_is_one_reservation(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    batcher = Batcher(world)
    assert await all_of(batcher, [ask("R1", 2)] * 20) == [Answer({"1": 2}, {})] * 20
    assert await all_of(batcher, [ask("R1", 2), ask("R2")]) == [
        Answer({"1": 2}, {}),
        Answer({"1": 1}, {}),
    ]
    assert await available(world) == 2
    assert await findings(world) == []


async def test_a_release_that_overtakes_its_reservation_wins_and_harms_nobody_else(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    async with transaction(world) as conn:
        await reservations.release(conn, "R1", "cancelled")
    first, second, third = await all_of(Batcher(world), [ask("R0"), ask("R1"), ask("R2")])
    assert (first, third) == (Answer({"1": 1}, {}), Answer({"1": 1}, {}))
    assert isinstance(second, Refused)
    assert second.code == "reservation_released"
    assert await available(world) == 3
    assert await findings(world) == []


async def test_what_cannot_be_fails_alone(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 9, ("B", "ST-C"): 9})
    mates = [ask(f"R{n}") for n in range(5)]
    bad = [ask("R\0"), ask("P1", node="NOWHERE"), ask("P2", 2**31 - 1), ask("P3", 2**31 - 1)]
    pickup = ask("P4", 2, sku="B", node="ST-C")
    answers = await all_of(Batcher(world), [*mates[:2], *bad, pickup, *mates[2:]])
    assert [a for a in answers if isinstance(a, Answer) and not a.missing] == [
        *[Answer({"1": 1}, {})] * 2,
        Answer({"1": 2}, {}),
        *[Answer({"1": 1}, {})] * 3,
    ]
    assert [type(a) for a in answers if not isinstance(a, Answer)] == [type(answers[2]), NotFound]
    assert isinstance(answers[2], Exception)
    assert await available(world) == 4
    assert await findings(world) == []


async def _accepted(engine: AsyncEngine, numbers: Sequence[str]) -> None:
    async with transaction(engine) as conn:
        for number in numbers:
            order = an_order(number)
            await records.accept(conn, order, "run", a_change(order))


def _change(number: str, answer: Answer, **more: Any) -> Change:
    reason = "short" if answer.missing else "reserved"
    change = a_change(an_order(number), 2, reason=reason, events=(TOLD,))
    return change.model_copy(update=more)


async def _reserve_with_record(batcher: Batcher, number: str, **more: Any) -> Answer:
    name = f"web-{number}-R1"
    wanted = Ask(name, f"web-{number}", [Units(line_id="1", sku="A", quantity=3)])
    return await batcher.reserve(wanted, lambda answer: _change(number, answer, **more))


async def test_what_the_answer_leads_to_is_written_with_it(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 7})
    numbers = ["1", "2", "3"]
    await _accepted(world, numbers)
    batcher = Batcher(world)
    for _ in range(2):
        answers = await asyncio.gather(*(_reserve_with_record(batcher, n) for n in numbers))
        assert [bool(answer.missing) for answer in answers] == [False, False, True]
    async with transaction(world) as conn:
        states = [await records.state(conn, f"web-{number}") for number in numbers]
        told = (await conn.execute(select(func.count()).select_from(order_events))).scalar_one()
    assert [state and state.reason for state in states] == ["reserved", "reserved", "short"]
    assert told == 3
    assert await findings(world) == []


async def test_a_record_that_may_not_be_written_takes_no_units(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 6})
    await _accepted(world, ["1", "2", "3"])
    batcher = Batcher(world)
    answers = await asyncio.gather(
        _reserve_with_record(batcher, "1", key="former:2"),
        _reserve_with_record(batcher, "2"),
        _reserve_with_record(batcher, "4"),
        _reserve_with_record(batcher, "3", base="run:9"),
        batcher.reserve(ask("R1", 3)),
        return_exceptions=True,
    )
    superseded, second, unknown, overtaken, cart = answers
    assert isinstance(superseded, Conflict)
    assert isinstance(overtaken, Conflict)
    assert (superseded.code, overtaken.code) == ("superseded", "overtaken")
    assert isinstance(unknown, NotFound)
    assert second == cart == Answer({"1": 3}, {})
    assert await kept(world) == {"web-2-R1": 3, "R1": 3}
    assert await findings(world) == []


async def _end_who_waits(engine: AsyncEngine) -> None:
    """Ends the one session that waits for a lock, once there is one."""
    ended = 0
    while not ended:
        async with transaction(engine) as conn:
            query = text(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            ended = (await conn.execute(query)).scalar_one()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("node", [None, "ST-C"], ids=["guessing", "looking"])
async def test_a_session_that_dies_in_the_middle_leaves_nothing_half_done(
    world: AsyncEngine, other: AsyncEngine, node: str | None
) -> None:
    await stocked(world, {("A", "ST-C"): 30})
    batcher = Batcher(world)
    asks = [ask(f"R{n}", node=node) for n in range(40)]
    async with transaction(other) as conn:
        await conn.execute(text("SELECT FROM pool WHERE sku = 'A' FOR UPDATE"))
        waiting = asyncio.create_task(all_of(batcher, asks))
        await _end_who_waits(other)
    answers = await waiting
    assert answers == [Answer({"1": 1}, {})] * 30 + [Answer({}, {"A": 1})] * 10
    assert await kept(world) == {f"R{n}": 1 for n in range(30)}
    assert await findings(world) == []


async def test_without_a_database_everyone_is_told(world: AsyncEngine) -> None:
    nowhere = database.engine("postgresql://nobody@127.0.0.1:1/none")
    answers = await all_of(Batcher(nowhere), [ask(f"R{n}") for n in range(9)])
    assert [type(answer) for answer in answers] == [Outage] * 9


async def _a_few_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_is_left_when_the_house_closes_is_told(
    world: AsyncEngine, other: AsyncEngine
) -> None:
    await stocked(world, {("A", "DC-A"): 9})
    batcher = Batcher(world)
    async with transaction(other) as conn:
        await conn.execute(text("SELECT FROM pool WHERE sku = 'A' FOR UPDATE"))
        waiting = asyncio.create_task(all_of(batcher, [ask(f"R{n}") for n in range(9)]))
        await _a_few_turns()
        assert batcher._working is not None
        batcher._working.cancel()
        answers = await waiting
    assert [type(answer) for answer in answers] == [Outage] * 9
    assert await all_of(batcher, [ask("R0")]) == [Answer({"1": 1}, {})]
    assert await findings(world) == []


async def test_who_has_gone_is_not_served_and_an_idle_door_keeps_no_connection(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 9})
    batcher = Batcher(world)
    gone = asyncio.create_task(batcher.reserve(ask("R1")))
    stays = asyncio.create_task(batcher.reserve(ask("R2")))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == Answer({"1": 1}, {})
    if batcher._working is not None:
        await batcher._working
    async with transaction(world) as conn:
        made = (await conn.execute(select(rows.c.reservation_id))).scalars().all()
    assert made == ["R2"]
    assert await available(world) == 8
    assert world.pool.checkedout() == 0  # type: ignore[attr-defined]  # it is a queue of them
    assert await findings(world) == []
