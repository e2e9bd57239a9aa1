"""Stock verbs, each with its order's change in one transaction; reservations many at a time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from domain.calendars import pickup_until
from domain.errors import NotFound
from domain.lifecycle import with_fulfillment
from domain.records import Change, OrderEvent
from storage import network, records, reservations, stock
from storage.batching import Batcher
from storage.database import transaction
from storage.taking import Answer, Ask
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
            waits=request.waits,
        )

        def leads_to(answer: Answer) -> Change:
            if not answer.missing:
                return request.reserved
            short = request.short.state.model_copy(update={"short": answer.missing})
            return request.short.model_copy(
                update={"state": short, "events": _dated(request.short.events, answer.expected)}
            )

        answer = await self._batcher.reserve(ask, leads_to)
        missing, expected = answer.missing, answer.expected
        return Reserved(ok=not missing, missing=missing, expected=expected)

    @activity.defn
    async def release(self, request: Release) -> None:
        async with transaction(self._engine) as conn:
            await reservations.release(conn, request.reservation_id, _cause(request.change.key))
            await records.apply(conn, request.change)

    @activity.defn
    async def allocate(self, request: Allocate) -> Allocated:
        async with transaction(self._engine) as conn:
            dry = await stock.allocate(
                conn, request.key, request.reservation_id, request.fulfillments
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
