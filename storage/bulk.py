"""
A file of stock: staged as it is, judged as a whole, and merged chunk by chunk.

The file is a statement of one moment, the load's `at`: what moved since is on top of it, and a
shelf that was counted later stays as it is. A shelf that this file has counted is one of those, so
that a load which ended midway is begun again and does only what is left. The staged rows live in a
temporary table of the session: all steps of a load are taken on one connection.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from domain.errors import Conflict, Invalid
from domain.stock_rows import BadRow, StockRow
from storage import ledger, shortages
from storage.shortages import Short

_LOCK: Final = 7_217_002  # any number, the same in every process that loads


class Load(NamedTuple):
    """`at` is the moment that the file speaks of; `resumed` that it was begun before."""

    digest: str
    actor: str
    at: datetime
    resumed: bool

    @property
    def stated_by(self) -> str:
        return f"load:{self.digest[:12]}"


class Judged(NamedTuple):
    """How many rows there are, and how many of them can be merged."""

    rows: int
    good: int


class Merged(NamedTuple):
    """How many shelves stand as the file says, and how many were counted later by another."""

    applied: int
    newer: int


async def begin(  # noqa: PLR0913 - what is kept of a load
    conn: AsyncConnection,
    digest: str,
    name: str,
    actor: str,
    *,
    as_of: datetime | None = None,
    again: bool = False,
) -> Load:
    """
    Begin a load, or go on with the one of this file that has not ended. One at a time.

    Raises Conflict(load_running), Conflict(loaded) where it has ended and is not wanted `again`,
    Invalid(as_of) where the file speaks of the future.
    """
    if not (await conn.execute(text(f"SELECT pg_try_advisory_lock({_LOCK})"))).scalar():
        raise Conflict("another load is running; try again when it has ended", code="load_running")
    row = (
        await conn.execute(
            text("SELECT at, finished_at, clock_timestamp() AS now FROM"
                 " (SELECT :digest AS digest) AS asked LEFT JOIN stock_loads USING (digest)"),
            {"digest": digest},
        )
    ).one()  # fmt: skip
    if as_of is not None and as_of > row.now:
        raise Invalid(f"as_of: lies in the future; it is {row.now:%Y-%m-%dT%H:%M:%SZ} here")
    if row.finished_at is not None and not again:
        raise Conflict(
            f"this file was loaded before, as of {row.at:%Y-%m-%dT%H:%M:%SZ}; ask for it again to"
            " count it anew",
            code="loaded",
        )
    resumed = row.at is not None and not again
    load = Load(digest, actor, row.at if resumed else as_of or row.now, resumed)
    await conn.execute(_BEGIN, {**load._asdict(), "name": name})
    await conn.execute(text("DROP TABLE IF EXISTS pg_temp.stock_staged, pg_temp.stock_load"))
    await conn.execute(_STAGED)
    return load


async def stage(conn: AsyncConnection, rows: Iterable[StockRow | BadRow]) -> None:
    """Add lines to the staged ones."""
    driver = (await conn.get_raw_connection()).driver_connection
    assert driver is not None  # noqa: S101 - the connection is open
    async with driver.cursor() as cursor, cursor.copy("COPY stock_staged FROM STDIN") as copy:
        await copy.write("".join(map(_copied, rows)).encode())


async def judge(conn: AsyncConnection, nodes: Collection[str] | None = None) -> Judged:
    """
    Tell which staged rows can be merged: known SKUs (or aliases) at known nodes, each shelf once.

    With `nodes` only these are known.
    """
    await conn.execute(text("SET LOCAL statement_timeout = '10min'; SET LOCAL work_mem = '64MB'"))
    await conn.execute(_JUDGE, {"nodes": None if nodes is None else list(nodes)})
    await conn.execute(text("DROP TABLE stock_staged"))
    await conn.execute(text("ALTER TABLE stock_load ADD PRIMARY KEY (n)"))
    await conn.execute(text("ANALYZE stock_load"))
    query = "SELECT count(*) AS rows, count(*) FILTER (WHERE error IS NULL) AS good FROM stock_load"
    row = (await conn.execute(text(query))).one()
    return Judged(row.rows, row.good)


async def rejected(conn: AsyncConnection) -> AsyncIterator[BadRow]:
    """What is wrong with the rows that are not merged, by line; read as it is asked for."""
    query = "SELECT line, field, error FROM stock_load WHERE error IS NOT NULL ORDER BY line"
    async for row in await conn.stream(text(query)):
        yield BadRow(row.line, row.field, row.error)


async def merge(conn: AsyncConnection, load: Load, after: int, upto: int) -> Merged:
    """Bring the shelves of these good rows, by number, to what the file says. One transaction."""
    asked = {"after": after, "upto": upto}
    await conn.execute(text("SET LOCAL plan_cache_mode = 'force_custom_plan'"))
    nodes = (await conn.execute(_NODES, asked)).all()
    for lock in (_NEW_POOL, _LOCK_POOL, _LOCK_STOCK):
        await conn.execute(lock, asked)
    changed = await conn.execute(
        _MERGE,
        {
            **asked,
            "at": load.at,
            "online": [node.code for node in nodes if node.online],
            "actor": load.actor,
            "stated_by": load.stated_by,
        },
    )
    if short := changed.all():
        await shortages.note(conn, [Short(*shelf) for shelf in short])
    row = (await conn.execute(_MERGED, {**asked, "at": load.at, "by": load.stated_by})).one()
    return Merged(row.applied, row.newer)


async def end(conn: AsyncConnection, load: Load) -> tuple[str, ...]:
    """The load is done. Answers the SKUs in it that orders wait for."""
    await conn.execute(_END, {"digest": load.digest})
    return tuple((await conn.execute(_WANTED)).scalars())


def _copied(row: StockRow | BadRow) -> str:
    if isinstance(row, StockRow):
        line, sku, node, on_hand = row
        return f"{line}\t{_escaped(sku)}\t{_escaped(node)}\t{on_hand}\t\\N\t\\N\n"
    return f"{row.line}\t\\N\t\\N\t\\N\t{_escaped(row.field)}\t{_escaped(row.message)}\n"


def _escaped(value: str) -> str:
    """What was read is printable, so a backslash is all there is to escape."""
    return value.replace("\\", "\\\\") if "\\" in value else value


_BEGIN: Final = text("""
INSERT INTO stock_loads (digest, name, actor, at) VALUES (:digest, :name, :actor, :at)
ON CONFLICT (digest) DO UPDATE SET
  name = excluded.name, actor = excluded.actor, at = excluded.at, finished_at = NULL
""")
_END: Final = text("UPDATE stock_loads SET finished_at = clock_timestamp() WHERE digest = :digest")
_STAGED: Final = text("""
CREATE TEMPORARY TABLE stock_staged
  (line integer, sku text, node text, on_hand integer, field text, error text)
""")
# Good rows are numbered first, in the order in which shelves are locked.
_JUDGE: Final = text("""
CREATE TEMPORARY TABLE stock_load AS
WITH known AS (
  SELECT r.line, r.on_hand, coalesce(p.sku, a.sku) AS sku, n.code AS node,
    CASE WHEN r.error IS NOT NULL THEN r.field
      WHEN coalesce(p.sku, a.sku) IS NULL OR k.sku IS NOT NULL THEN 'sku'
      WHEN n.code IS NULL THEN 'node' END AS field,
    CASE WHEN r.error IS NOT NULL THEN r.error
      WHEN coalesce(p.sku, a.sku) IS NULL
        THEN 'there is no product or alias ' || r.sku || '; describe it first'
      WHEN k.sku IS NOT NULL
        THEN k.sku || ' is a kit and has no stock of its own; name its components'
      WHEN n.code IS NULL THEN 'there is no node ' || r.node END AS error
  FROM stock_staged AS r LEFT JOIN products AS p ON p.sku = r.sku
  LEFT JOIN product_aliases AS a ON a.alias = r.sku
  LEFT JOIN products AS k ON k.sku = coalesce(p.sku, a.sku) AND k.body -> 'components' <> '[]'
  LEFT JOIN nodes AS n ON n.code = r.node
    AND (CAST(:nodes AS text[]) IS NULL OR n.code = ANY(:nodes))),
once AS (
  SELECT *, min(line) OVER (PARTITION BY error IS NULL, sku, node) AS first FROM known)
SELECT row_number() OVER (ORDER BY error IS NOT NULL OR line <> first, sku, node)::integer AS n,
  line, sku, node, on_hand,
  CASE WHEN error IS NULL AND line <> first THEN 'sku' ELSE field END AS field,
  CASE WHEN error IS NULL AND line <> first
    THEN 'this SKU at this node stands on line ' || first || ' already; keep one of them'
    ELSE error END AS error
FROM once
""").bindparams(bindparam("nodes", type_=ARRAY(Text)))

_CHUNK: Final = "stock_load AS r WHERE r.n > :after AND r.n <= :upto"
_NODES: Final = text(f"""
SELECT code, status = 'online' AS online FROM nodes
WHERE code IN (SELECT r.node FROM {_CHUNK}) ORDER BY code FOR SHARE
""")  # noqa: S608 - of constants, as all here
_NEW_POOL: Final = text(f"""
INSERT INTO pool (sku) SELECT DISTINCT r.sku FROM {_CHUNK} ORDER BY r.sku ON CONFLICT DO NOTHING
""")  # noqa: S608
_LOCK_POOL: Final = text(f"""
SELECT count(*) FROM (
  SELECT FROM pool WHERE sku IN (SELECT r.sku FROM {_CHUNK}) ORDER BY sku FOR UPDATE) AS locked
""")  # noqa: S608
_LOCK_STOCK: Final = text(f"""
SELECT count(*) FROM (
  SELECT FROM stock AS s WHERE (s.sku, s.node) IN (SELECT r.sku, r.node FROM {_CHUNK})
  ORDER BY s.sku, s.node FOR UPDATE) AS locked
""")  # noqa: S608
# A shelf that is new has no past; only of the others is it asked what moved since.
_MERGE: Final = text(f"""
WITH file AS (
  SELECT r.sku, r.node, r.on_hand + coalesce(m.units, 0) AS there
  FROM (SELECT * FROM {_CHUNK}) AS r LEFT JOIN stock AS s ON s.sku = r.sku AND s.node = r.node
  LEFT JOIN LATERAL (
    SELECT sum(units)::integer AS units FROM (
      SELECT m.on_hand_delta AS units FROM movements AS m
      WHERE m.sku = s.sku AND m.node = s.node AND m.at > :at
        AND m.stated_by IS NULL AND m.on_hand_delta <> 0
      UNION ALL
      SELECT f.change FROM feed_deltas AS f
      WHERE f.sku = s.sku AND f.node = s.node AND f.at > :at) AS each
    WHERE s.sku IS NOT NULL) AS m ON true),
moved AS (
  INSERT INTO stock AS s (sku, node, on_hand, short, counted_at, counted_by)
  SELECT sku, node, greatest(there, 0), greatest(-there, 0), :at, :stated_by FROM file
  ORDER BY sku, node
  ON CONFLICT (sku, node) DO UPDATE SET
    on_hand = greatest(excluded.on_hand - excluded.short, s.allocated),
    short = greatest(s.allocated - (excluded.on_hand - excluded.short), 0),
    counted_at = excluded.counted_at, counted_by = excluded.counted_by
  WHERE s.counted_at IS NULL OR s.counted_at < excluded.counted_at
  RETURNING s.sku, s.node, coalesce(old.on_hand, 0) AS on_hand_was,
    coalesce(old.allocated, 0) AS allocated_was, coalesce(old.short, 0) AS short_was,
    new.on_hand, new.allocated, new.short),
entry AS (
  SELECT 1 AS n, sku, node, on_hand - short - (on_hand_was - short_was) AS on_hand, 0 AS allocated,
    0 AS reserved, 'counted by a file' AS cause, CAST(:actor AS text) AS actor,
    CAST(:stated_by AS text) AS key, CAST(NULL AS text) AS order_id,
    CAST(:stated_by AS text) AS stated_by
  FROM moved),
{ledger.BOOK}""")  # noqa: S608
_MERGED: Final = text(f"""
SELECT count(*) FILTER (WHERE mine) AS applied, count(*) FILTER (WHERE NOT mine) AS newer
FROM (
  SELECT s.counted_by = :by AND s.counted_at = :at AS mine
  FROM (SELECT * FROM {_CHUNK}) AS r JOIN stock AS s ON s.sku = r.sku AND s.node = r.node) AS each
""")  # noqa: S608
_WANTED: Final = text("""
SELECT DISTINCT sku FROM stock_load WHERE error IS NULL AND sku IN (
  SELECT jsonb_object_keys(state -> 'short') FROM orders
  WHERE terminal_at IS NULL AND jsonb_typeof(state -> 'short') = 'object'
  UNION
  SELECT each ->> 'sku' FROM orders, jsonb_array_elements(state -> 'lines') AS l (each)
  WHERE terminal_at IS NULL AND attention @> ARRAY['no_node'])
ORDER BY sku
""")
