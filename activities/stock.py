"""Stock verbs, each with its order's change in one transaction; reservations many at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from domain.calendars import pickup_until
from domain.errors import NotFound
from domain.lifecycle import with_fulfillment
from domain.orders import TERMINAL
from domain.records import Change, OrderEvent
from storage import backorders, claims, inbox, network, records, reservations, stock
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.carts import Cart, Fate
from storage.database import transaction
from workflows import ports
from workflows.ports import (
    Allocate,
    Allocated,
    GiveBack,
    OpenPickup,
    Release,
    Reserve,
    Reserved,
    Ship,
)

_NOT_HERE: Final = "so its units are not the order's"
_FATES: Final[dict[Fate, str]] = {
    "taken": "is the order's now",
    "unknown": f"is not known to this channel, {_NOT_HERE}",
    "used": f"is another order's, {_NOT_HERE}",
    "expired": f"had run out, {_NOT_HERE}",
    "released": f"was released before, {_NOT_HERE}",
    "fulfilled": f"was fulfilled before, {_NOT_HERE}",
}


class Stock(ports.Stock):
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._batcher = Batcher(engine)

    @activity.defn
    async def reserve(self, request: Reserve) -> Reserved:
        ask = Ask(
            request.reservation_id,
            request.order_id,
            request.units,
            request.node,
            channel=request.channel,
            takes_over=request.takes_over,
            waits=request.waits,
        )

        def leads_to(answer: Answer) -> Change:
            change = request.reserved
            if answer.missing:
                short = request.short.state.model_copy(update={"short": answer.missing})
                events = _dated(request.short.events, answer.expected)
                change = request.short.model_copy(update={"state": short, "events": events})
            if answer.cart is None:
                return change
            return change.model_copy(update={"events": (*change.events, _told(answer.cart))})

        answer = await self._batcher.reserve(ask, leads_to)
        missing, expected = answer.missing, answer.expected
        return Reserved(ok=not missing, missing=missing, expected=expected)

    @activity.defn
    async def release(self, request: Release) -> None:
        async with transaction(self._engine) as conn:
            free = await claims.skus_of(conn, [request.reservation_id])
            if request.change.state.status in TERMINAL:
                free |= await reservations.let_go(conn, request.change.state.order_id)
                free |= await backorders.leave(conn, request.change.state.order_id)
            await reservations.release(conn, request.reservation_id, _cause(request.change.key))
            await records.apply(conn, request.change)
            await inbox.wake_backordered(conn, free, request.change.key)

    @activity.defn
    async def allocate(self, request: Allocate) -> Allocated:
        async with transaction(self._engine) as conn:
            dry = await stock.allocate(
                conn, request.key, request.reservation_id, request.fulfillments, request.terms
            )
            if not dry:
                await records.apply(conn, request.change)
        return Allocated(ok=not dry, dry=dry)

    @activity.defn
    async def give_back(self, request: GiveBack) -> None:
        async with transaction(self._engine) as conn:
            await stock.give_back(
                conn,
                request.key,
                request.fulfillment_id,
                request.lines,
                request.to,
                request.reservation_id,
                _cause(request.change.key),
            )
            await records.apply(conn, request.change)
            if request.to == "free":
                back = {line.line_id for line in request.lines}
                skus = {line.sku for line in request.change.state.lines if line.line_id in back}
                await inbox.wake_backordered(conn, skus, request.change.key)

    @activity.defn
    async def ship(self, request: Ship) -> None:
        async with transaction(self._engine) as conn:
            await stock.ship(conn, request.key, request.fulfillment_id, request.lines)
            await records.apply(conn, request.change)

    @activity.defn
    async def open_pickup(self, request: OpenPickup) -> datetime:
        state = request.change.state
        f = next(f for f in state.fulfillments if f.fulfillment_id == request.fulfillment_id)
        async with transaction(self._engine) as conn:
            node = await network.node(conn, f.node)
            if node is None:
                raise NotFound(f"no node {f.node}")
            until = (
                request.since + request.window
                if request.window is not None
                else pickup_until(node.calendar, request.since, request.days)
            )
            after = with_fulfillment(state, f.model_copy(update={"pickup_until": until}))
            await records.apply(conn, request.change.model_copy(update={"state": after}))
        return until


def _told(cart: Cart) -> OrderEvent:
    """What became of the reservation that the order named."""
    taken = cart.fate == "taken"
    return OrderEvent(
        type="reservation_taken_over" if taken else "reservation_ignored",
        summary=f"reservation {cart.reservation_id} {_FATES[cart.fate]}",
        cause="reserve",
        data={"reservation": cart.reservation_id, "fate": cart.fate},
    )


def _dated(events: tuple[OrderEvent, ...], expected: datetime | None) -> tuple[OrderEvent, ...]:
    """The events of an order that is short, with the date on which it need not be any more."""
    if expected is None:
        return events
    told = f"; expected {expected:%Y-%m-%d}"
    data = {"expected": expected.isoformat()}
    return tuple(
        event.model_copy(update={"summary": event.summary + told, "data": event.data | data})
        for event in events
    )


def _cause(key: str) -> str:
    return f"change {key}"
