"""Orders that cool down: they wait, and are sourced together by real statements on real rows."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.batches import decide_due
from activities.sourcing import Sourcing
from cli import sample
from domain.orders import Address, Order, Units
from domain.sourcing.together import TAKEN
from storage import cooling, decisions, network, records, rules, stock
from storage.database import transaction
from storage.tables import inbox, metadata
from tests.domain.rules.written import a_profile
from tests.domain.rules.written import rules as a_set
from tests.samples import a_change, an_order
from workflows.ports import SourceOrder

CARDS = sample.network().rate_cards
NEAR, DEAR = (
    next(node for node in sample.network().nodes if node.code == code)
    for code in ("DC-DAL", "TPL-EDI")
)
MEMPHIS, AUSTIN = ("38103", "TN", "Memphis"), ("78701", "TX", "Austin")


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncEngine:
    """Two nodes, the near one with a single unit, and rules by which orders wait for others."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    patient = a_profile("patient", cool_down=timedelta(hours=1))
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        await network.put_products(conn, sample.network().products)
        await network.put_rate_cards(conn, CARDS)
        for node, units in ((NEAR, 1), (DEAR, 5)):
            await network.put_node(conn, node)
            await stock.receive(conn, "sample", node.code, [(SKU, units)], "sample", "test")
        await rules.save(conn, a_set("web", patient), "ann")
        await rules.activate(conn, "web", 1, "bob", "")
    return engine


SKU = next(p.sku for p in sample.network().products if p.handling_class == "standard")


async def placed(engine: AsyncEngine, number: str, where: tuple[str, str, str]) -> SourceOrder:
    code, region, city = where
    ship_to = Address(
        name="Ann", line1="1 Main St", city=city, region=region, postal_code=code, country="US"
    )
    order: Order = an_order(number, ship_to=ship_to)
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", a_change(order))
    return SourceOrder(
        order_id=order.order_id,
        round=1,
        units=(Units(line_id="1", sku=SKU, quantity=1),),
        excluded={},
        firm_node=None,
        promise_by=None,
    )


async def hasten(engine: AsyncEngine) -> int:
    async with transaction(engine) as conn:
        return await cooling.hasten(conn)


async def test_orders_wait_and_the_last_unit_goes_to_who_would_pay_more_without_it(
    house: AsyncEngine,
) -> None:
    source = Sourcing(house).optimize_source
    first, second = await placed(house, "1", MEMPHIS), await placed(house, "2", AUSTIN)
    for request in (first, second):
        waits = (await source(request)).wait_until
        assert waits is not None
        assert waits > datetime.now(UTC)
    assert await decide_due(house) == 0

    assert await hasten(house) == 2
    assert await decide_due(house, share=1.0) == 2
    assert await decide_due(house) == 0

    sent = {r.order_id: await source(r) for r in (first, second)}
    assert {o: s.plan.assignments[0].node for o, s in sent.items()} == {
        "web-1": DEAR.code,
        "web-2": NEAR.code,
    }
    async with transaction(house) as conn:
        [record] = await decisions.of_order(conn, "web-1")
        [other] = await decisions.of_order(conn, "web-2")
        told = set((await conn.execute(select(inbox.c.order_id))).scalars())
    assert record.batch == other.batch
    assert record.batch.startswith("web@1/patient/")
    assert record.eliminated[NEAR.code] == TAKEN
    assert all(d.certificate and d.certificate.agrees for d in (record, other))
    assert told == {"web-1", "web-2"}


async def test_an_order_that_waits_no_longer_goes_alone_and_is_in_no_batch(
    house: AsyncEngine,
) -> None:
    source = Sourcing(house).optimize_source
    request = await placed(house, "1", MEMPHIS)
    await source(request)
    alone = await source(request.model_copy(update={"alone": True}))
    assert alone.plan.assignments[0].node == NEAR.code
    assert await hasten(house) == 0


async def test_a_batch_that_was_killed_is_decided_by_the_next_and_once(house: AsyncEngine) -> None:
    source = Sourcing(house).optimize_source
    for number in ("1", "2"):
        await source(await placed(house, number, AUSTIN))
    await hasten(house)
    async with transaction(house) as conn:
        assert len(await cooling.claim(conn)) == 2  # and whoever claimed them is gone
    assert await decide_due(house) == 0
    async with transaction(house) as conn:
        await conn.execute(text("UPDATE cooling SET claimed_until = now() - interval '1 second'"))
    assert await decide_due(house) == 2
    async with transaction(house) as conn:
        made = [d for o in ("web-1", "web-2") for d in await decisions.of_order(conn, o)]
    assert sorted(d.plan.assignments[0].node for d in made) == sorted([NEAR.code, DEAR.code])
