import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.channels.shopify import Shopify
from domain.errors import Invalid
from domain.orders import Address, Declined, DeliveryMethod, Order
from tests.connectors.junk import mutated

FIXTURES = sorted((Path(__file__).parents[4] / "shared/fixtures/shopify").glob("*.json"))
SHOP = Shopify(httpx.AsyncClient())
BIG = 820982911946154508  # more than a float can hold


def line(**changes: Any) -> dict[str, Any]:
    return {
        "id": BIG + 1,
        "variant_id": 447654529,
        "title": "Mug",
        "name": "Mug - Blue",
        "quantity": 2,
        "current_quantity": 2,
        "fulfillable_quantity": 2,
        "fulfillment_status": None,
        "sku": "MUG-BLUE",
        "requires_shipping": True,
        "gift_card": False,
        "price": "12.30",
        "price_set": {
            "shop_money": {"amount": "12.30", "currency_code": "USD"},
            "presentment_money": {"amount": "1845", "currency_code": "JPY"},
        },
        "properties": {"name": "engraving", "value": 3},
        **changes,
    }


def document(*lines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": BIG,
        "admin_graphql_api_id": f"gid://shopify/Order/{BIG}",
        "name": "#1001",
        "processed_at": "2026-11-20T10:00:00-05:00",
        "created_at": "2026-11-20T10:00:01-05:00",
        "cancelled_at": None,
        "currency": "USD",
        "presentment_currency": "JPY",
        "financial_status": "paid",
        "fulfillment_status": None,
        "confirmed": False,
        "test": True,
        "total_price": "24.60",
        "email": "jane@example.com",
        "phone": "+1 555-0100",
        "customer": None,
        "shipping_address": {
            "first_name": "Jane",
            "last_name": "Doe",
            "name": "Jane Doe",
            "company": None,
            "address1": "1 Elm St",
            "address2": None,
            "city": "Dallas",
            "province": "Texas",
            "province_code": "TX",
            "zip": "75201",
            "country": "United States",
            "country_code": "US",
            "phone": None,
        },
        "line_items": list(lines) or [line()],
        "refunds": [],
        "fulfillments": [],
        "something_new": {"nested": [1, None]},
        **changes,
    }


def translated(body: Any) -> Order | Declined:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SHOP.translate("webshop", raw, {}, "backorder")


def accepted(body: Any) -> Order:
    order = translated(body)
    assert isinstance(order, Order)
    return order


def declined(body: Any) -> str:
    order = translated(body)
    assert isinstance(order, Declined)
    assert order.channel_order_id == str(BIG)
    assert order.reason
    return order.code


def refund(kind: str | None, quantity: int, line_id: int = BIG + 1) -> dict[str, Any]:
    item = {"line_item_id": line_id, "quantity": quantity, "restock_type": kind}
    return {"refund_line_items": [item]}


def fulfillment(status: str | None, quantity: int, line_id: int = BIG + 1) -> dict[str, Any]:
    return {"status": status, "line_items": [{"id": line_id, "quantity": quantity}]}


def test_an_order_is_translated() -> None:
    order = accepted(document())

    assert (order.channel, order.channel_order_id) == ("webshop", str(BIG))
    assert order.channel_ref == f"gid://shopify/Order/{BIG}"
    assert order.placed_at == datetime(2026, 11, 20, 15, tzinfo=UTC)
    assert (order.currency, order.total_minor) == ("USD", 2460)
    assert (order.method, order.when_short, order.holds) == (DeliveryMethod.SHIP, "backorder", ())
    assert order.ship_to == Address(
        name="Jane Doe",
        line1="1 Elm St",
        city="Dallas",
        region="TX",
        postal_code="75201",
        country="US",
        phone="+1 555-0100",
        email="jane@example.com",
    )
    (found,) = order.lines
    assert (found.line_id, found.sku, found.aliases) == (str(BIG + 1), "MUG-BLUE", ("447654529",))
    assert (found.quantity, found.unit_price_minor, found.title) == (2, 1230, "Mug - Blue")


MISSING = object()


@pytest.mark.parametrize(
    ("units", "line_changes", "order_changes"),
    [
        # Shopify's own answer counts
        (2, {}, {}),
        (1, {"fulfillable_quantity": 1, "fulfillment_status": "partial"}, {}),
        (1, {"fulfillable_quantity": "1"}, {}),
        (2, {}, {"fulfillments": [fulfillment("success", 1)]}),
        (2, {}, {"refunds": [refund("no_restock", 2)]}),
        # ... for no more than there are
        (1, {"current_quantity": 1}, {}),
        (2, {"fulfillable_quantity": 9}, {}),
        # without it, what is current and not yet fulfilled
        (2, {"fulfillable_quantity": None}, {}),
        (1, {"fulfillable_quantity": None, "current_quantity": 1}, {}),
        (1, {"fulfillable_quantity": MISSING}, {"fulfillments": [fulfillment("success", 1)]}),
        (1, {"fulfillable_quantity": MISSING}, {"fulfillments": [fulfillment(None, 1)]}),
        (2, {"fulfillable_quantity": MISSING}, {"fulfillments": [fulfillment("failure", 1)]}),
        (2, {"fulfillable_quantity": MISSING}, {"fulfillments": [fulfillment("cancelled", 1)]}),
        (2, {"fulfillable_quantity": MISSING}, {"fulfillments": [fulfillment("success", 1, 7)]}),
        # three ordered, one shipped and sent back: two are left to ship
        (
            2,
            {"fulfillable_quantity": MISSING, "quantity": 3, "current_quantity": 2},
            {"fulfillments": [fulfillment("success", 1)], "refunds": [refund("return", 1)]},
        ),
        # without either, what was ordered less cancelled and fulfilled
        (2, {"fulfillable_quantity": MISSING, "current_quantity": MISSING}, {}),
        (
            1,
            {"fulfillable_quantity": MISSING, "current_quantity": MISSING},
            {"refunds": [refund("cancel", 1), refund("no_restock", 1), refund(None, 1)]},
        ),
        (
            1,
            {"fulfillable_quantity": MISSING, "current_quantity": MISSING},
            {"refunds": [refund("legacy_restock", 1)], "fulfillments": [fulfillment("success", 1)]},
        ),
        (
            1,
            {"fulfillable_quantity": MISSING, "current_quantity": MISSING},
            {"fulfillments": [fulfillment("open", 1)], "refunds": [refund("return", 1)]},
        ),
    ],
)
def test_exactly_the_open_units_are_accepted(
    units: int, line_changes: dict[str, Any], order_changes: dict[str, Any]
) -> None:
    changed = {k: v for k, v in line(**line_changes).items() if v is not MISSING}

    order = accepted(document(changed, **order_changes))

    assert [found.quantity for found in order.lines] == [units]


@pytest.mark.parametrize(
    "absent",
    [
        {"gift_card": True},
        {"requires_shipping": False},
        {"requires_shipping": "false"},
        {"quantity": 0, "current_quantity": 0, "fulfillable_quantity": 0},
        {"current_quantity": 0},
        {"fulfillable_quantity": 0},
        {"fulfillable_quantity": -1},
        {"fulfillment_status": "fulfilled"},
        {"quantity": None, "current_quantity": None, "fulfillable_quantity": None},
        {"quantity": "many", "current_quantity": {}, "fulfillable_quantity": True},
    ],
)
def test_what_needs_no_shipping_stays_out_and_the_rest_is_accepted(absent: dict[str, Any]) -> None:
    order = accepted(document(line(id=5), line(**absent)))

    assert [found.line_id for found in order.lines] == ["5"]


@pytest.mark.parametrize(
    ("code", "line_changes", "order_changes"),
    [
        ("cancelled", {}, {"cancelled_at": "2026-11-20T11:00:00Z", "cancel_reason": "fraud"}),
        ("voided", {}, {"financial_status": "voided"}),
        ("already_fulfilled", {}, {"fulfillment_status": "fulfilled"}),
        ("already_fulfilled", {"fulfillment_status": "fulfilled"}, {}),
        ("already_fulfilled", {"fulfillable_quantity": 0}, {}),
        (
            "already_fulfilled",
            {"fulfillable_quantity": None},
            {"fulfillments": [fulfillment("success", 2)]},
        ),
        ("nothing_to_ship", {"gift_card": True}, {}),
        ("nothing_to_ship", {"requires_shipping": False}, {}),
        (
            "nothing_to_ship",
            {"current_quantity": 0, "fulfillable_quantity": 0},
            {"financial_status": "refunded", "refunds": [refund("cancel", 2)]},
        ),
        ("nothing_to_ship", {}, {"line_items": None}),
        ("nothing_to_ship", {}, {"line_items": []}),
    ],
)
def test_what_is_not_ours_is_declined_with_the_reason(
    code: str, line_changes: dict[str, Any], order_changes: dict[str, Any]
) -> None:
    assert declined(document(line(**line_changes), **order_changes)) == code


@pytest.mark.parametrize(
    "status", ["pending", "authorized", "partially_paid", "partially_refunded", "refunded", None]
)
def test_units_and_not_the_money_decide(status: str | None) -> None:
    assert accepted(document(financial_status=status)).lines[0].quantity == 2


@pytest.mark.parametrize(
    ("currency", "price", "minor"),
    [("JPY", "500", 500), ("JPY", "500.00", 500), ("KWD", "1.234", 1234), ("USD", 12.3, 1230)],
)
def test_money_is_in_the_minor_units_of_the_shops_currency(
    currency: str, price: Any, minor: int
) -> None:
    order = accepted(document(line(price=price), currency=currency, total_price=price))

    assert (order.currency, order.total_minor) == (currency, minor)
    assert order.lines[0].unit_price_minor == minor


def test_an_amount_that_cannot_be_read_holds_the_order() -> None:
    order = accepted(document(line(price="1e999999999"), total_price="NaN"))

    assert order.holds == ("unclear_amount",)


@pytest.mark.parametrize("sku", [None, "", "   ", "x" * 129, {"a": 1}])
def test_a_line_without_a_sku_goes_by_its_variant(sku: Any) -> None:
    (found,) = accepted(document(line(sku=sku))).lines

    assert (found.sku, found.aliases) == ("", ("447654529",))


@pytest.mark.parametrize("field", ["quantity", "current_quantity", "fulfillable_quantity"])
def test_a_fraction_of_a_unit_is_not_lost_but_rounded_up_and_held(field: str) -> None:
    order = accepted(document(line(), line(id=5, **{field: 1.5})))

    assert [found.quantity for found in order.lines] == [2, 2]
    assert order.holds == ("fractional_quantity",)


def test_a_line_without_any_name_is_still_a_line() -> None:
    (found,) = accepted(document(line(sku=None, variant_id=None))).lines

    assert (found.sku, found.aliases, found.quantity) == ("", (), 2)


def test_an_order_of_250_lines_is_an_order() -> None:
    lines = [line(id=number) for number in range(1, 251)]

    assert len(accepted(document(*lines)).lines) == 250


def test_lines_that_share_an_id_or_have_none_stay_apart() -> None:
    order = accepted(document(line(id=1), line(id=1), line(id=None)))

    assert [found.line_id for found in order.lines] == ["1", "1-2", "row3"]


def test_an_order_without_an_address_keeps_none() -> None:
    bare = {"shipping_address": None, "billing_address": {"address1": "2 Oak St"}}

    assert accepted(document(**bare)).ship_to == Address()


def test_an_order_with_little_more_than_lines_is_an_order() -> None:
    body = {"id": 7, "currency": "EUR", "line_items": [{"id": 1, "quantity": 1}]}

    order = SHOP.translate(
        "webshop",
        json.dumps(body).encode(),
        {},
        "refuse",
        received_at=datetime(2026, 11, 21, tzinfo=UTC),
    )

    assert isinstance(order, Order)
    assert (order.channel_ref, order.when_short) == ("gid://shopify/Order/7", "refuse")
    assert order.placed_at == datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b'{"id": NaN}', "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 200_000, "body"),
        (b'{"id": ' + b"9" * 5000 + b"}", "body"),
        (document(id=None), "id"),
        (document(id=True), "id"),
        (document(id=-1), "id"),
        (document(id=1.5), "id"),
        ({"id": 1, "order_id": 2}, "line_items"),
        (document(line_items={"a": 1}), "line_items"),
        (document(currency=None), "currency"),
        (document(processed_at=None, created_at="yesterday"), "created_at"),
        (
            document(line(quantity=10**7, current_quantity=10**7, fulfillable_quantity=10**7)),
            f"line {BIG + 1}: quantity",
        ),
    ],
)
def test_what_is_no_order_is_invalid_and_says_where(body: Any, field: str) -> None:
    with pytest.raises(Invalid, match=rf"^{field}: "):
        translated(body)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_recorded_payloads_are_read(path: Path) -> None:
    body = json.loads(path.read_bytes())
    body = body.get("order", body)
    if "line_items" not in body:
        with pytest.raises(Invalid):
            translated(path.read_bytes())
        return
    order = translated(path.read_bytes())
    if body.get("cancelled_at"):
        assert isinstance(order, Declined)
        return
    assert isinstance(order, Order)
    assert order.currency == body["currency"]
    expected = {
        str(found["id"]): found.get("fulfillable_quantity", found["quantity"])
        for found in body["line_items"]
    }
    assert {x.line_id: x.quantity for x in order.lines} == {k: v for k, v in expected.items() if v}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_document_crashes_the_translation(data: st.DataObject) -> None:
    body = mutated(
        document(line(), refunds=[refund("cancel", 1)], fulfillments=[fulfillment("success", 1)]),
        data,
    )
    with contextlib.suppress(Invalid):
        order = translated(body)
        assert "\x00" not in order.model_dump_json()
        order.model_dump_json().encode()


@pytest.mark.parametrize(
    ("notes", "token", "reservation"),
    [
        ([], "", ""),
        (None, "", ""),
        ("crossdock_promise", "", ""),
        ([{"name": "crossdock_promise", "value": "pr_1"}], "pr_1", ""),
        ([{"name": "crossdock_reservation", "value": " cart-1 "}], "", "cart-1"),
        ([{"name": "gift", "value": "x"}, {"name": "crossdock_promise"}, 3, None], "", ""),
        (
            [{"name": "crossdock_reservation", "value": v} for v in ("first", "second")],
            "",
            "first",
        ),
        ([{"name": "crossdock_reservation", "value": "../o'; --\x00"}], "", "..-o-----"),
        ([{"name": "crossdock_promise", "value": "x" * 10_000}], "x" * 64, ""),
        ([{"name": "crossdock_reservation", "value": "é/" * 5_000}], "", "é-" * 32),
        ([{"name": "n", "value": "v"}] * 100_000, "", ""),
    ],
)
def test_what_the_cart_carried_is_the_orders(notes: Any, token: str, reservation: str) -> None:
    raw = json.dumps(document(line(), note_attributes=notes)).encode()
    order = SHOP.translate("webshop", raw, {}, "backorder")
    assert isinstance(order, Order)
    assert (order.promise_token, order.reservation) == (token, reservation)
