"""A day of orders is sourced on a real database, and every decision replays from its record."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.sourcing import Sourcing
from cli import sample
from domain.lifecycle import received
from domain.orders import DeliveryMethod, Line, Order, Units
from domain.records import Change, OrderEvent
from domain.sourcing.answers import ASKED, answers
from domain.sourcing.explain import why
from domain.sourcing.replay import replay
from domain.sourcing.solver import best_with, cheapest_plan
from domain.sourcing.steps import applied
from storage import decisions, records
from storage.database import transaction
from storage.decisions import Stored
from tests.sample_house import NETWORK, furnish
from workflows.ports import SourceOrder

ORDERS = 60


@pytest.fixture(scope="module")
async def decided(engine: AsyncEngine) -> tuple[Stored, ...]:
    """The demo's first orders, each sourced twice: the second time a node of the plan is out."""
    await furnish(engine)
    for order in _orders():
        await _source(engine, order)
    async with transaction(engine) as conn:
        found = await decisions.page(conn, limit=1000)
    return tuple(one for one in found if isinstance(one, Stored))


def _orders() -> Iterator[Order]:
    for number, demanded in enumerate(sample.demo_orders(NETWORK, ORDERS)):
        pickup = demanded.pickup_node
        yield Order(
            channel="web",
            channel_order_id=f"{number:03}",
            placed_at=datetime.now(UTC),
            currency="USD",
            lines=tuple(
                Line(line_id=str(n), sku=line.sku, quantity=line.quantity)
                for n, line in enumerate(demanded.lines)
            ),
            ship_to=demanded.ship_to,
            method=DeliveryMethod.PICKUP if pickup else DeliveryMethod.SHIP,
            pickup_node=pickup,
        )


async def _source(engine: AsyncEngine, order: Order) -> None:
    now = datetime.now(UTC)
    told = OrderEvent(type="received", summary="an order")
    async with transaction(engine) as conn:
        first = Change(key="run:1", at=now, seq=1, state=received(order), events=(told,))
        await records.accept(conn, order, "run", first)
    units = tuple(Units(line_id=x.line_id, sku=x.sku, quantity=x.quantity) for x in order.lines)
    excluded: dict[str, str] = {}
    for turn in (1, 2):
        request = SourceOrder(
            order_id=order.order_id,
            round=turn,
            units=units,
            excluded=excluded,
            firm_node=order.pickup_node,
            promise_by=order.deliver_by,
        )
        sourced = await Sourcing(engine, 0).optimize_source(request)
        excluded = {package.node: "rejected it" for package in sourced.plan.assignments[:1]}


async def test_every_decision_replays_to_the_same_bytes(decided: tuple[Stored, ...]) -> None:
    assert len(decided) == 2 * ORDERS
    differing = await asyncio.to_thread(lambda: [d for s in decided if (d := replay(s.record))])
    assert differing == []


async def test_every_record_is_small_and_shares_its_pieces(decided: tuple[Stored, ...]) -> None:
    assert max(stored.bytes for stored in decided) <= 4096
    assert len({piece for stored in decided for piece in stored.pieces}) <= 4


async def test_every_question_has_an_answer(decided: tuple[Stored, ...]) -> None:
    for stored in decided[::6]:
        told = await asyncio.to_thread(answers, stored.record)
        assert [answer.question for answer in told] == list(ASKED)
        assert all(answer.text and answer.text[-1] == "." for answer in told)


async def test_every_node_that_was_left_out_has_its_why(decided: tuple[Stored, ...]) -> None:
    for stored in decided[::12]:
        problem, used = stored.record.decision.problem, stored.record.decision.plan.assignments
        for node in {c.node for c in problem.candidates} - {package.node for package in used}:
            found = await asyncio.to_thread(why, stored.record, node)
            best = best_with(applied(problem, node, found.assumed), node)
            assert best is not None
            assert best.cost.total == found.cost_minor
            won = cheapest_plan(applied(problem, node, found.change))
            assert node in {package.node for package in won.assignments}, found.text
