"""An order's state told in plain words. Pure: what is said here can be derived by anyone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Final

from api.answers import (
    Chosen,
    LineView,
    OrderCard,
    ProblemKind,
    ProblemView,
    PromiseView,
    RunnerUp,
    Why,
)
from domain.fulfillments import ENDED
from domain.kits import kit_buckets
from domain.lifecycle import over
from domain.money import Money
from domain.orders import GONE, Bucket, DeliveryMethod, Order, OrderStatus
from domain.records import OrderState
from domain.sourcing.comparing import against
from domain.sourcing.problem import Decision
from storage.backorders import Awaited
from storage.intake import IntakeEntry
from storage.reads import OrderCard as Record
from storage.reads import TimelineEvent

_SHOWN: Final = 50
_ARRIVED: Final = frozenset({"delivered", "collected"})
# A pickup is promised to be ready by then, not to be collected.
_KEPT: Final = frozenset({"delivered", "ready_for_pickup"})

# What of a story went wrong, whether or not it was mended since.
_WENT_WRONG: Final[Mapping[str, ProblemKind]] = {
    "node.rejected": "rejection",
    "node.exception": "exception",
    "contradiction": "exception",
    "fulfillment_cancelled": "recall",
    "fulfillment_vouched": "recall",
    "fulfillment_short_shipped": "short",
    "fulfillment_expired": "expiry",
    "write_back_refused": "write_back",
}


def card(record: Record, awaits: tuple[Awaited, ...] = ()) -> OrderCard:
    """The one answer that says where, when, why, what went wrong and who did what."""
    order, state = record.order, record.state
    return OrderCard(
        order_id=state.order_id,
        status=state.status,
        sentence=sentence(state) + _awaited(awaits),
        reason=state.reason,
        order=order,
        lines=tuple(_lines(order, state)),
        holds=state.holds,
        attention=state.attention,
        cancel=state.cancel,
        fulfillments=record.fulfillments,
        promise=promise(state, record.events),
        why=why(record.decisions[-1]) if record.decisions else None,
        awaits=awaits,
        problems=problems(state, record.events),
        timeline=record.events[-_SHOWN:],
        accepted_at=record.accepted_at,
        updated_at=record.updated_at,
    )


def _lines(order: Order, state: OrderState) -> Iterator[LineView]:
    """The lines as they were sold; of a kit its components' lines stand in it."""
    titles = {line.line_id: line.title for line in order.lines}
    for sold, group in groupby(state.lines, lambda x: x.kit.line_id if x.kit else x.line_id):
        parts = tuple(group)
        views = tuple(
            LineView(line_id=x.line_id, sku=x.sku, ordered=x.ordered, buckets=x.buckets)
            for x in parts
        )
        if (kit := parts[0].kit) is None:
            yield views[0].model_copy(update={"title": titles.get(sold, "")})
            continue
        yield LineView(
            line_id=sold,
            sku=kit.sku,
            title=titles.get(sold, ""),
            ordered=kit.kits,
            buckets=kit_buckets(parts),
            components=views,
        )


def sentence(state: OrderState) -> str:
    """Where the order is, what it waits for, and whether it will be late."""
    told = _told(state)
    due = promise(state, ())
    if due.late and due.promised:
        told += f" That is later than promised ({_day(due.promised)})."
    if state.attention:
        told += f" A person must decide: {state.attention[0].message}"
    return told


def declined(entry: IntakeEntry) -> str:
    """Why an order that its channel sent is not here."""
    why = f"{entry.code.replace('_', ' ')}: {entry.detail}" if entry.code else entry.detail
    return f"{entry.channel} sent it and it was declined: {why}"


def promise(state: OrderState, timeline: Iterable[TimelineEvent]) -> PromiseView:
    """What arrived counts as it arrived; what is still to come, as it is expected."""
    coming = [f.deliver_by for f in state.fulfillments if not over(f)]
    told = tuple(timeline)
    expected = max(coming, default=None)
    arrived = max((e.at for e in told if e.type in _ARRIVED), default=None)
    kept = max((e.at for e in told if e.type in _KEPT), default=arrived)
    arrived = arrived if not coming else None
    last = expected or kept
    late = bool(last and state.promise_by and last > state.promise_by)
    return PromiseView(promised=state.promise_by, expected=expected, arrived=arrived, late=late)


def why(decision: Decision) -> Why:
    plan, problem = decision.plan, decision.problem
    return Why(
        decision_id=decision.decision_id,
        round=problem.round,
        decided_as_of=problem.as_of,
        sentence=f"{_promised(decision)}{_reasoned(decision)}{_doubted(decision)}",
        currency=problem.currency,
        chosen=tuple(
            Chosen(
                node=part.node,
                service=part.service,
                carrier=part.carrier,
                units=sum(line.quantity for line in part.lines),
                ship_by=part.ship_by,
                deliver_by=part.deliver_by,
                cost=part.cost,
                cost_minor=part.cost.total,
            )
            for part in plan.assignments
        ),
        cost=plan.cost,
        cost_minor=plan.cost.total,
        unsourced=plan.unsourced,
        runner_up=_runner_up(decision),
        eliminated=decision.eliminated,
        proof=decision.proof,
        solver=decision.solver,
    )


def problems(state: OrderState, timeline: Iterable[TimelineEvent]) -> tuple[ProblemView, ...]:
    """What waits for a person, what holds the order, what nodes refused or reported."""
    found = [
        ProblemView(
            kind="attention",
            message=item.message,
            since=item.since,
            fulfillment_id=item.fulfillment_id,
            options=item.options,
        )
        for item in state.attention
    ]
    found += [ProblemView(kind="hold", message=hold.reason) for hold in state.holds]
    found += [
        ProblemView(kind="short", message=f"{quantity} of {sku} missing")
        for sku, quantity in state.short.items()
    ]
    return (*found, *(_went_wrong(state, entry) for entry in timeline if _is_wrong(state, entry)))


def _is_wrong(state: OrderState, entry: TimelineEvent) -> bool:
    """Units that come back because the order is cancelled are as they should be."""
    wanted = state.cancel is not None and entry.type == "fulfillment_cancelled"
    return entry.type in _WENT_WRONG and not wanted


def _went_wrong(state: OrderState, entry: TimelineEvent) -> ProblemView:
    message = entry.summary
    if entry.type == "write_back_refused":
        message = f"{state.channel} did not take what we told it: {entry.summary}"
    return ProblemView(
        kind=_WENT_WRONG[entry.type],
        message=message,
        since=entry.at,
        fulfillment_id=entry.fulfillment_id,
    )


def _told(state: OrderState) -> str:
    return _SAID.get(state.status, _under_way)(state)


def _backordered(state: OrderState) -> str:
    missing = _joined(f"{quantity} of {sku}" for sku, quantity in state.short.items())
    return f"The order waits for stock: {missing} missing."


def _awaited(awaits: tuple[Awaited, ...]) -> str:
    told = _joined(f"{a.units} of {a.sku} from {a.ref} by {_day(a.expected_at)}" for a in awaits)
    return f" Expected: {told}." if told else ""


def _cancel_pending(state: OrderState) -> str:
    told = f"The order is being cancelled{_asked_by(state)}."
    return f"{told} {_nodes(state)} must confirm." if _nodes(state) else told


def _held(state: OrderState) -> str:
    """What the question to a person says already is not said twice."""
    asked = " ".join(item.message for item in state.attention)
    reasons = [hold.reason for hold in state.holds if hold.reason not in asked]
    return f"The order is held: {_joined(reasons)}." if reasons else "The order is held."


def _asked_by(state: OrderState) -> str:
    if state.cancel is None:
        return ""
    by = f" by {state.cancel.by}" if state.cancel.by else ""
    return f"{by}: {state.cancel.note}" if state.cancel.note else by


def _expired(state: OrderState) -> str:
    missed = _joined(
        f"{f.node} by {_day(f.pickup_until)}" for f in state.fulfillments if f.pickup_until
    )
    where = f" at {missed}" if missed else " in time"
    return f"The order was not collected{where}; its units are for sale again."


def _completed(state: OrderState) -> str:
    ordered = sum(line.ordered for line in state.lines)
    cancelled = sum(line.units(Bucket.CANCELLED) for line in state.lines)
    if not cancelled:
        return "Every unit has reached the customer."
    return (
        f"{ordered - cancelled} of {_units(ordered)} reached the customer; "
        f"{cancelled} {'was' if cancelled == 1 else 'were'} cancelled."
    )


def _under_way(state: OrderState) -> str:
    ordered = sum(line.ordered for line in state.lines)
    gone = sum(line.units(*GONE) for line in state.lines)
    cancelled = sum(line.units(Bucket.CANCELLED) for line in state.lines)
    wanted = ordered - cancelled
    if state.status is OrderStatus.SHIPPED:
        due = promise(state, ()).expected
        whole = "The one unit has" if wanted == 1 else f"All {wanted} units have"
        return f"{whole} shipped{f', expected by {_day(due)}' if due else ''}."
    preparing = _nodes(state)
    at = f" The rest is being prepared at {preparing}." if preparing and gone else ""
    if gone:
        return f"{gone} of {_units(wanted)} {'has' if gone == 1 else 'have'} shipped.{at}"
    where = f" at {preparing}" if preparing else ""
    return f"{_units(wanted)} {'is' if wanted == 1 else 'are'} being prepared{where}."


def _ready(state: OrderState) -> str:
    waiting = [f for f in state.fulfillments if f.status not in ENDED]
    where = _joined(
        f"{f.node} until {_day(f.pickup_until)}" if f.pickup_until else f.node for f in waiting
    )
    return f"The order is ready to be collected at {where}."


def _nodes(state: OrderState) -> str:
    return _joined(dict.fromkeys(f.node for f in state.fulfillments if f.status not in ENDED))


def _because(state: OrderState) -> str:
    return f": {state.reason.replace('_', ' ')}" if state.reason else ""


def _promised(decision: Decision) -> str:
    """What became of a quoted plan, where the order came with one."""
    promise = decision.promise
    if promise is None:
        return ""
    return (
        "As it was promised. "
        if promise.kept
        else f"The plan that was promised could not be kept ({promise.reason}). "
    )


def _reasoned(decision: Decision) -> str:
    plan, currency = decision.plan, decision.problem.currency
    if not plan.assignments:
        return "No node can serve the order."
    chosen = _joined(dict.fromkeys(part.node for part in plan.assignments))
    if all(part.service == DeliveryMethod.PICKUP for part in plan.assignments):
        return f"The customer collects it at {chosen}."
    said = f"From {chosen} it costs {Money(minor=plan.cost.total, currency=currency)}"
    if decision.promise and decision.promise.kept:
        return f"{said}."
    if decision.runner_up is None:
        return f"{said}; no other set of nodes could serve it."
    second = _joined(dict.fromkeys(part.node for part in decision.runner_up.assignments))
    return f"{said}; the next best, {second}, {against(decision, decision.runner_up)}."


def _doubted(decision: Decision) -> str:
    """Where another solver comes to something else."""
    other, currency = decision.certificate, decision.problem.currency
    if other is None or other.agrees:
        return ""
    cost = Money(minor=other.cost_minor, currency=currency)
    left = f", with {_units(other.unsourced)} unsourced" if other.unsourced else ""
    return f" Alarm: {other.solver} finds a plan of {cost}{left}; one of the solvers is wrong."


def _runner_up(decision: Decision) -> RunnerUp | None:
    plan = decision.runner_up
    if plan is None:
        return None
    nodes = tuple(dict.fromkeys(part.node for part in plan.assignments))
    return RunnerUp(nodes=nodes, cost_minor=plan.cost.total, gap_minor=decision.gap_minor)


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"


def _joined(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _day(at: datetime) -> str:
    return f"{at:%a %d %b %H:%M} UTC"


_SAID: Final[Mapping[OrderStatus, Callable[[OrderState], str]]] = {
    OrderStatus.RECEIVED: lambda _: "The order was received and is being checked.",
    OrderStatus.SOURCING: lambda _: (
        "The units are reserved; where they ship from is being decided."
    ),
    OrderStatus.ON_HOLD: _held,
    OrderStatus.BACKORDERED: _backordered,
    OrderStatus.READY_FOR_PICKUP: _ready,
    OrderStatus.CANCEL_PENDING: _cancel_pending,
    OrderStatus.REJECTED: lambda state: f"The order was refused{_because(state)}.",
    OrderStatus.CANCELLED: lambda state: (
        f"The order was cancelled{_asked_by(state) or _because(state)}."
    ),
    OrderStatus.EXPIRED: _expired,
    OrderStatus.COMPLETED: _completed,
}
