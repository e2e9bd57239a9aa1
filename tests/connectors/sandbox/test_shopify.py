import asyncio
from typing import Any

import pytest
from graphql import parse, validate

from connectors import signing
from connectors.channels import shopify_graphql
from connectors.sandbox.shopify import schema
from tests.connectors.sandbox.conftest import ADDRESS, Listener, Sandbox

WEBHOOK = "/webhooks/shopify/webshop"
STORE = {"id": 77, "code": "ST-NYC", "name": "Fifth Avenue"}
WORK = """
query Work($id: ID!) {
  order(id: $id) {
    id name displayFulfillmentStatus cancelledAt
    fulfillments(first: 5) { id trackingInfo(first: 5) { number company url } }
    fulfillmentOrders(first: 5) {
      pageInfo { hasNextPage }
      nodes {
        id status requestStatus
        deliveryMethod { methodType }
        assignedLocation { name location { id } }
        lineItems(first: 20) {
          nodes { id sku totalQuantity remainingQuantity lineItem { id sku } }
        }
        fulfillments(first: 5) { nodes { id totalQuantity } }
      }
    }
  }
}
"""
FULFILL = """
mutation Fulfill($fulfillment: FulfillmentInput!) {
  fulfillmentCreate(fulfillment: $fulfillment) {
    fulfillment { id status trackingInfo { number } fulfillmentLineItems(first: 9) {
      nodes { quantity lineItem { sku } } } }
    userErrors { field message }
  }
}
"""


async def place(sandbox: Sandbox, **parts: Any) -> dict[str, Any]:
    lines = [{"sku": "SKU-0001", "quantity": 3, "price": "12.50"}]
    spec = {"lines": lines, "address": ADDRESS, **parts}
    placed: dict[str, Any] = await sandbox.control("POST", "/shops/webshop/orders", spec)
    return placed


async def work(sandbox: Sandbox, order_id: int) -> dict[str, Any]:
    answer = await sandbox.graphql(WORK, id=f"gid://shopify/Order/{order_id}")
    assert "errors" not in answer, answer
    order: dict[str, Any] = answer["data"]["order"]
    return order


async def fulfill(sandbox: Sandbox, group: dict[str, Any], tracking: str = "1Z") -> dict[str, Any]:
    wanted = {"lineItemsByFulfillmentOrder": [group], "trackingInfo": {"number": tracking}}
    answer = await sandbox.graphql(FULFILL, fulfillment=wanted)
    made: dict[str, Any] = answer["data"]["fulfillmentCreate"]
    return made


async def test_an_order_is_told_by_a_signed_webhook(sandbox: Sandbox, listener: Listener) -> None:
    placed = await place(sandbox)

    heard = (await listener.until(1, WEBHOOK))[0]

    assert signing.verify_shopify(["hush"], heard.headers["x-shopify-hmac-sha256"], heard.raw)
    assert heard.headers["x-shopify-topic"] == "orders/create"
    for name in ("shop-domain", "api-version", "webhook-id", "event-id", "triggered-at"):
        assert heard.headers[f"x-shopify-{name}"]
    assert (heard.body["id"], heard.body["name"]) == (placed["id"], placed["name"])
    assert heard.body["total_price"] == "37.50"
    assert heard.body["line_items"][0]["fulfillable_quantity"] == 3
    assert heard.body["shipping_address"]["province"] == "Texas"


@pytest.mark.parametrize(
    ("currency", "price"), [("USD", "12.00"), ("JPY", "12"), ("KWD", "12.000")]
)
async def test_prices_have_the_decimals_of_their_currency(
    sandbox: Sandbox, listener: Listener, currency: str, price: str
) -> None:
    await place(sandbox, currency=currency, lines=[{"sku": "A", "price": "12"}])

    line = (await listener.until(1, WEBHOOK))[0].body["line_items"][0]

    assert line["price"] == price


async def test_the_same_webhook_may_come_often_and_late(
    sandbox: Sandbox, listener: Listener
) -> None:
    listener.answers[WEBHOOK] = [500, 429]
    await place(sandbox, order_id=820982911946154508, webhooks={"times": 4})

    heard = await listener.until(6, WEBHOOK)

    assert {one.headers["x-shopify-webhook-id"] for one in heard} == {
        heard[0].headers["x-shopify-webhook-id"]
    }
    assert {one.body["id"] for one in heard} == {820982911946154508}


async def test_updated_may_come_before_create_and_create_never(
    sandbox: Sandbox, listener: Listener
) -> None:
    await place(sandbox, webhooks={"updated_first": True, "drop": True})
    await place(sandbox, webhooks={"drop": True})

    heard = await listener.until(1, WEBHOOK)
    await asyncio.sleep(0.1)

    assert [one.headers["x-shopify-topic"] for one in heard] == ["orders/updated"]


async def test_pickup_shows_only_on_the_fulfillment_order(
    sandbox: Sandbox, listener: Listener
) -> None:
    placed = await place(sandbox, method="pickup", location=STORE)

    body = (await listener.until(1, WEBHOOK))[0].body
    order = await work(sandbox, placed["id"])

    assert body["shipping_address"] is None
    assert body["shipping_lines"][0]["title"] == "Fifth Avenue"
    found = order["fulfillmentOrders"]["nodes"][0]
    assert found["deliveryMethod"]["methodType"] == "PICK_UP"
    assert found["assignedLocation"]["location"]["id"] == "gid://shopify/Location/77"


async def test_routing_takes_its_time(sandbox: Sandbox) -> None:
    placed = await place(sandbox, routing_ms=60_000)

    assert (await work(sandbox, placed["id"]))["fulfillmentOrders"]["nodes"] == []


async def test_what_needs_no_shipping_is_no_work(sandbox: Sandbox) -> None:
    lines = [
        {"sku": "A", "quantity": 1},
        {"sku": "GIFT", "quantity": 1, "gift_card": True},
        {"sku": "EBOOK", "quantity": 1, "requires_shipping": False},
    ]
    placed = await place(sandbox, lines=lines)

    nodes = (await work(sandbox, placed["id"]))["fulfillmentOrders"]["nodes"]

    assert [line["sku"] for line in nodes[0]["lineItems"]["nodes"]] == ["A"]


async def test_units_are_fulfilled_in_parts_until_none_remain(sandbox: Sandbox) -> None:
    placed = await place(sandbox)
    found = (await work(sandbox, placed["id"]))["fulfillmentOrders"]["nodes"][0]
    line = found["lineItems"]["nodes"][0]["id"]
    part = {"fulfillmentOrderLineItems": [{"id": line, "quantity": 1}]}

    first = await fulfill(sandbox, {"fulfillmentOrderId": found["id"], **part}, "1Z1")
    midway = await work(sandbox, placed["id"])
    rest = await fulfill(sandbox, {"fulfillmentOrderId": found["id"]}, "1Z2")
    after = await work(sandbox, placed["id"])
    over = await fulfill(sandbox, {"fulfillmentOrderId": found["id"]}, "1Z3")

    assert first["userErrors"] == rest["userErrors"] == []
    assert first["fulfillment"]["trackingInfo"] == [{"number": "1Z1"}]
    shipped = rest["fulfillment"]["fulfillmentLineItems"]["nodes"]
    assert shipped == [{"quantity": 2, "lineItem": {"sku": "SKU-0001"}}]
    assert midway["displayFulfillmentStatus"] == "PARTIALLY_FULFILLED"
    assert midway["fulfillmentOrders"]["nodes"][0]["status"] == "IN_PROGRESS"
    assert after["displayFulfillmentStatus"] == "FULFILLED"
    assert after["fulfillmentOrders"]["nodes"][0]["status"] == "CLOSED"
    assert [f["trackingInfo"][0]["number"] for f in after["fulfillments"]] == ["1Z1", "1Z2"]
    assert "unfulfillable status= closed" in over["userErrors"][0]["message"]


@pytest.mark.parametrize(
    ("quantity", "message"),
    [
        (0, "Quantity must be greater than 0"),
        (4, "Invalid fulfillment order line item quantity requested."),
    ],
)
async def test_a_wrong_quantity_changes_nothing(
    sandbox: Sandbox, quantity: int, message: str
) -> None:
    placed = await place(sandbox)
    found = (await work(sandbox, placed["id"]))["fulfillmentOrders"]["nodes"][0]
    line = found["lineItems"]["nodes"][0]["id"]

    chosen = [{"id": line, "quantity": quantity}]
    made = await fulfill(
        sandbox, {"fulfillmentOrderId": found["id"], "fulfillmentOrderLineItems": chosen}
    )

    assert made == {
        "fulfillment": None,
        "userErrors": [{"field": ["fulfillment"], "message": message}],
    }
    assert (await work(sandbox, placed["id"]))["fulfillments"] == []


async def test_creating_is_not_idempotent_even_when_its_answer_is_lost(sandbox: Sandbox) -> None:
    placed = await place(sandbox)
    found = (await work(sandbox, placed["id"]))["fulfillmentOrders"]["nodes"][0]
    line = found["lineItems"]["nodes"][0]["id"]
    lost = {"behaviours": [{"behaviour": "lost_answer", "count": 1}]}
    await sandbox.control("PUT", "/shops/webshop", lost)

    chosen = [{"id": line, "quantity": 1}]
    group = {"fulfillmentOrderId": found["id"], "fulfillmentOrderLineItems": chosen}
    with pytest.raises(AssertionError, match="Bad Gateway"):
        await fulfill(sandbox, group)
    await fulfill(sandbox, group)

    assert len((await work(sandbox, placed["id"]))["fulfillments"]) == 2


async def test_pickup_is_prepared_and_delivery_told(sandbox: Sandbox) -> None:
    placed = await place(sandbox, method="pickup", location=STORE)
    found = (await work(sandbox, placed["id"]))["fulfillmentOrders"]["nodes"][0]["id"]
    prepare = """mutation P($input: FulfillmentOrderLineItemsPreparedForPickupInput!) {
      fulfillmentOrderLineItemsPreparedForPickup(input: $input) { userErrors { code message } } }"""
    happened = """mutation E($event: FulfillmentEventInput!) {
      fulfillmentEventCreate(fulfillmentEvent: $event) {
        fulfillmentEvent { status } userErrors { message } } }"""

    group = {"lineItemsByFulfillmentOrder": [{"fulfillmentOrderId": found}]}
    prepared = await sandbox.graphql(prepare, input=group)
    made = await fulfill(sandbox, {"fulfillmentOrderId": found})
    event = {"fulfillmentId": made["fulfillment"]["id"], "status": "DELIVERED"}
    told = await sandbox.graphql(happened, event=event)
    again = await sandbox.graphql(prepare, input=group)

    assert prepared["data"]["fulfillmentOrderLineItemsPreparedForPickup"]["userErrors"] == []
    assert told["data"]["fulfillmentEventCreate"]["fulfillmentEvent"] == {"status": "DELIVERED"}
    assert again["data"]["fulfillmentOrderLineItemsPreparedForPickup"]["userErrors"]


async def test_a_cancelled_order_is_told_and_is_work_no_more(
    sandbox: Sandbox, listener: Listener
) -> None:
    placed = await place(sandbox)
    await sandbox.control("POST", f"/shops/webshop/orders/{placed['id']}/cancel")

    await listener.wait(
        lambda: "orders/cancelled" in [h.headers["x-shopify-topic"] for h in listener.heard]
    )
    order = await work(sandbox, placed["id"])
    cancel = """mutation C($id: ID!) { orderCancel(orderId: $id, reason: CUSTOMER, restock: true) {
      job { id } orderCancelUserErrors { code message } } }"""
    again = await sandbox.graphql(cancel, id=order["id"])

    assert order["cancelledAt"]
    assert order["fulfillmentOrders"]["nodes"][0]["status"] == "CANCELLED"
    assert again["data"]["orderCancel"]["orderCancelUserErrors"][0]["code"] == "INVALID"


async def test_orders_are_found_by_when_they_changed(sandbox: Sandbox) -> None:
    first = await place(sandbox)
    await asyncio.sleep(0.01)
    second = await place(sandbox)
    find = """query Q($query: String, $after: String) {
      orders(first: 1, query: $query, after: $after, sortKey: UPDATED_AT) {
        nodes { id legacyResourceId updatedAt } pageInfo { hasNextPage endCursor } } }"""

    page = (await sandbox.graphql(find, query="updated_at:>=2020-01-01"))["data"]["orders"]
    more = await sandbox.graphql(find, after=page["pageInfo"]["endCursor"])
    since = await work_since(sandbox, find, more["data"]["orders"]["nodes"][0]["updatedAt"])

    assert page["nodes"][0]["legacyResourceId"] == str(first["id"])
    assert page["pageInfo"]["hasNextPage"] is True
    assert more["data"]["orders"]["nodes"][0]["legacyResourceId"] == str(second["id"])
    assert since == [str(second["id"])]


async def work_since(sandbox: Sandbox, find: str, since: str) -> list[str]:
    answer = await sandbox.graphql(find, query=f"updated_at:>='{since}' status:any")
    return [order["legacyResourceId"] for order in answer["data"]["orders"]["nodes"]]


async def test_a_throttled_call_says_how_long_to_wait(sandbox: Sandbox) -> None:
    throttle = {"behaviours": [{"behaviour": "throttle", "count": 1}]}
    await sandbox.control("PUT", "/shops/webshop", throttle)

    throttled = await sandbox.graphql("{ orders(first: 9) { nodes { id } } }")
    answered = await sandbox.graphql("{ orders(first: 9) { nodes { id } } }")

    assert throttled["errors"][0]["extensions"]["code"] == "THROTTLED"
    assert throttled["extensions"]["cost"]["actualQueryCost"] is None
    assert answered["extensions"]["cost"]["throttleStatus"]["restoreRate"] == 1000


async def test_wrong_questions_get_shopifys_answers(sandbox: Sandbox) -> None:
    unknown_field = await sandbox.graphql("{ orders(first: 1) { nodes { nope } } }")
    bad_id = await sandbox.graphql('{ order(id: "7") { id } }')
    no_order = await sandbox.graphql('{ order(id: "gid://shopify/Order/7") { id } }')
    path = "/shops/webshop/admin/api/{}/graphql.json"
    no_token = await sandbox.http.post(path.format("2026-10"), json={"query": "{ x }"})
    no_version = await sandbox.http.post(path.format("2020-01"), json={"query": "{ x }"})

    assert "nope" in unknown_field["errors"][0]["message"]
    assert bad_id["errors"][0]["extensions"]["code"] == "RESOURCE_NOT_FOUND"
    assert no_order["data"] == {"order": None}
    assert (no_token.status_code, no_version.status_code) == (401, 404)


@pytest.mark.parametrize("document", shopify_graphql.DOCUMENTS)
def test_the_shop_understands_what_our_connector_asks(document: str) -> None:
    assert validate(schema(), parse(document)) == []


async def test_an_order_in_shopifys_own_words_is_taken_as_it_is(
    sandbox: Sandbox, listener: Listener
) -> None:
    line = {"id": 5, "quantity": 2, "sku": None, "title": "Hat", "fulfillable_quantity": 1}
    body = {"id": 2**62, "name": "#7", "line_items": [line], "odd": {"kept": True}}
    await sandbox.control("POST", "/shops/webshop/payloads", {"body": body, "method": "ship"})

    heard = (await listener.until(1, WEBHOOK))[0]
    order = await work(sandbox, 2**62)

    assert heard.body == body
    found = order["fulfillmentOrders"]["nodes"][0]["lineItems"]["nodes"][0]
    assert (found["sku"], found["remainingQuantity"]) == (None, 1)
