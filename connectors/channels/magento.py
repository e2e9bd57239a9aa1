"""Magento 2 / Adobe Commerce: orders polled by `updated_at`, shipments by source out (REST)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets as chance
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from connectors import http
from connectors.channels import magento_orders, oauth1, reading
from connectors.channels.base import (
    NO_CREDENTIAL,
    Arrival,
    Connection,
    Page,
    Shipment,
    WhenShort,
)
from connectors.channels.reading import Document
from domain.errors import Invalid, Outage, Refused
from domain.orders import Declined, Order

_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_BEGINNING: Final = "1970-01-01 00:00:00"
_OVERLAP: Final = timedelta(minutes=5)
_LONGEST_OVERLAP: Final = 30 * 86_400
_PAGE_SIZE: Final = 100
_ON_HOLD: Final = frozenset({"holded", "payment_review"})
_MARK: Final = "Crossdock shipment "
_CARRIERS: Final = frozenset({"dhl", "fedex", "ups", "usps"})


class Magento:
    """
    Implements PolledChannel.

    Settings: `sources` maps a node to its source code (else they are the same); `store` is the
    store view (else `default`); `bundles` is `together` or `separately` where shops do not say;
    `notify` (default yes) has Magento write to the customer; `page_size`, `overlap_seconds`.
    """

    def __init__(
        self, client: httpx.AsyncClient, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._clock = clock

    def translate(
        self,
        channel_code: str,
        raw: bytes,
        settings: Mapping[str, Any],
        when_short: WhenShort,
        *,
        received_at: datetime | None = None,
    ) -> Order | Declined:
        return magento_orders.translate(channel_code, raw, settings, when_short, received_at)

    def number(self, raw: bytes) -> str:
        return magento_orders.number(raw)

    async def complete(self, connection: Connection, order: Order) -> Order:  # noqa: ARG002
        """A Magento order is complete as it comes."""
        return order

    async def poll(self, connection: Connection, cursor: str) -> AsyncIterator[Page]:
        """
        Each page asks anew from the last change seen, because an order that changes meanwhile moves
        to the end and would shift the next page past another. The cursor never passes our own
        clock: an order dated in the future hides none that comes until then.
        """
        size = _positive(connection.settings.get("page_size"), _PAGE_SIZE)
        since = _rewound(connection, cursor)
        newest = max(cursor, since)
        seen: set[str] = set()
        page = 1
        while True:
            try:
                items, total = await self._orders(connection, since, page, size)
            except http.TooLarge:
                if size == 1:
                    raise
                size, page = size // 2, 1
                continue
            fresh = [arrival for arrival in map(_arrival, items) if arrival.key not in seen]
            seen.update(arrival.key for arrival in fresh)
            last = max([since, *map(_changed, items)])
            newest = max(newest, min(last, self._clock().strftime(_FORMAT)))
            if fresh:
                yield Page(arrivals=tuple(fresh), cursor=newest)
            if not items or page * size >= total:
                return
            since, page = (last, 1) if last > since else (since, page + 1)

    async def shipped(self, connection: Connection, shipment: Shipment) -> None:
        """
        One shipment from one source, known by a comment that carries its key and by its tracking.

        Units of which Magento already knows that they left are not told again.
        """
        path = f"orders/{_entity(shipment.order)}"
        order = _object(connection, await self._call(connection, "GET", path))
        lines = {line.line_id for line in shipment.lines}
        items = reading.parts(order.get("items"))
        rows = [row for row in items if reading.text(row.get("item_id")) in lines]
        if len(rows) < len(lines):
            message = f"{_system(connection)} does not know all lines of {shipment.marker}"
            raise Refused(message, code="partner_refused")
        gone = [row for row in rows if reading.number(row.get("qty_shipped"))]
        if gone and await self._is_told(connection, shipment):
            return
        if not any(magento_orders.open_quantity(row) for row in rows):
            if gone:
                return
            message = f"{_system(connection)} has nothing of it open: it cancelled or refunded it"
            raise Refused(message, code="partner_refused")
        _not_on_hold(connection, order)
        await self._call(
            connection, "POST", f"order/{_entity(shipment.order)}/ship", _ship(connection, shipment)
        )

    async def ready_for_pickup(self, connection: Connection, shipment: Shipment) -> None:
        """Magento makes a shipment of the whole order and writes to the customer."""
        entity = _entity(shipment.order)
        order = _object(connection, await self._call(connection, "GET", f"orders/{entity}"))
        rows = magento_orders.shipping_rows(order, connection.settings)
        if not any(magento_orders.open_quantity(row) for row in rows):
            return
        _not_on_hold(connection, order)
        path = "order/notify-orders-are-ready-for-pickup"
        answer = _object(
            connection, await self._call(connection, "POST", path, {"orderIds": [entity]})
        )
        if errors := reading.parts(answer.get("errors")):
            message = http.line(_complaint(errors[0]))
            raise Refused(f"{_system(connection)} said: {message}", code="partner_refused")

    async def cancelled(
        self,
        connection: Connection,
        order: Order,
        reason: str,  # noqa: ARG002  # Magento takes none
    ) -> None:
        path = f"orders/{_entity(order)}"
        state = reading.text(
            _object(connection, await self._call(connection, "GET", path)).get("state")
        )
        if state in ("canceled", "closed"):
            return
        if await self._call(connection, "POST", f"{path}/cancel") is not True:
            message = f"{_system(connection)} did not cancel the order (it is {state})"
            raise Refused(message, code="partner_refused")

    async def _orders(
        self, connection: Connection, since: str, page: int, size: int
    ) -> tuple[list[Document], int]:
        filters = [("field", "updated_at"), ("value", since), ("condition_type", "gteq")]
        query = _criteria(filters, page=page, size=size, order_by=("updated_at", "entity_id"))
        answer = _object(connection, await self._call(connection, "GET", f"orders?{query}"))
        return reading.parts(answer.get("items")), reading.integer(answer.get("total_count")) or 0

    async def _is_told(self, connection: Connection, shipment: Shipment) -> bool:
        filters = [
            ("field", "order_id"),
            ("value", str(_entity(shipment.order))),
            ("condition_type", "eq"),
        ]
        query = _criteria(filters, page=1, size=_PAGE_SIZE, order_by=("entity_id",))
        answer = _object(connection, await self._call(connection, "GET", f"shipments?{query}"))
        return any(_is_ours(known, shipment) for known in reading.parts(answer.get("items")))

    async def _call(
        self, connection: Connection, method: str, path: str, body: Document | None = None
    ) -> Any:
        store = quote(str(connection.settings.get("store") or "default"), safe="")
        url = f"{connection.url.rstrip('/')}/rest/{store}/V1/{path}"
        signed = oauth1.authorization(
            method, url, _credentials(connection), nonce=chance.token_hex(16), at=self._clock()
        )
        answer = await http.exchange(
            self._client,
            method,
            url,
            system=_system(connection),
            headers={"authorization": signed, "content-type": "application/json"},
            content=None if body is None else json.dumps(body).encode(),
        )
        if answer.status // 100 != 2:  # noqa: PLR2004  # the class of success
            raise http.failure(_system(connection), answer, _said(answer))
        return answer.parsed(_system(connection))


def _not_on_hold(connection: Connection, order: Document) -> None:
    """Raises Outage: the shop takes no shipment until it lets go."""
    if reading.text(order.get("state")) in _ON_HOLD:
        raise Outage(_system(connection), "has the order on hold, and takes no shipment of it")


def _ship(connection: Connection, shipment: Shipment) -> Document:
    node = shipment.fulfillment.node
    sources = reading.part(connection.settings.get("sources"))
    return {
        "items": [
            {"order_item_id": _item(line.line_id), "qty": line.quantity} for line in shipment.lines
        ],
        "notify": bool(connection.settings.get("notify", True)),
        "appendComment": False,
        "comment": {"comment": _marker(shipment), "is_visible_on_front": 0},
        "tracks": [
            {
                "track_number": package.tracking_number,
                "title": package.carrier or "carrier",
                "carrier_code": package.carrier.lower()
                if package.carrier.lower() in _CARRIERS
                else "custom",
            }
            for package in shipment.packages
            if package.tracking_number
        ],
        "arguments": {
            "extension_attributes": {
                "source_code": shipment.source_code or str(sources.get(node, node))
            }
        },
    }


def _marker(shipment: Shipment) -> str:
    return f"{_MARK}{shipment.marker}"


def _is_ours(known: Document, shipment: Shipment) -> bool:
    """By our comment; where it carries none of ours, made by hand perhaps, by its tracking."""
    comments = [reading.text(x.get("comment"), 1000) for x in reading.parts(known.get("comments"))]
    if any(comment.startswith(_MARK) for comment in comments):
        return _marker(shipment) in comments
    tracks = {reading.text(x.get("track_number")) for x in reading.parts(known.get("tracks"))}
    return bool(shipment.tracking_numbers) and tracks.issuperset(shipment.tracking_numbers)


def _criteria(
    filters: list[tuple[str, str]], *, page: int, size: int, order_by: tuple[str, ...]
) -> str:
    where = [(f"searchCriteria[filter_groups][0][filters][0][{name}]", v) for name, v in filters]
    for index, field in enumerate(order_by):
        where.append((f"searchCriteria[sortOrders][{index}][field]", field))
        where.append((f"searchCriteria[sortOrders][{index}][direction]", "ASC"))
    where.append(("searchCriteria[pageSize]", str(size)))
    where.append(("searchCriteria[currentPage]", str(page)))
    return oauth1.query(where)


def _arrival(item: Document) -> Arrival:
    """Known by its content too: an order may change twice in a second, or with no new time."""
    body = json.dumps(item, default=str)
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    names = (reading.text(item.get("entity_id"), 32), reading.text(item.get("updated_at"), 32))
    return Arrival(key=f"{names[0]}:{names[1]}:{digest}", body=body)


def _changed(item: Document) -> str:
    """When, as Magento writes times; the beginning where it cannot be read."""
    at = reading.instant(item.get("updated_at"))
    return at.strftime(_FORMAT) if at else _BEGINNING


def _rewound(connection: Connection, cursor: str) -> str:
    at = reading.instant(cursor)
    if at is None:
        return _BEGINNING
    default = int(_OVERLAP.total_seconds())
    overlap = min(_positive(connection.settings.get("overlap_seconds"), default), _LONGEST_OVERLAP)
    return (at - timedelta(seconds=overlap)).strftime(_FORMAT)


def _positive(value: Any, default: int) -> int:
    found = reading.integer(value)
    return found if found is not None and found > 0 else default


def _entity(order: Order) -> int:
    return _item(order.channel_ref)


def _item(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Invalid(f"{text!r} is not a number that Magento gave")
    return int(text)


def _credentials(connection: Connection) -> oauth1.Credentials:
    try:
        return oauth1.Credentials.model_validate_json(connection.secret("oauth"))
    except ValidationError:
        message = f"channel {connection.code}: the credential `oauth` lacks a part"
        raise Invalid(message, code=NO_CREDENTIAL) from None


def _object(connection: Connection, answer: Any) -> Document:
    if not isinstance(answer, dict):
        raise Outage(_system(connection), "answered in a shape that is not Magento's")
    return answer


def _said(answer: http.Answer) -> str:
    try:
        body = json.loads(answer.body, parse_float=Decimal)
    except (ValueError, RecursionError):
        return answer.message()
    return http.line(_complaint(body)) if isinstance(body, dict) else answer.message()


def _complaint(body: Document) -> str:
    """The message with its parameters, which stand in it as %1, %2 or %name."""
    message = reading.text(body.get("message"), 500)
    given = body.get("parameters")
    named = dict(enumerate(given, 1)) if isinstance(given, list) else reading.part(given)
    texts = {str(name): reading.text(value) for name, value in named.items()}
    return re.sub(r"%(\w+)", lambda found: texts.get(found[1], found[0]), message)


def _system(connection: Connection) -> str:
    return f"channel {connection.code}"
