"""Promises: made, moved, kept and given back, each once, and never seen free in between."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict, Invalid, NotFound, Refused
from domain.fulfillments import LineQuantity
from domain.orders import Units
from storage import audit, reservations, stock
from storage.asks import Answer, Ask
from storage.database import transaction
from storage.tables import movements
from storage.tables import reservations as rows
from tests.samples import a_share
from tests.storage.conftest import stocked

MINUTE = timedelta(minutes=1)


def units(*wanted: tuple[str, int]) -> list[Units]:
    return [
        Units(line_id=str(n), sku=sku, quantity=quantity)
        for n, (sku, quantity) in enumerate(wanted, start=1)
    ]


async def reserve(engine: AsyncEngine, ask: Ask) -> Answer:
    async with transaction(engine) as conn:
        return await reservations.reserve(conn, ask)


async def transfer(engine: AsyncEngine, key: str, name: str, node: str | None) -> dict[str, int]:
    async with transaction(engine) as conn:
        return await reservations.transfer(conn, key, name, node, "ann")


async def release(engine: AsyncEngine, name: str) -> None:
    async with transaction(engine) as conn:
        await reservations.release(conn, name, "changed mind", "ann")


async def expire(engine: AsyncEngine, limit: int = 100) -> tuple[str, ...]:
    async with transaction(engine) as conn:
        return await reservations.expire(conn, limit)


async def run_out(engine: AsyncEngine) -> None:
    """As if the time of all that may expire were over."""
    async with transaction(engine) as conn:
        await conn.execute(
            text("UPDATE reservations SET expires_at = now() - interval '1 s' WHERE state = 'held'")
        )


async def state(engine: AsyncEngine, name: str) -> str:
    async with transaction(engine) as conn:
        query = select(rows.c.state).where(rows.c.reservation_id == name)
        return str((await conn.execute(query)).scalar_one())


async def available(engine: AsyncEngine, sku: str = "A") -> int:
    async with transaction(engine) as conn:
        return (await stock.available(conn, [sku]))[sku]


async def shelf(engine: AsyncEngine, node: str) -> tuple[int, int]:
    async with transaction(engine) as conn:
        [level] = await stock.levels(conn, skus=["A"], node=node)
    return (level.on_hand, level.allocated)


async def causes(engine: AsyncEngine, key: str) -> list[tuple[str, str, int, int]]:
    async with transaction(engine) as conn:
        query = select(movements).where(movements.c.key == key).order_by(movements.c.id)
        return [
            (row.cause, row.actor, row.reserved_delta, row.allocated_delta)
            for row in await conn.execute(query)
        ]


async def findings(engine: AsyncEngine) -> Sequence[audit.Finding]:
    async with transaction(engine) as conn:
        return [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}]


async def test_in_part_by_policy_and_the_same_answer_for_the_same_key(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 3, ("B", "DC-A"): 1})
    ask = Ask("R1", None, units(("A", 2), ("A", 2), ("B", 1), ("C", 5)), partial=True)
    answer = await reserve(world, ask)
    assert answer == Answer({"1": 2, "2": 1, "3": 1, "4": 0}, {"A": 1, "C": 5})
    await stocked(world, {("A", "DC-B"): 9})
    assert await reserve(world, ask) == answer
    assert await available(world) == 9
    assert await findings(world) == []


async def test_in_part_of_nothing_leaves_nothing(world: AsyncEngine) -> None:
    ask = Ask("R1", None, units(("A", 2)), partial=True)
    assert await reserve(world, ask) == Answer({}, {"A": 2})
    await stocked(world, {("A", "DC-A"): 1})
    assert await reserve(world, ask) == Answer({"1": 1}, {"A": 1})
    assert await findings(world) == []


@pytest.mark.parametrize("wanted", [[("A", 0)], [("A", -1)], [("A", 2**31)]])
async def test_units_that_cannot_be_are_invalid(wanted: list[tuple[str, int]]) -> None:
    with pytest.raises(Invalid):
        Ask("R1", None, units(*wanted))


def test_a_line_is_of_one_sku() -> None:
    twice = [Units(line_id="1", sku=sku, quantity=1) for sku in ("A", "B")]
    with pytest.raises(Invalid):
        Ask("R1", None, twice)


async def test_odd_names_come_back_as_they_were(world: AsyncEngine) -> None:
    odd = 'a"b\\c,{d} NULL é'
    await stocked(world, {(odd, "DC-A"): 3})
    ask = Ask(odd, "NULL", [Units(line_id=odd, sku=odd, quantity=2)], actor=odd)
    assert await reserve(world, ask) == Answer({odd: 2}, {})
    assert await available(world, odd) == 1
    assert await causes(world, odd) == [("reserved for NULL", odd, 2, 0)]


async def test_a_cart_expires_once_and_its_order_comes_too_late(world: AsyncEngine) -> None:
    await stocked(world, {("A", "ST-C"): 5})
    await reserve(world, Ask("R1", None, units(("A", 2)), ttl=MINUTE))
    await reserve(world, Ask("R2", None, units(("A", 1)), node="ST-C", ttl=MINUTE))
    assert await expire(world) == ()
    await run_out(world)
    assert set(await expire(world)) == {"R1", "R2"}
    assert await expire(world) == ()
    assert await available(world) == 5
    assert await causes(world, "R1") == [
        ("reserved", "crossdock", 2, 0),
        ("expired", "crossdock", -2, 0),
    ]
    with pytest.raises(Refused) as refusal:
        async with transaction(world) as conn:
            await reservations.confirm(conn, "R1", "web-1")
    assert refusal.value.code == "reservation_expired"
    await release(world, "R1")
    assert await state(world, "R1") == "expired"
    assert await findings(world) == []


async def test_an_order_keeps_what_its_cart_held(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await reserve(world, Ask("R1", None, units(("A", 2)), ttl=MINUTE))
    await run_out(world)
    for _ in range(2):
        async with transaction(world) as conn:
            await reservations.confirm(conn, "R1", "web-1")
    await run_out(world)
    assert await expire(world) == ()
    assert await state(world, "R1") == "committed"
    async with transaction(world) as conn:
        share = a_share("F1", "DC-A", {"1": 2})
        assert await stock.allocate(conn, "K1", "R1", [share]) == {}
    assert await findings(world) == []


async def test_many_sweeps_at_once_expire_each_cart_once(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 100, ("B", "ST-C"): 100})
    for n in range(60):
        sku, node = ("A", None) if n % 3 else ("B", "ST-C")
        await reserve(world, Ask(f"R{n}", None, units((sku, 1)), node=node, ttl=MINUTE))
    await run_out(world)

    async def sweep() -> list[str]:
        found: list[str] = []
        while ended := await expire(world, 7):
            found += ended
        return found

    swept = [name for names in await asyncio.gather(*(sweep() for _ in range(4))) for name in names]
    assert sorted(swept) == sorted(f"R{n}" for n in range(60))
    async with transaction(world) as conn:
        query = select(func.count()).where(movements.c.cause == "expired")
        assert (await conn.execute(query)).scalar_one() == 60
    assert (await available(world), await available(world, "B")) == (100, 100)
    assert await findings(world) == []


async def test_an_order_and_a_sweep_race_for_a_cart_and_one_of_them_wins(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 40})

    async def confirm(name: str) -> bool:
        try:
            async with transaction(world) as conn:
                await reservations.confirm(conn, name, "web-1")
        except Refused as refusal:
            return refusal.code != "reservation_expired"
        return True

    names = [f"R{n}" for n in range(20)]
    for name in names:
        await reserve(world, Ask(name, None, units(("A", 1)), ttl=MINUTE))
    await run_out(world)
    kept, *_ = await asyncio.gather(
        asyncio.gather(*(confirm(name) for name in names[:4])), expire(world), expire(world)
    )
    assert await available(world) == 40 - sum(kept)
    assert await findings(world) == []


async def test_units_move_between_the_network_and_nodes(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 3})
    await reserve(world, Ask("R1", "web-1", units(("A", 3))))
    for _ in range(2):
        assert await transfer(world, "T1", "R1", "DC-A") == {}
    assert (await shelf(world, "DC-A"), await available(world)) == ((5, 3), 5)
    assert await transfer(world, "T2", "R1", "DC-B") == {}
    assert (await shelf(world, "DC-A"), await shelf(world, "DC-B")) == ((5, 0), (3, 3))
    assert await transfer(world, "T3", "R1", None) == {}
    assert (await shelf(world, "DC-B"), await available(world)) == ((3, 0), 5)
    assert await causes(world, "T2") == [
        ("transferred to DC-B", "ann", 0, -3),
        ("transferred to DC-B", "ann", 0, 3),
    ]
    assert await findings(world) == []


async def test_a_transfer_that_does_not_fit_moves_nothing(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 2, ("A", "ST-C"): 4})
    await reserve(world, Ask("R1", "web-1", units(("A", 4))))
    assert await transfer(world, "T1", "R1", "DC-B") == {"A": 2}
    async with transaction(world) as conn:
        await stock.set_node_status(conn, "ST-C", "offline", "ops")
    assert await transfer(world, "T1", "R1", "ST-C") == {"A": 4}
    assert await transfer(world, "T1", "R1", "DC-A") == {}
    with pytest.raises(NotFound):
        await transfer(world, "T2", "R1", "DC-Z")
    with pytest.raises(Conflict):
        await transfer(world, "T3", "R2", "DC-A")
    assert await findings(world) == []


async def test_what_was_on_no_sale_is_not_promised_again_unseen(world: AsyncEngine) -> None:
    """A node's units leave the pool with the node: to move from it takes units of the others."""
    await stocked(world, {("A", "ST-C"): 3, ("A", "DC-B"): 2})
    await reserve(world, Ask("R1", "web-1", units(("A", 3)), node="ST-C"))
    async with transaction(world) as conn:
        await stock.set_node_status(conn, "ST-C", "offline", "ops")
    assert await transfer(world, "T1", "R1", None) == {"A": 1}
    await stocked(world, {("A", "DC-A"): 1})
    assert await transfer(world, "T1", "R1", None) == {}
    assert await available(world) == 0
    assert await findings(world) == []


async def test_no_reader_ever_sees_units_free_while_they_move(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 5})
    await reserve(world, Ask("R1", "web-1", units(("A", 5))))
    moving = True

    async def move() -> None:
        nonlocal moving
        for n in range(40):
            place = ("DC-A", "DC-B", None)[n % 3]
            assert await transfer(world, f"T{n}", "R1", place) == {}
        moving = False

    async def watch() -> set[int]:
        seen = set()
        while moving:
            seen.add(await available(world))
        return seen

    async def grab() -> None:
        """Whoever sees units free that are not would get more than the other five."""
        n = 0
        while moving:
            n += 1
            assert (await reserve(world, Ask(f"G{n}", "g", units(("A", 6))))).missing
            await asyncio.sleep(0)

    _, seen, _ = await asyncio.gather(move(), watch(), grab())
    assert seen == {5}
    assert await findings(world) == []


async def test_units_leave_the_node_from_their_reservation(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await reserve(world, Ask("R1", "web-1", units(("A", 3)), ttl=MINUTE))
    with pytest.raises(Conflict) as conflict:
        async with transaction(world) as conn:
            await reservations.fulfill(conn, "S0", "R1")
    assert conflict.value.code == "not_at_node"
    await transfer(world, "T1", "R1", "DC-A")
    for _ in range(2):
        async with transaction(world) as conn:
            one = [LineQuantity(line_id="1", quantity=1)]
            await reservations.fulfill(conn, "S1", "R1", one, "ann")
    assert (await shelf(world, "DC-A"), await state(world, "R1")) == ((4, 2), "held")
    three = [LineQuantity(line_id="1", quantity=3)]
    with pytest.raises(Conflict):
        async with transaction(world) as conn:
            await reservations.fulfill(conn, "S2", "R1", three)
    for _ in range(2):
        async with transaction(world) as conn:
            await reservations.fulfill(conn, "S3", "R1")
    assert (await shelf(world, "DC-A"), await state(world, "R1")) == ((2, 0), "fulfilled")
    await release(world, "R1")
    assert await state(world, "R1") == "fulfilled"
    with pytest.raises(Refused) as refusal:
        await reserve(world, Ask("R1", "web-1", units(("A", 1))))
    assert refusal.value.code == "reservation_fulfilled"
    assert await available(world) == 2
    assert await findings(world) == []


async def test_two_sessions_make_the_same_reservation_at_once_and_it_is_made_once(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 50, ("B", "DC-A"): 50})
    for n in range(10):
        ask = Ask(f"R{n}", "web-1", units(("A", 1), ("B", 2)))
        answers = await asyncio.gather(*(reserve(world, ask) for _ in range(4)))
        assert answers == [Answer({"1": 1, "2": 2}, {})] * 4
    assert (await available(world), await available(world, "B")) == (40, 30)
    assert await findings(world) == []
