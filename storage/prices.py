"""Books of shadow prices: kept as they were fitted, one of them at work at most, and told of."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.sourcing.books import Book
from domain.sourcing.evidence import Evidence
from domain.sourcing.prices import Prices
from domain.values import Value
from storage.tables import price_books, price_log

Action = Literal["activated", "none", "off", "on"]

# Whoever writes the history first sees how it stands, and nobody else writes meanwhile.
_LOCK: Final = text("LOCK TABLE price_log IN SHARE ROW EXCLUSIVE MODE")
_TOLD: Final = ("version", "method", "unpriced", "decisions", "evidence", "made_at")
_MOST_READ: Final = 4
_read: dict[str, Book] = {}


class Kept(Value):
    """A book without its prices. It came of so many `decisions`, and was chosen by `evidence`."""

    version: str
    method: str
    unpriced: float
    decisions: int
    evidence: Evidence
    made_at: datetime


class Entry(Value):
    """What became of prices: a book `activated`, `none` that pays, `off` or `on`, by whom."""

    id: int
    action: Action
    version: str | None
    note: str
    actor: str
    at: datetime


class State(Value):
    """
    How it stands. Where it is `on`, `version` is the book at work, or None that pays; `last` says
    why and by whom. `priced_since`: from then on some book has been at work without a break.
    """

    on: bool
    version: str | None
    priced_since: datetime | None
    last: Entry | None


async def state(conn: AsyncConnection) -> State:
    c = price_log.c
    row = (await conn.execute(select(price_log).order_by(c.id.desc()).limit(1))).mappings().first()
    if row is None:
        return State(on=True, version=None, priced_since=None, last=None)
    last = Entry.model_validate(dict(row))
    pause = select(func.coalesce(func.max(c.id), 0)).where(c.version.is_(None)).scalar_subquery()
    since = (await conn.execute(select(func.min(c.at)).where(c.id > pause))).scalar()
    return State(on=last.action != "off", version=last.version, priced_since=since, last=last)


async def keep(
    conn: AsyncConnection, prices: Prices, unpriced: float, decisions: int, evidence: Evidence
) -> str:
    """Its version. The same prices are kept once."""
    row = {
        "version": prices.version,
        "method": prices.method,
        "unpriced": unpriced,
        "decisions": decisions,
        "evidence": evidence,
        "packed": prices.packed(),
    }
    await conn.execute(upsert(price_books).values(row).on_conflict_do_nothing())
    return prices.version


async def settle(conn: AsyncConnection, version: str | None, actor: str, note: str) -> bool:
    """Have this book hold from the next decision on, or none; not where prices are off."""
    await conn.execute(_LOCK)
    now = await state(conn)
    if not now.on:
        return False
    action: Action = "activated" if version else "none"
    if now.last is None or (now.last.action, now.version) != (action, version):
        await _log(conn, action, version, actor, note)
    return True


async def off(conn: AsyncConnection, actor: str, note: str = "") -> State:
    """No prices from the next decision on, until they are turned on. Again, it changes nothing."""
    await conn.execute(_LOCK)
    now = await state(conn)
    if now.on:
        await _log(conn, "off", None, actor, note)
    return await state(conn)


async def on(
    conn: AsyncConnection, actor: str, version: str | None = None, note: str = ""
) -> State:
    """
    Have this book hold; without a version, where prices are off, the one that held last, if any.
    From then on the job may replace it. Raises NotFound.
    """
    await conn.execute(_LOCK)
    now = await state(conn)
    if version is None:
        if now.on:
            return now
        c = price_log.c
        held = select(c.version).where(c.version.is_not(None)).order_by(c.id.desc()).limit(1)
        version = (await conn.execute(held)).scalar()
    else:
        version = (await get(conn, version)).version
    if not now.on or now.version != version:
        await _log(conn, "on", version, actor, note)
    return await state(conn)


async def get(conn: AsyncConnection, version: str) -> Kept:
    """The book whose version begins so, of which there must be one. Raises NotFound."""
    c = price_books.c
    begins = c.version.startswith(version, autoescape=True)
    query = select(*(c[told] for told in _TOLD)).where(begins).limit(2)
    found = (await conn.execute(query)).mappings().all()
    if len(found) != 1:
        raise NotFound(f"there is no one book of prices {version}")
    return Kept.model_validate(dict(found[0]))


async def listed(conn: AsyncConnection, *, limit: int = 100) -> tuple[Kept, ...]:
    """The newest first."""
    c = price_books.c
    query = select(*(c[told] for told in _TOLD)).order_by(c.made_at.desc(), c.version).limit(limit)
    rows = await conn.execute(query)
    return tuple(Kept.model_validate(dict(row)) for row in rows.mappings())


async def history(conn: AsyncConnection, *, limit: int = 100) -> tuple[Entry, ...]:
    """The newest first."""
    rows = await conn.execute(select(price_log).order_by(price_log.c.id.desc()).limit(limit))
    return tuple(Entry.model_validate(dict(row)) for row in rows.mappings())


async def book(conn: AsyncConnection, version: str) -> Book:
    """Ready for use. What was read once is not read again: books do not change."""
    if (known := _read.get(version)) is not None:
        return known
    c = price_books.c
    query = select(c.packed, c.unpriced).where(c.version == version)
    row = (await conn.execute(query)).one()
    while len(_read) >= _MOST_READ:
        _read.pop(next(iter(_read)))
    made = _read[version] = Book(Prices.unpacked(bytes(row.packed)), row.unpriced)
    return made


async def of_stock(
    conn: AsyncConnection,
    version: str,
    stock: Mapping[str, Mapping[str, int]],
    skus: Collection[str],
) -> dict[str, dict[str, int]]:
    """By node and SKU what a unit of these is worth where there is some, by this book."""
    there = {
        node: {sku: shelf[sku] for sku in skus if sku in shelf} for node, shelf in stock.items()
    }
    return (await book(conn, version)).of(there)


_STOCKED: Final = text("""
SELECT s.sku, array_agg(s.node ORDER BY s.node) AS nodes
FROM stock AS s JOIN nodes AS n ON n.code = s.node LEFT JOIN products AS p ON p.sku = s.sku
WHERE s.sku = ANY(:skus)
  AND n.body->'handling_classes' ? coalesce(p.body->>'handling_class', 'standard')
GROUP BY s.sku
""")


async def stocked(conn: AsyncConnection, skus: Collection[str]) -> dict[str, frozenset[str]]:
    """By SKU the nodes that have had it at all, and handle such goods; whether there is some now
    or not."""
    rows = await conn.execute(_STOCKED, {"skus": list(skus)})
    return {row.sku: frozenset(row.nodes) for row in rows}


async def _log(
    conn: AsyncConnection, action: Action, version: str | None, actor: str, note: str
) -> None:
    row = {"action": action, "version": version, "actor": actor, "note": note}
    await conn.execute(insert(price_log).values(row))
