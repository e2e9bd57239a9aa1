"""Three nodes, their rules and their orders: sourced by the workflow's own step, on real rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.sourcing import Sourcing
from domain.network import NodeKind, Product, RateCard, Zone
from domain.orders import Address, Line, Order, Units
from domain.promises import Promise, PromisedPackage, destination
from domain.rules.sets import RuleSet
from domain.sourcing.problem import Decision, Plan
from domain.sourcing.replay import replay
from storage import decisions, network, promises, records, rules, snapshot, stock
from storage.database import transaction
from tests.domain.rules.written import a_rule
from tests.samples import a_change, a_node, an_order
from workflows.ports import Sourced, SourceOrder

# Dallas is near, the store in Chicago is dearer, Seattle is dearest.
PLACES = {
    "DAL": {"postal_code": "75201", "latitude": 32.78, "longitude": -96.8},
    "CHI": {
        "postal_code": "60611",
        "latitude": 41.89,
        "longitude": -87.62,
        "kind": NodeKind.STORE,
        "pickup": True,
    },
    "SEA": {"postal_code": "98101", "latitude": 47.61, "longitude": -122.33},
}
ZONES = tuple(
    Zone(max_miles=miles, base_minor=base, per_lb_minor=20, transit_days=days)
    for miles, base, days in ((300, 500, 1), (1000, 800, 2), (5000, 1200, 4))
)
SHELVES = {"DAL": {"mug": 20}, "CHI": {"mug": 20, "tee": 20}, "SEA": {"mug": 20, "bag": 2}}
FAR = a_rule("near-by", "max_distance", value=300)
NOT_DAL = a_rule("not-dallas", "exclude", 'node.code == "DAL"')
DUE = timedelta(days=9)


@pytest.fixture(scope="module")
async def places(engine: AsyncEngine) -> AsyncEngine:
    """Three nodes with some stock, which no decision takes."""
    async with transaction(engine) as conn:
        for code, place in PLACES.items():
            await network.put_node(conn, a_node(code, **place))
            shelf = list(SHELVES[code].items())
            await stock.receive(conn, code, code, shelf, "receipt", "test")
        goods = [Product(sku=sku, title=sku, weight_g=400) for sku in ("mug", "tee", "bag")]
        await network.put_products(conn, goods)
        await network.put_rate_cards(conn, [RateCard(service="ground", carrier="ups", zones=ZONES)])
    return engine


@pytest.fixture
async def town(places: AsyncEngine) -> AsyncEngine:
    """Without rules and without orders; what a test leaves is committed."""
    async with transaction(places) as conn:
        await conn.execute(
            text("TRUNCATE rule_sets, rule_set_log, orders, promises, decisions CASCADE")
        )
    return places


async def hold(engine: AsyncEngine, said: Mapping[str, Any]) -> str:
    """Save the set and have it hold; its name and version."""
    made = RuleSet.model_validate(said)
    async with transaction(engine) as conn:
        kept = await rules.save(conn, made, "ann")
        kept = await rules.activate(conn, made.name, kept.version, "ann")
    return f"{made.name}@{kept.version}"


async def place(
    engine: AsyncEngine, number: str = "1", asks: Mapping[str, int] | None = None, **changes: Any
) -> Order:
    """An order for Dallas, of a mug unless told otherwise, as its workflow has accepted it."""
    lines = tuple(
        Line(line_id=sku, sku=sku, quantity=units, unit_price_minor=1000)
        for sku, units in (asks or {"mug": 1}).items()
    )
    order = an_order(
        number, lines=lines, ship_to=Address(postal_code="75202", country="US"), **changes
    )
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", a_change(order))
    return order


async def ask(
    engine: AsyncEngine, order: Order, round_: int = 1, *, certified: float = 1, **more: Any
) -> Sourced:
    """The step of the workflow itself."""
    request = SourceOrder(
        order_id=order.order_id,
        round=round_,
        units=tuple(Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in order.lines),
        excluded={},
        firm_node=order.pickup_node,
        promise_by=order.deliver_by,
    )
    asked = request.model_copy(update=more)
    return await Sourcing(engine, certified).optimize_source(asked)


async def kept(engine: AsyncEngine, order: Order) -> tuple[Decision, ...]:
    """The order's decisions, each of which comes out the same again and stands another solver."""
    async with transaction(engine) as conn:
        found = await decisions.records(conn, order.order_id)
    assert [replay(stored.record) for stored in found] == [None] * len(found)
    made = tuple(stored.record.decision for stored in found)
    assert all(one.certificate is None or one.certificate.agrees for one in made)
    return made


async def decided(engine: AsyncEngine, order: Order, round_: int = 1, **more: Any) -> Decision:
    said = await ask(engine, order, round_, **more)
    made = (await kept(engine, order))[-1]
    assert (said.plan, said.outcome, said.review) == (made.plan, made.outcome, made.review)
    return made


def by(decision: Decision) -> str:
    return decision.problem.policy.rules


def sent(plan: Plan) -> dict[str, dict[str, int]]:
    return {a.node: {line.line_id: line.quantity for line in a.lines} for a in plan.assignments}


async def go_on(engine: AsyncEngine, order: Order, seq: int, **changes: Any) -> None:
    """A step of the order's record: its fulfillments, or one of them and how far it is."""
    if share := changes.pop("of", None):
        moved = share.model_copy(update={"status": changes.pop("status")})
        changes["fulfillments"] = (moved,)
    change = a_change(order, seq, **changes)
    async with transaction(engine) as conn:
        await records.apply(conn, change.model_copy(update={"base": f"run:{seq - 1}"}))


async def promised(engine: AsyncEngine, order: Order) -> Promise:
    """The plan that the order has a token for: its mug from Dallas, claimed a moment ago."""
    now = datetime.now(UTC)
    async with transaction(engine) as conn:
        seen = await snapshot.sourcing(conn, ["mug"], order.channel)
        package = PromisedPackage(
            node="DAL",
            service="ground",
            carrier=seen.rate_cards[0].carrier,
            units={"mug": 1},
            ship_by=now + timedelta(days=1),
            deliver_by=now + timedelta(days=3),
            cost={"shipping": 500},
        )
        made = Promise(
            token=order.promise_token,
            channel=order.channel,
            method=order.method,
            destination=destination(order.ship_to),
            units={"mug": 1},
            packages=(package,),
            deliver_by=package.deliver_by,
            cutoff=now + timedelta(hours=1),
            quoted_at=now,
            expires_at=now + timedelta(minutes=15),
        )
        await promises.keep(conn, [made], now)
        return await promises.claim(conn, order, {"mug": 1}, now)
