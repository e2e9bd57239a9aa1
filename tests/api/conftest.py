"""The API over real HTTP and a real database; Temporal is spoken to in the tests that need it."""

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from api.services import Services
from domain.fulfillments import Fulfillment, LineQuantity
from domain.network import Calendar, Node, NodeKind, Product
from domain.orders import Address, DeliveryMethod, Line, LineState, Order, OrderStatus
from domain.records import Change, OrderEvent, OrderState
from domain.sourcing.problem import Assignment, CostParts, Decision, Plan, Problem
from domain.sourcing.solver import cheapest_plan
from storage import access, database, network, records
from workflows.addressing import SEARCH_ATTRIBUTES
from workflows.client import connect
from workflows.codec import Keyring, data_converter
from workflows.messages import Patience

UI = "http://127.0.0.1:18999"
NODE_SECRET = "a-secret-of-the-node-that-is-long"
SHOP_SECRET = "shpss_0123456789abcdef"
AT = datetime(2026, 11, 20, 10, tzinfo=UTC)

MakeKey = Callable[..., Awaitable[dict[str, str]]]
MakeOrder = Callable[..., Awaitable[Order]]


@dataclass(frozen=True)
class Api:
    """A running API: its address and what it stands on."""

    url: str
    services: Services


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return Keyring({"k1": bytes(32)}, "k1")


@pytest.fixture(scope="module")
async def api(postgres_url: str, engine: AsyncEngine, keyring: Keyring) -> AsyncIterator[Api]:
    """An API whose Temporal is away."""
    read_engine = database.engine(postgres_url, read_only=True)
    services = Services(
        engine=engine,
        read_engine=read_engine,
        temporal=await connect(f"127.0.0.1:{_closed_port()}", "crossdock", keyring, lazy=True),
        keyring=keyring,
        patience=Patience(),
        session_secret="a session secret for tests",
        ui_origins=(UI,),
        api_url="http://127.0.0.1",
        solve=cheapest_plan,
    )
    await _network(engine, keyring)
    async with serving(services) as url:
        yield Api(url, services)
    await read_engine.dispose()


@asynccontextmanager
async def serving(services: Services, **changes: Any) -> AsyncIterator[str]:
    """An API over these services, on a free port; its address."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    app = create_app(replace(services, **changes))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    await running


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
async def temporal(keyring: Keyring) -> AsyncIterator[WorkflowEnvironment]:
    binary = shutil.which("temporal") or str(Path(sys.executable).parent / "temporal")
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary,
        search_attributes=list(SEARCH_ATTRIBUTES),
        data_converter=data_converter(keyring),
        dev_server_log_level="error",
    )
    try:
        yield environment
    finally:
        await environment.shutdown()
        await asyncio.sleep(0.2)  # the client's threads end before the interpreter does


@pytest.fixture
async def shop(api: Api, temporal: WorkflowEnvironment) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an API that reaches Temporal."""
    async with (
        serving(api.services, temporal=temporal.client) as url,
        httpx.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def key(api: Api) -> MakeKey:
    """Headers of a new API key."""

    async def make(
        *scopes: str, channels: Sequence[str] | None = None, nodes: Sequence[str] | None = None
    ) -> dict[str, str]:
        async with database.transaction(api.services.engine) as conn:
            token = await access.create(conn, "test key", scopes, channels, nodes)
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture(scope="module")
def stored(api: Api) -> MakeOrder:
    """Writes an order as its workflow would: in fulfillment at one node."""

    async def store(
        number: str, *, channel: str = "webshop", node: str = "DC-DAL", name: str = "Ada Byron"
    ) -> Order:
        order = an_order(number, channel=channel, name=name)
        async with database.transaction(api.services.engine) as conn:
            first = change(in_fulfillment(order, node))
            await records.accept(conn, order, "run-1", first)
            await records.apply(conn, first)
        return order

    return store


def an_order(number: str, *, channel: str = "webshop", name: str = "Ada Byron") -> Order:
    return Order(
        channel=channel,
        channel_order_id=number,
        placed_at=AT,
        currency="USD",
        total_minor=5998,
        lines=(Line(line_id="1", sku="SKU-1", quantity=2, unit_price_minor=2999, title="Mug"),),
        ship_to=Address(name=name, postal_code="75202", country="US"),
        email="ada@example.com",
    )


def change(state: OrderState, *, seq: int = 1) -> Change:
    """One step of an order's record."""
    said = OrderEvent(type="received", summary="2 units", actor=f"channel:{state.channel}")
    return Change(key=f"{state.order_id}:{seq}", at=AT, seq=seq, state=state, events=(said,))


def a_decision(order: Order) -> Decision:
    """Sourced from DC-DAL for 8.00, where STORE-1 would have cost 10.00."""

    def plan(node: str, minor: int) -> Plan:
        cost = CostParts(shipping=minor)
        package = Assignment(
            node=node,
            service="ground",
            carrier="ups",
            lines=(LineQuantity(line_id="1", quantity=2),),
            ship_by=AT,
            deliver_by=AT + timedelta(days=3),
            cost=cost,
        )
        return Plan(assignments=(package,), cost=cost)

    problem = Problem(
        order_id=order.order_id,
        round=1,
        as_of=AT,
        currency="USD",
        promise_by=None,
        demands=(),
        candidates=(),
    )
    return Decision(
        decision_id=f"{order.order_id}-D1",
        problem=problem,
        plan=plan("DC-DAL", 800),
        runner_up=plan("STORE-1", 1000),
        gap_minor=200,
        eliminated={"DC-NYC": "offline"},
        solver="test",
    )


def body_of(order: Order) -> dict[str, object]:
    return order.model_dump(mode="json")


def in_fulfillment(order: Order, node: str) -> OrderState:
    line = LineState.new(order.lines[0], "SKU-1")
    return OrderState(
        order_id=order.order_id,
        channel=order.channel,
        channel_order_id=order.channel_order_id,
        status=OrderStatus.IN_FULFILLMENT,
        lines=(line,),
        fulfillments=(
            Fulfillment(
                fulfillment_id=f"{order.order_id}-F1",
                order_id=order.order_id,
                node=node,
                method=DeliveryMethod.SHIP,
                service="ground",
                lines=(LineQuantity(line_id="1", quantity=2),),
                skus={"1": "SKU-1"},
                ship_by=AT + timedelta(days=1),
                deliver_by=AT + timedelta(days=3),
            ),
        ),
        promise_by=AT + timedelta(days=4),
    )


async def rows_of(engine: AsyncEngine, kind: str) -> list[str]:
    """The delivery ids that the inbox holds of a kind."""
    async with database.transaction(engine) as conn:
        found = await conn.execute(
            text("select delivery_id from inbox where kind = :kind order by id"), {"kind": kind}
        )
        return [str(row.delivery_id) for row in found]


async def _network(engine: AsyncEngine, keyring: Keyring) -> None:
    """Two nodes, two channels and the secrets of one of each."""
    async with database.transaction(engine) as conn:
        for code in ("DC-DAL", "STORE-1"):
            node = Node(
                code=code,
                name=code,
                kind=NodeKind.STORE,
                postal_code="75202",
                latitude=32.8,
                longitude=-96.8,
                calendar=Calendar(timezone="America/Chicago"),
            )
            await network.put_node(conn, node)
        await network.put_products(conn, [Product(sku="SKU-1", title="Mug")])
        for code in ("webshop", "outlet"):
            await network.put_channel(conn, network.Channel(code=code, kind="shopify"))
        secrets = json.dumps([SHOP_SECRET, "shpss_the_old_one"])
        for owner, name, secret in (
            ("channel:webshop", "webhook_secret", secrets),
            ("node:DC-DAL", "secret", NODE_SECRET),
        ):
            await network.put_credential(conn, owner, name, keyring.seal(secret))


def _closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
