"""Allocated work that no node was asked for: whose it is, and what nodes would have without it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.fulfillments import Fulfillment
from domain.records import OrderState
from storage import capacity
from storage.snapshot import Back
from storage.tables import UNRELEASED

# What is given to its node sooner than that cannot be taken back in time.
_SOON: Final = timedelta(minutes=1)
# An order on hold, or that is being cancelled, is left alone; so is one that claimed a promise.
_ORDERS: Final = text(f"""
SELECT o.state, waiting.ids FROM orders AS o JOIN (
  SELECT order_id, array_agg(fulfillment_id ORDER BY fulfillment_id) AS ids FROM fulfillments
  WHERE {UNRELEASED} AND release_at > now() + :soon AND submitted_at IS NULL AND method = 'ship'
  GROUP BY order_id) AS waiting USING (order_id)
WHERE o.terminal_at IS NULL AND o.state -> 'holds' = '[]' AND o.state -> 'cancel' = 'null'
  AND coalesce(o.body ->> 'promise_token', '') = ''
ORDER BY o.accepted_at, o.order_id LIMIT :limit
""")  # noqa: S608 - of constants, as all here
_STOCK: Final = text("""
SELECT node, sku, on_hand - allocated + units AS free FROM stock JOIN (
  SELECT a.node, l.sku, sum(l.quantity) AS units FROM allocations AS a
  JOIN allocation_lines AS l USING (fulfillment_id)
  WHERE fulfillment_id = ANY(:ids) GROUP BY a.node, l.sku) AS back USING (node, sku)
""")
# A place of another day than today comes back to that day. Of what has no limit nothing is told.
_ROOM: Final = text(f"""
SELECT node,
  CASE WHEN l.orders IS NOT NULL
    THEN greatest(l.orders - coalesce(c.used, 0) + back.places, 0) END AS orders,
  CASE WHEN l.units IS NOT NULL
    THEN greatest(l.units - coalesce(c.units, 0) + back.units, 0) END AS units
FROM ({capacity.LIMITS}) AS l LEFT JOIN node_capacity AS c USING (node, day)
JOIN (SELECT a.node, a.capacity_day AS day, count(*) AS places, sum(lines.units) AS units
  FROM allocations AS a CROSS JOIN LATERAL (
    SELECT sum(quantity) AS units FROM allocation_lines AS l
    WHERE l.fulfillment_id = a.fulfillment_id) AS lines
  WHERE a.fulfillment_id = ANY(:ids) GROUP BY a.node, a.capacity_day) AS back USING (node, day)
""")  # noqa: S608
_OPEN: Final = text("""
SELECT node, count(*) AS open FROM fulfillments WHERE fulfillment_id = ANY(:ids) GROUP BY node
""")


class Unreleased(NamedTuple):
    """An order, and those of its fulfillments that wait."""

    state: OrderState
    shares: tuple[Fulfillment, ...]


async def orders(conn: AsyncConnection, limit: int) -> tuple[Unreleased, ...]:
    """Orders with work that can be taken back, for its nodes know nothing of it; oldest first."""
    rows = await conn.execute(_ORDERS, {"soon": _SOON, "limit": limit})
    found = []
    for row in rows:
        state = OrderState.model_validate(row.state)
        shares = tuple(f for f in state.fulfillments if f.fulfillment_id in row.ids)
        found.append(Unreleased(state, shares))
    return tuple(found)


async def back(conn: AsyncConnection, fulfillment_ids: Collection[str]) -> Back:
    """What their nodes would have if all of these came back at once."""
    asked = {"ids": sorted(fulfillment_ids)}
    stock: dict[str, dict[str, int]] = {}
    for row in await conn.execute(_STOCK, asked):
        stock.setdefault(row.node, {})[row.sku] = row.free
    rows = (await conn.execute(_ROOM, asked)).all()
    return Back(
        stock=stock,
        capacity_left={row.node: row.orders for row in rows if row.orders is not None},
        units_left={row.node: row.units for row in rows if row.units is not None},
        open_orders={row.node: row.open for row in await conn.execute(_OPEN, asked)},
    )
