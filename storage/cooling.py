"""
Orders that cool down: they wait, so as to be sourced together with others of their profile.

A row is there from when an order's workflow asks until a batch has decided, or the order goes on
alone. It decides nothing by itself: the decision is in the record of decisions, once a round.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage import inbox
from storage.tables import cooling, orders

MOST_TOGETHER = 5000
_LEASE = timedelta(minutes=5)


class Cooling(Value):
    """An order that waits, and what was asked for it."""

    order_id: str
    round: int
    profile: str
    due_at: datetime
    request: dict[str, Any]


class Waiting(Value):
    """Orders of one profile that wait: since when the first does, and when a batch is due."""

    profile: str
    orders: int
    since: datetime
    due_at: datetime


async def enter(
    conn: AsyncConnection, profile: str, window: timedelta, request: Mapping[str, Any]
) -> datetime:
    """
    Have the order of the request wait; until when. Asked again in the same `round` it is the same
    instant.
    """
    order_id = request["order_id"]
    made = upsert(cooling).values(
        order_id=order_id,
        round=request["round"],
        profile=profile,
        due_at=func.now() + window,
        request=dict(request),
    )
    new = made.excluded
    kept = made.on_conflict_do_update(
        index_elements=["order_id"],
        set_={name: new[name] for name in ("round", "profile", "due_at", "request")}
        | {"claimed_until": None},
        where=cooling.c.round < new.round,
    )
    await conn.execute(kept)
    query = select(cooling.c.due_at).where(cooling.c.order_id == order_id)
    due: datetime = (await conn.execute(query)).scalar_one()
    return due


async def leave(conn: AsyncConnection, order_id: str) -> None:
    """The order is decided alone, or is over."""
    await conn.execute(delete(cooling).where(cooling.c.order_id == order_id))


async def claim(conn: AsyncConnection) -> tuple[Cooling, ...]:
    """
    All that wait in one profile of which an order is due, first come first, for one batch alone;
    none where nothing is due. Orders that are over wait no more.
    """
    over = select(orders.c.order_id).where(orders.c.terminal_at.is_not(None))
    await conn.execute(delete(cooling).where(cooling.c.order_id.in_(over)))
    free = or_(cooling.c.claimed_until.is_(None), cooling.c.claimed_until < func.now())
    other = cooling.alias("other")
    due = (
        select(other.c.profile)
        .where(
            other.c.due_at <= func.now(),
            or_(other.c.claimed_until.is_(None), other.c.claimed_until < func.now()),
        )
        .order_by(other.c.due_at)
        .limit(1)
    )
    some = (
        select(cooling.c.order_id)
        .where(free, cooling.c.profile.in_(due))
        .order_by(cooling.c.since, cooling.c.order_id)
        .limit(MOST_TOGETHER)
        .with_for_update(skip_locked=True)
    )
    rows = await conn.execute(
        update(cooling)
        .where(cooling.c.order_id.in_(some))
        .values(claimed_until=func.now() + _LEASE)
        .returning(cooling)
    )
    found = sorted(rows.mappings(), key=lambda row: (row["since"], row["order_id"]))
    return tuple(Cooling.model_validate(dict(row)) for row in found)


async def decided(conn: AsyncConnection, order_ids: Collection[str], batch: str) -> None:
    """These orders wait no more, and are told. In the transaction that keeps their decisions."""
    gone = delete(cooling).where(cooling.c.order_id.in_(order_ids)).returning(cooling.c.order_id)
    for order_id in sorted((await conn.execute(gone)).scalars()):
        body = {"sku": "", "order_id": order_id}
        await inbox.put(conn, "supply", f"{batch}:{order_id}", "supply", body, order_id=order_id)


async def waiting(conn: AsyncConnection) -> tuple[Waiting, ...]:
    """What waits, by profile; first what is due first."""
    c = cooling.c
    query = select(
        c.profile,
        func.count().label("orders"),
        func.min(c.since).label("since"),
        func.min(c.due_at).label("due_at"),
    )
    rows = await conn.execute(query.group_by(c.profile).order_by(func.min(c.due_at), c.profile))
    return tuple(Waiting.model_validate(dict(row)) for row in rows.mappings())


async def due(conn: AsyncConnection, order_id: str) -> datetime | None:
    """Until when the order waits; None where it does not."""
    query = (
        select(cooling.c.due_at)
        .join(orders, orders.c.order_id == cooling.c.order_id)
        .where(cooling.c.order_id == order_id, orders.c.terminal_at.is_(None))
    )
    until: datetime | None = (await conn.execute(query)).scalar_one_or_none()
    return until


async def hasten(conn: AsyncConnection, profile: str | None = None) -> int:
    """Have all that wait, or those of a profile, be due now; how many they are."""
    query = update(cooling).values(due_at=func.now())
    if profile is not None:
        query = query.where(cooling.c.profile == profile)
    return (await conn.execute(query)).rowcount
