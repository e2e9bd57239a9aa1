"""An order of kits from submit to the door, on a real Temporal and a real database."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from activities.orders import Orders
from activities.outbound import Outbox
from activities.sourcing import Sourcing
from activities.stock import Stock
from activities.worker import workers
from api.story import card
from connectors.channels.magento import Magento
from connectors.channels.shopify import Shopify
from domain.fulfillments import LineQuantity, NodeEvent, NodeEventType, Package
from domain.kits import sold_of
from domain.network import Component, Product, RateCard, Zone
from domain.orders import Address, Bucket, DeliveryMethod, Line, Order, OrderStatus
from domain.records import OrderState
from storage import audit, decisions, network, reads, records, standing, stock
from storage.database import transaction
from storage.tables import metadata
from tests.activities.conftest import KEYRING
from tests.connectors.outside import OAUTH, World
from tests.samples import a_node
from workflows import client, ports
from workflows.addressing import ROLES, SEARCH_ATTRIBUTES
from workflows.codec import data_converter
from workflows.messages import Cancel, Patience, Submitted, Supply

QUEUE = "kits"
ANSWER = timedelta(seconds=60)
GIFT = Product(sku="GIFT", components=(Component(sku="MUG"), Component(sku="TEA", quantity=2)))
LOOSE = GIFT.model_copy(update={"sku": "LOOSE", "ships_together": False})
_NUMBERS = iter(range(1, 1000))


class Nodes(ports.Nodes):
    """Nodes that take every request and give back what they are asked for."""

    @activity.defn
    async def dispatch(self, fulfillment_id: str) -> ports.Dispatched:
        return ports.Dispatched()

    @activity.defn
    async def recall(self, request: ports.Recall) -> ports.Recalled:
        return ports.Recalled(answer="cancelled")


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    binary = shutil.which("temporal") or str(Path(sys.executable).parent / "temporal")
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary,
        search_attributes=list(SEARCH_ATTRIBUTES),
        data_converter=data_converter(KEYRING),
        dev_server_log_level="error",
    )
    try:
        yield environment
    finally:
        await environment.shutdown()
        await asyncio.sleep(0.2)  # the client's threads end before the interpreter does


@pytest.fixture
async def engine_of_shop(
    engine: AsyncEngine, temporal: WorkflowEnvironment
) -> AsyncIterator[AsyncEngine]:
    """DC-A has mugs, DC-B tea; DC-C, which is dear, has two gifts whole."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    zone = Zone(max_miles=9000, base_minor=500, per_lb_minor=10, transit_days=1)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for code, cost in (("DC-A", 0), ("DC-B", 0), ("DC-C", 9000)):
            made = a_node(code, order_cost_minor=cost, pickup=code == "DC-C")
            await network.put_node(conn, made)
        await network.put_products(conn, [Product(sku="MUG"), Product(sku="TEA"), GIFT, LOOSE])
        await network.put_rate_cards(
            conn, [RateCard(service="ground", carrier="ups", zones=(zone,))]
        )
        for node, sku, units in (
            ("DC-A", "MUG", 10), ("DC-B", "TEA", 20), ("DC-C", "MUG", 2), ("DC-C", "TEA", 5),
        ):  # fmt: skip
            await stock.receive(conn, f"{node}{sku}", node, [(sku, units)], "receipt", "test")
    answers = [Orders(engine), Stock(engine), Sourcing(engine), Nodes()]
    async with AsyncExitStack() as stack:
        for worker in workers(temporal.client, answers, QUEUE, ROLES):
            await stack.enter_async_context(worker)
        yield engine


class Shop:
    def __init__(self, engine: AsyncEngine, temporal: Client) -> None:
        self.engine, self.client = engine, temporal

    async def submit(self, *wanted: tuple[str, int, int], **more: object) -> tuple[str, Submitted]:
        """An order of these (SKU, quantity, price), placed."""
        lines = [
            Line(line_id=str(n), sku=sku, quantity=units, unit_price_minor=price)
            for n, (sku, units, price) in enumerate(wanted, 1)
        ]
        order = Order.model_validate(
            {
                "channel": "web",
                "channel_order_id": str(next(_NUMBERS)),
                "placed_at": datetime.now(UTC),
                "currency": "USD",
                "lines": lines,
                "ship_to": Address(country="US", postal_code="75201"),
                **more,
            }
        )
        return order.order_id, await self.place(order)

    async def place(self, order: Order) -> Submitted:
        return await client.submit(self.client, order, Patience(), ANSWER, queue=QUEUE)

    async def tell(self, order_id: str, number: int, kind: NodeEventType, **more: object) -> None:
        state = await self.state(order_id)
        f = next(f for f in state.fulfillments if f.fulfillment_id == f"{order_id}-F{number}")
        event = NodeEvent.model_validate(
            {
                "event_id": f"{f.fulfillment_id}:{kind}",
                "fulfillment_id": f.fulfillment_id,
                "node": f.node,
                "type": kind,
                "occurred_at": datetime.now(UTC),
                **more,
            }
        )
        await client.signal_node_event(self.client, order_id, event)

    async def ship(self, order_id: str, number: int) -> None:
        parcel = Package(tracking_number=f"T{number}", carrier="ups")
        await self.tell(order_id, number, NodeEventType.SHIPPED, packages=(parcel,))

    async def state(self, order_id: str) -> OrderState:
        """By the record: a query would be one more workflow task."""
        async with transaction(self.engine) as conn:
            state = await records.state(conn, order_id)
        assert state is not None
        return state

    async def until(self, order_id: str, status: OrderStatus) -> OrderState:
        for _ in range(600):
            state = await self.state(order_id)
            if state.status is status:
                return state
            await asyncio.sleep(0.1)
        raise AssertionError(f"waited for {status}: {state}")

    async def until_shared(self, order_id: str, shares: int) -> OrderState:
        for _ in range(600):
            state = await self.state(order_id)
            if len(state.fulfillments) == shares:
                return state
            await asyncio.sleep(0.1)
        raise AssertionError(f"waited for {shares} shares: {state}")

    async def told(self, order_id: str) -> list[tuple[list[tuple[str, int]], list[str]]]:
        """What the channel is told has shipped: lines, and tracking numbers."""
        async with transaction(self.engine) as conn:
            query = (
                "SELECT body FROM outbox WHERE order_id = :o AND kind LIKE '%shipped' ORDER BY id"
            )
            bodies = (await conn.execute(text(query), {"o": order_id})).scalars()
            return [
                (
                    [(line["line_id"], line["quantity"]) for line in body["lines"]],
                    [package["tracking_number"] for package in body["packages"]],
                )
                for body in bodies
            ]

    async def is_sound(self) -> None:
        async with transaction(self.engine) as conn:
            assert [f for f in await audit.audit(conn) if f.severity == "error"] == []

    async def free(self) -> dict[str, int]:
        async with transaction(self.engine) as conn:
            return await stock.available(conn, ["MUG", "TEA"])


@pytest.fixture
def shop(engine_of_shop: AsyncEngine, temporal: WorkflowEnvironment) -> Shop:
    return Shop(engine_of_shop, temporal.client)


async def test_a_kit_whose_components_may_part_is_told_once_it_is_whole(shop: Shop) -> None:
    order, answer = await shop.submit(("LOOSE", 2, 1001), ("MUG", 1, 300))
    assert answer.outcome == "accepted"
    state = await shop.until(order, OrderStatus.IN_FULFILLMENT)

    assert {f.node for f in state.fulfillments} == {"DC-A", "DC-B"}
    assert [(x.line_id, x.sku, x.ordered) for x in state.lines] == [
        ("1/1", "MUG", 2), ("1/2", "TEA", 4), ("2", "MUG", 1),
    ]  # fmt: skip
    assert sum(f.goods_minor for f in state.fulfillments) == 2302
    await shop.is_sound()

    mugs = next(i for i, f in enumerate(state.fulfillments, 1) if f.node == "DC-A")
    await shop.ship(order, mugs)
    await shop.until(order, OrderStatus.PARTIALLY_SHIPPED)
    await shop.is_sound()
    await shop.ship(order, 3 - mugs)
    await shop.until(order, OrderStatus.SHIPPED)
    assert await shop.told(order) == [
        ([("2", 1)], [f"T{mugs}"]),
        ([("1", 2)], [f"T{mugs}", f"T{3 - mugs}"]),
    ]
    for number in (1, 2):
        await shop.tell(order, number, NodeEventType.DELIVERED)
    await shop.until(order, OrderStatus.COMPLETED)
    await shop.is_sound()

    async with transaction(shop.engine) as conn:
        record = await reads.order_card(conn, order)
        (told,) = await standing.orders(conn)
    assert record is not None
    (kit, mug) = card(record).lines
    assert (kit.line_id, kit.sku, kit.ordered, kit.buckets) == ("1", "LOOSE", 2, {"delivered": 2})
    assert [part.line_id for part in kit.components] == ["1/1", "1/2"]
    assert mug.components == ()
    assert (told.ordered, told.gone) == ({"1": 2, "2": 1}, {"1": 2, "2": 1})
    assert told.asked == {"1/1": 2, "1/2": 4, "2": 1}


async def test_a_kit_that_leaves_whole_is_from_one_node_and_costs_one_shipment(shop: Shop) -> None:
    order, _ = await shop.submit(("GIFT", 2, 1001))
    state = await shop.until(order, OrderStatus.IN_FULFILLMENT)
    (share,) = state.fulfillments
    assert (share.node, share.goods_minor) == ("DC-C", 2002)

    await shop.tell(order, 1, NodeEventType.ACCEPTED)
    await shop.ship(order, 1)
    await shop.until(order, OrderStatus.SHIPPED)
    await shop.tell(order, 1, NodeEventType.DELIVERED)
    handle = shop.client.get_workflow_handle(f"order-{order}")
    await handle.result()

    assert await shop.told(order) == [([("1", 2)], ["T1"])]
    await shop.is_sound()
    async with transaction(shop.engine) as conn:
        decision = await decisions.get(conn, order, 1)
    assert decision is not None
    assert decision.proof == "optimal"
    assert decision.eliminated["DC-A"] == "has parts of kit GIFT, and no whole one"
    assert {d.kit.sku for d in decision.problem.demands if d.kit} == {"GIFT"}


async def test_more_whole_kits_than_nodes_have_wait_and_take_nothing(shop: Shop) -> None:
    before = await shop.free()
    order, answer = await shop.submit(("GIFT", 3, 100))
    assert (answer.outcome, answer.missing) == ("backordered", {"MUG": 1, "TEA": 2})
    assert await shop.free() == before

    async with transaction(shop.engine) as conn:
        await stock.receive(conn, "more", "DC-B", [("MUG", 1)], "receipt", "test")
    await client.signal_supply(shop.client, order, Supply(sku="MUG"))
    state = await shop.until(order, OrderStatus.IN_FULFILLMENT)
    assert {f.node for f in state.fulfillments} == {"DC-B", "DC-C"}
    await shop.is_sound()


async def test_a_cancelled_kit_gives_every_component_back(shop: Shop) -> None:
    before = await shop.free()
    order, _ = await shop.submit(("GIFT", 1, 100), ("LOOSE", 3, 100))
    await shop.until(order, OrderStatus.IN_FULFILLMENT)
    assert await shop.free() == {"MUG": before["MUG"] - 4, "TEA": before["TEA"] - 8}
    await client.cancel(shop.client, order, Cancel(by="ann"))
    state = await shop.until(order, OrderStatus.CANCELLED)
    assert all(line.units(Bucket.CANCELLED) == line.ordered for line in state.lines)
    assert await shop.free() == before
    await shop.is_sound()


async def test_a_node_that_rejects_a_kit_has_the_whole_of_it_sourced_again(shop: Shop) -> None:
    async with transaction(shop.engine) as conn:
        await stock.receive(conn, "t", "DC-A", [("TEA", 2)], "receipt", "test")
    order, _ = await shop.submit(("GIFT", 1, 100))
    state = await shop.until(order, OrderStatus.IN_FULFILLMENT)
    assert [f.node for f in state.fulfillments] == ["DC-A"]
    await shop.tell(order, 1, NodeEventType.REJECTED, reason="broken")
    state = await shop.until_shared(order, 2)
    assert [(f.node, len(f.lines)) for f in state.fulfillments] == [("DC-A", 2), ("DC-C", 2)]
    await shop.is_sound()


async def test_what_is_left_of_a_kit_that_shipped_in_part_follows_by_itself(shop: Shop) -> None:
    order, _ = await shop.submit(("GIFT", 1, 100))
    await shop.until(order, OrderStatus.IN_FULFILLMENT)
    await shop.tell(
        order, 1, NodeEventType.SHIPPED, lines=(LineQuantity(line_id="1/1", quantity=1),)
    )
    state = await shop.until_shared(order, 2)
    rest = state.fulfillments[1]
    assert (rest.node, rest.lines) == ("DC-B", (LineQuantity(line_id="1/2", quantity=2),))
    assert await shop.told(order) == []
    await shop.ship(order, 2)
    await shop.until(order, OrderStatus.SHIPPED)
    assert await shop.told(order) == [([("1", 1)], ["T2"])]
    await shop.is_sound()


async def test_a_kit_is_collected_at_a_store(shop: Shop) -> None:
    order, answer = await shop.submit(
        ("LOOSE", 2, 100), method=DeliveryMethod.PICKUP, pickup_node="DC-C"
    )
    assert answer.outcome == "accepted"
    await shop.until(order, OrderStatus.IN_FULFILLMENT)
    await shop.tell(order, 1, NodeEventType.READY_FOR_PICKUP)
    await shop.until(order, OrderStatus.READY_FOR_PICKUP)
    await shop.tell(order, 1, NodeEventType.COLLECTED)
    await shop.until(order, OrderStatus.COMPLETED)
    assert await shop.told(order) == [([("1", 2)], [])]
    await shop.is_sound()

    _, refused = await shop.submit(
        ("GIFT", 1, 100), method=DeliveryMethod.PICKUP, pickup_node="DC-C", when_short="refuse"
    )
    assert refused.missing == {"MUG": 1, "TEA": 1}


async def ordered(house: House, world: World, code: str) -> Order:
    """An order of two kits that somebody placed in a shop which we are connected to."""
    number = await world.place(code, 2)
    connection = world.shop(code)
    secrets = {"access_token": "shpat"} if code == "webshop" else {"oauth": json.dumps(OAUTH)}
    kind: Literal["shopify", "magento"] = "shopify" if code == "webshop" else "magento"
    async with transaction(house.engine) as conn:
        kit = LOOSE.model_copy(update={"sku": "SKU-1"})
        await network.put_products(conn, [kit])
        channel = network.Channel(code=code, kind=kind, url=connection.url)
        await network.put_channel(conn, channel)
        for name, secret in secrets.items():
            await network.put_credential(conn, f"channel:{code}", name, house.keyring.seal(secret))
    if kind == "shopify":
        ((raw,),) = world.rows("SELECT body FROM shop_orders WHERE order_id = ?", number)
        order = Shopify(house.http).translate(code, raw.encode(), {}, "backorder")
    else:
        arrivals = [x async for p in Magento(house.http).poll(connection, "") for x in p.arrivals]
        order = Magento(house.http).translate(code, arrivals[-1].body.encode(), {}, "backorder")
    assert isinstance(order, Order)
    return order


@pytest.mark.parametrize("code", ["webshop", "outlet"])
async def test_a_shop_is_told_of_whole_kits(
    shop: Shop, house: House, world: World, code: str
) -> None:
    order = await ordered(house, world, code)
    assert (await shop.place(order)).outcome == "accepted"
    await shop.until(order.order_id, OrderStatus.IN_FULFILLMENT)
    box, told = Outbox(house), []
    for number, status in ((1, OrderStatus.PARTIALLY_SHIPPED), (2, OrderStatus.SHIPPED)):
        await shop.ship(order.order_id, number)
        await shop.until(order.order_id, status)
        for item in await box.claim(10):
            await box.done([item.id], await box.work(item))
        sql = (
            "SELECT l.line_id, l.quantity FROM shop_fulfillments f JOIN shop_fulfillment_lines l"
            " USING (shop, fulfillment_id) WHERE f.shop = ? AND f.order_id = ?"
        )
        ref = int(order.channel_ref.rpartition("/")[2])
        told.append([(str(line), units) for line, units in world.rows(sql, code, ref)])
    assert told == [[], [(order.lines[0].line_id, 2)]]


async def test_a_kit_that_is_ready_is_told_on_the_line_that_was_sold(
    shop: Shop, house: House, world: World
) -> None:
    order = await ordered(house, world, "webshop")
    pickup = {"method": DeliveryMethod.PICKUP, "pickup_node": "DC-C"}
    await shop.place(order.model_copy(update=pickup))
    await shop.until(order.order_id, OrderStatus.IN_FULFILLMENT)
    await shop.tell(order.order_id, 1, NodeEventType.READY_FOR_PICKUP)
    await shop.until(order.order_id, OrderStatus.READY_FOR_PICKUP)
    async with transaction(shop.engine) as conn:
        state = await records.state(conn, order.order_id)
    assert state is not None
    waiting = sold_of(state.lines, state.fulfillments[0].remaining())
    assert waiting == (LineQuantity(line_id=order.lines[0].line_id, quantity=2),)
    (item,) = await Outbox(house).claim(10)
    assert (item.kind, await Outbox(house).work(item)) == ("channel.ready_for_pickup", "told")
