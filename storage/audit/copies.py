"""Rows that nothing else determines, against the second copies that our own writes keep."""

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, Table, bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import tables
from storage.audit.wrong import Image, Key, Scope, Wrong

# Of these a row may have no copy yet: what an order's reservation is at first, its movements tell.
TOLD: Final = frozenset({"reservations", "reservation_lines"})
# In the order in which they are mended: a line needs its head, and a shelf its node.
COPIED: Final = (
    tables.nodes,
    tables.node_log,
    tables.node_signals,
    tables.allocations,
    tables.allocation_lines,
    tables.reservations,
    tables.reservation_lines,
    tables.reservation_requests,
    tables.node_capacity,
    tables.operations,
    tables.stock_exceptions,
    tables.feed_positions,
    tables.feed_deltas,
    tables.stock_loads,
    tables.stock_rules,
    tables.stock_rule_log,
    tables.stock_watches,
    tables.stock_events,
    tables.supplies,
    tables.backorders,
    tables.backorder_lines,
    tables.supply_claims,
)


def named(table: Table, alias: str) -> str:
    """SQL for the key of a row, as JSON."""
    pairs = ", ".join(f"'{c.name}', {alias}.{c.name}" for c in table.primary_key)
    return f"jsonb_build_object({pairs})"


def matches(table: Table, alias: str, key: str) -> str:
    """SQL for whether a row has this key (JSON), by its index."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return " AND ".join(
        f"{alias}.{c.name} = (CAST({key} AS jsonb) ->> '{c.name}')::{c.type.compile(dialect)}"
        for c in table.primary_key
    )


def _query(table: Table) -> str:
    """A column that a later migration added is in no copy until its row is written again."""
    unknown = "ARRAY(SELECT jsonb_object_keys(r.row - ARRAY(SELECT jsonb_object_keys(c.row))))"
    alone = "" if table.name in TOLD else "OR c.row IS NULL"
    return f"""
    SELECT coalesce(r.key, c.key) AS key, r.row AS found, c.row AS kept,
      c.seal IS NULL OR c.seal = copy_seal('{table.name}', c.key, c.row) AS sealed,
      copy_seal('{table.name}', r.key, r.row) AS seal
    FROM (
      SELECT {named(table, "t")} AS key, to_jsonb(t) AS row FROM {table.name} AS t
      WHERE CAST(:key AS jsonb) IS NULL OR {matches(table, "t", ":key")}) AS r
    FULL JOIN (
      SELECT key, row, seal FROM copies
      WHERE relation = '{table.name}' AND (CAST(:key AS jsonb) IS NULL OR key = :key)) AS c
      USING (key)
    WHERE r.row IS NULL {alone} OR c.seal <> copy_seal('{table.name}', c.key, c.row)
      OR CASE WHEN r.row <> c.row THEN r.row - {unknown} <> c.row END
    ORDER BY key
    """  # noqa: S608 - of the names of our tables


_TABLES: Final = {table.name: table for table in COPIED}
_QUERIES: Final = {table.name: text(_query(table)) for table in COPIED}


_STRAYED: Final = text("""
SELECT relation, key, to_jsonb(c) AS copy FROM copies AS c
WHERE seal = :seal AND seal <> copy_seal(relation, key, row)
""")
_HELD: Final = """
  s.allocated = (
    SELECT coalesce(sum(l.quantity), 0) FROM allocation_lines AS l
    JOIN allocations AS a USING (fulfillment_id) WHERE l.sku = s.sku AND a.node = s.node) + (
    SELECT coalesce(sum(l.quantity), 0) FROM reservation_lines AS l
    JOIN reservations AS r USING (reservation_id) WHERE l.sku = s.sku AND r.node = s.node)
"""
# Whether the shelf knows of a claim, all claims on it taken together.
_CLAIMED: Final = {
    name: text(f"""
    SELECT coalesce(bool_and({_HELD}), true) FROM allocation_lines AS d
    JOIN allocations AS h USING (fulfillment_id)
    LEFT JOIN stock AS s ON s.sku = d.sku AND s.node = h.node
    WHERE d.quantity > 0 AND d.fulfillment_id = CAST(:key AS jsonb) ->> 'fulfillment_id'{line}
    """).bindparams(bindparam("key", type_=JSONB))  # noqa: S608 - of constants
    for name, line in (
        ("allocations", ""),
        ("allocation_lines", " AND d.line_id = CAST(:key AS jsonb) ->> 'line_id'"),
    )
}


async def find(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """Rows that are not as they were written, rows that are gone, and rows that nobody wrote."""
    if scope.skus is not None and scope.relation is None:
        return []
    wrong: list[Wrong] = []
    for name, query in _QUERIES.items():
        key = scope.key
        if scope.relation == "copies":
            key = key["key"] if key is not None and key["relation"] == name else None
        elif scope.relation not in {None, name}:
            continue
        rows = await conn.execute(query, {"key": None if key is None else json.dumps(dict(key))})
        wrong += await _paired(conn, name, rows.all())
    return wrong


async def alone(conn: AsyncConnection, name: str) -> bool:
    """Whether every row of a table is as its copy has it."""
    return (await conn.execute(_QUERIES[name], {"key": None})).first() is None


async def _paired(conn: AsyncConnection, name: str, rows: Sequence[Row[Any]]) -> list[Wrong]:
    """A row that is gone and one that nobody wrote, else the same: its key was altered."""
    keys = {column.name for column in _TABLES[name].primary_key}
    gone = {_rest(row.kept, keys): row for row in rows if row.found is None and row.sealed}
    wrong = []
    for row in rows:
        was = gone.pop(_rest(row.found, keys), None) if row.kept is None else None
        if was is not None:
            names = ", ".join(c for c in sorted(keys) if row.found[c] != was.kept[c])
            wrong.append(Wrong(name, row.key, f"altered in {names}", row.found, was.kept))
        elif row.kept is None:
            wrong.append(await _alone(conn, name, row))
        elif row.found is not None or not row.sealed:
            wrong.append(_wrong(name, row))
    said = "this row is gone"
    return wrong + [Wrong(name, row.key, said, None, row.kept) for row in gone.values()]


def _rest(row: Image | None, keys: set[str]) -> str:
    return json.dumps({c: said for c, said in (row or {}).items() if c not in keys}, sort_keys=True)


def _wrong(name: str, row: Row[Any]) -> Wrong:
    if not row.sealed:
        copy = {"relation": name, "key": row.key}
        found = {**copy, "row": row.found, "seal": row.seal} if row.found else None
        said = f"the second copy of a row of {name} was altered"
        return Wrong("copies", copy, said, {**copy, "row": row.kept}, found, found is not None)
    other = sorted(c for c, said in row.kept.items() if row.found.get(c) != said)
    said = f"altered in {', '.join(other)}"
    return Wrong(name, row.key, said, row.found, {**row.found, **row.kept})


async def _alone(conn: AsyncConnection, name: str, row: Row[Any]) -> Wrong:
    """
    A row without a copy: nobody of ours wrote it, or its copy is gone. Claims that the shelf does
    not know go; whatever else is there stays there, if a person says so.
    """
    strayed = (await conn.execute(_STRAYED, {"seal": row.seal})).first()
    if strayed is not None:
        key = {"relation": strayed.relation, "key": strayed.key}
        said = f"the key of the second copy of a row of {name} was altered"
        return Wrong("copies", key, said, strayed.copy, copy_of(name, row.key, row.found, row.seal))
    if name in _CLAIMED and not (await conn.execute(_CLAIMED[name], {"key": row.key})).scalar():
        return Wrong(name, row.key, "no verb of ours wrote this row", row.found, None, sure=False)
    return adopted(name, row.key, row.found, row.seal)


def adopted(name: str, key: Key, found: Image, seal: str) -> Wrong:
    """A row that stays as it is, and gets the second copy that it has not."""
    copy = {"relation": name, "key": dict(key)}
    said = f"a row of {name} has no second copy: it is gone, or no verb of ours wrote the row"
    return Wrong("copies", copy, said, None, copy_of(name, key, found, seal), sure=False)


def copy_of(name: str, key: Key, found: Image, seal: str) -> Image:
    return {"relation": name, "key": dict(key), "row": dict(found), "seal": seal}
