"""What a fulfillment's news does to the order's record: each is one step, with its stock effect."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from temporalio import workflow

from domain.fulfillments import Fulfillment, LineQuantity, NodeEvent, advance
from domain.kits import as_sold
from domain.lifecycle import bucket_of, in_transit, moved, with_fulfillment
from domain.orders import GONE, Bucket, DeliveryMethod
from domain.records import Message, OrderEvent, OrderState
from workflows.book import Book, Effect
from workflows.ports import GiveBack, OpenPickup, Ship, Stock

Lines = tuple[LineQuantity, ...]


async def shipped(book: Book, event: NodeEvent, lines: Lines, name: str) -> None:
    """Units left the node; `name` is shipped, partly_shipped or short_shipped."""
    before = book.fulfillment(event.fulfillment_id)
    counts = _plus(before.shipped, lines)
    after = _after(before, name, event, shipped=counts)
    after = after.model_copy(update={"packages": (*after.packages, *event.packages)})
    tracking = ", ".join(p.tracking_number for p in event.packages) or "no tracking"
    summary = f"{before.node} shipped {count(lines)} ({tracking})"
    await _leave(book, after, lines, Bucket.SHIPPED, _told(event, name, summary))


async def collected(book: Book, event: NodeEvent) -> None:
    """The customer has the goods of a pickup: they leave the store, and that ends it."""
    before = book.fulfillment(event.fulfillment_id)
    lines = before.remaining()
    counts = _plus(before.shipped, lines)
    after = _after(before, "collected", event, shipped=counts, delivered=counts)
    summary = f"collected at {before.node}"
    await _leave(book, after, lines, Bucket.PICKED_UP, _told(event, "collected", summary))


async def _leave(
    book: Book, after: Fulfillment, lines: Lines, to: Bucket, told: OrderEvent
) -> None:
    source = bucket_of(book.fulfillment(after.fulfillment_id))

    def gone(state: OrderState) -> OrderState:
        return moved(with_fulfillment(state, after), lines, source, to)

    def effect() -> Effect[Ship, None]:
        state = gone(book.state)
        messages = _to_channel(book.state, state, after, lines, told)
        change = book.change(state, told, messages=messages)
        request = Ship(
            key=f"{after.fulfillment_id}/ship/{told.cause}",
            fulfillment_id=after.fulfillment_id,
            lines=lines,
            change=change,
        )
        return Effect(Stock.ship, request, told.summary, lambda state, _: gone(state))

    await book.write(effect, f"{after.fulfillment_id}:ship")


def _to_channel(
    before: OrderState, state: OrderState, after: Fulfillment, lines: Lines, told: OrderEvent
) -> tuple[Message, ...]:
    """
    What left, on the lines that the channel sold: a kit is told once it is whole, with all the
    packages that parts of it are in. Nothing, where no kit is.
    """
    sold = as_sold(before.lines, state.lines, lines, *GONE)
    if not sold:
        return ()
    whole = {lq.line_id for lq in sold}
    parts = {line.line_id for line in state.lines if line.kit and line.kit.line_id in whole}
    packages = [
        package.model_dump()
        for f in before.fulfillments
        if f.shipped.keys() & parts
        for package in f.packages
    ]
    packages += [p for p in told.data.get("packages", []) if p not in packages]
    body = {
        "fulfillment_id": after.fulfillment_id,
        "lines": [lq.model_dump() for lq in sold],
        "packages": packages,
    }
    key = f"{after.fulfillment_id}:shipped:{told.cause}"
    return (Message(key=key, kind="channel.shipped", body=body),)


async def delivered(book: Book, fulfillment_id: str, event: NodeEvent | None, actor: str) -> None:
    """All that is in transit arrived: the carrier says so, or a person takes it as so."""
    before = book.fulfillment(fulfillment_id)
    lines = in_transit(before)
    seen = (*before.seen, event.event_id) if event else before.seen
    counts = _plus(before.delivered, lines)
    after = before.model_copy(update={"delivered": counts, "seen": seen})
    await book.record(
        lambda state: moved(
            with_fulfillment(state, after), lines, Bucket.SHIPPED, Bucket.DELIVERED
        ),
        OrderEvent(
            type="delivered",
            summary=f"{count(lines)} from {before.node} delivered",
            actor=actor,
            cause=event.event_id if event else "taken as delivered",
            fulfillment_id=fulfillment_id,
        ),
    )


async def ready(book: Book, event: NodeEvent) -> None:
    """The goods wait at the store: the window opens, in the store's own calendar."""
    before = book.fulfillment(event.fulfillment_id)
    after = _after(before, "ready_for_pickup", event)
    told = _told(event, "ready_for_pickup", f"ready for pickup at {before.node}")
    body = {"fulfillment_id": event.fulfillment_id}
    key = f"{event.fulfillment_id}:ready"
    message = Message(key=key, kind="channel.ready_for_pickup", body=body)
    window = _Window(workflow.now(), book.patience.pickup_days, book.patience.pickup_window)
    await _open(book, after, window, told, (message,))


async def extended(book: Book, fulfillment_id: str, days: int, by: str) -> datetime:
    """The window moves out by open days of the store; the new end."""
    f = book.fulfillment(fulfillment_id)
    assert f.pickup_until is not None  # noqa: S101 - the update's check came first
    told = OrderEvent(
        type="pickup_extended",
        summary=f"pickup window extended by {days} open day{'s' if days != 1 else ''}",
        actor=by,
        cause="extend_pickup",
        fulfillment_id=fulfillment_id,
    )
    real = book.patience.pickup_window is None
    window = _Window(f.pickup_until, days, None if real else timedelta(days=days))
    return await _open(book, f, window, told, ())


class _Window(NamedTuple):
    """Open days of the store from an instant; or, where one is given, a length."""

    since: datetime
    days: int
    length: timedelta | None


async def _open(
    book: Book, after: Fulfillment, window: _Window, told: OrderEvent, messages: tuple[Message, ...]
) -> datetime:
    source = bucket_of(book.fulfillment(after.fulfillment_id))

    def open_until(state: OrderState, until: datetime | None) -> OrderState:
        opened = after.model_copy(update={"pickup_until": until})
        lines = after.remaining()
        return moved(with_fulfillment(state, opened), lines, source, Bucket.READY_FOR_PICKUP)

    def effect() -> Effect[OpenPickup, datetime]:
        change = book.change(open_until(book.state, after.pickup_until), told, messages=messages)
        request = OpenPickup(
            fulfillment_id=after.fulfillment_id,
            since=window.since,
            days=window.days,
            window=window.length,
            change=change,
        )
        return Effect(Stock.open_pickup, request, told.summary, open_until)

    return await book.write(effect, f"{after.fulfillment_id}:pickup")


async def given_back(
    book: Book, fulfillment_id: str, name: str, reason: str, event: NodeEvent | None
) -> None:
    """
    The node provably does not ship the rest: its units go back, last step first.

    They return to the order's reservation to be sourced elsewhere; they are free for all where the
    order is being cancelled or the pickup expired. So are a pickup's: its store could not keep
    them, and a person decides whether to ask it again. The node is not asked again, unless rules
    say after how long, but for what was `moved`: that it was never asked for.
    """
    before = book.fulfillment(fulfillment_id)
    after = before if name == "short_shipped" else _after(before, name, event)
    after = after.model_copy(update={"reason": reason})
    lines, source = before.remaining(), bucket_of(before)
    expired, pickup = name == "expired", before.method is DeliveryMethod.PICKUP
    moves = name == "moved"
    what = "is not asked for" if moves else "gives back"
    told = OrderEvent(
        type=f"fulfillment_{name}",
        summary=f"{before.node} {what} {count(lines)}: {reason}",
        actor=f"node:{before.node}" if event else "crossdock",
        cause=event.event_id if event else reason,
        fulfillment_id=fulfillment_id,
    )
    messages = (_late_recall(after, reason),) if name in ("expired", "vouched") else ()
    now = workflow.now()

    def effect() -> Effect[GiveBack, None]:
        ends = book.cancelling or expired
        to = Bucket.CANCELLED if ends else Bucket.OPEN if pickup else Bucket.RESERVED

        def back(state: OrderState) -> OrderState:
            state = moved(with_fulfillment(state, after), lines, source, to)
            if expired:
                return state.model_copy(update={"reason": "pickup_expired"})
            if pickup or moves:
                return state
            excluded = {**state.excluded, after.node: reason[:200]}
            since = {**state.excluded_at, after.node: now}
            return state.model_copy(update={"excluded": excluded, "excluded_at": since})

        change = book.change(back(book.state), told, messages=messages)
        request = GiveBack(
            key=f"{fulfillment_id}/back",
            fulfillment_id=fulfillment_id,
            lines=lines,
            to="free" if ends or pickup else "reservation",
            reservation_id=f"{book.state.order_id}-R{book.state.reservations}",
            change=change,
        )
        return Effect(Stock.give_back, request, told.summary, lambda state, _: back(state))

    await book.write(effect, f"{fulfillment_id}:give_back")


async def contradicted(book: Book, event: NodeEvent) -> None:
    """A node says what cannot be: it shipped what it had given back, or more than was asked."""
    before = book.fulfillment(event.fulfillment_id)
    after = before.model_copy(update={"seen": (*before.seen, event.event_id)})
    summary = (
        f"{before.node} reports {event.type.value}, though {before.status.value}: check the goods"
    )
    await book.record(
        lambda state: with_fulfillment(state, after), _told(event, "contradiction", summary)
    )


def count(lines: Lines) -> str:
    units = sum(lq.quantity for lq in lines)
    return "1 unit" if units == 1 else f"{units} units"


def _after(
    before: Fulfillment,
    name: str,
    event: NodeEvent | None,
    **counts: dict[str, int],
) -> Fulfillment:
    after = advance(before, name) or before
    seen = (*after.seen, event.event_id) if event else after.seen
    return after.model_copy(update={"seen": seen, **counts})


def _plus(counts: dict[str, int], lines: Lines) -> dict[str, int]:
    more = {lq.line_id: counts.get(lq.line_id, 0) + lq.quantity for lq in lines}
    return {**counts, **more}


def _told(event: NodeEvent, name: str, summary: str) -> OrderEvent:
    return OrderEvent(
        type=name,
        summary=summary,
        actor=f"node:{event.node}",
        cause=event.event_id,
        fulfillment_id=event.fulfillment_id,
        data={"packages": [p.model_dump() for p in event.packages]} if event.packages else {},
    )


def _late_recall(f: Fulfillment, reason: str) -> Message:
    """Whatever the node may still hold is asked back until it answers."""
    body = {"fulfillment_id": f.fulfillment_id, "reason": reason}
    return Message(key=f"{f.fulfillment_id}:recall", kind="node.recall", body=body)
