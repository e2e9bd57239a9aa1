"""Changes a shop's orders as the Admin API's mutations do, with the errors that Shopify gives."""

import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from connectors.sandbox import shopify_orders
from connectors.sandbox.shopify_tree import Forest, Tree, event, gid, number
from connectors.sandbox.world import World, iso


class Input(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class LineInput(Input):
    id: str
    quantity: int


class GroupInput(Input):
    fulfillment_order_id: str
    fulfillment_order_line_items: tuple[LineInput, ...] | None = None


class TrackingInput(Input):
    company: str | None = None
    number: str | None = None
    numbers: tuple[str, ...] | None = None
    url: str | None = None
    urls: tuple[str, ...] | None = None


class FulfillmentInput(Input):
    line_items_by_fulfillment_order: tuple[GroupInput, ...]
    tracking_info: TrackingInput = TrackingInput()


class EventInput(Input):
    fulfillment_id: str
    status: str
    happened_at: str | None = None
    message: str | None = None


class _Wrong(Exception):
    """A user error: nothing is changed."""


class Mutations:
    """The mutations of one shop. Like Shopify's, `create` is not idempotent."""

    def __init__(self, world: World, shop: str) -> None:
        self._world, self._store, self._shop = world, world.store, shop

    def create(self, given: dict[str, Any]) -> Tree:
        wanted = FulfillmentInput.model_validate(given)
        try:
            with self._store.transaction():
                key = self._create(wanted)
        except _Wrong as wrong:
            errors = [{"field": ["fulfillment"], "message": str(wrong)}]
            return {"fulfillment": None, "userErrors": errors}
        self._world.wake.set()
        return {"fulfillment": Forest(self._world, self._shop).fulfillment(key), "userErrors": []}

    def prepared_for_pickup(self, given: dict[str, Any]) -> Tree:
        errors: list[Tree] = []
        with self._store.transaction():
            for group in given["lineItemsByFulfillmentOrder"]:
                order = self._fulfillment_order(group["fulfillmentOrderId"])
                if order is None or order["method_type"] != "PICK_UP":
                    errors.append(_pickup_error("FULFILLMENT_ORDER_INVALID", "is not for pickup."))
                elif order["status"] not in {"OPEN", "IN_PROGRESS"}:
                    code = "NO_LINE_ITEMS_TO_PREPARE_FOR_FULFILLMENT_ORDER"
                    errors.append(_pickup_error(code, "has nothing to prepare."))
                else:
                    notice = (self._shop, order["order_id"], iso(self._world.now()))
                    self._store.run("INSERT INTO shop_pickup_notices VALUES (?,?,?)", *notice)
        return {"userErrors": errors}

    def create_event(self, given: dict[str, Any]) -> Tree:
        wanted = EventInput.model_validate(given)
        key, at = number("Fulfillment", wanted.fulfillment_id), iso(self._world.now())
        if Forest(self._world, self._shop).fulfillment(key) is None:
            code = {"code": "RESOURCE_NOT_FOUND"}
            raise GraphQLError(f"Invalid id: {wanted.fulfillment_id}", extensions=code)
        with self._store.transaction():
            self._store.run(
                "INSERT INTO shop_fulfillment_events"
                " (shop, fulfillment_id, status, happened_at, message) VALUES (?,?,?,?,?)",
                *(self._shop, key, wanted.status, wanted.happened_at or at, wanted.message or ""),
            )
            if wanted.status == "DELIVERED":
                self._store.run(
                    "UPDATE shop_fulfillments SET delivered_at = ?"
                    " WHERE shop = ? AND fulfillment_id = ?",
                    *(wanted.happened_at or at, self._shop, key),
                )
            row = self._store.one("SELECT * FROM shop_fulfillment_events ORDER BY id DESC LIMIT 1")
        return {"fulfillmentEvent": event(row) if row else None, "userErrors": []}

    def cancel(self, order_id: str, reason: str) -> Tree:
        key = number("Order", order_id)
        if fault := shopify_orders.cancel(self._world, self._shop, key, reason.lower()):
            code = "NOT_FOUND" if "exist" in fault else "INVALID"
            error = {"code": code, "field": ["orderId"], "message": fault}
            return {"job": None, "orderCancelUserErrors": [error]}
        job = {"id": f"gid://shopify/Job/{uuid.uuid4()}", "done": False}
        return {"job": job, "orderCancelUserErrors": []}

    def _create(self, wanted: FulfillmentInput) -> int:
        groups = [self._open(group) for group in wanted.line_items_by_fulfillment_order]
        if len({(order["order_id"], order["location_id"]) for order, _ in groups}) != 1:
            raise _Wrong("All fulfillment orders must be of one order and one location.")
        order, tracking = groups[0][0], wanted.tracking_info
        key = 9_000_000_000_000 + self._store.next_number(f"{self._shop}:fulfillment")
        self._store.run(
            "INSERT INTO shop_fulfillments VALUES (?,?,?,?,?,?,?,?,NULL,'')",
            *(self._shop, key, order["order_id"], str(order["location_id"])),
            tracking.company or "",
            ",".join(tracking.numbers or ([tracking.number] if tracking.number else [])),
            ",".join(tracking.urls or ([tracking.url] if tracking.url else [])),
            iso(self._world.now()),
        )
        for fulfillment_order, lines in groups:
            self._fulfill(key, fulfillment_order, lines)
        self._write_down(order["order_id"])
        return key

    def _open(self, group: GroupInput) -> tuple[sqlite3.Row, list[tuple[sqlite3.Row, int]]]:
        """The fulfillment order and how much of each of its lines. Raises _Wrong."""
        order = self._fulfillment_order(group.fulfillment_order_id)
        if order is None:
            raise _Wrong("Fulfillment order does not exist.")
        if order["status"] not in {"OPEN", "IN_PROGRESS"}:
            status = order["status"].lower()
            raise _Wrong(f"Fulfillment order {order['id']} has an unfulfillable status= {status}.")
        rows = self._store.all(
            "SELECT * FROM shopify_fulfillment_order_lines"
            " WHERE shop = ? AND fulfillment_order_id = ? ORDER BY id",
            *(self._shop, order["id"]),
        )
        if not group.fulfillment_order_line_items:
            return order, [(row, row["remaining"]) for row in rows if row["remaining"]]
        return order, _chosen(rows, group.fulfillment_order_line_items)

    def _fulfill(
        self, key: int, order: sqlite3.Row, lines: Sequence[tuple[sqlite3.Row, int]]
    ) -> None:
        for row, quantity in lines:
            self._store.run(
                "UPDATE shopify_fulfillment_order_lines SET remaining = remaining - ?"
                " WHERE shop = ? AND id = ?",
                *(quantity, self._shop, row["id"]),
            )
            line = (self._shop, key, order["id"], row["line_id"], row["sku"] or "", quantity)
            self._store.run("INSERT INTO shop_fulfillment_lines VALUES (?,?,?,?,?,?)", *line)
        self._store.run(
            "UPDATE shopify_fulfillment_orders SET updated_at = ?, status = CASE WHEN EXISTS"
            " (SELECT 1 FROM shopify_fulfillment_order_lines AS l WHERE l.shop = ?2"
            " AND l.fulfillment_order_id = ?3 AND remaining > 0) THEN 'IN_PROGRESS'"
            " ELSE 'CLOSED' END WHERE shop = ?2 AND id = ?3",
            *(iso(self._world.now()), self._shop, order["id"]),
        )

    def _write_down(self, order_id: int) -> None:
        """The order's own body after what left, and the webhooks that tell of it."""
        body = shopify_orders.get(self._world, self._shop, order_id)
        if body is None:
            return
        rows = self._store.all(
            "SELECT line_id, sum(remaining) AS remaining FROM shopify_fulfillment_order_lines"
            " WHERE shop = ? AND fulfillment_order_id IN (SELECT id FROM shopify_fulfillment_orders"
            " WHERE shop = ? AND order_id = ?) GROUP BY line_id",
            *(self._shop, self._shop, order_id),
        )
        remaining = {row["line_id"]: row["remaining"] for row in rows}
        for line in body["line_items"]:
            if line["id"] in remaining:
                left = line["fulfillable_quantity"] = remaining[line["id"]]
                line["fulfillment_status"] = "partial" if left else "fulfilled"
        body["fulfillment_status"] = "partial" if any(remaining.values()) else "fulfilled"
        body["updated_at"] = iso(self._world.now())
        shopify_orders.put(self._world, self._shop, body)
        shopify_orders.tell(self._world, self._shop, "orders/updated", body)

    def _fulfillment_order(self, given: str) -> sqlite3.Row | None:
        return self._store.one(
            "SELECT * FROM shopify_fulfillment_orders WHERE shop = ? AND id = ?",
            *(self._shop, number("FulfillmentOrder", given)),
        )


def _chosen(
    rows: Sequence[sqlite3.Row], wanted: Sequence[LineInput]
) -> list[tuple[sqlite3.Row, int]]:
    by_id = {gid("FulfillmentOrderLineItem", row["id"]): row for row in rows}
    if any(line.quantity <= 0 for line in wanted):
        raise _Wrong("Quantity must be greater than 0")
    asked: dict[str, int] = {}
    for line in wanted:
        asked[line.id] = asked.get(line.id, 0) + line.quantity
    if any(key not in by_id or q > by_id[key]["remaining"] for key, q in asked.items()):
        raise _Wrong("Invalid fulfillment order line item quantity requested.")
    return [(by_id[key], quantity) for key, quantity in asked.items()]


def _pickup_error(code: str, message: str) -> Tree:
    field = ["input", "lineItemsByFulfillmentOrder"]
    return {"code": code, "field": field, "message": f"Fulfillment order {message}"}
