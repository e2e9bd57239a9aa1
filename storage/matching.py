"""
Which order that waits is to have what of the supply that is to come, and when that will be.

Claims are matched anew, in one transaction, with whatever changes them: the pool's rows of their
SKUs are locked by then. Nobody claims what the rules of stock would not let them have when it came.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.records import OrderEvent
from domain.supply import Claim, Coming, Want, arrivals, match
from storage import availability, inbox, ledger, records
from storage.asks import Ask
from storage.availability import Sale
from storage.tables import backorder_lines, backorders, supply_claims

TOLERANCE: Final = timedelta(days=1)
_EVER: Final = datetime.max.replace(tzinfo=UTC)
# Only what is firm is promised from: the one place that says so.
PROMISED_FROM: Final = "status = 'open' AND quantity > received AND confidence = 'firm'"

_WANTS: Final = text("""
SELECT l.sku, b.order_id, l.line_id, b.node, l.quantity - coalesce(r.quantity, 0) AS units,
  b.channel
FROM backorders AS b JOIN backorder_lines AS l USING (order_id)
LEFT JOIN reservation_lines AS r USING (reservation_id, line_id)
WHERE l.sku = ANY(:skus) AND l.quantity > coalesce(r.quantity, 0)
ORDER BY b.priority DESC, b.since, b.order_id, l.line_id
""")
_COMING: Final = text(f"""
SELECT sku, source, ref, node, expected_at, quantity - received AS units FROM supplies
WHERE sku = ANY(:skus) AND {PROMISED_FROM}
""")  # noqa: S608 - a constant
# The lines that miss nothing say nothing; an order without any other is whole.
_DATES: Final = text("""
SELECT b.order_id, b.expected_at AS told, b.moves, d.at, d.whole
FROM backorders AS b CROSS JOIN LATERAL (
  SELECT CASE WHEN bool_and(claimed >= missing) THEN max(at) END AS at, count(*) = 0 AS whole
  FROM (
    SELECT l.quantity - coalesce(r.quantity, 0) AS missing, coalesce(sum(c.units), 0) AS claimed,
      max(s.expected_at) AS at
    FROM backorder_lines AS l
    LEFT JOIN reservation_lines AS r
      ON r.reservation_id = b.reservation_id AND r.line_id = l.line_id
    LEFT JOIN supply_claims AS c ON c.order_id = l.order_id AND c.line_id = l.line_id
    LEFT JOIN supplies AS s ON s.source = c.source AND s.ref = c.ref
    WHERE l.order_id = b.order_id GROUP BY l.line_id, l.quantity, r.quantity) AS each
  WHERE missing > 0) AS d
WHERE b.order_id = ANY(:orders) ORDER BY b.order_id
""")


class _Allowed:
    """What the rules leave to sell of a SKU on each date on which some of it comes."""

    def __init__(self, sale: Sale, sku: str, coming: Sequence[Coming]) -> None:
        self._sku = sku
        self._sales = {
            at: sale.after(arrivals({sku: coming}, at))
            for at in sorted({supply.expected_at for supply in coming})
        }

    def most(self, want: Want, at: datetime) -> int:
        return min(s.left(self._sku, want.channel, want.node) for s in self._from(at))

    def took(self, want: Want, at: datetime, units: int) -> None:
        for sale in self._from(at):
            sale.took(self._sku, want.channel, units, want.node)

    def _from(self, at: datetime) -> list[Sale]:
        return [sale for date, sale in self._sales.items() if date >= at]


async def rematch(
    conn: AsyncConnection, skus: Collection[str], why: str, *, quiet: str = ""
) -> None:
    """
    Match who waits with what is to come of SKUs whose pool is locked. Each order whose date moves
    by more than the tolerance is told, once, in its story, and tries again; but for `quiet`.
    """
    some = sorted(set(skus))
    before = await _concerned(conn, some)
    if not before:
        return
    coming, wants = await _coming(conn, some), await _wants(conn, some)
    sale = await _sale(conn, coming, wants)
    matched = {
        (sku, *claim)
        for sku in some
        for claim in _matched(sku, coming.get(sku, ()), wants.get(sku, ()), sale)
    }
    await _write(conn, some, matched)
    for row in (await conn.execute(_DATES, {"orders": before})).all():
        moved = not row.whole and _moved(row.told, row.at)
        if moved or (row.order_id == quiet and row.told != row.at):
            await conn.execute(
                text(
                    "UPDATE backorders SET expected_at = :at, moves = moves + :more"
                    " WHERE order_id = :order"
                ),
                {"at": row.at, "more": int(row.order_id != quiet), "order": row.order_id},
            )
        if moved and row.order_id != quiet:
            await _tell(conn, row, why)


async def _write(
    conn: AsyncConnection, skus: Sequence[str], matched: Collection[tuple[str | int, ...]]
) -> None:
    """Only what is another claim than before is written."""
    columns = [supply_claims.c[name] for name in ("sku", *Claim._fields)]
    known = await conn.execute(select(*columns).where(supply_claims.c.sku.in_(skus)))
    before = {tuple(row) for row in known}
    if gone := before - set(matched):
        await conn.execute(delete(supply_claims).where(tuple_(*columns).in_(sorted(gone))))
    if new := sorted(set(matched) - before):
        names = [column.name for column in columns]
        await conn.execute(
            upsert(supply_claims), [dict(zip(names, row, strict=True)) for row in new]
        )


async def rematch_ruled(conn: AsyncConnection, skus: Collection[str] | None) -> None:
    """The same once the rules of these SKUs have changed, of all where it is None."""
    query = select(backorder_lines.c.sku).distinct()
    if skus is not None:
        query = query.where(backorder_lines.c.sku.in_(skus))
    if waited_for := list((await conn.execute(query)).scalars()):
        await rematch(conn, waited_for, "the rules of stock were changed")


async def covered(
    conn: AsyncConnection,
    ask: Ask,
    free: Mapping[str, int],
    missing: Mapping[str, Mapping[str, int]],
) -> bool:
    """
    Whether named supply has all that the order misses, by SKU and line, once it has what is `free`
    for it, by SKU.
    """
    coming, wants = await _coming(conn, missing), await _wants(conn, missing)
    sale = await _sale(conn, coming, wants)
    for sku in free.keys() & coming.keys():
        sale.took(sku, ask.channel, free[sku], ask.node)
    for sku, lines in missing.items():
        others = [
            want._replace(units=lines.get(want.line_id, 0))
            if want.order_id == ask.order_id
            else want
            for want in wants.get(sku, ())
        ]
        got = _matched(sku, coming.get(sku, ()), others, sale)
        ours = sum(claim.units for claim in got if claim.order_id == ask.order_id)
        if ours < sum(lines.values()):
            return False
    return True


def _matched(sku: str, coming: Sequence[Coming], wants: Sequence[Want], sale: Sale) -> list[Claim]:
    everywhere = all(want.node is None for want in wants)
    all_of_it = everywhere and sale.all_of_it(sku, arrivals({sku: coming}, _EVER))
    return match(coming, wants, None if all_of_it else _Allowed(sale, sku, coming))


async def _sale(
    conn: AsyncConnection,
    coming: Mapping[str, Sequence[Coming]],
    wants: Mapping[str, Sequence[Want]],
) -> Sale:
    """What may be sold now of the SKUs that come."""
    pool = await ledger.lock_pool(conn, coming)
    return await availability.open_sale(
        conn,
        dict.fromkeys(coming, 0) | pool,
        pickups=[sku for sku in coming if any(want.node for want in wants.get(sku, ()))],
        nodes={supply.node for supplies in coming.values() for supply in supplies},
    )


async def _concerned(conn: AsyncConnection, skus: Sequence[str]) -> list[str]:
    """The orders that wait for one of these, locked: their dates may hang on other SKUs too."""
    wanted = select(backorder_lines.c.order_id).where(backorder_lines.c.sku.in_(skus))
    query = select(backorders.c.order_id).where(backorders.c.order_id.in_(wanted))
    rows = await conn.execute(query.order_by(backorders.c.order_id).with_for_update())
    return list(rows.scalars())


async def _wants(conn: AsyncConnection, skus: Collection[str]) -> dict[str, list[Want]]:
    found: dict[str, list[Want]] = {}
    for sku, *want in await conn.execute(_WANTS, {"skus": list(skus)}):
        found.setdefault(sku, []).append(Want(*want))
    return found


async def _coming(conn: AsyncConnection, skus: Collection[str]) -> dict[str, list[Coming]]:
    found: dict[str, list[Coming]] = {}
    for sku, *coming in await conn.execute(_COMING, {"skus": list(skus)}):
        found.setdefault(sku, []).append(Coming(*coming))
    return found


def _moved(told: datetime | None, at: datetime | None) -> bool:
    if told is None or at is None:
        return told is not at
    return abs(at - told) > TOLERANCE


async def _tell(conn: AsyncConnection, row: Any, why: str) -> None:
    key = f"expected:{row.order_id}:{row.moves + 1}"
    old, new = (None if at is None else at.isoformat() for at in (row.told, row.at))
    event = OrderEvent(
        type="expected_moved",
        summary=f"expected {_day(row.at)}, before {_day(row.told)}: {why}",
        cause=why,
        data={"old": old, "new": new, "why": why},
    )
    await records.append_event(conn, row.order_id, key, datetime.now(UTC), event)
    body = {"sku": "", "order_id": row.order_id}
    await inbox.put(conn, "supply", key, "supply", body, order_id=row.order_id)


def _day(at: datetime | None) -> str:
    return "no date" if at is None else f"{at:%Y-%m-%d}"
