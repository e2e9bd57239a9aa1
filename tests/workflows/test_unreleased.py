"""Allocated work waits with us before its node is asked, and may be sourced anew until then."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from domain.fulfillments import FulfillmentStatus
from domain.orders import Line, OrderStatus
from tests.workflows.story import Play, Story
from tests.workflows.test_resume import reset
from tests.world import World

HOURS = timedelta(hours=3)
FIVE = (Line(line_id="1", sku="mug", quantity=5, unit_price_minor=500),)


def patient(stock: dict[str, dict[str, int]] | None = None) -> World:
    world = World(stock)
    world.release_after = HOURS
    return world


async def allocated(story: Story, times: int = 1) -> None:
    await story.submit()
    await story.until(f"F{times}:unsubmitted")
    assert story.world.seen["dispatch"] == 0


async def test_work_is_given_to_its_node_once_its_time_has_come(play: Play) -> None:
    world = patient()
    async with play(world) as story:
        await allocated(story)
        await story.later(HOURS - timedelta(minutes=5))
        assert world.seen["dispatch"] == 0
        await story.later(timedelta(minutes=10))
        state = await story.delivered()
    assert state.status is OrderStatus.COMPLETED
    [told] = [e.summary for e in world.events.values() if e.type == "allocated"]
    assert "; is given to A at " in told
    assert world.problems() == []


async def test_a_hold_during_the_wait_outlasts_it(play: Play) -> None:
    world = patient()
    async with play(world) as story:
        await allocated(story)
        await story.hold()
        await story.again(1)  # an order on hold is left alone
        await story.later(HOURS + timedelta(minutes=5))
        assert (world.seen["dispatch"], world.seen["give_back"]) == (0, 0)
        await story.release()
        state = await story.delivered()
    assert (state.status, state.round) == (OrderStatus.COMPLETED, 1)
    assert world.problems() == []


async def cancelled(story: Story) -> None:
    await story.cancel()


async def down(story: Story) -> None:
    await story.down("A")


@pytest.mark.parametrize("wish", [cancelled, down], ids=lambda wish: wish.__name__)
@pytest.mark.parametrize("begun_anew", [False, True])
async def test_what_is_wanted_back_during_the_wait_asks_no_node(
    play: Play, wish: Callable[[Story], Awaitable[None]], *, begun_anew: bool
) -> None:
    """Also in a run of the workflow that goes on from the record."""
    world = patient({"A": {"mug": 2}})
    async with play(world) as story:
        await allocated(story)
        if begun_anew:
            await reset(story, last=False)
            await story.until("F1:unsubmitted")
        await wish(story)
        if wish is down:
            await story.until("no_node")
            await story.cancel()
        assert (await story.end()).status is OrderStatus.CANCELLED
    assert (world.seen["dispatch"], world.seen["recall"]) == (0, 0)
    assert world.problems() == []


async def test_work_that_can_be_sourced_better_moves_whole_and_once(play: Play) -> None:
    world = patient({"A": {"mug": 2}, "B": {"mug": 3}})
    async with play(world, lines=FIVE) as story:
        await allocated(story, 2)
        world.receive("0", "mug", 5)
        await story.again(1, 2)
        await story.again(1, 2)
        state = await story.until("F3:unsubmitted")
        assert [f.status for f in state.fulfillments[:2]] == [FulfillmentStatus.CANCELLED] * 2
        assert (state.fulfillments[2].node, state.excluded, state.round) == ("0", {}, 2)
        assert world.together == ["", "again/1"]
        assert (world.seen["dispatch"], world.seen["recall"]) == (0, 0)
        await story.later(HOURS + timedelta(minutes=5))
        state = await story.delivered(3)
    assert (state.status, state.round) == (OrderStatus.COMPLETED, 2)
    assert world.problems() == []


async def test_what_moves_waits_for_the_others_of_its_pass(play: Play) -> None:
    world = patient()
    async with play(world) as story:
        await allocated(story)
        world.cools_until = await story.clock() + timedelta(seconds=5)
        await story.again(1)
        await story.reached("optimize_source", 2)
        world.cools_until = None  # the batch has decided
        await story.supply()
        await story.until("F2:unsubmitted")
        await story.cancel()
        assert (await story.end()).status is OrderStatus.CANCELLED
    assert world.together[-1] == "again/1"
    assert world.problems() == []


async def test_a_message_that_comes_too_late_for_one_of_its_fulfillments_does_nothing(
    play: Play,
) -> None:
    world = patient({"A": {"mug": 2}, "B": {"mug": 3}})
    async with play(world, lines=FIVE) as story:
        await allocated(story, 2)
        await story.again(1, 2, 3)  # never heard of
        await story.later(HOURS + timedelta(minutes=5))
        await story.until("F1:submitted")
        await story.until("F2:submitted")
        await story.again(1, 2)
        await story.deliver(1)
        state = await story.delivered(2)
    assert (state.status, state.round) == (OrderStatus.COMPLETED, 1)
    assert world.seen["give_back"] == world.seen["recall"] == 0
    assert world.problems() == []
