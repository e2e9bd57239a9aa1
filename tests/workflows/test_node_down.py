"""A node goes down with work in hand: nothing is shipped twice, whatever it did in secret."""

import asyncio
import random
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from domain.errors import Conflict, NotFound, Outage
from domain.fulfillments import FulfillmentStatus, LineQuantity, NodeEventType
from domain.orders import OrderStatus
from tests.workflows.slow import Slow
from tests.workflows.story import Play, Story, together
from tests.world import World

FULFILLMENTS = 50
ONE = (LineQuantity(line_id="1", quantity=1),)


async def obedient(story: Story, _: random.Random) -> None:
    """It gives everything back, though nobody else sees it any more."""


async def accepted(story: Story, _: random.Random) -> None:
    await story.tell(1, NodeEventType.ACCEPTED)


async def shipped_in_secret(story: Story, chance: random.Random) -> None:
    """The goods left before it went down; its word comes much later, or with its answer."""
    if chance.random() < 0.5:
        story.world.let_go(story.f(1))
    else:
        story.world.tell(story.f(1), NodeEventType.SHIPPED)


async def partly_shipped(story: Story, _: random.Random) -> None:
    await story.tell(
        1, NodeEventType.SHIPPED, lines=ONE, final=False, event_id=f"{story.f(1)}-part"
    )


async def unknown(story: Story, _: random.Random) -> None:
    story.world.manners[story.f(1)] = "dead"


async def dead_and_shipped(story: Story, _: random.Random) -> None:
    story.world.manners[story.f(1)] = "dead"
    story.world.let_go(story.f(1))


async def pending(story: Story, _: random.Random) -> None:
    story.world.manners[story.f(1)] = "pending"


async def keeping(story: Story, _: random.Random) -> None:
    story.world.manners[story.f(1)] = "keeps"


KINDS = (
    obedient,
    accepted,
    shipped_in_secret,
    partly_shipped,
    unknown,
    dead_and_shipped,
    pending,
    keeping,
)


@pytest.mark.long
async def test_a_node_down_with_fifty_fulfillments_doubles_none(play: Play) -> None:
    """All in one world, so that what one order gives back another may get."""
    shelf = {"A": {"mug": 2 * FULFILLMENTS}, "B": {"mug": FULFILLMENTS}, "C": {"mug": 400}}
    world = World(shelf)

    async def order(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - a test's
        kind = KINDS[number % len(KINDS)]
        async with play(world) as story:
            await story.submit()
            await story.until("F1:submitted")
            await kind(story, chance)
            await _at_once(story, chance)
            await _unproven_stays(story, kind)
            world.manners.pop(story.f(1), None)
            state = await story.finish()
        assert state.status in (OrderStatus.COMPLETED, OrderStatus.CANCELLED)

    await together(
        {f"{n} {KINDS[n % len(KINDS)].__name__}": partial(order, n) for n in range(FULFILLMENTS)},
        at_once=FULFILLMENTS,
    )
    assert world.problems() == []


async def _at_once(story: Story, chance: random.Random) -> None:
    """The node is reported down, twice, while it may still speak and the customer may cancel."""
    wishes: list[Coroutine[Any, Any, None]] = [story.down("A"), story.down("A")]
    fid = story.f(1)
    if chance.random() < 0.3:
        wishes.append(_quietly(story.cancel()))
    if chance.random() < 0.4 and fid not in story.world.withdrawn:
        wishes.append(_quietly(story.tell(1, NodeEventType.ACCEPTED, event_id=f"{fid}-late")))
    chance.shuffle(wishes)
    await asyncio.gather(*wishes)


async def _unproven_stays(story: Story, kind: object) -> None:
    """Until the node has said so or a person vouches, nobody else gets these units."""
    if kind in (unknown, dead_and_shipped):
        state = await story.until("node_unreachable")
    elif kind in (pending, keeping):
        await asyncio.sleep(1)
        state = await story.state()
    else:
        return
    assert [f.node for f in state.fulfillments] == ["A"]
    assert state.fulfillments[0].status in (FulfillmentStatus.OPEN, FulfillmentStatus.IN_PROGRESS)
    if kind is unknown:  # somebody went there and looked
        story.world.withdrawn.add(story.f(1))
        await _quietly(story.resolve("reroute"))


async def _quietly(wish: Awaitable[object]) -> None:
    with suppress(Conflict, NotFound, Outage):
        await wish


async def test_what_was_given_back_and_ships_all_the_same_is_written_down(play: Play) -> None:
    """A node that lies: nothing is taken twice from stock, and the contradiction is on record."""
    world = World()
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.down("A")
        await story.until("F2:submitted")
        await story.tell(1, NodeEventType.SHIPPED)
        await story.deliver(2)
        state = await story.end()

    told = [e for e in world.events.values() if e.type == "contradiction"]
    assert state.status is OrderStatus.COMPLETED
    assert [e.fulfillment_id for e in told] == [story.f(1)]
    assert world.shipped_units() == 2
    assert world.leftovers() == []


async def test_an_answer_that_tells_of_a_part_that_left_gives_back_only_the_rest(
    play: Play,
) -> None:
    world = World()
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        gate = world.pause["recall"] = asyncio.Event()
        await story.down("A")
        await story.reached("recall")
        fid = story.f(1)
        world.tell(fid, NodeEventType.SHIPPED, lines=ONE, final=False)
        gate.set()
        state = await story.until("F2:submitted")
        assert [lq.quantity for lq in state.fulfillments[1].lines] == [1]
        await story.tell(1, NodeEventType.DELIVERED)
        await story.deliver(2)
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_a_cancelled_order_asks_the_node_first_and_frees_its_units_then(play: Play) -> None:
    world = World()
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.cancel()
        state = await story.end()

    assert state.status is OrderStatus.CANCELLED
    assert story.steps("allocate", "dispatch", "recall", "give_back") == [
        "allocate",
        "dispatch",
        "recall",
        "give_back",
    ]
    assert world.problems() == []


async def test_a_node_that_goes_down_before_the_allocation_answers_is_left(play: Play) -> None:
    world = Slow("allocate")
    async with play(world) as story:
        asking = asyncio.create_task(story.submit())
        await asyncio.wait_for(world.effect.wait(), 30)
        await story.down("A")
        await asyncio.sleep(0.3)
        world.gate.set()
        await asking
        await story.until("F2:submitted", 15)
        await story.deliver(2)
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert world.requests == {story.f(2): 1}
    assert world.problems() == []
