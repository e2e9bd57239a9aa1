"""What must leave the house leaves it, once, also after a time in which a shop let nobody in."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from activities.house import House
from activities.outbound import Outbox
from connectors.channels.shopify import Shopify
from domain.errors import Outage, Refused
from domain.orders import LineState, Order, OrderStatus
from domain.records import Change, Message, OrderState
from storage import network, reads, records
from storage.database import transaction
from storage.network import Channel
from storage.outbox import OutboxItem
from tests.connectors.outside import World, shipment

AT = datetime(2026, 11, 20, 10, tzinfo=UTC)


async def connected(house: House, world: World, **secrets: str) -> None:
    async with transaction(house.engine) as conn:
        url = f"{world.url}/shops/webshop"
        await network.put_channel(conn, Channel(code="webshop", kind="shopify", url=url))
        for name, secret in secrets.items():
            sealed = house.keyring.seal(secret)
            await network.put_credential(conn, "channel:webshop", name, sealed)


async def shipped(
    house: House, world: World, units: int, *parcels: tuple[int, str]
) -> list[OutboxItem]:
    """The messages of an order of so many units that left in these parcels."""
    number = await world.place("webshop", units)
    ((body,),) = world.rows("SELECT body FROM shop_orders WHERE order_id = ?", number)
    order = Shopify(house.http).translate("webshop", body.encode(), {}, "backorder")
    assert isinstance(order, Order)
    messages = [
        Message(
            key=f"{order.order_id}:{at}",
            kind="channel.shipped",
            body={
                "fulfillment_id": f"{order.order_id}-F1",
                "lines": [{"line_id": order.lines[0].line_id, "quantity": quantity}],
                "packages": [{"tracking_number": tracking, "carrier": "ups"}],
            },
        )
        for at, (quantity, tracking) in enumerate(parcels)
    ]
    state = OrderState(
        order_id=order.order_id,
        channel="webshop",
        channel_order_id=order.channel_order_id,
        status=OrderStatus.SHIPPED,
        lines=(LineState.new(order.lines[0], "SKU-1"),),
        fulfillments=(shipment(order, units).fulfillment,),
    )
    change = Change(key=f"{order.order_id}:1", at=AT, seq=1, state=state, messages=tuple(messages))
    async with transaction(house.engine) as conn:
        await records.accept(conn, order, "run-1", change)
    claimed = await Outbox(house).claim(100)
    return [item for item in claimed if item.order_id == order.order_id]


def told(world: World, item: OutboxItem) -> list[Any]:
    sql = (
        "SELECT l.quantity FROM shop_fulfillments f JOIN shop_fulfillment_lines l"
        " USING (shop, fulfillment_id) WHERE f.order_id = ? ORDER BY f.fulfillment_id"
    )
    return [units for (units,) in world.rows(sql, int(item.order_id.removeprefix("webshop-")))]


async def test_a_shop_that_lets_nobody_in_is_told_once_it_does(house: House, world: World) -> None:
    await connected(house, world, webhook_secret=json.dumps(["s"]))
    (item,) = await shipped(house, world, 1, (1, "1Z1"))

    with pytest.raises(Outage, match="does not let us in"):
        await Outbox(house).work(item)
    await connected(house, world, access_token="expired")
    with pytest.raises(Outage, match="does not let us in"):
        await Outbox(house).work(item)
    await connected(house, world, access_token="shpat")

    assert await Outbox(house).work(item) == "told"
    assert told(world, item) == [1]


async def test_two_shipments_of_a_line_in_one_parcel_are_both_told(
    house: House, world: World
) -> None:
    await connected(house, world, access_token="shpat")
    box = Outbox(house)
    first, second = await shipped(house, world, 2, (1, "1Z2"), (1, "1Z2"))

    for item in (first, first, second, second):
        note = await box.work(item)
        await box.done([item.id], note)

    assert told(world, first) == [1, 1]


async def test_what_a_shop_refuses_for_good_is_refused_and_stands_on_the_timeline(
    house: House, world: World
) -> None:
    await connected(house, world, access_token="shpat")
    box = Outbox(house)
    (item,) = await shipped(house, world, 1, (2, "1Z3"))

    with pytest.raises(Refused, match="no open fulfillment order") as refused:
        await box.work(item)
    await box.done([item.id], f"refused: {refused.value}")

    async with transaction(house.engine) as conn:
        last = (await reads.timeline(conn, item.order_id))[-1]
    assert last.type == "write_back_refused"
    assert "no open fulfillment order" in last.summary
