"""A real Temporal server with a clock of its own for each workflow, and worlds in memory."""

import itertools
import os
import shutil
import sys
from asyncio import sleep
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.worker import workers
from domain.orders import Address, Line, Order
from tests.workflows.story import Play, Story
from tests.world import World
from tests.worlds import Worlds
from workflows.addressing import ROLES, SEARCH_ATTRIBUTES
from workflows.codec import Keyring, data_converter
from workflows.messages import Patience

_NUMBERS = itertools.count(1)
KEYRING = Keyring({"test": os.urandom(32)}, "test")
PATIENCE = Patience(
    dispatch=timedelta(seconds=4),
    acknowledge=timedelta(hours=4),
    recall=timedelta(seconds=3),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        action="store_true",
        help="write the histories of tests/histories anew (tests/workflows/test_histories.py)",
    )


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """No clock skips by itself: a story moves its own."""
    binary = shutil.which("temporal") or str(Path(sys.executable).parent / "temporal")
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
            "--dynamic-config-value",
            "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2",
        ],
    )
    try:
        with environment.with_time_skipping_disabled():
            yield environment
    finally:
        await environment.shutdown()
        await sleep(0.2)  # the client's threads end before the interpreter does


@pytest.fixture(scope="session")
async def unsealed(temporal: WorkflowEnvironment) -> Client:
    """A client whose payloads can be read in a recorded history."""
    return await temporal.connect_client(data_converter=pydantic_data_converter, identity="tests")


@asynccontextmanager
async def working(client: Client, queue: str) -> AsyncIterator[Worlds]:
    worlds = Worlds()
    async with AsyncExitStack() as stack:
        for worker in workers(client, [worlds], queue, ROLES):
            await stack.enter_async_context(worker)
        yield worlds


@pytest.fixture(scope="session")
async def worlds(temporal: WorkflowEnvironment) -> AsyncIterator[Worlds]:
    async with working(temporal.client, "stories") as worlds:
        yield worlds


@pytest.fixture(scope="session")
async def unsealed_worlds(unsealed: Client) -> AsyncIterator[Worlds]:
    async with working(unsealed, "unsealed") as worlds:
        yield worlds


def make_order(**more: object) -> Order:
    lines = (Line(line_id="1", sku="mug", quantity=2, unit_price_minor=500),)
    return Order.model_validate(
        {
            "channel": "test",
            "channel_order_id": f"{os.getpid()}-{next(_NUMBERS)}",
            "placed_at": datetime.now(UTC),
            "currency": "USD",
            "lines": lines,
            "ship_to": Address(country="US", postal_code="60601"),
            **more,
        }
    )


def player(temporal: WorkflowEnvironment, client: Client, worlds: Worlds, queue: str) -> Play:
    @asynccontextmanager
    async def _play(
        world: World | None = None, *, patience: Patience = PATIENCE, **order: object
    ) -> AsyncIterator[Story]:
        made = make_order(**order)
        world = worlds.of_order[made.order_id] = world or World()
        story = Story(temporal, client, world, queue, made, patience)
        try:
            yield story
        finally:
            for gate in world.pause.values():
                gate.set()
            with suppress(RPCError):
                await story.handle.terminate("the story is over")

    return _play


@pytest.fixture
def play(temporal: WorkflowEnvironment, worlds: Worlds) -> Play:
    return player(temporal, temporal.client, worlds, "stories")


@pytest.fixture
def play_unsealed(temporal: WorkflowEnvironment, unsealed: Client, unsealed_worlds: Worlds) -> Play:
    return player(temporal, unsealed, unsealed_worlds, "unsealed")
