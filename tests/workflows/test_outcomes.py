"""What rules make of a plan, and of units that found no node."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from domain.orders import Line, OrderStatus
from domain.sourcing.problem import Outcome
from tests.workflows.story import Play
from tests.world import World
from workflows import ports

MUG_AND_TEE = (
    Line(line_id="1", sku="mug", quantity=2, unit_price_minor=500),
    Line(line_id="2", sku="tee", quantity=1, unit_price_minor=500),
)


def nothing_found(outcome: Outcome) -> World:
    """Its only node refuses, and rules say what then."""
    world = World({"A": {"mug": 2}})
    world.manners["A"] = "rejects"
    world.outcome = outcome
    return world


async def test_a_plan_that_rules_want_seen_leaves_once_a_person_approves(play: Play) -> None:
    world = World()
    world.review = True
    async with play(world) as story:
        await story.submit()
        state = await story.until("review")
        assert "A sends 2" in state.attention[0].message
        assert world.seen["allocate"] == world.seen["dispatch"] == 0
        await story.resolve("retry")
        await story.reached("optimize_source", 2)
        await story.until("review")
        await story.resolve("approve")
        state = await story.delivered()
    assert state.status is OrderStatus.COMPLETED
    assert state.round == 2
    assert world.problems() == []


async def test_an_order_whose_plan_waits_for_approval_can_be_cancelled(play: Play) -> None:
    world = World()
    world.review = True
    async with play(world) as story:
        await story.submit()
        await story.until("review")
        await story.cancel()
        assert (await story.end()).status is OrderStatus.CANCELLED
    assert world.problems() == []


async def test_what_is_queued_is_found_by_its_queue_and_waits_for_a_person(play: Play) -> None:
    world = nothing_found(Outcome(then="queue", queue="scarce"))
    async with play(world) as story:
        await story.submit()
        state = await story.until("queue:scarce")
        assert state.attention[0].code == "no_node"
        world.receive("B", "mug", 2)
        await story.resolve("retry")
        await story.until("F2:submitted")
        await story.deliver(2)
        assert (await story.end()).status is OrderStatus.COMPLETED
    assert world.problems() == []


@pytest.mark.parametrize("then", ["queue", "backorder", "cancel"])
async def test_what_found_no_node_for_so_long_is_cancelled(
    play: Play, then: Literal["queue", "backorder", "cancel"]
) -> None:
    queue = "scarce" if then == "queue" else ""
    world = nothing_found(Outcome(then=then, queue=queue, cancel_after=timedelta(days=2)))
    async with play(world) as story:
        await story.submit()
        await story.reached("optimize_source", 2)
        assert not (await story.state()).cancel
        await story.later(timedelta(days=3))
        state = await story.end()
    assert state.status is OrderStatus.CANCELLED
    assert f"{story.id}:cancelled" in world.messages
    assert world.problems() == []


@pytest.mark.parametrize("then", ["queue", "backorder"])
async def test_goods_that_help_nobody_do_not_begin_the_wait_anew(
    play: Play, then: Literal["queue", "backorder"]
) -> None:
    world = nothing_found(Outcome(then=then, cancel_after=timedelta(days=2)))
    async with play(world) as story:
        await story.submit()
        await story.reached("optimize_source", 2)
        if then == "backorder":
            await story.recorded("short")
        else:
            await story.until("no_node")
        await story.later(timedelta(days=1.5))
        await story.supply()
        await story.reached("optimize_source", 3)
        await story.later(timedelta(days=1))
        state = await story.end()
    assert state.status is OrderStatus.CANCELLED
    assert world.problems() == []


@pytest.mark.parametrize("then", ["", "queue", "backorder"])
async def test_a_node_that_said_no_is_asked_again_after_a_rest_by_itself(
    play: Play, then: Literal["", "queue", "backorder"]
) -> None:
    world = nothing_found(Outcome(then=then, queue="scarce" if then == "queue" else ""))
    world.retry_after = timedelta(days=3)
    async with play(world) as story:
        await story.submit()
        state = await story.recorded("short" if then == "backorder" else "no_node")
        assert state.excluded.keys() == state.excluded_at.keys() == {"A"}
        end = state.excluded_at["A"] + world.retry_after
        if then != "backorder":
            told = f"A node may be asked again on {end:%Y-%m-%d %H:%M} UTC."
            assert told in state.attention[0].message
        world.manners.clear()
        await story.just_before(end, timedelta(minutes=5))
        await story.supply()  # whatever has it decide anew, the node rests
        await story.reached("optimize_source", 3)
        await story.recorded("short" if then == "backorder" else "no_node")
        assert world.seen["dispatch"] == 1
        await story.just_before(end, timedelta(seconds=-1))
        await story.reached("dispatch", 2)
        state = await story.delivered(2)
    assert [f.node for f in state.fulfillments] == ["A", "A"]
    assert (state.status, state.attention) == (OrderStatus.COMPLETED, ())
    assert world.problems() == []


async def test_a_node_that_keeps_saying_no_rests_each_time_and_the_wait_ends_in_time(
    play: Play,
) -> None:
    world = nothing_found(Outcome(then="queue", cancel_after=timedelta(days=5)))
    world.retry_after = timedelta(days=3)
    async with play(world) as story:
        await story.submit()
        state = await story.recorded("no_node")
        first = state.excluded_at["A"]
        await story.just_before(first + timedelta(days=3), timedelta(seconds=-1))
        await story.reached("optimize_source", 4)
        state = await story.recorded("no_node")
        assert state.excluded_at["A"] >= first + timedelta(days=3)
        await story.later(timedelta(days=2, minutes=1))
        state = await asyncio.wait_for(story.end(), 40)
    assert (state.status, len(state.fulfillments)) == (OrderStatus.CANCELLED, 2)
    assert world.problems() == []


async def test_a_node_that_went_down_is_asked_afresh_after_its_rest(play: Play) -> None:
    world = World({"A": {"mug": 2}})
    world.retry_after = timedelta(days=3)
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.down("A")
        state = await story.recorded("no_node")
        await story.just_before(state.excluded_at["A"] + world.retry_after, timedelta(seconds=-1))
        state = await story.delivered(2)
    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_without_a_rest_a_node_that_said_no_is_asked_when_a_person_says_so(
    play: Play,
) -> None:
    world = nothing_found(Outcome())
    async with play(world) as story:
        await story.submit()
        await story.recorded("no_node")
        world.manners.clear()
        await story.later(timedelta(days=200))
        assert world.seen["optimize_source"] == 2
        await story.resolve("reroute")
        state = await story.delivered(2)
    assert (state.excluded, state.excluded_at) == ({}, {})


async def test_what_rules_cancel_at_once_does_not_wait(play: Play) -> None:
    world = nothing_found(Outcome(then="cancel"))
    async with play(world) as story:
        await story.submit()
        assert (await story.end()).status is OrderStatus.CANCELLED
    assert world.problems() == []


async def test_what_waits_for_stock_asks_nobody_and_goes_on_with_it(play: Play) -> None:
    world = nothing_found(Outcome(then="backorder"))
    async with play(world) as story:
        await story.submit()
        await story.reached("optimize_source", 2)
        state = await story.recorded("short")
        assert (state.attention, state.short) == ((), {"mug": 2})
        assert state.left_since is not None
        world.receive("B", "mug", 2)
        await story.supply()
        await story.until("F2:submitted")
        await story.deliver(2)
        state = await story.end()
    assert (state.status, state.short, state.left_since) == (OrderStatus.COMPLETED, {}, None)
    assert world.problems() == []


async def test_units_that_have_a_node_leave_while_the_others_do_not(play: Play) -> None:
    world = World({"A": {"mug": 2}, "B": {"tee": 1}})
    world.manners["B"] = "rejects"
    world.outcome = Outcome(then="cancel")
    async with play(world, lines=MUG_AND_TEE) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.deliver(1)
        state = await story.end()
    assert state.status is OrderStatus.COMPLETED
    assert world.shipped_units() == 2
    assert world.problems() == []


class Handing(World):
    """
    The first set knows A alone, hands on what A has not, and cancels what is nothing for it; the
    `last` one knows B too, where another order is faster at first.
    """

    def __init__(self) -> None:
        super().__init__({"A": {"mug": 2}, "B": {"tee": 1}})
        self.judged: list[str] = []

    def _decide(self, request: ports.SourceOrder) -> ports.Sourced:
        self.judged.append(request.rules)
        last, whole = request.rules == "last", len(request.units) > 1
        self.unseen = set() if last else {"B"}
        self.outcome = Outcome(then="next", next="last") if whole else Outcome(then="cancel")
        self.stock["B"]["tee"] = 1
        sourced = super()._decide(request)
        self.stock["B"]["tee"] = int(self.judged.count("last") > 1)
        return sourced


async def test_what_a_set_was_handed_stays_its_own_when_another_order_is_faster(play: Play) -> None:
    world = Handing()
    async with play(world, lines=MUG_AND_TEE) as story:
        await story.submit()
        await story.until("F2:submitted")
        await story.deliver(1)
        await story.deliver(2)
        state = await story.end()
    assert world.judged == ["", "last", "last"]
    assert (state.status, world.shipped_units()) == (OrderStatus.COMPLETED, 3)
    assert world.problems() == []


async def test_units_that_have_a_node_wait_for_the_others_where_rules_say_so(play: Play) -> None:
    world = World({"A": {"mug": 2}, "B": {"tee": 1}})
    world.unseen.add("B")
    world.outcome = Outcome(allocate=False, then="queue", queue="whole")
    async with play(world, lines=MUG_AND_TEE) as story:
        await story.submit()
        await story.until("queue:whole")
        assert world.seen["allocate"] == 0
        await story.cancel()
        assert (await story.end()).status is OrderStatus.CANCELLED


async def test_an_order_that_cools_down_is_decided_with_the_others(play: Play) -> None:
    world = World()
    async with play(world) as story:
        world.cools_until = datetime.now(UTC) + timedelta(minutes=10)
        await story.submit()
        await story.reached("optimize_source")
        assert world.seen["allocate"] == 0
        world.cools_until = None  # the batch has decided
        await story.supply()
        state = await story.delivered()
    assert (state.status, state.round) == (OrderStatus.COMPLETED, 1)
    assert world.problems() == []


async def test_an_order_of_which_the_batch_says_nothing_is_decided_alone(play: Play) -> None:
    world = World()
    async with play(world) as story:
        world.cools_until = datetime.now(UTC) + timedelta(minutes=10)
        await story.submit()
        await story.reached("optimize_source")
        await story.later(timedelta(minutes=16))
        state = await story.delivered()
    assert (state.status, state.round) == (OrderStatus.COMPLETED, 1)
    assert world.problems() == []
