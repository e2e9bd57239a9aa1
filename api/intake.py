"""What partners say is stored before it is answered; a pump in the worker takes it from there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from api.schemas import ShopifyHeaders
from connectors.channels import shopify_orders
from domain.fulfillments import Fulfillment, NodeEvent, NodeEventType
from domain.orders import order_id as id_of
from domain.records import OrderEvent
from storage import inbox, open_orders, records
from storage.inbox import wake_backordered as wake_backordered  # noqa: PLC0414 - from here, too
from storage.shortages import Affected, StockException
from workflows.messages import NodeDown

# Read by `connectors.nodes.parse_event`, which tells of every field; so documented by hand.
EVENT_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["event_id", "fulfillment_id", "type", "occurred_at"],
                    "properties": {
                        "event_id": {"type": "string", "maxLength": 128},
                        "fulfillment_id": {"type": "string"},
                        "type": {"type": "string", "enum": [kind.value for kind in NodeEventType]},
                        "occurred_at": {"type": "string", "format": "date-time"},
                        "reason": {"type": "string"},
                        "lines": {"type": "array", "items": {"type": "object"}},
                        "packages": {"type": "array", "items": {"type": "object"}},
                        "final": {"type": "boolean", "default": True},
                    },
                },
                "example": {
                    "event_id": "evt-1",
                    "fulfillment_id": "webshop-1001-F1",
                    "type": "shipped",
                    "occurred_at": "2026-11-22T15:04:05Z",
                    "lines": [{"line_id": "1", "quantity": 2}],
                    "packages": [{"tracking_number": "1Z999", "carrier": "ups"}],
                    "final": True,
                },
            }
        },
    }
}


SHOPIFY_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The order as Shopify writes it. The signature is over these very bytes.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "id": 820982911946154508,
                    "currency": "USD",
                    "created_at": "2026-11-22T10:00:00-05:00",
                    "line_items": [
                        {
                            "id": 866550311766439020,
                            "sku": "SKU-0001",
                            "quantity": 2,
                            "fulfillable_quantity": 2,
                            "price": "12.30",
                        }
                    ],
                },
            }
        },
    }
}


async def store_event(
    conn: AsyncConnection, event: NodeEvent, fulfillment: Fulfillment, raw: bytes = b""
) -> bool:
    """Keep a node's event, once by its id, however it came. Whether it was new."""
    return await inbox.put(
        conn,
        f"node:{event.node}",
        event.event_id,
        "node_event",
        event.model_dump(mode="json"),
        order_id=fulfillment.order_id,
        raw=raw,
    )


async def store_shopify(
    conn: AsyncConnection, channel: str, headers: ShopifyHeaders, raw: bytes
) -> bool:
    """Keep a shop's delivery as it came, once by its id. Whether it was new."""
    shop, topic = headers.x_shopify_shop_domain, headers.x_shopify_topic
    number = shopify_orders.number(raw)
    return await inbox.put(
        conn,
        f"shopify:{shop}:{topic}",
        headers.x_shopify_webhook_id,
        "shopify",
        {"channel": channel, "shop": shop, "topic": topic},
        order_id=id_of(channel, number) if number else None,
        raw=raw,
        headers=headers.kept(),
    )


async def tell_node_down(conn: AsyncConnection, said: NodeDown, call: str) -> int:
    """Have every order with work at the node look elsewhere. How many there are."""
    orders = await open_orders.at_node(conn, said.node)
    for order_id in orders:
        body = {**said.model_dump(mode="json"), "order_id": order_id}
        delivery = f"{call}:{order_id}"
        await inbox.put(
            conn, f"node_down:{said.node}", delivery, "node_down", body, order_id=order_id
        )
    return len(orders)


async def ask_back(conn: AsyncConnection, short: StockException, by: str) -> tuple[Affected, ...]:
    """
    Have the orders whose units are not there ask their node to give the work back, and look
    elsewhere; each once for a shortage, and told of in its story. Answers which are asked now.
    """
    asked = []
    for affected in short.affected:
        order_id, sku = affected.order_id, short.sku
        if await records.state(conn, order_id) is None:
            continue
        said = f"{max(short.there, 0)} of {short.allocated} allocated {sku} are there"
        message = NodeDown(node=short.node, reason=said, by=by)
        body = {**message.model_dump(mode="json"), "order_id": order_id}
        source, delivery = f"node_down:{short.node}", f"short:{short.id}:{affected.fulfillment_id}"
        if not await inbox.put(conn, source, delivery, "node_down", body, order_id=order_id):
            continue
        told = OrderEvent(
            type="stock_short",
            summary=f"{short.node} has too few: {said}; the work is asked back",
            actor=by,
            cause=short.cause,
            fulfillment_id=affected.fulfillment_id,
            data={"exception": short.id, "sku": sku, "units": affected.units},
        )
        await records.append_event(conn, order_id, delivery, datetime.now(UTC), told)
        asked.append(affected)
    return tuple(asked)
