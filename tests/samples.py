"""Small values of the domain; a test changes in them what it is about."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.fulfillments import Fulfillment, LineQuantity
from domain.network import Calendar, Node, NodeKind
from domain.orders import DeliveryMethod, Line, LineState, Order, OrderStatus
from domain.records import Change, OrderState
from domain.sourcing.problem import Assignment, CostParts, Decision, Plan, Problem

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def a_node(code: str, **changes: Any) -> Node:
    node = Node(
        code=code,
        name=f"Node {code}",
        kind=NodeKind.DC,
        postal_code="75201",
        latitude=32.78,
        longitude=-96.8,
        calendar=Calendar(timezone="America/Chicago"),
    )
    return node.model_copy(update=changes)


def a_share(  # noqa: PLR0913
    fulfillment_id: str,
    node: str,
    lines: Mapping[str, int],
    *,
    sku: str = "A",
    order_id: str = "web-1",
    method: DeliveryMethod = DeliveryMethod.SHIP,
) -> Fulfillment:
    return Fulfillment(
        fulfillment_id=fulfillment_id,
        order_id=order_id,
        node=node,
        method=method,
        service="ground",
        lines=tuple(LineQuantity(line_id=line, quantity=q) for line, q in lines.items()),
        skus=dict.fromkeys(lines, sku),
        ship_by=NOON,
        deliver_by=NOON + timedelta(days=3),
    )


def an_order(number: str = "1", **changes: Any) -> Order:
    order = Order(
        channel="web",
        channel_order_id=number,
        placed_at=NOON,
        currency="USD",
        total_minor=3000,
        lines=(Line(line_id="1", sku="A", quantity=3, unit_price_minor=1000),),
        email="ann@example.com",
    )
    return order.model_copy(update=changes)


def a_change(order: Order, seq: int = 1, **changes: Any) -> Change:
    """A change to the state of a new order, `seq` minutes after noon."""
    state = OrderState(
        order_id=order.order_id,
        channel=order.channel,
        channel_order_id=order.channel_order_id,
        status=OrderStatus.RECEIVED,
        lines=tuple(LineState.new(line, line.sku) for line in order.lines),
    )
    of_change = {k: changes.pop(k) for k in ("events", "messages") if k in changes}
    return Change(
        key=f"run:{seq}",
        at=NOON + timedelta(minutes=seq),
        seq=seq,
        state=state.model_copy(update=changes),
        **of_change,
    )


def a_problem(order_id: str = "web-1") -> Problem:
    """A round of sourcing that nobody looks into."""
    return Problem(
        order_id=order_id,
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=None,
        demands=(),
        candidates=(),
    )


def a_decision(share: Fulfillment, cost: CostParts) -> Decision:
    """The decision for this one package."""
    package = Assignment(
        node=share.node,
        service=share.service,
        carrier="ups",
        lines=share.lines,
        ship_by=share.ship_by,
        deliver_by=share.deliver_by,
        cost=cost,
    )
    return Decision(
        decision_id=f"{share.order_id}/1",
        problem=a_problem(share.order_id),
        plan=Plan(assignments=(package,), cost=cost),
        solver="cp-sat",
    )
