"""The network as one sourcing decision sees it: a single statement, so one moment for all of it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.availability import Outlet, Outlets
from domain.network import Node, Product, RateCard
from domain.orders import DeliveryMethod
from domain.values import Value
from storage import capacity, stock_rules
from storage.availability import safety_at
from storage.stock_rules import Known

_SOURCING = text(f"""
WITH room AS ({capacity.LEFT})
SELECT
  now() AS as_of,
  {stock_rules.KNOWN},
  (SELECT coalesce(jsonb_agg(body || jsonb_build_object('status', status,
     'lead_hours', coalesce(s.value, 0)) ORDER BY code), '[]')
     FROM nodes LEFT JOIN node_signals AS s
       ON s.node = code AND s.kind = 'lead_hours' AND s.until > now()) AS nodes,
  (SELECT coalesce(jsonb_object_agg(node, format('takes no new orders until %s UTC: %s',
     to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), reason)), '{{}}') FROM node_signals
     WHERE kind = 'offline_for_sourcing' AND until > now()) AS withheld,
  (SELECT coalesce(jsonb_object_agg(node, shelves), '{{}}') FROM (
     SELECT node, jsonb_object_agg(sku, on_hand - allocated) AS shelves FROM stock
     WHERE sku = ANY(:skus) AND on_hand > allocated GROUP BY node) AS s) AS stock,
  (SELECT coalesce(jsonb_object_agg(node, orders), '{{}}') FROM room
     WHERE orders IS NOT NULL) AS capacity_left,
  (SELECT coalesce(jsonb_object_agg(node, units), '{{}}') FROM room
     WHERE units IS NOT NULL) AS units_left,
  (SELECT coalesce(jsonb_agg(body ORDER BY service), '[]') FROM rate_cards) AS rate_cards,
  (SELECT version FROM price_log ORDER BY id DESC LIMIT 1) AS prices,
  (SELECT coalesce(jsonb_agg(body ORDER BY sku), '[]') FROM products
     WHERE sku = ANY(:skus)) AS products
""")  # noqa: S608 - a constant


class Snapshot(Value):
    """
    `stock` is node → SKU → units beyond the safety stock, of the SKUs asked for, where there are
    any, online or not. A node that is `hidden`, from the channel or for now, with the reason, does
    not ship.
    `prices` is the version of the book of shadow prices that holds, if any.
    `capacity_left` counts fulfillments today, `units_left` their units; nodes without a limit are
    not in it.
    """

    as_of: datetime
    nodes: tuple[Node, ...]
    stock: dict[str, dict[str, int]]
    hidden: dict[str, str] = {}
    capacity_left: dict[str, int]
    units_left: dict[str, int]
    rate_cards: tuple[RateCard, ...]
    products: dict[str, Product]
    prices: str | None = None


class Back(Value):
    """
    What nodes would have if some allocations came back to them: free units by node and SKU, safety
    stock among them, fulfillments and units that are still possible today.
    """

    stock: dict[str, dict[str, int]] = {}
    capacity_left: dict[str, int] = {}
    units_left: dict[str, int] = {}
    open_orders: dict[str, int] = {}


NOTHING: Final = Back()


async def sourcing(
    conn: AsyncConnection, skus: Collection[str], channel: str = "", back: Back = NOTHING
) -> Snapshot:
    """
    What an order of the channel may be sourced from: see `domain.availability`. With what comes
    `back`, where anything does.
    """
    row = (await conn.execute(_SOURCING, {"skus": list(set(skus))})).mappings().one()
    known = Known.of_row(row)
    nodes = [Node.model_validate(body) for body in row["nodes"]]
    hidden = _hidden(nodes, known, channel) | row["withheld"]
    products = (Product.model_validate(body) for body in row["products"])
    return Snapshot.model_validate(
        {
            **row,
            "nodes": [
                node.model_copy(update={"ships": False}) if node.code in hidden else node
                for node in nodes
            ],
            "stock": _beyond_safety(_with(row["stock"], back.stock, set(skus)), known, skus),
            "capacity_left": row["capacity_left"] | back.capacity_left,
            "units_left": row["units_left"] | back.units_left,
            "hidden": hidden,
            "products": {p.sku: p for p in products},
        }
    )


def _hidden(nodes: Collection[Node], known: Known, channel: str) -> dict[str, str]:
    """The nodes that rules keep from shipping for the channel. What was reserved there stays."""
    able = [Outlet(n.code, online=True, ships=n.ships, pickup=n.pickup) for n in nodes]
    outlets = Outlets(able, known.visibility())
    shown = outlets.offers(channel, DeliveryMethod.SHIP)
    return {
        node.code: f"not shown to {channel or 'any channel'} for shipping"
        for node, seen in zip(able, shown, strict=True)
        if node.ships and not seen
    }


def _with(
    free: Mapping[str, Mapping[str, int]], back: Mapping[str, Mapping[str, int]], skus: set[str]
) -> dict[str, dict[str, int]]:
    some = {n: {k: u for k, u in shelf.items() if k in skus} for n, shelf in back.items()}
    return {n: {**free.get(n, {}), **some.get(n, {})} for n in free.keys() | some.keys()}


def _beyond_safety(
    free: Mapping[str, Mapping[str, int]], known: Known, skus: Collection[str]
) -> dict[str, dict[str, int]]:
    safety = safety_at(known, set(skus), free)
    spared = {
        node: {sku: units - safety.get(sku, {}).get(node, 0) for sku, units in shelf.items()}
        for node, shelf in free.items()
    }
    some = {n: {sku: units for sku, units in s.items() if units > 0} for n, s in spared.items()}
    return {node: shelf for node, shelf in some.items() if shelf}
