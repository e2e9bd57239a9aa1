"""Takes note of what left, as a Magento-shaped shop does: shipments by source, and pickups."""

from decimal import Decimal
from typing import Annotated, Final

from pydantic import BaseModel, Field

from connectors.sandbox import magento_orders
from connectors.sandbox.magento_orders import Body, Fault, open_units, stamp, top
from connectors.sandbox.world import World, iso

_INVALID: Final = "Shipment Document Validation Error(s):\n"
_OVER: Final = frozenset({"canceled", "complete", "closed", "holded"})


class ShipItem(BaseModel):
    order_item_id: int
    qty: Annotated[Decimal, Field(gt=0)]


class Track(BaseModel):
    track_number: str
    title: str = ""
    carrier_code: str = ""


class SourceCode(BaseModel):
    source_code: str = "default"


class Comment(BaseModel):
    comment: str = ""


class ShipArguments(BaseModel):
    extension_attributes: SourceCode = SourceCode()


class ShipRequest(BaseModel):
    items: tuple[ShipItem, ...] = ()
    tracks: tuple[Track, ...] = ()
    comment: Comment | None = None
    arguments: ShipArguments = ShipArguments()


def ship(world: World, shop: str, entity: int, wanted: ShipRequest) -> int:
    """A shipment of one source; its id. Never more than was ordered. Raises Fault."""
    with world.store.transaction():
        return _ship(world, shop, magento_orders.get(world, shop, entity), wanted)


def notify_ready(world: World, shop: str, orders: list[int]) -> tuple[list[int], list[Body]]:
    """
    Mail the customers that their goods wait; who was mailed, and what went wrong.

    As Magento does, what was not shipped is shipped by this, whole, from the pickup location.
    """
    mailed: list[int] = []
    errors: list[Body] = []
    with world.store.transaction():
        for entity in orders:
            try:
                _notify(world, shop, entity)
            except Fault as fault:
                errors.append({"id": entity, "message": fault.message})
            else:
                mailed.append(entity)
    return mailed, errors


def shown(world: World, shop: str, shipment: int) -> Body:
    """A shipment as `GET shipments` has it."""
    store = world.store
    row = store.one(
        "SELECT * FROM shop_fulfillments WHERE shop = ? AND fulfillment_id = ?", shop, shipment
    )
    if row is None:
        raise LookupError(f"{shop} has no shipment {shipment}")
    lines = store.all(
        "SELECT * FROM shop_fulfillment_lines WHERE shop = ? AND fulfillment_id = ?", shop, shipment
    )
    numbers = row["tracking_number"].split(",") if row["tracking_number"] else []
    return {
        "entity_id": shipment,
        "order_id": row["order_id"],
        "increment_id": f"{shipment:09d}",
        "created_at": row["created_at"][:19].replace("T", " "),
        "items": [
            {"order_item_id": line["line_id"], "sku": line["sku"], "qty": line["quantity"]}
            for line in lines
        ],
        "tracks": [{"track_number": n, "carrier_code": row["carrier"]} for n in numbers],
        "comments": [{"comment": row["note"]}] if row["note"] else [],
        "extension_attributes": {"source_code": row["source"]},
    }


def _notify(world: World, shop: str, entity: int) -> None:
    body = magento_orders.get(world, shop, entity)
    extension = body["extension_attributes"]
    if "pickup_location_code" not in extension:
        raise Fault(400, "The order is not for in-store pickup.")
    if any(open_units(item) > 0 for item in top(body)):
        source = SourceCode(source_code=extension["pickup_location_code"])
        whole = ShipRequest(arguments=ShipArguments(extension_attributes=source))
        _ship(world, shop, body, whole)
    extension["notification_sent"] = 1
    body["updated_at"] = stamp(world.now())
    magento_orders.put(world, shop, body)
    notice = (shop, entity, iso(world.now()))
    world.store.run("INSERT INTO shop_pickup_notices VALUES (?,?,?)", *notice)


def _ship(world: World, shop: str, body: Body, wanted: ShipRequest) -> int:
    if body["state"] in _OVER:
        text = "A shipment cannot be created when an order has a status of %1"
        raise Fault(400, _INVALID + text, [body["status"]])
    quantities = _quantities(body, wanted)
    shipment = world.store.next_number(f"{shop}:shipment")
    world.store.run(
        "INSERT INTO shop_fulfillments VALUES (?,?,?,?,?,?,'',?,NULL,?)",
        *(shop, shipment, body["entity_id"]),
        wanted.arguments.extension_attributes.source_code,
        ",".join(dict.fromkeys(track.carrier_code for track in wanted.tracks)),
        ",".join(track.track_number for track in wanted.tracks),
        iso(world.now()),
        wanted.comment.comment if wanted.comment else "",
    )
    for item in body["items"]:
        key = item["item_id"]
        item["qty_shipped"] += quantities.get(item.get("parent_item_id", key), 0)
        if key in quantities:
            world.store.run(
                "INSERT INTO shop_fulfillment_lines VALUES (?,?,NULL,?,?,?)",
                *(shop, shipment, key, item["sku"], quantities[key]),
            )
    body["updated_at"] = stamp(world.now())
    if all(open_units(item) <= 0 for item in top(body)):
        body |= {"state": "complete", "status": "complete"}
    magento_orders.put(world, shop, body)
    return shipment


def _quantities(body: Body, wanted: ShipRequest) -> dict[int, int]:
    items = {item["item_id"]: item for item in top(body)}
    asked: dict[int, int] = {}
    for item in wanted.items:
        asked[item.order_item_id] = asked.get(item.order_item_id, 0) + int(item.qty)
    if not asked:
        asked = {key: open_units(item) for key, item in items.items() if open_units(item) > 0}
    for key, quantity in asked.items():
        if key not in items:
            text = f"{_INVALID}The shipment contains product item that is not part of the order."
            raise Fault(400, text)
        if quantity > open_units(items[key]):
            text = "The quantity to ship must not be greater than the unshipped quantity for %1"
            raise Fault(400, _INVALID + text, [items[key]["sku"]])
    if not asked:
        raise Fault(400, f"{_INVALID}You can't create a shipment without products.")
    return asked
