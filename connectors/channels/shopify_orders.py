"""
Shopify's order document (the REST shape that its webhooks carry) as the canonical order.

How many units of a line are open: the line's `fulfillable_quantity` is Shopify's own answer and
counts where it stands, but never for more than `current_quantity` (edits and refunds taken off) or
`quantity`. Without it, the open units are counted from refunds and fulfillments: `cancel` takes
unfulfilled units away, `return` only fulfilled ones, `no_restock` none; of a `legacy_restock`
nobody knows, so it is taken to be of fulfilled units first. What the shop calls `fulfilled` is.
Fractions of a unit are rounded up, and hold the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from connectors.channels import reading
from connectors.channels.base import WhenShort
from connectors.channels.reading import Document
from domain.errors import Invalid
from domain.orders import Address, Declined, Line, Order

_Code = Literal["cancelled", "voided", "already_fulfilled", "nothing_to_ship"]

_QUANTITIES: Final = ("quantity", "current_quantity", "fulfillable_quantity")
_FAILED: Final = frozenset({"cancelled", "canceled", "error", "failure"})


@dataclass(frozen=True)
class _History:
    """Units by line id that refunds and fulfillments speak of."""

    fulfilled: Counter[str]
    cancelled: Counter[str]
    returned: Counter[str]
    restocked: Counter[str]


def translate(
    channel: str, raw: bytes, when_short: WhenShort, received_at: datetime | None
) -> Order | Declined:
    """The order with the units that are open, or why there is nothing to do. Raises Invalid."""
    body, number = _document(raw)
    if not number:
        raise Invalid("id: not the id of an order")
    if "line_items" not in body or not isinstance(body["line_items"], list | None):
        raise Invalid("line_items: missing; this is not an order")
    history = _history(body)
    if declined := _declined(body, history):
        code, reason = declined
        return Declined(channel=channel, channel_order_id=number, code=code, reason=reason)
    return _order(channel, number, body, history, when_short, received_at)


def number(raw: bytes) -> str:
    """The shop's id of the order in a document; empty where there is none."""
    try:
        return _document(raw)[1]
    except Invalid:
        return ""


def open_units(line: Mapping[str, Any], history: _History) -> int:
    """The units of a line that can be shipped now; see the module's words for the rules."""
    if not _is_shippable(line) or reading.text(line.get("fulfillment_status")) == "fulfilled":
        return 0
    quantity, current, fulfillable = (reading.whole(line.get(name)) for name in _QUANTITIES)
    known = [value for value in (fulfillable, current, quantity) if value is not None]
    if not known:
        return 0
    if fulfillable is not None:
        return max(0, min(known))
    line_id = reading.text(line.get("id"))
    fulfilled = history.fulfilled[line_id]
    if current is not None:
        left = current + history.returned[line_id] - fulfilled
    else:
        gone = max(fulfilled, history.restocked[line_id])
        left = min(known) - history.cancelled[line_id] - gone
    return max(0, min(left, *known))


def _document(raw: bytes) -> tuple[Document, str]:
    """The order, also where it is wrapped as `order`, and its id. Raises Invalid."""
    body = reading.document(raw)
    if "id" not in body and isinstance(body.get("order"), dict):
        body = body["order"]
    number = reading.integer(body.get("id"))
    return body, str(number) if number is not None and number > 0 else ""


def _is_shippable(line: Mapping[str, Any]) -> bool:
    return not reading.yes(line.get("gift_card")) and not reading.no(line.get("requires_shipping"))


def _history(body: Document) -> _History:
    refunded: dict[str, Counter[str]] = {
        kind: Counter() for kind in ("cancel", "return", "legacy_restock")
    }
    for refund in reading.parts(body.get("refunds")):
        for item in reading.parts(refund.get("refund_line_items")):
            kind = reading.text(item.get("restock_type"))
            if kind in refunded:
                line_id = reading.text(item.get("line_item_id"))
                refunded[kind][line_id] += max(0, reading.integer(item.get("quantity")) or 0)
    fulfilled: Counter[str] = Counter()
    for fulfillment in reading.parts(body.get("fulfillments")):
        if reading.text(fulfillment.get("status")).lower() in _FAILED:
            continue
        for item in reading.parts(fulfillment.get("line_items")):
            quantity = reading.integer(item.get("quantity"))
            fulfilled[reading.text(item.get("id"))] += max(0, quantity or 0)
    return _History(
        fulfilled=fulfilled,
        cancelled=refunded["cancel"],
        returned=refunded["return"],
        restocked=refunded["legacy_restock"],
    )


def _declined(body: Document, history: _History) -> tuple[_Code, str] | None:
    if at := reading.text(body.get("cancelled_at")):
        why = reading.text(body.get("cancel_reason")) or "no reason given"
        return "cancelled", f"the shop cancelled the order at {at} ({why})"
    if reading.text(body.get("financial_status")).lower() == "voided":
        return "voided", "its payment was voided"
    if reading.text(body.get("fulfillment_status")).lower() == "fulfilled":
        return "already_fulfilled", "the shop has fulfilled all of it"
    shippable = [line for line in reading.parts(body["line_items"]) if _is_shippable(line)]
    if any(open_units(line, history) for line in shippable):
        return None
    return _nothing_open(shippable, history)


def _nothing_open(shippable: list[Document], history: _History) -> tuple[_Code, str]:
    if any(_was_fulfilled(line, history) for line in shippable):
        return "already_fulfilled", "the shop has fulfilled all that was to be shipped"
    if shippable:
        return "nothing_to_ship", "all that was to be shipped was removed or refunded"
    return "nothing_to_ship", "nothing in it needs shipping"


def _was_fulfilled(line: Mapping[str, Any], history: _History) -> bool:
    if reading.text(line.get("fulfillment_status")) in ("fulfilled", "partial"):
        return True
    current = reading.integer(line.get("current_quantity")) or 0
    return current > 0 or history.fulfilled[reading.text(line.get("id"))] > 0


def _order(  # noqa: PLR0913, PLR0917  # private: the steps of one translation
    channel: str,
    number: str,
    body: Document,
    history: _History,
    when_short: WhenShort,
    received_at: datetime | None,
) -> Order:
    shop_money = reading.part(reading.part(body.get("total_price_set")).get("shop_money"))
    currency = reading.currency(body.get("currency"), shop_money.get("currency_code"))
    times = (body.get("processed_at"), body.get("created_at"), body.get("updated_at"))
    placed_at = reading.instant(*times) or received_at
    if placed_at is None:
        raise Invalid("created_at: no time is given")
    lines, holds = _lines(body, history, currency)
    amount = body.get("current_total_price")
    total = reading.minor(body.get("total_price") if amount is None else amount, currency)
    customer = reading.part(body.get("customer"))
    email = reading.first_text(body.get("email"), body.get("contact_email"), customer.get("email"))
    gid = reading.text(body.get("admin_graphql_api_id"))
    return reading.order(
        channel=channel,
        channel_order_id=number,
        channel_ref=gid if gid.startswith("gid://") else f"gid://shopify/Order/{number}",
        placed_at=placed_at,
        currency=currency,
        total_minor=total or 0,
        lines=lines,
        ship_to=_address(body, customer, email),
        email=email,
        when_short=when_short,
        holds=tuple(sorted(holds | ({"unclear_amount"} if total is None else set()))),
        **reading.carried(
            (note.get("name"), note.get("value"))
            for note in reading.parts(body.get("note_attributes"))
        ),
    )


def _lines(body: Document, history: _History, currency: str) -> tuple[tuple[Line, ...], set[str]]:
    """The open lines, and what about them a person must look at."""
    found = reading.parts(body["line_items"])
    names = (reading.text(line.get("id"), 50) or f"row{i}" for i, line in enumerate(found, 1))
    lines = []
    holds = set()
    for line_id, line in zip(reading.unique(names), found, strict=True):
        quantity = open_units(line, history)
        if not quantity:
            continue
        shop_money = reading.part(reading.part(line.get("price_set")).get("shop_money"))
        given = line.get("price")
        price = reading.minor(shop_money.get("amount") if given is None else given, currency)
        if price is None:
            holds.add("unclear_amount")
        if any(reading.is_fraction(line.get(name)) for name in _QUANTITIES):
            holds.add("fractional_quantity")
        lines.append(
            reading.line(
                line_id=line_id,
                sku=line.get("sku"),
                aliases=(line.get("variant_id"),),
                quantity=quantity,
                price=price or 0,
                title=reading.first_text(line.get("name"), line.get("title")),
            )
        )
    return tuple(lines), holds


def _address(body: Document, customer: Document, email: str) -> Address:
    """The shipping address; empty where there is none, as for a pickup."""
    given = reading.part(body.get("shipping_address"))
    if not any(reading.text(value) for value in given.values()):
        return Address()
    names = (reading.text(given.get(key)) for key in ("first_name", "last_name"))
    return Address(
        name=reading.first_text(given.get("name"), " ".join(name for name in names if name)),
        company=reading.text(given.get("company")),
        line1=reading.text(given.get("address1")),
        line2=reading.text(given.get("address2")),
        city=reading.text(given.get("city")),
        region=reading.first_text(given.get("province_code"), given.get("province")),
        postal_code=reading.text(given.get("zip"), 32),
        country=reading.first_text(given.get("country_code"), given.get("country")),
        phone=reading.first_text(given.get("phone"), body.get("phone"), customer.get("phone")),
        email=email,
    )
