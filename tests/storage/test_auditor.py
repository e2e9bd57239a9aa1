"""Repairs are decided once, by policy or by a person, and only while the row is wrong."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.auditing import mend
from domain.errors import Conflict, NotFound
from domain.orders import Units
from storage import audit, ledger, repairs, reservations, stock
from storage.asks import Ask
from storage.database import transaction
from storage.repairs import POLICIES, Repair
from tests.samples import a_share
from tests.storage.conftest import stocked

STOCK_ONLY = {1, 2, 5}


@pytest.fixture
async def shop(world: AsyncEngine) -> AsyncEngine:
    await stocked(world, {("A", "DC-A"): 9, ("A", "DC-B"): 4})
    units = [Units(line_id="1", sku="A", quantity=3)]
    async with transaction(world) as conn:
        await reservations.reserve(conn, Ask("R", "web-1", units))
        share = a_share("F", "DC-A", {"1": 2})
        assert await stock.allocate(conn, "K", "R", [share]) == {}
    return world


async def by_hand(engine: AsyncEngine, statement: str) -> None:
    """As somebody with a client of his own, past the guards."""
    async with transaction(engine) as conn:
        await conn.execute(text("SET LOCAL application_name = 'psql'"))
        await conn.execute(text("SET LOCAL session_replication_role = 'replica'"))
        await conn.execute(text(statement))


async def clean(engine: AsyncEngine) -> bool:
    async with transaction(engine) as conn:
        return not await audit.audit(conn, invariants=STOCK_ONLY)


async def test_what_follows_from_others_is_mended_at_once(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE pool SET available = 99")
    [repair] = await mend(shop, POLICIES)
    assert (repair.status, repair.table, repair.key) == ("applied", "pool", {"sku": "A"})
    assert (repair.before, repair.after) == (
        {"sku": "A", "available": 99},
        {"sku": "A", "available": 10},
    )
    assert repair.decided_by == repairs.AUDITOR
    assert await clean(shop)
    assert await mend(shop, POLICIES) == ()


async def test_whose_units_are_whose_is_a_persons_to_decide(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE allocation_lines SET quantity = 5")
    [repair] = await mend(shop, POLICIES)
    assert (repair.status, repair.policy) == ("proposed", "propose")
    assert [r.id for r in await mend(shop, POLICIES)] == [repair.id]
    assert not await clean(shop)
    async with transaction(shop) as conn:
        made = await repairs.apply(conn, repair.id, "ann")
        again = await repairs.apply(conn, repair.id, "bob")
    assert (made.status, made.decided_by) == ("applied", "ann")
    assert again == made
    assert await clean(shop)


async def test_a_policy_may_be_another(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE allocation_lines SET quantity = 5")
    [repair] = await mend(shop, {**POLICIES, "allocation_lines": "apply"})
    assert repair.status == "applied"
    assert await clean(shop)


async def test_what_was_refused_is_not_proposed_again(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE stock SET on_hand = 8 WHERE node = 'DC-A'")
    [repair] = await mend(shop, POLICIES)
    async with transaction(shop) as conn:
        refused = await repairs.refuse(conn, repair.id, "ann", "counted it myself")
        with pytest.raises(Conflict, match="is refused"):
            await repairs.apply(conn, repair.id, "bob")
        with pytest.raises(NotFound):
            await repairs.refuse(conn, 999, "bob")
    assert (refused.status, refused.note) == ("refused", "counted it myself")
    assert await mend(shop, POLICIES) == ()
    assert not await clean(shop)


async def test_a_row_that_is_right_again_is_left_alone(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE stock SET on_hand = 8 WHERE node = 'DC-A'")
    [repair] = await mend(shop, POLICIES)
    await by_hand(shop, "UPDATE stock SET on_hand = 9 WHERE node = 'DC-A'")
    async with transaction(shop) as conn:
        assert (await repairs.apply(conn, repair.id, "ann")).status == "gone"


async def test_an_approved_repair_is_made_as_things_are_then(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE stock SET on_hand = 8 WHERE node = 'DC-A'")
    [repair] = await mend(shop, POLICIES)
    assert repair.after is not None
    assert repair.after["on_hand"] == 9
    async with transaction(shop) as conn:
        share = a_share("F2", "DC-A", {"1": 1})
        assert await stock.allocate(conn, "K2", "R", [share]) == {}
        made = await repairs.apply(conn, repair.id, "ann")
    assert made.after is not None
    assert (made.after["on_hand"], made.after["allocated"]) == (9, 3)
    assert not await clean(shop)  # the allocation told of the shelf as it then was
    await mend(shop, {**POLICIES, "movements": "apply"})
    assert await clean(shop)


async def test_a_movement_that_is_gone_is_told_anew_in_the_name_of_its_repair(
    shop: AsyncEngine,
) -> None:
    await by_hand(shop, "DELETE FROM movements WHERE allocated_delta = 2")
    [repair] = await mend(shop, {**POLICIES, "movements": "apply"})
    async with transaction(shop) as conn:
        query = "SELECT cause, allocated_before, allocated_after FROM movements WHERE cause LIKE :c"
        [told] = (await conn.execute(text(query), {"c": f"repair {repair.id}:%"})).all()
    assert tuple(told)[1:] == (0, 2)
    assert repair.before is None
    assert await clean(shop)


@pytest.mark.parametrize("statement", ["UPDATE movements SET cause = 'x'", "DELETE FROM movements"])
async def test_what_was_told_is_not_told_anew(shop: AsyncEngine, statement: str) -> None:
    async with shop.connect() as conn:
        with pytest.raises(DBAPIError, match="only grows"):
            await conn.execute(text(statement))


async def test_a_repair_stays_on_record(shop: AsyncEngine) -> None:
    await by_hand(shop, "UPDATE pool SET available = 99")
    await mend(shop, POLICIES)
    for statement in ("DELETE FROM repairs", "UPDATE repairs SET note = 'x'"):
        async with shop.connect() as conn:
            with pytest.raises(DBAPIError, match="decided once"):
                await conn.execute(text(statement))


async def test_what_is_not_there_is_locked_all_the_same(shop: AsyncEngine) -> None:
    """Whoever gives back and then releases asks for the pool twice, with shelves in between."""
    await by_hand(shop, "DELETE FROM pool")
    async with transaction(shop) as conn, transaction(shop) as other:
        assert await ledger.lock_pool(conn, ["A"]) == {"A": 0}
        await other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await ledger.lock_pool(other, ["A"])
        await other.rollback()
    assert (await mend(shop, POLICIES))[0].after == {"sku": "A", "available": 10}
    assert await clean(shop)


async def test_repairs_and_orders_do_not_hurt_each_other(shop: AsyncEngine) -> None:
    """Two auditors mend the same rows again and again while units are taken and given back."""

    async def trade(number: int) -> None:
        units = [Units(line_id="1", sku="A", quantity=1)]
        for n in range(10):
            name = f"T{number}-{n}"
            async with transaction(shop) as conn:
                missing = (await reservations.reserve(conn, Ask(name, None, units))).missing
            share = a_share(f"{name}-F", "DC-A" if n % 2 else "DC-B", {"1": 1})
            if not missing:
                async with transaction(shop) as conn:
                    await stock.allocate(conn, name, name, [share])
            async with transaction(shop) as conn:
                await stock.give_back(conn, f"{name}/b", f"{name}-F", (), "free", name, "no")
                await reservations.release(conn, name, "over")

    made: list[Repair] = []

    async def spoil_and_mend() -> None:
        for n in range(6):
            wrong = ("UPDATE pool SET available = available + 1", "DELETE FROM pool")[n % 2]
            await by_hand(shop, wrong)
            made.extend(await mend(shop, POLICIES))

    await asyncio.gather(*(trade(n) for n in range(3)), spoil_and_mend(), spoil_and_mend())
    await mend(shop, POLICIES)
    assert made
    assert await clean(shop)
