"""A real Temporal server with a clock of its own for each workflow, and a world in memory."""

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.worker import workers
from domain.fulfillments import NodeEvent, NodeEventType
from domain.orders import Address, Line, Order
from domain.records import OrderState
from tests.world import World
from workflows import client
from workflows.addressing import SEARCH_ATTRIBUTES, order_workflow_id
from workflows.codec import Keyring, data_converter
from workflows.messages import Patience, Submitted
from workflows.order import OrderWorkflow

_NUMBERS = itertools.count(1)
KEYRING = Keyring({"test": os.urandom(32)}, "test")


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    binary = shutil.which("temporal") or str(Path(os.sys.executable).parent / "temporal")  # type: ignore[attr-defined]
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=binary,
        search_attributes=list(SEARCH_ATTRIBUTES),
        data_converter=data_converter(KEYRING),
        dev_server_log_level="error",
        dev_server_extra_args=[
            "--dynamic-config-value",
            "frontend.WorkflowTimeSkippingEnabled=true",
            "--dynamic-config-value",
            "history.transferProcessorMaxPollRPS=2000",
            "--dynamic-config-value",
            "history.timerProcessorMaxPollRPS=2000",
        ],
    )
    try:
        yield environment
    finally:
        await environment.shutdown()
        await asyncio.sleep(0.2)  # the client's threads end before the interpreter does


@dataclass
class Story:
    """One order, its world, and what can be done to it."""

    temporal: WorkflowEnvironment
    world: World
    queue: str
    order: Order
    patience: Patience
    handle: WorkflowHandle[OrderWorkflow, OrderState] = field(init=False)

    def __post_init__(self) -> None:
        self.handle = self.temporal.client.get_workflow_handle_for(
            OrderWorkflow.run, order_workflow_id(self.order.order_id)
        )

    async def submit(self, timeout: timedelta = timedelta(seconds=20)) -> Submitted:
        with self.temporal.with_time_skipping_disabled():
            return await client.submit(
                self.temporal.client, self.order, self.patience, timeout, queue=self.queue
            )

    async def until(self, what: str, seconds: float = 15) -> OrderState:
        """Wait (in real time) until the order's status, an attention code or a request is `what`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                state = await self.handle.query(OrderWorkflow.state)
            except RPCError:  # it is only just being started
                await asyncio.sleep(0.05)
                continue
            seen = {state.status.value, *(a.code for a in state.attention)}
            seen |= {f"{f.fulfillment_id[-2:]}:{f.request.value}" for f in state.fulfillments}
            if what in seen:
                return state
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"waited for {what}, saw {sorted(seen)}")
            await asyncio.sleep(0.02)

    async def tell(self, number: int, type: NodeEventType, **more: object) -> NodeEvent:
        """The node of fulfillment `number` says something."""
        event = self.world.tell(f"{self.order.order_id}-F{number}", type, **more)
        await self.handle.signal(OrderWorkflow.node_event, event)
        return event

    async def deliver(self, number: int = 1) -> None:
        for type in (NodeEventType.ACCEPTED, NodeEventType.SHIPPED, NodeEventType.DELIVERED):
            await self.tell(number, type)

    async def later(self, by: timedelta) -> bool:
        """Let the order's own clock run; False where the order ended first."""
        return await self.temporal.fast_forward(self.handle, by)

    async def events(self) -> list[str]:
        history = await self.handle.fetch_history()
        return [EventType.Name(event.event_type) for event in history.events]


def make_order(**more: object) -> Order:
    number = next(_NUMBERS)
    lines = (Line(line_id="1", sku="mug", quantity=2, unit_price_minor=500),)
    return Order.model_validate(
        {
            "channel": "test",
            "channel_order_id": f"{os.getpid()}-{number}",
            "placed_at": datetime.now(UTC),
            "currency": "USD",
            "lines": lines,
            "ship_to": Address(country="US", postal_code="60601"),
            **more,
        }
    )


PATIENCE = Patience(
    dispatch=timedelta(seconds=4),
    acknowledge=timedelta(hours=4),
    recall=timedelta(seconds=3),
)


@pytest.fixture
def play(temporal: WorkflowEnvironment):  # type: ignore[no-untyped-def]  # a context manager factory
    @asynccontextmanager
    async def _play(
        world: World | None = None, *, patience: Patience = PATIENCE, **order: object
    ) -> AsyncIterator[Story]:
        world = world or World()
        made = make_order(**order)
        queue = f"q-{made.order_id}"
        roles = ("workflows", "partners")
        async with AsyncExitStack() as stack:
            for worker in workers(temporal.client, [world], queue, roles):
                await stack.enter_async_context(worker)
            yield Story(temporal, world, queue, made, patience)

    return _play
