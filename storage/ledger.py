"""
Every movement of units is posted here, so that the sums, the shelves and the pool stay one truth.

Rows are locked in one order everywhere: reservation, allocation, nodes, pool by SKU, stock by SKU
and node, capacity, a node's open orders, the order's record. A new reservation alone is written
after its pool: nobody who holds it waits for more. A free unit is one on hand and not allocated;
the pool of a SKU is its free units at online nodes less its open network reservations: what a
posting does to it follows.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from storage import shortages
from storage.shortages import Short
from storage.tables import operations


class Entry(NamedTuple):
    """What happens to a SKU at a node, or, with node None, to the network's promises of it."""

    sku: str
    node: str | None
    on_hand: int = 0
    allocated: int = 0
    reserved: int = 0


SYSTEM: Final = "crossdock"


class Why(NamedTuple):
    """`stated_by` says whose statement makes the difference; None where units move."""

    cause: str
    actor: str
    key: str
    order_id: str | None = None
    stated_by: str | None = None


class NodeNow(NamedTuple):
    """`today` is the date at the node's place."""

    online: bool
    today: date


class Shelf(NamedTuple):
    """Of the units on hand so many are `short`: allocated, and not there."""

    on_hand: int
    allocated: int
    short: int = 0

    @property
    def free(self) -> int:
        return self.on_hand - self.allocated

    @property
    def there(self) -> int:
        """What a count would find. Below zero where more was said to go than had come."""
        return self.on_hand - self.short


Shelves = Mapping[tuple[str, str], Shelf]

# What follows from `entry` (the units that move, numbered by `n`, and why) and from `moved` (the
# shelves as they were and are): the pool, and the movements. Answers the shelves whose shortage has
# changed. A shortage is a movement too: units kept on hand though they are not there.
BOOK: Final = """
last AS (
  SELECT DISTINCT ON (sku, node) sku, node, cause, actor, key, order_id FROM entry
  ORDER BY sku, node, n DESC),
posted AS (
  SELECT n, sku, node, on_hand, allocated, reserved, cause, actor, key, order_id, stated_by
  FROM entry
  UNION ALL
  SELECT 2147483647, sku, node, m.short - m.short_was, 0, 0, CASE WHEN m.short > m.short_was
    THEN 'kept for what is allocated' ELSE 'shortage made good' END,
    l.actor, l.key, l.order_id, 'shortage'
  FROM moved AS m JOIN last AS l USING (sku, node) WHERE m.short <> m.short_was),
pooled AS (
  UPDATE pool SET available = available + d.units FROM (
    SELECT sku, sum(units)::integer AS units FROM (
      SELECT sku, on_hand - allocated - (on_hand_was - allocated_was) AS units FROM moved
      WHERE node = ANY(:online)
      UNION ALL SELECT sku, -reserved FROM entry) AS each
    GROUP BY sku HAVING sum(units) <> 0) AS d
  WHERE pool.sku = d.sku),
told AS (
  INSERT INTO movements (sku, node, on_hand_delta, allocated_delta, reserved_delta,
    on_hand_before, on_hand_after, allocated_before, allocated_after,
    cause, actor, key, order_id, stated_by, at)
  SELECT sku, node, on_hand, allocated, reserved, on_hand_after - on_hand, on_hand_after,
    allocated_after - allocated, allocated_after, cause, actor, key, order_id, stated_by,
    clock_timestamp()
  FROM (
    SELECT p.*, m.on_hand_was + sum(p.on_hand) OVER w AS on_hand_after,
      m.allocated_was + sum(p.allocated) OVER w AS allocated_after
    FROM posted AS p LEFT JOIN moved AS m ON m.sku = p.sku AND m.node = p.node
    WINDOW w AS (PARTITION BY p.sku, p.node ORDER BY p.n)) AS each
  WHERE (on_hand, allocated, reserved) <> (0, 0, 0) OR stated_by = 'count' ORDER BY n, sku, node)
SELECT sku, node, m.short, m.on_hand - m.short AS there, m.allocated, l.cause, l.actor, l.key
FROM moved AS m JOIN last AS l USING (sku, node) WHERE m.short <> m.short_was
"""

_LACKING: Final = "greatest(s.allocated + d.allocated - (s.on_hand - s.short + d.on_hand), 0)"
_SHORT: Final = f"least({_LACKING}, CASE WHEN d.stated THEN {_LACKING} ELSE s.short END)"
_POST: Final = text(f"""
WITH entry AS (
  SELECT * FROM unnest(CAST(:sku AS text[]), CAST(:node AS text[]), CAST(:on_hand AS integer[]),
    CAST(:allocated AS integer[]), CAST(:reserved AS integer[]), CAST(:cause AS text[]),
    CAST(:actor AS text[]), CAST(:key AS text[]), CAST(:order_id AS text[]),
    CAST(:stated_by AS text[])) WITH ORDINALITY AS e (sku, node, on_hand, allocated, reserved,
    cause, actor, key, order_id, stated_by, n)),
moved AS (
  UPDATE stock AS s SET allocated = s.allocated + d.allocated, short = {_SHORT},
    on_hand = s.on_hand - s.short + d.on_hand + {_SHORT}
  FROM (
    SELECT sku, node, sum(on_hand)::integer AS on_hand, sum(allocated)::integer AS allocated,
      bool_or(stated_by IS NOT NULL) AS stated
    FROM entry WHERE node IS NOT NULL GROUP BY sku, node) AS d
  WHERE s.sku = d.sku AND s.node = d.node
  RETURNING s.sku, s.node, old.on_hand AS on_hand_was, old.allocated AS allocated_was,
    old.short AS short_was, new.on_hand, new.allocated, new.short),
{BOOK}""")  # noqa: S608 - of constants


async def first_time(conn: AsyncConnection, kind: str, key: str) -> bool:
    """True once for each kind and key; whoever comes second waits for the first to end."""
    statement = upsert(operations).values(kind=kind, key=key).on_conflict_do_nothing()
    return (await conn.execute(statement.returning(operations.c.key))).first() is not None


async def was_done(conn: AsyncConnection, kind: str, key: str) -> bool:
    query = select(operations.c.key).where(operations.c.kind == kind, operations.c.key == key)
    return (await conn.execute(query)).first() is not None


async def lock_nodes(conn: AsyncConnection, codes: Collection[str]) -> dict[str, NodeNow]:
    """Keeps the nodes from going up or down until the transaction ends. Raises NotFound."""
    if not codes:
        return {}
    rows = await conn.execute(
        text(
            "SELECT code, status = 'online' AS online,"
            " (now() AT TIME ZONE timezone)::date AS today FROM nodes"
            " WHERE code = ANY(:codes) ORDER BY code FOR SHARE"
        ),
        {"codes": sorted(set(codes))},
    )
    found = {row.code: NodeNow(row.online, row.today) for row in rows}
    if unknown := sorted(set(codes) - found.keys()):
        raise NotFound(f"no node {unknown[0]}")
    return found


async def lock_pool(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    """
    What is available to sell of each SKU that was ever stocked. A row that somebody deleted is made
    anew: who locked nothing here and asks again, its shelves locked, would ask in the wrong order.
    """
    found = await _locked_pool(conn, skus)
    if lost := set(skus) - found.keys():
        stocked = "SELECT DISTINCT sku FROM stock WHERE sku = ANY(:skus) ORDER BY sku"
        query = text(f"INSERT INTO pool (sku) {stocked} ON CONFLICT DO NOTHING")
        await conn.execute(query, {"skus": sorted(lost)})
        found = await _locked_pool(conn, skus)
    return found


async def open_pool(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    """
    The same of SKUs that perhaps never were: who is short of one, and the first goods that come in,
    wait for each other, so that whoever then wakes the orders that wait sees this one.
    """
    await conn.execute(
        text(
            "INSERT INTO pool (sku) SELECT sku FROM unnest(CAST(:skus AS text[])) AS sku"
            " ORDER BY sku ON CONFLICT DO NOTHING"
        ),
        {"skus": sorted(set(skus))},
    )
    return await _locked_pool(conn, skus)


async def _locked_pool(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    if not skus:
        return {}
    rows = await conn.execute(
        text("SELECT sku, available FROM pool WHERE sku = ANY(:skus) ORDER BY sku FOR UPDATE"),
        {"skus": list(set(skus))},
    )
    return {row.sku: row.available for row in rows}


async def hold_pool(conn: AsyncConnection, skus: Collection[str] | None) -> None:
    """
    Have whoever reserves these SKUs, None is all, end first or begin after this transaction.

    For a change of what rules hold back, see `stock_rules.put`.
    """
    if skus is None:
        await conn.execute(text("LOCK TABLE pool IN EXCLUSIVE MODE"))
    else:
        await lock_pool(conn, skus)


async def lock_stock(conn: AsyncConnection, places: Collection[tuple[str, str]]) -> Shelves:
    """The shelves of these (SKU, node) pairs, of those that there are."""
    if not places:
        return {}
    rows = await conn.execute(
        text(
            "SELECT sku, node, on_hand, allocated, short FROM stock WHERE (sku, node) IN"
            " (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:nodes AS text[])))"
            " ORDER BY sku, node FOR UPDATE"
        ),
        _columns(places),
    )
    return {(row.sku, row.node): Shelf(row.on_hand, row.allocated, row.short) for row in rows}


async def open_shelves(conn: AsyncConnection, places: Collection[tuple[str, str]]) -> Shelves:
    """Locks pool and stock of these (SKU, node) pairs, and makes the rows that are missing."""
    wanted = _columns(sorted(places))
    await open_pool(conn, wanted["skus"])
    await conn.execute(
        text(
            "INSERT INTO stock (sku, node) SELECT *"
            " FROM unnest(CAST(:skus AS text[]), CAST(:nodes AS text[])) ON CONFLICT DO NOTHING"
        ),
        wanted,
    )
    return await lock_stock(conn, places)


async def counted(
    conn: AsyncConnection, places: Mapping[tuple[str, str], datetime | None], by: str
) -> None:
    """Keeps of these shelves who counted them last, and at which moment; None is now."""
    await conn.execute(
        text(
            "UPDATE stock AS s SET counted_at = coalesce(d.at, clock_timestamp()), counted_by = :by"
            " FROM unnest(CAST(:skus AS text[]), CAST(:nodes AS text[]),"
            " CAST(:at AS timestamptz[])) AS d (sku, node, at)"
            " WHERE s.sku = d.sku AND s.node = d.node"
        ),
        {**_columns(places), "at": list(places.values()), "by": by},
    )


async def post(
    conn: AsyncConnection, entries: Iterable[Entry], nodes: Mapping[str, NodeNow], why: Why
) -> None:
    """
    Moves the units. The caller has locked the rows, and seen that none goes below zero.

    Only a statement (`why.stated_by`) may leave fewer units on a shelf than are allocated there:
    those stay on hand, and the shelf is short of them until they come or are no longer allocated.
    """
    await post_all(conn, [(entry, why) for entry in entries], nodes)


async def post_all(
    conn: AsyncConnection, told: Iterable[tuple[Entry, Why]], nodes: Mapping[str, NodeNow]
) -> None:
    """The same for units that move for different reasons. A count that changes nothing is told."""
    moved = [
        (e, why)
        for e, why in told
        if e.on_hand or e.allocated or e.reserved or why.stated_by == "count"
    ]
    if not moved:
        return
    columns = zip(*((*entry, *why) for entry, why in moved), strict=True)
    asked = dict(zip((*Entry._fields, *Why._fields), map(list, columns), strict=True))
    asked["online"] = [code for code, node in nodes.items() if node.online]
    if changed := (await conn.execute(_POST, asked)).all():
        await shortages.note(conn, [Short(*shelf) for shelf in changed])


def promised(units: Mapping[str, int], node: str | None) -> list[Entry]:
    """A reservation's units as the ledger books them: the network's promise, or a place's units."""
    if node is None:
        return [Entry(sku, None, reserved=quantity) for sku, quantity in units.items()]
    return [Entry(sku, node, allocated=quantity) for sku, quantity in units.items()]


def _columns(places: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    pairs = list(places)
    return {"skus": [sku for sku, _ in pairs], "nodes": [node for _, node in pairs]}
