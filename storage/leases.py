"""
Rows that wait to be worked on: the inbox and the outbox.

A claimed row is leased; whoever does not finish it in time loses it to the next. Within a lane rows
come in order: none is handed out while an earlier one is leased elsewhere or waits for its retry.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Table, and_, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value


class Waiting(Value):
    """Rows not yet done. `oldest` is when the first of them came; `dead` were given up."""

    count: int
    oldest: datetime | None
    dead: int


async def claim(
    conn: AsyncConnection, table: Table, lane: Sequence[str], limit: int, lease_seconds: float
) -> Sequence[Row[Any]]:
    """Up to `limit` rows that are due, oldest first, leased to the caller."""
    # One claimer at a time, so that none passes over a row that another is just about to lease.
    await conn.execute(
        text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"claim {table.name}"}
    )
    earlier = table.alias("earlier")
    blocked = exists().where(
        and_(*(earlier.c[name] == table.c[name] for name in lane)),
        earlier.c.id < table.c.id,
        earlier.c.done_at.is_(None),
        earlier.c.dead_at.is_(None),
        or_(earlier.c.claimed_until > func.now(), earlier.c.due_at > func.now()),
    )
    due = (
        select(table.c.id)
        .where(
            table.c.done_at.is_(None),
            table.c.dead_at.is_(None),
            table.c.due_at <= func.now(),
            or_(table.c.claimed_until.is_(None), table.c.claimed_until <= func.now()),
            ~blocked,
        )
        .order_by(table.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = await conn.execute(
        update(table)
        .where(table.c.id.in_(due))
        .values(
            claimed_until=func.now() + timedelta(seconds=lease_seconds),
            attempts=table.c.attempts + 1,
        )
        .returning(table)
    )
    return sorted(rows.all(), key=lambda row: int(row.id))


async def done(conn: AsyncConnection, table: Table, ids: Collection[int], note: str) -> None:
    if ids:
        await conn.execute(
            update(table)
            .where(table.c.id.in_(ids))
            .values(done_at=func.now(), claimed_until=None, error="", note=note)
        )


async def failed(  # noqa: PLR0913, PLR0917 - one row's columns
    conn: AsyncConnection,
    table: Table,
    row_id: int,
    error: str,
    retry_at: datetime | None,
    attempts: int | None,
) -> None:
    """
    Try again at `retry_at`; None gives the row up: it stays to be seen, and blocks nothing.
    `attempts`, where given, are those that count.
    """
    after: dict[str, Any] = {"dead_at": func.now()} if retry_at is None else {"due_at": retry_at}
    if attempts is not None:
        after["attempts"] = attempts
    await conn.execute(
        update(table).where(table.c.id == row_id).values(**after, claimed_until=None, error=error)
    )


async def released(conn: AsyncConnection, table: Table, ids: Collection[int]) -> None:
    """Rows that were claimed and not tried: anybody may have them, and nothing was attempted."""
    await conn.execute(
        update(table)
        .where(table.c.id.in_(ids), table.c.done_at.is_(None))
        .values(claimed_until=None, attempts=func.greatest(table.c.attempts - 1, 0))
    )


async def waiting(conn: AsyncConnection, table: Table, since: str) -> Waiting:
    is_open = and_(table.c.done_at.is_(None), table.c.dead_at.is_(None))
    row = (
        await conn.execute(
            select(
                func.count().filter(is_open).label("count"),
                func.min(table.c[since]).filter(is_open).label("oldest"),
                func.count(table.c.dead_at).label("dead"),
            ).where(table.c.done_at.is_(None))
        )
    ).mappings()
    return Waiting.model_validate(dict(row.one()))
