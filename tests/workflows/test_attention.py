"""What waits for a person: several things at once, told apart, answered one by one or all."""

import asyncio
from datetime import timedelta

import pytest

from domain.errors import Conflict
from domain.fulfillments import NodeEventType
from domain.orders import Line, OrderStatus
from tests.workflows.story import Play, Story
from tests.world import World
from workflows import client

FIVE = (Line(line_id="1", sku="mug", quantity=5),)


def two_dead_nodes() -> World:
    world = World({"A": {"mug": 2}, "B": {"mug": 3}, "C": {"mug": 5}})
    world.manners = {"A": "dead", "B": "dead"}
    return world


async def both_wait(story: Story) -> None:
    await story.submit()
    for _ in range(400):
        state = await story.state()
        if len(state.attention) == 2:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"waited for two items, saw {state.attention}")


async def test_several_items_are_answered_by_name(play: Play) -> None:
    async with play(two_dead_nodes(), lines=FIVE) as story:
        await both_wait(story)
        with pytest.raises(Conflict, match="no such item does not wait"):
            await story.resolve("retry", "no such item")
        await story.resolve("reroute", f"{story.f(2)}:unproven")
        state = await story.until("F3:submitted")
        assert [a.item for a in state.attention] == [f"{story.f(1)}:unproven"]
        assert [f.node for f in state.fulfillments] == ["A", "B", "C"]
        await story.resolve("reroute")  # without a name it is the oldest
        await story.until("F4:submitted")
        await asyncio.gather(story.deliver(3), story.deliver(4))
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.problems() == []


async def test_a_batch_retries_all_that_waits_and_the_same_again_changes_nothing(
    play: Play,
) -> None:
    async with play(two_dead_nodes(), lines=FIVE) as story:
        await both_wait(story)
        story.world.manners.clear()
        await asyncio.gather(*(story.handle.signal("retry") for _ in range(4)))
        await story.until("F1:submitted")
        await story.until("F2:submitted")
        await story.handle.signal("retry")  # nothing waits any more
        await asyncio.gather(story.deliver(1), story.deliver(2))
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.problems() == []


async def test_a_retry_beside_an_answer_does_not_answer_twice(play: Play) -> None:
    """Both are heard in one workflow task: while the note of the item is written, they wait."""
    world = World()
    world.manners["A"] = "dead"
    async with play(world) as story:
        await story.submit()
        gate = world.pause["record"] = asyncio.Event()
        await story.reached("record")
        world.manners.clear()
        answers = [
            asyncio.create_task(story.handle.signal("retry")),
            asyncio.create_task(story.handle.signal("retry")),
            asyncio.create_task(story.resolve()),
        ]
        await asyncio.sleep(0.3)
        gate.set()
        await asyncio.gather(*answers, return_exceptions=True)
        await story.until("F1:submitted")
        await story.deliver()
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_what_cannot_be_done_is_refused_with_the_reason(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        with pytest.raises(Conflict, match="nothing here waits"):
            await story.resolve()
        with pytest.raises(Conflict, match="no such hold"):
            await story.release()
        with pytest.raises(Conflict, match="no pickup"):
            await story.hand_over()
        with pytest.raises(Conflict, match="no pickup"):
            await story.extend()
        await story.hold("payment")
        with pytest.raises(Conflict, match="already"):
            await story.hold("payment")
        await story.release()
        await story.deliver()
        await story.end()
        with pytest.raises(Conflict):
            await story.cancel()


async def test_an_action_that_the_item_does_not_allow_is_refused_with_those_it_does(
    play: Play,
) -> None:
    world = World({"A": {"mug": 2}})
    world.manners["A"] = "rejects"
    async with play(world) as story:
        await story.submit()
        await story.until("no_node")
        with pytest.raises(Conflict, match="choose from retry, reroute, cancel"):
            await story.resolve("skip")
        await story.resolve("cancel")
        assert (await story.end()).status is OrderStatus.CANCELLED


async def test_a_delivery_that_nobody_reports_is_taken_as_delivered_by_a_person(
    play: Play,
) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, NodeEventType.SHIPPED)
        await story.until("shipped")
        await story.later(timedelta(days=7))
        state = await story.until("delivery_overdue")
        assert state.attention[0].options == ("retry", "skip")
        await story.resolve("skip")
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.problems() == []


async def test_a_hold_for_an_unknown_product_stays_until_the_catalogue_knows_it(
    play: Play,
) -> None:
    lines = (Line(line_id="1", sku="", aliases=("4711",), quantity=1),)
    async with play(lines=lines) as story:
        await story.submit()
        await story.until("unknown_sku")
        await story.resolve()  # nobody has mended anything
        state = await story.until("unknown_sku")
        assert [h.handle for h in state.holds] == ["unknown_sku"]
        story.world.catalogue.add("4711")
        story.world.receive("A", "4711", 3)
        await story.resolve()
        await story.until("F1:submitted")
        await story.deliver()
        state = await story.end()

    assert state.lines[0].sku == "4711"
    assert story.world.problems() == []


async def test_a_vouch_beside_the_nodes_own_word_ships_nothing_twice(play: Play) -> None:
    world = World()
    world.manners["A"] = "dead"
    async with play(world) as story:
        await story.submit()
        gate = world.pause["record"] = asyncio.Event()
        await story.reached("record")
        world.manners.clear()
        event = world.tell(story.f(1), NodeEventType.SHIPPED)
        told = asyncio.create_task(client.signal_node_event(story.client, story.id, event))
        answer = asyncio.create_task(story.resolve("reroute"))
        await asyncio.sleep(0.5)
        gate.set()
        await asyncio.gather(told, answer, return_exceptions=True)
        await story.tell(1, NodeEventType.DELIVERED)
        state = await story.finish()

    assert state.status is OrderStatus.COMPLETED
    assert [f.node for f in state.fulfillments] == ["A"]
    assert world.shipped_units() == 2
