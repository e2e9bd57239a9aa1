"""Reservations and the pool, against the movements that made them: two of three are right."""

from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.audit import copies
from storage.audit.wrong import Image, Scope, Wrong

_ENDED: Final = frozenset({"fulfilled", "released", "expired"})
_SKUS: Final = "(CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))"
_OF: Final = "(CAST(:of AS text) IS NULL OR {} = :of)"

# What an order's reservation is before anything changes in it: it has no second copy yet.
_HEADS: Final = text(f"""
WITH told AS (
  SELECT key AS id, min(order_id) AS order_id, min(node) AS node, min(at) AS at
  FROM movements WHERE line_id IS NOT NULL AND {_SKUS} AND {_OF.format("key")} GROUP BY key),
kept AS (SELECT row ->> 'reservation_id' AS id FROM copies
  WHERE relation = 'reservations' AND {_OF.format("row ->> 'reservation_id'")}),
heads AS (SELECT * FROM reservations WHERE {_OF.format("reservation_id")}
  AND (CAST(:skus AS text[]) IS NULL OR CAST(:of AS text) IS NOT NULL))
SELECT coalesce(t.id, h.reservation_id) AS id, to_jsonb(h) AS found,
  copy_seal('reservations', jsonb_build_object('reservation_id', h.reservation_id), to_jsonb(h))
    AS seal,
  (SELECT coalesce(sum(quantity), 0) FROM reservation_lines AS l
    WHERE l.reservation_id = h.reservation_id) AS holds,
  CASE WHEN t.id IS NOT NULL THEN jsonb_build_object('reservation_id', t.id, 'order_id', t.order_id,
    'node', t.node, 'state', 'committed', 'expires_at', NULL, 'at', t.at,
    'channel', CASE WHEN h.channel IN ('', o.channel) THEN h.channel
      ELSE coalesce(o.channel, h.channel, '') END) END AS told
FROM told AS t FULL JOIN heads AS h ON h.reservation_id = t.id
LEFT JOIN orders AS o ON o.order_id = t.order_id
LEFT JOIN kept ON kept.id = coalesce(t.id, h.reservation_id)
WHERE kept.id IS NULL AND CASE WHEN t.id IS NULL
  THEN NOT EXISTS (SELECT FROM reservation_lines AS l WHERE l.reservation_id = h.reservation_id)
  ELSE h.reservation_id IS NULL OR h.channel NOT IN ('', coalesce(o.channel, h.channel))
    OR (h.order_id, h.node, h.state, h.expires_at, h.at)
      IS DISTINCT FROM (t.order_id, t.node, 'committed', NULL::timestamptz, t.at) END
ORDER BY id
""")  # noqa: S608 - of constants, as all here
_LINES: Final = text(f"""
WITH moved AS (
  SELECT key AS id, line_id, sku, node, sum(reserved_delta + allocated_delta)::integer AS units
  FROM movements WHERE line_id IS NOT NULL AND {_SKUS} AND {_OF.format("key")}
  GROUP BY key, line_id, sku, node HAVING sum(reserved_delta + allocated_delta) <> 0),
told AS (
  SELECT id, line_id, min(sku) AS sku, min(node) AS node, sum(units)::integer AS units
  FROM moved GROUP BY id, line_id),
kept AS (SELECT row ->> 'reservation_id' AS id, row ->> 'line_id' AS line_id FROM copies
  WHERE relation = 'reservation_lines' AND {_OF.format("row ->> 'reservation_id'")}),
lines AS (SELECT * FROM reservation_lines WHERE {_SKUS} AND {_OF.format("reservation_id")})
SELECT coalesce(t.id, l.reservation_id) AS id, coalesce(t.line_id, l.line_id) AS line_id,
  coalesce(t.sku, l.sku) AS sku, CASE WHEN t.id IS NULL THEN r.node ELSE t.node END AS node,
  coalesce(l.quantity, 0) - coalesce(t.units, 0) AS lacks, r.order_id, r.at,
  r.reservation_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM reservation_lines AS x WHERE x.reservation_id = l.reservation_id
      AND x.line_id <> l.line_id AND (x.sku, x.quantity, x.missing) = (l.sku, 0, l.missing)
      AND l.quantity = 0) AS lone,
  (SELECT to_jsonb(x) FROM reservation_lines AS x WHERE x.reservation_id = t.id
     AND x.line_id = t.line_id OR x.reservation_id = l.reservation_id AND x.line_id = l.line_id)
    AS found,
  copy_seal('reservation_lines', jsonb_build_object('reservation_id', l.reservation_id, 'line_id',
    l.line_id), to_jsonb(l)) AS seal,
  CASE WHEN t.id IS NOT NULL THEN jsonb_build_object('reservation_id', t.id, 'line_id', t.line_id,
    'sku', t.sku, 'quantity', t.units, 'missing', 0) END AS told
FROM told AS t FULL JOIN lines AS l ON l.reservation_id = t.id AND l.line_id = t.line_id
LEFT JOIN reservations AS r ON r.reservation_id = coalesce(t.id, l.reservation_id)
LEFT JOIN kept ON kept.id = coalesce(t.id, l.reservation_id)
  AND kept.line_id = coalesce(t.line_id, l.line_id)
WHERE kept.id IS NULL AND (t.sku, t.units, 0) IS DISTINCT FROM (l.sku, l.quantity, l.missing)
ORDER BY id, line_id
""")  # noqa: S608
# Promises of the network by SKU, as its lines, its movements and its pool have them; and whether
# its shelves are as their movements say, so that the pool can be told from them.
_SUMS: Final = f"""
WITH free AS (
  SELECT s.sku, sum(s.on_hand) AS on_hand, sum(s.allocated) AS allocated,
    coalesce(sum(s.on_hand - s.allocated) FILTER (WHERE n.status = 'online'), 0) AS units
  FROM stock AS s LEFT JOIN nodes AS n ON n.code = s.node
  WHERE CAST(:skus AS text[]) IS NULL OR s.sku = ANY(:skus) GROUP BY s.sku),
moved AS (
  SELECT sku, coalesce(sum(reserved_delta) FILTER (WHERE node IS NULL), 0) AS reserved,
    coalesce(sum(on_hand_delta) FILTER (WHERE node IS NOT NULL), 0) AS on_hand,
    coalesce(sum(allocated_delta) FILTER (WHERE node IS NOT NULL), 0) AS allocated,
    bool_or((node IS NULL) <> (on_hand_before IS NULL)) AS odd
  FROM movements WHERE {_SKUS} GROUP BY sku),
lines AS (
  SELECT l.sku, sum(l.quantity) AS units FROM reservation_lines AS l
  JOIN reservations AS r USING (reservation_id) WHERE r.node IS NULL AND l.quantity > 0
    AND (CAST(:skus AS text[]) IS NULL OR l.sku = ANY(:skus)) GROUP BY l.sku),
pools AS (SELECT * FROM pool WHERE {_SKUS}),
sums AS (
  SELECT sku, f.sku IS NOT NULL AS stocked, p.available, to_jsonb(p) AS found,
    coalesce(l.units, 0)::integer AS lines, coalesce(m.reserved, 0)::integer AS moved,
    coalesce(f.units, 0)::integer AS free, coalesce(m.odd, false) AS odd,
    (coalesce(f.on_hand, 0), coalesce(f.allocated, 0)) =
      (coalesce(m.on_hand, 0), coalesce(m.allocated, 0)) AS shelves
  FROM pools AS p FULL JOIN free AS f USING (sku) FULL JOIN lines AS l USING (sku)
  FULL JOIN moved AS m USING (sku))
"""  # noqa: S608
_UNTOLD: Final = text(f"""
{_SUMS} SELECT sku, lines - moved AS units FROM sums
WHERE lines <> moved AND lines = free - coalesce(available, 0) AND NOT odd ORDER BY sku
""")  # noqa: S608
_POOLS: Final = text(f"""
{_SUMS} SELECT sku, found, free - lines AS available, stocked OR lines <> 0 AS known FROM sums
WHERE lines = moved AND shelves AND NOT odd AND CASE WHEN available IS NULL
  THEN stocked OR lines <> 0 ELSE available <> free - lines END ORDER BY sku
""")  # noqa: S608
_VOTES: Final = text(f"""
{_SUMS} SELECT lines = free - coalesce(available, 0) AS held, lines = moved AS told FROM sums
""")  # noqa: S608
_HELD: Final = text("""
SELECT s.allocated = (
    SELECT coalesce(sum(l.quantity), 0) FROM allocation_lines AS l
    JOIN allocations AS a USING (fulfillment_id) WHERE l.sku = s.sku AND a.node = s.node) + (
    SELECT coalesce(sum(l.quantity), 0) FROM reservation_lines AS l
    JOIN reservations AS r USING (reservation_id) WHERE l.sku = s.sku AND r.node = s.node) AS held,
  s.allocated = (SELECT coalesce(sum(allocated_delta), 0) FROM movements AS m
    WHERE m.sku = s.sku AND m.node = s.node) AS told
FROM stock AS s WHERE sku = :sku AND node = :node
""")


async def heads(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """Reservations that are not as their movements made them."""
    if scope.skus is not None and scope.key is None:
        return []
    rows = await conn.execute(_HEADS, await _asked(conn, scope))
    wrong = []
    for row in rows:
        key = {"reservation_id": row.id}
        if row.found and row.told and row.found["node"] != row.told["node"]:
            query = text("SELECT DISTINCT sku FROM reservation_lines WHERE reservation_id = :of")
            skus = (await conn.execute(query, {"of": row.id})).scalars().all()
            if "untold" in {await _voted(conn, sku, row.found["node"]) for sku in skus}:
                continue  # it is a movement that names another node
        if row.found and _went_on(row.found, row.told, row.holds):
            wrong.append(copies.adopted("reservations", key, row.found, row.seal))
            continue
        said = "gone" if row.found is None else "not as its movements made it"
        said = said if row.told else "no verb of ours made it"
        wrong.append(Wrong("reservations", key, said, row.found, row.told, row.told is not None))
    return wrong


def _went_on(found: Image, told: Image | None, holds: int) -> bool:
    """Whether a reservation is a cart's, or has ended: then it had a second copy, which is gone."""
    if found["state"] not in {"held", "committed", *_ENDED}:
        return False
    over = found["state"] in _ENDED and not holds
    return over or (told is not None and told["order_id"] is None)


async def lines(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """Lines that are not as the movements of their reservation, unless those are what is wrong."""
    wrong = []
    odd = await _odd_lines(conn, scope)
    lost = {(row["sku"], -row["lacks"]) for row in odd if row["found"] is None}
    for row in odd:
        told, found = row["told"], row["found"]
        said = await _voted(conn, row["sku"], row["node"])
        of = found["sku"] if found else row["sku"]
        if "untold" in {said, await _voted(conn, of, row["node"])}:
            continue
        key = {"reservation_id": row["id"], "line_id": row["line_id"]}
        changed = told and found and told["sku"] == found["sku"] and found["missing"] == 0
        new = (row["sku"], row["lacks"]) not in lost
        strange = found and not told and row["lone"] and new
        if (found and (said == "agreed" and (changed or strange))) or (
            strange and not row["lacks"]
        ):
            wrong.append(copies.adopted("reservation_lines", key, found, row["seal"]))
            continue
        message = "gone" if found is None else "not as its movements made it"
        message = message if told else "no movement made it"
        wrong.append(Wrong("reservation_lines", key, message, found, told, told is not None))
    return wrong


async def untold(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """Promises that lines and pool agree on and movements do not: one more makes up for it."""
    wrong = []
    for row in (await conn.execute(_UNTOLD, scope.asked)).all():
        odd = [
            line
            for line in await _odd_lines(conn, Scope({row.sku}))
            if line["lacks"] == row.units and line["node"] is None
        ]
        of = odd[0] if len(odd) == 1 else None
        after = {
            "sku": row.sku,
            "node": None,
            "stated_by": None,
            "on_hand_delta": 0,
            "allocated_delta": 0,
            "reserved_delta": row.units,
            "key": of["id"] if of else "repair",
            "line_id": of["line_id"] if of else None,
            "order_id": of["order_id"] if of else None,
            **({"at": of["at"].isoformat()} if of and of["at"] else {}),
        }
        said = f"reservations of {row.sku} hold {row.units:+d} units that no movement tells of"
        key = {"sku": row.sku, "node": None}
        wrong.append(Wrong("movements", key, said, None, after))
    return wrong


async def pools(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """The pool where it is not what stock and reservations make it, and these are sure."""
    rows = await conn.execute(_POOLS, scope.asked)
    if not await copies.alone(conn, "nodes"):  # which units are on sale is not sure
        return []
    return [
        Wrong(
            "pool",
            {"sku": row.sku},
            f"available is to be {row.available}" if row.known else "nobody knows of this SKU",
            row.found,
            {"sku": row.sku, "available": row.available} if row.known else None,
        )
        for row in rows
    ]


async def _asked(conn: AsyncConnection, scope: Scope) -> dict[str, Any]:
    """One reservation is looked at by its SKUs, which the movements have an index of."""
    of = None if scope.key is None else scope.key.get("reservation_id")
    skus = scope.skus
    if of is not None:
        query = text("SELECT sku FROM reservation_lines WHERE reservation_id = :of")
        skus = set(skus or ()) | set((await conn.execute(query, {"of": of})).scalars())
    return {"skus": sorted(skus) if skus else None, "of": of}


async def _odd_lines(conn: AsyncConnection, scope: Scope) -> list[RowMapping]:
    asked = await _asked(conn, scope)
    return list((await conn.execute(_LINES, asked)).mappings().all())


async def _voted(conn: AsyncConnection, sku: str, node: str | None) -> str:
    """`untold`: a movement is wrong, two others agree; `agreed`: all three do; else `off`."""
    if node is None:
        row = (await conn.execute(_VOTES, {"skus": [sku]})).first()
    else:
        row = (await conn.execute(_HELD, {"sku": sku, "node": node})).first()
    if row is None or not row.held:
        return "off"
    return "agreed" if row.told else "untold"
