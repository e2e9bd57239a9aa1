"""A step taken in a workflow task that got lost: the record knows it, the workflow does not."""

import asyncio
from datetime import UTC, datetime, timedelta

from domain.fulfillments import NodeEventType, advance
from domain.lifecycle import all_moved, bucket_of, moved, rolled_up, with_fulfillment
from domain.orders import Bucket, DeliveryMethod, OrderStatus
from domain.records import Change, OrderEvent, OrderState
from tests.workflows.story import Play, Story
from workflows.ports import Release, Ship


def lost(story: Story, state: OrderState) -> Change:
    """A change that the workflow's own run wrote and then forgot."""
    order_id = story.order.order_id
    last = story.world.last[order_id]
    told = OrderEvent(type="lost", summary="taken, and forgotten", cause="test")
    at = datetime.now(UTC)
    return Change(
        key=f"{last}:lost", base=last, at=at, seq=99, state=rolled_up(state), events=(told,)
    )


async def test_a_hand_over_that_was_forgotten_beats_the_expiry(play: Play) -> None:
    async with play(method=DeliveryMethod.PICKUP, pickup_node="B") as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, NodeEventType.ACCEPTED)
        await story.tell(1, NodeEventType.READY_FOR_PICKUP)
        await story.until("ready_for_pickup")
        state = story.world.states[story.order.order_id]
        f = state.fulfillments[0]
        collected = advance(f, "collected")
        assert collected is not None
        counts = {lq.line_id: lq.quantity for lq in f.lines}
        after = collected.model_copy(update={"shipped": counts, "delivered": counts})
        gone = moved(with_fulfillment(state, after), f.lines, bucket_of(f), Bucket.PICKED_UP)
        await story.world.ship(
            Ship(
                key="lost", fulfillment_id=f.fulfillment_id, lines=f.lines, change=lost(story, gone)
            )
        )
        await story.later(timedelta(days=4))
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.shipped_units() == 2
    assert story.world.leftovers() == []


async def test_a_release_that_was_forgotten_is_not_sourced(play: Play) -> None:
    async with play() as story:
        gate = story.world.pause["optimize_source"] = asyncio.Event()
        asking = asyncio.create_task(story.submit())
        while not story.world.seen["optimize_source"]:  # noqa: ASYNC110 - the world has no event for it
            await asyncio.sleep(0.02)
        order_id = story.order.order_id
        cancelled = all_moved(story.world.states[order_id], Bucket, Bucket.CANCELLED)
        change = lost(story, cancelled)
        await story.world.release(Release(reservation_id=f"{order_id}-R1", change=change))
        gate.set()
        state = await story.handle.result()
        await asking

    assert state.status is OrderStatus.CANCELLED
    assert story.world.leftovers() == []
    assert not story.world.requests


async def test_an_event_that_was_taken_in_and_forgotten_is_not_taken_twice(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, NodeEventType.ACCEPTED)
        await story.until("F1:accepted")
        state = await story.handle.query("state", result_type=OrderState)
        f = state.fulfillments[0]
        event = story.world.tell(f.fulfillment_id, NodeEventType.SHIPPED)
        shipped = advance(f, "shipped")
        assert shipped is not None
        counts = {lq.line_id: lq.quantity for lq in f.lines}
        after = shipped.model_copy(update={"shipped": counts, "seen": (*f.seen, event.event_id)})
        gone = moved(with_fulfillment(state, after), f.lines, Bucket.RELEASED, Bucket.SHIPPED)
        key = f"{f.fulfillment_id}/ship/{event.event_id}"
        await story.world.ship(
            Ship(key=key, fulfillment_id=f.fulfillment_id, lines=f.lines, change=lost(story, gone))
        )
        await story.handle.signal("node_event", event)
        await story.tell(1, NodeEventType.DELIVERED)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.shipped_units() == 2
