import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connectors.channels import Connection, undecided
from connectors.channels.shopify import Shopify
from domain.errors import Invalid, NotFound, Outage, Refused
from domain.orders import Declined, DeliveryMethod, Order
from tests.connectors.outside import World, shipment

STORE = {"id": 77, "code": "ST-DAL", "name": "Dallas store"}
CONNECTION = Connection(
    code="webshop", url="https://shop.test", secrets={"access_token": "shpat_secret"}
)


def translated(world: World, order_id: int) -> Order | Declined:
    """The order as the shop's own document has it now."""
    sql = "SELECT body FROM shop_orders WHERE shop = 'webshop' AND order_id = ?"
    ((body,),) = world.rows(sql, order_id)
    return Shopify(world.client).translate("webshop", body.encode(), {}, "backorder")


async def placed(world: World, *quantities: int, **changes: Any) -> Order:
    order = translated(world, await world.place("webshop", *quantities, **changes))
    assert isinstance(order, Order)
    return order


def told(world: World, order: Order) -> list[tuple[str, int]]:
    """Tracking number and units of what the shop was told has left."""
    return world.rows(
        "SELECT f.tracking_number, l.quantity FROM shop_fulfillments f"
        " JOIN shop_fulfillment_lines l USING (shop, fulfillment_id)"
        " WHERE f.shop = 'webshop' AND f.order_id = ? ORDER BY f.fulfillment_id, l.line_id",
        int(order.channel_order_id),
    )


async def test_shipments_are_told_each_once(world: World, client: httpx.AsyncClient) -> None:
    shop, order = Shopify(client), await placed(world, 2, 1)
    first = shipment(order, 1, 0, number=1, tracking="T-1")
    second = shipment(order, 1, 1, number=2, tracking="T-2")

    for one in (first, first, second, first, second):
        await shop.shipped(world.shop("webshop"), one)

    assert told(world, order) == [("T-1", 1), ("T-2", 1), ("T-2", 1)]
    after = translated(world, int(order.channel_order_id))
    assert isinstance(after, Declined)
    assert after.code == "already_fulfilled"


async def test_units_that_follow_in_a_parcel_told_before_are_told_too(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Shopify(client), await placed(world, 3)
    first = shipment(order, 1).model_copy(update={"key": "evt-1"})
    second = shipment(order, 2).model_copy(update={"key": "evt-2", "before": first.lines})

    for one in (first, second, second):
        await shop.shipped(world.shop("webshop"), one)

    assert told(world, order) == [("1Z999", 1), ("1Z999", 2)]


async def test_goods_that_the_shop_holds_are_told_when_it_lets_go(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Shopify(client), await placed(world, 1)
    number = int(order.channel_order_id)

    for status in ("ON_HOLD", "SCHEDULED"):
        world.change(
            "UPDATE shopify_fulfillment_orders SET status = ? WHERE order_id = ?", status, number
        )
        with pytest.raises(Outage, match="on hold"):
            await shop.shipped(world.shop("webshop"), shipment(order, 1))
    world.change("UPDATE shopify_fulfillment_orders SET status = 'OPEN' WHERE order_id = ?", number)
    await shop.shipped(world.shop("webshop"), shipment(order, 1))

    assert told(world, order) == [("1Z999", 1)]


async def test_what_leaves_before_the_shop_has_routed_it_is_told_later(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, 1, routing_ms=60_000)

    with pytest.raises(Outage, match="not routed"):
        await Shopify(client).shipped(world.shop("webshop"), shipment(order, 1))


async def test_a_shipment_without_tracking_is_known_by_its_key(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Shopify(client), await placed(world, 2)
    bare = shipment(order, 1, tracking=None)

    await shop.shipped(world.shop("webshop"), bare)
    await shop.shipped(world.shop("webshop"), bare)
    await shop.shipped(world.shop("webshop"), bare.model_copy(update={"key": "evt-2"}))

    assert told(world, order) == [(f"{order.order_id}-F1", 1), ("evt-2", 1)]


async def test_a_lost_answer_does_not_make_a_second_fulfillment(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Shopify(client), await placed(world, 1)
    lost = httpx.AsyncClient(transport=_LosesMutations())

    with pytest.raises(Outage):
        await Shopify(lost).shipped(world.shop("webshop"), shipment(order, 1))
    await shop.shipped(world.shop("webshop"), shipment(order, 1))

    assert told(world, order) == [("1Z999", 1)]
    await lost.aclose()


class _LosesMutations(httpx.AsyncHTTPTransport):
    """Carries every request; the answers to mutations get lost."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if b"mutation" not in request.content:
            return response
        await response.aread()
        await response.aclose()
        raise httpx.ReadError("connection reset")


async def test_an_order_of_many_lines_is_told_whole(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, *[1] * 100)

    await Shopify(client).shipped(world.shop("webshop"), shipment(order, *[1] * 100))
    await Shopify(client).shipped(world.shop("webshop"), shipment(order, *[1] * 100))

    assert len(told(world, order)) == 100


async def test_units_that_the_shop_does_not_have_open_are_refused(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, 2)

    with pytest.raises(Refused, match="no open fulfillment order for 1 of line"):
        await Shopify(client).shipped(world.shop("webshop"), shipment(order, 3))

    assert told(world, order) == [("1Z999", 2)]


async def test_a_pickup_is_found_in_the_fulfillment_orders(
    world: World, client: httpx.AsyncClient
) -> None:
    shop = Shopify(client)
    order = await placed(world, 1, method="pickup", location=STORE)
    assert order.method is DeliveryMethod.SHIP

    for name in ("gid://shopify/Location/77", "77", "Dallas store"):
        done = await shop.complete(world.shop("webshop", locations={name: "ST-DAL"}), order)
        assert (done.method, done.pickup_node, done.holds) == ("pickup", "ST-DAL", ())

    unknown = await shop.complete(world.shop("webshop"), order)
    assert (unknown.method, unknown.holds) == ("ship", ("pickup_location_unknown",))


async def test_an_order_that_is_not_routed_yet_is_asked_about_again(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, 1, method="pickup", location=STORE, routing_ms=60_000)

    with pytest.raises(Outage) as outage:
        await Shopify(client).complete(world.shop("webshop"), order)

    assert outage.value.retry_after
    assert undecided(order).holds == ("delivery_unknown",)


async def test_an_order_with_an_address_is_complete(
    client: httpx.AsyncClient, world: World
) -> None:
    order = await placed(world, 1)

    nowhere = CONNECTION.model_copy(update={"url": "http://127.0.0.1:1"})
    assert await Shopify(client).complete(nowhere, order) is order


async def test_a_pickup_is_announced_and_then_collected(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, connection = Shopify(client), world.shop("webshop")
    order = await placed(world, 1, method="pickup", location=STORE)

    await shop.ready_for_pickup(connection, shipment(order, 1, tracking=None))
    await shop.shipped(connection, shipment(order, 1, tracking=None))
    await shop.ready_for_pickup(connection, shipment(order, 1, tracking=None))

    sql = "SELECT count(*) FROM shop_pickup_notices WHERE shop = 'webshop' AND order_id = ?"
    assert world.rows(sql, int(order.channel_order_id)) == [(1,)]
    assert [units for _, units in told(world, order)] == [1]


async def test_a_cancellation_is_told_once(world: World, client: httpx.AsyncClient) -> None:
    shop, order = Shopify(client), await placed(world, 1)

    await shop.cancelled(world.shop("webshop"), order, "out of stock")
    await shop.cancelled(world.shop("webshop"), order, "out of stock")

    after = translated(world, int(order.channel_order_id))
    assert isinstance(after, Declined)
    assert after.code == "cancelled"


async def test_what_has_shipped_the_shop_does_not_cancel(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Shopify(client), await placed(world, 1)
    await shop.shipped(world.shop("webshop"), shipment(order, 1))

    with pytest.raises(Refused, match="channel webshop said"):
        await shop.cancelled(world.shop("webshop"), order, "")


async def test_an_order_that_the_shop_does_not_know_is_not_found(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, 1)
    foreign = order.model_copy(update={"channel_ref": "gid://shopify/Order/5"})

    with pytest.raises(NotFound):
        await Shopify(client).shipped(world.shop("webshop"), shipment(foreign, 1))


async def test_a_throttle_says_when_to_come_back(world: World, client: httpx.AsyncClient) -> None:
    order = await placed(world, 1)
    await world.turn("webshop", "throttle")

    with pytest.raises(Outage, match="throttles") as outage:
        await Shopify(client).shipped(world.shop("webshop"), shipment(order, 1))

    assert outage.value.retry_after is not None
    assert told(world, order) == []


async def test_a_wrong_token_is_a_refusal_that_does_not_show_it(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, 1)
    wrong = world.shop("webshop").model_copy(update={"secrets": {"access_token": "shpat_wrong"}})

    with pytest.raises(Refused) as refused:
        await Shopify(client).shipped(wrong, shipment(order, 1))

    assert refused.value.code == "partner_unauthorized"
    assert "shpat_wrong" not in f"{refused.value}{wrong!r}"


Answering = Callable[[httpx.Request], httpx.Response]


def saying(body: Any, status: int = 200) -> Answering:
    return lambda _: httpx.Response(status, json=body)


@pytest.mark.parametrize(
    ("answer", "kind", "retry_after"),
    [
        (
            saying(
                {
                    "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
                    "extensions": {
                        "cost": {
                            "requestedQueryCost": 300,
                            "throttleStatus": {"currentlyAvailable": 100, "restoreRate": 50.0},
                        }
                    },
                }
            ),
            Outage,
            4.0,
        ),
        (saying({"errors": [{"extensions": {"code": "THROTTLED"}}]}), Outage, 2.0),
        (saying({"errors": [{"extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}), Outage, None),
        (saying({"errors": [{"extensions": {"code": "ACCESS_DENIED"}}]}), Refused, None),
        (saying({"errors": "Not Found"}), Refused, None),
        (saying({"errors": [None]}), Refused, None),
        (saying({"data": None}), Outage, None),
        (saying({"data": {"order": {"id": 5}}}), Outage, None),
        (saying([]), Outage, None),
        (saying({}, 503), Outage, None),
        (saying({"errors": "no"}, 402), Refused, None),
    ],
)
async def test_answers_that_are_no_answers(
    world: World, answer: Answering, kind: type[Exception], retry_after: float | None
) -> None:
    order = await placed(world, 1)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(kind) as failed:
            await Shopify(client).shipped(CONNECTION, shipment(order, 1))

    assert getattr(failed.value, "retry_after", None) == retry_after


async def test_a_channel_without_its_token_says_so(world: World, client: httpx.AsyncClient) -> None:
    order = await placed(world, 1)
    bare = CONNECTION.model_copy(update={"secrets": {}})

    with pytest.raises(Invalid, match="no credential 'access_token'"):
        await Shopify(client).shipped(bare, shipment(order, 1))


async def test_packages_of_one_carrier_name_it(world: World) -> None:
    order = await placed(world, 1)
    seen: list[dict[str, Any]] = []

    def shop(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        seen.append(asked)
        open_line = {"id": "gid://fo/L/1", "remainingQuantity": 1}
        line = {**open_line, "lineItem": {"id": f"gid://l/{order.lines[0].line_id}"}}
        work = {"id": "gid://fo/1", "status": "OPEN", "lineItems": {"nodes": [line]}}
        body = {"id": "gid://o/1", "fulfillments": [], "fulfillmentOrders": {"nodes": [work]}}
        return httpx.Response(200, json={"data": {"order": body}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(shop)) as client:
        await Shopify(client).shipped(CONNECTION, shipment(order, 1))

    sent = seen[-1]["variables"]["fulfillment"]
    assert sent["trackingInfo"] == {"company": "UPS", "number": "1Z999"}
    assert sent["notifyCustomer"] is True
    assert sent["lineItemsByFulfillmentOrder"] == [
        {
            "fulfillmentOrderId": "gid://fo/1",
            "fulfillmentOrderLineItems": [{"id": "gid://fo/L/1", "quantity": 1}],
        }
    ]
