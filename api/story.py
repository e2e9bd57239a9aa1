"""An order's state told in plain words. Pure: what is said here can be derived by anyone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from api.answers import (
    Chosen,
    LineView,
    OrderCard,
    ProblemView,
    PromiseView,
    RunnerUp,
    Why,
)
from domain.fulfillments import ENDED, Fulfillment
from domain.money import Money
from domain.orders import GONE, Bucket, OrderStatus
from domain.records import OrderState
from domain.sourcing.problem import Decision
from storage.intake import IntakeEntry
from storage.reads import OrderCard as Record
from storage.reads import TimelineEvent

_TOLD = {
    OrderStatus.RECEIVED: "The order was received and is being checked.",
    OrderStatus.SOURCING: "The units are reserved; where they ship from is being decided.",
    OrderStatus.COMPLETED: "Every unit has reached the customer.",
}
_ENDED = {
    OrderStatus.REJECTED: "The order was refused",
    OrderStatus.CANCELLED: "The order was cancelled",
    OrderStatus.EXPIRED: "The order was not collected in time",
}
_WENT_WRONG = frozenset({"rejected", "exception"})


def card(record: Record) -> OrderCard:
    """The one answer that says where, when, why, what went wrong and who did what."""
    order, state = record.order, record.state
    titles = {line.line_id: line.title for line in order.lines}
    lines = tuple(
        LineView(
            line_id=line.line_id,
            sku=line.sku,
            title=titles.get(line.line_id, ""),
            ordered=line.ordered,
            buckets=line.buckets,
        )
        for line in state.lines
    )
    return OrderCard(
        order_id=state.order_id,
        status=state.status,
        sentence=sentence(state),
        reason=state.reason,
        order=order,
        lines=lines,
        holds=state.holds,
        attention=state.attention,
        fulfillments=record.fulfillments,
        promise=promise(state),
        why=why(record.decisions[-1]) if record.decisions else None,
        problems=problems(state, record.events),
        timeline=record.events,
        accepted_at=record.accepted_at,
        updated_at=record.updated_at,
    )


def sentence(state: OrderState) -> str:
    """Where the order is, and what it waits for."""
    told = _told(state)
    if state.attention:
        told += f" A person must decide: {state.attention[0].message}"
    return told


def declined(entry: IntakeEntry) -> str:
    """Why an order that its channel sent is not here."""
    why = f"{entry.code.replace('_', ' ')}: {entry.detail}" if entry.code else entry.detail
    return f"{entry.channel} sent it and it was declined: {why}"


def promise(state: OrderState) -> PromiseView:
    due = [f.deliver_by for f in state.fulfillments if f.status not in ENDED or f.shipped]
    expected = max(due, default=None)
    late = bool(expected and state.promise_by and expected > state.promise_by)
    return PromiseView(promised=state.promise_by, expected=expected, late=late)


def why(decision: Decision) -> Why:
    plan, problem = decision.plan, decision.problem
    return Why(
        decision_id=decision.decision_id,
        round=problem.round,
        decided_as_of=problem.as_of,
        sentence=_reasoned(decision),
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
    found += [
        ProblemView(
            kind="rejection" if entry.type.endswith("rejected") else "exception",
            message=entry.summary,
            since=entry.at,
            fulfillment_id=entry.fulfillment_id,
        )
        for entry in timeline
        if entry.type.rpartition(".")[2] in _WENT_WRONG
    ]
    return tuple(found)


def _told(state: OrderState) -> str:
    if state.status in _TOLD:
        return _TOLD[state.status]
    match state.status:
        case OrderStatus.ON_HOLD:
            return f"The order is held: {_joined(hold.reason for hold in state.holds)}."
        case OrderStatus.BACKORDERED:
            missing = _joined(f"{quantity} of {sku}" for sku, quantity in state.short.items())
            return f"The order waits for stock: {missing} missing."
        case OrderStatus.READY_FOR_PICKUP:
            return _ready(state.fulfillments)
        case OrderStatus.CANCEL_PENDING:
            return f"The order is being cancelled; {_nodes(state) or 'nobody'} must confirm."
    return (
        f"{_ENDED[state.status]}{_because(state)}." if state.status in _ENDED else _under_way(state)
    )


def _under_way(state: OrderState) -> str:
    ordered = sum(line.ordered for line in state.lines)
    gone = sum(line.units(*GONE) for line in state.lines)
    cancelled = sum(line.units(Bucket.CANCELLED) for line in state.lines)
    wanted = ordered - cancelled
    if state.status is OrderStatus.SHIPPED:
        due = promise(state).expected
        return f"All {wanted} units have shipped{f', expected by {_day(due)}' if due else ''}."
    preparing = _nodes(state)
    at = f" {preparing} prepares the rest." if preparing and gone else ""
    if gone:
        return f"{gone} of {wanted} units have shipped.{at}"
    return f"{wanted} units are being prepared{f' at {preparing}' if preparing else ''}."


def _ready(fulfillments: Iterable[Fulfillment]) -> str:
    waiting = [f for f in fulfillments if f.status not in ENDED]
    where = _joined(
        f"{f.node} until {_day(f.pickup_until)}" if f.pickup_until else f.node for f in waiting
    )
    return f"The order is ready to be collected at {where}."


def _nodes(state: OrderState) -> str:
    return _joined(dict.fromkeys(f.node for f in state.fulfillments if f.status not in ENDED))


def _because(state: OrderState) -> str:
    return f": {state.reason.replace('_', ' ')}" if state.reason else ""


def _reasoned(decision: Decision) -> str:
    plan, currency = decision.plan, decision.problem.currency
    if not plan.assignments:
        return "No node can serve the order."
    chosen = _joined(dict.fromkeys(part.node for part in plan.assignments))
    said = f"{chosen} cost {Money(minor=plan.cost.total, currency=currency)}"
    runner_up = _runner_up(decision)
    if runner_up is None or runner_up.gap_minor is None:
        return f"{said}; no other set of nodes could serve it."
    more = Money(minor=runner_up.gap_minor, currency=currency)
    return f"{said}; the next best, {_joined(runner_up.nodes)}, would cost {more} more."


def _runner_up(decision: Decision) -> RunnerUp | None:
    plan = decision.runner_up
    if plan is None:
        return None
    nodes = tuple(dict.fromkeys(part.node for part in plan.assignments))
    return RunnerUp(nodes=nodes, cost_minor=plan.cost.total, gap_minor=decision.gap_minor)


def _joined(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _day(at: datetime) -> str:
    return f"{at:%a %d %b %H:%M} UTC"
