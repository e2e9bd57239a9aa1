"""Kits in the database: never more than their components, all of them or none, and no stock."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Conflict, Invalid, Refused
from domain.kits import exploded
from domain.network import Component, Kit, Product
from domain.orders import DeliveryMethod, Units
from domain.stock_rows import StockRow
from domain.stock_rules import Rule, RuleKind
from storage import (
    audit,
    bulk,
    database,
    feeds,
    kits,
    network,
    reservations,
    stock,
    stock_rules,
    stock_watch,
    supplies,
)
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.feeds import Snapshot
from storage.stock_feed import Changes
from storage.stock_view import StockView
from storage.tables import metadata
from tests.samples import NOON, a_node, a_share
from tests.storage.conftest import NODES, stocked

PARTS = ("A", "B", "C")
GIFT = Product(
    sku="GIFT", components=(Component(sku="A", quantity=1), Component(sku="B", quantity=2))
)
LOOSE = GIFT.model_copy(update={"sku": "LOOSE", "ships_together": False})


@pytest.fixture
async def shop(world: AsyncEngine) -> AsyncEngine:
    """The small network with two kits of the same goods, one of which leaves whole."""
    async with transaction(world) as conn:
        await network.put_products(conn, [*(Product(sku=sku) for sku in PARTS), GIFT, LOOSE])
    return world


async def cart(conn: AsyncConnection, *wanted: tuple[str, int]) -> tuple[Units, ...]:
    sold = [
        Units(line_id=str(n), sku=sku, quantity=units) for n, (sku, units) in enumerate(wanted, 1)
    ]
    return exploded(sold, await kits.recipes(conn, [sku for sku, _ in wanted]))


async def reserve(
    engine: AsyncEngine, name: str, *wanted: tuple[str, int], node: str | None = None
) -> Answer:
    async with transaction(engine) as conn:
        ask = Ask(name, None, await cart(conn, *wanted), node)
        return await reservations.reserve(conn, ask)


async def told(engine: AsyncEngine, sku: str, method: DeliveryMethod = DeliveryMethod.SHIP) -> int:
    return (await StockView(engine).read([sku])).offer(sku, "", method).units


@pytest.mark.parametrize(
    ("product", "refusal", "code"),
    [
        (Product(sku="K", components=(Component(sku="?"),)), Invalid, "unknown_component"),
        (Product(sku="K", components=(Component(sku="GIFT"),)), Invalid, "kit_in_kit"),
        (Product(sku="A", components=(Component(sku="C"),)), Invalid, "kit_in_kit"),
        (Product(sku="C", components=(Component(sku="A"),)), Conflict, "kit_has_stock"),
    ],
)
async def test_what_cannot_be_a_kit_is_refused(
    shop: AsyncEngine, product: Product, refusal: type[Refused], code: str
) -> None:
    await stocked(shop, {("C", "DC-A"): 1})
    with pytest.raises(refusal) as no:
        async with transaction(shop) as conn:
            await network.put_products(conn, [product])
    assert no.value.code == code


def test_a_kit_is_made_of_others_each_once() -> None:
    for parts in ((Component(sku="K"),), (Component(sku="A"), Component(sku="A"))):
        with pytest.raises(ValueError, match="components"):
            Product(sku="K", components=parts)


async def test_what_is_to_come_cannot_be_a_kit_before_it_is_cancelled(shop: AsyncEngine) -> None:
    coming = supplies.Supply(
        source="erp",
        ref="PO-1",
        kind="purchase_order",
        sequence=1,
        node="DC-A",
        sku="C",
        quantity=5,
        expected_at=NOON,
    )
    kit = Product(sku="C", components=(Component(sku="A"),))
    async with transaction(shop) as conn:
        await supplies.put(conn, coming, "test")
    with pytest.raises(Conflict, match="C is to come by erp/PO-1"):
        async with transaction(shop) as conn:
            await network.put_products(conn, [kit])
    async with transaction(shop) as conn:
        gone = coming.model_copy(update={"sequence": 2, "status": "cancelled"})
        await supplies.put(conn, gone, "test")
        await network.put_products(conn, [kit])


async def test_a_kit_takes_no_stock_of_its_own(shop: AsyncEngine) -> None:
    async with transaction(shop) as conn:
        with pytest.raises(Invalid, match="GIFT is a kit"):
            await stock.receive(conn, "1", "DC-A", [("GIFT", 1)], "receipt", "test")
    async with transaction(shop) as conn:
        with pytest.raises(Invalid, match="GIFT is a kit"):
            await stock.count(conn, "2", "DC-A", [("GIFT", 1)], "test")


async def test_nor_by_feeds_and_files(shop: AsyncEngine) -> None:
    report = Snapshot(node="DC-A", sku="GIFT", sequence=1, on_hand=3, at=NOON)
    good = report.model_copy(update={"sku": "A"})
    async with transaction(shop) as conn:
        taken = await feeds.take(conn, "wms", "1", [report, good], "key:wms")
    assert [(bad.row, bad.code) for bad in taken.rejected] == [(0, "is_kit")]

    async with transaction(shop) as conn:
        await bulk.begin(conn, "digest", "a file", "test")
        await bulk.stage(conn, [StockRow(2, "GIFT", "DC-A", 5), StockRow(3, "B", "DC-A", 5)])
        assert await bulk.judge(conn) == (2, 1)
        wrong = [row async for row in bulk.rejected(conn)]
        await conn.execute(text("SELECT pg_advisory_unlock_all()"))
    assert [(row.line, row.field) for row in wrong] == [(2, "sku")]
    assert "GIFT is a kit" in wrong[0].message


async def test_kits_are_the_least_of_their_components_where_they_may_come_from(
    shop: AsyncEngine,
) -> None:
    await stocked(shop, {("A", "DC-A"): 3, ("B", "DC-A"): 3, ("B", "DC-B"): 4, ("A", "ST-C"): 1})

    assert await told(shop, "LOOSE") == 3  # 4 of A, 7 of B by twos
    assert await told(shop, "GIFT") == 1  # only DC-A has both
    assert await told(shop, "GIFT", DeliveryMethod.PICKUP) == 0

    assert (await reserve(shop, "two", ("GIFT", 2))).taken == {}
    assert (await reserve(shop, "one", ("GIFT", 1))).taken == {"1/1": 1, "1/2": 2}
    assert await told(shop, "GIFT") == 0
    assert (await reserve(shop, "more", ("GIFT", 1))).missing == {"A": 1, "B": 2}
    assert (await reserve(shop, "loose", ("LOOSE", 2))).missing == {}


async def test_a_kit_is_taken_at_a_store_that_has_all_of_it(shop: AsyncEngine) -> None:
    nothing = await reserve(shop, "none", ("GIFT", 1), node="ST-C")
    assert (nothing.taken, nothing.missing) == ({}, {"A": 1, "B": 2})
    await stocked(shop, {("A", "ST-C"): 2, ("B", "ST-C"): 3, ("B", "DC-A"): 9})
    assert (await reserve(shop, "two", ("LOOSE", 2), node="ST-C")).missing == {"B": 1}
    assert (await reserve(shop, "one", ("GIFT", 1), node="ST-C")).missing == {}
    assert await told(shop, "GIFT", DeliveryMethod.PICKUP) == 0


async def test_a_kit_and_its_component_count_together(shop: AsyncEngine) -> None:
    await stocked(shop, {("A", "DC-A"): 2, ("B", "DC-A"): 4})
    answer = await reserve(shop, "all", ("GIFT", 2), ("B", 1))
    assert (answer.taken, answer.missing) == ({}, {"B": 1})
    assert (await reserve(shop, "fits", ("GIFT", 1), ("B", 2), ("A", 1))).missing == {}


async def test_a_part_of_a_reservation_is_of_whole_kits(shop: AsyncEngine) -> None:
    await stocked(shop, {("A", "DC-A"): 5, ("B", "DC-A"): 5})
    async with transaction(shop) as conn:
        ask = Ask("cart", None, await cart(conn, ("LOOSE", 4)), partial=True)
        answer = await reservations.reserve(conn, ask)
    assert answer.taken == {"1/1": 2, "1/2": 4}
    async with transaction(shop) as conn:
        assert await reservations.reserve(conn, ask) == answer


async def test_the_kits_threshold_holds_and_so_do_the_components_rules(shop: AsyncEngine) -> None:
    await stocked(shop, {("A", "DC-A"): 9, ("B", "DC-A"): 20})
    rules = [
        Rule(kind=RuleKind.THRESHOLD, sku="GIFT", units=2),
        Rule(kind=RuleKind.SAFETY, sku="A", units=4),
    ]
    async with transaction(shop) as conn:
        await stock_rules.put(conn, rules, "test")
    assert await told(shop, "GIFT") == 3
    assert (await reserve(shop, "four", ("GIFT", 4))).taken == {}
    assert (await reserve(shop, "three", ("GIFT", 3))).missing == {}


async def test_what_a_kit_is_made_of_may_change(shop: AsyncEngine) -> None:
    await stocked(shop, {("A", "DC-A"): 2, ("B", "DC-A"): 2, ("C", "DC-A"): 9})
    view = StockView(shop)
    assert (await view.read(["GIFT"])).offer("GIFT", "", DeliveryMethod.SHIP).units == 1
    async with transaction(shop) as conn:
        made = GIFT.model_copy(update={"components": (Component(sku="C", quantity=3),)})
        await network.put_products(conn, [made])
    await view.refreshed()
    assert (await view.read(["GIFT"])).offer("GIFT", "", DeliveryMethod.SHIP).units == 3


async def test_a_watch_on_a_kit_sees_its_components_move(shop: AsyncEngine) -> None:
    await stocked(shop, {("A", "DC-A"): 5, ("B", "DC-A"): 10})
    async with transaction(shop) as conn:
        await stock_watch.put(conn, [stock_watch.Watch(sku="GIFT", low=2, high=3)], "test")
    await reserve(shop, "most", ("A", 3))
    moment = Changes(NOON, shelves=frozenset({("A", "")}))
    async with transaction(shop) as conn:
        assert await stock_watch.watched(conn, moment) == ["GIFT"]
        assert await stock_watch.look(conn, ["GIFT"]) == 1
        (event,) = await stock_watch.events(conn)
    assert (event.type, event.sku, event.units) == ("low_stock", "GIFT", 2)


async def test_many_at_once_get_the_kits_that_there_are(shop: AsyncEngine) -> None:
    await stocked(shop, {("A", "DC-A"): 20, ("B", "DC-A"): 41, ("A", "DC-B"): 9})
    door = Batcher(shop)
    async with transaction(shop) as conn:
        one = await cart(conn, ("GIFT", 1))
    answers = await asyncio.gather(*(door.reserve(Ask(f"r{n}", None, one)) for n in range(40)))
    assert sum(not answer.missing for answer in answers) == 20


KITS = st.lists(
    st.tuples(st.lists(st.tuples(st.sampled_from(PARTS), st.integers(1, 3)), min_size=1,
                       unique_by=lambda part: part[0]), st.booleans()),
    min_size=1,
    max_size=3,
)  # fmt: skip


@pytest.mark.long
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(made_of=KITS, seed=st.integers(0, 10**6))
def test_whatever_the_kits_no_more_are_promised_than_their_components_allow(
    postgres_url: str, made_of: list[tuple[list[tuple[str, int]], bool]], seed: int
) -> None:
    asyncio.run(_a_day(postgres_url, made_of, random.Random(seed)))  # noqa: S311


async def _a_day(
    url: str, made_of: list[tuple[list[tuple[str, int]], bool]], chance: random.Random
) -> None:
    engine = database.engine(url, size=2)
    try:
        await _emptied(engine)
        products = [Product(sku=sku) for sku in PARTS]
        for number, (parts, together) in enumerate(made_of):
            components = tuple(Component(sku=sku, quantity=n) for sku, n in parts)
            products.append(
                Product(sku=f"K{number}", components=components, ships_together=together)
            )
        async with transaction(engine) as conn:
            await network.put_products(conn, products)
        shelves = {(sku, node): chance.randint(0, 6) for sku in PARTS for node in NODES}
        await stocked(engine, {place: units for place, units in shelves.items() if units})
        day = _Day(engine, {p.sku: p.kit for p in products if p.kit}, chance)
        for step in range(12):
            await day.step(step)
            async with transaction(engine) as conn:
                assert [f for f in await audit.audit(conn) if f.invariant in {1, 2}] == []
        await day.end(shelves)
    finally:
        await engine.dispose()


class _Day:
    """Carts with kits and components: reserved, released, sourced to a node and given back."""

    def __init__(self, engine: AsyncEngine, made_of: dict[str, Kit], chance: random.Random) -> None:
        self.engine, self.made_of, self.chance = engine, made_of, chance
        self.held: dict[str, tuple[Units, ...]] = {}

    async def step(self, number: int) -> None:
        if self.held and self.chance.random() < 0.35:
            await self.cancel(self.chance.choice(sorted(self.held)))
            return
        wanted = [
            (self.chance.choice([*self.made_of, *PARTS]), self.chance.randint(1, 3))
            for _ in range(self.chance.randint(1, 3))
        ]
        name = f"R{number}"
        async with transaction(self.engine) as conn:
            units = await cart(conn, *wanted)
            one = await told(self.engine, wanted[0][0])
            answer = await reservations.reserve(conn, Ask(name, None, units))
        if len(wanted) == 1:
            assert (not answer.missing) == (wanted[0][1] <= one)
        assert answer.taken in ({}, {unit.line_id: unit.quantity for unit in units})
        if answer.missing:
            assert answer.taken == {}
            return
        self.held[name] = units
        if self.chance.random() < 0.4:
            await self.source(name, units)

    async def source(self, name: str, units: tuple[Units, ...]) -> None:
        """To any node that has all of it; else it stays with the network."""
        for node in NODES:
            lines = {unit.line_id: unit.quantity for unit in units}
            share = a_share(f"{name}-F1", node, lines).model_copy(
                update={"skus": {unit.line_id: unit.sku for unit in units}}
            )
            async with transaction(self.engine) as conn:
                if not await stock.allocate(conn, f"{name}/{node}", name, [share]):
                    return

    async def cancel(self, name: str) -> None:
        """What is at a node comes back, then the reservation is let go."""
        async with transaction(self.engine) as conn:
            key = f"{name}/back"
            await stock.give_back(conn, key, f"{name}-F1", (), "reservation", name, "cancelled")
            await reservations.release(conn, name, "cancelled")
        del self.held[name]

    async def end(self, shelves: dict[tuple[str, str], int]) -> None:
        """All that is held is within what came in; once it is cancelled, all of it is there."""
        there: Counter[str] = Counter()
        for (sku, _), units in shelves.items():
            there[sku] += units
        held: Counter[str] = Counter()
        for units_held in self.held.values():
            for unit in units_held:
                held[unit.sku] += unit.quantity
        assert all(held[sku] <= there[sku] for sku in PARTS)
        for name in sorted(self.held):
            await self.cancel(name)
        async with transaction(self.engine) as conn:
            free = await stock.available(conn, PARTS)
        assert free == {sku: there[sku] for sku in PARTS}


async def _emptied(engine: AsyncEngine) -> None:
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for code in NODES:
            await network.put_node(conn, a_node(code, pickup=code.startswith("ST")))
