"""Watches over stock, and the events that tell once when a SKU falls low and when it is back."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from sqlalchemy import Row, any_, delete, func, insert, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.availability import NOTHING, Outlets, Position, crossed, spared, to_sell
from domain.network import Kit
from domain.orders import DeliveryMethod
from domain.values import Value
from storage import availability, kits, stock_rules
from storage.stock_feed import Changes
from storage.tables import stock_events, stock_watches

_EMIT_LOCK: Final = 7_217_003  # events get their ids one after the other
_AT_ONCE: Final = 1000


class Watch(Value):
    """
    A SKU over the whole network, as a channel without rules of its own may have it shipped, or,
    with `node`, what that node can spare.
    """

    sku: Annotated[str, Field(min_length=1, max_length=128)]
    node: Annotated[str, Field(max_length=32)] = ""
    low: Annotated[int, Field(ge=0, le=10**9)]
    high: Annotated[int, Field(ge=0, le=10**9)]


class KeptWatch(Watch):
    state: Literal["ok", "low"]
    actor: str
    at: datetime


class StockEvent(Value):
    """What a watch saw: `low_stock` at `low` units or fewer, `back_in_stock` above `high`."""

    id: int
    type: Literal["low_stock", "back_in_stock"]
    sku: str
    node: str
    units: int
    low: int
    high: int
    at: datetime


async def put(conn: AsyncConnection, watches: Sequence[Watch], actor: str) -> None:
    """Watch these, each in place of one on the same; a known one keeps its state."""
    rows = {(w.sku, w.node): {**w.model_dump(), "actor": actor} for w in watches}
    if not rows:
        return
    await stock_rules.check_nodes(
        conn, {f"watches.{n}.node": watch.node for n, watch in enumerate(watches)}
    )
    await _one_at_a_time(conn)
    statement = upsert(stock_watches)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["sku", "node"],
            set_={n: statement.excluded[n] for n in ("low", "high", "actor")} | {"at": func.now()},
        ),
        [rows[key] for key in sorted(rows)],
    )


async def remove(conn: AsyncConnection, watches: Collection[tuple[str, str]]) -> int:
    """Watch these (SKU, node) no more. How many were."""
    await _one_at_a_time(conn)
    key = tuple_(stock_watches.c.sku, stock_watches.c.node)
    return (await conn.execute(delete(stock_watches).where(key.in_(list(watches))))).rowcount


async def listed(
    conn: AsyncConnection,
    *,
    sku: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int = 100,
) -> tuple[KeptWatch, ...]:
    key = (stock_watches.c.sku, stock_watches.c.node)
    query = select(stock_watches)
    if sku is not None:
        query = query.where(stock_watches.c.sku == sku)
    if after is not None:
        query = query.where(tuple_(*key) > tuple_(*after))
    rows = await conn.execute(query.order_by(*key).limit(limit))
    return tuple(KeptWatch.model_validate(dict(row)) for row in rows.mappings())


async def events(
    conn: AsyncConnection, *, after: int = 0, limit: int = 100
) -> tuple[StockEvent, ...]:
    """What happened after this event, oldest first."""
    query = select(stock_events).where(stock_events.c.id > after)
    rows = await conn.execute(query.order_by(stock_events.c.id).limit(limit))
    return tuple(StockEvent.model_validate(dict(row)) for row in rows.mappings())


async def watched(conn: AsyncConnection, changes: Changes) -> list[str]:
    """The watched SKUs that these changes may concern."""
    query = select(stock_watches.c.sku).distinct().order_by(stock_watches.c.sku)
    if not changes.everything:
        changed = changes.skus()
        skus = sorted(changed | await kits.containing(conn, changed))
        query = query.where(stock_watches.c.sku == any_(literal(skus)))
    return list((await conn.execute(query)).scalars())


async def look(conn: AsyncConnection, skus: Sequence[str]) -> int:
    """
    Compare what is there with the watches on these SKUs, and tell of each that changed its state.

    How many events. Whoever looks at the same time waits, and finds the state changed.
    """
    await _one_at_a_time(conn)
    told = 0
    for start in range(0, len(skus), _AT_ONCE):
        told += await _look(conn, skus[start : start + _AT_ONCE])
    return told


async def _one_at_a_time(conn: AsyncConnection) -> None:
    """Taken before any watch is locked, by all who may tell of one."""
    await conn.execute(text(f"SELECT pg_advisory_xact_lock({_EMIT_LOCK})"))


async def _look(conn: AsyncConnection, skus: Sequence[str]) -> int:
    query = select(stock_watches).where(stock_watches.c.sku == any_(literal(list(skus))))
    order = (stock_watches.c.sku, stock_watches.c.node)
    watches = (await conn.execute(query.order_by(*order))).all()
    made_of = await kits.recipes(conn, skus)
    parts = {c.sku for kit in made_of.values() for c in kit.components}
    known = await stock_rules.known(conn, {*skus, *parts})
    outlets = Outlets(await availability.outlets(conn), known.visibility())
    positions = await availability.positions(conn, outlets, known, {*skus, *parts})
    told = []
    for watch in watches:
        kit = made_of.get(watch.sku)
        units = (
            _kits(outlets, positions, kit, watch.node)
            if kit
            else _units(outlets, positions.get(watch.sku, NOTHING), watch.node)
        )
        if crossed(watch.state, units, watch.low, watch.high):
            told.append({**_about(watch), "units": units, "type": _TYPES[watch.state]})
    for event in told:
        await conn.execute(
            update(stock_watches)
            .where(stock_watches.c.sku == event["sku"], stock_watches.c.node == event["node"])
            .values(state="low" if event["type"] == "low_stock" else "ok")
        )
    if told:
        await conn.execute(insert(stock_events), told)
    return len(told)


_TYPES: Final = {"ok": "low_stock", "low": "back_in_stock"}


def _about(watch: Row[Any]) -> dict[str, str | int]:
    return {"sku": watch.sku, "node": watch.node, "low": watch.low, "high": watch.high}


def _units(outlets: Outlets, here: Position, node: str) -> int:
    if not node:
        return to_sell(outlets, here, "", DeliveryMethod.SHIP)
    both = [spared(outlets, here, "", method) for method in DeliveryMethod]
    at = outlets.index.get(node, -1)
    return max(int(units[here.nodes == at].sum()) for units in both)


def _kits(outlets: Outlets, positions: Mapping[str, Position], kit: Kit, node: str) -> int:
    """The same of a kit: as many as every component allows."""
    if not node:
        return availability.offer_of(outlets, positions, kit, "", DeliveryMethod.SHIP).units
    return min(
        _units(outlets, positions.get(c.sku, NOTHING), node) // c.quantity for c in kit.components
    )
