"""How an order moves: units between buckets, fulfillments onward, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from domain import kits
from domain.fulfillments import (
    ENDED,
    Fulfillment,
    FulfillmentStatus,
    LineQuantity,
    RequestStatus,
)
from domain.network import Kit
from domain.orders import GONE, SETTLED, TERMINAL, Bucket, Line, LineState, Order, OrderStatus
from domain.records import OrderState
from domain.sourcing.problem import Assignment

NOW: Final[Mapping[str, datetime]] = MappingProxyType({})


def received(order: Order) -> OrderState:
    return OrderState(
        order_id=order.order_id,
        channel=order.channel,
        channel_order_id=order.channel_order_id,
        promise_by=order.deliver_by,
    )


def with_lines(
    state: OrderState, order: Order, skus: dict[str, str], made_of: Mapping[str, Kit] | None = None
) -> OrderState:
    """
    The state once the catalogue has named the lines' SKUs; units stay where they are.

    `made_of` has the kit of each line that is of one: its components' lines stand in its place,
    and stay as they are once any of their units has moved.
    """
    known: dict[str, list[LineState]] = {}
    for part in state.lines:
        known.setdefault(part.kit.line_id if part.kit else part.line_id, []).append(part)
    lines: list[LineState] = []
    for line in order.lines:
        here, kit = known.get(line.line_id, []), (made_of or {}).get(line.line_id)
        if kit is not None and all(part.units(Bucket.OPEN) == part.ordered for part in here):
            lines += kits.lines_of(order, line, kit)
        elif here and here[0].kit is not None:
            lines += here
        else:
            lines.append(_named(line, here, skus.get(line.line_id, "")))
    return state.model_copy(update={"lines": tuple(lines)})


def _named(line: Line, here: list[LineState], sku: str) -> LineState:
    known = here[0] if here else LineState.new(line, "")
    return known.model_copy(update={"sku": sku})


def moved(
    state: OrderState, units: Iterable[LineQuantity], source: Bucket, to: Bucket
) -> OrderState:
    """The state with units of lines moved from one bucket to another. Raises Invalid."""
    quantities: dict[str, int] = {}
    for lq in units:
        quantities[lq.line_id] = quantities.get(lq.line_id, 0) + lq.quantity
    lines = tuple(
        line.moved(source, to, quantities[line.line_id]) if line.line_id in quantities else line
        for line in state.lines
    )
    return state.model_copy(update={"lines": lines})


def all_moved(state: OrderState, sources: Iterable[Bucket], to: Bucket) -> OrderState:
    """Everything that is in `sources`, moved."""
    for source in sources:
        state = moved(state, units_in(state, source), source, to)
    return state


def units_in(state: OrderState, *buckets: Bucket) -> tuple[LineQuantity, ...]:
    return tuple(
        LineQuantity(line_id=line.line_id, quantity=line.units(*buckets))
        for line in state.lines
        if line.units(*buckets)
    )


def with_fulfillment(state: OrderState, fulfillment: Fulfillment) -> OrderState:
    """The state with this fulfillment in place of its former self, or added."""
    others = [f for f in state.fulfillments if f.fulfillment_id != fulfillment.fulfillment_id]
    if len(others) == len(state.fulfillments):
        return state.model_copy(update={"fulfillments": (*others, fulfillment)})
    same = fulfillment.fulfillment_id
    after = tuple(fulfillment if f.fulfillment_id == same else f for f in state.fulfillments)
    return state.model_copy(update={"fulfillments": after})


def split(
    state: OrderState,
    order: Order,
    assignments: Iterable[Assignment],
    release_at: Mapping[str, datetime] = NOW,
) -> tuple[Fulfillment, ...]:
    """
    One fulfillment for every package of the plan; its share of the goods' value to the cent.
    `release_at` is by node.
    """
    worth = _Worth(state, order)
    skus = {line.line_id: line.sku for line in state.lines}
    first = len(state.fulfillments) + 1
    return tuple(
        Fulfillment(
            fulfillment_id=f"{state.order_id}-F{number}",
            order_id=state.order_id,
            node=a.node,
            method=order.method,
            service=a.service,
            lines=a.lines,
            skus={lq.line_id: skus[lq.line_id] for lq in a.lines},
            ship_by=a.ship_by,
            deliver_by=a.deliver_by,
            release_at=release_at.get(a.node),
            cost_minor=a.cost.total,
            goods_minor=sum(worth.of(lq) for lq in a.lines),
        )
        for number, a in enumerate(assignments, first)
    )


class _Worth:
    """What the next units of each line cost the customer; a component's are worth to the cent."""

    def __init__(self, state: OrderState, order: Order) -> None:
        self._prices = {line.line_id: line.unit_price_minor for line in order.lines}
        self._parts = {line.line_id: line for line in state.lines if line.kit}
        waits = (Bucket.OPEN, Bucket.BACKORDERED, Bucket.RESERVED)
        self._placed = {name: p.ordered - p.units(*waits) for name, p in self._parts.items()}

    def of(self, lq: LineQuantity) -> int:
        part = self._parts.get(lq.line_id)
        if part is None:
            return self._prices[lq.line_id] * lq.quantity
        before = self._placed[lq.line_id]
        after = self._placed[lq.line_id] = before + lq.quantity
        return part.goods_minor * after // part.ordered - part.goods_minor * before // part.ordered


def settled(state: OrderState) -> bool:
    """Nothing more will happen to any unit."""
    return bool(state.lines) and all(line.units(*SETTLED) == line.ordered for line in state.lines)


def rolled_up(state: OrderState) -> OrderState:
    """The state with its status derived from where the units are."""
    return state.model_copy(update={"status": _status(state)})


def _status(state: OrderState) -> OrderStatus:
    if state.status in TERMINAL:
        return state.status
    units = {b: sum(line.units(b) for line in state.lines) for b in Bucket}
    ordered = sum(line.ordered for line in state.lines)
    if settled(state):
        if units[Bucket.CANCELLED] < ordered:
            return OrderStatus.COMPLETED
        return OrderStatus.EXPIRED if state.reason == "pickup_expired" else OrderStatus.CANCELLED
    gone = sum(units[b] for b in GONE)
    all_left = gone + units[Bucket.CANCELLED] == ordered  # nothing can be called back any more
    rules = (
        (state.cancel is not None and not all_left, OrderStatus.CANCEL_PENDING),
        (bool(state.holds), OrderStatus.ON_HOLD),
        (gone > 0 and all_left, OrderStatus.SHIPPED),
        (gone > 0, OrderStatus.PARTIALLY_SHIPPED),
        (units[Bucket.READY_FOR_PICKUP] > 0, OrderStatus.READY_FOR_PICKUP),
        (units[Bucket.ALLOCATED] + units[Bucket.RELEASED] > 0, OrderStatus.IN_FULFILLMENT),
        (units[Bucket.BACKORDERED] > 0, OrderStatus.BACKORDERED),
        (units[Bucket.RESERVED] > 0, OrderStatus.SOURCING),
    )
    return next((status for holds, status in rules if holds), OrderStatus.RECEIVED)


def caught_up(stored: OrderState, ours: OrderState) -> OrderState:
    """
    The stored state, with what we know of besides: that a node has or accepted a request, what
    waits for a person, a wish to cancel. These are noted in memory before they are written.
    """
    state = stored
    known = {f.fulfillment_id: f for f in ours.fulfillments}
    for f in stored.fulfillments:
        own = known.get(f.fulfillment_id)
        if own is None or not set(own.seen) >= set(f.seen) or not _equal_goods(own, f):
            continue
        if bucket_of(f) is Bucket.ALLOCATED and bucket_of(own) is Bucket.RELEASED:
            state = moved(state, f.remaining(), Bucket.ALLOCATED, Bucket.RELEASED)
        state = with_fulfillment(state, own)
    cancel = ours.cancel or stored.cancel
    return rolled_up(state.model_copy(update={"attention": ours.attention, "cancel": cancel}))


def _equal_goods(a: Fulfillment, b: Fulfillment) -> bool:
    """Neither has moved units that the other has not."""
    return (
        a.status not in ENDED
        and b.status not in ENDED
        and ((a.shipped, a.delivered, a.pickup_until) == (b.shipped, b.delivered, b.pickup_until))
    )


def bucket_of(f: Fulfillment) -> Bucket:
    """Where the units are that the node has not shipped."""
    if f.pickup_until is not None:
        return Bucket.READY_FOR_PICKUP
    if f.request is RequestStatus.UNSUBMITTED:
        return Bucket.ALLOCATED
    return Bucket.RELEASED


def in_transit(f: Fulfillment) -> tuple[LineQuantity, ...]:
    """What has shipped and not arrived."""
    on_the_way = ((line, q - f.delivered.get(line, 0)) for line, q in f.shipped.items())
    return tuple(LineQuantity(line_id=line, quantity=q) for line, q in on_the_way if q > 0)


def over(f: Fulfillment) -> bool:
    """Nothing more is expected of the fulfillment."""
    return f.status in ENDED and not in_transit(f)


def nodes(state: OrderState) -> list[str]:
    """The nodes that fulfill the order or did, sorted."""
    kept = (f for f in state.fulfillments if f.status is not FulfillmentStatus.CANCELLED)
    return sorted({f.node for f in kept})
