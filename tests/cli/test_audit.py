"""A day on which everybody agrees, and one lie at a time."""

import shutil
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecution
from temporalio.testing import WorkflowEnvironment

from cli.audit import AuditReport, _workflows, audit
from connectors.sandbox.store import Store
from domain.fulfillments import Fulfillment, FulfillmentStatus, RequestStatus
from domain.orders import Bucket, Line, LineState, OrderStatus, Units
from domain.records import OrderEvent
from domain.sourcing.problem import CostParts
from storage import decisions, network, records, reservations, stock
from storage.asks import Ask
from storage.database import transaction
from storage.tables import metadata
from tests.samples import a_change, a_decision, a_node, a_share, an_order
from workflows.addressing import order_workflow_id

AT = "2025-11-20T12:00:00.000Z"
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    binary = shutil.which("temporal") or str(Path(sys.executable).parent / "temporal")
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary, dev_server_log_level="error"
    )
    yield environment.client
    await environment.shutdown()


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncEngine:
    """One order of three mugs, shipped and delivered from one node; another one still open."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for code in ("DC-A", "DC-B"):
            await network.put_node(conn, a_node(code))
            await stock.receive(conn, f"in {code}", code, [("MUG", 10)], "receipt", "test")
    await place(engine, "1001", OrderStatus.COMPLETED, Bucket.DELIVERED)
    await place(engine, "1002", OrderStatus.IN_FULFILLMENT, Bucket.RELEASED)
    return engine


@pytest.fixture
def partners(tmp_path: Path) -> Path:
    """The partners' log of that day."""
    file = tmp_path / "partners.db"
    store = Store(file)
    for number, status in (("1001", "delivered"), ("1002", "accepted")):
        fulfillment = f"web-{number}-F1"
        store.run(
            "INSERT INTO node_requests (node, fulfillment_id, order_id, method, status,"
            " received_at, times_received, body) VALUES ('DC-A', ?, ?, 'ship', ?, ?, 1, '')",
            *(fulfillment, f"web-{number}", status, AT),
        )
        shop_order = (int(number), f"#{number}", AT, AT)
        store.run("INSERT INTO shop_orders VALUES ('web',?,?,?,?,NULL,'')", *shop_order)
    shipment = ("DC-A", "web-1001-F1", "11", "MUG", 3, "1Z", AT)
    store.run("INSERT INTO node_shipments VALUES (?,?,?,?,?,?,?)", *shipment)
    store.run("INSERT INTO shop_fulfillments VALUES ('web',1,1001,'','','','',?,NULL,'')", AT)
    store.run("INSERT INTO shop_fulfillment_lines VALUES ('web',1,NULL,11,'MUG',3)")
    store.close()
    return file


async def test_a_day_on_which_all_agree_has_no_findings(
    world: AsyncEngine, partners: Path, temporal: Client
) -> None:
    await start(temporal, "web-1002")
    await start(temporal, "web-1001", end=True)

    report = await check(world, temporal, partners)

    assert report.findings == ()
    assert report.checked.model_dump() == {
        "orders": 2,
        "fulfillments": 2,
        "workflows": 2,
        "partner_requests": 2,
        "repeated_requests": 0,
        "shop_orders": 2,
    }
    await stop(temporal, "web-1002")


@pytest.mark.parametrize(
    ("lie", "invariant", "subject"),
    [
        pytest.param(
            "INSERT INTO node_shipments VALUES ('DC-A','web-1002-F1','11','MUG',1,'1Y',:at)",
            None,
            "",
            id="we-may-hear-of-a-shipment-later",
        ),
        pytest.param(
            "UPDATE node_shipments SET quantity = 2", 3, "web-1001-F1 line 11", id="fewer-shipped"
        ),
        pytest.param(
            "INSERT INTO node_shipments VALUES ('DC-A','web-1002-F1','11','MUG',4,'1Y',:at)",
            3,
            "web-1002 line 11",
            id="more-than-ordered",
        ),
        pytest.param(
            "INSERT INTO node_requests (node, fulfillment_id, order_id, method, status, body,"
            " times_received) VALUES ('DC-B','web-1001-F1','web-1001','ship','accepted','',1)",
            3,
            "web-1001-F1 at DC-B",
            id="a-second-node-was-asked",
        ),
        pytest.param(
            "DELETE FROM node_requests WHERE fulfillment_id = 'web-1001-F1'",
            3,
            "web-1001-F1",
            id="the-node-never-heard-of-it",
        ),
        pytest.param(
            "UPDATE node_requests SET status = 'accepted' WHERE fulfillment_id = 'web-1001-F1'",
            5,
            "web-1001-F1",
            id="a-terminal-order-is-at-work",
        ),
        pytest.param(
            "UPDATE shop_fulfillment_lines SET quantity = 2", 3, "web-1001 line 11", id="shop-short"
        ),
        pytest.param(
            "INSERT INTO shop_orders VALUES ('web',1003,'#1003',:at,:at,NULL,'')",
            4,
            "web 1003",
            id="an-order-was-lost",
        ),
        pytest.param(
            "INSERT INTO shop_orders VALUES ('web',1003,'#1003','2026-01-02 10:00:00',:at,NULL,'')",
            4,
            "web 1003",
            id="an-order-was-lost-by-a-shop-that-names-no-zone",
        ),
        pytest.param(
            "INSERT INTO shop_orders VALUES ('web',1003,'#1003',:at,:at,:at,'')",
            None,
            "",
            id="a-cancelled-order-need-not-be-known",
        ),
    ],
)
async def test_partners_that_say_otherwise_are_found(
    world: AsyncEngine, partners: Path, lie: str, invariant: int | None, subject: str
) -> None:
    store = Store(partners)
    store.run(lie.replace(":at", f"'{AT}'"))
    store.close()

    found = await found_by(world, None, partners)

    assert ((invariant, subject) in found) if invariant else not found


async def test_an_open_order_without_its_workflow_is_found(
    world: AsyncEngine, temporal: Client
) -> None:
    assert (4, "web-1002") in await found_by(world, temporal, None)

    await start(temporal, "web-1002")
    assert await found_by(world, temporal, None) == set()

    await stop(temporal, "web-1002")
    assert (4, "web-1002") in await found_by(world, temporal, None)


async def test_a_closed_order_whose_workflow_runs_is_found(
    world: AsyncEngine, temporal: Client
) -> None:
    await start(temporal, "web-1001")
    await start(temporal, "web-1002")

    assert await found_by(world, temporal, None) == {(5, "web-1001")}

    await stop(temporal, "web-1001")
    await stop(temporal, "web-1002")


async def test_a_list_that_lags_behind_is_not_believed(
    world: AsyncEngine, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: dict[str, WorkflowExecution] = {}

    async def late(_: Client) -> dict[str, WorkflowExecution]:
        return listed

    for order_id in ("web-1001", "web-1002"):
        await start(temporal, order_id)
    listed |= await _workflows(temporal)
    monkeypatch.setattr("cli.audit._workflows", late)
    await stop(temporal, "web-1001")
    assert await found_by(world, temporal, None) == set()
    listed.clear()
    assert await found_by(world, temporal, None) == set()
    await stop(temporal, "web-1002")
    assert await found_by(world, temporal, None) == {(4, "web-1002")}


async def test_a_workflow_without_an_order_is_found_after_its_grace(
    world: AsyncEngine, temporal: Client
) -> None:
    await start(temporal, "web-1002")
    await start(temporal, "web-9999")

    late = await audit(world, temporal, None, settle=AT_ONCE, grace=AT_ONCE)
    early = await audit(world, temporal, None, settle=AT_ONCE, grace=timedelta(hours=1))

    subjects = [{f.subject for f in report.findings} for report in (late, early)]
    assert subjects == [{"order-web-9999"}, set()]
    await stop(temporal, "web-9999")
    await stop(temporal, "web-1002")


async def test_what_mends_itself_while_the_audit_waits_is_no_finding(
    world: AsyncEngine, partners: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(partners)
    store.run("UPDATE shop_fulfillment_lines SET quantity = 2")

    async def meanwhile(_: float) -> None:
        store.run("UPDATE shop_fulfillment_lines SET quantity = 3")

    monkeypatch.setattr("cli.audit.asyncio.sleep", meanwhile)

    assert (await audit(world, None, partners)).findings == ()
    store.close()


async def test_our_own_tables_are_checked_too(world: AsyncEngine) -> None:
    async with transaction(world) as conn:
        await conn.execute(text("UPDATE stock SET on_hand = on_hand + 1 WHERE node = 'DC-B'"))

    assert (1, "MUG at DC-B") in await found_by(world, None, None)


async def check(engine: AsyncEngine, client: Client | None, sandbox: Path | None) -> AuditReport:
    return await audit(engine, client, sandbox, settle=AT_ONCE)


async def found_by(
    engine: AsyncEngine, client: Client | None, sandbox: Path | None
) -> set[tuple[int, str]]:
    report = await check(engine, client, sandbox)
    return {(finding.invariant, finding.subject) for finding in report.findings}


async def start(client: Client, order_id: str, *, end: bool = False) -> None:
    await client.start_workflow("Order", id=order_workflow_id(order_id), task_queue="nobody")
    if end:
        await stop(client, order_id)


async def stop(client: Client, order_id: str) -> None:
    await client.get_workflow_handle(order_workflow_id(order_id)).terminate()


async def place(engine: AsyncEngine, number: str, status: OrderStatus, bucket: Bucket) -> None:
    """Write an order of three mugs down as its workflow would, up to this state."""
    order = an_order(
        number,
        channel_ref=f"gid://shopify/Order/{number}",
        lines=(Line(line_id="11", sku="MUG", quantity=3, unit_price_minor=1000),),
    )
    done = status is OrderStatus.COMPLETED
    share = fulfillment(order.order_id, done=done)
    change = a_change(
        order,
        events=(OrderEvent(type="placed", summary="the order came in", cause="test"),),
        status=status,
        lines=(LineState(line_id="11", sku="MUG", ordered=3, buckets={bucket: 3}),),
        fulfillments=(share,),
    )
    units = [Units(line_id="11", sku="MUG", quantity=3)]
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", change)
        await reservations.reserve(conn, Ask(f"{order.order_id}-R1", order.order_id, units))
        await stock.allocate(conn, f"{order.order_id}-A1", f"{order.order_id}-R1", [share])
        await decisions.store(conn, a_decision(share, CostParts(shipping=share.cost_minor)))
        if done:
            await stock.ship(conn, f"{order.order_id}-S1", share.fulfillment_id, [])


def fulfillment(order_id: str, *, done: bool) -> Fulfillment:
    share = a_share(f"{order_id}-F1", "DC-A", {"11": 3}, sku="MUG", order_id=order_id)
    ended = {
        "status": FulfillmentStatus.CLOSED,
        "request": RequestStatus.CLOSED,
        "shipped": {"11": 3},
        "delivered": {"11": 3},
    }
    at_work = {"status": FulfillmentStatus.IN_PROGRESS, "request": RequestStatus.ACCEPTED}
    worth = {"cost_minor": 500, "goods_minor": 3000}
    return share.model_copy(update={**worth, **(ended if done else at_work)})
