"""Orders as Magento shops keep them, with what must become of each, worked out by hand."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Json
from tests.e2e.documents import Document

FIXTURES = Path(__file__).parents[3] / "shared/fixtures/magento"
_FIRST = 700_001


class ShopOrder(Document):
    """An order of the shop."""

    @property
    def order_id(self) -> str:
        return f"outlet-{self.body['increment_id']}"


def documents() -> list[ShopOrder]:
    """Every one with numbers of its own."""
    made = [*_fixtures(), *_built()]
    for number, one in enumerate(made, start=_FIRST):
        one.body.update(entity_id=number, increment_id=f"E2E-{number}")
    return made


def row(number: int, sku: str | None = "E2E-BAG", **changes: Any) -> Json:
    gone = dict.fromkeys(("qty_canceled", "qty_invoiced", "qty_refunded", "qty_shipped"), 0)
    return {
        "item_id": number,
        "product_id": 300_000 + number,
        "product_type": "simple",
        "sku": sku,
        "name": "Bag",
        "is_virtual": 0,
        "qty_ordered": 3,
        **gone,
        "price": 34.5,
        **changes,
    }


def order(*rows: Json, **changes: Any) -> Json:
    shipping = {"address": _ADDRESS, "method": "flatrate_flatrate"}
    return {
        "entity_id": 1,
        "increment_id": "1",
        "state": "processing",
        "status": "processing",
        "created_at": "2026-11-20 22:22:19",
        "order_currency_code": "USD",
        "base_currency_code": "USD",
        "grand_total": 103.5,
        "customer_email": "roni@example.com",
        "items": list(rows),
        "extension_attributes": {"shipping_assignments": [{"shipping": shipping}]},
        **changes,
    }


_ADDRESS = {
    "firstname": "Veronica",
    "lastname": "Costello",
    "street": ["6146 Honey Bluff Parkway", "Apt 2"],
    "city": "Calder",
    "region_code": "MI",
    "postcode": "49628",
    "country_id": "US",
    "telephone": "555-0100",
}


def _built() -> list[ShopOrder]:
    bag = (("11", "E2E-BAG", 3),)
    one = row(11)
    bundle = row(11, "E2E-BUNDLE", product_type="bundle")
    parts = (row(12, "E2E-PART-A", parent_item_id=11), row(13, "E2E-PART-B", parent_item_id=11))
    at_store = {
        "shipping_assignments": [{"shipping": {"address": _ADDRESS, "method": "instore_pickup"}}],
        "pickup_location_code": "ST-CHI",
    }
    nowhere = {**at_store, "pickup_location_code": "ST-MARS"}
    return [
        ShopOrder("plain", order(one), units=bag, total_minor=10350),
        ShopOrder(
            "yen",
            order(one, order_currency_code="JPY", grand_total=11_100),
            units=bag,
            currency="JPY",
            total_minor=11_100,
        ),
        ShopOrder(
            "dinar",
            order(one, order_currency_code="KWD", grand_total=31.125),
            units=bag,
            currency="KWD",
            total_minor=31_125,
        ),
        ShopOrder(
            "configurable",
            order(
                row(11, "E2E-BAG-RED", product_type="configurable"),
                row(12, "E2E-BAG-RED", parent_item_id=11, price=0),
            ),
            units=(("11", "E2E-BAG-RED", 3),),
        ),
        ShopOrder(
            "configurable that is virtual",
            order(
                row(11, "E2E-COURSE", product_type="configurable"),
                row(12, "E2E-COURSE", product_type="virtual", parent_item_id=11),
            ),
            "nothing_to_ship",
        ),
        ShopOrder("quantities as text", order(row(11, qty_ordered="3.0000")), units=bag),
        ShopOrder(
            "in another currency than the shop's",
            order(one, base_currency_code="EUR", order_currency_code="GBP", base_grand_total=120),
            units=bag,
            currency="GBP",
            total_minor=10350,
        ),
        ShopOrder(
            "bundle that ships together",
            order({**bundle, "product_option": {"shipment_type": 0}}, *parts),
            units=(("11", "E2E-BUNDLE", 3),),
        ),
        ShopOrder(
            "bundle that ships in parts",
            order({**bundle, "extension_attributes": {"shipment_type": "1"}}, *parts),
            units=(("12", "E2E-PART-A", 3), ("13", "E2E-PART-B", 3)),
        ),
        ShopOrder(
            "with a virtual row",
            order(one, row(12, "E2E-WARRANTY", product_type="virtual", is_virtual=1)),
            units=bag,
        ),
        ShopOrder(
            "partly shipped, cancelled and refunded",
            order(row(11, qty_ordered=9, qty_shipped=2, qty_canceled=1, qty_refunded=3)),
            units=bag,
        ),
        ShopOrder("250 rows", order(*(row(n) for n in range(1, 251))), units=_bags(250)),
        ShopOrder("unknown fields", order({**one, "new": {"a": [None]}}, new=[[]]), units=bag),
        ShopOrder(
            "nulls wherever a null may be",
            {
                **dict.fromkeys(order()),
                "state": "new",
                "order_currency_code": "USD",
                "created_at": "2026-11-20 22:22:19",
                "extension_attributes": order()["extension_attributes"],
                "items": [
                    {**dict.fromkeys(one), "item_id": 11, "sku": "E2E-BAG", "qty_ordered": 3}
                ],
            },
            units=bag,
        ),
        ShopOrder("no SKU, but a product id", order(row(11, None)), units=(("11", "300011", 3),)),
        ShopOrder(
            "collected at a store",
            order(one, extension_attributes=at_store),
            units=bag,
        ),
        ShopOrder("on hold at the shop", order(one, state="holded"), "held", bag),
        ShopOrder("not paid yet", order(one, state="pending_payment"), "held", bag),
        ShopOrder("payment under review", order(one, state="payment_review"), "held", bag),
        ShopOrder("an unknown SKU", order(row(11, "E2E-NEVER")), "held", (("11", "", 3),)),
        ShopOrder("half a unit", order(row(11, qty_ordered=2.5)), "held", bag),
        ShopOrder("a pickup nowhere", order(one, extension_attributes=nowhere), "held", bag),
        ShopOrder("no address", order(one, extension_attributes=None), "held", bag),
        ShopOrder("cancelled", order(one, state="canceled"), "cancelled"),
        ShopOrder("refunded and closed", order(one, state="closed"), "cancelled"),
        ShopOrder("complete", order(row(11, qty_shipped=3), state="complete"), "already_fulfilled"),
        ShopOrder("all shipped", order(row(11, qty_shipped=3)), "already_fulfilled"),
        ShopOrder("only virtual", order(row(11, product_type="downloadable")), "nothing_to_ship"),
        ShopOrder("all cancelled", order(row(11, qty_canceled=3)), "nothing_to_ship"),
        ShopOrder("no rows", order(), "nothing_to_ship"),
    ]


def _bags(count: int) -> tuple[tuple[str, str, int], ...]:
    return tuple((str(n), "E2E-BAG", 3) for n in range(1, count + 1))


def _fixtures() -> list[ShopOrder]:
    """Real payloads, where they are at hand."""
    if not FIXTURES.exists():
        return []
    configurable, page, created = (
        json.loads((FIXTURES / f"{name}.json").read_text())
        for name in (
            "derived_order_configurable_with_child",
            "derived_search_orders_page",
            "docs_order_create_order",
        )
    )
    orange = (("1001", "WS12-M-Orange", 2),)
    return [
        ShopOrder("fixture: configurable", configurable, units=orange, total_minor=4900),
        ShopOrder("fixture: first of a page", page["items"][0], units=orange),
        ShopOrder("fixture: second of a page", page["items"][1], "held", (("1040", "24-MB01", 1),)),
        ShopOrder(
            "fixture: as it was created",
            created[1],
            units=(("3", "WS12-M-Orange", 1),),
            total_minor=16_500,
        ),
    ]
