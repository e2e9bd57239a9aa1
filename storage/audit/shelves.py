"""Shelves and their movements: what two of stock, movements, claims and pool say is the truth."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.audit import chain, units
from storage.audit.chain import Gap, Units
from storage.audit.wrong import Image, Scope, Wrong

_Place = tuple[str, str]

_SUSPECTS: Final = [
    text(f"SELECT key FROM ({check.query}) AS each")  # noqa: S608 - of constants, as all here
    for check in units.CHECKS
    if check.relation in {"stock", "movements"} and check.by_sku
]
_PLACES: Final = text("SELECT sku, node FROM movements WHERE id = ANY(:ids) AND node IS NOT NULL")
_ODD: Final = text("""
SELECT to_jsonb(m) AS row FROM movements AS m
WHERE (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)) AND CASE WHEN node IS NULL
  THEN (on_hand_delta, allocated_delta) <> (0, 0)
    OR num_nonnulls(on_hand_before, on_hand_after, allocated_before, allocated_after) > 0
  ELSE reserved_delta <> 0 END
ORDER BY id
""")
_MOVED: Final = text("""
SELECT to_jsonb(m) AS row FROM movements AS m WHERE sku = :sku AND node = :node ORDER BY id
""")
# What others say of a shelf: its claims, its exception, what the pool leaves for it where its node
# is online, and what a feed counted there and moved since.
_SHELF: Final = text("""
SELECT to_jsonb(s) AS found, n.code IS NOT NULL AS known, p.sku IS NOT NULL AS pooled,
  (SELECT sum(on_hand) FROM stock AS o WHERE o.sku = d.sku) IS DISTINCT FROM (
    SELECT sum(on_hand_delta) FROM movements AS m
    WHERE m.sku = d.sku AND node IN (SELECT code FROM nodes)) AS untold,
  (SELECT coalesce(sum(quantity), 0) FROM (
    SELECT l.quantity FROM allocation_lines AS l JOIN allocations AS a USING (fulfillment_id)
    WHERE l.sku = d.sku AND a.node = d.node
    UNION ALL
    SELECT l.quantity FROM reservation_lines AS l JOIN reservations AS r USING (reservation_id)
    WHERE l.sku = d.sku AND r.node = d.node) AS each)::integer AS held,
  CASE WHEN n.status = 'online' THEN p.available + (
    SELECT coalesce(sum(l.quantity), 0) FROM reservation_lines AS l
    JOIN reservations AS r USING (reservation_id) WHERE l.sku = d.sku AND r.node IS NULL) - (
    SELECT coalesce(sum(o.on_hand - o.allocated), 0) FROM stock AS o
    JOIN nodes AS on_ ON on_.code = o.node
    WHERE o.sku = d.sku AND o.node <> d.node AND on_.status = 'online') END::integer AS free,
  (SELECT short FROM stock_exceptions AS e
    WHERE e.sku = d.sku AND e.node = d.node AND cleared_at IS NULL) AS missed,
  (SELECT f.on_hand + (
      SELECT coalesce(sum(change), 0) FROM feed_deltas AS c
      WHERE c.sku = d.sku AND c.node = d.node AND CASE WHEN c.source = f.source
        THEN c.sequence > f.sequence ELSE c.at > f.at END) + (
      SELECT coalesce(sum(on_hand_delta), 0) FROM movements AS m
      WHERE m.sku = d.sku AND m.node = d.node AND m.at > f.at AND m.stated_by IS NULL)
    FROM feed_positions AS f WHERE f.sku = d.sku AND f.node = d.node
      AND s.counted_by = 'feed:' || f.source)::integer AS fed
FROM (SELECT CAST(:sku AS text) AS sku, CAST(:node AS text) AS node) AS d
LEFT JOIN stock AS s ON s.sku = d.sku AND s.node = d.node
LEFT JOIN nodes AS n ON n.code = d.node LEFT JOIN pool AS p ON p.sku = d.sku
""")
_PICKUP: Final = text("""
SELECT l.reservation_id AS key, l.line_id, r.order_id, r.at FROM reservation_lines AS l
JOIN reservations AS r USING (reservation_id)
WHERE l.sku = :sku AND r.node = :node AND l.quantity = :units AND NOT EXISTS (
    SELECT FROM movements AS m WHERE m.sku = l.sku AND m.node = r.node
      AND m.key = l.reservation_id AND m.line_id = l.line_id)
  AND NOT EXISTS (SELECT FROM copies WHERE relation = 'reservation_lines'
    AND key = jsonb_build_object('reservation_id', l.reservation_id, 'line_id', l.line_id))
LIMIT 2
""")
_FREE_ID: Final = text("""
SELECT id FROM generate_series(CAST(:until AS bigint) - 1,
  greatest(CAST(:since AS bigint) + 1, CAST(:until AS bigint) - 10000), -1) AS id
WHERE NOT EXISTS (SELECT FROM movements AS m WHERE m.id = id.id) ORDER BY id DESC LIMIT 1
""")
# Who counted the shelf last, as statements that are on record have it.
STATED: Final = """
  SELECT sku, node, 'feed:' || source AS by, at FROM feed_positions
  WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)
  UNION ALL
  SELECT m.sku, m.node, m.stated_by, CASE WHEN m.stated_by = 'count' THEN m.at ELSE l.at END
  FROM movements AS m LEFT JOIN stock_loads AS l ON 'load:' || left(l.digest, 12) = m.stated_by
  WHERE (m.stated_by = 'count' OR l.digest IS NOT NULL)
    AND (CAST(:skus AS text[]) IS NULL OR m.sku = ANY(:skus))
"""
_COUNTED: Final = text(f"""
WITH stated AS ({STATED}),
s AS (SELECT * FROM stock WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)),
odd AS (
  SELECT s.sku, s.node FROM s
  LEFT JOIN stock_loads AS l
    ON 'load:' || left(l.digest, 12) = s.counted_by AND l.at = s.counted_at
  WHERE s.counted_by IS NOT NULL AND l.digest IS NULL AND NOT EXISTS (
    SELECT FROM stated AS t WHERE t.sku = s.sku AND t.node = s.node AND t.by = s.counted_by
      AND CASE WHEN t.by = 'count' THEN abs(extract(epoch FROM t.at - s.counted_at)) < 60
        ELSE t.at = s.counted_at END)
  UNION
  SELECT s.sku, s.node FROM s JOIN stated AS t USING (sku, node)
  WHERE s.counted_by IS NULL OR s.counted_at IS NULL
  UNION
  SELECT s.sku, s.node FROM s WHERE (s.counted_by IS NULL) <> (s.counted_at IS NULL))
SELECT odd.sku, odd.node, to_jsonb(s) AS found, t.by, to_jsonb(t.at) AS at
FROM odd JOIN s USING (sku, node) LEFT JOIN LATERAL (
  SELECT by, at FROM stated AS t WHERE t.sku = odd.sku AND t.node = odd.node
  ORDER BY at DESC LIMIT 1) AS t ON true
ORDER BY sku, node
""")  # noqa: S608


class _Shelf(NamedTuple):
    place: _Place
    row: RowMapping
    moved: Sequence[Image]
    on_hand: int
    allocated: int
    sure: bool

    @property
    def end(self) -> Units:
        return self.on_hand, self.allocated


async def find(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """
    Shelves that are not as their movements, and movements that are missing, strayed or altered.

    A row that is the only wrong one is found: what is on a shelf stands in its row and at the end
    of its movements, what is allocated also in claims, and what is free also in the pool.
    """
    odd = [row.row for row in await conn.execute(_ODD, scope.asked)]
    strays = [row for row in odd if _lost(row)]
    wrong = [_of_one_kind(row) for row in odd if row not in strays and not _promise(row)]
    places = await _suspects(conn, scope)
    gaps: list[tuple[_Shelf, Gap]] = []
    for place in sorted(places):
        shelf = await _judged(conn, place)
        if shelf is None:
            strays += await _movements(conn, place)
            wrong += await _nowhere(conn, place)
            continue
        told = chain.read(shelf.moved, shelf.end)
        gaps += [(shelf, gap) for gap in told.gaps]
        strays += told.strays
        said = "its figures do not add up"
        wrong += [_movement(row, said, after) for row, after in told.mended]
        wrong += [_movement(row, said, row, sure=False) for row in told.unclear]
        wrong += await _stock(conn, shelf)
    return wrong + await _matched(conn, gaps, strays)


async def counted(conn: AsyncConnection, scope: Scope) -> list[Wrong]:
    """Shelves counted by a statement that is not on record, or not by the one that is."""
    rows = await conn.execute(_COUNTED, scope.asked)
    return [
        Wrong(
            "stock",
            {"sku": row.sku, "node": row.node},
            f"counted by {row.found['counted_by']} of {row.found['counted_at']}, on record is"
            f" {row.by} of {row.at}",
            row.found,
            {**row.found, "counted_by": row.by, "counted_at": row.at},
        )
        for row in rows
    ]


async def _suspects(conn: AsyncConnection, scope: Scope) -> set[_Place]:
    keys = [row.key for query in _SUSPECTS for row in await conn.execute(query, scope.asked)]
    places = {(key["sku"], key["node"]) for key in keys if "id" not in key}
    ids = [key["id"] for key in keys if "id" in key]
    rows = await conn.execute(_PLACES, {"ids": ids})
    return places | {(row.sku, row.node) for row in rows}


async def _movements(conn: AsyncConnection, place: _Place) -> list[Image]:
    rows = await conn.execute(_MOVED, {"sku": place[0], "node": place[1]})
    return [row.row for row in rows]


async def _judged(conn: AsyncConnection, place: _Place) -> _Shelf | None:
    """What is on the shelf by most of those that know; None where there is no such shelf."""
    row = (await conn.execute(_SHELF, {"sku": place[0], "node": place[1]})).mappings().one()
    moved = await _movements(conn, place)
    nobody_knows = not moved and not _pooled(row) if row["found"] else not row["pooled"]
    if not row["known"] or (nobody_knows and not row["held"]):
        return None
    ends = chain.ends(moved)
    found = row["found"] or {"on_hand": None, "allocated": None}
    votes = [found["allocated"], row["held"], *{end[1] for end in ends}]
    allocated = max(votes, key=votes.count)
    sure = votes.count(allocated) > 1
    possible = {end[0] for end in ends}
    if found["on_hand"] in possible:
        on_hand = found["on_hand"]
    else:
        free = row["free"]
        by_pool = None if free is None else free + allocated
        known = {found["on_hand"], *possible} - {None}
        on_hand = by_pool if by_pool in known else ends[0][0]
        sure = sure and (by_pool in known or found["on_hand"] is None)
    return _Shelf(place, row, moved, on_hand, allocated, sure)


def _pooled(row: RowMapping) -> bool:
    """Whether the pool knows of units that the shelf has, and no movement of the SKU does."""
    found = row["found"]
    return bool(row["untold"] and row["free"] == found["on_hand"] - found["allocated"])


async def _nowhere(conn: AsyncConnection, place: _Place) -> list[Wrong]:
    """A shelf's row that no movement and no claim knows."""
    query = text("SELECT to_jsonb(s) AS row FROM stock AS s WHERE sku = :sku AND node = :node")
    row = (await conn.execute(query, {"sku": place[0], "node": place[1]})).scalar()
    key = {"sku": place[0], "node": place[1]}
    return [Wrong("stock", key, "no movement tells of it", row, None, sure=False)] if row else []


async def _stock(conn: AsyncConnection, shelf: _Shelf) -> list[Wrong]:
    """The shelf's own row, where it is not as it is to be."""
    sku, node = shelf.place
    found = shelf.row["found"]
    told = sum(m["on_hand_delta"] for m in shelf.moved if m["stated_by"] == "shortage")
    missed = shelf.row["missed"] or 0
    votes = [told, missed, *([found["short"]] if found else [])]
    after = {
        **(found or {"sku": sku, "node": node}),
        "on_hand": shelf.on_hand,
        "allocated": shelf.allocated,
        "short": max(votes, key=votes.count),
    }
    if found is None:
        asked = {"skus": [sku], "node": node}
        query = f"SELECT by, to_jsonb(at) AS at FROM ({STATED}) AS t WHERE node = :node"  # noqa: S608
        stated = (await conn.execute(text(f"{query} ORDER BY t.at DESC LIMIT 1"), asked)).first()
        after |= {"counted_by": stated and stated.by, "counted_at": stated and stated.at}
    if after == found or (found is None and shelf.end == chain.NOTHING and not shelf.moved):
        return []
    said = f"is to be {shelf.on_hand} on hand, {shelf.allocated} allocated, {after['short']} short"
    return [Wrong("stock", {"sku": sku, "node": node}, said, found, after, shelf.sure)]


async def _matched(
    conn: AsyncConnection, gaps: Iterable[tuple[_Shelf, Gap]], strays: Iterable[Image]
) -> list[Wrong]:
    """A stray goes where it is missing; what is missing and nowhere is told anew."""
    wrong: list[Wrong] = []
    left = list(strays)
    shifted: set[_Place] = set()
    for shelf, gap in gaps:
        if shelf.place in shifted:
            continue
        stray = next((s for s in left if _fits(s, gap)), None)
        number = await _number(conn, gap, stray["id"] if stray else None)
        if number is None and gap.next is not None:
            shifted.add(shelf.place)
            wrong += _shifted(shelf, gap, gap.next)
        elif stray is None:
            wrong.append(await _restored(conn, shelf, gap, number))
        else:
            left.remove(stray)
            sku, node = shelf.place
            after = {**stray, "sku": sku, "node": node, "id": number or stray["id"]}
            wrong.append(_movement(stray, "strayed from its shelf", after, sure=shelf.sure))
    for stray in left:
        if stray["reserved_delta"]:
            after = {**stray, "node": None}
            wrong.append(_movement(stray, "a promise of the network stands at a node", after))
        else:
            wrong.append(_movement(stray, "belongs to no shelf", None, sure=False))
    return wrong


def _shifted(shelf: _Shelf, gap: Gap, first: Image) -> list[Wrong]:
    """
    Movements with no number free between them, so that none is missing: the shelf itself was
    altered, and what moved since told of it as it then was.
    """
    by = {"on_hand": gap.was[0] - gap.now[0], "allocated": gap.was[1] - gap.now[1]}
    said = "tells of a shelf that was altered before it"
    wrong = []
    for row in shelf.moved[shelf.moved.index(first) :]:
        names = [(f"{side}_{when}", n) for side, n in by.items() for when in ("before", "after")]
        after = {**row, **{name: row[name] + n for name, n in names}}
        wrong.append(_movement(row, said, after, sure=shelf.sure))
    found, last = shelf.row["found"], shelf.moved[-1]
    end = {side: last[f"{side}_after"] + n for side, n in by.items()}
    if found is not None and {**found, **end} != found:
        key = {"sku": shelf.place[0], "node": shelf.place[1]}
        wrong.append(Wrong("stock", key, said, found, {**found, **end}, shelf.sure))
    return wrong


def _lost(row: Image) -> bool:
    """A movement of some shelf that names no node."""
    before, after = chain.units(row, "before"), chain.units(row, "after")
    return row["node"] is None and None not in {before, after} and not row["reserved_delta"]


def _promise(row: Image) -> bool:
    """A movement of the network's promises at a node, of no shelf: its chain tells of it."""
    return row["node"] is not None and chain.units(row, "before") is None


def _fits(stray: Image, gap: Gap) -> bool:
    return (chain.units(stray, "before"), chain.units(stray, "after")) == (gap.was, gap.now)


async def _number(conn: AsyncConnection, gap: Gap, now: int | None) -> int | None:
    """A number between its neighbours': its own, or one that is free. None: the next, or none."""
    since = gap.last["id"] if gap.last else 0
    if gap.next is None:
        return now if now is not None and now > since else None
    until = gap.next["id"]
    if now is not None and since < now < until:
        return now
    free = await conn.execute(_FREE_ID, {"since": since, "until": until})
    number: int | None = free.scalar()
    return number


async def _restored(conn: AsyncConnection, shelf: _Shelf, gap: Gap, number: int | None) -> Wrong:
    """The movement that is missing, as far as its neighbours and the claims determine it."""
    sku, node = shelf.place
    on_hand, allocated = gap.now[0] - gap.was[0], gap.now[1] - gap.was[1]
    asked = {"sku": sku, "node": node, "units": allocated}
    lines = (await conn.execute(_PICKUP, asked)).all() if allocated > 0 and not on_hand else []
    line = lines[0]._mapping if len(lines) == 1 else {}  # noqa: SLF001 - its public name
    at = line["at"].isoformat() if line else gap.next["at"] if gap.next else None
    after: dict[str, Any] = {
        "sku": sku,
        "node": node,
        "reserved_delta": 0,
        "on_hand_delta": on_hand,
        "allocated_delta": allocated,
        "on_hand_before": gap.was[0],
        "on_hand_after": gap.now[0],
        "allocated_before": gap.was[1],
        "allocated_after": gap.now[1],
        "key": line.get("key", "repair"),
        "line_id": line.get("line_id"),
        "order_id": line.get("order_id"),
        "stated_by": _stated(shelf, on_hand, allocated),
        **({"id": number} if number is not None else {}),
        **({"at": at} if at else {}),
    }
    key = {"sku": sku, "node": node, "after": gap.last["id"] if gap.last else 0}
    said = f"a movement of {on_hand:+d} on hand and {allocated:+d} allocated is missing"
    return Wrong("movements", key, said, None, after, shelf.sure)


def _stated(shelf: _Shelf, on_hand: int, allocated: int) -> str | None:
    """Whether the missing movement was a statement: what a feed counted and moved since tells."""
    found = shelf.row["found"]
    told = sum(m["on_hand_delta"] for m in shelf.moved if m["stated_by"] == "shortage")
    if not on_hand or allocated or found is None:
        return None
    if found["short"] - told == on_hand:
        return "shortage"
    fed = shelf.row["fed"]
    if fed is not None:
        return "repair" if found["on_hand"] - found["short"] == fed else None
    counted = found["counted_by"]
    if counted and all(m["stated_by"] != counted for m in shelf.moved):
        return str(counted)
    return None


def _of_one_kind(row: Image) -> Wrong:
    """Of a movement that is of a node and of the network, what it is not goes."""
    if row["node"] is None:
        none = dict.fromkeys(("on_hand_before", "on_hand_after"))
        none |= dict.fromkeys(("allocated_before", "allocated_after"))
        after = {**row, **none, "on_hand_delta": 0, "allocated_delta": 0}
    else:
        after = {**row, "reserved_delta": 0}
    return _movement(row, "moves units of a node and promises of the network at once", after)


def _movement(row: Image, said: str, after: Image | None, *, sure: bool = True) -> Wrong:
    return Wrong("movements", {"id": row["id"]}, said, row, after, sure)
