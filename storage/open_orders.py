"""Which orders are not over: at a node, waiting for goods, all of them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.fulfillments import ENDED, FulfillmentStatus
from domain.orders import Order
from domain.rules.sets import Version
from storage.tables import WAITS_FOR_SUPPLY, fulfillments, orders

_STILL_OPEN = [s.value for s in FulfillmentStatus if s not in ENDED]
_COUNTED: Final = 7_217_005  # at a node, for one order after the other
_ALONE: Final = text("""
SELECT pg_advisory_xact_lock(:lock, number) FROM (
  SELECT DISTINCT hashtext(node) AS number FROM unnest(CAST(:nodes AS text[])) AS node
  ORDER BY number) AS asked
""")
# Counts no further than it has to; the order is the index's, so as to go along that.
CROWDED: Final = text("""
SELECT node FROM unnest(CAST(:nodes AS text[]), CAST(:most AS bigint[])) AS asked (node, most)
WHERE most <= (SELECT count(*) FROM (
  SELECT FROM fulfillments AS f WHERE f.node = asked.node AND f.status = ANY(:open)
  ORDER BY f.status LIMIT asked.most) AS seen)
""")


async def among(conn: AsyncConnection, order_ids: Collection[str]) -> tuple[Order, ...]:
    """Those of these orders that have not ended, as they were accepted."""
    o = orders.c
    query = select(o.body).where(o.order_id.in_(order_ids), o.terminal_at.is_(None))
    return tuple(Order.model_validate(body) for body in (await conn.execute(query)).scalars())


async def at_node(conn: AsyncConnection, node: str) -> list[str]:
    """The orders with a fulfillment at the node that has not ended, oldest first."""
    there = select(fulfillments.c.order_id).where(
        fulfillments.c.node == node, fulfillments.c.status.in_(_STILL_OPEN)
    )
    query = select(orders.c.order_id).where(orders.c.order_id.in_(there))
    return list((await conn.execute(query.order_by(orders.c.accepted_at))).scalars())


async def by_node(conn: AsyncConnection) -> dict[str, int]:
    """How many fulfillments each node has that have not ended."""
    query = select(fulfillments.c.node, func.count().label("open"))
    still_open = query.where(fulfillments.c.status.in_(_STILL_OPEN)).group_by(fulfillments.c.node)
    return {row.node: row.open for row in await conn.execute(still_open)}


async def by_node_for(conn: AsyncConnection, active: Iterable[Version]) -> dict[str, int]:
    """As `by_node` where some rule asks; counting costs as much as fulfillments are open."""
    profiles = (profile for version in active for profile in version.rules.profiles)
    asks = any(rule.kind == "max_orders" for profile in profiles for rule in profile.rules)
    return await by_node(conn) if asks else {}


async def crowded(conn: AsyncConnection, most: Mapping[str, int]) -> set[str]:
    """
    The nodes that have so many fulfillments, or more, that have not ended. Whoever else asks this
    of one of them waits until this transaction ends; to be asked once capacity is locked.

    The days of `capacity` would not do: pickups take none, and two orders at midnight not the same.
    """
    if not most:
        return set()
    await conn.execute(_ALONE, {"lock": _COUNTED, "nodes": list(most)})
    asked = {"nodes": list(most), "most": list(most.values()), "open": _STILL_OPEN}
    return set((await conn.execute(CROWDED, asked)).scalars())


async def backordered_for(conn: AsyncConnection, skus: Collection[str]) -> list[str]:
    """
    The orders that wait for one of these SKUs, first come first: what is short of them, and what no
    node could fulfill.
    """
    short = orders.c.state["short"].has_any(array(sorted(skus)))
    wanted = [orders.c.state["lines"].contains([{"sku": sku}]) for sku in sorted(skus)]
    stuck = and_(orders.c.attention.contains(["no_node"]), or_(*wanted))
    query = select(orders.c.order_id).where(text(WAITS_FOR_SUPPLY), or_(short, stuck))
    rows = await conn.execute(query.order_by(orders.c.accepted_at, orders.c.order_id))
    return list(rows.scalars())


async def awaited_skus(conn: AsyncConnection) -> set[str]:
    """Every SKU that `backordered_for` would find an order for."""
    rows = await conn.execute(
        text(
            "SELECT jsonb_object_keys(state -> 'short') FROM orders WHERE terminal_at IS NULL"
            " UNION SELECT l ->> 'sku' FROM orders, jsonb_array_elements(state -> 'lines') AS l"
            " WHERE terminal_at IS NULL AND attention @> '{no_node}'"
        )
    )
    return set(rows.scalars())
