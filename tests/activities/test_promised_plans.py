"""A quote, then the order within its time: the same plan and the same date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.sourcing import Sourcing
from cli import sample
from domain.fulfillments import Fulfillment
from domain.lifecycle import received, split, with_lines
from domain.orders import Address, DeliveryMethod, Line, Order, Units
from domain.promises import Promise, destination, promised_packages, units_by_sku
from domain.quoting import Cart, PickupOption, Quote, ShipOption, quote
from domain.records import Change, OrderEvent
from domain.sourcing.problem import Decision, Plan
from domain.sourcing.solver import cheapest_plan
from storage import decisions, network, promises, records, snapshot, stock
from storage.database import transaction
from storage.tables import metadata
from workflows.ports import SourceOrder

NETWORK = sample.network()
GOODS = [product.sku for product in NETWORK.products if product.sku.startswith("NF-")]
CARTS = 1000
Offered = ShipOption | PickupOption


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The sample network with plenty in stock, committed; emptied before each test."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for node in NETWORK.nodes:
            await network.put_node(conn, node)
        await network.put_products(conn, NETWORK.products)
        await network.put_rate_cards(conn, NETWORK.rate_cards)
        for node in NETWORK.nodes:
            lines = [(sku, units) for (sku, at), units in NETWORK.stock.items() if at == node.code]
            if lines := [line for line in lines if line[1]]:
                await stock.receive(conn, "sample", node.code, lines, "sample", "test")
    return engine


async def ask(engine: AsyncEngine, cart: Cart, *, at: datetime | None = None) -> Quote:
    """A quote, as the API makes it."""
    skus = sorted({line.sku for line in cart.lines})
    async with transaction(engine) as conn:
        now = await snapshot.sourcing(conn, skus)
        sellable = await stock.available(conn, skus)
    as_of = at or datetime.now(UTC)
    return quote(now, cart, sellable=sellable, as_of=as_of, solve=cheapest_plan)


async def promise(engine: AsyncEngine, cart: Cart, offer: Offered, name: str) -> Promise:
    """The offer, held for a quarter of an hour or until its cut-off."""
    now = datetime.now(UTC)
    made = Promise(
        token=f"pr_{name}",
        channel="api",
        method=offer.method,
        destination=destination(cart.ship_to),
        units=units_by_sku(cart.lines),
        packages=promised_packages(offer.packages, {u.line_id: u.sku for u in cart.lines}),
        deliver_by=offer.deliver_latest if isinstance(offer, ShipOption) else offer.ready_by,
        cutoff=offer.cutoff.at,
        quoted_at=now,
        expires_at=min(now + timedelta(minutes=15), offer.cutoff.at),
    )
    async with transaction(engine) as conn:
        await promises.keep(conn, [made], now)
    return made


async def order_it(engine: AsyncEngine, cart: Cart, offer: Offered, held: Promise) -> Order:
    """The order is placed with its promise and reserved, as its workflow would."""
    lines = tuple(
        Line(line_id=f"o{unit.line_id}", sku=unit.sku, quantity=unit.quantity)
        for unit in cart.lines
    )
    pickup = isinstance(offer, PickupOption)
    order = Order(
        channel="api",
        channel_order_id=held.token,
        placed_at=datetime.now(UTC),
        currency="USD",
        lines=lines,
        ship_to=cart.ship_to,
        method=DeliveryMethod.PICKUP if pickup else DeliveryMethod.SHIP,
        pickup_node=offer.node if isinstance(offer, PickupOption) else None,
        promise_token=held.token,
    )
    async with transaction(engine) as conn:
        now = datetime.now(UTC)
        claimed = await promises.claim(conn, order, held.units, now)
        order = order.model_copy(update={"deliver_by": claimed.deliver_by})
        state = with_lines(received(order), order, {line.line_id: line.sku for line in lines})
        told = OrderEvent(type="received", summary="an order")
        first = Change(key="run:1", at=now, seq=1, state=state, events=(told,))
        await records.accept(conn, order, "run", first)
        units = [Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in lines]
        reservation = f"{order.order_id}-R1"
        short = await stock.reserve(conn, reservation, order.order_id, units, order.pickup_node)
    assert short == {}
    return order


async def source(engine: AsyncEngine, order: Order, round_: int = 1) -> Plan:
    """The step of the workflow itself."""
    request = SourceOrder(
        order_id=order.order_id,
        round=round_,
        units=tuple(Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in order.lines),
        excluded={},
        firm_node=order.pickup_node,
        promise_by=order.deliver_by,
    )
    return (await Sourcing(engine).optimize_source(request)).plan


async def allocate(engine: AsyncEngine, order: Order, plan: Plan) -> tuple[Fulfillment, ...]:
    skus = {line.line_id: line.sku for line in order.lines}
    shares = split(with_lines(received(order), order, skus), order, plan.assignments)
    async with transaction(engine) as conn:
        key, reservation = f"{order.order_id}/1", f"{order.order_id}-R1"
        assert await stock.allocate(conn, key, reservation, shares) == {}
    return shares


async def decided(engine: AsyncEngine, order: Order) -> Decision:
    async with transaction(engine) as conn:
        return (await decisions.of_order(conn, order.order_id))[-1]


def a_cart(chance: Random) -> Cart:
    skus = chance.sample(GOODS, chance.choices((1, 2, 3, 4), (55, 25, 12, 8))[0])
    return Cart(
        lines=tuple(
            Units(line_id=str(i), sku=sku, quantity=chance.choices((1, 2, 3), (85, 12, 3))[0])
            for i, sku in enumerate(skus, start=1)
        ),
        ship_to=Address(postal_code=chance.choice(sample._SHOPPERS), country="US"),
    )


def as_planned(offer: Offered) -> list[object]:
    """All of a plan but the names of its lines."""
    return [(p.node, p.service, p.carrier, p.ship_by, p.deliver_by, p.cost) for p in offer.packages]


async def test_1000_random_carts_get_the_plan_and_the_date_that_were_quoted(
    house: AsyncEngine,
) -> None:
    chance = Random(31)
    ordered = pickups = splits = 0
    while ordered < CARTS:
        cart = a_cart(chance)
        made = await ask(house, cart)
        offers: list[Offered] = [*made.ship, *(o for o in made.pickup if o.has == "all")]
        if not offers:  # sold out by those before
            continue
        offer = chance.choice(offers)
        held = await promise(house, cart, offer, str(ordered))
        order = await order_it(house, cart, offer, held)
        plan = await source(house, order)
        shares = await allocate(house, order, plan)

        got = [
            (a.node, a.service, a.carrier, a.ship_by, a.deliver_by, a.cost)
            for a in plan.assignments
        ]
        assert got == as_planned(offer)
        assert max(share.deliver_by for share in shares) == held.deliver_by == order.deliver_by
        assert units_by_sku(order_units(order)) == held.units == units_by_sku(shared(order, shares))
        ordered += 1
        pickups += order.method is DeliveryMethod.PICKUP
        splits += len(shares) > 1
    assert pickups > 0
    assert splits > 0


def order_units(order: Order) -> list[Units]:
    return [Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in order.lines]


def shared(order: Order, shares: tuple[Fulfillment, ...]) -> list[Units]:
    return [
        Units(line_id=lq.line_id, sku=share.skus[lq.line_id], quantity=lq.quantity)
        for share in shares
        for lq in share.lines
    ]
