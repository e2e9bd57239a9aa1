"""The network as one sourcing decision sees it: a single statement, so one moment for all of it."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.network import Node, Product, RateCard
from domain.values import Value

_SOURCING = text("""
SELECT
  now() AS as_of,
  (SELECT coalesce(jsonb_agg(body || jsonb_build_object('status', status) ORDER BY code), '[]')
     FROM nodes) AS nodes,
  (SELECT coalesce(jsonb_object_agg(node, shelves), '{}') FROM (
     SELECT node, jsonb_object_agg(sku, on_hand - allocated) AS shelves FROM stock
     WHERE sku = ANY(:skus) AND on_hand > allocated GROUP BY node) AS s) AS stock,
  (SELECT coalesce(jsonb_object_agg(code, greatest(n.capacity_per_day - coalesce(c.used, 0), 0)),
     '{}') FROM nodes AS n LEFT JOIN node_capacity AS c
     ON c.node = n.code AND c.day = (now() AT TIME ZONE n.timezone)::date
     WHERE n.capacity_per_day IS NOT NULL) AS capacity_left,
  (SELECT coalesce(jsonb_agg(body ORDER BY service), '[]') FROM rate_cards) AS rate_cards,
  (SELECT coalesce(jsonb_agg(body ORDER BY sku), '[]') FROM products
     WHERE sku = ANY(:skus)) AS products
""")


class Snapshot(Value):
    """
    `stock` is node → SKU → free units, of the SKUs asked for, where there are any, online or not.
    `capacity_left` counts fulfillments today; nodes without a limit are not in it.
    """

    as_of: datetime
    nodes: tuple[Node, ...]
    stock: dict[str, dict[str, int]]
    capacity_left: dict[str, int]
    rate_cards: tuple[RateCard, ...]
    products: dict[str, Product]


async def sourcing(conn: AsyncConnection, skus: Collection[str]) -> Snapshot:
    row = (await conn.execute(_SOURCING, {"skus": list(set(skus))})).mappings().one()
    products = (Product.model_validate(body) for body in row["products"])
    return Snapshot.model_validate({**row, "products": {p.sku: p for p in products}})
