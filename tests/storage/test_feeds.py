"""Whatever comes late, twice or out of order: what is there is what an ordered replay says."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Refused
from domain.network import Product
from domain.orders import Units
from storage import audit, feeds, network, reservations, shortages, stock
from storage.asks import Ask
from storage.database import transaction
from storage.feeds import Delta, Report, Snapshot, Taken
from tests.samples import a_node, a_share
from tests.storage.conftest import NODES, stocked
from tests.storage.test_random_days import SKUS, STEPS, Day

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
_feed = count(1)


@pytest.fixture
async def shop(world: AsyncEngine) -> AsyncEngine:
    async with transaction(world) as conn:
        products = [Product(sku=sku, aliases=(f"ean:{sku}",)) for sku in SKUS]
        await network.put_products(conn, products)
    return world


def minute(number: int) -> datetime:
    return LONG_AGO + timedelta(minutes=number)


def snapshot(sequence: int, on_hand: int, at: datetime | None = None, **more: Any) -> Snapshot:
    where = {"node": "DC-A", "sku": "A"} | more
    return Snapshot(sequence=sequence, on_hand=on_hand, at=at or minute(sequence), **where)


def delta(sequence: int, change: int, at: datetime | None = None, **more: Any) -> Delta:
    where = {"node": "DC-A", "sku": "A"} | more
    return Delta(sequence=sequence, change=change, at=at or minute(sequence), **where)


async def take(engine: AsyncEngine, *reports: Report, source: str = "wms", name: str = "") -> Taken:
    async with transaction(engine) as conn:
        return await feeds.take(conn, source, name or f"feed-{next(_feed)}", reports, "key:wms")


async def shelf(engine: AsyncEngine, sku: str = "A", node: str = "DC-A") -> tuple[int, int, int]:
    """On hand, allocated and short."""
    async with transaction(engine) as conn:
        row = (
            await conn.execute(
                text(
                    "SELECT on_hand, allocated, short FROM stock WHERE sku = :sku AND node = :node"
                ),
                {"sku": sku, "node": node},
            )
        ).one()
    return (row.on_hand, row.allocated, row.short)


async def available(engine: AsyncEngine) -> int:
    query = text("SELECT available FROM pool WHERE sku = 'A'")
    async with transaction(engine) as conn:
        units: int = (await conn.execute(query)).scalar_one()
    return units


async def now(engine: AsyncEngine) -> datetime:
    async with transaction(engine) as conn:
        at: datetime = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return at


async def clean(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []


async def allocated(engine: AsyncEngine, name: str, quantity: int) -> None:
    """An order with units allocated at DC-A."""
    async with transaction(engine) as conn:
        units = [Units(line_id="1", sku="A", quantity=quantity)]
        assert not (
            await reservations.reserve(conn, Ask(f"R-{name}", f"web-{name}", units))
        ).missing
        share = a_share(f"F-{name}", "DC-A", {"1": quantity}, order_id=f"web-{name}")
        assert await stock.allocate(conn, f"K-{name}", f"R-{name}", [share]) == {}


async def ship(engine: AsyncEngine, name: str) -> None:
    async with transaction(engine) as conn:
        await stock.ship(conn, f"S-{name}", f"F-{name}", ())


async def give_back(engine: AsyncEngine, name: str) -> None:
    async with transaction(engine) as conn:
        await stock.give_back(conn, f"B-{name}", f"F-{name}", (), "free", f"R-{name}", "short pick")


async def exceptions(engine: AsyncEngine, **asked: Any) -> tuple[shortages.StockException, ...]:
    async with transaction(engine) as conn:
        return await shortages.exceptions(conn, **asked)


def replayed(reports: Sequence[Report]) -> int:
    """What a ledger in order would say; of equal numbers the changes are in the snapshot."""
    there = 0
    for report in sorted(reports, key=lambda r: (r.sequence, isinstance(r, Snapshot))):
        there = report.on_hand if isinstance(report, Snapshot) else there + report.change
    return there


REPORTS = st.lists(
    st.one_of(
        st.builds(snapshot, st.integers(1, 9), st.integers(0, 50)),
        st.builds(delta, st.integers(1, 9), st.integers(-9, 9).filter(bool)),
        st.builds(delta, st.integers(1, 9), st.integers(-9, 9).filter(bool)),
    ),
    min_size=3,
    max_size=14,
    unique_by=lambda report: (type(report), report.sequence),
)


@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(reports=REPORTS, chance=st.randoms(use_true_random=False))
async def test_shuffled_repeated_and_cut_anywhere_it_ends_as_the_ordered_replay(
    shop: AsyncEngine, reports: list[Report], chance: Any
) -> None:
    source = f"wms-{next(_feed)}"
    node = "DC-A"
    async with transaction(shop) as conn:  # a shelf of its own for each example
        await network.put_products(conn, [Product(sku=source)])
    own = [report.model_copy(update={"sku": source}) for report in reports]
    sent = [*own, *chance.choices(own, k=3)]
    chance.shuffle(sent)
    while sent:
        size = chance.randint(1, len(sent))
        await take(shop, *sent[:size], source=source)
        sent = sent[size:]
    on_hand, _, short = await shelf(shop, source, node)
    assert on_hand - short == replayed(reports)
    assert on_hand == max(replayed(reports), 0)
    await clean(shop)


async def test_a_change_is_taken_once_and_a_newer_snapshot_has_it_in_itself(
    shop: AsyncEngine,
) -> None:
    first = await take(shop, delta(1, 10), delta(3, -2), delta(3, -2))
    assert (first.applied, first.duplicate, first.more) == (2, 1, ("A",))
    again = await take(shop, delta(3, -2))
    assert (again.applied, again.duplicate) == (0, 1)
    counted = await take(shop, snapshot(2, 7))
    assert (counted.applied, await shelf(shop)) == (1, (5, 0, 0))
    late = await take(shop, delta(2, 100), snapshot(1, 100))
    assert (late.applied, late.absorbed, await shelf(shop)) == (0, 2, (5, 0, 0))
    same = await take(shop, snapshot(2, 7), snapshot(4, 9), snapshot(5, 8))
    assert (same.applied, same.absorbed, same.duplicate) == (1, 1, 1)
    assert await shelf(shop) == (8, 0, 0)
    await clean(shop)


async def test_a_feed_is_once_by_its_id_and_what_it_lacked_comes_with_the_second_try(
    shop: AsyncEngine,
) -> None:
    rows = (delta(1, 5), delta(1, 3, sku="NEW"), delta(1, 3, node="NOWHERE"))
    first = await take(shop, *rows, name="monday")
    assert [(r.row, r.code) for r in first.rejected] == [(1, "unknown_sku"), (2, "unknown_node")]
    async with transaction(shop) as conn:
        await network.put_products(conn, [Product(sku="NEW")])
    again = await take(shop, *rows, name="monday")
    assert (first.new, again.new, again.applied, again.duplicate) == (True, False, 1, 1)
    assert (await shelf(shop), await shelf(shop, "NEW")) == ((5, 0, 0), (3, 0, 0))


async def test_rows_that_cannot_be_leave_the_others_be(shop: AsyncEngine) -> None:
    ahead = await now(shop) + timedelta(hours=1)
    taken = await take(
        shop,
        delta(1, 5, sku="ean:A"),
        delta(1, 6),
        snapshot(9, 1, ahead),
        delta(9, 1, ahead),
        delta(2, 1, sku="B"),
    )
    assert taken.applied == 2
    assert [(r.row, r.field, r.code) for r in taken.rejected] == [
        (1, "sequence", "sequence_reused"),
        (2, "at", "in_the_future"),
        (3, "at", "in_the_future"),
    ]
    assert await shelf(shop) == (5, 0, 0)
    other = await take(shop, delta(1, 7))
    assert [r.code for r in other.rejected] == ["sequence_reused"]


async def test_a_snapshot_rebases_under_what_is_allocated_and_what_shipped_since(
    shop: AsyncEngine,
) -> None:
    await take(shop, snapshot(1, 10))
    for name in ("1", "2", "3"):
        await allocated(shop, name, 2)
    await ship(shop, "1")
    taken_at = await now(shop)
    await ship(shop, "2")
    await stocked(shop, {("A", "DC-A"): 4})
    # the shelf as the partner saw it between the two shipments: nine, where we thought eight
    await take(shop, snapshot(5, 9, taken_at))
    assert await shelf(shop) == (9 - 2 + 4, 2, 0)
    assert await available(shop) == 9
    await ship(shop, "3")
    assert await shelf(shop) == (9, 0, 0)
    await clean(shop)


async def test_a_count_below_what_is_allocated_is_seen_and_sells_nothing(
    shop: AsyncEngine,
) -> None:
    await take(shop, snapshot(1, 10))
    await allocated(shop, "1", 3)
    await allocated(shop, "2", 4)
    taken = await take(shop, snapshot(2, 5))
    assert [(s.sku, s.node, s.short) for s in taken.short] == [("A", "DC-A", 2)]
    assert await shelf(shop) == (7, 7, 2)
    assert await available(shop) == 0
    (seen,) = await exceptions(shop, nodes=["DC-A"])
    assert (seen.sku, seen.node, seen.short, seen.there, seen.allocated) == ("A", "DC-A", 2, 5, 7)
    assert (seen.cause, seen.actor) == ("counted 5 by wms", "key:wms")
    assert seen.orders == ("web-1", "web-2")
    assert await exceptions(shop, nodes=["DC-B"]) == ()
    await clean(shop)
    await give_back(shop, "1")  # two of the three were never there
    assert await shelf(shop) == (5, 4, 0)
    assert await available(shop) == 1
    assert await exceptions(shop) == ()
    (cleared,) = await exceptions(shop, cleared=True)
    assert (cleared.cleared_by, cleared.orders) == ("short pick", ())
    await clean(shop)


@pytest.mark.parametrize("cure", ["receipt", "count", "snapshot", "delta", "shipment"])
async def test_a_shortage_ends_with_what_comes_in_or_is_found(shop: AsyncEngine, cure: str) -> None:
    await take(shop, snapshot(1, 6))
    await allocated(shop, "1", 5)
    await take(shop, snapshot(2, 1))
    assert await shelf(shop) == (5, 5, 4)
    if cure == "receipt":
        await stocked(shop, {("A", "DC-A"): 7})
    elif cure == "count":
        async with transaction(shop) as conn:
            await stock.count(conn, "c", "DC-A", [("A", 8)], "ops")
    elif cure == "snapshot":
        await take(shop, snapshot(3, 8))
    elif cure == "delta":
        await take(shop, delta(3, 7, reason="found"))
    else:
        await ship(shop, "1")
        assert await shelf(shop) == (0, 0, 4)  # four left that were not there
        await take(shop, snapshot(3, 3, await now(shop)))
    assert await shelf(shop) == ((3, 0, 0) if cure == "shipment" else (8, 5, 0))
    assert await exceptions(shop) == ()
    await clean(shop)


async def test_a_short_shelf_sells_nothing_of_what_goes_back_to_the_reservation(
    shop: AsyncEngine,
) -> None:
    await take(shop, snapshot(1, 4))
    await allocated(shop, "1", 4)
    await take(shop, snapshot(2, 1))
    async with transaction(shop) as conn:
        await stock.give_back(conn, "B", "F-1", (), "reservation", "R-1", "short pick")
    assert await shelf(shop) == (1, 0, 0)
    assert await available(shop) == -3  # promised, and not there
    await clean(shop)


async def test_what_left_before_it_came_is_owed_and_not_lost(shop: AsyncEngine) -> None:
    await take(shop, delta(2, -5, reason="sold"))
    assert await shelf(shop) == (0, 0, 5)
    (seen,) = await exceptions(shop)
    assert (seen.there, seen.cause) == (-5, "sold, says wms")
    await take(shop, delta(1, 9, reason="received"))
    assert await shelf(shop) == (4, 0, 0)
    assert await exceptions(shop) == ()
    await clean(shop)


async def test_a_count_of_ours_holds_against_what_a_partner_saw_before_it(
    shop: AsyncEngine,
) -> None:
    before = await now(shop)
    await take(shop, snapshot(1, 10, before))
    async with transaction(shop) as conn:
        await stock.count(conn, "c", "DC-A", [("A", 6)], "ops")
    late = await take(shop, delta(2, 3, before), snapshot(3, 11, before))
    assert (late.applied, late.absorbed, await shelf(shop)) == (0, 2, (6, 0, 0))
    after = await now(shop)
    assert (await take(shop, delta(4, 2, after))).applied == 1
    assert await shelf(shop) == (8, 0, 0)
    await take(shop, snapshot(5, 20, await now(shop)))
    assert await shelf(shop) == (20, 0, 0)
    await clean(shop)


async def test_another_source_is_told_apart_by_time(shop: AsyncEngine) -> None:
    await take(shop, snapshot(100, 10, minute(10)))
    late = await take(shop, delta(1, -1, minute(9)), source="till")
    then = await take(shop, delta(2, -1, minute(11)), source="till")
    assert (late.absorbed, then.applied, await shelf(shop)) == (1, 1, (9, 0, 0))
    await take(shop, snapshot(101, 20, minute(10)))
    assert await shelf(shop) == (19, 0, 0)
    await take(shop, snapshot(102, 15, minute(12)))
    assert await shelf(shop) == (15, 0, 0)
    await clean(shop)


async def test_feeds_orders_and_shipments_at_once_keep_the_books_true(shop: AsyncEngine) -> None:
    await take(shop, snapshot(1, 60))

    async def one_order(number: int) -> None:
        name = f"c{number}"
        await allocated(shop, name, 1)
        await (ship(shop, name) if number % 2 else give_back(shop, name))

    async def tell(number: int) -> None:
        if number % 5:
            await take(shop, delta(1000 - number, number % 3 or -1, await now(shop)))
        else:
            await take(shop, snapshot(2 * number, 60, await now(shop)))

    for part in range(4):
        numbers = range(6 * part, 6 * part + 6)
        await asyncio.gather(*(one_order(n) for n in numbers), *(tell(n + 1) for n in numbers))
        await clean(shop)


class FeedDay(Day):
    """A random day on which partners tell of stock as well, late and twice."""

    async def step(self, conn: AsyncConnection) -> None:
        if self.chance.random() < 0.8:
            await super().step(conn)
            return
        now = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
        await feeds.take(conn, "wms", self.key("feed"), [self.report(now) for _ in range(3)], "wms")
        self.outcomes["feed"] += 1

    def report(self, now: datetime) -> Report:
        sequence = max(self.outcomes["feed"] + self.chance.randint(-4, 4), 0)
        at = now - timedelta(milliseconds=self.chance.randint(0, 300))
        where = {"node": self.chance.choice(NODES), "sku": self.chance.choice(SKUS)}
        if self.chance.random() < 0.4:
            return snapshot(sequence, self.chance.randint(0, 8), at, **where)
        return delta(sequence, self.chance.choice((-3, -1, 1, 2)), at, **where)


@pytest.mark.parametrize("seed", range(4))
async def test_a_random_day_with_feeds_leaves_the_books_true(shop: AsyncEngine, seed: int) -> None:
    day = FeedDay(seed)
    for step in range(STEPS):
        with suppress(Refused):
            async with transaction(shop) as conn:
                await day.step(conn)
        if step % 10 == 0 or step == STEPS - 1:
            await clean(shop)
    assert {"feed", "reserve", "allocate", "give_back", "ship"} <= day.outcomes.keys()
    assert await exceptions(shop, cleared=True) != ()


async def test_movements_tell_before_and_after_and_chain(shop: AsyncEngine) -> None:
    await take(shop, snapshot(1, 6))
    await allocated(shop, "1", 5)
    await take(shop, delta(2, -3, reason="damaged"))
    await give_back(shop, "1")
    async with transaction(shop) as conn:
        rows = await conn.execute(
            text(
                "SELECT cause, on_hand_before, on_hand_after, allocated_before, allocated_after"
                " FROM movements WHERE node IS NOT NULL ORDER BY id"
            )
        )
        told = [tuple(row) for row in rows]
    assert told == [
        ("counted 6 by wms", 0, 6, 0, 0),
        ("allocated", 6, 6, 0, 5),
        ("damaged, says wms", 6, 3, 5, 5),
        ("kept for what is allocated", 3, 5, 5, 5),
        ("short pick", 5, 5, 5, 0),
        ("shortage made good", 5, 3, 0, 0),
    ]


LIES = {
    "a before that was not": "UPDATE movements SET on_hand_before = on_hand_before + 1",
    "an after that is not": "UPDATE movements SET allocated_after = 7",
    "a movement that tells nothing": "UPDATE movements SET on_hand_after = NULL",
    "a shortage that nobody sees": "DELETE FROM stock_exceptions",
    "another shortage": "UPDATE stock_exceptions SET short = short + 1",
    "a shelf short of more": "UPDATE stock SET short = short + 1 WHERE short > 0",
    "another count": "UPDATE feed_positions SET on_hand = on_hand + 1",
    "another position": "UPDATE feed_positions SET sequence = 99",
    "a change that is gone": "DELETE FROM feed_deltas",
    "another change": "UPDATE feed_deltas SET change = change + 1",
}


@pytest.mark.parametrize("lie", LIES)
async def test_each_lie_about_feeds_is_found(shop: AsyncEngine, lie: str) -> None:
    await take(shop, snapshot(1, 6), delta(2, 2))
    await take(shop, snapshot(1, 6, sku="B"))
    async with transaction(shop) as conn:
        units = [Units(line_id="1", sku="B", quantity=5)]
        await network.put_node(conn, a_node("DC-A", pickup=True))
        assert not (await reservations.reserve(conn, Ask("R", "web-1", units, "DC-A"))).missing
    await take(shop, snapshot(2, 2, sku="B"))
    await clean(shop)
    async with shop.connect() as conn:  # never committed
        await conn.execute(text("SET LOCAL crossdock.repair = 'a lie'"))
        await conn.execute(text(LIES[lie]))
        assert 1 in {finding.invariant for finding in await audit.audit(conn)}
