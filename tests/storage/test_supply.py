"""Orders that wait claim what is to come by name, and get it before anyone else."""

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict, Invalid, NotFound
from domain.orders import Units
from storage import audit, backorders, records, reservations, stock, supplies
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.supplies import Supply
from storage.tables import order_events, pool, supply_claims
from tests.samples import NOON, a_change, an_order
from tests.storage.conftest import stocked


def day(number: int) -> datetime:
    return NOON + timedelta(days=number)


class Shop:
    """A database, and what sources, customers and nodes do to it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.batcher = Batcher(engine)
        self.sequence = 0
        self.receipts = 0

    async def order(self, number: int, priority: int = 0) -> str:
        """An order is accepted, later than those with a smaller number."""
        order = an_order(str(number), priority=priority)
        async with transaction(self.engine) as conn:
            await records.accept(conn, order, "run", a_change(order, 1))
            await conn.execute(
                text("UPDATE orders SET accepted_at = :at WHERE order_id = :id"),
                {"at": NOON + timedelta(minutes=number), "id": order.order_id},
            )
        return order.order_id

    async def ask(
        self, order_id: str, units: int | dict[str, int], node: str | None = None
    ) -> Answer:
        """What the order's own reserve does: all or none, and it waits."""
        wanted = units if isinstance(units, dict) else {"A": units}
        lines = [Units(line_id=sku, sku=sku, quantity=n) for sku, n in wanted.items()]
        ask = Ask(f"{order_id}-R1", order_id, lines, node, channel="web", waits=True)
        return await self.batcher.reserve(ask)

    async def state(self, ref: str, units: int, on: int, **more: Any) -> bool:
        self.sequence += 1
        said = {"sequence": self.sequence, "sku": "A", "node": "DC-A", **more}
        supply = Supply(
            source="erp",
            ref=ref,
            kind="purchase_order",
            quantity=units,
            expected_at=day(on),
            **said,
        )
        async with transaction(self.engine) as conn:
            return await supplies.put(conn, supply, "test")

    async def receive(self, ref: str | None, units: int, node: str = "DC-A") -> None:
        self.receipts += 1
        async with transaction(self.engine) as conn:
            named = ("erp", ref) if ref else None
            lines = [("A", units)]
            await stock.receive(conn, f"r{self.receipts}", node, lines, "received", "test", named)

    async def leave(self, order_id: str) -> None:
        async with transaction(self.engine) as conn:
            await backorders.leave(conn, order_id)

    async def claims(self) -> list[tuple[str, str, int]]:
        c = supply_claims.c
        query = select(c.order_id, c.ref, c.units).order_by(c.order_id, c.ref)
        async with transaction(self.engine) as conn:
            return [(o, ref, n) for o, ref, n in await conn.execute(query)]

    async def free(self) -> int:
        async with transaction(self.engine) as conn:
            return (await stock.available(conn, ["A"]))["A"]

    async def moves(self) -> list[tuple[str, str | None, str | None]]:
        """Whose date moved, from when to when."""
        e = order_events.c
        query = select(e.order_id, e.data).where(e.type == "expected_moved").order_by(e.id)
        async with transaction(self.engine) as conn:
            return [
                (order, told["old"] and told["old"][:10], told["new"] and told["new"][:10])
                for order, told in await conn.execute(query)
            ]

    async def clean(self) -> None:
        async with transaction(self.engine) as conn:
            assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []


@pytest.fixture
def shop(world: AsyncEngine) -> Shop:
    return Shop(world)


async def test_what_an_order_misses_it_claims_and_gets_when_it_comes(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-B"): 4})
    await shop.state("PO-1", 10, 9)
    first = await shop.order(1)
    answer = await shop.ask(first, 6)
    assert (answer.missing, answer.expected) == ({"A": 2}, day(9))
    assert await shop.claims() == [(first, "PO-1", 2)]
    assert await shop.free() == 0, "what is there is kept for the date that was told"
    await shop.receive("PO-1", 1)
    assert await shop.free() == 0
    assert await shop.claims() == [(first, "PO-1", 1)]
    await shop.receive("PO-1", 9)
    assert (await shop.free(), await shop.claims()) == (8, [])
    await shop.clean()
    assert await shop.ask(first, 6) == Answer({"A": 6}, {})
    assert await shop.free() == 8
    await shop.clean()


async def test_claimed_units_go_to_who_waits_first_not_to_who_reserves_first(shop: Shop) -> None:
    await shop.state("PO-1", 5, 9)
    later, first = await shop.order(2), await shop.order(1)
    assert (await shop.ask(later, 4)).expected == day(9)
    assert (await shop.ask(first, 3)).expected == day(9)
    assert await shop.claims() == [(first, "PO-1", 3), (later, "PO-1", 2)]
    await shop.receive("PO-1", 4)
    stranger = await shop.batcher.reserve(
        Ask("quick", None, [Units(line_id="1", sku="A", quantity=1)])
    )
    assert stranger.missing == {"A": 1}
    assert await shop.claims() == [(later, "PO-1", 1)]
    assert await shop.ask(first, 3) == Answer({"A": 3}, {})
    assert (await shop.ask(later, 4)).missing == {"A": 3}
    await shop.clean()


async def test_a_higher_priority_is_served_before_who_came_first(shop: Shop) -> None:
    await shop.state("PO-1", 5, 9)
    await shop.state("PO-2", 5, 19)
    first, urgent = await shop.order(1), await shop.order(2, priority=5)
    assert (await shop.ask(first, 5)).expected == day(9)
    assert (await shop.ask(urgent, 5)).expected == day(9)
    assert await shop.claims() == [(first, "PO-2", 5), (urgent, "PO-1", 5)]
    assert await shop.moves() == [(first, f"{day(9):%Y-%m-%d}", f"{day(19):%Y-%m-%d}")]
    await shop.receive("PO-1", 5)
    assert await shop.ask(urgent, 5) == Answer({"A": 5}, {})
    assert (await shop.ask(first, 5)).missing == {"A": 5}
    await shop.clean()


async def test_more_than_was_stated_is_counted_and_free(shop: Shop) -> None:
    await shop.state("PO-1", 2, 9)
    await shop.receive("PO-1", 5)
    async with transaction(shop.engine) as conn:
        [standing] = await supplies.find(conn, ["A"], None)
        assert (standing.received, standing.quantity, standing.claimed) == (5, 2, 0)
        assert await supplies.unclaimed(conn, ["A"]) == {"A": ()}
    assert await shop.free() == 5


async def test_a_slip_is_told_once_and_nobody_behind_keeps_what_who_is_before_loses(
    shop: Shop,
) -> None:
    await shop.state("PO-1", 5, 3)
    await shop.state("PO-2", 5, 9)
    first, second = await shop.order(1), await shop.order(2)
    assert (await shop.ask(first, 5)).expected == day(3)
    assert (await shop.ask(second, 5)).expected == day(9)
    assert await shop.state("PO-1", 5, 20)
    assert await shop.claims() == [(first, "PO-2", 5), (second, "PO-1", 5)]
    told = [
        (first, day(3).date().isoformat(), day(9).date().isoformat()),
        (second, day(9).date().isoformat(), day(20).date().isoformat()),
    ]
    assert await shop.moves() == told
    shop.sequence -= 1
    assert not await shop.state("PO-1", 5, 20), "the same statement again"
    assert await shop.moves() == told
    await shop.state("PO-1", 0, 20, status="cancelled")
    assert await shop.claims() == [(first, "PO-2", 5)]
    assert (await shop.moves())[2:] == [(second, told[1][2], None)]
    await shop.clean()


async def test_a_slip_within_a_day_is_not_told_until_it_adds_up(shop: Shop) -> None:
    await shop.state("PO-1", 5, 3)
    first = await shop.order(1)
    await shop.ask(first, 5)
    await shop.state("PO-1", 5, 4)
    assert await shop.moves() == []
    await shop.state("PO-1", 5, 5)
    assert len(await shop.moves()) == 1


async def test_late_statements_are_absorbed_and_another_sku_is_refused(shop: Shop) -> None:
    await shop.state("PO-1", 5, 3)
    shop.sequence = 0
    assert not await shop.state("PO-1", 9, 9)
    with pytest.raises(Conflict, match="PO-1 is of A"):
        await shop.state("PO-1", 5, 3, sku="B", node="DC-B")
    with pytest.raises(NotFound, match="no node"):
        await shop.state("PO-1", 5, 3, node="DC-X")
    with pytest.raises(NotFound, match="no erp/PO-9"):
        await shop.receive("PO-9", 1)
    with pytest.raises(Invalid, match="is for DC-A"):
        await shop.receive("PO-1", 1, "DC-B")


async def test_what_is_tentative_is_not_promised_from(shop: Shop) -> None:
    await shop.state("PO-1", 5, 3, confidence="tentative")
    first = await shop.order(1)
    assert (await shop.ask(first, 5)).expected is None
    async with transaction(shop.engine) as conn:
        assert await supplies.unclaimed(conn, ["A"]) == {"A": ()}
        [coming] = (await supplies.unclaimed(conn, ["A"], tentative=True))["A"]
    assert coming.units == 5
    await shop.state("PO-1", 5, 3)
    assert await shop.claims() == [(first, "PO-1", 5)]
    assert [new for _, _, new in await shop.moves()] == [day(3).date().isoformat()]


async def test_who_leaves_gives_all_to_the_next(shop: Shop) -> None:
    await shop.state("PO-1", 5, 3)
    await shop.state("PO-2", 5, 9)
    first, second = await shop.order(1), await shop.order(2)
    await shop.ask(first, 5)
    await shop.ask(second, 5)
    await shop.receive("PO-1", 2)
    await shop.leave(first)
    assert await shop.free() == 2
    assert await shop.claims() == [(second, "PO-1", 3), (second, "PO-2", 2)]
    await shop.leave(first)
    assert (await shop.ask(second, 5)).missing == {"A": 3}
    assert await shop.free() == 0
    assert await shop.claims() == [(second, "PO-1", 3)]
    await shop.clean()


async def test_a_pickup_waits_for_what_comes_to_its_store(shop: Shop) -> None:
    await shop.state("PO-1", 5, 3)
    await shop.state("PO-2", 5, 9, node="ST-C")
    first = await shop.order(1)
    assert (await shop.ask(first, 2, "ST-C")).expected == day(9)
    assert await shop.claims() == [(first, "PO-2", 2)]
    await shop.receive("PO-2", 5, "ST-C")
    async with transaction(shop.engine) as conn:
        [shelf] = await stock.levels(conn, skus=["A"], node="ST-C")
    assert (shelf.allocated, shelf.free) == (2, 3)
    await shop.clean()
    assert await shop.ask(first, 2, "ST-C") == Answer({"A": 2}, {})
    await shop.clean()


async def test_supply_without_a_name_serves_whoever_asks(shop: Shop) -> None:
    first = await shop.order(1)
    assert (await shop.ask(first, 5)).expected is None
    await shop.state("PO-1", 5, 3)
    await shop.receive(None, 7)
    assert await shop.ask(first, 5) == Answer({"A": 5}, {})
    assert (await shop.claims(), await shop.free()) == ([], 2)
    await shop.clean()


class Days:
    """Random statements, receipts, orders and departures, and what must hold after each."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop = shop
        self.chance = random.Random(seed)  # noqa: S311
        self.waiting: dict[str, dict[str, int]] = {}
        self.done = Counter[str]()

    async def step(self) -> None:
        verb = self.chance.choices(
            (self.state, self.receive, self.place, self.retry, self.leave, self.sell),
            (4, 6, 5, 4, 1, 2),
        )[0]
        await verb()
        self.done[verb.__name__] += 1
        await self.holds()

    def ref(self) -> str:
        return f"PO-{self.chance.randint(1, 4)}"

    async def state(self) -> None:
        status = self.chance.choice(("open", "open", "open", "cancelled"))
        units, on = self.chance.randint(0, 12), self.chance.randint(1, 40)
        await self.shop.state(self.ref(), units, on, status=status)

    async def receive(self) -> None:
        ref = self.chance.choice((None, self.ref(), self.ref()))
        before = await self._claimed(ref)
        units = self.chance.randint(1, 5)
        free = await self.shop.free()
        try:
            await self.shop.receive(ref, units)
        except NotFound:
            return
        sold = await self.shop.free() - free
        assert sold == units - min(before, units), "claimed units are never seen free"

    async def _claimed(self, ref: str | None) -> int:
        return sum(units for _, name, units in await self.shop.claims() if name == ref)

    async def place(self) -> None:
        order = await self.shop.order(self.done["place"])
        await self._ask(order, {"A": self.chance.randint(1, 8), "B": self.chance.randint(0, 1)})

    async def _ask(self, order: str, wanted: dict[str, int]) -> None:
        wanted = {sku: units for sku, units in wanted.items() if units}
        self.waiting[order] = wanted
        if not (await self.shop.ask(order, wanted)).missing:
            del self.waiting[order]

    async def retry(self) -> None:
        if self.waiting:
            order = self.chance.choice(sorted(self.waiting))
            await self._ask(order, self.waiting[order])

    async def leave(self) -> None:
        if self.waiting:
            order = self.chance.choice(sorted(self.waiting))
            del self.waiting[order]
            await self.shop.leave(order)

    async def sell(self) -> None:
        name = f"quick-{self.done['sell']}"
        async with transaction(self.shop.engine) as conn:
            units = [Units(line_id="1", sku="A", quantity=self.chance.randint(1, 3))]
            await reservations.reserve(conn, Ask(name, None, units, partial=True))

    async def holds(self) -> None:
        await self.shop.clean()
        async with transaction(self.shop.engine) as conn:
            over = await conn.execute(
                text(
                    "SELECT s.ref FROM supplies AS s JOIN supply_claims AS c USING (source, ref)"
                    " GROUP BY s.source, s.ref HAVING sum(c.units) > s.quantity - s.received"
                    " OR s.status <> 'open'"
                )
            )
            assert over.all() == []
            lowest = (await conn.execute(select(func.min(pool.c.available)))).scalar()
        assert (lowest or 0) >= 0


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_slips_or_leaves_claims_hold(shop: Shop, seed: int) -> None:
    await stocked(shop.engine, {("B", "DC-B"): 6})
    days = Days(shop, seed)
    for _ in range(60):
        await days.step()
    assert len(days.done) == 6
    assert await shop.moves()
