import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.channels.magento import Magento
from domain.errors import Invalid
from domain.orders import Declined, DeliveryMethod, Order
from tests.connectors.junk import JUNK

FIXTURES = sorted((Path(__file__).parents[4] / "shared/fixtures/magento").glob("derived*.json"))
SHOP = Magento(httpx.AsyncClient())


def row(item_id: int = 1001, **changes: Any) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "product_id": 7,
        "product_type": "simple",
        "sku": f"SKU-{item_id}",
        "name": "Bag",
        "price": 34,
        "is_virtual": 0,
        "qty_ordered": 3,
        "qty_canceled": 0,
        "qty_refunded": 0,
        "qty_shipped": 0,
        **changes,
    }


def document(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "entity_id": 101,
        "increment_id": "US-000000101",
        "state": "processing",
        "status": "on_its_way",
        "created_at": "2026-11-20 22:22:19",
        "updated_at": "2026-11-20 22:25:01",
        "order_currency_code": "USD",
        "base_currency_code": "EUR",
        "grand_total": 49.1,
        "customer_email": "jane@example.com",
        "items": list(rows) or [row()],
        "extension_attributes": {
            "shipping_assignments": [
                {
                    "shipping": {
                        "method": "flatrate_flatrate",
                        "address": {
                            "firstname": "Jane",
                            "lastname": "Doe",
                            "street": ["1 Elm St", "Flat 2", "Rear"],
                            "city": "Dallas",
                            "region": "Texas",
                            "region_code": "TX",
                            "postcode": "75201",
                            "country_id": "US",
                            "telephone": "555-0100",
                        },
                    }
                }
            ]
        },
        **changes,
    }


def pickup(code: str | None) -> dict[str, Any]:
    assignments = [{"shipping": {"method": "instore_pickup"}}]
    return {"shipping_assignments": assignments, "pickup_location_code": code}


def translated(body: Any, **settings_: Any) -> Order | Declined:
    raw = json.dumps(body).encode()
    return SHOP.translate("outlet", raw, settings_, "backorder")


def accepted(body: Any, **settings_: Any) -> Order:
    order = translated(body, **settings_)
    assert isinstance(order, Order)
    return order


def units(order: Order) -> list[tuple[str, str, int]]:
    return [(line.line_id, line.sku, line.quantity) for line in order.lines]


def test_an_order_is_translated() -> None:
    order = accepted(document())

    assert (order.order_id, order.channel_ref) == ("outlet-US-000000101", "101")
    assert order.placed_at == datetime(2026, 11, 20, 22, 22, 19, tzinfo=UTC)
    assert (order.currency, order.total_minor, order.email) == ("USD", 4910, "jane@example.com")
    assert units(order) == [("1001", "SKU-1001", 3)]
    assert order.lines[0].unit_price_minor == 3400
    address = order.ship_to
    assert (address.name, address.line1, address.line2) == ("Jane Doe", "1 Elm St", "Flat 2, Rear")
    assert (address.region, address.postal_code, address.country) == ("TX", "75201", "US")


@pytest.mark.parametrize(
    ("left", "changes"),
    [
        (3, {}),
        (1, {"qty_canceled": 1, "qty_shipped": 1}),
        (2, {"qty_refunded": 1}),
        (2, {"qty_ordered": "3.0000", "qty_shipped": 1.0}),
        (3, {"qty_canceled": None, "qty_shipped": -4}),
    ],
)
def test_exactly_the_open_units_are_accepted(left: int, changes: dict[str, Any]) -> None:
    assert units(accepted(document(row(**changes)))) == [("1001", "SKU-1001", left)]


def test_a_configurable_counts_once_with_the_childs_sku() -> None:
    parent = row(1, product_type="configurable", sku="TEE", qty_ordered=2, qty_shipped=1)
    child = row(2, sku="TEE-M-RED", qty_ordered=2, price=0, parent_item_id=1, parent_item=parent)

    order = accepted(document(parent, child))

    assert units(order) == [("1", "TEE-M-RED", 1)]
    assert order.lines[0].unit_price_minor == 3400


def test_a_configurable_whose_child_is_virtual_needs_no_shipping() -> None:
    parent = row(1, product_type="configurable", sku="COURSE", is_virtual=0)
    child = row(2, sku="COURSE-ONLINE", product_type="virtual", parent_item_id=1)

    declined = translated(document(parent, child))

    assert isinstance(declined, Declined)
    assert declined.code == "nothing_to_ship"


BUNDLE = row(1, product_type="bundle", sku="SET", qty_ordered=1)
PARTS = (row(2, parent_item_id=1, qty_ordered=1), row(3, parent_item_id=1, qty_ordered=2))


@pytest.mark.parametrize(
    ("parent", "settings_", "expected"),
    [
        ({}, {}, [("1", "SET", 1)]),
        ({}, {"bundles": "separately"}, [("2", "SKU-2", 1), ("3", "SKU-3", 2)]),
        (
            {"product_option": {"extension_attributes": {"shipment_type": "1"}}},
            {},
            [("2", "SKU-2", 1), ("3", "SKU-3", 2)],
        ),
        (
            {"extension_attributes": {"shipment_type": 0}},
            {"bundles": "separately"},
            [("1", "SET", 1)],
        ),
    ],
)
def test_a_bundle_ships_together_or_in_parts(
    parent: dict[str, Any], settings_: dict[str, Any], expected: list[tuple[str, str, int]]
) -> None:
    assert units(accepted(document({**BUNDLE, **parent}, *PARTS), **settings_)) == expected


def test_a_bundle_of_which_a_part_has_shipped_ships_in_parts() -> None:
    first = {**PARTS[0], "qty_shipped": 1}

    assert units(accepted(document(BUNDLE, first, PARTS[1]))) == [("3", "SKU-3", 2)]


@pytest.mark.parametrize(
    "absent",
    [
        {"product_type": "virtual"},
        {"product_type": "downloadable"},
        {"product_type": "giftcard"},
        {"is_virtual": 1},
        {"is_virtual": "1"},
        {"qty_shipped": 3},
        {"qty_ordered": None},
    ],
)
def test_what_needs_no_shipping_stays_out(absent: dict[str, Any]) -> None:
    order = accepted(document(row(1), row(2, **absent)))

    assert [line.line_id for line in order.lines] == ["1"]


def test_a_fraction_of_a_unit_is_rounded_up_and_holds_the_order() -> None:
    order = accepted(document(row(qty_ordered=2.5, is_qty_decimal=1)))

    assert order.holds == ("fractional_quantity",)
    assert units(order) == [("1001", "SKU-1001", 3)]
    assert "2.5" in order.lines[0].title


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("cancelled", {"state": "canceled"}),
        ("cancelled", {"state": "closed"}),
        ("already_fulfilled", {"state": "closed", "items": [row(qty_shipped=3)]}),
        ("already_fulfilled", {"state": "complete"}),
        ("already_fulfilled", {"items": [row(qty_shipped=3)]}),
        ("nothing_to_ship", {"items": [row(qty_canceled=3)]}),
        ("nothing_to_ship", {"items": [row(product_type="virtual")]}),
        ("nothing_to_ship", {"items": None}),
    ],
)
def test_what_is_not_ours_is_declined_with_the_reason(code: str, changes: dict[str, Any]) -> None:
    order = translated(document(**changes))

    assert isinstance(order, Declined)
    assert order.code == code
    assert order.reason


@pytest.mark.parametrize("state", ["holded", "pending_payment", "payment_review"])
def test_an_order_that_waits_at_the_shop_is_held(state: str) -> None:
    assert accepted(document(state=state)).holds == ("channel_hold",)


@pytest.mark.parametrize(
    ("code", "node", "holds"),
    [
        ("dallas_store", "ST-DAL", ()),
        ("ST-AUS", "ST-AUS", ()),
        (None, None, ("pickup_location_unknown",)),
    ],
)
def test_a_pickup_names_its_store(
    code: str | None, node: str | None, holds: tuple[str, ...]
) -> None:
    body = document(extension_attributes=pickup(code))

    order = accepted(body, sources={"ST-DAL": "dallas_store"})

    assert (order.pickup_node, order.holds) == (node, holds)
    assert (order.method is DeliveryMethod.PICKUP) == bool(node)


@pytest.mark.parametrize(
    ("currency", "price", "minor"), [("JPY", 500, 500), ("KWD", 1.234, 1234), ("USD", "1.10", 110)]
)
def test_money_is_in_the_orders_currency(currency: str, price: Any, minor: int) -> None:
    body = document(row(price=price), order_currency_code=currency, grand_total=price)

    order = accepted(body)

    assert (order.currency, order.total_minor) == (currency, minor)
    assert order.lines[0].unit_price_minor == minor


def test_an_order_number_that_cannot_be_an_id_gives_way_to_the_entity_id() -> None:
    assert accepted(document(increment_id="A/B 1")).channel_order_id == "101"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entity_id": None}, "entity_id"),
        ({"items": "none"}, "items"),
        ({"order_currency_code": "", "base_currency_code": None}, "currency"),
        ({"created_at": None, "updated_at": ""}, "created_at"),
    ],
)
def test_what_is_no_order_is_invalid_and_says_where(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match=rf"^{field}: "):
        translated(document(**changes))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_recorded_payloads_are_read(path: Path) -> None:
    body = json.loads(path.read_bytes())
    for found in body["items"] if "total_count" in body else [body]:
        order = accepted(found)
        assert sum(x.quantity for x in order.lines) == found["total_qty_ordered"]


FIELDS = st.dictionaries(st.sampled_from([*row(), "parent_item_id", "parent_item"]), JUNK)


@settings(max_examples=300, deadline=None)
@given(
    FIELDS,
    FIELDS,
    st.dictionaries(st.sampled_from([*document()]), JUNK),
    st.sampled_from([1, 2, 3]),
)
def test_no_document_crashes_the_translation(
    parent: dict[str, Any], child: dict[str, Any], changes: dict[str, Any], parent_id: int
) -> None:
    rows = ({**row(1), **parent}, {**row(2, parent_item_id=parent_id), **child})
    with contextlib.suppress(Invalid):
        order = translated(document(*rows, **changes))
        assert "\x00" not in order.model_dump_json()


@pytest.mark.parametrize(
    ("changes", "token", "reservation"),
    [
        ({"extension_attributes": {"crossdock_promise": "pr_1"}}, "pr_1", ""),
        ({"extension_attributes": {"crossdock_reservation": ["x"]}}, "", ""),
        ({"customer_note": "Ring twice. crossdock_reservation: cart-1"}, "", "cart-1"),
        (
            {
                "extension_attributes": {"crossdock_promise": "declared"},
                "status_histories": [
                    {"comment": None},
                    {"comment": "<p>crossdock_promise=pr_2 crossdock_reservation=cart-2</p>"},
                ],
            },
            "declared",
            "cart-2",
        ),
        ({"status_histories": {"comment": "crossdock_promise=pr_2"}}, "", ""),
        ({"customer_note": "crossdock_promise=" + "y" * 9_000}, "y" * 64, ""),
        (
            {"status_histories": [{"comment": "crossdock_promise= " * 1_000}] * 100},
            "crossdock_promise=",
            "",
        ),
    ],
)
def test_what_the_cart_carried_is_the_orders(
    changes: dict[str, Any], token: str, reservation: str
) -> None:
    raw = json.dumps(document(**changes)).encode()
    order = SHOP.translate("boutique", raw, {}, "backorder")
    assert isinstance(order, Order)
    assert (order.promise_token, order.reservation) == (token, reservation)
