"""Orders as Shopify shops send them, with what must become of each, worked out by hand."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.e2e.conftest import Json
from tests.e2e.documents import Document

FIXTURES = Path(__file__).parents[3] / "shared/fixtures/shopify"
BEYOND_A_FLOAT = 820982911946154508
_FIRST = 7_000_000_000_000


class Webhook(Document):
    """What the shop sends, or what an app would fetch."""

    @property
    def order_id(self) -> str:
        return f"webshop-{self.body.get('order', self.body)['id']}"

    @property
    def raw(self) -> bytes:
        return json.dumps(self.body).encode()


def documents() -> list[Webhook]:
    """Every one with an order id of its own."""
    made = [*_fixtures(), *_built()]
    for position, one in enumerate(made):
        order = one.body.get("order", one.body)
        if "line_items" in order and order.get("id") != BEYOND_A_FLOAT:
            order["id"] = _FIRST + position
    return made


def line(number: int, sku: str | None = "E2E-MUG", quantity: int = 2, **changes: Any) -> Json:
    """A line; its variant is the product's own, or the line's where no SKU tells the product."""
    return {
        "id": number,
        "variant_id": 440_000_000_000 + (crc32(sku.encode()) if sku else number),
        "sku": sku,
        "title": "Mug",
        "name": "Mug - Blue",
        "quantity": quantity,
        "current_quantity": quantity,
        "fulfillable_quantity": quantity,
        "fulfillment_status": None,
        "requires_shipping": True,
        "gift_card": False,
        "price": "12.30",
        "price_set": {
            "shop_money": {"amount": "12.30", "currency_code": "USD"},
            "presentment_money": {"amount": "1845", "currency_code": "JPY"},
        },
        "properties": [],
        **changes,
    }


def order(*lines: Json, **changes: Any) -> Json:
    return {
        "id": 1,
        "name": "#1001",
        "email": "jane@example.com",
        "created_at": "2026-11-20T10:00:01-05:00",
        "processed_at": "2026-11-20T10:00:00-05:00",
        "updated_at": "2026-11-20T10:00:02-05:00",
        "cancelled_at": None,
        "currency": "USD",
        "presentment_currency": "USD",
        "financial_status": "paid",
        "fulfillment_status": None,
        "total_price": "24.60",
        "shipping_address": {
            "first_name": "Jane",
            "last_name": "Doe",
            "address1": "1 Elm St",
            "city": "Dallas",
            "province_code": "TX",
            "zip": "75201",
            "country_code": "US",
        },
        "line_items": list(lines),
        "refunds": [],
        "fulfillments": [],
        **changes,
    }


def _refund(line_id: int, quantity: int, restock_type: str) -> Json:
    item = {"line_item_id": line_id, "quantity": quantity, "restock_type": restock_type}
    return {"id": 1, "refund_line_items": [item]}


def _fulfilled(line_id: int, quantity: int) -> Json:
    return {"status": "success", "line_items": [{"id": line_id, "quantity": quantity}]}


def _bare(**changes: Any) -> Json:
    """A line as old API versions wrote it: what is open must be counted."""
    full = line(11, quantity=5, **changes)
    return {k: v for k, v in full.items() if k not in {"current_quantity", "fulfillable_quantity"}}


def _priced(currency: str, price: str, total: str) -> Json:
    item = line(11, price=price, price_set=None)
    return order(item, currency=currency, presentment_currency=currency, total_price=total)


def _built() -> list[Webhook]:
    mug = (("11", "E2E-MUG", 2),)
    one = line(11)
    many = [line(n, f"E2E-{n:03d}", 1 + n % 3) for n in range(1, 251)]
    unknown_fields: Json = {"new_in_2031": {"deep": [{"a": None}]}, "x": [[[]]]}
    virtual, card = line(12, "E2E-EBOOK", requires_shipping=False), line(13, None, gift_card=True)
    tip = line(14, None, 1, variant_id=None, requires_shipping=False, title="Tip")
    half = {**line(12), **dict.fromkeys(("quantity", "current_quantity"), 1.5)}
    stale = line(11, current_quantity=1, fulfillable_quantity=2)
    nothing = dict.fromkeys(order(), None)
    return [
        Webhook("plain", order(one), units=mug, total_minor=2460),
        Webhook("wrapped", {"order": order(one)}, units=mug),
        Webhook("yen", _priced("JPY", "1845", "3690"), units=mug, currency="JPY", total_minor=3690),
        Webhook(
            "dinar", _priced("KWD", "3.725", "7.450"), units=mug, currency="KWD", total_minor=7450
        ),
        Webhook("presented in another currency", order(one, presentment_currency="JPY"), units=mug),
        Webhook("with a gift card and an e-book", order(one, virtual, card), units=mug),
        Webhook("with a tip", order(one, tip), units=mug),
        Webhook("only a tip", order(tip), "nothing_to_ship"),
        Webhook("half a unit", order(one, half), "held", (*mug, ("12", "E2E-MUG", 2))),
        Webhook("more fulfillable than current", order(stale), units=(("11", "E2E-MUG", 1),)),
        Webhook("a price with a sign", order(line(11, price="$12.30")), "held", mug),
        Webhook("less than nothing to pay", order(one, total_price="-5"), "held", mug),
        Webhook(
            "times that cannot be",
            order(one, processed_at="9999-12-31T23:59:59-14:00", created_at="0000-00-00"),
            units=mug,
        ),
        Webhook(
            "sold over the counter",
            order(
                line(11, fulfillable_quantity=0, fulfillment_status="fulfilled"),
                source_name="pos",
                fulfillment_status="fulfilled",
            ),
            "already_fulfilled",
        ),
        Webhook(
            "an SKU too long for the catalogue, but a variant",
            order(line(11, "S" * 200, variant_id=440_000_000_077)),
            units=(("11", "440000000077", 2),),
        ),
        Webhook("250 lines", order(*many), units=_all(many)),
        Webhook(
            "no SKU, but a variant",
            order(line(11, ""), line(12, None)),
            units=(("11", "440000000011", 2), ("12", "440000000012", 2)),
        ),
        Webhook(
            "no SKU, no variant",
            order(line(11, None, variant_id=None)),
            "held",
            (("11", "", 2),),
        ),
        Webhook(
            "an unknown SKU beside a known one",
            order(one, line(12, "E2E-NEW", 1)),
            "held",
            (("11", "E2E-MUG", 2), ("12", "E2E-NEW", 1)),
            unknown=("E2E-NEW",),
        ),
        Webhook(
            "unknown fields",
            order(line(11, **unknown_fields), **unknown_fields),
            units=mug,
        ),
        Webhook(
            "properties as an object",
            order(line(11, properties={"name": "engraving", "value": 3})),
            units=mug,
        ),
        Webhook(
            "nulls wherever a null may be",
            {
                **nothing,
                "currency": "USD",
                "created_at": "2026-11-20T10:00:01Z",
                "shipping_address": {**order()["shipping_address"], "address1": None, "city": None},
                "line_items": [{**dict.fromkeys(one), "id": 11, "sku": "E2E-MUG", "quantity": 2}],
            },
            units=mug,
        ),
        Webhook("nothing but nulls", {**nothing, "line_items": None}, "nothing_to_ship"),
        Webhook(
            "ids beyond a float",
            order(
                line(BEYOND_A_FLOAT + 1, variant_id=BEYOND_A_FLOAT + 2, sku=None), id=BEYOND_A_FLOAT
            ),
            units=((str(BEYOND_A_FLOAT + 1), str(BEYOND_A_FLOAT + 2), 2),),
        ),
        Webhook(
            "quantities and ids as text",
            order({**one, "quantity": "2", "current_quantity": "2.0", "fulfillable_quantity": "2"}),
            units=mug,
        ),
        Webhook(
            "a cancelled unit, counted from its refund",
            order(_bare(), refunds=[_refund(11, 2, "cancel")]),
            units=(("11", "E2E-MUG", 3),),
        ),
        Webhook(
            "a refund without restock",
            order(_bare(), refunds=[_refund(11, 2, "no_restock")]),
            units=(("11", "E2E-MUG", 5),),
        ),
        Webhook(
            "partly fulfilled, counted from its fulfillments",
            order(_bare(), fulfillment_status="partial", fulfillments=[_fulfilled(11, 2)]),
            units=(("11", "E2E-MUG", 3),),
        ),
        Webhook(
            "partly fulfilled, as the shop counts",
            order(line(11, fulfillable_quantity=1, fulfillment_status="partial"), line(12)),
            units=(("11", "E2E-MUG", 1), ("12", "E2E-MUG", 2)),
        ),
        Webhook(
            "one of two lines fulfilled",
            order(
                line(11, fulfillable_quantity=0, fulfillment_status="fulfilled"),
                line(12),
                fulfillment_status="partial",
            ),
            units=(("12", "E2E-MUG", 2),),
        ),
        Webhook(
            "a line removed by an edit",
            order(line(11, current_quantity=0, fulfillable_quantity=0), line(12)),
            units=(("12", "E2E-MUG", 2),),
        ),
        Webhook("unfulfilled in words", order(one, fulfillment_status="unfulfilled"), units=mug),
        Webhook(
            "a line not eligible", order(line(11, fulfillment_status="not_eligible")), units=mug
        ),
        Webhook("payment pending", order(one, financial_status="pending"), units=mug),
        Webhook("partly refunded", order(one, financial_status="partially_refunded"), units=mug),
        Webhook(
            "two lines of one product", order(one, line(12)), units=(*mug, ("12", "E2E-MUG", 2))
        ),
        Webhook("no shipping address", order(one, shipping_address=None), "held", mug),
        Webhook("an address abroad", order(one, shipping_address=_KYOTO), units=mug),
        Webhook("only an e-book", order(virtual), "nothing_to_ship"),
        Webhook("only a gift card", order(card), "nothing_to_ship"),
        Webhook("no lines", order(), "nothing_to_ship"),
        Webhook("a fulfillment order", {"fulfillment_order": {"status": "open"}}, "invalid"),
        Webhook("cancelled", order(one, cancelled_at="2026-11-20T11:00:00Z"), "cancelled"),
        Webhook("voided", order(one, financial_status="voided"), "voided"),
        Webhook(
            "already fulfilled",
            order(
                line(11, fulfillable_quantity=0, fulfillment_status="fulfilled"),
                fulfillment_status="fulfilled",
            ),
            "already_fulfilled",
        ),
        Webhook(
            "already fulfilled, counted",
            order(_bare(), fulfillments=[_fulfilled(11, 5)]),
            "already_fulfilled",
        ),
        Webhook(
            "all of it cancelled by a refund",
            order(_bare(), refunds=[_refund(11, 5, "cancel")], fulfillment_status="restocked"),
            "nothing_to_ship",
        ),
    ]


_KYOTO = {"address1": "1 Chome", "city": "Kyoto", "zip": "604-8001", "country_code": "JP"}


def _all(lines: list[Json]) -> tuple[tuple[str, str, int], ...]:
    return tuple((str(one["id"]), one["sku"], one["quantity"]) for one in lines)


def _fixtures() -> list[Webhook]:
    """Real payloads, where they are at hand."""
    known: dict[str, Webhook] = {
        one.name: one
        for one in (
            Webhook(
                "derived_order_local_pickup",
                {},
                "held",
                (("9632848117943", "0", 1),),
                "EUR",
                8000,
            ),
            Webhook(
                "derived_order_multicurrency_usd_jpy",
                {},
                units=(
                    ("15514975502636", "50398373085484", 1),
                    ("15514975535404", "50451770802476", 1),
                    ("15514975568172", "50460159082796", 1),
                    ("15514975600940", "50466449883436", 1),
                ),
                total_minor=39400,
            ),
            Webhook("order_go_with_transactions_multicurrency", {}, "cancelled"),
            Webhook(
                "order_python_gift_card_authorized",
                {},
                units=(
                    ("466157049", "IPOD2008GREEN", 1),
                    ("518995019", "IPOD2008RED", 1),
                    ("703073504", "IPOD2008BLACK", 1),
                ),
                total_minor=40994,
            ),
            Webhook(
                "order_rest_discount_code_addresses",
                {},
                units=(("1071823193", "IPOD2009BLACK", 1),),
            ),
            Webhook(
                "order_rest_partially_refunded_code_discount_3lines",
                {},
                units=(("518995019", "IPOD2008RED", 1),),
            ),
            Webhook("fulfillment_order_go", {}, "invalid"),
            Webhook("line_item_properties_object_go", {}, "invalid"),
        )
    }
    found = []
    for file in sorted(FIXTURES.glob("*.json")):
        should = known.get(file.stem)
        if should is None:
            continue
        body = json.loads(file.read_text())
        found.append(
            Webhook(
                file.stem, body, should.outcome, should.units, should.currency, should.total_minor
            )
        )
    return found
