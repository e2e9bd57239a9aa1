"""Reservations as the clients see them that made them under their own keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.orders import reservation_id
from domain.values import Value
from storage.reads import Page

State = Literal["held", "committed", "fulfilled", "released", "expired"]


class ReservedLine(Value):
    """`quantity` is held now; `missing` could not be taken when it was made."""

    line_id: str
    sku: str
    quantity: int
    missing: int = 0


class Reserved(Value):
    """
    `held` runs out at `expires_at`; `committed` is an order's and does not. It ends `fulfilled`,
    `expired` or `released`, with an `order_id` where that order has taken over its units.
    """

    channel: str
    key: str
    state: State
    node: str | None
    order_id: str | None
    expires_at: datetime | None
    made_at: datetime
    lines: tuple[ReservedLine, ...]


_RESERVED: Final = """
SELECT q.id, r.state, r.node, r.order_id, r.at AS made_at, r.reservation_id,
  CASE WHEN r.state = 'held' THEN r.expires_at END AS expires_at,
  coalesce((SELECT jsonb_agg(jsonb_build_object('line_id', line_id, 'sku', sku,
      'quantity', quantity, 'missing', missing) ORDER BY line_id)
    FROM reservation_lines AS l WHERE l.reservation_id = r.reservation_id), '[]') AS lines
FROM reservations AS r
"""
_ONE: Final = text(f"""{_RESERVED}
LEFT JOIN reservation_requests AS q USING (reservation_id) WHERE r.reservation_id = :id""")
_OF_CHANNEL: Final = text(f"""{_RESERVED}
JOIN reservation_requests AS q USING (reservation_id)
WHERE q.channel = :channel AND q.id < :before
  AND (CAST(:state AS text) IS NULL OR r.state = :state)
ORDER BY q.id DESC LIMIT :limit""")
_NEWEST: Final = 2**62


async def find(conn: AsyncConnection, channel: str, key: str) -> Reserved | None:
    """What stands under the channel's key: also that it was released before it was made."""
    row = (await conn.execute(_ONE, {"id": reservation_id(channel, key)})).mappings().first()
    return _reserved(channel, row) if row else None


async def of_channel(
    conn: AsyncConnection,
    channel: str,
    *,
    state: State | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Page[Reserved]:
    """What the channel's clients made, the newest first. `next` is the `before` of more."""
    asked = {"channel": channel, "state": state, "before": before or _NEWEST, "limit": limit + 1}
    rows: Sequence[Any] = (await conn.execute(_OF_CHANNEL, asked)).mappings().all()
    items = tuple(_reserved(channel, row) for row in rows[:limit])
    return Page(items=items, next=str(rows[limit - 1]["id"]) if len(rows) > limit else None)


def _reserved(channel: str, row: Any) -> Reserved:
    said = {**row, "channel": channel, "key": row["reservation_id"].removeprefix(f"{channel}/")}
    return Reserved.model_validate(said)
