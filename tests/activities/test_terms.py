"""Orders decided on one moment are allocated one after the other, and hard rules still hold."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.batches import decide_due
from activities.reoptimising import reoptimise
from domain.orders import DeliveryMethod
from domain.stock_rules import Rule, RuleKind
from storage import cooling, network, stock_rules
from storage.database import transaction
from tests.activities.lives import AUSTIN, DEAR, NEAR, Life, housed, placed, receive
from tests.domain.rules.written import a_rule

KEEP, CALM = a_rule("keep-two", "min_stock", value=2), a_rule("calm", "max_orders", value=1)
STAY, CROWDED = "its last units stay there", "too many open orders"
LOSES = pytest.mark.parametrize(("rule", "why"), [(KEEP, STAY), (CALM, CROWDED)])


async def two(engine: AsyncEngine, **changes: Any) -> tuple[Life, Life]:
    lives = Life(engine, "1", AUSTIN, **changes), Life(engine, "2", AUSTIN, **changes)
    for life in lives:
        await life.reserved()
    return lives


async def decide_waiting(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        assert await cooling.hasten(conn) == 1
    assert await decide_due(engine, 1.0) == 1


@LOSES
async def test_who_comes_second_is_refused_and_sourced_anew(
    engine: AsyncEngine, rule: dict[str, Any], why: str
) -> None:
    house = await housed(engine, {NEAR.code: 3, DEAR.code: 3}, rules=[rule])
    first, second = await two(house)
    plans = [await life.decided() for life in (first, second)]
    assert [p.plan.assignments[0].node for p in plans] == [NEAR.code, NEAR.code]

    assert await first.allocated(plans[0]) == {}
    assert await second.allocated(plans[1]) == {NEAR.code: why}
    assert await second.sourced()
    assert (first.waiting.node, second.waiting.node) == (NEAR.code, DEAR.code)


async def test_what_must_stay_is_beside_the_safety_stock(engine: AsyncEngine) -> None:
    house = await housed(engine, {NEAR.code: 4, DEAR.code: 3}, rules=[KEEP])
    async with transaction(house) as conn:
        one = Rule(kind=RuleKind.SAFETY, node=NEAR.code, units=1)
        await stock_rules.put(conn, [one], "ann")
    first, second = await two(house)
    plans = [await life.decided() for life in (first, second)]

    assert await first.allocated(plans[0]) == {}
    assert await second.allocated(plans[1]) == {NEAR.code: STAY}


@pytest.mark.parametrize("rule", [KEEP, CALM])
async def test_a_soft_rule_that_was_relaxed_refuses_nobody(
    engine: AsyncEngine, rule: dict[str, Any]
) -> None:
    house = await housed(engine, {NEAR.code: 3}, rules=[rule | {"hard": False}])
    await placed(house, AUSTIN)
    first, second = Life(house, "8", AUSTIN), Life(house, "9", AUSTIN)
    for life in (first, second):
        await life.reserved()
    plans = [await life.decided() for life in (first, second)]

    assert [p.terms for p in plans] == [{}, {}]
    assert [await first.allocated(plans[0]), await second.allocated(plans[1])] == [{}, {}]


@LOSES
async def test_an_order_of_a_batch_is_refused_as_any_other(
    engine: AsyncEngine, rule: dict[str, Any], why: str
) -> None:
    house = await housed(engine, {NEAR.code: 3, DEAR.code: 3}, rules=[rule])
    patient, quick = await two(house)
    assert (await patient.decided("some/pass")).wait_until is not None
    await decide_waiting(house)
    assert await quick.sourced()

    batched = await patient.decided()
    assert await patient.allocated(batched) == {NEAR.code: why}


@LOSES
async def test_an_order_that_moves_is_refused_as_any_other(
    engine: AsyncEngine, rule: dict[str, Any], why: str
) -> None:
    house = await housed(engine, {DEAR.code: 3}, rules=[rule])
    (life,) = await placed(house, AUSTIN)
    await receive(house, NEAR.code, 3)
    assert (await reoptimise(house, dry_run=False)).moved == 1
    await life.taken_back()
    assert (await life.decided("again/1")).wait_until is not None
    await decide_waiting(house)
    quick = Life(house, "9", AUSTIN)
    await quick.reserved()
    assert await quick.sourced()

    moves = await life.decided()
    assert moves.plan.assignments[0].node == NEAR.code
    assert await life.allocated(moves) == {NEAR.code: why}


async def test_pickups_count_too(engine: AsyncEngine) -> None:
    house = await housed(engine, {NEAR.code: 3}, rules=[CALM])
    async with transaction(house) as conn:
        await network.put_node(conn, NEAR.model_copy(update={"pickup": True}))
    first, second = await two(house, method=DeliveryMethod.PICKUP, pickup_node=NEAR.code)
    plans = [await life.decided() for life in (first, second)]

    assert await first.allocated(plans[0]) == {}
    assert await second.allocated(plans[1]) == {NEAR.code: CROWDED}
