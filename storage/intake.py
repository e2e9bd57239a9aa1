"""The log of what channels sent us: what each document led to, and why."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import ColumnElement, and_, case, false, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Invalid
from domain.values import Value
from storage.reads import Page
from storage.tables import FROM_CHANNELS, inbox

Outcome = Literal[
    "accepted",
    "held",
    "backordered",
    "refused",
    "duplicate",
    "known",
    "cancelled",
    "declined",
    "invalid",
    "pending",
    "failing",
    "given_up",
]
_OF_DECLINED: Final = frozenset({"declined", "known"})


class IntakeEntry(Value):
    """
    One document of a channel.

    `outcome` is what it led to when it was taken up: the order was `accepted`, `held`,
    `backordered` or `refused`; the same document had come before (`duplicate`); the order was
    `known` and went on as it was; it was `cancelled`; it is not ours to fulfill (`declined`, with
    its code); it could not be read (`invalid`). Until then it is `pending`, or `failing` while it
    is tried again after `attempts`; `given_up` waits for a person. `detail` says why.
    """

    id: int
    channel: str
    topic: str
    delivery_id: str
    order_id: str | None
    received_at: datetime
    done_at: datetime | None
    attempts: int
    outcome: Outcome
    code: str
    detail: str


async def log(  # noqa: PLR0913 - the filters of a search
    conn: AsyncConnection,
    *,
    channel: str | None = None,
    outcome: Outcome | None = None,
    q: str | None = None,
    channels: Collection[str] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[IntakeEntry]:
    """
    What came in, newest first. `q` is an order id, a channel's order id or a delivery id;
    `channels` are those that the asker may see. Raises Invalid(cursor).
    """
    wanted: list[ColumnElement[bool]] = [text(FROM_CHANNELS)]  # type: ignore[list-item]
    if channel is not None:
        wanted.append(_sent_by == channel)
    if channels is not None:
        wanted.append(_sent_by.in_(channels) if channels else false())
    if outcome is not None:
        wanted.append(_led_to == outcome)
    if q:
        wanted.append(_mentions(q.replace("\0", "").strip()))
    if cursor is not None:
        wanted.append(inbox.c.id < _position(cursor))
    query = select(*_COLUMNS).where(*wanted).order_by(inbox.c.id.desc()).limit(limit + 1)
    rows = (await conn.execute(query)).mappings().all()
    items = tuple(_entry(dict(row)) for row in rows[:limit])
    return Page(items=items, next=str(items[-1].id) if len(rows) > limit else None)


async def declined(conn: AsyncConnection, order_id: str, code: str = "") -> IntakeEntry | None:
    """The newest document of this order that was declined, with this code where one is given."""
    query = (
        select(*_COLUMNS)
        .where(
            text(FROM_CHANNELS),
            inbox.c.order_id == order_id,
            inbox.c.note.startswith(f"declined: {code}", autoescape=True),
        )
        .order_by(inbox.c.id.desc())
        .limit(1)
    )
    row = (await conn.execute(query)).mappings().first()
    return _entry(dict(row)) if row else None


_sent_by: Final = inbox.c.body["channel"].astext
_led_to: Final = case(
    (inbox.c.done_at.is_not(None), func.split_part(inbox.c.note, ":", 1)),
    (inbox.c.dead_at.is_not(None), "given_up"),
    (inbox.c.error != "", "failing"),
    else_="pending",
)
_COLUMNS: Final = (
    inbox.c.id,
    _sent_by.label("channel"),
    func.coalesce(inbox.c.body["topic"].astext, "").label("topic"),
    inbox.c.delivery_id,
    inbox.c.order_id,
    inbox.c.received_at,
    inbox.c.done_at,
    inbox.c.attempts,
    _led_to.label("outcome"),
    inbox.c.note,
    inbox.c.error,
)


def _mentions(q: str) -> ColumnElement[bool]:
    """The channel's own order id is what follows the channel's code in ours."""
    of_channel = and_(
        inbox.c.order_id.endswith(f"-{q}", autoescape=True),
        inbox.c.order_id == _sent_by + "-" + q,
    )
    return or_(inbox.c.order_id == q, inbox.c.delivery_id == q, of_channel)


def _entry(row: dict[str, object]) -> IntakeEntry:
    note, error = str(row.pop("note")), str(row.pop("error"))
    said = note.partition(": ")[2] if row["done_at"] else error
    code = ""
    if row["outcome"] in _OF_DECLINED and ": " in said:
        code, _, said = said.partition(": ")
    return IntakeEntry.model_validate({**row, "code": code, "detail": said})


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):  # noqa: PLR2004 - bigint
        raise Invalid("cursor: use the `next` of a page as it was given")
    return int(cursor)
