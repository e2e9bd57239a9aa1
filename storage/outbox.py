"""What must leave the house, kept until its receiver took it. `records.apply` puts it here."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage import leases
from storage.leases import Waiting
from storage.tables import outbox


class OutboxItem(Value):
    """A message (`records.Message`) of an order, with its tries so far, this one included."""

    id: int
    key: str
    kind: str
    order_id: str
    body: dict[str, Any]
    created_at: datetime
    attempts: int


async def claim(
    conn: AsyncConnection, limit: int = 100, lease_seconds: float = 60
) -> tuple[OutboxItem, ...]:
    """Messages that are due, oldest first, an order's of one kind in order; leased."""
    rows = await leases.claim(conn, outbox, ("order_id", "kind"), limit, lease_seconds)
    return tuple(OutboxItem.model_validate(dict(row._mapping)) for row in rows)  # noqa: SLF001


async def done(conn: AsyncConnection, item_id: int, note: str = "") -> OutboxItem | None:
    """The message has left. Answers it."""
    await leases.done(conn, outbox, [item_id], note)
    query = select(outbox).where(outbox.c.id == item_id)
    row = (await conn.execute(query)).mappings().first()
    return OutboxItem.model_validate(dict(row)) if row else None


async def failed(
    conn: AsyncConnection,
    item_id: int,
    error: str,
    retry_at: datetime | None,
    attempts: int | None = None,
) -> None:
    """Try again at `retry_at`; None gives the message up, which the auditor reports."""
    await leases.failed(conn, outbox, item_id, error, retry_at, attempts)


async def released(conn: AsyncConnection, ids: Collection[int]) -> None:
    """Claimed and not tried: as if it had not been claimed."""
    await leases.released(conn, outbox, ids)


async def told_before(conn: AsyncConnection, item: OutboxItem) -> tuple[OutboxItem, ...]:
    """The messages of the same order and kind that their receiver took before this one."""
    o = outbox.c
    query = select(outbox).where(
        o.order_id == item.order_id,
        o.kind == item.kind,
        o.id < item.id,
        o.done_at.is_not(None),
        ~o.note.startswith("refused"),
    )
    rows = await conn.execute(query.order_by(o.id))
    return tuple(OutboxItem.model_validate(dict(row)) for row in rows.mappings())


async def pending(conn: AsyncConnection) -> Waiting:
    return await leases.waiting(conn, outbox, "created_at")
