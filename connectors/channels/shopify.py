"""Shopify: signed webhooks in, fulfillments on fulfillment orders out (Admin GraphQL)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import httpx

from connectors import http
from connectors.channels import reading, shopify_graphql, shopify_orders
from connectors.channels.base import Connection, Shipment, WhenShort
from connectors.channels.shopify_graphql import FulfillmentOrder, UserError
from domain.errors import NotFound, Outage, Refused
from domain.fulfillments import LineQuantity
from domain.orders import Address, Declined, DeliveryMethod, Order

_WORKABLE: Final = frozenset({"OPEN", "IN_PROGRESS"})
_WAITING: Final = frozenset({"SCHEDULED", "ON_HOLD"})
_LIVE: Final = _WORKABLE | _WAITING
_LINES_PER_CALL: Final = 250
_NOT_ROUTED_YET: Final = 5.0
# Shopify links tracking numbers of the companies that it knows by these names.
_COMPANIES: Final = {"dhl": "DHL Express", "fedex": "FedEx", "ups": "UPS", "usps": "USPS"}


class Shopify:
    """
    Implements ChannelAdapter.

    Settings: `locations` maps a location's gid, number or name to a node; `api_version`; `notify`
    (default yes) has Shopify write to the customer; `refund_on_cancel` (default no).
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def translate(
        self,
        channel_code: str,
        raw: bytes,
        settings: Mapping[str, Any],  # noqa: ARG002  # Shopify's documents need none
        when_short: WhenShort,
        *,
        received_at: datetime | None = None,
    ) -> Order | Declined:
        return shopify_orders.translate(channel_code, raw, when_short, received_at)

    def number(self, raw: bytes) -> str:
        return shopify_orders.number(raw)

    async def complete(self, connection: Connection, order: Order) -> Order:
        """
        A pickup stands in no order document: only its fulfillment orders tell.

        An order with an address is left as it is. Raises Outage until Shopify has routed the order;
        one that the shop does not know stays as it is.
        """
        if order.ship_to != Address() or order.method is DeliveryMethod.PICKUP:
            return order
        known = await shopify_graphql.fulfillment_orders(
            self._client, connection, order.channel_ref
        )
        if known is None:
            return order
        if not known:
            raise _not_routed(connection)
        at = [found for found in known if found.status in _LIVE and _is_pickup(found)]
        if not at:
            return order
        found = reading.collected_at(_node(connection, at[0]), {"holds": order.holds})
        return order.model_copy(update=found)

    async def shipped(self, connection: Connection, shipment: Shipment) -> None:
        """
        One fulfillment per location that Shopify has assigned the units to.

        Fulfillments are known by tracking number (by the shipment's key where it has none): units
        already told under it are not told again. Raises Outage while the shop has them on hold.
        """
        order = shipment.order.channel_ref
        numbers = shipment.tracking_numbers or (shipment.marker,)
        told = await shopify_graphql.fulfilled_units(self._client, connection, order, numbers)
        told.subtract(_units(shipment.before))
        wanted = {
            line: left
            for line, q in _units(shipment.lines).items()
            if (left := q - max(0, told[line])) > 0
        }
        if not wanted:
            return
        known = await self._fulfillment_orders(connection, order)
        if not known:
            raise _not_routed(connection)
        for work in _spread(known, wanted):
            errors = await shopify_graphql.mutate(
                self._client,
                connection,
                shopify_graphql.FULFILL,
                fulfillment={
                    "lineItemsByFulfillmentOrder": work,
                    "trackingInfo": _tracking(shipment, numbers),
                    "notifyCustomer": bool(connection.settings.get("notify", True)),
                },
            )
            _check(connection, errors)
        if any(wanted.keys() & _open_lines(found) for found in known if found.status in _WAITING):
            raise Outage(shopify_graphql.system(connection), "has goods of the order on hold")
        if wanted:
            missing = ", ".join(f"{q} of line {line}" for line, q in sorted(wanted.items()))
            message = f"channel {connection.code} has no open fulfillment order for {missing}"
            raise Refused(message, code="partner_refused")

    async def ready_for_pickup(self, connection: Connection, shipment: Shipment) -> None:
        known = await self._fulfillment_orders(connection, shipment.order.channel_ref)
        lines = {line.line_id for line in shipment.lines}
        ready = [
            {"fulfillmentOrderId": found.id}
            for found in known
            if found.status in _WORKABLE and _is_pickup(found) and lines & _open_lines(found)
        ]
        if not ready:
            return
        errors = await shopify_graphql.mutate(
            self._client,
            connection,
            shopify_graphql.PREPARED,
            input={"lineItemsByFulfillmentOrder": ready},
        )
        # Nothing left to prepare: an earlier call came through.
        done = "NO_LINE_ITEMS_TO_PREPARE_FOR_FULFILLMENT_ORDER"
        _check(connection, [error for error in errors if error.code != done])

    async def cancelled(
        self,
        connection: Connection,
        order: Order,
        reason: str,  # noqa: ARG002  # Shopify takes one of its own codes
    ) -> None:
        gid = order.channel_ref
        if await shopify_graphql.is_cancelled(self._client, connection, gid):
            return
        refund = connection.settings.get("refund_on_cancel", False)
        errors = await shopify_graphql.mutate(
            self._client,
            connection,
            shopify_graphql.CANCEL,
            id=gid,
            reason="OTHER",
            refund={"originalPaymentMethodsRefund": True} if refund else None,
        )
        _check(connection, errors)

    async def _fulfillment_orders(
        self, connection: Connection, order: str
    ) -> list[FulfillmentOrder]:
        known = await shopify_graphql.fulfillment_orders(self._client, connection, order)
        if known is None:
            raise NotFound(f"channel {connection.code} does not know {order}")
        return known


def _units(lines: Iterable[LineQuantity]) -> Counter[str]:
    units: Counter[str] = Counter()
    for line in lines:
        units[line.line_id] += line.quantity
    return units


def _not_routed(connection: Connection) -> Outage:
    system = shopify_graphql.system(connection)
    return Outage(system, "has not routed the order yet", retry_after=_NOT_ROUTED_YET)


def _spread(
    known: Iterable[FulfillmentOrder], wanted: dict[str, int]
) -> list[list[dict[str, Any]]]:
    """
    The units spread over open fulfillment orders: one call's worth per location and 250 lines.

    Takes from `wanted` what it places; what is left there has no place.
    """
    by_location: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for found in known:
        if found.status not in _WORKABLE:
            continue
        place = found.assigned_location
        for line in found.line_items.nodes:
            line_id = shopify_graphql.bare(line.line_item.id)
            units = min(wanted.get(line_id, 0), line.remaining_quantity)
            if units <= 0:
                continue
            where = place.location.id if place.location else place.name
            by_location[where].append((found.id, {"id": line.id, "quantity": units}))
            wanted[line_id] -= units
            if not wanted[line_id]:
                del wanted[line_id]
    return [
        _by_fulfillment_order(lines[start : start + _LINES_PER_CALL])
        for lines in by_location.values()
        for start in range(0, len(lines), _LINES_PER_CALL)
    ]


def _by_fulfillment_order(lines: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fulfillment_order, line in lines:
        grouped[fulfillment_order].append(line)
    return [
        {"fulfillmentOrderId": found, "fulfillmentOrderLineItems": items}
        for found, items in grouped.items()
    ]


def _tracking(shipment: Shipment, numbers: tuple[str, ...]) -> dict[str, Any]:
    carriers = {package.carrier for package in shipment.packages if package.carrier}
    company = carriers.pop() if len(carriers) == 1 else ""
    named = {"company": _COMPANIES.get(company.lower(), company)} if company else {}
    return {**named, "number": numbers[0]} if len(numbers) == 1 else {**named, "numbers": numbers}


def _is_pickup(found: FulfillmentOrder) -> bool:
    return found.delivery_method is not None and found.delivery_method.method_type == "PICK_UP"


def _open_lines(found: FulfillmentOrder) -> set[str]:
    lines = found.line_items.nodes
    return {shopify_graphql.bare(x.line_item.id) for x in lines if x.remaining_quantity > 0}


def _node(connection: Connection, found: FulfillmentOrder) -> str | None:
    locations = reading.part(connection.settings.get("locations"))
    place = found.assigned_location
    gid = place.location.id if place.location else ""
    names = (gid, shopify_graphql.bare(gid), place.name)
    return next((str(locations[name]) for name in names if locations.get(name)), None)


def _check(connection: Connection, errors: Iterable[UserError]) -> None:
    """Raises Refused with what Shopify found wrong."""
    found = "; ".join(error.message for error in errors)
    if found:
        system = shopify_graphql.system(connection)
        message = http.line(found)
        raise Refused(f"{system} said: {message}", code="partner_refused")
