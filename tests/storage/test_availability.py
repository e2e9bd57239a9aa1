"""What rules hold back is held back from reservations, from sourcing and from every answer."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.availability import at_nodes, spared, to_sell
from domain.errors import Invalid, Outage, Refused
from domain.network import Product
from domain.orders import Address, DeliveryMethod, Units
from domain.sourcing.build import build
from domain.stock_rules import Rule, RuleKind, Subject
from storage import (
    audit,
    availability,
    database,
    ledger,
    network,
    reservations,
    snapshot,
    stock,
    stock_rules,
    tables,
)
from storage.asks import Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.stock_view import StockView
from tests.samples import NOON, a_node, a_share
from tests.storage.conftest import NODES, stocked

SHIP, PICKUP = DeliveryMethod.SHIP, DeliveryMethod.PICKUP
SAFETY, THRESHOLD, CAP = RuleKind.SAFETY, RuleKind.THRESHOLD, RuleKind.CAP
GUARANTEE, VISIBILITY = RuleKind.GUARANTEE, RuleKind.VISIBILITY

# The definition in SQL, written apart from the code: shipping, where all channels see the same.
BY_SQL = text("""
WITH product AS (
  SELECT w.sku, coalesce(p.body ->> 'category', '') AS category
  FROM unnest(CAST(:skus AS text[])) AS w (sku) LEFT JOIN products AS p USING (sku)),
shelf AS (
  SELECT s.sku, s.on_hand - s.allocated AS free,
    coalesce((SELECT r.units FROM stock_rules AS r
      WHERE r.kind = 'safety' AND r.node IN ('', s.node)
        AND (r.sku = s.sku OR r.sku = '' AND r.category IN ('', product.category))
      ORDER BY r.sku <> '' DESC, r.category <> '' DESC, r.node <> '' DESC LIMIT 1), 0) AS safety,
    n.status = 'online' AND (n.body ->> 'ships')::boolean
      AND coalesce((SELECT r.ship FROM stock_rules AS r
        WHERE r.kind = 'visibility' AND r.node = s.node AND r.channel = ''), true) AS shown
  FROM stock AS s JOIN product USING (sku) JOIN nodes AS n ON n.code = s.node)
SELECT sku, greatest(0,
  (SELECT coalesce(sum(greatest(free - safety, 0)), 0) FROM shelf
    WHERE shelf.sku = product.sku AND shown)
  - (SELECT coalesce(sum(l.quantity), 0) FROM reservation_lines AS l
    JOIN reservations AS r USING (reservation_id)
    WHERE l.sku = product.sku AND r.node IS NULL)
  - coalesce((SELECT r.units FROM stock_rules AS r
    WHERE r.kind = 'threshold' AND r.channel IN ('', :channel)
      AND (r.sku = product.sku OR r.sku = '' AND r.category IN ('', product.category))
    ORDER BY r.sku <> '' DESC, r.category <> '' DESC, r.channel <> '' DESC LIMIT 1), 0)) AS units
FROM product
""")


async def by_sql(conn: AsyncConnection, skus: Collection[str], channel: str) -> dict[str, int]:
    rows = await conn.execute(BY_SQL, {"skus": list(skus), "channel": channel})
    return {row.sku: row.units for row in rows}


async def put(engine: AsyncEngine, *rules: dict[str, Any]) -> None:
    async with transaction(engine) as conn:
        await stock_rules.put(conn, [Rule.model_validate(rule) for rule in rules], "ann")


async def reserve(
    engine: AsyncEngine, name: str, quantity: int, channel: str = "web", node: str | None = None
) -> dict[str, int]:
    units = [Units(line_id="1", sku="A", quantity=quantity)]
    async with transaction(engine) as conn:
        return (await reservations.reserve(conn, Ask(name, name, units, node, channel))).missing


async def allocate(engine: AsyncEngine, name: str, node: str, quantity: int) -> dict[str, str]:
    share = a_share(f"{name}-F", node, {"1": quantity}, order_id=name)
    async with transaction(engine) as conn:
        return await stock.allocate(conn, f"{name}/1", name, [share])


async def may_take(engine: AsyncEngine, channel: str = "web", node: str | None = None) -> int:
    """What a reservation would be given, under its locks."""
    async with transaction(engine) as conn:
        pool = await ledger.lock_pool(conn, ["A"])
        sale = await availability.open_sale(conn, pool, pickups=["A"] if node else [])
        return sale.left("A", channel, node)


@pytest.fixture
async def view(world: AsyncEngine) -> StockView:
    return StockView(world)


async def seen(
    view: StockView, channel: str = "web", method: DeliveryMethod = SHIP, sku: str = "A"
) -> int:
    """What the view says after a refresh that began now."""
    await view.refreshed()
    now = await view.read([sku])
    return to_sell(now.outlets, now.positions[sku], channel, method)


async def test_a_change_of_safety_stock_moves_what_may_be_sold_at_once(
    world: AsyncEngine, view: StockView
) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 5, ("A", "ST-C"): 2})
    for units, left in ((0, 12), (2, 6), (4, 2), (9, 0), (1, 9)):
        await put(world, {"kind": SAFETY, "units": units})
        assert await may_take(world) == left
        assert await seen(view) == left
    assert await reserve(world, "R1", 10) == {"A": 1}
    assert await reserve(world, "R1", 9) == {}
    assert await reserve(world, "R2", 1) == {"A": 1}
    async with transaction(world) as conn:
        await stock_rules.put(conn, [], "ann", removed=[Subject(kind=SAFETY)])
    assert await seen(view) == await may_take(world) == 3


async def test_the_category_of_a_product_decides_until_it_changes(
    world: AsyncEngine, view: StockView
) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await put(world, {"kind": SAFETY, "category": "toys", "units": 3}, {"kind": SAFETY, "units": 1})
    assert await seen(view) == await may_take(world) == 4
    for category, left in (("toys", 2), ("books", 4)):
        async with transaction(world) as conn:
            await network.put_products(conn, [Product(sku="A", category=category)])
        assert await seen(view) == await may_take(world) == left


async def test_200_orders_of_two_channels_keep_safety_cap_and_guarantee(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 50, ("A", "DC-B"): 30, ("A", "ST-C"): 20})
    await put(
        world,
        {"kind": SAFETY, "node": "ST-C", "units": 8},
        {"kind": CAP, "channel": "web", "percent": 30},
        {"kind": GUARANTEE, "channel": "outlet", "units": 80},
    )
    gate = asyncio.Semaphore(8)

    async def one(n: int) -> tuple[str, bool]:
        channel = "web" if n % 2 else "outlet"
        async with gate:
            return channel, not await reserve(world, f"R{n}", 1, channel)

    answers = await asyncio.gather(*(one(n) for n in range(200)))
    got = {c: sum(ok for channel, ok in answers if channel == c) for c in ("web", "outlet")}
    assert got["web"] == 12, "92 may be sold, and 80 of them are the outlet's"
    assert got["outlet"] == 80
    assert await may_take(world) == await may_take(world, "outlet") == 0


async def test_a_cap_counts_units_until_they_are_sent(world: AsyncEngine, view: StockView) -> None:
    await stocked(world, {("A", "DC-A"): 10})
    await put(world, {"kind": CAP, "channel": "web", "units": 4})
    await reserve(world, "R1", 3)
    assert await allocate(world, "R1", "DC-A", 2) == {}
    assert await may_take(world) == await seen(view) == 1
    async with transaction(world) as conn:
        await stock.ship(conn, "s", "R1-F", [])
    assert await may_take(world) == await seen(view) == 3
    assert await may_take(world, "outlet") == await seen(view, "outlet") == 7


async def test_a_pickup_only_node_is_never_in_a_ship_plan(
    world: AsyncEngine, view: StockView
) -> None:
    await stocked(world, {("A", "ST-C"): 5, ("A", "DC-A"): 2})
    async with transaction(world) as conn:
        await network.put_node(conn, a_node("ST-C", ships=False, pickup=True))
    assert await reserve(world, "R1", 3) == {"A": 1}
    assert await reserve(world, "R1", 2) == {}
    assert await seen(view) == 0
    assert await seen(view, method=PICKUP) == await may_take(world, node="ST-C") == 5
    assert await reserve(world, "P1", 5, node="ST-C") == {}
    assert await reserve(world, "P2", 1, node="DC-A") == {"A": 1}, "it offers no pickup"
    async with transaction(world) as conn:
        plan = build(
            await snapshot.sourcing(conn, ["A"], "web"),
            order_id="o", round=1, as_of=NOON, currency="USD", promise_by=None,
            units=[Units(line_id="1", sku="A", quantity=2)],
            ship_to=Address(postal_code="75201"), excluded={},
        )  # fmt: skip
    out = {c.node: c.eliminated for c in plan.candidates}
    assert out["ST-C"] == "does not ship"
    assert await allocate(world, "R1", "DC-A", 2) == {}


async def test_sourcing_sees_no_safety_stock_and_no_hidden_node(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 2, ("A", "ST-C"): 4, ("B", "DC-B"): 9})
    await put(
        world,
        {"kind": SAFETY, "units": 2},
        {"kind": SAFETY, "sku": "A", "node": "ST-C", "units": 1},
        {"kind": VISIBILITY, "node": "ST-C", "channel": "web", "ship": False, "pickup": True},
    )
    async with transaction(world) as conn:
        web = await snapshot.sourcing(conn, ["A", "B"], "web")
        outlet = await snapshot.sourcing(conn, ["A", "B"], "outlet")
    assert web.stock == outlet.stock == {"DC-A": {"A": 3}, "DC-B": {"B": 7}, "ST-C": {"A": 3}}
    assert web.hidden == {"ST-C": "not shown to web for shipping"}
    assert {node.code for node in web.nodes if node.ships} == {"DC-A", "DC-B"}
    assert outlet.hidden == {}
    assert all(node.ships for node in outlet.nodes)
    assert await reserve(world, "R1", 3) == {}
    assert await allocate(world, "R1", "DC-B", 1) == {"DC-B": "out of stock"}
    assert await allocate(world, "R1", "DC-A", 3) == {}


async def test_channels_that_see_different_nodes_take_nothing_from_each_other(
    world: AsyncEngine, view: StockView
) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("A", "DC-B"): 5})
    for node, channel in (("DC-A", "eu"), ("DC-B", "us")):
        hidden = {"node": node, "channel": channel, "ship": False, "pickup": False}
        await put(world, {"kind": VISIBILITY, **hidden})
    assert await reserve(world, "R1", 4, "us") == {}
    for channel, left in (("us", 1), ("eu", 5), ("both", 6)):
        assert await may_take(world, channel) == await seen(view, channel) == left
    assert await reserve(world, "R2", 5, "both") == {}
    assert await reserve(world, "R3", 2, "eu") == {"A": 1}


async def test_a_sale_counts_in_what_it_was_told_was_taken(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 10})
    await put(world, {"kind": CAP, "channel": "web", "units": 4}, {"kind": THRESHOLD, "units": 1})
    async with transaction(world) as conn:
        sale = await availability.open_sale(conn, await ledger.lock_pool(conn, ["A", "B"]))
        assert (sale.left("A", "web"), sale.left("A", "outlet"), sale.left("B", "web")) == (4, 9, 0)
        sale.took("A", "web", 3)
        assert (sale.left("A", "web"), sale.left("A", "outlet")) == (1, 6)


@pytest.mark.parametrize("sku", ["A", ""], ids=["of a SKU", "of all"])
async def test_a_change_of_rules_and_a_reservation_wait_for_each_other(
    world: AsyncEngine, sku: str
) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await put(world, {"kind": SAFETY, "sku": sku, "units": 5})

    async def relax() -> None:
        async with transaction(world) as conn:
            await stock_rules.put(conn, [], "ann", removed=[Subject(kind=SAFETY, sku=sku)])

    async with transaction(world) as conn:
        units = [Units(line_id="1", sku="A", quantity=1)]
        assert (await reservations.reserve(conn, Ask("R1", "web-1", units))).missing == {"A": 1}
        relaxing = asyncio.create_task(relax())
        done, _ = await asyncio.wait([relaxing], timeout=0.3)
        assert not done, "it would not see that this order waits"
    await relaxing
    assert await reserve(world, "R2", 5) == {}


async def test_a_rule_is_logged_and_one_of_a_node_that_is_not_there_is_refused(
    world: AsyncEngine,
) -> None:
    await put(world, {"kind": SAFETY, "sku": "A", "units": 3})
    await put(world, {"kind": SAFETY, "sku": "A", "units": 4})
    async with transaction(world) as conn:
        await stock_rules.put(conn, [], "bob", removed=[Subject(kind=SAFETY, sku="A")])
        log = await conn.execute(text("SELECT said, actor FROM stock_rule_log ORDER BY id"))
        assert [(r.said and r.said["units"], r.actor) for r in log] == [
            (3, "ann"), (4, "ann"), (None, "bob"),
        ]  # fmt: skip
    with pytest.raises(Invalid, match=r"rules\.0\.node: there is no node X"):
        await put(world, {"kind": SAFETY, "node": "X", "units": 1})


# ---- the view

SKUS = ("A", "B", "C")
CHANNELS = ("web", "outlet")


class Commotion:
    """Random verbs and rules from several sessions at once."""

    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self.engine = engine
        self.door = Batcher(engine)
        self.chance = random.Random(seed)  # noqa: S311
        self.number = 0

    async def step(self) -> None:
        self.number += 1
        verbs = (self.receive, self.count, self.flip, self.rule)
        verb = self.chance.choice((*verbs, *[self.order] * 5))
        with contextlib.suppress(Refused):
            await verb(f"R{self.number}")

    async def order(self, name: str) -> None:
        sku, node = self.chance.choice(SKUS), self.chance.choice(NODES)
        units = [Units(line_id="1", sku=sku, quantity=self.chance.randint(1, 3))]
        at = "ST-C" if self.chance.random() < 0.2 else None
        channel, after = self.chance.choice(CHANNELS), self.chance.random()
        answer = await self.door.reserve(Ask(name, name, units, at, channel))
        if answer.missing:
            return
        share = a_share(f"{name}-F", at or node, {"1": 1}, sku=sku, order_id=name)
        async with transaction(self.engine) as conn:
            if after < 0.3:
                await reservations.release(conn, name, "cancelled")
            if not 0.3 <= after < 0.8 or await stock.allocate(conn, name, name, [share]):
                return
        if after < 0.6:
            async with transaction(self.engine) as conn:
                await stock.ship(conn, name, share.fulfillment_id, ())

    async def receive(self, name: str) -> None:
        lines = [(self.chance.choice(SKUS), self.chance.randint(1, 6))]
        async with transaction(self.engine) as conn:
            await stock.receive(conn, name, self.chance.choice(NODES), lines, "receipt", "test")

    async def count(self, name: str) -> None:
        lines = [(self.chance.choice(SKUS), self.chance.randint(3, 9))]
        async with transaction(self.engine) as conn:
            await stock.count(conn, name, self.chance.choice(NODES), lines, "test")

    async def flip(self, name: str) -> None:
        offline = self.chance.random() < 0.3
        async with transaction(self.engine) as conn:
            await stock.set_node_status(conn, "DC-B", "offline" if offline else "online", "x")

    async def rule(self, name: str) -> None:
        kind = self.chance.choice((SAFETY, SAFETY, THRESHOLD, VISIBILITY))
        node = self.chance.choice(NODES)
        if kind is VISIBILITY:
            shown = self.chance.random() < 0.7
            rule = Rule(kind=kind, node=node, ship=shown, pickup=True)
        else:
            about = self.chance.choice(({"sku": "A"}, {"category": "toys"}, {}))
            where = {"node": node} if kind is SAFETY and self.chance.random() < 0.5 else {}
            rule = Rule(kind=kind, units=self.chance.randint(0, 3), **about, **where)
        async with transaction(self.engine) as conn:
            await stock_rules.put(conn, [rule], "test")


@pytest.mark.parametrize("seed", range(3))
async def test_the_view_the_locks_and_sql_say_the_same(
    world: AsyncEngine, view: StockView, seed: int
) -> None:
    await stocked(world, {(sku, node): 6 for sku in SKUS for node in NODES})
    async with transaction(world) as conn:
        await network.put_products(conn, [Product(sku="B", category="toys")])
    commotion = Commotion(world, seed)
    for _ in range(40):
        await asyncio.gather(*(commotion.step() for _ in range(4)))
        await view.refreshed()
        now = await view.read(SKUS)
        async with transaction(world) as conn:
            pool = await ledger.lock_pool(conn, SKUS)
            sale = await availability.open_sale(conn, pool)
            pickup = await availability.open_sale(conn, pool, pickups=SKUS)
            for channel, sku in itertools.product(CHANNELS, SKUS):
                said, here = await by_sql(conn, [sku], channel), now.positions[sku]
                assert to_sell(now.outlets, here, channel, SHIP) == said[sku]
                assert sale.left(sku, channel) == said[sku]
                at_store = here.nodes == now.outlets.index["ST-C"]
                units = at_nodes(now.outlets, here, channel, PICKUP)[at_store].sum()
                assert pickup.left(sku, channel, "ST-C") == units
    async with transaction(world) as conn:
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2}] == []


async def test_what_commits_late_is_not_missed(world: AsyncEngine, view: StockView) -> None:
    """Ids of movements become visible out of order: the first to draw one commits last."""
    await stocked(world, {("A", "DC-A"): 5, ("B", "DC-A"): 5})
    await view.read(["A", "B"])
    async with transaction(world) as late:
        await stock.receive(late, "late", "DC-A", [("A", 1)], "receipt", "test")
        async with transaction(world) as conn:
            await stock.receive(conn, "early", "DC-A", [("B", 1)], "receipt", "test")
        assert (await seen(view), await seen(view, sku="B")) == (5, 6)
        async with transaction(world) as conn:
            await stock.receive(conn, "early 2", "DC-A", [("B", 1)], "receipt", "test")
        assert (await seen(view), await seen(view, sku="B")) == (5, 7)
    assert await seen(view) == 6


async def test_a_view_is_of_one_moment_and_says_which(world: AsyncEngine, view: StockView) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    first = await view.read(["A", "UNKNOWN"])
    assert first.age_ms <= 1000
    assert first.positions["UNKNOWN"].nodes.size == 0
    again = await view.read(["A"])
    assert again.as_of == first.as_of, "nothing was asked of the database"
    await view.read(["A", "B"])
    later = await view.read(["A"])
    assert later.as_of > first.as_of, "what was not there yet was read with all the rest"
    await stocked(world, {("A", "ST-C"): 1})
    await view.refreshed()
    now = await view.read(["A"])
    spare = spared(now.outlets, now.positions["A"], "web", SHIP)
    codes = [now.outlets.codes[n] for n in now.positions["A"].nodes]
    assert dict(zip(codes, spare.tolist(), strict=True)) == {"DC-A": 5, "ST-C": 1}


async def test_what_is_mended_by_hand_is_seen_in_turn(world: AsyncEngine, view: StockView) -> None:
    skus = [f"S{n:02}" for n in range(12)]
    await stocked(world, {(sku, "DC-A"): 5 for sku in skus})
    await view.read(skus)
    async with transaction(world) as conn:
        await conn.execute(
            update(tables.stock).where(tables.stock.c.sku == "S11").values(on_hand=7)
        )
        await conn.execute(
            update(tables.pool).where(tables.pool.c.sku == "S11").values(available=7)
        )
    told = [await seen(view, sku="S11") for _ in range(4)]
    assert told == sorted(told)
    assert told[-1] == 7, "twelve are looked at again in four turns"


async def test_a_view_that_cannot_be_kept_fresh_answers_nothing() -> None:
    nowhere = database.engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Outage):
        await StockView(nowhere).read(["A"])
    await nowhere.dispose()
