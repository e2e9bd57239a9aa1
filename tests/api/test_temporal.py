"""The API in front of a real Temporal server, with a worker and without one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.worker import workers
from api import orders
from tests.api.conftest import MakeKey, an_order, body_of
from tests.world import World
from workflows.addressing import ORDERS, order_workflow_id


@pytest.fixture
async def worker(temporal: WorkflowEnvironment) -> AsyncIterator[None]:
    world = World({"A": {"mug": 1000}})
    async with AsyncExitStack() as stack:
        for each in workers(temporal.client, [world], ORDERS, ("workflows", "partners")):
            await stack.enter_async_context(each)
        yield


def mugs(number: str, quantity: int = 2, **more: object) -> dict[str, object]:
    line = {"line_id": "1", "sku": "mug", "quantity": quantity, "unit_price_minor": 500}
    return {**body_of(an_order(number)), "lines": [line], **more}


@pytest.mark.usefixtures("worker")
async def test_the_same_order_twenty_times_at_once_is_one_and_another_is_a_conflict(
    shop: httpx.AsyncClient, key: MakeKey
) -> None:
    headers = await key("orders:write", "ops")
    posts = [shop.post("/v1/orders", json=mugs("T-1"), headers=headers) for _ in range(20)]
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    other = await shop.post("/v1/orders", json=mugs("T-1", 3), headers=headers)
    assert other.status_code == 409
    idle = await shop.post("/v1/orders/webshop-T-1/resolve", headers=headers)
    assert (idle.status_code, idle.json()["code"]) == (409, "not_waiting")
    none = await shop.post("/v1/orders/webshop-none/cancel", headers=headers)
    assert none.status_code == 404


@pytest.mark.usefixtures("worker")
async def test_refused_and_backordered_are_told_at_once(
    shop: httpx.AsyncClient, key: MakeKey
) -> None:
    headers = await key("orders:write")
    refused = await shop.post(
        "/v1/orders", json=mugs("T-2", 5000, when_short="refuse"), headers=headers
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "out_of_stock")
    waits = await shop.post("/v1/orders", json=mugs("T-3", 5000), headers=headers)
    assert (waits.status_code, waits.json()["outcome"]) == (201, "backordered")
    assert waits.json()["missing"]["mug"] > 0


async def test_without_a_worker_an_order_is_safe_and_nothing_is_promised_for_another(
    shop: httpx.AsyncClient,
    temporal: WorkflowEnvironment,
    key: MakeKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "ANSWER", timedelta(seconds=1))
    headers = await key("orders:write")
    pending = await shop.post("/v1/orders", json=mugs("T-4"), headers=headers)
    assert (pending.status_code, pending.json()["outcome"]) == (202, "pending")
    handle = temporal.client.get_workflow_handle(order_workflow_id("webshop-T-4"))
    assert (await handle.describe()).status is not None
    other = await shop.post("/v1/orders", json=mugs("T-4", 3), headers=headers)
    assert other.status_code == 409
    assert (await shop.get("/readyz")).json() == {"ready": True, "down": []}
    await handle.terminate()
