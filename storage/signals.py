"""
What holds of a node until an instant and then ends by itself: a delay, fewer hands, no new work.

Sourcing and allocation obey a signal from its answer on. Units on sale stay on sale. `node_log`
keeps who said what.
"""

from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ColumnElement, ScalarSelect, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.values import Value
from storage.tables import node_log, node_signals, nodes

Kind = Literal["capacity_percent", "lead_hours", "offline_for_sourcing"]


class Signal(Value):
    """`value`: percent of the node's capacity, or hours that its work is delayed; else nothing."""

    kind: Kind
    value: int = 0
    until: datetime
    reason: str


_S: Final = node_signals.c
STANDS: Final[ColumnElement[bool]] = _S.until > func.now()
LEAD_HOURS: Final[ScalarSelect[int]] = (
    select(_S.value)
    .where(_S.node == nodes.c.code, _S.kind == "lead_hours", STANDS)
    .correlate(nodes)
    .scalar_subquery()
)


async def put(conn: AsyncConnection, node: str, signal: Signal, actor: str) -> None:
    """In place of the node's signal of the same kind. Raises NotFound."""
    await _lock(conn, node)
    row = {**signal.model_dump(), "node": node, "actor": actor}
    changed = {**row, "at": func.now()}
    await conn.execute(
        upsert(node_signals)
        .values(**row)
        .on_conflict_do_update(index_elements=["node", "kind"], set_=changed)
    )
    told = f"{signal.kind} {signal.value} until {signal.until.isoformat()}"
    await _log(conn, node, told, actor, signal.reason)


async def end(conn: AsyncConnection, node: str, kind: Kind, actor: str) -> bool:
    """Before its time; whether it stood. Raises NotFound for the node."""
    await _lock(conn, node)
    query = delete(node_signals).where(_S.node == node, _S.kind == kind).returning(STANDS)
    stood = (await conn.execute(query)).scalar()
    if stood:
        await _log(conn, node, f"{kind} ended", actor)
    return bool(stood)


async def standing(conn: AsyncConnection, node: str) -> tuple[Signal, ...]:
    """The signals that hold now."""
    query = select(node_signals).where(_S.node == node, STANDS).order_by(_S.kind)
    rows = await conn.execute(query)
    return tuple(Signal.model_validate(dict(row)) for row in rows.mappings())


async def _log(conn: AsyncConnection, node: str, told: str, actor: str, reason: str = "") -> None:
    row = {"node": node, "status": told, "actor": actor, "reason": reason}
    await conn.execute(insert(node_log), row)


async def _lock(conn: AsyncConnection, node: str) -> None:
    """Whoever allocates there ends first, or sees the change."""
    locked = select(nodes.c.code).where(nodes.c.code == node).with_for_update(key_share=True)
    if (await conn.execute(locked)).first() is None:
        raise NotFound(f"no node {node}")
