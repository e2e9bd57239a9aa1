"""The movements of units, as people look them up."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage.tables import movements


class Movement(Value):
    """
    One change, and what it left. `reserved_delta` is a promise of the network, and has no node.

    `stated_by` names the count, feed or file whose statement made the difference; `shortage` are
    units that stay on hand, or go, because fewer are there than are allocated. Null: units moved.
    """

    id: int
    at: datetime
    sku: str
    node: str | None
    on_hand_delta: int
    allocated_delta: int
    reserved_delta: int
    on_hand_before: int | None
    on_hand_after: int | None
    allocated_before: int | None
    allocated_after: int | None
    cause: str
    actor: str
    key: str
    order_id: str | None
    stated_by: str | None


async def movements_of(
    conn: AsyncConnection,
    sku: str,
    nodes: Sequence[str] | None,
    *,
    before: int | None = None,
    limit: int = 100,
) -> tuple[Movement, ...]:
    """The newest first; `before` is the id that the page before ended with."""
    query = select(movements).where(movements.c.sku == sku)
    if nodes is not None:
        query = query.where(movements.c.node.in_(nodes))
    if before is not None:
        query = query.where(movements.c.id < before)
    rows = await conn.execute(query.order_by(movements.c.id.desc()).limit(limit))
    return tuple(Movement.model_validate(dict(row)) for row in rows.mappings())
