"""Shows a shop's orders as the GraphQL objects of the Admin API, each part made when asked for."""

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from graphql import GraphQLError

from connectors.sandbox import shopify_orders
from connectors.sandbox.world import World, iso

Tree = dict[str, Any]
_Row = TypeVar("_Row")

_SORTS: Final = {
    "CREATED_AT": "created_at",
    "PROCESSED_AT": "created_at",
    "UPDATED_AT": "updated_at",
}
_BOUND: Final = re.compile(r"(created_at|updated_at):(>=|<=|>|<)['\"]?([0-9T:+.Z-]+)")
_UNSAID: Final = "XXX"  # ISO 4217 for no currency
_BEGINNING: Final = "1970-01-01T00:00:00Z"
_GID: Final = re.compile(r"gid://shopify/(\w+)/(\d{1,19})")


def gid(kind: str, key: int) -> str:
    return f"gid://shopify/{kind}/{key}"


def number(kind: str, given: str) -> int:
    """The number in a gid of this kind. Raises GraphQLError, as Shopify does, for anything else."""
    match = _GID.fullmatch(given)
    if match is None or match[1] != kind:
        code = {"code": "RESOURCE_NOT_FOUND"}
        raise GraphQLError(f"Invalid id: {given}", extensions=code)
    return int(match[2])


class Forest:
    """The trees of one shop. Unknown ids are None."""

    def __init__(self, world: World, shop: str) -> None:
        self._world, self._store, self._shop = world, world.store, shop

    def order(self, order_id: int) -> Tree | None:
        body = shopify_orders.get(self._world, self._shop, order_id)
        return self._order(body) if body else None

    def orders(
        self,
        *,
        first: int = 50,
        after: str | None = None,
        query: str = "",
        sort_key: str = "PROCESSED_AT",
        reverse: bool = False,
    ) -> Tree:
        column = _SORTS.get(sort_key, "order_id")
        where, values = ["shop = ?"], [self._shop]
        for name, operator, instant in _BOUND.findall(query):
            where.append(f"{name} {operator} ?")
            values.append(_utc(instant))
        rows = self._store.all(
            f"SELECT body FROM shop_orders WHERE {' AND '.join(where)}"  # noqa: S608 names are ours
            f" ORDER BY {column} {'DESC' if reverse else 'ASC'}, order_id",
            *values,
        )
        return _connection(rows, lambda row: self._order(json.loads(row["body"])), first, after)

    def fulfillment_order(self, key: int) -> Tree | None:
        row = self._store.one(
            "SELECT * FROM shopify_fulfillment_orders WHERE shop = ? AND id = ?", self._shop, key
        )
        return self._fulfillment_order(row) if row else None

    def fulfillment(self, key: int) -> Tree | None:
        row = self._store.one(
            "SELECT * FROM shop_fulfillments WHERE shop = ? AND fulfillment_id = ?", self._shop, key
        )
        return self._fulfillment(row) if row else None

    def _order(self, body: Tree) -> Tree:
        order_id = body["id"]
        return {
            **_order_facts(body),
            "lineItems": lambda _info, first=50, after=None: _connection(
                body["line_items"], _line_item, first, after
            ),
            "fulfillmentOrders": lambda _info, first=50, after=None, **_: self._fulfillment_orders(
                order_id, first, after
            ),
            "fulfillments": lambda _info, first=None, **_: [
                self._fulfillment(row) for row in self._fulfillments_of(order_id)[:first]
            ],
        }

    def _fulfillment_orders(self, order_id: int, first: int, after: str | None) -> Tree:
        rows = self._store.all(
            "SELECT * FROM shopify_fulfillment_orders WHERE shop = ? AND order_id = ?"
            " AND visible_ms <= ? ORDER BY id",
            *(self._shop, order_id, self._world.now_ms()),
        )
        return _connection(rows, self._fulfillment_order, first, after)

    def _fulfillment_order(self, row: sqlite3.Row) -> Tree:
        lines = self._store.all(
            "SELECT * FROM shopify_fulfillment_order_lines"
            " WHERE shop = ? AND fulfillment_order_id = ? ORDER BY id",
            *(self._shop, row["id"]),
        )
        body = shopify_orders.get(self._world, self._shop, row["order_id"]) or {"line_items": []}
        items = {line["id"]: line for line in body["line_items"]}
        is_open = row["status"] in {"OPEN", "IN_PROGRESS"}
        return {
            "id": gid("FulfillmentOrder", row["id"]),
            "order": lambda _info: self.order(row["order_id"]),
            "orderId": gid("Order", row["order_id"]),
            "orderName": body.get("name", ""),
            "status": row["status"],
            "requestStatus": "UNSUBMITTED",
            "supportedActions": [{"action": "CREATE_FULFILLMENT"}] if is_open else [],
            "assignedLocation": {
                "name": row["location_name"],
                "countryCode": "US",
                "location": _location(row["location_id"], row["location_name"]),
            },
            "deliveryMethod": {
                "id": gid("DeliveryMethod", row["id"]),
                "methodType": row["method_type"],
            },
            "createdAt": row["created_at"],
            "updatedAt": row["updated_at"],
            "lineItems": lambda _info, first=50, after=None: _connection(
                lines,
                lambda line: _fulfillment_order_line(line, items[line["line_id"]]),
                first,
                after,
            ),
            "fulfillments": lambda _info, first=50, after=None: _connection(
                self._fulfillments_of(row["order_id"], row["id"]), self._fulfillment, first, after
            ),
        }

    def _fulfillments_of(
        self, order_id: int, fulfillment_order: int | None = None
    ) -> list[sqlite3.Row]:
        return self._store.all(
            "SELECT * FROM shop_fulfillments AS f WHERE shop = ?1 AND order_id = ?2 AND (?3 IS NULL"
            " OR EXISTS (SELECT 1 FROM shop_fulfillment_lines AS l WHERE l.shop = f.shop"
            " AND l.fulfillment_id = f.fulfillment_id AND l.fulfillment_order_id = ?3))"
            " ORDER BY fulfillment_id",
            *(self._shop, order_id, fulfillment_order),
        )

    def _fulfillment(self, row: sqlite3.Row) -> Tree:
        body = shopify_orders.get(self._world, self._shop, row["order_id"]) or {"line_items": []}
        items = {line["id"]: line for line in body["line_items"]}
        lines = self._store.all(
            "SELECT rowid AS id, * FROM shop_fulfillment_lines"
            " WHERE shop = ? AND fulfillment_id = ? ORDER BY rowid",
            *(self._shop, row["fulfillment_id"]),
        )
        events = self._store.all(
            "SELECT * FROM shop_fulfillment_events"
            " WHERE shop = ? AND fulfillment_id = ? ORDER BY id",
            *(self._shop, row["fulfillment_id"]),
        )
        tracking = _tracking(row)
        orders = sorted({line["fulfillment_order_id"] for line in lines})
        return {
            "id": gid("Fulfillment", row["fulfillment_id"]),
            "legacyResourceId": str(row["fulfillment_id"]),
            "name": f"{body.get('name', '')}-F{row['fulfillment_id']}",
            "status": "SUCCESS",
            "displayStatus": events[-1]["status"] if events else "FULFILLED",
            "totalQuantity": sum(line["quantity"] for line in lines),
            "createdAt": row["created_at"],
            "updatedAt": row["delivered_at"] or row["created_at"],
            "deliveredAt": row["delivered_at"],
            "order": lambda _info: self.order(row["order_id"]),
            "location": lambda _info: _location(int(row["source"]), ""),
            "trackingInfo": lambda _info, first=None: tracking[:first],
            "fulfillmentLineItems": lambda _info, first=50, after=None: _connection(
                lines, lambda line: _fulfillment_line(line, items[line["line_id"]]), first, after
            ),
            "fulfillmentOrders": lambda _info, first=50, after=None: _connection(
                orders, self.fulfillment_order, first, after
            ),
            "events": lambda _info, first=50, after=None: _connection(events, event, first, after),
        }


def event(row: sqlite3.Row) -> Tree:
    return {
        "id": gid("FulfillmentEvent", row["id"]),
        "status": row["status"],
        "happenedAt": row["happened_at"],
        "message": row["message"] or None,
    }


def _connection(
    rows: Sequence[_Row], show: Callable[[_Row], Tree | None], first: int, after: str | None
) -> Tree:
    start = int(after) if after and after.isdigit() else 0
    page = [show(row) for row in rows[start : start + first]]
    return {
        "nodes": page,
        "edges": [{"cursor": str(start + i + 1), "node": node} for i, node in enumerate(page)],
        "pageInfo": {
            "hasNextPage": start + first < len(rows),
            "hasPreviousPage": start > 0,
            "startCursor": str(start + 1) if page else None,
            "endCursor": str(start + len(page)) if page else None,
        },
    }


def _order_facts(body: Tree) -> Tree:
    currency = body.get("currency") or _UNSAID
    fulfilled = {"fulfilled": "FULFILLED", "partial": "PARTIALLY_FULFILLED"}
    return {
        "id": gid("Order", body["id"]),
        "legacyResourceId": str(body["id"]),
        "name": body.get("name") or "",
        "number": body.get("order_number") or 0,
        **{name: body.get(name) for name in ("email", "note")},
        "tags": [tag for tag in (body.get("tags") or "").split(", ") if tag],
        "test": bool(body.get("test")),
        "createdAt": body.get("created_at") or _BEGINNING,
        "processedAt": body.get("processed_at") or body.get("created_at") or _BEGINNING,
        "updatedAt": body.get("updated_at") or _BEGINNING,
        "cancelledAt": body.get("cancelled_at"),
        "cancelReason": _upper(body.get("cancel_reason")),
        "closedAt": body.get("closed_at"),
        "currencyCode": currency,
        "presentmentCurrencyCode": body.get("presentment_currency") or currency,
        "displayFinancialStatus": _upper(body.get("financial_status")),
        "displayFulfillmentStatus": fulfilled.get(
            body.get("fulfillment_status") or "", "UNFULFILLED"
        ),
        "requiresShipping": any(line.get("requires_shipping") for line in body["line_items"]),
        "totalPriceSet": _money(body, "total_price", currency),
        "currentTotalPriceSet": _money(
            body,
            "current_total_price" if "current_total_price" in body else "total_price",
            currency,
        ),
        "shippingAddress": _address(body.get("shipping_address")),
        "billingAddress": _address(body.get("billing_address")),
        "shippingLine": _shipping_line((body.get("shipping_lines") or [None])[0], currency),
    }


def _shipping_line(line: Tree | None, currency: str) -> Tree | None:
    if line is None:
        return None
    facts = {name: line.get(name) for name in ("code", "title", "source")}
    return {**facts, "originalPriceSet": _money(line, "price", currency)}


def _line_item(line: Tree) -> Tree:
    quantity, variant = line.get("quantity") or 0, line.get("variant_id")
    return {
        "id": gid("LineItem", line["id"]),
        "sku": line.get("sku"),
        "title": line.get("title") or "",
        "name": line.get("name") or line.get("title") or "",
        "quantity": quantity,
        "currentQuantity": _or(line.get("current_quantity"), quantity),
        "unfulfilledQuantity": _or(line.get("fulfillable_quantity"), quantity),
        "requiresShipping": line.get("requires_shipping") is not False,
        "isGiftCard": bool(line.get("gift_card")),
        "variant": variant
        and {"id": gid("ProductVariant", variant), "legacyResourceId": str(variant)},
        "originalUnitPriceSet": _money(line, "price", _UNSAID),
    }


def _fulfillment_order_line(row: sqlite3.Row, item: Tree) -> Tree:
    return {
        "id": gid("FulfillmentOrderLineItem", row["id"]),
        "sku": row["sku"],
        "productTitle": row["title"],
        "totalQuantity": row["total"],
        "remainingQuantity": row["remaining"],
        "requiresShipping": True,
        "lineItem": lambda _info: _line_item(item),
    }


def _fulfillment_line(row: sqlite3.Row, item: Tree) -> Tree:
    return {
        "id": gid("FulfillmentLineItem", row["id"]),
        "quantity": row["quantity"],
        "lineItem": lambda _info: _line_item(item),
    }


def _location(key: int, name: str) -> Tree:
    return {"id": gid("Location", key), "legacyResourceId": str(key), "name": name}


def _tracking(row: sqlite3.Row) -> list[Tree]:
    if not row["tracking_number"]:
        return []
    urls = row["url"].split(",")
    numbers = enumerate(row["tracking_number"].split(","))
    return [
        {
            "company": row["carrier"] or None,
            "number": number,
            "url": (urls[i] if i < len(urls) else "") or None,
        }
        for i, number in numbers
    ]


def _address(address: Tree | None) -> Tree | None:
    if not address:
        return None
    same = (
        "address1",
        "address2",
        "city",
        "company",
        "country",
        "name",
        "phone",
        "province",
        "zip",
    )
    return {
        **{name: address.get(name) for name in same},
        "countryCodeV2": address.get("country_code"),
        "firstName": address.get("first_name"),
        "lastName": address.get("last_name"),
        "provinceCode": address.get("province_code"),
    }


def _money(owner: Tree, name: str, currency: str) -> Tree:
    """The price under this name, from its set where the order has one."""
    plain = {"amount": owner.get(name) or "0", "currency_code": currency}
    sides = owner.get(f"{name}_set") or {"shop_money": plain, "presentment_money": plain}
    return {
        side: {"amount": sides[key]["amount"], "currencyCode": sides[key]["currency_code"]}
        for side, key in (("shopMoney", "shop_money"), ("presentmentMoney", "presentment_money"))
    }


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _upper(text: str | None) -> str | None:
    return text.upper() if text else None


def _utc(text: str) -> str:
    instant = datetime.fromisoformat(text)
    return iso(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
