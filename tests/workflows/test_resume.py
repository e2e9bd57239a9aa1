"""Reset, terminate, run again: the order goes on from its record; a node gets one request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.worker import activities_of, workers
from domain.fulfillments import FulfillmentStatus, LineQuantity, NodeEventType
from domain.orders import OrderStatus
from domain.records import OrderState
from tests.workflows.conftest import player, working
from tests.workflows.story import SHIPS, Play, Story
from tests.world import World
from tests.worlds import Worlds
from workflows import client
from workflows.messages import StartOrder
from workflows.order import OrderWorkflow

ONE = (LineQuantity(line_id="1", quantity=1),)


async def reset(story: Story, *, last: bool, run: str | None = None) -> None:
    """The newest run, or the one named."""
    handle = story.temporal.client.get_workflow_handle(story.handle.id, run_id=run)
    history = await handle.fetch_history()
    finished = [
        e.event_id for e in history.events if e.HasField("workflow_task_completed_event_attributes")
    ]
    request = ResetWorkflowExecutionRequest(
        namespace=story.temporal.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=story.handle.id, run_id=run or ""),
        reason="ops",
        workflow_task_finish_event_id=finished[-1 if last else 0],
        request_id="reset",
    )
    await story.temporal.client.workflow_service.reset_workflow_execution(request)


@pytest.mark.parametrize("stage", ["submitted", "accepted", "shipped"])
@pytest.mark.parametrize("to", ["first", "last"])
async def test_a_reset_order_goes_on_and_asks_no_node_twice(
    play: Play, to: str, stage: str
) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        told: dict[str, list[NodeEventType]] = {
            "submitted": [],
            "accepted": [NodeEventType.ACCEPTED],
            "shipped": [NodeEventType.ACCEPTED, NodeEventType.SHIPPED],
        }
        for said in told[stage]:
            await story.tell(1, said)
        if told[stage]:
            await story.until({"accepted": "F1:accepted", "shipped": "shipped"}[stage])
        await reset(story, last=to == "last")
        await asyncio.sleep(0.3)
        for said in SHIPS:
            if said not in told[stage]:
                await story.tell(1, said)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.requests == {f"{story.order.order_id}-F1": 1}
    assert story.world.shipped_units() == 2
    assert story.world.leftovers() == []


@pytest.mark.parametrize("stage", ["reserved", "submitted", "shipped"])
async def test_a_terminated_order_is_run_again_to_be_cancelled(play: Play, stage: str) -> None:
    world = World()
    if stage == "reserved":
        world.pause["optimize_source"] = asyncio.Event()
    async with play(world) as story:
        if stage == "reserved":
            asking = asyncio.create_task(story.submit(timedelta(seconds=3)))
            while not world.reserved:  # noqa: ASYNC110 - the world has no event for it
                await asyncio.sleep(0.05)
            await asyncio.gather(asking, return_exceptions=True)
        else:
            await story.submit()
            await story.until("F1:submitted")
        if stage == "shipped":
            await story.tell(1, NodeEventType.SHIPPED)
            await story.until("shipped")
        await story.handle.terminate("a click too many")
        for gate in world.pause.values():
            gate.set()
        with story.temporal.with_time_skipping_disabled():
            await client.restart_to_cancel(
                story.temporal.client, story.order, story.patience, "terminated", queue=story.queue
            )
        if stage == "shipped":
            await story.tell(1, NodeEventType.DELIVERED)
        handle = story.temporal.client.get_workflow_handle(story.handle.id, result_type=OrderState)
        state = await handle.result()

    shipped = stage == "shipped"
    assert state.status is (OrderStatus.COMPLETED if shipped else OrderStatus.CANCELLED)
    assert stage == "reserved" or world.recalls[f"{story.order.order_id}-F1"] == (not shipped)
    assert world.leftovers() == []


async def test_a_running_order_is_not_run_again(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await client.restart_to_cancel(
            story.temporal.client, story.order, story.patience, "no", queue=story.queue
        )
        state = await story.delivered()

    assert state.status is OrderStatus.COMPLETED


async def test_an_order_whose_history_cannot_be_replayed_starts_over_from_its_record(
    temporal: WorkflowEnvironment,
) -> None:
    """As after a faulty release: what its workflow did is not what our code would do."""
    queue, opened = "older", temporal.client
    async with older(opened, queue) as worlds:
        playing = player(temporal, opened, worlds, queue)()
        story = await playing.__aenter__()
        await story.submit()
        await story.recorded("in_fulfillment")
        await story.reached("dispatch")
        await story.tell(1, NodeEventType.ACCEPTED)
        await asyncio.sleep(0.5)
    async with working(opened, queue) as answers:
        answers.of_order[story.id] = story.world
        await story.tell(1, NodeEventType.SHIPPED)
        async with asyncio.timeout(60):
            while not await client.start_over_stuck(opened):  # noqa: ASYNC110 - the server tells
                await asyncio.sleep(0.5)
        await story.recorded("shipped")
        await story.tell(1, NodeEventType.DELIVERED)
        state = await story.end()
        await playing.__aexit__(None, None, None)

    assert state.status is OrderStatus.COMPLETED
    assert story.world.requests == {story.f(1): 1}
    assert story.world.problems() == []


@workflow.defn(name="Order", sandboxed=False)
class OlderOrder(OrderWorkflow):
    """Waits a moment before it begins, which the order of today does not."""

    @workflow.init
    def __init__(self, start: StartOrder) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: StartOrder) -> OrderState:
        await workflow.sleep(0.01)
        return await super().run(start)


@asynccontextmanager
async def older(opened: Client, queue: str) -> AsyncIterator[Worlds]:
    worlds = Worlds()
    answers = [a for a in activities_of([worlds]) if a.__name__ not in {"dispatch", "recall"}]
    async with (
        Worker(opened, task_queue=queue, workflows=[OlderOrder], activities=answers),
        workers(opened, [worlds], queue, ["partners"])[0],
    ):
        yield worlds


async def test_the_rest_of_a_short_shipment_is_given_back_after_a_reset(play: Play) -> None:
    world = World()
    world.failures["give_back", "before"] = 10**6
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, NodeEventType.SHIPPED, lines=ONE)
        await story.reached("give_back")
        assert world.states[story.id].fulfillments[0].status is FulfillmentStatus.INCOMPLETE
        await reset(story, last=False)
        world.failures.clear()
        await story.until("F2:submitted", 15)
        await story.tell(1, NodeEventType.DELIVERED)
        await story.deliver(2)
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_a_terminated_run_that_is_reset_after_its_order_was_closed_ends(play: Play) -> None:
    world = World()
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        first = (await story.handle.describe()).run_id
        await story.handle.terminate("a click too many")
        with story.temporal.with_time_skipping_disabled():
            await client.restart_to_cancel(
                story.client, story.order, story.patience, "terminated", queue=story.queue
            )
        handle = story.client.get_workflow_handle(story.handle.id, result_type=OrderState)
        assert (await handle.result()).status is OrderStatus.CANCELLED
        await reset(story, last=True, run=first)
        await asyncio.sleep(0.3)
        await story.later(timedelta(hours=5))
        state = await asyncio.wait_for(handle.result(), 10)

    assert state.status is OrderStatus.CANCELLED
    assert world.recalls[story.f(1)] <= 2
    assert world.problems() == []
