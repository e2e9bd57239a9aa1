"""Writes orders as a Magento-shaped shop has them."""

import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from connectors.sandbox.shop_orders import Address, Item, OrderSpec
from connectors.sandbox.world import World

Body = dict[str, Any]


class Fault(Exception):
    """A refusal in Magento's words: a message with places, and what stands in them."""

    def __init__(self, status: int, message: str, parameters: Any = None) -> None:
        super().__init__(message)
        self.status, self.message, self.parameters = status, message, parameters


def place(world: World, shop: str, spec: OrderSpec) -> tuple[int, str]:
    """A customer's order: its entity_id and increment_id. Crossdock finds it by polling."""
    with world.store.transaction():
        entity = spec.order_id or 100 + world.store.next_number(f"{shop}:order")
        body = _body(world, shop, spec, entity)
        put(world, shop, body)
    return entity, body["increment_id"]


def get(world: World, shop: str, entity: int) -> Body:
    row = world.store.one(
        "SELECT body FROM shop_orders WHERE shop = ? AND order_id = ?", shop, entity
    )
    if row is None:
        text = "The entity that was requested doesn't exist. Verify the entity and try again."
        raise Fault(404, text)
    body: Body = json.loads(row["body"])
    return body


def put(world: World, shop: str, body: Mapping[str, Any]) -> None:
    """Store the order as it now is, in the same transaction as what changed it."""
    cancelled = body["updated_at"] if body["state"] == "canceled" else None
    world.store.run(
        "INSERT OR REPLACE INTO shop_orders VALUES (?,?,?,?,?,?,?)",
        *(shop, body["entity_id"], body["increment_id"]),
        *(body["created_at"], body["updated_at"], cancelled),
        json.dumps(body, separators=(",", ":")),
    )


def cancel(world: World, shop: str, entity: int) -> bool:
    """Whether it could be cancelled; what was shipped or is over already cannot."""
    with world.store.transaction():
        body = get(world, shop, entity)
        shipped = any(item["qty_shipped"] for item in body["items"])
        if shipped or body["state"] in {"canceled", "complete", "closed"}:
            return False
        for item in body["items"]:
            item["qty_canceled"] = item["qty_ordered"]
        body |= {"state": "canceled", "status": "canceled", "updated_at": stamp(world.now())}
        put(world, shop, body)
    return True


def open_units(item: Body) -> int:
    """Units of an item that were neither shipped, cancelled nor refunded."""
    gone = item["qty_canceled"] + item["qty_refunded"] + item["qty_shipped"]
    return int(item["qty_ordered"] - gone)


def top(body: Body) -> list[Body]:
    """The items that are shipped: parents, and whatever has none."""
    return [item for item in body["items"] if "parent_item_id" not in item]


def stamp(instant: datetime) -> str:
    """As Magento writes times: UTC, and no word of the zone."""
    return instant.strftime("%Y-%m-%d %H:%M:%S")


def _body(world: World, shop: str, spec: OrderSpec, entity: int) -> Body:
    at, total = stamp(world.now()), float(spec.total)
    status = {"new": "pending"}.get(spec.state, spec.state)
    items = [row for item in spec.lines for row in _rows(world, shop, item, entity, at)]
    address = spec.address or Address(city="Dallas", region="TX", postal_code="75201")
    currency = dict.fromkeys(("base", "global", "order", "store"), spec.currency)
    is_paid = spec.financial_status == "paid"
    return {
        "entity_id": entity,
        "increment_id": spec.name or f"{entity:09d}",
        "state": spec.state,
        "status": status,
        "store_id": 1,
        "store_name": "Main Website\nMain Website Store\n",
        "created_at": at,
        "updated_at": at,
        **{f"{name}_currency_code": code for name, code in currency.items()},
        "base_to_order_rate": 1,
        "customer_email": spec.email,
        "customer_firstname": address.first_name,
        "customer_lastname": address.last_name,
        "customer_is_guest": 1,
        "is_virtual": 0,
        **dict.fromkeys(("grand_total", "base_grand_total"), total),
        **dict.fromkeys(("subtotal", "base_subtotal"), float(spec.goods)),
        "shipping_amount": float(spec.shipping_price),
        "shipping_description": "In-Store Pickup" if spec.method == "pickup" else "Flat Rate",
        "tax_amount": 0,
        "discount_amount": 0,
        "total_paid": total if is_paid else 0,
        "total_due": 0 if is_paid else total,
        "total_item_count": len(spec.lines),
        "total_qty_ordered": sum(item.quantity for item in spec.lines),
        "items": items,
        "billing_address": _address(address, "billing", spec.email, entity),
        "payment": {"method": "checkmo", "additional_information": [""], "amount_ordered": total},
        "status_histories": [],
        "extension_attributes": _extension(spec, items, address, entity),
    }


def _extension(spec: OrderSpec, items: list[Body], address: Address, entity: int) -> Body:
    """Where Magento keeps the only shipping address, and the store of a pickup."""
    shipping = {
        "address": _address(address, "shipping", spec.email, entity),
        "method": "instore_pickup" if spec.method == "pickup" else "flatrate_flatrate",
        "total": {"base_shipping_amount": 0, "shipping_amount": float(spec.shipping_price)},
    }
    extension: Body = {"shipping_assignments": [{"shipping": shipping, "items": items}]}
    if spec.method == "pickup" and spec.location:
        extension["pickup_location_code"] = spec.location.code
    return extension


def _rows(world: World, shop: str, item: Item, entity: int, at: str) -> list[Body]:
    if not item.configurable:
        return [_row(world, shop, item, entity, at)]
    parent = _row(world, shop, item, entity, at) | {"product_type": "configurable"}
    free = item.model_copy(update={"price": Decimal(0)})
    child = _row(world, shop, free, entity, at)
    return [parent, {**child, "parent_item_id": parent["item_id"], "parent_item": dict(parent)}]


def _row(world: World, shop: str, item: Item, entity: int, at: str) -> Body:
    price, is_virtual = float(item.price), not item.requires_shipping or item.gift_card
    return {
        "item_id": 1000 + world.store.next_number(f"{shop}:item"),
        "order_id": entity,
        "product_id": zlib.crc32((item.sku or item.title).encode()) % 100_000,
        "product_type": "virtual" if is_virtual else "simple",
        "sku": item.sku or "",
        "name": item.title or item.sku or "Product",
        "store_id": 1,
        "created_at": at,
        "updated_at": at,
        "is_virtual": int(is_virtual),
        "is_qty_decimal": 0,
        "qty_ordered": item.quantity,
        **dict.fromkeys(("qty_canceled", "qty_invoiced", "qty_refunded", "qty_shipped"), 0),
        **dict.fromkeys(("price", "base_price", "original_price", "price_incl_tax"), price),
        **dict.fromkeys(("row_total", "base_row_total"), float(item.price * item.quantity)),
        "discount_amount": 0,
        "tax_amount": 0,
        "weight": 1,
        "row_weight": item.quantity,
    }


def _address(address: Address, kind: str, email: str, entity: int) -> Body:
    return {
        "address_type": kind,
        "entity_id": entity * 2 + (kind == "shipping"),
        "parent_id": entity,
        "firstname": address.first_name,
        "lastname": address.last_name,
        **({"company": address.company} if address.company else {}),
        "street": [line for line in (address.line1, address.line2) if line],
        "city": address.city,
        **(
            {"region": address.region_name, "region_code": address.region} if address.region else {}
        ),
        "postcode": address.postal_code,
        "country_id": address.country,
        "telephone": address.phone,
        "email": email,
    }
