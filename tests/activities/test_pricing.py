"""Prices from what was decided: fitted, tried, put to use, watched and turned off on real rows."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from activities import pricing
from activities.house import House
from activities.pricing import ACTOR, once
from activities.sourcing import Sourcing
from cli import sample
from domain.orders import Address, Units
from domain.sourcing.books import unpriced
from domain.sourcing.evidence import Pricing
from domain.sourcing.problem import Decision
from domain.sourcing.record import Record
from domain.sourcing.replay import replay
from storage import decisions, network, passes, prices, records, stock
from storage.database import transaction
from storage.tables import metadata, price_books, price_log
from tests.samples import a_change, an_order
from workflows.ports import SourceOrder

NEAR, FAR = (
    next(node for node in sample.network().nodes if node.code == code)
    for code in ("DC-DAL", "TPL-EDI")
)
# To Memphis either node costs about as much; Austin is near the one and far from the other.
MEMPHIS, AUSTIN = ("38103", "TN", "Memphis"), ("78701", "TX", "Austin")
SKU = next(p.sku for p in sample.network().products if p.handling_class == "standard")
PRICING = Pricing(days=28, horizon_days=7, unpriced=0, least=40)
DECIDED = 80


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """Two nodes with stock; an order from either city, decided without prices."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        await network.put_products(conn, sample.network().products)
        await network.put_rate_cards(conn, sample.network().rate_cards)
        for node, units in ((NEAR, 9), (FAR, 50)):
            await network.put_node(conn, node)
            await stock.receive(conn, "sample", node.code, [(SKU, units)], "sample", "test")
    prices._read.clear()
    yield engine
    prices._read.clear()


async def decided(engine: AsyncEngine, number: str, where: tuple[str, str, str]) -> Record:
    """An order that is placed and sourced now."""
    code, region, city = where
    ship_to = Address(city=city, region=region, postal_code=code, country="US")
    order = an_order(number, ship_to=ship_to)
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", a_change(order))
    request = SourceOrder(
        order_id=order.order_id,
        round=1,
        units=(Units(line_id="1", sku=SKU, quantity=1),),
        excluded={},
        firm_node=None,
        promise_by=None,
    )
    await Sourcing(engine, certified=1.0).optimize_source(request)
    async with transaction(engine) as conn:
        [stored] = await decisions.records(conn, order.order_id)
    return stored.record


async def remember(engine: AsyncEngine, *like: Record, count: int = DECIDED) -> None:
    """So many decisions like these, by turns, over the last four weeks."""
    now, span = datetime.now(UTC), timedelta(days=27)
    async with transaction(engine) as conn:
        for number in range(count):
            one, at = like[number % len(like)], now - span * (count - number) / count
            await decisions.store(conn, renamed(one, f"past-{number}", at))


def renamed(record: Record, order_id: str, at: datetime, sku: str = SKU) -> Record:
    was = record.decision
    demands = tuple(d.model_copy(update={"sku": sku}) for d in was.problem.demands)
    problem = was.problem.model_copy(update={"order_id": order_id, "as_of": at, "demands": demands})
    update = {"problem": problem, "decision_id": f"{order_id}/1"}
    return record.model_copy(update={"decision": was.model_copy(update=update)})


async def lived(engine: AsyncEngine) -> tuple[Record, Record]:
    """A month's decisions; the two that they are like."""
    pair = await decided(engine, "1", MEMPHIS), await decided(engine, "2", AUSTIN)
    await remember(engine, *pair)
    return pair


async def state(engine: AsyncEngine) -> prices.State:
    async with transaction(engine) as conn:
        return await prices.state(conn)


def node_of(record: Record) -> str:
    return record.decision.plan.assignments[0].node


async def test_a_book_that_pays_is_at_work_in_the_next_decision_which_names_it_and_replays(
    house: AsyncEngine,
) -> None:
    memphis, austin = await lived(house)
    assert (node_of(memphis), node_of(austin)) == (NEAR.code, NEAR.code)
    assert memphis.decision.problem.prices == ""

    made = await once(house, PRICING)
    assert made.outcome == "activated", made
    assert (await state(house)).version == made.version

    memphis, austin = await decided(house, "3", MEMPHIS), await decided(house, "4", AUSTIN)
    assert (node_of(memphis), node_of(austin)) == (FAR.code, NEAR.code)
    for record in (memphis, austin):
        assert record.decision.problem.prices == made.version
        assert record.decision.certificate is not None
        assert record.decision.certificate.agrees
        assert replay(record) is None
    assert austin.decision.plan.cost.stock > 0


async def test_the_switch_holds_from_the_next_decision_on_and_the_job_keeps_to_it(
    house: AsyncEngine,
) -> None:
    await lived(house)
    book = (await once(house, PRICING)).version
    async with transaction(house) as conn:
        await prices.off(conn, "ann", "peak week")
    dark = await decided(house, "3", MEMPHIS)
    assert (node_of(dark), dark.decision.problem.prices) == (NEAR.code, "")
    assert all(not c.stock_minor for c in dark.decision.problem.candidates)

    assert (await once(house, PRICING)).outcome == "off"
    stands = await state(house)
    assert stands.last is not None
    assert (stands.on, stands.last.actor, stands.last.note) == (False, "ann", "peak week")

    async with transaction(house) as conn:
        again = await prices.on(conn, "ann")
    assert (again.on, again.version) == (True, book)
    assert (await decided(house, "4", MEMPHIS)).decision.problem.prices == book


async def test_no_book_is_at_work_where_none_pays_or_little_is_known(house: AsyncEngine) -> None:
    assert (await once(house, PRICING)).outcome == "few"
    await lived(house)
    async with transaction(house) as conn:
        await stock.receive(conn, "more", NEAR.code, [(SKU, 500)], "receipt", "test")
    assert (await once(house, PRICING)).outcome == "none"
    stands = await state(house)
    assert (stands.on, stands.version) == (True, None)
    assert (await decided(house, "3", MEMPHIS)).decision.problem.prices == ""


async def costing(
    engine: AsyncEngine,
    like: Record,
    span: tuple[datetime, datetime],
    book: str = "",
    more: int = 0,
) -> None:
    """An order for each of 40 SKUs, by the book; units of those that it prices cost more."""
    begin, end = span
    async with transaction(engine) as conn:
        for number in range(40):
            sku = f"S-{number}"
            at = begin + (end - begin) * number / 40
            record = renamed(like, f"{sku}-{begin:%j}", at, sku)
            [sent] = record.decision.plan.assignments
            extra = number % 7 + (0 if unpriced(sku, 0.5) else more)
            cost = sent.cost.model_copy(update={"shipping": sent.cost.shipping + extra})
            plan = record.decision.plan.model_copy(
                update={"assignments": (sent.model_copy(update={"cost": cost}),), "cost": cost}
            )
            problem = record.decision.problem.model_copy(update={"prices": book})
            decision: Decision = record.decision.model_copy(
                update={"plan": plan, "problem": problem}
            )
            await decisions.store(conn, record.model_copy(update={"decision": decision}))


async def test_prices_that_do_worse_turn_themselves_off_and_say_why(
    house: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    half = PRICING.model_copy(update={"unpriced": 0.5})
    like, _ = await lived(house)
    book = (await once(house, half)).version
    now = datetime.now(UTC)
    long_ago, since = now - timedelta(days=20), now - timedelta(days=10)
    async with transaction(house) as conn:
        await conn.execute(text("TRUNCATE decisions"))
    assert book is not None
    await costing(house, like, (long_ago, since))
    await costing(house, like, (since, now), book, 150)
    assert await pricing.verdict_of(house, half, await state(house)) is None  # too soon
    await at_work_since(house, since)

    with caplog.at_level(logging.ERROR, pricing.__name__):
        made = await once(house, half)
    assert made.outcome == "worse"
    assert "prices worse" in caplog.text
    stands = await state(house)
    assert stands.last is not None
    assert (stands.on, stands.version, stands.last.actor) == (False, None, ACTOR)
    assert stands.last.note == made.note
    assert "standard error" in made.note
    assert (await once(house, half)).outcome == "off"
    async with transaction(house) as conn:
        assert (await prices.on(conn, "ann", book)).version == book


async def test_what_was_decided_by_an_earlier_book_is_not_the_time_before(
    house: AsyncEngine,
) -> None:
    half = PRICING.model_copy(update={"unpriced": 0.5})
    like, _ = await lived(house)
    book = (await once(house, half)).version
    assert book is not None
    now = datetime.now(UTC)
    long_ago, since = now - timedelta(days=20), now - timedelta(days=10)
    async with transaction(house) as conn:
        await conn.execute(text("TRUNCATE decisions"))
    await costing(house, like, (long_ago, since), "an earlier one", 150)
    await costing(house, like, (since, now), book, 150)
    await at_work_since(house, since)
    assert await pricing.verdict_of(house, half, await state(house)) is None


async def at_work_since(engine: AsyncEngine, at: datetime) -> None:
    """As if the book had been activated then."""
    async with transaction(engine) as conn:
        await conn.execute(text("ALTER TABLE price_log DISABLE TRIGGER log_grows"))
        await conn.execute(text("UPDATE price_log SET at = :at"), {"at": at})
        await conn.execute(text("ALTER TABLE price_log ENABLE TRIGGER log_grows"))


async def test_workers_make_passes_for_ever_and_no_interval_is_no_pass(house: AsyncEngine) -> None:
    await lived(house)
    async with httpx.AsyncClient() as http:
        nothing = cast("Any", None)
        given = {"client": nothing, "keyring": nothing, "http": http, "pricing": PRICING}
        idle = asyncio.create_task(pricing.run(House(engine=nothing, prices_seconds=0, **given)))
        at_work = [
            asyncio.create_task(pricing.run(House(engine=house, prices_seconds=0.05, **given)))
            for _ in range(2)
        ]
        version = None
        while version is None:
            await asyncio.sleep(0.05)
            version = (await state(house)).version
        running = [idle, *at_work]
        assert not any(task.done() for task in running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_of_two_workers_one_makes_the_pass(house: AsyncEngine) -> None:
    await lived(house)
    made = await asyncio.gather(*(once(house, PRICING, 3600) for _ in range(2)))
    assert sorted(one.outcome for one in made) == ["activated", "busy"]
    assert (await once(house, PRICING, 3600)).outcome == "busy"  # not due
    async with transaction(house) as conn:
        assert len(await prices.listed(conn)) == 1
        assert await passes.last(conn) == ()  # none of the auditor's


async def test_a_pass_that_breaks_off_leaves_the_old_book(
    house: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(house)
    old = await once(house, PRICING)

    def broken(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(prices, "settle", broken)
        with pytest.raises(RuntimeError, match="killed"):
            await once(house, PRICING.model_copy(update={"horizon_days": 9}))
    stands = await state(house)
    assert stands.version == old.version
    async with transaction(house) as conn:
        assert [kept.version for kept in await prices.listed(conn)] == [old.version]
    again = await once(house, PRICING.model_copy(update={"horizon_days": 9}))
    assert again.outcome == "activated"
    assert again.version != old.version
    assert (await state(house)).priced_since == stands.priced_since


async def test_books_and_their_history_only_grow(house: AsyncEngine) -> None:
    await lived(house)
    await once(house, PRICING)
    for table in (price_books, price_log):
        for statement in (delete(table), update(table).values(version=table.c.version)):
            with pytest.raises(DBAPIError, match="only grows"):
                async with transaction(house) as conn:
                    await conn.execute(statement)
