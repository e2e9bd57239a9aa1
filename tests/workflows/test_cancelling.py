"""An order is cancelled, or held, at every moment of its life: nothing is left, nothing leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from domain.errors import Conflict, NotFound, Outage
from domain.fulfillments import LineQuantity, NodeEventType
from domain.orders import DeliveryMethod, OrderStatus
from tests.workflows.story import Play, Story, together
from tests.world import World

Moment = Callable[[Story], Coroutine[Any, Any, None]]
Wish = Moment


# ---- moments: the order waits here


def at_the_gate_of(step: str) -> Moment:
    """The step is under way, inside the workflow task."""

    async def moment(story: Story) -> None:
        story.world.pause[step] = asyncio.Event()
        _ask(story)
        await story.reached(step)

    moment.__name__ = f"at_the_gate_of_{step}"
    return moment


def in_an_outage_at(step: str) -> Moment:
    """The step has outlived its local activity: everything can be heard while it is retried."""

    async def moment(story: Story) -> None:
        story.world.failures[step, "before"] = 6
        if step == "give_back":
            story.world.manners["A"] = "rejects"
        _ask(story)
        if step == "ship":
            await story.until("F1:submitted")
            await story.tell(1, NodeEventType.SHIPPED)
        await story.reached(step, 5)

    moment.__name__ = f"in_an_outage_at_{step}"
    return moment


async def held(story: Story) -> None:
    await story.submit()
    await story.until("on_hold")


async def backordered(story: Story) -> None:
    for units in (story.world.stock, story.world.on_hand):
        units["A"]["mug"], units["B"]["mug"] = 1, 0
    await story.submit()
    await story.until("backordered")


async def at_the_node(story: Story) -> None:
    await story.submit()
    await story.until("F1:submitted")


async def accepted(story: Story) -> None:
    await at_the_node(story)
    await story.tell(1, NodeEventType.ACCEPTED)
    await story.until("F1:accepted")


async def partly_shipped(story: Story) -> None:
    await at_the_node(story)
    one = (LineQuantity(line_id="1", quantity=1),)
    await story.tell(1, NodeEventType.SHIPPED, lines=one, final=False)
    await story.until("partially_shipped")


async def shipped(story: Story) -> None:
    await at_the_node(story)
    await story.tell(1, NodeEventType.SHIPPED)
    await story.until("shipped")


async def delivery_overdue(story: Story) -> None:
    await shipped(story)
    await story.later(timedelta(days=7))
    await story.until("delivery_overdue")


async def asked_back(story: Story) -> None:
    await at_the_node(story)
    story.world.pause["recall"] = asyncio.Event()
    await story.down("A")
    await story.reached("recall")


async def refused_to_give_back(story: Story) -> None:
    story.world.manners["A"] = "keeps"
    await at_the_node(story)
    await story.down("A")
    await story.until("F1:cancellation_rejected")


async def pending(story: Story) -> None:
    story.world.manners["A"] = "pending"
    await at_the_node(story)
    await story.down("A")
    await story.until("F1:cancellation_requested")


async def at_a_dead_node(story: Story) -> None:
    story.world.manners["A"] = "dead"
    await story.submit()
    await story.reached("dispatch", 2)


async def unproven(story: Story) -> None:
    await at_a_dead_node(story)
    await story.until("node_unreachable")


async def at_no_node(story: Story) -> None:
    story.world.manners = {"A": "rejects", "B": "rejects"}
    await story.submit()
    await story.until("no_node")


async def prepared(story: Story) -> None:
    await accepted(story)


async def ready(story: Story) -> None:
    await accepted(story)
    await story.tell(1, NodeEventType.READY_FOR_PICKUP)
    await story.until("ready_for_pickup")


async def unfillable(story: Story) -> None:
    story.world.manners["B"] = "rejects"
    await story.submit()
    await story.until("pickup_unfillable")


SHIPPING = in_an_outage_at("ship")
STEPS = ("validate", "reserve", "optimize_source", "allocate")
PICKUPS = (prepared, ready, unfillable)
SHIPMENTS = (
    *(at_the_gate_of(step) for step in (*STEPS, "dispatch")),
    *(in_an_outage_at(step) for step in (*STEPS, "give_back")),
    SHIPPING,
    *(held, backordered, at_the_node, accepted, partly_shipped, shipped, delivery_overdue),
    *(asked_back, refused_to_give_back, pending, at_a_dead_node, unproven, at_no_node),
)


# ---- wishes


async def by_a_person(story: Story) -> None:
    with suppress(Outage):  # it is noted, and answered too late
        await story.cancel()


async def by_the_server(story: Story) -> None:
    await story.handle.cancel()


async def twice(story: Story) -> None:
    await story.handle.cancel()
    with suppress(Conflict, NotFound):
        await asyncio.gather(by_a_person(story), by_a_person(story))


async def while_the_node_ships(story: Story) -> None:
    await _beside(story, NodeEventType.SHIPPED)


async def while_the_node_gives_up(story: Story) -> None:
    await _beside(story, NodeEventType.EXCEPTION)


async def _beside(story: Story, word: NodeEventType) -> None:
    wish = by_a_person(story)
    busy = story.world.requests[story.f(1)] and story.f(1) not in story.world.withdrawn
    if busy and not story.world.gone[story.f(1)]:
        await asyncio.gather(wish, story.tell(1, word))
    else:
        await wish


# The node may speak at the same time, where it has something to speak of.
BESIDE = (while_the_node_ships, while_the_node_gives_up)
BUSY = (at_the_node, accepted, partly_shipped, asked_back, pending, unproven, prepared, ready)
# A node that lets the goods go, or says nothing, decides how it ends; else the wish is granted.
NODE_DECIDES = (
    *(SHIPPING, partly_shipped, shipped, delivery_overdue),
    *(refused_to_give_back, pending, unproven),
)


async def test_cancelling_at_any_moment_leaves_nothing(play: Play) -> None:
    async def story(moment: Moment, wish: Wish) -> None:
        world = World()
        async with play(world, **_order(moment)) as told:
            await moment(told)
            wishing = asyncio.create_task(wish(told))
            await asyncio.sleep(0.3)
            for gate in world.pause.values():
                gate.set()
            if moment in NODE_DECIDES or wish in BESIDE:
                await wishing
                await told.drain()
            else:
                world.manners.clear()
                await wishing
                state = await asyncio.wait_for(told.end(), 60)
                assert state.status is OrderStatus.CANCELLED
                assert f"{told.id}:cancelled" in world.messages
        assert world.problems() == []

    await together(
        {
            f"{moment.__name__} {wish.__name__}": partial(story, moment, wish)
            for moment in (*SHIPMENTS, *PICKUPS)
            for wish in (by_a_person, twice, *((by_the_server, *BESIDE) if moment in BUSY else ()))
        },
        at_once=32,
    )


async def test_a_hold_lets_no_request_leave_until_it_is_released(play: Play) -> None:
    async def story(moment: Moment) -> None:
        world = World()
        async with play(world, **_order(moment)) as told:
            await moment(told)
            holding = asyncio.create_task(told.hold())
            await asyncio.sleep(0.3)
            for gate in world.pause.values():
                gate.set()
            await holding
            begun = world.seen["dispatch"]
            world.manners.clear()
            await told.supply()
            await told.handle.signal("retry")
            await asyncio.sleep(2.5)
            assert world.seen["dispatch"] == begun
            await told.release()
            state = await told.drain()
        assert state.status in (OrderStatus.COMPLETED, OrderStatus.CANCELLED)
        assert world.problems() == []

    closing = (delivery_overdue,)
    await together(
        {
            moment.__name__: partial(story, moment)
            for moment in (*SHIPMENTS, *PICKUPS)
            if moment not in closing
        },
        at_once=32,
    )


async def test_an_order_on_hold_whose_goods_arrive_is_complete(play: Play) -> None:
    async with play() as story:
        await at_the_node(story)
        await story.hold()
        await story.deliver()
        assert (await story.end()).status is OrderStatus.COMPLETED
    assert story.world.problems() == []


async def test_what_is_held_and_was_never_asked_for_is_re_sourced_without_asking(
    play: Play,
) -> None:
    world = World()
    async with play(world) as story:
        world.pause["allocate"] = asyncio.Event()
        _ask(story)
        await story.reached("allocate")
        world.manners["A"] = "dead"
        holding = asyncio.create_task(story.hold())
        await asyncio.sleep(0.2)
        world.pause["allocate"].set()
        await holding
        await story.down("A")
        await story.release()
        state = await story.drain()
    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_cancelling_what_has_shipped_changes_nothing(play: Play) -> None:
    world = World()
    world.manners["A"] = "keeps"
    async with play(world) as story:
        await at_the_node(story)
        answer = asyncio.create_task(story.cancel())
        await story.until("F1:cancellation_rejected")
        await story.deliver()
        state = await story.end()
        assert await answer in ("cancel_pending", "shipped", "completed")

    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_an_order_cancelled_before_its_first_task_is_cancelled_properly(play: Play) -> None:
    world = World()
    world.failures["validate", "before"] = 6
    async with play(world) as story:
        answer = asyncio.create_task(story.submit())
        await story.reached("validate", 5)
        await story.handle.cancel()
        assert (await story.end()).status is OrderStatus.CANCELLED
        assert (await answer).code == "cancelled"


_asking: set[asyncio.Task[object]] = set()


def _ask(story: Story) -> None:
    """Submit, and let whoever asked wait."""

    async def asking() -> None:
        with suppress(Outage, Conflict):
            await story.submit()

    task = asyncio.create_task(asking())
    _asking.add(task)
    task.add_done_callback(_asking.discard)


def _order(moment: Moment) -> dict[str, Any]:
    if moment in PICKUPS:
        return {"method": DeliveryMethod.PICKUP, "pickup_node": "B"}
    return {"fraud": "review"} if moment is held else {}


async def test_an_order_that_has_left_is_not_said_to_be_about_to_be_cancelled(play: Play) -> None:
    async with play() as story:
        await at_the_node(story)
        await story.tell(1, NodeEventType.SHIPPED)
        await story.until("shipped")
        assert await story.cancel() == "shipped"
        await story.tell(1, NodeEventType.DELIVERED)
        assert (await story.end()).status is OrderStatus.COMPLETED
