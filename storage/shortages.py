"""Shelves with fewer units than are allocated there: what people see of them until it is mended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value


class Short(NamedTuple):
    """A shelf whose shortage has changed, as it is now, and why. Zero: it was made good."""

    sku: str
    node: str
    short: int
    there: int
    allocated: int
    cause: str
    actor: str
    key: str


class Affected(Value):
    """A fulfillment whose units are not there, of this many of the SKU."""

    order_id: str
    fulfillment_id: str
    units: int


class StockException(Value):
    """
    `there` were fewer units than `allocated`, so `short` of them cannot ship, says `cause`.

    `orders` have units allocated on the shelf now; `affected` are the fulfillments that were
    allocated last, as many as it takes: those that came first keep what is there. `there` below
    zero: more was said to go than had come. Cleared by a count, by what comes in, or by units that
    are given back.
    """

    id: int
    sku: str
    node: str
    short: int
    there: int
    allocated: int
    cause: str
    actor: str
    opened_at: datetime
    changed_at: datetime
    cleared_at: datetime | None = None
    cleared_by: str | None = None
    orders: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()


_OPEN = text("""
INSERT INTO stock_exceptions (sku, node, short, there, allocated, cause, actor, key)
SELECT * FROM unnest(CAST(:sku AS text[]), CAST(:node AS text[]), CAST(:short AS integer[]),
  CAST(:there AS integer[]), CAST(:allocated AS integer[]), CAST(:cause AS text[]),
  CAST(:actor AS text[]), CAST(:key AS text[]))
ON CONFLICT (sku, node) WHERE cleared_at IS NULL DO UPDATE SET
  short = excluded.short, there = excluded.there, allocated = excluded.allocated,
  changed_at = now()
""")
_CLEAR = text("""
UPDATE stock_exceptions AS e SET cleared_at = now(), changed_at = now(), cleared_by = d.cause
FROM unnest(CAST(:sku AS text[]), CAST(:node AS text[]), CAST(:cause AS text[]))
  AS d (sku, node, cause)
WHERE e.sku = d.sku AND e.node = d.node AND e.cleared_at IS NULL
""")
# The allocations of each short shelf that are not there, the newest first.
AFFECTED: Final = """
SELECT e.id, a.order_id, a.fulfillment_id, a.units, a.newer FROM stock_exceptions AS e
CROSS JOIN LATERAL (
  SELECT order_id, fulfillment_id, l.units, sum(l.units) OVER w - l.units AS newer
  FROM allocations JOIN (
    SELECT fulfillment_id, sum(quantity)::integer AS units FROM allocation_lines
    WHERE sku = e.sku AND quantity > 0 GROUP BY fulfillment_id) AS l USING (fulfillment_id)
  WHERE node = e.node WINDOW w AS (ORDER BY at DESC, fulfillment_id DESC)) AS a
WHERE e.cleared_at IS NULL AND a.newer < e.short
"""
_LIST: Final = text(f"""
SELECT e.*, coalesce((
    SELECT jsonb_agg(to_jsonb(a) ORDER BY newer) FROM ({AFFECTED}) AS a WHERE a.id = e.id),
    '[]') AS affected, ARRAY(
    SELECT m.order_id FROM movements AS m
    WHERE m.sku = e.sku AND m.node = e.node AND m.order_id IS NOT NULL AND e.cleared_at IS NULL
    GROUP BY m.order_id HAVING sum(m.allocated_delta) > 0 ORDER BY m.order_id LIMIT 50) AS orders
FROM stock_exceptions AS e
WHERE (CAST(:nodes AS text[]) IS NULL OR node = ANY(:nodes))
  AND (:cleared OR cleared_at IS NULL) AND id > :after
  AND (CAST(:id AS bigint) IS NULL OR id = :id)
ORDER BY id LIMIT :limit
""")  # noqa: S608 - a constant


async def note(conn: AsyncConnection, changed: Sequence[Short]) -> None:
    """Opens, changes and clears the exceptions of these shelves."""
    if opened := [shelf for shelf in changed if shelf.short]:
        await conn.execute(_OPEN, _columns(opened))
    if cleared := [shelf for shelf in changed if not shelf.short]:
        await conn.execute(_CLEAR, _columns(cleared))


async def exceptions(
    conn: AsyncConnection,
    *,
    nodes: Sequence[str] | None = None,
    cleared: bool = False,
    after: int = 0,
    limit: int = 100,
) -> tuple[StockException, ...]:
    """The open ones, the oldest first, or with `cleared` all that there ever were."""
    wanted = {"nodes": None if nodes is None else list(nodes), "cleared": cleared}
    rows = await conn.execute(_LIST, {**wanted, "after": after, "id": None, "limit": limit})
    return tuple(StockException.model_validate(dict(row)) for row in rows.mappings())


async def exception(conn: AsyncConnection, exception_id: int) -> StockException | None:
    wanted = {"nodes": None, "cleared": True, "after": 0, "id": exception_id, "limit": 1}
    row = (await conn.execute(_LIST, wanted)).mappings().first()
    return StockException.model_validate(dict(row)) if row else None


def _columns(changed: Sequence[Short]) -> dict[str, list[Any]]:
    return dict(zip(Short._fields, map(list, zip(*changed, strict=True)), strict=True))
