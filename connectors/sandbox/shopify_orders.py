"""Writes orders as a Shopify-shaped shop has them, routes them, and tells of them by webhook."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from connectors.sandbox import outgoing
from connectors.sandbox.config import ShopifyConfig
from connectors.sandbox.outgoing import Kind, Message
from connectors.sandbox.shop_orders import (
    Address,
    Item,
    OrderSpec,
    Place,
    Webhooks,
    amount,
    variant_id,
)
from connectors.sandbox.world import World, iso

VERSION: Final = "2026-10"
MAIN: Final = Place(code="main", name="Main warehouse", id=655441491)
_LINE_IDS: Final = 20_000_000_000_000
_ORDER_IDS: Final = 6_000_000_000_000

Body = dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """How an order goes to the customer, and how Crossdock learns of it."""

    method: Literal["ship", "pickup"]
    location: Place | None
    webhooks: Webhooks
    routing_ms: int = 0


def place(world: World, shop: str, spec: OrderSpec) -> tuple[int, str]:
    """A customer's order: stored, routed and told. Its id and name."""
    with world.store.transaction():
        number = 1000 + world.store.next_number(f"{shop}:order")
        order_id = spec.order_id or _ORDER_IDS + number
        body = _body(world, shop, spec, order_id, number)
        how = Delivery(spec.method, spec.location, spec.webhooks, spec.routing_ms)
        _enter(world, shop, body, how)
    world.wake.set()
    return order_id, body["name"]


def adopt(world: World, shop: str, body: Body, how: Delivery) -> tuple[int, str]:
    """An order in Shopify's own words, as it stands: stored, routed and told."""
    with world.store.transaction():
        _enter(world, shop, body, how)
    world.wake.set()
    return body["id"], str(body.get("name", ""))


def cancel(world: World, shop: str, order_id: int, reason: str) -> str:
    """Cancel an order as the merchant does; why not, or empty. The webhook goes out."""
    store, at = world.store, iso(world.now())
    with store.transaction():
        body = get(world, shop, order_id)
        if body is None:
            return "Order does not exist"
        if body.get("cancelled_at"):
            return "Order has already been canceled"
        if store.number(
            "SELECT count(*) FROM shop_fulfillments WHERE shop = ? AND order_id = ?", shop, order_id
        ):
            return "Cannot cancel an order that has outstanding fulfillments"
        body |= {"cancelled_at": at, "cancel_reason": reason, "updated_at": at}
        put(world, shop, body)
        store.run(
            "UPDATE shopify_fulfillment_orders SET status = 'CANCELLED', updated_at = ?"
            " WHERE shop = ? AND order_id = ?",
            *(at, shop, order_id),
        )
        tell(world, shop, "orders/cancelled", body)
        tell(world, shop, "orders/updated", body)
    world.wake.set()
    return ""


def get(world: World, shop: str, order_id: int) -> Body | None:
    row = world.store.one(
        "SELECT body FROM shop_orders WHERE shop = ? AND order_id = ?", shop, order_id
    )
    return json.loads(row["body"]) if row else None


def put(world: World, shop: str, body: Mapping[str, Any]) -> None:
    """Store the order as it now is. Needs a transaction."""
    at = world.now()
    world.store.run(
        "INSERT OR REPLACE INTO shop_orders VALUES (?,?,?,?,?,?,?)",
        *(shop, body["id"], str(body.get("name", ""))),
        *(_instant(body.get("created_at"), at), _instant(body.get("updated_at"), at)),
        body.get("cancelled_at"),
        json.dumps(body, separators=(",", ":")),
    )


def tell(
    world: World, shop: str, topic: str, body: Mapping[str, Any], event_id: str | None = None
) -> None:
    """Queue a webhook, if Crossdock is subscribed to the topic. Needs a transaction."""
    config = world.config.shops[shop]
    if not isinstance(config, ShopifyConfig) or topic not in config.topics:
        return
    webhook_id = str(uuid.uuid4())
    headers = {
        "X-Shopify-Topic": topic,
        "X-Shopify-Shop-Domain": f"{shop}.myshopify.com",
        "X-Shopify-API-Version": VERSION,
        "X-Shopify-Webhook-Id": webhook_id,
        "X-Shopify-Event-Id": event_id or str(uuid.uuid4()),
        "X-Shopify-Triggered-At": iso(world.now()),
        "X-Shopify-Order-Id": str(body["id"]),
        "X-Shopify-Test": "true" if body.get("test") else "false",
    }
    message = Message(
        kind=Kind.SHOPIFY_WEBHOOK,
        sender=shop,
        subject=str(body["id"]),
        message_id=webhook_id,
        path=f"/webhooks/shopify/{shop}",
        headers=headers,
        body=json.dumps(body, separators=(",", ":")).encode(),
        due_ms=world.now_ms(),
    )
    outgoing.put(world.store, message)


def _enter(world: World, shop: str, body: Body, how: Delivery) -> None:
    put(world, shop, body)
    _route(world, shop, body, how)
    _announce(world, shop, body, how.webhooks)


def _route(world: World, shop: str, body: Body, how: Delivery) -> None:
    """One fulfillment order with all that is to be fulfilled."""
    lines = [line for line in body["line_items"] if _is_work(line)]
    if not lines or body.get("cancelled_at"):
        return
    store, at = world.store, iso(world.now())
    key = 7_000_000_000_000 + store.next_number(f"{shop}:fulfillment_order")
    where = how.location or MAIN
    store.run(
        "INSERT INTO shopify_fulfillment_orders VALUES (?,?,?,?,?,?,'OPEN',?,?,?)",
        *(shop, key, body["id"], where.id, where.name),
        "PICK_UP" if how.method == "pickup" else "SHIPPING",
        *(world.now_ms() + how.routing_ms, at, at),
    )
    for line in lines:
        left = _left(line)
        store.run(
            "INSERT INTO shopify_fulfillment_order_lines VALUES (?,?,?,?,?,?,?,?)",
            *(shop, 8_000_000_000_000 + store.next_number(f"{shop}:fulfillment_order_line"), key),
            *(line["id"], line.get("sku"), line.get("title") or "", left, left),
        )


def _announce(world: World, shop: str, body: Body, how: Webhooks) -> None:
    event_id = str(uuid.uuid4())
    if how.updated_first:
        tell(world, shop, "orders/updated", body, event_id)
    if how.drop:
        return
    tell(world, shop, "orders/create", body, event_id)
    for _ in range(how.times - 1):
        world.store.run(
            "INSERT INTO outgoing (kind, sender, subject, message_id, path, headers, body, due_ms)"
            " SELECT kind, sender, subject, message_id, path, headers, body, due_ms FROM outgoing"
            " WHERE id = (SELECT max(id) FROM outgoing WHERE sender = ? AND subject = ?)",
            *(shop, str(body["id"])),
        )


def _body(world: World, shop: str, spec: OrderSpec, order_id: int, number: int) -> Body:
    at, lines = iso(world.now()), f"{shop}:line"
    ship_to = None if spec.method == "pickup" or not spec.address else _address(spec.address)
    return {
        "id": order_id,
        "admin_graphql_api_id": f"gid://shopify/Order/{order_id}",
        "app_id": 580111,
        "name": spec.name or f"#{number}",
        "number": number - 1000,
        "order_number": number,
        "source_name": "web",
        "location_id": None,
        **dict.fromkeys(("created_at", "processed_at", "updated_at"), at),
        **dict.fromkeys(("cancelled_at", "cancel_reason", "closed_at", "phone")),
        "currency": spec.currency,
        "presentment_currency": spec.currency,
        "financial_status": spec.financial_status,
        "fulfillment_status": None,
        "confirmed": True,
        "test": spec.test,
        "taxes_included": False,
        "tax_exempt": False,
        "email": spec.email,
        "contact_email": spec.email,
        "note": spec.note,
        "note_attributes": [],
        "tags": ", ".join(spec.tags),
        "payment_gateway_names": ["bogus"],
        "customer": {"id": 115310627314723954, "email": spec.email},
        "billing_address": ship_to,
        "shipping_address": ship_to,
        "shipping_lines": [_shipping_line(spec, order_id)],
        "line_items": [
            _line(item, _LINE_IDS + world.store.next_number(lines), spec.currency)
            for item in spec.lines
        ],
        **{name: [] for name in ("discount_applications", "discount_codes", "tax_lines")},
        **{name: [] for name in ("fulfillments", "refunds")},
        **_totals(spec),
    }


def _totals(spec: OrderSpec) -> Body:
    totals = {
        "subtotal_price": spec.goods,
        "total_line_items_price": spec.goods,
        "total_discounts": Decimal(0),
        "total_tax": Decimal(0),
        "total_price": spec.total,
        "current_total_price": spec.total,
    }
    return {
        **{name: amount(value, spec.currency) for name, value in totals.items()},
        **{f"{name}_set": _money_set(value, spec.currency) for name, value in totals.items()},
        "total_shipping_price_set": _money_set(spec.shipping_price, spec.currency),
    }


def _line(item: Item, line_id: int, currency: str) -> Body:
    title = item.title or item.sku or "Product"
    variant = variant_id(item)
    return {
        "id": line_id,
        "admin_graphql_api_id": f"gid://shopify/LineItem/{line_id}",
        "variant_id": variant,
        "product_id": 9_000_000_000_000 + variant % 1_000_000,
        "sku": item.sku,
        "title": title,
        "name": title,
        "variant_title": None,
        "vendor": "sandbox",
        "quantity": item.quantity,
        "current_quantity": item.quantity,
        "fulfillable_quantity": item.quantity,
        "fulfillment_status": None,
        "fulfillment_service": "gift_card" if item.gift_card else "manual",
        "requires_shipping": item.requires_shipping and not item.gift_card,
        "gift_card": item.gift_card,
        "grams": 0,
        "taxable": True,
        "price": amount(item.price, currency),
        "price_set": _money_set(item.price, currency),
        "total_discount": amount(Decimal(0), currency),
        "total_discount_set": _money_set(Decimal(0), currency),
        "product_exists": True,
        "discount_allocations": [],
        "tax_lines": [],
        "properties": [],
        "duties": [],
    }


def _shipping_line(spec: OrderSpec, order_id: int) -> Body:
    title = spec.location.name if spec.method == "pickup" and spec.location else spec.shipping_title
    return {
        "id": 5_000_000_000_000 + order_id % 1_000_000_000,
        "code": title,
        "title": title,
        "source": "shopify",
        "delivery_category": None,
        "carrier_identifier": None,
        "phone": None,
        "price": amount(spec.shipping_price, spec.currency),
        "price_set": _money_set(spec.shipping_price, spec.currency),
        "discounted_price": amount(spec.shipping_price, spec.currency),
        "requested_fulfillment_service_id": None,
        "tax_lines": [],
        "discount_allocations": [],
    }


def _address(address: Address) -> Body:
    return {
        "first_name": address.first_name,
        "last_name": address.last_name,
        "name": address.name,
        "company": address.company or None,
        "address1": address.line1,
        "address2": address.line2 or None,
        "city": address.city,
        "province": address.region_name or None,
        "province_code": address.region or None,
        "zip": address.postal_code or None,
        "country": address.country_name,
        "country_code": address.country,
        "phone": address.phone or None,
        "latitude": None,
        "longitude": None,
    }


def _money_set(value: Decimal, currency: str) -> Body:
    money = {"amount": amount(value, currency), "currency_code": currency}
    return {"shop_money": money, "presentment_money": money}


def _is_work(line: Body) -> bool:
    ships = line.get("requires_shipping") is not False and not line.get("gift_card")
    return ships and _left(line) > 0


def _left(line: Body) -> int:
    left = line.get("fulfillable_quantity")
    return int(line.get("quantity") or 0) if left is None else int(left)


def _instant(text: str | None, otherwise: datetime) -> str:
    """Any ISO time as UTC text, so that it sorts and compares."""
    return iso(datetime.fromisoformat(text)) if text else iso(otherwise)
