"""Whatever fails, whenever, and wherever an order is cancelled: nothing is left, nothing is doubled."""

import asyncio

import pytest
from temporalio.client import WorkflowFailureError

from domain.orders import OrderStatus
from tests.world import STEPS, World
from workflows import client
from workflows.messages import Cancel


@pytest.mark.parametrize("times", [1, 5], ids=["once", "longer-than-a-local-activity"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_is_done_once(play, step: str, when: str, times: int) -> None:
    if step == "dispatch":
        times = 1
    world = World()
    world.failures[step, when] = times
    async with play(world) as story:
        asking = asyncio.create_task(story.submit())
        await story.until("F1:submitted", 40)
        await story.deliver()
        state = await story.handle.result()
        await asking

    assert state.status is OrderStatus.COMPLETED
    assert world.shipped_units() == 2
    assert world.requests[f"{story.order.order_id}-F1"] == 1
    assert world.leftovers() == []


@pytest.mark.parametrize("by", ["update", "temporal"])
@pytest.mark.parametrize("step", ["validate", "reserve", "optimize_source", "allocate", "dispatch"])
async def test_cancelling_during_any_step_leaves_nothing(play, step: str, by: str) -> None:
    world = World()
    gate = world.pause[step] = asyncio.Event()
    async with play(world) as story:
        asking = asyncio.create_task(story.submit())
        await asyncio.sleep(0.4)
        if by == "temporal":
            await story.handle.cancel()
            asking_cancel = None
        else:
            message = Cancel(by="ann")
            order_id = story.order.order_id
            asking_cancel = asyncio.create_task(
                client.cancel(story.temporal.client, order_id, message)
            )
        await asyncio.sleep(0.3)
        gate.set()
        try:
            state = await story.handle.result()
        except WorkflowFailureError:
            state = world.states[story.order.order_id]
        await asyncio.gather(*filter(None, (asking, asking_cancel)), return_exceptions=True)

    assert state.status is OrderStatus.CANCELLED
    assert world.shipped_units() == 0
    assert world.leftovers() == []
    assert sum(line.ordered for line in state.lines) == 2


@pytest.mark.parametrize("stage", ["submitted", "accepted", "held", "backordered", "attention"])
async def test_cancelling_at_any_wait_leaves_nothing(play, stage: str) -> None:
    world = World({"A": {"mug": 1 if stage == "backordered" else 10}})
    order = {"fraud": "review"} if stage == "held" else {}
    if stage == "attention":
        world.manners["A"] = "dead"
    async with play(world, **order) as story:
        await story.submit()
        match stage:
            case "submitted" | "accepted":
                await story.until("F1:submitted")
                if stage == "accepted":
                    await story.tell(1, "accepted")
                    await story.until("F1:accepted")
            case "attention":
                await story.until("node_unreachable", 30)
                world.manners["A"] = "obeys"
            case _:
                await story.until({"held": "on_hold"}.get(stage, stage))
        await client.cancel(story.temporal.client, story.order.order_id, Cancel(by="ann"))
        state = await story.handle.result()

    assert state.status is OrderStatus.CANCELLED
    assert world.leftovers() == []


async def test_cancelling_what_has_shipped_changes_nothing(play) -> None:
    world = World()
    world.manners["A"] = "keeps"
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        answer = asyncio.create_task(
            client.cancel(story.temporal.client, story.order.order_id, Cancel(by="ann"))
        )
        await story.until("F1:cancellation_rejected")
        await story.deliver()
        state = await story.handle.result()
        assert await answer in ("cancel_pending", "completed")

    assert state.status is OrderStatus.COMPLETED
    assert world.shipped_units() == 2


async def test_a_database_that_is_away_costs_ten_events_at_most(play) -> None:
    world = World()
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, "accepted")
        before = len(await story.events())
        world.outage = True
        await story.tell(1, "shipped")
        while world.seen["ship"] < 7:  # four local tries, then more with a growing pause
            await asyncio.sleep(0.2)
        world.outage = False
        await story.until("shipped", 40)
        spent = len(await story.events()) - before
        await story.tell(1, "delivered")
        await story.handle.result()

    quiet = 6  # signal, workflow task, marker, search attributes
    assert spent - quiet <= 10
    assert world.shipped_units() == 2
