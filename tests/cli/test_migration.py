"""`migrate` makes an empty Temporal and an empty Postgres ready, however often it runs."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from cli.migration import ensure_namespace, ensure_search_attributes, migrate
from cli.seeding import seed
from cli.settings import Settings
from cli.stack.site import Site
from cli.wiring import engine, temporal
from connectors.sandbox.config import load
from domain.errors import Outage, Refused
from storage import audit, network, stock
from storage.database import transaction
from workflows.addressing import SEARCH_ATTRIBUTES


@pytest.fixture(scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A Temporal as the embedded stack starts it."""
    site = Site("up", tmp_path_factory.mktemp("home"))
    ports = site.choose_ports()
    server = site.temporal(ports)
    server.prepare()
    running = await asyncio.create_subprocess_exec(
        *server.command(), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(30):
            while not await server.ready():  # noqa: ASYNC110  # nobody would tell
                await asyncio.sleep(0.1)
        yield f"127.0.0.1:{ports.temporal}"
    finally:
        running.terminate()
        await running.wait()


@pytest.fixture(scope="module")
def settings(address: str, postgres_url: str) -> Settings:
    return Settings.model_validate(
        {
            "database_url": postgres_url,
            "temporal_address": address,
            "temporal_namespace": "fresh",
            "keys": {"k": base64.b64encode(bytes(32)).decode()},
            "active_key": "k",
            "session_secret": "0123456789abcdef",
            "poll_seconds": 7,
        }
    )


@pytest.fixture(scope="module")
async def client(settings: Settings) -> Client:
    await migrate(settings)
    return await temporal(settings)


async def test_the_namespace_keeps_closed_orders_for_thirty_days(client: Client) -> None:
    asked = DescribeNamespaceRequest(namespace="fresh")
    found = await client.workflow_service.describe_namespace(asked)
    retention = found.config.workflow_execution_retention_ttl
    assert retention.ToTimedelta() == timedelta(days=30)


async def test_every_search_attribute_is_registered(client: Client) -> None:
    asked = ListSearchAttributesRequest(namespace="fresh")
    found = await client.operator_service.list_search_attributes(asked)
    assert {key.name for key in SEARCH_ATTRIBUTES} <= set(found.custom_attributes)


async def test_it_runs_twice_and_several_times_at_once(settings: Settings, client: Client) -> None:
    assert client.namespace == "fresh"
    await asyncio.gather(*(migrate(settings) for _ in range(3)))


async def test_an_attribute_of_another_type_is_told_of(address: str) -> None:
    other = await Client.connect(address, namespace="other")
    await ensure_namespace(other)
    wrong = {"OrderStatus": IndexedValueType.INDEXED_VALUE_TYPE_BOOL}
    request = AddSearchAttributesRequest(search_attributes=wrong, namespace="other")
    async with asyncio.timeout(30):
        while True:
            try:
                await other.operator_service.add_search_attributes(request)
                break
            except Exception:  # noqa: BLE001  # the namespace is not known everywhere yet
                await asyncio.sleep(0.2)
    with pytest.raises(Refused, match="OrderStatus"):
        await ensure_search_attributes(other)


async def test_seeding_fills_the_network_once_and_follows_a_new_address(
    settings: Settings, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "sandbox.json"
    made = await seed(settings, file, "http://127.0.0.1:1", 7)
    secrets = load(file).nodes
    async with engine(settings) as opened, transaction(opened) as conn:
        await stock.set_node_status(conn, made.nodes[0].code, "offline", "test", "broken")
        before = await stock.available(conn, [product.sku for product in made.products])

    await seed(settings, file, "http://127.0.0.1:2", 7)

    async with engine(settings) as opened, transaction(opened) as conn:
        nodes = {node.code: node for node in await network.nodes(conn)}
        after = await stock.available(conn, [product.sku for product in made.products])
        assert await audit.audit(conn) == ()
    assert after == before
    assert nodes[made.nodes[0].code].status == "offline"
    assert all(node.url.startswith("http://127.0.0.1:2/nodes/") for node in nodes.values())
    assert load(file).nodes == secrets
    assert file.stat().st_mode & 0o077 == 0
    schedules = [schedule.id async for schedule in await client.list_schedules()]
    assert {"reconcile", "poll-outlet"} <= set(schedules)


async def test_a_postgres_that_is_away_is_named(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://u:p@127.0.0.1:1/d"})
    with pytest.raises(Outage, match="postgres"):
        await migrate(away)
