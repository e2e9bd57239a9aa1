"""What we ask of Shopify's Admin GraphQL API, and how its answers and errors are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from connectors import http
from connectors.channels.base import Connection
from domain.errors import Outage, Refused

VERSION: Final = "2026-10"

# Page sizes keep each query's cost under Shopify's 1,000 points: connections count by `first`.
FULFILLMENT_ORDERS: Final = """
query FulfillmentOrders($id: ID!, $after: String) {
  order(id: $id) {
    id
    fulfillmentOrders(first: 5, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes {
        id
        status
        deliveryMethod { methodType }
        assignedLocation { name location { id } }
        lineItems(first: 40) {
          pageInfo { hasNextPage endCursor }
          nodes { id remainingQuantity lineItem { id } }
        }
      }
    }
  }
}
"""

MORE_LINES: Final = """
query FulfillmentOrderLines($id: ID!, $after: String) {
  fulfillmentOrder(id: $id) {
    lineItems(first: 200, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes { id remainingQuantity lineItem { id } }
    }
  }
}
"""

FULFILLMENTS: Final = """
query Fulfillments($id: ID!) {
  order(id: $id) {
    id
    fulfillments(first: 50) { id status trackingInfo(first: 10) { number } }
  }
}
"""

FULFILLED_LINES: Final = """
query FulfilledLines($id: ID!, $after: String) {
  fulfillment(id: $id) {
    fulfillmentLineItems(first: 200, after: $after) {
      pageInfo { hasNextPage endCursor }
      nodes { quantity lineItem { id } }
    }
  }
}
"""

CANCELLED: Final = """
query Cancelled($id: ID!) {
  order(id: $id) { id cancelledAt }
}
"""

FULFILL: Final = """
mutation Fulfill($fulfillment: FulfillmentInput!) {
  fulfillmentCreate(fulfillment: $fulfillment) {
    fulfillment { id }
    userErrors { field message }
  }
}
"""

PREPARED: Final = """
mutation Prepared($input: FulfillmentOrderLineItemsPreparedForPickupInput!) {
  fulfillmentOrderLineItemsPreparedForPickup(input: $input) {
    userErrors { code field message }
  }
}
"""

CANCEL: Final = """
mutation Cancel($id: ID!, $reason: OrderCancelReason!, $refund: OrderCancelRefundMethodInput) {
  orderCancel(
    orderId: $id, reason: $reason, restock: true, notifyCustomer: true, refundMethod: $refund
  ) {
    orderCancelUserErrors { code field message }
  }
}
"""

DOCUMENTS: Final = (
    FULFILLMENT_ORDERS,
    MORE_LINES,
    FULFILLMENTS,
    FULFILLED_LINES,
    CANCELLED,
    FULFILL,
    PREPARED,
    CANCEL,
)

FAILED: Final = frozenset({"CANCELLED", "ERROR", "FAILURE"})

_DOWN: Final = frozenset({"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT"})
_DEFAULT_WAIT: Final = 2.0


class Said(BaseModel):
    """A part of an answer, in our spelling of Shopify's names."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class PageInfo(Said):
    has_next_page: bool = False
    end_cursor: str | None = None


class Named(Said):
    id: str


class OpenLine(Said):
    id: str
    remaining_quantity: int
    line_item: Named


class OpenLines(Said):
    nodes: tuple[OpenLine, ...]
    page_info: PageInfo = PageInfo()


class DeliveryMethod(Said):
    method_type: str


class Location(Said):
    name: str = ""
    location: Named | None = None


class FulfillmentOrder(Said):
    id: str
    status: str
    delivery_method: DeliveryMethod | None = None
    assigned_location: Location = Location()
    line_items: OpenLines


class FulfillmentOrders(Said):
    nodes: tuple[FulfillmentOrder, ...]
    page_info: PageInfo = PageInfo()


class Tracking(Said):
    number: str | None = None


class Fulfillment(Said):
    id: str
    status: str
    tracking_info: tuple[Tracking, ...] = ()


class FulfilledLine(Said):
    quantity: int | None = None
    line_item: Named


class FulfilledLines(Said):
    nodes: tuple[FulfilledLine, ...]
    page_info: PageInfo = PageInfo()


class Order(Said):
    """An order, with whichever of its parts were asked for."""

    id: str
    cancelled_at: str | None = None
    fulfillment_orders: FulfillmentOrders | None = None
    fulfillments: tuple[Fulfillment, ...] = ()


class UserError(Said):
    message: str
    field: tuple[str, ...] | None = None
    code: str | None = None


class Mutation(Said):
    user_errors: tuple[UserError, ...] = ()
    order_cancel_user_errors: tuple[UserError, ...] = ()

    @property
    def errors(self) -> tuple[UserError, ...]:
        return self.user_errors + self.order_cancel_user_errors


class _FulfillmentOrderLines(Said):
    line_items: OpenLines


class _FulfillmentLines(Said):
    fulfillment_line_items: FulfilledLines


_T = TypeVar("_T", bound=Said)


async def fulfillment_orders(
    client: httpx.AsyncClient, connection: Connection, order: str
) -> list[FulfillmentOrder] | None:
    """All fulfillment orders of an order, with all lines; None where there is no such order."""
    found: list[FulfillmentOrder] = []
    page = PageInfo(has_next_page=True)
    while page.has_next_page:
        data = await call(client, connection, FULFILLMENT_ORDERS, id=order, after=page.end_cursor)
        if data.get("order") is None:
            return None
        known = _read(connection, Order, data["order"]).fulfillment_orders
        if known is None:
            break
        found += [await _with_all_lines(client, connection, node) for node in known.nodes]
        page = known.page_info
    return found


async def fulfilled_units(
    client: httpx.AsyncClient, connection: Connection, order: str, numbers: Collection[str]
) -> Counter[str]:
    """Units by line id (the number) in fulfillments that carry one of these tracking numbers."""
    data = await call(client, connection, FULFILLMENTS, id=order)
    units: Counter[str] = Counter()
    if data.get("order") is None:
        return units
    for fulfillment in _read(connection, Order, data["order"]).fulfillments:
        ours = any(tracking.number in numbers for tracking in fulfillment.tracking_info)
        if not ours or fulfillment.status in FAILED:
            continue
        page = PageInfo(has_next_page=True)
        while page.has_next_page:
            more = await call(
                client, connection, FULFILLED_LINES, id=fulfillment.id, after=page.end_cursor
            )
            lines = _read(connection, _FulfillmentLines, more.get("fulfillment"))
            for node in lines.fulfillment_line_items.nodes:
                units[bare(node.line_item.id)] += node.quantity or 0
            page = lines.fulfillment_line_items.page_info
    return units


async def is_cancelled(client: httpx.AsyncClient, connection: Connection, order: str) -> bool:
    data = await call(client, connection, CANCELLED, id=order)
    if data.get("order") is None:
        return False
    return _read(connection, Order, data["order"]).cancelled_at is not None


async def mutate(
    client: httpx.AsyncClient, connection: Connection, document: str, **variables: Any
) -> tuple[UserError, ...]:
    """The user errors of a mutation; none means done."""
    data = await call(client, connection, document, **variables)
    payload = next(iter(data.values()), None)
    return _read(connection, Mutation, payload).errors


def bare(gid: str) -> str:
    """The number in gid://shopify/Thing/123?x=y."""
    return gid.rpartition("/")[2].partition("?")[0]


async def call(
    client: httpx.AsyncClient, connection: Connection, document: str, **variables: Any
) -> dict[str, Any]:
    """
    The `data` of an answer.

    Raises Outage where throttled (with the time until enough points are back) or down, Refused for
    what Shopify rejects as a whole. `userErrors` inside the data are the caller's.
    """
    version = quote(str(connection.settings.get("api_version") or VERSION), safe="")
    answer = await http.call(
        client,
        "POST",
        f"{connection.url.rstrip('/')}/admin/api/{version}/graphql.json",
        system=system(connection),
        headers={
            "content-type": "application/json",
            "x-shopify-access-token": connection.secret("access_token"),
        },
        content=json.dumps({"query": document, "variables": variables}).encode(),
    )
    body = answer.parsed(system(connection))
    if not isinstance(body, dict):
        raise Outage(system(connection), "answered something that is not a GraphQL answer")
    if body.get("errors"):
        raise _failure(connection, body)
    if not isinstance(body.get("data"), dict):
        raise Outage(system(connection), "answered without data")
    data: dict[str, Any] = body["data"]
    return data


async def _with_all_lines(
    client: httpx.AsyncClient, connection: Connection, found: FulfillmentOrder
) -> FulfillmentOrder:
    nodes = list(found.line_items.nodes)
    page = found.line_items.page_info
    while page.has_next_page:
        data = await call(client, connection, MORE_LINES, id=found.id, after=page.end_cursor)
        lines = _read(connection, _FulfillmentOrderLines, data.get("fulfillmentOrder")).line_items
        nodes += lines.nodes
        page = lines.page_info
    return found.model_copy(update={"line_items": OpenLines(nodes=tuple(nodes))})


def _read(connection: Connection, kind: type[_T], value: Any) -> _T:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise Outage(system(connection), "answered in a shape that is not Shopify's") from error


def _failure(connection: Connection, body: dict[str, Any]) -> Refused | Outage:
    errors = body["errors"]
    first = errors[0] if isinstance(errors, list) and errors else {"message": errors}
    first = first if isinstance(first, dict) else {"message": first}
    extensions = first.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    message = http.line(str(first.get("message", "")))
    if code == "THROTTLED":
        return Outage(system(connection), "throttles us", retry_after=_points_back(body))
    if code in _DOWN:
        return Outage(system(connection), f"said {code}: {message}")
    stable = "partner_unauthorized" if code == "ACCESS_DENIED" else "partner_refused"
    return Refused(f"{system(connection)} said {code or 'no'}: {message}", code=stable)


def _points_back(body: dict[str, Any]) -> float:
    """Seconds until the bucket holds what the query asked for."""
    try:
        cost = body["extensions"]["cost"]
        bucket = cost["throttleStatus"]
        missing = Decimal(cost["requestedQueryCost"]) - Decimal(bucket["currentlyAvailable"])
        wait = float(missing / Decimal(bucket["restoreRate"]))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return _DEFAULT_WAIT
    return min(max(wait, 0.1), 60.0)


def system(connection: Connection) -> str:
    return f"channel {connection.code}"
