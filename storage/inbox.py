"""What partners and people told us, stored before it is answered; worked off by the worker."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.fulfillments import NodeEvent, NodeEventType
from domain.records import OrderEvent
from domain.values import Value
from storage import capacity, leases, open_orders, records
from storage.leases import Waiting
from storage.tables import inbox

NODE_EVENT: Final = "node_event"
# The others are documents of channels, each of its own kind of channel.
OF_ORDERS: Final = frozenset({NODE_EVENT, "node_down", "source_again", "supply"})


class InboxItem(Value):
    """One delivery. `raw` are the bytes that were signed, where there were any."""

    id: int
    source: str
    delivery_id: str
    kind: str
    order_id: str | None
    fulfillment_id: str | None
    body: dict[str, Any]
    raw: bytes
    headers: dict[str, str]
    received_at: datetime
    attempts: int


async def put(  # noqa: PLR0913 - one row's columns
    conn: AsyncConnection,
    source: str,
    delivery_id: str,
    kind: str,
    body: Mapping[str, Any],
    *,
    order_id: str | None = None,
    raw: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bool:
    """
    Keep a delivery, once by source and delivery id; whether it was new.

    A new `node_event` (its body is a NodeEvent) also enters the order's story, and an `accepted`
    moves the fulfillment's request and confirms its capacity, before the workflow has taken it in.
    """
    said = NodeEvent.model_validate(body) if kind == NODE_EVENT else None
    statement = upsert(inbox).values(
        source=source,
        delivery_id=delivery_id,
        kind=kind,
        order_id=order_id,
        fulfillment_id=said.fulfillment_id if said else None,
        body=dict(body),
        raw=raw,
        headers=dict(headers or {}),
    )
    added = await conn.execute(statement.on_conflict_do_nothing().returning(inbox.c.id))
    if added.first() is None:
        return False
    if said is not None:
        await _note(conn, said, f"{source}:{delivery_id}")
    return True


async def claim(
    conn: AsyncConnection, limit: int = 100, lease_seconds: float = 30
) -> tuple[InboxItem, ...]:
    """Deliveries that are due, oldest first, one order's in order; leased to the caller."""
    rows = await leases.claim(conn, inbox, ("order_id",), limit, lease_seconds)
    return tuple(InboxItem.model_validate(dict(row._mapping)) for row in rows)  # noqa: SLF001


async def done(conn: AsyncConnection, ids: Collection[int], note: str = "") -> None:
    await leases.done(conn, inbox, ids, note)


async def failed(
    conn: AsyncConnection,
    item_id: int,
    error: str,
    retry_at: datetime | None,
    attempts: int | None = None,
) -> None:
    """Try again at `retry_at`; None gives the delivery up, which the auditor reports."""
    await leases.failed(conn, inbox, item_id, error, retry_at, attempts)


async def released(conn: AsyncConnection, ids: Collection[int]) -> None:
    """Claimed and not tried: as if it had not been claimed."""
    await leases.released(conn, inbox, ids)


async def waiting(conn: AsyncConnection) -> Waiting:
    return await leases.waiting(conn, inbox, "received_at")


async def events_of(conn: AsyncConnection, fulfillment_id: str) -> tuple[NodeEvent, ...]:
    """All that was ever heard of a fulfillment, in the order in which it came."""
    query = select(inbox.c.body).where(
        inbox.c.fulfillment_id == fulfillment_id, inbox.c.kind == NODE_EVENT
    )
    rows = await conn.execute(query.order_by(inbox.c.id))
    return tuple(NodeEvent.model_validate(body) for body in rows.scalars())


async def _note(conn: AsyncConnection, said: NodeEvent, key: str) -> None:
    if said.type is NodeEventType.ACCEPTED:  # the allocation is locked before the record
        await capacity.confirm(conn, [said.fulfillment_id])
    order_id = await records.mark_heard(conn, said)
    if order_id is None:
        return
    because = f": {said.reason}" if said.reason else ""
    event = OrderEvent(
        type=f"node.{said.type.value}",
        summary=f"{said.node} says {said.type.value.replace('_', ' ')}{because}",
        actor=f"node:{said.node}",
        cause=said.event_id,
        fulfillment_id=said.fulfillment_id,
        data={
            "lines": [line.model_dump() for line in said.lines],
            "packages": [package.model_dump() for package in said.packages],
            "final": said.final,
        },
    )
    await records.append_event(conn, order_id, key, said.occurred_at, event)


async def wake_backordered(conn: AsyncConnection, skus: Collection[str], call: str) -> int:
    """
    Have every order that waits for one of these SKUs try again, oldest first; how many.

    In the transaction that frees the units, or brings them, while it holds their pool: whoever is
    short of them then is seen.
    """
    orders = await open_orders.backordered_for(conn, sorted(skus)) if skus else []
    for order_id in orders:
        body = {"order_id": order_id}
        await put(conn, "supply", f"{call}:{order_id}", "supply", body, order_id=order_id)
    return len(orders)
