"""Reset, terminate, run again: the order goes on from its record, and each node gets one request."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from domain.orders import OrderStatus
from tests.world import World
from workflows import client
from workflows.order import OrderWorkflow


async def reset(story, *, last: bool) -> None:
    history = await story.handle.fetch_history()
    finished = [
        e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes")
    ]
    request = ResetWorkflowExecutionRequest(
        namespace=story.temporal.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=story.handle.id),
        reason="ops",
        workflow_task_finish_event_id=finished[-1 if last else 0],
        request_id="reset",
    )
    await story.temporal.client.workflow_service.reset_workflow_execution(request)


@pytest.mark.parametrize("stage", ["submitted", "accepted", "shipped"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
async def test_a_reset_order_goes_on_and_asks_no_node_twice(play, last: bool, stage: str) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        told = {"submitted": [], "accepted": ["accepted"], "shipped": ["accepted", "shipped"]}
        for type in told[stage]:
            await story.tell(1, type)
        if told[stage]:
            await story.until({"accepted": "F1:accepted", "shipped": "shipped"}[stage])
        await reset(story, last=last)
        await asyncio.sleep(0.3)
        for type in ("accepted", "shipped", "delivered"):
            if type not in told[stage]:
                await story.tell(1, type)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.requests == {f"{story.order.order_id}-F1": 1}
    assert story.world.shipped_units() == 2
    assert story.world.leftovers() == []


@pytest.mark.parametrize("stage", ["reserved", "submitted", "shipped"])
async def test_a_terminated_order_is_run_again_to_be_cancelled(play, stage: str) -> None:
    world = World()
    if stage == "reserved":
        world.pause["optimize_source"] = asyncio.Event()
    async with play(world) as story:
        if stage == "reserved":
            asking = asyncio.create_task(story.submit(timedelta(seconds=3)))
            while not world.reserved:
                await asyncio.sleep(0.05)
            await asyncio.gather(asking, return_exceptions=True)
        else:
            await story.submit()
            await story.until("F1:submitted")
        if stage == "shipped":
            await story.tell(1, "shipped")
            await story.until("shipped")
        await story.handle.terminate("a click too many")
        for gate in world.pause.values():
            gate.set()
        with story.temporal.with_time_skipping_disabled():
            await client.restart_to_cancel(
                story.temporal.client, story.order, story.patience, "terminated", queue=story.queue
            )
        if stage == "shipped":
            await story.tell(1, "delivered")
        handle = story.temporal.client.get_workflow_handle_for(OrderWorkflow.run, story.handle.id)
        state = await handle.result()

    shipped = stage == "shipped"
    assert state.status is (OrderStatus.COMPLETED if shipped else OrderStatus.CANCELLED)
    assert stage == "reserved" or world.recalls[f"{story.order.order_id}-F1"] == (not shipped)
    assert world.leftovers() == []


async def test_a_running_order_is_not_run_again(play) -> None:
    async with play() as story:
        await story.submit()
        await client.restart_to_cancel(
            story.temporal.client, story.order, story.patience, "no", queue=story.queue
        )
        await story.until("F1:submitted")
        await story.deliver()
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
