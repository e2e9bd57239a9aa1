"""The reconciler over a real database and a real Temporal server."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from activities.upkeep import Upkeep
from activities.worker import adapters, workers
from domain.network import Product
from domain.orders import Address, Line, Order, OrderStatus
from domain.records import OrderState
from storage import network, records
from storage.database import transaction
from workflows import client
from workflows.addressing import ORDERS, SEARCH_ATTRIBUTES, Role, order_workflow_id
from workflows.codec import Keyring, data_converter
from workflows.messages import Patience

KEYRING = Keyring({"k1": bytes(32)}, "k1")


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncIterator[House]:
    """A house that works: its own activities on its own workers."""
    binary = shutil.which("temporal") or str(Path(sys.executable).parent / "temporal")
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary,
        search_attributes=list(SEARCH_ATTRIBUTES),
        data_converter=data_converter(KEYRING),
        dev_server_log_level="error",
    )
    try:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx.AsyncClient())
            house = House(engine, environment.client, KEYRING, http)
            roles: tuple[Role, ...] = ("workflows", "partners")
            for worker in workers(house.client, adapters(house), ORDERS, roles):
                await stack.enter_async_context(worker)
            yield house
    finally:
        await environment.shutdown()
        await asyncio.sleep(0.2)  # the client's threads end before the interpreter does


async def test_a_terminated_order_is_cancelled_and_a_running_one_is_left(house: House) -> None:
    async with transaction(house.engine) as conn:
        await network.put_products(conn, [Product(sku="A")])
    for number in ("1", "2"):
        answer = await client.submit(
            house.client, _order(number), Patience(), timedelta(seconds=30)
        )
        assert answer.outcome == "backordered"
    handle = house.client.get_workflow_handle(order_workflow_id("web-1"), result_type=OrderState)
    await handle.terminate("a click too many")
    async with asyncio.timeout(30):
        while not (found := await Upkeep(house).recover_abandoned()):  # noqa: ASYNC110 - its index lags
            await asyncio.sleep(0.1)
    state = await handle.result()

    assert [(order.order_id, order.status) for order in found] == [("web-1", "terminated")]
    assert state.status is OrderStatus.CANCELLED
    assert await Upkeep(house).recover_abandoned() == ()
    async with transaction(house.engine) as conn:
        assert await records.state(conn, "web-1") == state
        other = await records.state(conn, "web-2")
    assert other is not None
    assert other.status is OrderStatus.BACKORDERED


def _order(number: str) -> Order:
    return Order(
        channel="web",
        channel_order_id=number,
        placed_at=datetime(2026, 11, 20, 12, tzinfo=UTC),
        currency="USD",
        lines=(Line(line_id="1", sku="A", quantity=1),),
        ship_to=Address(country="US", postal_code="60601"),
    )
