from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.channels import oauth1
from tests.connectors.sandbox.conftest import ADDRESS, OAUTH, Sandbox

STORE = {"id": 77, "code": "ST-NYC", "name": "Fifth Avenue"}


async def place(sandbox: Sandbox, **parts: Any) -> int:
    lines = [{"sku": "SKU-0001", "quantity": 3, "price": "12.50"}]
    spec = {"lines": lines, "address": ADDRESS, **parts}
    entity: int = (await sandbox.control("POST", "/shops/outlet/orders", spec))["id"]
    return entity


async def order(sandbox: Sandbox, entity: int) -> dict[str, Any]:
    answer = await sandbox.magento("GET", f"orders/{entity}")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def criteria(**parts: str | int) -> str:
    where = [
        ("searchCriteria[filter_groups][0][filters][0][field]", parts.get("field", "updated_at")),
        ("searchCriteria[filter_groups][0][filters][0][value]", parts["value"]),
        ("searchCriteria[filter_groups][0][filters][0][condition_type]", parts["condition"]),
        ("searchCriteria[sortOrders][0][field]", "entity_id"),
        ("searchCriteria[sortOrders][0][direction]", "ASC"),
        ("searchCriteria[pageSize]", parts.get("size", 2)),
        ("searchCriteria[currentPage]", parts.get("page", 1)),
    ]
    return oauth1.query((name, str(value)) for name, value in where)


async def test_an_order_has_magentos_shape(sandbox: Sandbox) -> None:
    body = await order(sandbox, await place(sandbox))

    shipping = body["extension_attributes"]["shipping_assignments"][0]["shipping"]
    assert body["state"] == body["status"] == "processing"
    assert shipping["address"]["street"] == ["1 Main St"]
    assert (shipping["address"]["region"], shipping["address"]["region_code"]) == ("Texas", "TX")
    assert "shipping_address" not in body
    assert (body["grand_total"], body["items"][0]["qty_ordered"]) == (37.5, 3)
    datetime.strptime(body["updated_at"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


async def test_a_configurable_has_a_parent_and_a_child(sandbox: Sandbox) -> None:
    lines = [{"sku": "TEE-M", "quantity": 2, "price": "9.00", "configurable": True}]
    parent, child = (await order(sandbox, await place(sandbox, lines=lines)))["items"]

    assert (parent["product_type"], parent["price"]) == ("configurable", 9.0)
    assert (child["product_type"], child["price"]) == ("simple", 0)
    assert child["parent_item_id"] == child["parent_item"]["item_id"] == parent["item_id"]
    assert parent["sku"] == child["sku"] == "TEE-M"


async def test_a_pickup_order_names_its_source(sandbox: Sandbox) -> None:
    body = await order(sandbox, await place(sandbox, method="pickup", location=STORE))

    extension = body["extension_attributes"]
    assert extension["pickup_location_code"] == "ST-NYC"
    assert extension["shipping_assignments"][0]["shipping"]["method"] == "instore_pickup"


async def test_the_page_after_the_last_is_the_last_again(sandbox: Sandbox) -> None:
    placed = [await place(sandbox) for _ in range(3)]
    pages = []

    for page in (1, 2, 3):
        query = criteria(value="2020-01-01 00:00:00", condition="gteq", page=page)
        found = (await sandbox.magento("GET", f"orders?{query}")).json()
        pages.append([item["entity_id"] for item in found["items"]])
        assert found["total_count"] == 3

    assert pages == [placed[:2], placed[2:], placed[2:]]
    none = criteria(value="2999-01-01 00:00:00", condition="gteq")
    empty = (await sandbox.magento("GET", f"orders?{none}")).json()
    assert (empty["items"], empty["total_count"]) == ([], 0)


async def test_units_ship_by_source_and_never_more_than_ordered(sandbox: Sandbox) -> None:
    entity = await place(sandbox)
    item = (await order(sandbox, entity))["items"][0]["item_id"]

    def shipment(quantity: int) -> dict[str, Any]:
        return {
            "items": [{"order_item_id": item, "qty": quantity}],
            "tracks": [{"track_number": "1Z9", "title": "UPS", "carrier_code": "ups"}],
            "comment": {"comment": "from Dallas", "is_visible_on_front": 0},
            "arguments": {"extension_attributes": {"source_code": "DC-DAL"}},
        }

    first = await sandbox.magento("POST", f"order/{entity}/ship", shipment(2))
    over = await sandbox.magento("POST", f"order/{entity}/ship", shipment(2))
    rest = await sandbox.magento("POST", f"order/{entity}/ship", shipment(1))
    late = await sandbox.magento("POST", f"order/{entity}/ship", shipment(1))

    assert (first.json(), rest.json()) == ("1", "2")
    assert (over.status_code, late.status_code) == (400, 400)
    assert over.json()["parameters"] == ["SKU-0001"]
    after = await order(sandbox, entity)
    assert (after["state"], after["items"][0]["qty_shipped"]) == ("complete", 3)
    query = criteria(field="order_id", value=entity, condition="eq")
    known = (await sandbox.magento("GET", f"shipments?{query}")).json()["items"]
    assert known[0]["comments"] == [{"comment": "from Dallas"}]
    assert known[0]["tracks"][0]["track_number"] == "1Z9"
    assert known[0]["extension_attributes"] == {"source_code": "DC-DAL"}


async def test_a_pickup_that_is_ready_is_shipped_from_its_store(sandbox: Sandbox) -> None:
    entity = await place(sandbox, method="pickup", location=STORE)
    other = await place(sandbox)

    told = await sandbox.magento(
        "POST", "order/notify-orders-are-ready-for-pickup", {"orderIds": [entity, other]}
    )

    assert told.json()["successful"] == [entity]
    assert told.json()["errors"][0]["id"] == other
    assert (await order(sandbox, entity))["extension_attributes"]["notification_sent"] == 1


async def test_only_what_has_not_shipped_is_cancelled(sandbox: Sandbox) -> None:
    entity, shipped = await place(sandbox), await place(sandbox)
    await sandbox.magento("POST", f"order/{shipped}/ship", {})

    answers = [
        (await sandbox.magento("POST", f"orders/{one}/cancel")).json()
        for one in (entity, entity, shipped)
    ]

    assert answers == [True, False, False]
    body = await order(sandbox, entity)
    assert (body["state"], body["items"][0]["qty_canceled"]) == ("canceled", 3)


@pytest.mark.parametrize("wrong", ["consumer_key", "consumer_secret", "access_token_secret"])
async def test_a_wrong_signature_is_refused_in_magentos_words(sandbox: Sandbox, wrong: str) -> None:
    url = f"{sandbox.url}/shops/outlet/rest/default/V1/orders/1"
    credentials = oauth1.Credentials(**{**OAUTH, wrong: "other"})
    signed = oauth1.authorization("GET", url, credentials, nonce="n", at=datetime.now(UTC))

    answer = await sandbox.http.get(url, headers={"Authorization": signed})

    assert answer.status_code == 401
    assert answer.json()["parameters"] == {"resources": "Magento_Sales::sales"}


async def test_what_is_not_there_is_not_found(sandbox: Sandbox) -> None:
    assert (await sandbox.magento("GET", "orders/999")).status_code == 404
    assert (await sandbox.magento("POST", "order/999/ship", {})).status_code == 404
