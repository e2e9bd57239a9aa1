"""
What nodes take on for one of their own days: places, one to a fulfillment, and units.

Allocations hold it, from the transaction that makes them until the units come back. A held place is
confirmed once the node accepts or ships. `node_capacity` has the sums that no two may take at once.
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Final, Literal, NamedTuple

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.orders import Units
from domain.values import Value
from storage.claims import Allocation
from storage.tables import allocations, node_capacity


class Load(NamedTuple):
    """Fulfillments that a node is to take on, and the units in them."""

    orders: int
    units: int

    def plus(self, units: int) -> "Load":
        """And one more fulfillment."""
        return Load(self.orders + 1, self.units + units)


class Share(Value):
    """
    What of a node's day is taken. `held` waits for the node's word, `confirmed` it has accepted or
    shipped. Without a `limit` there is always more `left`.
    """

    limit: int | None
    held: int
    confirmed: int
    left: int | None


class Day(Value):
    """A node's day, by its own calendar; `orders` are fulfillments. Pickups take nothing of it."""

    node: str
    day: date
    orders: Share
    units: Share


# What each node may take on today, null is any number.
LIMITS: Final = """
SELECT code AS node, (now() AT TIME ZONE timezone)::date AS day,
  (capacity_per_day * coalesce(s.value, 100)::bigint / 100)::integer AS orders,
  (units_per_day * coalesce(s.value, 100)::bigint / 100)::integer AS units
FROM nodes LEFT JOIN node_signals AS s
  ON s.node = code AND s.kind = 'capacity_percent' AND s.until > now()
"""
# The same, less what is taken.
LEFT: Final = f"""
SELECT node,
  CASE WHEN l.orders IS NOT NULL THEN greatest(l.orders - coalesce(c.used, 0), 0) END AS orders,
  CASE WHEN l.units IS NOT NULL THEN greatest(l.units - coalesce(c.units, 0), 0) END AS units
FROM ({LIMITS}) AS l LEFT JOIN node_capacity AS c USING (node, day)
"""  # noqa: S608 - of constants, as all here
_LOAD: Final = """
SELECT * FROM unnest(CAST(:nodes AS text[]), CAST(:orders AS integer[]), CAST(:units AS integer[]))
  AS a (node, orders, units)
"""
_FULL: Final = text(f"""
WITH load AS ({_LOAD}), limits AS ({LIMITS} WHERE code = ANY(:nodes)),
taken AS (
  INSERT INTO node_capacity (node, day, used) SELECT node, day, 0 FROM limits ORDER BY node
  ON CONFLICT (node, day) DO UPDATE SET used = node_capacity.used RETURNING node, used, units)
SELECT node FROM load JOIN limits AS l USING (node) JOIN taken AS t USING (node)
WHERE t.used + load.orders > l.orders OR t.units + load.units > l.units
""")  # noqa: S608
_TAKE: Final = text(f"""
WITH load AS ({_LOAD}), limits AS ({LIMITS} WHERE code = ANY(:nodes))
UPDATE node_capacity AS c SET used = c.used + load.orders, capacity = l.orders,
  units = c.units + load.units, units_capacity = l.units
FROM load JOIN limits AS l USING (node) WHERE c.node = l.node AND c.day = l.day
""")  # noqa: S608
_DAY: Final = text(f"""
WITH asked AS (
  SELECT node, coalesce(CAST(:day AS date), day) AS day, day AS today, orders, units
  FROM ({LIMITS} WHERE code = :node) AS l)
SELECT day, CASE WHEN day < today THEN c.capacity ELSE asked.orders END AS orders,
  CASE WHEN day < today THEN c.units_capacity ELSE asked.units END AS units, h.*
FROM asked LEFT JOIN node_capacity AS c USING (node, day)
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE state = 'held') AS orders_held,
    count(*) FILTER (WHERE state = 'confirmed') AS orders_confirmed,
    coalesce(sum(l.units) FILTER (WHERE state = 'held'), 0)::integer AS units_held,
    coalesce(sum(l.units) FILTER (WHERE state = 'confirmed'), 0)::integer AS units_confirmed
  FROM allocations AS a CROSS JOIN LATERAL (
    SELECT sum(quantity + shipped) AS units FROM allocation_lines AS l
    WHERE l.fulfillment_id = a.fulfillment_id) AS l
  WHERE a.node = asked.node AND a.capacity_day = asked.day) AS h
""")  # noqa: S608


async def full(conn: AsyncConnection, load: Mapping[str, Load]) -> set[str]:
    """The nodes that cannot take this on today. Locks their day; the nodes are locked already."""
    if not load:
        return set()
    return set((await conn.execute(_FULL, _columns(load))).scalars())


async def take(conn: AsyncConnection, load: Mapping[str, Load]) -> None:
    """For nodes that are not `full`, in the same transaction."""
    if load:
        await conn.execute(_TAKE, _columns(load))


async def confirm(conn: AsyncConnection, fulfillment_ids: Collection[str]) -> None:
    """The node has taken the work on. Said again, or too late, it changes nothing."""
    await conn.execute(
        update(allocations)
        .where(allocations.c.fulfillment_id.in_(fulfillment_ids), allocations.c.state == "held")
        .values(state="confirmed")
    )


async def release(conn: AsyncConnection, allocation: Allocation, back: Collection[Units]) -> None:
    """These units come back; with the last of them the place does, unless something shipped."""
    if allocation.capacity_day is None:
        return
    gone = allocation.is_all(back) and not allocation.shipped
    if gone:
        await conn.execute(
            update(allocations)
            .where(allocations.c.fulfillment_id == allocation.fulfillment_id)
            .values(capacity_day=None)
        )
    c = node_capacity.c
    await conn.execute(
        update(node_capacity)
        .where(c.node == allocation.node, c.day == allocation.capacity_day)
        .values(
            used=c.used - (1 if gone else 0), units=c.units - sum(line.quantity for line in back)
        )
    )


async def on(conn: AsyncConnection, node: str, day: date | None = None) -> Day:
    """
    What the node has taken on for a day, None is its today. A day that is over has the limits that
    then held. Raises NotFound.
    """
    row = (await conn.execute(_DAY, {"node": node, "day": day})).mappings().first()
    if row is None:
        raise NotFound(f"no node {node}")

    def share(of: Literal["orders", "units"]) -> Share:
        limit, held, confirmed = row[of], row[f"{of}_held"], row[f"{of}_confirmed"]
        left = None if limit is None else max(limit - held - confirmed, 0)
        return Share(limit=limit, held=held, confirmed=confirmed, left=left)

    return Day(node=node, day=row["day"], orders=share("orders"), units=share("units"))


def _columns(load: Mapping[str, Load]) -> dict[str, list[str] | list[int]]:
    return {
        "nodes": list(load),
        "orders": [each.orders for each in load.values()],
        "units": [each.units for each in load.values()],
    }
