"""What people look up: searches in pages, the story of an order, and all of it on one card."""

import base64
import binascii
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Select, false, func, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Invalid
from domain.fulfillments import Fulfillment, FulfillmentStatus
from domain.orders import Order, OrderStatus
from domain.records import OrderState
from domain.sourcing.problem import Decision
from domain.values import Value
from storage import decisions
from storage.shortages import AFFECTED
from storage.tables import fulfillments, order_events, orders

Item = TypeVar("Item")
_WHOLE_STORY: Final = 2000  # events: what went wrong is looked for in all of them
_POSITION = TypeAdapter(tuple[datetime, str])


class Page(Value, Generic[Item]):
    """`next` is the cursor of the page after this one; None on the last."""

    items: tuple[Item, ...]
    next: str | None = None


class OrderSummary(Value):
    """One row of a search. `attention` are the codes of what waits for a person."""

    order_id: str
    channel: str
    channel_order_id: str
    status: OrderStatus
    reason: str
    attention: tuple[str, ...]
    nodes: tuple[str, ...]
    name: str
    email: str
    currency: str
    total_minor: int
    promise_by: datetime | None
    placed_at: datetime
    accepted_at: datetime
    updated_at: datetime


class TimelineEvent(Value):
    """One fact of an order's story; `seq` says where in it."""

    seq: int
    at: datetime
    type: str
    summary: str
    actor: str
    cause: str
    fulfillment_id: str
    data: dict[str, Any]


class OrderCard(Value):
    """All that we hold of an order; `events` are its newest, oldest first."""

    order: Order
    state: OrderState
    fulfillments: tuple[Fulfillment, ...]
    decisions: tuple[Decision, ...]
    events: tuple[TimelineEvent, ...]
    accepted_at: datetime
    updated_at: datetime


class OrderProgress(Value):
    """
    How far an order is. `packages` are fulfillments that shipped, `requests` their talk with nodes.

    `disturbed` says that it waited for a person or for stock.
    """

    order_id: str
    status: OrderStatus
    terminal: bool
    promise_by: datetime | None
    updated_at: datetime
    planned_at: datetime | None
    shipped_at: datetime | None
    packages: int
    fulfillments: int
    cost_minor: int
    requests: tuple[str, ...] | None
    disturbed: bool


# Found with what waits for people, though the order itself goes on: its units are not there.
STOCK_SHORT: Final = "stock_short"
_SHORT: Final = f"orders.order_id IN (SELECT order_id FROM ({AFFECTED}) AS a)"  # noqa: S608 - constant


async def find_orders(  # noqa: PLR0913 - the filters of a search
    conn: AsyncConnection,
    *,
    status: str | None = None,
    channel: str | None = None,
    node: str | None = None,
    attention: str | None = None,
    q: str | None = None,
    channels: Collection[str] | None = None,
    nodes: Collection[str] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[OrderSummary]:
    """
    Orders, newest first. `q` is an order id, a channel's order id, an e-mail, a postal code,
    or how a name begins. `attention` is a code, empty any; `stock_short` has units allocated that
    are not on their shelf. `channels` and `nodes` are what the asker may see. Raises
    Invalid(cursor).
    """
    o = orders.c
    wanted: list[ColumnElement[bool]] = []
    if status is not None:
        wanted.append(o.status == status)
    if channel is not None:
        wanted.append(o.channel == channel)
    if node is not None:
        wanted.append(o.nodes.contains([node]))
    if attention is not None:
        any_of = func.cardinality(o.attention) > 0
        waits = o.attention.contains([attention]) if attention else any_of
        wanted.append(or_(waits, text(_SHORT)) if attention in {"", STOCK_SHORT} else waits)
    if q:
        wanted.append(_mentions(q))
    if channels is not None:
        wanted.append(o.channel.in_(channels) if channels else false())
    if nodes is not None:
        wanted.append(o.nodes.overlap(list(nodes)) if nodes else false())
    if cursor is not None:
        wanted.append(tuple_(o.accepted_at, o.order_id) < tuple_(*_position(cursor)))
    listed = [o[name] for name in OrderSummary.model_fields]
    query = select(*listed).where(*wanted).order_by(o.accepted_at.desc(), o.order_id.desc())
    rows = (await conn.execute(query.limit(limit + 1))).mappings().all()
    items = tuple(OrderSummary.model_validate(dict(row)) for row in rows[:limit])
    more = _cursor(items[-1].accepted_at, items[-1].order_id) if len(rows) > limit else None
    return Page(items=items, next=more)


async def find_fulfillments(  # noqa: PLR0913 - the filters of a search
    conn: AsyncConnection,
    *,
    status: FulfillmentStatus | None = None,
    nodes: Collection[str] | None = None,
    channels: Collection[str] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Fulfillment]:
    """Fulfillments, the first to be shipped first. Raises Invalid(cursor)."""
    f = fulfillments.c
    query = select(f.body)
    if status is not None:
        query = query.where(f.status == status.value)
    if nodes is not None:
        query = query.where(f.node.in_(nodes))
    if channels is not None:
        query = query.join(orders).where(orders.c.channel.in_(channels))
    if cursor is not None:
        query = query.where(tuple_(f.ship_by, f.fulfillment_id) > tuple_(*_position(cursor)))
    rows = await conn.execute(query.order_by(f.ship_by, f.fulfillment_id).limit(limit + 1))
    found = [Fulfillment.model_validate(body) for body in rows.scalars()]
    items = tuple(found[:limit])
    more = _cursor(items[-1].ship_by, items[-1].fulfillment_id) if len(found) > limit else None
    return Page(items=items, next=more)


async def timeline(
    conn: AsyncConnection, order_id: str, *, after: int = 0, limit: int = 100
) -> tuple[TimelineEvent, ...]:
    """The story from after event `after` on, oldest first."""
    query = _story(order_id).where(order_events.c.id > after).order_by(order_events.c.id)
    return await _events(conn, query.limit(limit))


async def latest(
    conn: AsyncConnection, order_id: str, *, limit: int = 50
) -> tuple[TimelineEvent, ...]:
    """The end of the story, oldest first."""
    newest = await _events(conn, _story(order_id).order_by(order_events.c.id.desc()).limit(limit))
    return newest[::-1]


async def order_card(conn: AsyncConnection, order_id: str) -> OrderCard | None:
    o = orders.c
    query = select(o.body, o.state, o.accepted_at, o.updated_at).where(o.order_id == order_id)
    row = (await conn.execute(query)).first()
    if row is None:
        return None
    f = fulfillments.c
    shares = await conn.execute(
        select(f.body).where(f.order_id == order_id).order_by(f.created_at, f.fulfillment_id)
    )
    return OrderCard(
        order=Order.model_validate(row.body),
        state=OrderState.model_validate(row.state),
        fulfillments=tuple(Fulfillment.model_validate(body) for body in shares.scalars()),
        decisions=await decisions.of_order(conn, order_id),
        events=await latest(conn, order_id, limit=_WHOLE_STORY),
        accepted_at=row.accepted_at,
        updated_at=row.updated_at,
    )


async def progress(conn: AsyncConnection, order_ids: Collection[str]) -> tuple[OrderProgress, ...]:
    """How far these orders are; those that are not known yet are left out."""
    query = text("""
        SELECT o.order_id, o.status, o.terminal_at IS NOT NULL AS terminal,
          o.promise_by, o.updated_at,
          (SELECT min(at) FROM order_events e WHERE e.order_id = o.order_id
             AND e.type = 'allocated') AS planned_at,
          (SELECT min(at) FROM order_events e WHERE e.order_id = o.order_id
             AND e.type IN ('shipped', 'partly_shipped', 'short_shipped', 'collected'))
             AS shipped_at,
          (SELECT count(*) FROM fulfillments f WHERE f.order_id = o.order_id
             AND coalesce(f.body -> 'shipped', '{}') <> '{}') AS packages,
          (SELECT count(*) FROM fulfillments f WHERE f.order_id = o.order_id) AS fulfillments,
          (SELECT coalesce(sum(cost_minor), 0) FROM fulfillments f WHERE f.order_id = o.order_id
             AND f.status <> 'cancelled') AS cost_minor,
          (SELECT array_agg(request ORDER BY fulfillment_id) FROM fulfillments f
             WHERE f.order_id = o.order_id) AS requests,
          EXISTS (SELECT FROM order_events e WHERE e.order_id = o.order_id
             AND (e.type IN ('attention', 'held', 'backordered')
               OR e.type LIKE 'request_cancel%')) AS disturbed
        FROM orders o WHERE o.order_id = ANY(:ids)""")
    rows = (await conn.execute(query, {"ids": sorted(order_ids)})).mappings()
    return tuple(OrderProgress.model_validate(dict(row)) for row in rows)


def _mentions(q: str) -> ColumnElement[bool]:
    o = orders.c
    words = q.replace("\0", "").strip()
    return or_(
        o.order_id == words,
        o.channel_order_id == words,
        o.postal_code == words,
        func.lower(o.email) == words.lower(),
        func.lower(o.name).startswith(words.lower(), autoescape=True),
    )


def _story(order_id: str) -> Select[Any]:
    e = order_events.c
    told = (e.at, e.type, e.summary, e.actor, e.cause, e.fulfillment_id, e.data)
    return select(e.id.label("seq"), *told).where(e.order_id == order_id)


async def _events(conn: AsyncConnection, query: Select[Any]) -> tuple[TimelineEvent, ...]:
    rows = await conn.execute(query)
    return tuple(TimelineEvent.model_validate(dict(row)) for row in rows.mappings())


def _cursor(at: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(_POSITION.dump_json((at, row_id))).decode()


def _position(cursor: str) -> Sequence[Any]:
    try:
        position = _POSITION.validate_json(base64.urlsafe_b64decode(cursor))
    except (ValidationError, binascii.Error, ValueError) as error:
        raise Invalid("cursor: use the `next` of a page as it was given") from error
    if "\0" in position[1]:
        raise Invalid("cursor: use the `next` of a page as it was given")
    return position
