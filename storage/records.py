"""
What is written down of an order: its row, its fulfillments, its story, and what must leave.

A change may arrive twice, and after a later one: events and messages are known by their keys, and
an older state never replaces a newer one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, NotFound, Refused
from domain.fulfillments import (
    ENDED,
    Fulfillment,
    FulfillmentStatus,
    NodeEvent,
    NodeEventType,
    RequestStatus,
)
from domain.orders import TERMINAL, Order
from domain.records import Change, Message, OrderEvent, OrderState
from domain.values import Value
from storage.tables import fulfillments, order_events, orders, outbox

_ASKED_BACK = frozenset(
    {
        RequestStatus.CANCELLATION_REQUESTED,
        RequestStatus.CANCELLATION_ACCEPTED,
        RequestStatus.CANCELLATION_REJECTED,
    }
)
_UNANSWERED = frozenset({RequestStatus.UNSUBMITTED, RequestStatus.SUBMITTED, RequestStatus.UNKNOWN})
_RECEIVED = frozenset({RequestStatus.SUBMITTED, RequestStatus.ACCEPTED, RequestStatus.REJECTED})


class Acceptance(Value):
    """
    Whether the order is `new`; else how it stands, and whether the `same_run` of a workflow (the
    same chain of runs) wrote it.
    """

    new: bool
    same_run: bool
    state: OrderState
    last_change: str
    same_payload: bool


async def accept(conn: AsyncConnection, order: Order, run: str, change: Change) -> Acceptance:
    """
    Write the order down with its first change, unless it is there already.

    The run that asks becomes the only one that may write: what a former run still has under way (it
    was reset or terminated in the middle of a step) is refused from then on.
    """
    statement = upsert(orders).values(
        order_id=order.order_id,
        channel=order.channel,
        channel_order_id=order.channel_order_id,
        run=run,
        writer=_writer(change),
        payload_hash=order.digest,
        body=order,
        email=order.email,
        name=order.ship_to.name,
        postal_code=order.ship_to.postal_code,
        currency=order.currency,
        total_minor=order.total_minor,
        placed_at=order.placed_at,
        accepted_at=change.at,
        **_row(change),
    )
    added = await conn.execute(statement.on_conflict_do_nothing().returning(orders.c.order_id))
    if added.first():
        await _write_fulfillments(conn, change)
        await _tell(conn, change)
        return Acceptance(
            new=True,
            same_run=True,
            state=change.state,
            last_change=change.key,
            same_payload=True,
        )
    query = select(
        orders.c.run,
        orders.c.payload_hash,
        orders.c.state,
        orders.c.last_change,
        orders.c.terminal_at,
    )
    row = (await conn.execute(query.where(orders.c.order_id == order.order_id))).one()
    if row.run == run or row.terminal_at is None:
        taken_over = {"run": run, "writer": _writer(change)}
        await conn.execute(
            update(orders).where(orders.c.order_id == order.order_id).values(**taken_over)
        )
    return Acceptance(
        new=False,
        same_run=row.run == run,
        state=OrderState.model_validate(row.state),
        last_change=row.last_change,
        same_payload=row.payload_hash == order.digest,
    )


async def apply(conn: AsyncConnection, change: Change) -> None:
    """
    Write a change. Raises NotFound where the order was never accepted, Conflict(superseded) for a
    run of its workflow that another one has replaced, and Conflict(overtaken) where the record has
    gone on from the change that this one builds on.

    The last happens when a workflow task is lost after its step was taken, and taken again with
    other news: the workflow then knows less than its record, and must read it.
    """
    for refusal in (await apply_all(conn, [change])).values():
        raise refusal


async def apply_all(conn: AsyncConnection, changes: Sequence[Change]) -> dict[str, Refused]:
    """
    Write the changes of as many orders, each as `apply` does, in the same few statements.

    Answers by order what `apply` would raise; then nothing is written of any.
    """
    if not changes:
        return {}
    query = select(
        *(orders.c.order_id, orders.c.writer, orders.c.last_change),
        *(orders.c.version_at, orders.c.version_seq),
    ).where(orders.c.order_id.in_([change.state.order_id for change in changes]))
    # The weaker lock: a node's word locks its fulfillment first, and its event's foreign key then
    # looks at the order. That must not wait for whoever holds the order and wants the fulfillment.
    query = query.order_by(orders.c.order_id).with_for_update(key_share=True)
    rows = await conn.execute(query)
    known = {row.order_id: row for row in rows}
    refusals = {}
    for change in changes:
        last = known.get(change.state.order_id)
        if refusal := _refusal(change, last and last.writer, last and last.last_change):
            refusals[change.state.order_id] = refusal
    if refusals:
        return refusals
    fresh = [c for c in changes if known[c.state.order_id].last_change != c.key]
    newer = []
    for change in fresh:
        last = known[change.state.order_id]
        if (last.version_at, last.version_seq) <= (change.at, change.seq):
            newer.append(change)
    if newer:
        columns = [name for name in _row(newer[0]) if name != "order_id"]
        await conn.execute(
            update(orders)
            .where(orders.c.order_id == bindparam("of_order"))
            .values({name: bindparam(name) for name in columns}),
            [{**_row(change), "of_order": change.state.order_id} for change in newer],
        )
    for change in newer:
        await _write_fulfillments(conn, change)
    await _tell(conn, *fresh)
    return {}


async def append_event(
    conn: AsyncConnection, order_id: str, key: str, at: datetime, event: OrderEvent
) -> None:
    """Add to the order's story, once by key."""
    await _add_events(conn, [{"order_id": order_id, "key": key, "at": at, **dict(event)}])


async def mark_request(  # noqa: PLR0913, PLR0917 - one row of the story
    conn: AsyncConnection,
    fulfillment_id: str,
    request: RequestStatus,
    at: datetime,
    event_key: str,
    event: OrderEvent,
) -> None:
    """
    Note how the talk with the node stands, and tell it in the order's story. Raises NotFound.

    A request that the node has answered is not `submitted` again; what has ended stays as it is.
    """
    f = await _lock_fulfillment(conn, fulfillment_id)
    if f is None:
        raise NotFound(f"no fulfillment {fulfillment_id}")
    submitting = request is RequestStatus.SUBMITTED
    if f.status not in ENDED and not (submitting and f.request is not RequestStatus.UNSUBMITTED):
        f = f.model_copy(update={"request": request})
    await _save(conn, f, submitted_at=at if submitting else None)
    await append_event(conn, f.order_id, event_key, at, event)


async def mark_heard(conn: AsyncConnection, event: NodeEvent) -> str | None:
    """
    The node has spoken of a fulfillment, so it has the request. Answers the order's id, if known.

    An acceptance moves the request, unless it or we have said something later already.
    """
    f = await _lock_fulfillment(conn, event.fulfillment_id)
    if f is None:
        return None
    unanswered = f.status not in ENDED and f.request in _UNANSWERED
    if event.type is NodeEventType.ACCEPTED and unanswered:
        accepted = {"request": RequestStatus.ACCEPTED, "status": FulfillmentStatus.IN_PROGRESS}
        f = f.model_copy(update=accepted)
    await _save(conn, f, submitted_at=event.occurred_at)
    return f.order_id


async def order(conn: AsyncConnection, order_id: str) -> Order | None:
    """The order as it was accepted."""
    query = select(orders.c.body).where(orders.c.order_id == order_id)
    body = (await conn.execute(query)).scalar()
    return Order.model_validate(body) if body else None


async def held(conn: AsyncConnection, order_id: str) -> bool:
    """Whether a hold stands on the order: then no request of it leaves."""
    query = select(orders.c.state["holds"].as_json()).where(orders.c.order_id == order_id)
    return bool((await conn.execute(query)).scalar())


async def state(conn: AsyncConnection, order_id: str) -> OrderState | None:
    query = select(orders.c.state).where(orders.c.order_id == order_id)
    body = (await conn.execute(query)).scalar()
    return OrderState.model_validate(body) if body else None


async def fulfillment(conn: AsyncConnection, fulfillment_id: str) -> Fulfillment | None:
    query = select(fulfillments.c.body).where(fulfillments.c.fulfillment_id == fulfillment_id)
    body = (await conn.execute(query)).scalar()
    return Fulfillment.model_validate(body) if body else None


async def submitted(conn: AsyncConnection, fulfillment_id: str) -> bool:
    """Whether the node was ever given the request, or spoke of it."""
    query = select(fulfillments.c.submitted_at)
    row = (await conn.execute(query.where(fulfillments.c.fulfillment_id == fulfillment_id))).first()
    return row is not None and row.submitted_at is not None


def _row(change: Change) -> dict[str, Any]:
    state = change.state
    return {
        "last_change": change.key,
        "updated_at": change.at,
        "status": state.status.value,
        "reason": state.reason,
        "attention": sorted({code for item in state.attention for code in item.codes}),
        "nodes": sorted({f.node for f in state.fulfillments}),
        "state": state,
        "version_at": change.at,
        "version_seq": change.seq,
        "promise_by": state.promise_by,
        "terminal_at": change.at if state.status in TERMINAL else None,
    }


async def _write_fulfillments(conn: AsyncConnection, change: Change) -> None:
    """Write those that differ. What partners said meanwhile is kept until the workflow knows it."""
    told = {f.fulfillment_id: f for f in change.state.fulfillments}
    if not told:
        return
    query = select(fulfillments.c.fulfillment_id, fulfillments.c.body)
    rows = await conn.execute(
        query.where(fulfillments.c.fulfillment_id.in_(told))
        .order_by(fulfillments.c.fulfillment_id)
        .with_for_update()
    )
    known = {row.fulfillment_id: Fulfillment.model_validate(row.body) for row in rows}
    for fulfillment_id, f in sorted(told.items()):
        stored = known.get(fulfillment_id)
        merged = _merged(f, stored) if stored else f
        if merged != stored:
            received = merged.request in _RECEIVED
            await _save(conn, merged, submitted_at=change.at if received else None)


def _merged(told: Fulfillment, stored: Fulfillment) -> Fulfillment:
    """The workflow's word, but for a request or an acceptance that it has not heard of yet."""
    open_, in_progress = FulfillmentStatus.OPEN, FulfillmentStatus.IN_PROGRESS
    if told.status is open_ and stored.status is in_progress:
        request = told.request if told.request in _ASKED_BACK else stored.request
        return told.model_copy(update={"status": in_progress, "request": request})
    if (told.request, stored.request) == (RequestStatus.UNSUBMITTED, RequestStatus.SUBMITTED):
        return told.model_copy(update={"request": stored.request})
    return told


async def _lock_fulfillment(conn: AsyncConnection, fulfillment_id: str) -> Fulfillment | None:
    query = select(fulfillments.c.body).where(fulfillments.c.fulfillment_id == fulfillment_id)
    body = (await conn.execute(query.with_for_update())).scalar()
    return Fulfillment.model_validate(body) if body else None


async def _save(conn: AsyncConnection, f: Fulfillment, *, submitted_at: datetime | None) -> None:
    row = {
        "order_id": f.order_id,
        "node": f.node,
        "method": f.method.value,
        "service": f.service,
        "status": f.status.value,
        "request": f.request.value,
        "ship_by": f.ship_by,
        "deliver_by": f.deliver_by,
        "pickup_until": f.pickup_until,
        "release_at": f.release_at,
        "cost_minor": f.cost_minor,
        "goods_minor": f.goods_minor,
        "reason": f.reason,
        "body": f,
        "updated_at": func.now(),
    }
    statement = upsert(fulfillments).values(
        fulfillment_id=f.fulfillment_id, submitted_at=submitted_at, **row
    )
    first = func.coalesce(fulfillments.c.submitted_at, statement.excluded.submitted_at)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["fulfillment_id"], set_={**row, "submitted_at": first}
        )
    )


async def _tell(conn: AsyncConnection, *changes: Change) -> None:
    events = [
        {"order_id": c.state.order_id, "key": f"{c.key}:{i}", "at": c.at, **dict(event)}
        for c in changes
        for i, event in enumerate(c.events)
    ]
    await _add_events(conn, events)
    await _put(conn, [(c.state.order_id, message) for c in changes for message in c.messages])


async def put_messages(conn: AsyncConnection, order_id: str, messages: Sequence[Message]) -> None:
    """Have messages sent, each once by its key."""
    await _put(conn, [(order_id, message) for message in messages])


async def _put(conn: AsyncConnection, messages: Sequence[tuple[str, Message]]) -> None:
    if messages:
        await conn.execute(
            upsert(outbox).on_conflict_do_nothing(),
            [{**dict(message), "order_id": order_id} for order_id, message in messages],
        )


async def _add_events(conn: AsyncConnection, events: Sequence[Mapping[str, Any]]) -> None:
    if events:
        await conn.execute(upsert(order_events).on_conflict_do_nothing(), events)


def _refusal(change: Change, writer: str | None, last_change: str | None) -> Refused | None:
    """Why a change cannot follow what is recorded of its order."""
    order_id = change.state.order_id
    if writer is None:
        return NotFound(f"no order {order_id}")
    if writer != _writer(change):
        return Conflict(f"another run of {order_id} has taken over", code="superseded")
    if change.base is not None and last_change not in {change.key, change.base}:
        return Conflict(f"the record of {order_id} has gone on", code="overtaken")
    return None


def _writer(change: Change) -> str:
    """The run of the workflow that a change comes from: what stands before the first colon."""
    return change.key.partition(":")[0]
