"""Every step fails, before its effect and after it: it is done once, and nothing is left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from domain.fulfillments import LineQuantity, NodeEventType
from domain.orders import DeliveryMethod, Line, OrderStatus
from tests.workflows.story import Play, Story, together
from tests.world import When, World

PICKUP: dict[str, Any] = {"method": DeliveryMethod.PICKUP, "pickup_node": "B"}
SPLIT: dict[str, Any] = {"lines": (Line(line_id="1", sku="mug", quantity=5),)}
Road = Callable[[Story], Awaitable[OrderStatus]]


async def at_the_node(story: Story) -> None:
    await story.submit()
    await story.until("F1:submitted")


async def ships(story: Story) -> OrderStatus:
    await at_the_node(story)
    await story.deliver()
    return OrderStatus.COMPLETED


async def ships_in_parts(story: Story) -> OrderStatus:
    one = (LineQuantity(line_id="1", quantity=1),)
    await story.submit()
    await story.until("F1:submitted")
    await story.tell(1, NodeEventType.SHIPPED, lines=one, final=False, event_id=f"{story.id}-1st")
    await story.tell(1, NodeEventType.SHIPPED, lines=one, event_id=f"{story.id}-2nd")
    await story.tell(1, NodeEventType.DELIVERED)
    return OrderStatus.COMPLETED


async def ships_short(story: Story) -> OrderStatus:
    await story.submit()
    await story.until("F1:submitted")
    await story.tell(1, NodeEventType.SHIPPED, lines=(LineQuantity(line_id="1", quantity=1),))
    await story.until("F2:submitted")
    await story.tell(1, NodeEventType.DELIVERED)
    await story.deliver(2)
    return OrderStatus.COMPLETED


async def splits(story: Story) -> OrderStatus:
    story.world.stock["A"]["mug"] = story.world.on_hand["A"]["mug"] = 3
    await story.submit()
    await story.until("F2:submitted")
    await asyncio.gather(story.deliver(1), story.deliver(2))
    return OrderStatus.COMPLETED


async def is_re_routed(story: Story) -> OrderStatus:
    story.world.manners["A"] = "rejects"
    await story.submit()
    await story.until("F2:submitted")
    await story.deliver(2)
    return OrderStatus.COMPLETED


async def loses_its_node(story: Story) -> OrderStatus:
    await story.submit()
    await story.until("F1:submitted")
    await story.down("A")
    await story.until("F2:submitted")
    await story.deliver(2)
    return OrderStatus.COMPLETED


async def is_collected(story: Story) -> OrderStatus:
    await story.ready()
    await story.hand_over()
    return OrderStatus.COMPLETED


async def is_not_collected(story: Story) -> OrderStatus:
    until = (await story.ready()) + timedelta(days=1)
    assert await story.extend() == until
    await story.just_before(until, timedelta(seconds=-1))
    return OrderStatus.EXPIRED


async def is_cancelled_at_no_node(story: Story) -> OrderStatus:
    story.world.manners = {"A": "rejects", "B": "rejects"}
    await story.submit()
    await story.until("no_node")
    await story.cancel()
    return OrderStatus.CANCELLED


async def is_cancelled_at_its_node(story: Story) -> OrderStatus:
    await story.submit()
    await story.until("F1:submitted")
    await story.cancel()
    return OrderStatus.CANCELLED


ROADS: dict[Road, tuple[str, ...]] = {
    ships: ("validate", "reserve", "optimize_source", "allocate", "dispatch", "ship", "record"),
    ships_in_parts: ("ship", "record"),
    ships_short: ("ship", "give_back", "allocate"),
    splits: ("allocate", "dispatch", "ship"),
    is_re_routed: ("dispatch", "give_back", "optimize_source", "allocate"),
    loses_its_node: ("recall", "give_back", "allocate"),
    is_collected: ("reserve", "open_pickup", "ship"),
    is_not_collected: ("open_pickup", "give_back"),
    is_cancelled_at_no_node: ("release",),
    is_cancelled_at_its_node: ("recall", "give_back"),
}
PARTNERS = ("dispatch", "recall")


@pytest.mark.long
async def test_an_outage_costs_ten_events(play: Play) -> None:
    """Of five minutes without a database."""

    async def outage(step: str) -> None:
        world = World()
        async with play(world) as told:
            await at_the_node(told)
            if step != "ship":
                await told.tell(1, NodeEventType.ACCEPTED)
                await told.tell(1, NodeEventType.SHIPPED)
                await told.until("shipped")
            before, tries = len(await told.events()), world.seen[step]
            world.outage = True
            last = NodeEventType.SHIPPED if step == "ship" else NodeEventType.DELIVERED
            await told.tell(1, last)
            await told.reached(step, tries + 5)
            await told.later(timedelta(minutes=5))
            assert world.seen[step] > tries + 15
            spent = len(await told.events()) - before
            state = await told.drain()
        assert spent <= 10
        assert state.status is OrderStatus.COMPLETED
        assert world.problems() == []

    await together({step: partial(outage, step) for step in ("ship", "record")}, at_once=2)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
async def test_a_step_that_fails_is_done_once(play: Play, times: int) -> None:
    """Five times are more than a local activity has tries."""

    async def story(road: Road, step: str, when: When) -> None:
        world = World()
        world.failures[step, when] = times
        order = PICKUP if road in (is_collected, is_not_collected) else {}
        order = SPLIT if road is splits else order
        async with play(world, **order) as told:
            due = await road(told)
            state = await told.end()
        assert (state.status, world.failures[step, when]) == (due, 0)
        assert world.problems() == []

    await together(
        {
            f"{road.__name__}: {step} fails {when}": partial(story, road, step, when)
            for road, steps in ROADS.items()
            for step in steps
            for when in ("before", "after")
            if times == 1 or step not in PARTNERS
        },
        at_once=32,
    )


async def test_a_request_whose_answer_is_lost_for_good_is_taken_back_before_it_goes_elsewhere(
    play: Play,
) -> None:
    world = World()
    world.failures["dispatch", "after"] = 3  # all that the order's patience allows
    async with play(world) as story:
        await story.submit()
        await story.until("F2:submitted")
        assert world.requests[story.f(1)] == 1
        assert story.f(1) in world.withdrawn
        await story.deliver(2)
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert story.steps("recall", "give_back") == ["recall", "give_back"]
    assert world.problems() == []


async def test_what_happens_last_is_undone_first(play: Play) -> None:
    """Two nodes have work, a third of the units is still reserved; then the order is cancelled."""
    world = World({"A": {"mug": 2}, "B": {"mug": 2}})
    lines = (Line(line_id="1", sku="mug", quantity=3),)
    async with play(world, lines=lines) as story:
        world.manners["B"] = "rejects"
        await story.submit()
        await story.until("no_node")
        await story.cancel()
        state = await story.end()

    assert state.status is OrderStatus.CANCELLED
    undone = story.steps("recall", "give_back", "release")
    assert undone[0] == "give_back"  # by the node that rejected it
    assert undone[1:].index("recall") < undone[1:].index("give_back")
    assert world.problems() == []


@pytest.mark.parametrize("step", ["reserve", "optimize_source", "allocate"])
async def test_a_step_that_is_refused_waits_for_a_person_or_for_a_cancellation(
    play: Play, step: str
) -> None:
    async def story(*, mended: bool) -> None:
        world = World()
        world.refusals[step] = "no such store"
        async with play(world) as told:
            asking = asyncio.create_task(told.submit())
            state = await told.until(step)
            assert state.attention[0].options == ("retry", "cancel")
            if mended:
                world.refusals.clear()
                await told.resolve()
                await told.until("F1:submitted")
                await told.deliver()
            else:
                await told.cancel()
            state = await told.end()
            await asyncio.gather(asking, return_exceptions=True)
        assert state.status is (OrderStatus.COMPLETED if mended else OrderStatus.CANCELLED)
        assert world.problems() == []

    await together({"mended": partial(story, mended=True), "not": partial(story, mended=False)})
