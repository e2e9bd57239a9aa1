"""A quote, then the order within its time: the same plan and the same date."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.sourcing import Sourcing
from cli import sample
from domain.errors import Invalid
from domain.fulfillments import Fulfillment
from domain.lifecycle import received, split, with_lines
from domain.orders import Address, DeliveryMethod, Line, Order, Units
from domain.promises import GRACE, Promise, destination, promised_packages, units_by_sku
from domain.quoting import Cart, PickupOption, Quote, ShipOption, quote
from domain.records import Change, OrderEvent
from domain.sourcing.problem import Decision, Plan, Promised
from domain.sourcing.solver import cheapest_plan
from storage import decisions, network, promises, records, reservations, signals, snapshot, stock
from storage.asks import Ask
from storage.database import transaction
from storage.signals import Signal
from storage.tables import metadata
from tests.sample_house import NETWORK, furnish
from workflows.ports import SourceOrder

STORES = [node for node in NETWORK.nodes if node.pickup]
SHOPPERS = [order.ship_to.postal_code for order in sample.demo_orders(NETWORK, 200)]
GOODS = [product.sku for product in NETWORK.products if product.sku.startswith("NF-")]
PICKS_UP = 0.3
Offered = ShipOption | PickupOption


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncEngine:
    """The sample network with plenty in stock, committed; emptied before each test."""
    await furnish(engine)
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


async def order_it(
    engine: AsyncEngine, cart: Cart, offer: Offered, held: Promise, number: str = "1"
) -> Order:
    """The order is placed with its promise and reserved, as its workflow would."""
    lines = tuple(
        Line(line_id=f"o{unit.line_id}", sku=unit.sku, quantity=unit.quantity)
        for unit in cart.lines
    )
    pickup = isinstance(offer, PickupOption)
    order = Order(
        channel="api",
        channel_order_id=f"{held.token}-{number}",
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
        ask = Ask(reservation, order.order_id, units, order.pickup_node)
        answer = await reservations.reserve(conn, ask)
    assert not answer.missing
    return order


async def source(
    engine: AsyncEngine, order: Order, round_: int = 1, *, certified: float = 0
) -> Plan:
    """The step of the workflow itself."""
    request = SourceOrder(
        order_id=order.order_id,
        round=round_,
        units=tuple(Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in order.lines),
        excluded={},
        firm_node=order.pickup_node,
        promise_by=order.deliver_by,
    )
    return (await Sourcing(engine, certified).optimize_source(request)).plan


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
    """One to four lines for a shopper somewhere; one in four lives by a store that has some."""
    goods, home = GOODS, chance.choice(SHOPPERS)
    if chance.random() < 1 / 4:
        store = chance.choice(STORES)
        goods, home = (
            [sku for sku in GOODS if (sku, store.code) in NETWORK.stock],
            store.postal_code,
        )
    skus = chance.sample(goods, chance.choices((1, 2, 3, 4), (55, 25, 12, 8))[0])
    return Cart(
        lines=tuple(
            Units(line_id=str(i), sku=sku, quantity=chance.choices((1, 2, 3), (85, 12, 3))[0])
            for i, sku in enumerate(skus, start=1)
        ),
        ship_to=Address(postal_code=home, country="US"),
    )


def as_planned(offer: Offered) -> list[object]:
    """All of a plan but the names of its lines."""
    return [(p.node, p.service, p.carrier, p.ship_by, p.deliver_by, p.cost) for p in offer.packages]


@pytest.mark.parametrize("carts", [40, pytest.param(1000, marks=pytest.mark.long)])
async def test_random_carts_get_the_plan_and_the_date_that_were_quoted(
    house: AsyncEngine, carts: int
) -> None:
    chance = Random(31)  # noqa: S311 - carts, not secrets
    ordered = pickups = splits = 0
    while ordered < carts:
        cart = a_cart(chance)
        made = await ask(house, cart)
        offers: list[Offered] = [*made.ship, *(o for o in made.pickup if o.has == "all")]
        if not offers:  # sold out by those before
            continue
        offer = offers[-1] if chance.random() < PICKS_UP else chance.choice(offers)
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
    assert pickups > carts / 20
    assert splits > 0


def order_units(order: Order) -> list[Units]:
    return [Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in order.lines]


def shared(order: Order, shares: tuple[Fulfillment, ...]) -> list[Units]:
    return [
        Units(line_id=lq.line_id, sku=share.skus[lq.line_id], quantity=lq.quantity)
        for share in shares
        for lq in share.lines
    ]


DALLAS = Address(postal_code="75201", country="US")
ONE_BAG = Cart(
    lines=(Units(line_id="1", sku="SCN-REJECT", quantity=2),),
    ship_to=DALLAS,
    methods=(DeliveryMethod.SHIP,),
)


async def a_promise(engine: AsyncEngine) -> tuple[ShipOption, Promise, Order]:
    """Two bags from the node in Dallas, promised and reserved."""
    offer = (await ask(engine, ONE_BAG)).ship[0]
    held = await promise(engine, ONE_BAG, offer, "bag")
    return offer, held, await order_it(engine, ONE_BAG, offer, held)


async def test_a_promised_plan_says_so_in_its_record(house: AsyncEngine) -> None:
    _, held, order = await a_promise(house)
    plan = await source(house, order)
    record = await decided(house, order)

    assert record.promise == Promised(token=held.token, kept=True)
    assert (record.plan, record.solver, record.proof) == (plan, "promise", "feasible")
    assert set(record.eliminated) == {n.code for n in NETWORK.nodes} - {plan.assignments[0].node}
    assert record.eliminated["MF-BOS"] == "no stock of any line"


@pytest.mark.parametrize("what", ["stock", "offline", "capacity", "signal"])
async def test_a_plan_that_cannot_be_kept_is_decided_anew_by_the_promised_date(
    house: AsyncEngine, what: str
) -> None:
    offer, held, order = await a_promise(house)
    [node] = offer.nodes
    reason = await _spoil(house, node, what)
    plan = await source(house, order, certified=1)
    record = await decided(house, order)

    assert record.promise == Promised(token=held.token, kept=False, reason=f"{node}: {reason}")
    assert record.problem.promise_by == held.deliver_by
    assert record.solver == "exact-kernel"
    assert record.certificate
    assert (record.certificate.solver, record.certificate.agrees) == ("ortools-cp-sat", True)
    assert node not in {a.node for a in plan.assignments}
    assert plan.assignments


async def _spoil(engine: AsyncEngine, node: str, what: str) -> str:
    """Another order has its last units, it goes down, its day is full, it pauses. The reason."""
    async with transaction(engine) as conn:
        if what == "offline":
            await stock.set_node_status(conn, node, "offline", "ops", "power cut")
            return "offline"
        if what == "capacity":
            known = await network.node(conn, node)
            assert known is not None
            await network.put_node(conn, known.model_copy(update={"capacity_per_day": 0}))
            return "no capacity left today"
        if what == "signal":
            until = datetime.now(UTC) + timedelta(hours=1)
            pause = Signal(kind="offline_for_sourcing", until=until, reason="flood")
            await signals.put(conn, node, pause, "ann")
            return f"takes no new orders until {until:%Y-%m-%d %H:%M} UTC: flood"
        await stock.count(conn, "c", node, [("SCN-REJECT", 1)], "ann")
        return "1 of 2 units of SCN-REJECT are left"


async def test_what_is_left_of_an_order_is_decided_without_its_promise(house: AsyncEngine) -> None:
    _, _, order = await a_promise(house)
    [line] = order.lines
    rest = order.model_copy(update={"lines": (line.model_copy(update={"quantity": 1}),)})
    await source(house, rest)

    assert (await decided(house, order)).promise is None


async def test_an_order_that_waited_past_its_cut_off_is_decided_anew(house: AsyncEngine) -> None:
    _, held, order = await a_promise(house)
    passed = datetime.now(UTC) - timedelta(seconds=2)
    async with transaction(house) as conn:
        body = held.model_copy(update={"cutoff": passed})
        row = metadata.tables["promises"]
        await conn.execute(row.update().values(body=body, claimed_at=passed - GRACE))
    await source(house, order)
    record = await decided(house, order)

    assert record.promise is not None
    assert record.promise.reason == f"the cut-off passed at {passed:%Y-%m-%d %H:%M:%S} UTC"


async def test_an_order_in_time_keeps_its_plan_some_seconds_past_the_cut_off(
    house: AsyncEngine,
) -> None:
    _, held, order = await a_promise(house)
    passed = datetime.now(UTC) - timedelta(seconds=2)
    async with transaction(house) as conn:
        body = held.model_copy(update={"cutoff": passed})
        row = metadata.tables["promises"]
        await conn.execute(row.update().values(body=body, claimed_at=passed - timedelta(seconds=1)))
    await source(house, order)

    assert (await decided(house, order)).promise == Promised(token=held.token, kept=True)


async def test_of_many_orders_with_one_token_one_has_it(house: AsyncEngine) -> None:
    offer = (await ask(house, ONE_BAG)).ship[0]
    held = await promise(house, ONE_BAG, offer, "bag")
    claims = (order_it(house, ONE_BAG, offer, held, str(n)) for n in range(8))
    answers = await asyncio.gather(*claims, return_exceptions=True)

    refusals = [answer for answer in answers if isinstance(answer, Invalid)]
    assert len(refusals) == 7
    assert {refusal.code for refusal in refusals} == {"promise_used"}
