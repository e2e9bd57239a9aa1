"""
Magento's order document as the canonical order.

A unit is counted once: a configurable is its parent row with the child's SKU; a bundle is its
parent row where it ships together, its children where they ship separately. Open units are ordered
less cancelled, refunded and shipped. Fractions of a unit are rounded up, and hold the order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, Literal

from connectors.channels import reading
from connectors.channels.base import WhenShort
from connectors.channels.reading import Document
from domain.errors import Invalid
from domain.orders import Address, Declined, Line, Order

_Code = Literal["cancelled", "already_fulfilled", "nothing_to_ship"]

_INTANGIBLE: Final = frozenset({"virtual", "downloadable", "giftcard"})
_CLOSED_STATES: Final[dict[str, tuple[_Code, str]]] = {
    "canceled": ("cancelled", "the shop cancelled the order"),
    "complete": ("already_fulfilled", "the shop has completed the order"),
}
# The shop lets the order wait; once it is in another state, the hold is lifted.
_WAITING_STATES: Final = frozenset({"holded", "pending_payment", "payment_review"})
_NUMBER: Final = re.compile(r"[A-Za-z0-9_.#:+=@-]{1,64}")
_PICKUP: Final = "instore_pickup"


def translate(
    channel: str,
    raw: bytes,
    settings: Mapping[str, Any],
    when_short: WhenShort,
    received_at: datetime | None,
) -> Order | Declined:
    """The order with the units that are open, or why there is nothing to do. Raises Invalid."""
    body = reading.document(raw)
    entity, number = _ids(body)
    if "items" not in body or not isinstance(body["items"], list | None):
        raise Invalid("items: missing; this is not an order")
    rows = shipping_rows(body, settings)
    if declined := _declined(body, rows):
        code, reason = declined
        return Declined(channel=channel, channel_order_id=number, code=code, reason=reason)
    currency = reading.currency(body.get("order_currency_code"), body.get("base_currency_code"))
    placed_at = reading.instant(body.get("created_at"), body.get("updated_at")) or received_at
    if placed_at is None:
        raise Invalid("created_at: no time is given")
    lines, holds = _lines(rows, currency)
    total = reading.minor(body.get("grand_total"), currency)
    if total is None:
        holds.add("unclear_amount")
    if reading.text(body.get("state")).lower() in _WAITING_STATES:
        holds.add("channel_hold")
    fields = {
        "channel": channel,
        "channel_order_id": number,
        "channel_ref": str(entity),
        "placed_at": placed_at,
        "currency": currency,
        "total_minor": total or 0,
        "lines": lines,
        "ship_to": _address(body),
        "email": reading.text(body.get("customer_email")),
        "when_short": when_short,
        "holds": tuple(sorted(holds)),
        **_carried(body),
    }
    if reading.text(_shipping(body).get("method")) == _PICKUP:
        fields = reading.collected_at(_store(body, settings), fields)
    return reading.order(**fields)


def number(raw: bytes) -> str:
    """The shop's number of the order in a document; empty where there is none."""
    try:
        return _ids(reading.document(raw))[1]
    except Invalid:
        return ""


def shipping_rows(body: Document, settings: Mapping[str, Any]) -> list[Document]:
    """The rows that Magento ships, each with the SKU of what is in the box."""
    rows = reading.parts(body.get("items"))
    ids = {reading.text(row.get("item_id")) for row in rows} - {""}
    children: dict[str, list[Document]] = defaultdict(list)
    top: list[Document] = []
    for row in rows:
        parent = reading.first_text(
            row.get("parent_item_id"), reading.part(row.get("parent_item")).get("item_id")
        )
        known = parent in ids and parent != reading.text(row.get("item_id"))
        (children[parent] if known else top).append(row)
    found: list[Document] = []
    for row in top:
        below = children[reading.text(row.get("item_id"))]
        kind = reading.text(row.get("product_type"))
        if kind == "bundle" and below and _ships_separately(row, below, settings):
            found += below
        elif kind == "configurable" and below:
            if _is_tangible(below[0]):
                found.append({**row, "sku": below[0].get("sku") or row.get("sku")})
        else:
            found.append(row)
    return [row for row in found if _is_tangible(row)]


def open_quantity(row: Mapping[str, Any]) -> Decimal:
    gone = (_quantity(row, name) for name in ("qty_canceled", "qty_refunded", "qty_shipped"))
    return max(Decimal(0), _quantity(row, "qty_ordered") - sum(gone, Decimal(0)))


def _ids(body: Document) -> tuple[int, str]:
    """What Magento calls the order, and what people do. Raises Invalid."""
    entity = reading.integer(body.get("entity_id"))
    if entity is None or entity <= 0:
        raise Invalid("entity_id: not the id of an order")
    shown = reading.text(body.get("increment_id"))
    return entity, shown if _NUMBER.fullmatch(shown) else str(entity)


def _quantity(row: Mapping[str, Any], name: str) -> Decimal:
    return max(Decimal(0), reading.number(row.get(name)) or Decimal(0))


def _ships_separately(
    row: Document, below: Iterable[Document], settings: Mapping[str, Any]
) -> bool:
    """Some shops expose the product's `shipment_type`; else what has shipped may tell."""
    option = reading.part(row.get("product_option"))
    places = (row, option, row.get("extension_attributes"), option.get("extension_attributes"))
    given = (reading.part(place).get("shipment_type") for place in places)
    kind = next((reading.integer(value) for value in given if value is not None), None)
    if kind is not None:
        return kind == 1
    if any(_quantity(child, "qty_shipped") for child in below) and not _quantity(
        row, "qty_shipped"
    ):
        return True
    return settings.get("bundles") == "separately"


def _is_tangible(row: Mapping[str, Any]) -> bool:
    kind = reading.text(row.get("product_type")).lower()
    return kind not in _INTANGIBLE and not reading.yes(row.get("is_virtual"))


def _declined(body: Document, rows: list[Document]) -> tuple[_Code, str] | None:
    state = reading.text(body.get("state")).lower()
    shipped = any(_quantity(row, "qty_shipped") for row in rows)
    if state in _CLOSED_STATES:
        return _CLOSED_STATES[state]
    if state == "closed":
        reason = "the shop refunded and closed the order"
        return ("already_fulfilled" if shipped else "cancelled"), reason
    if any(open_quantity(row) for row in rows):
        return None
    if shipped:
        return "already_fulfilled", "the shop has shipped all that was to be shipped"
    if rows:
        return "nothing_to_ship", "all that was to be shipped was cancelled or refunded"
    return "nothing_to_ship", "nothing in it needs shipping"


def _lines(rows: Iterable[Document], currency: str) -> tuple[tuple[Line, ...], set[str]]:
    found = [(row, quantity) for row in rows if (quantity := open_quantity(row))]
    names = (reading.text(row.get("item_id"), 50) or f"row{i}" for i, (row, _) in enumerate(found))
    lines = []
    holds = set()
    for line_id, (row, quantity) in zip(reading.unique(names), found, strict=True):
        units = int(quantity.to_integral_value(ROUND_CEILING))
        title = reading.text(row.get("name"))
        if units != quantity:
            holds.add("fractional_quantity")
            title = f"{title[:200]} (ordered: {quantity.normalize():f})"
        price = reading.minor(row.get("price"), currency)
        if price is None:
            holds.add("unclear_amount")
        product = row.get("product_id")
        lines.append(
            reading.line(
                line_id=line_id,
                sku=row.get("sku"),
                aliases=() if reading.text(row.get("sku")) else (product,),
                quantity=units,
                price=price or 0,
                title=title,
            )
        )
    return tuple(lines), holds


def _shipping(body: Document) -> Document:
    extension = reading.part(body.get("extension_attributes"))
    assignments = reading.parts(extension.get("shipping_assignments"))
    return reading.part(assignments[0].get("shipping")) if assignments else {}


def _store(body: Document, settings: Mapping[str, Any]) -> str | None:
    """The node behind the pickup location, which is a source: by the settings, else its code."""
    places = (body, _shipping(body))
    code = reading.first_text(
        *(reading.part(x.get("extension_attributes")).get("pickup_location_code") for x in places)
    )
    sources = reading.part(settings.get("sources"))
    return next((node for node, source in sources.items() if source == code), code or None)


def _carried(body: Document) -> Document:
    """
    From extension attributes, which a module of the shop declares, else from the order's comments.
    """
    declared = reading.part(body.get("extension_attributes")).items()
    comments = (x.get("comment") for x in reading.parts(body.get("status_histories")))
    return reading.carried((*declared, *reading.mentioned(body.get("customer_note"), *comments)))


def _address(body: Document) -> Address:
    given = reading.part(_shipping(body).get("address"))
    if not given:
        return Address()
    street = given.get("street")
    rows = [reading.text(x) for x in street] if isinstance(street, list) else [reading.text(street)]
    rows = [row for row in rows if row]
    names = ("prefix", "firstname", "middlename", "lastname", "suffix")
    return Address(
        name=" ".join(name for key in names if (name := reading.text(given.get(key)))),
        company=reading.text(given.get("company")),
        line1=rows[0] if rows else "",
        line2=", ".join(rows[1:])[:255],
        city=reading.text(given.get("city")),
        region=reading.first_text(given.get("region_code"), given.get("region")),
        postal_code=reading.text(given.get("postcode"), 32),
        country=reading.text(given.get("country_id")),
        phone=reading.text(given.get("telephone")),
        email=reading.first_text(given.get("email"), body.get("customer_email")),
    )
