"""Pickup: a window in the store's calendar, extended, expired, and never both handed over and expired."""

from datetime import timedelta

import pytest

from domain.errors import Conflict
from domain.fulfillments import NodeEventType
from domain.orders import DeliveryMethod, OrderStatus
from workflows import client
from workflows.messages import Cancel, ExtendPickup, HandOver

PICKUP = {"method": DeliveryMethod.PICKUP, "pickup_node": "B"}


async def ready(story) -> None:
    await story.submit()
    await story.until("F1:submitted")
    await story.tell(1, NodeEventType.ACCEPTED)
    await story.tell(1, NodeEventType.READY_FOR_PICKUP)
    await story.until("ready_for_pickup")


async def test_a_pickup_is_collected_at_its_store(play) -> None:
    async with play(**PICKUP) as story:
        await ready(story)
        await client.hand_over(story.temporal.client, story.order.order_id, HandOver(by="sam"))
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert [f.node for f in state.fulfillments] == ["B"]
    assert story.world.leftovers() == []


async def test_a_window_that_is_extended_runs_on_and_then_expires_once(play) -> None:
    async with play(**PICKUP) as story:
        await ready(story)
        await client.extend_pickup(
            story.temporal.client, story.order.order_id, ExtendPickup(days=2)
        )
        assert await story.later(timedelta(days=4))
        assert (await story.until("ready_for_pickup")).reason == ""
        await story.later(timedelta(days=2))
        state = await story.handle.result()

    assert state.status is OrderStatus.EXPIRED
    assert story.world.seen["give_back"] == 1
    assert story.world.leftovers() == []
    assert story.world.stock["B"]["mug"] == 10


async def test_after_the_window_nothing_is_handed_over(play) -> None:
    async with play(**PICKUP) as story:
        await ready(story)
        await story.later(timedelta(days=4))
        await story.handle.result()
        with pytest.raises(Conflict):
            await client.hand_over(story.temporal.client, story.order.order_id, HandOver())

    assert story.world.shipped_units() == 0


@pytest.mark.parametrize("seconds", [-1, 1])
async def test_a_hand_over_beside_the_expiry_has_one_winner(play, seconds: int) -> None:
    async with play(**PICKUP) as story:
        await ready(story)
        await story.later(timedelta(days=3, seconds=seconds - 1))
        try:
            await client.hand_over(story.temporal.client, story.order.order_id, HandOver())
            won = OrderStatus.COMPLETED
        except Conflict:
            won = OrderStatus.EXPIRED
        state = await story.handle.result()

    assert state.status is won
    expired = won is OrderStatus.EXPIRED
    assert story.world.shipped_units() == (0 if expired else 2)
    assert story.world.stock["B"]["mug"] == (10 if expired else 8)


async def test_a_ready_pickup_can_be_cancelled(play) -> None:
    async with play(**PICKUP) as story:
        await ready(story)
        await client.cancel(story.temporal.client, story.order.order_id, Cancel())
        state = await story.handle.result()

    assert state.status is OrderStatus.CANCELLED
    assert story.world.stock["B"]["mug"] == 10
    assert story.world.leftovers() == []
