"""Passes that one worker makes for all, the auditor's and the fit of prices: claimed, and ended."""

from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage.tables import audit_passes

Kind = Literal["quick", "full", "prices"]
_LONGEST = timedelta(hours=1)


class Pass(Value):
    """The last of its kind. Without `ended_at` it is under way; `findings` are those left."""

    kind: Kind
    at: datetime
    ended_at: datetime | None
    findings: int | None


async def claim(conn: AsyncConnection, kind: Kind, seconds: float) -> bool:
    """
    Whether a pass is due and nobody else makes one of this kind: then it is the caller's.

    One that has not ended after an hour is taken for lost.
    """
    await conn.execute(
        upsert(audit_passes)
        .values(kind=kind, at=text("'-infinity'"), ended_at=text("'-infinity'"))
        .on_conflict_do_nothing()
    )
    p = audit_passes.c
    over = p.ended_at.is_not(None) | (p.at < func.now() - _LONGEST)
    due = p.at < func.now() - timedelta(seconds=seconds)
    query = update(audit_passes).where(p.kind == kind, over, due)
    began = await conn.execute(query.values(at=func.now(), ended_at=None, findings=None))
    return began.rowcount == 1


async def end(conn: AsyncConnection, kind: Kind, findings: int) -> None:
    query = update(audit_passes).where(audit_passes.c.kind == kind)
    await conn.execute(query.values(ended_at=func.clock_timestamp(), findings=findings))


async def last(conn: AsyncConnection) -> tuple[Pass, ...]:
    """The auditor's last pass of each kind that there was."""
    p = audit_passes.c
    query = select(audit_passes).where(p.at > text("'-infinity'"), p.kind != "prices")
    rows = await conn.execute(query.order_by(audit_passes.c.kind))
    return tuple(Pass.model_validate(dict(row)) for row in rows.mappings())
