"""Units move between buckets and are never lost; the order's status follows from where they are."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.fulfillments import Fulfillment, FulfillmentStatus, LineQuantity
from domain.lifecycle import (
    all_moved,
    bucket_of,
    moved,
    received,
    rolled_up,
    settled,
    split,
    units_in,
    with_fulfillment,
    with_lines,
)
from domain.orders import (
    GONE,
    SETTLED,
    TERMINAL,
    Bucket,
    Hold,
    Line,
    LineState,
    Order,
    OrderStatus,
)
from domain.records import CancelRequest, OrderState
from domain.sourcing.problem import Assignment, CostParts

NOW = datetime(2026, 11, 20, tzinfo=UTC)
buckets = st.sampled_from(Bucket)
quantities = st.integers(1, 9)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    count = draw(st.integers(1, 4))
    lines = tuple(
        Line(
            line_id=str(i),
            sku=f"sku-{i}",
            quantity=draw(quantities),
            unit_price_minor=draw(st.integers(0, 10_000)),
        )
        for i in range(count)
    )
    return Order(channel="test", channel_order_id="1", placed_at=NOW, currency="USD", lines=lines)


@st.composite
def states(draw: st.DrawFn) -> OrderState:
    """An order after some moves that were possible, held or cancelled perhaps."""
    order = draw(orders())
    state = with_lines(received(order), order, {line.line_id: line.sku for line in order.lines})
    for _ in range(draw(st.integers(0, 8))):
        source, to = draw(buckets), draw(buckets)
        here = units_in(state, source)
        if here:
            lq = draw(st.sampled_from(here))
            some = LineQuantity(line_id=lq.line_id, quantity=draw(st.integers(1, lq.quantity)))
            state = moved(state, (some,), source, to)
    holds = (Hold(handle="x", reason="x"),) if draw(st.booleans()) else ()
    cancel = CancelRequest() if draw(st.booleans()) else None
    return state.model_copy(update={"holds": holds, "cancel": cancel})


@given(states(), buckets, buckets, st.lists(st.tuples(st.integers(0, 4), quantities), max_size=4))
def test_a_move_keeps_every_unit_or_is_refused(
    state: OrderState, source: Bucket, to: Bucket, wanted: list[tuple[int, int]]
) -> None:
    units = tuple(LineQuantity(line_id=str(line), quantity=q) for line, q in wanted)
    try:
        after = moved(state, units, source, to)
    except Invalid:
        after = state
    for line, before in zip(after.lines, state.lines, strict=True):
        assert sum(line.buckets.values()) == line.ordered == before.ordered
        assert all(units > 0 for units in line.buckets.values())


@given(states(), st.lists(buckets, max_size=4), buckets)
def test_moving_all_leaves_nothing_behind(
    state: OrderState, sources: list[Bucket], to: Bucket
) -> None:
    after = all_moved(state, sources, to)
    assert units_in(after, *(set(sources) - {to})) == ()
    assert [sum(line.buckets.values()) for line in after.lines] == [
        line.ordered for line in after.lines
    ]


@given(states())
def test_the_status_follows_from_where_the_units_are(state: OrderState) -> None:
    after = rolled_up(state)
    assert rolled_up(after) == after
    assert (after.status in TERMINAL) == settled(state)
    if settled(state):
        all_cancelled = all(line.units(Bucket.CANCELLED) == line.ordered for line in state.lines)
        assert (after.status is OrderStatus.CANCELLED) == all_cancelled
    elif state.cancel and units_in(state, *(set(Bucket) - GONE - {Bucket.CANCELLED})):
        assert after.status is OrderStatus.CANCEL_PENDING
    elif state.holds:
        assert after.status is OrderStatus.ON_HOLD
    elif units_in(state, *GONE):
        assert after.status in (OrderStatus.SHIPPED, OrderStatus.PARTIALLY_SHIPPED)


@given(states(), buckets)
def test_what_is_over_stays_over(state: OrderState, to: Bucket) -> None:
    done = rolled_up(all_moved(state, Bucket, Bucket.CANCELLED))
    assert done.status in TERMINAL
    later = all_moved(done, Bucket, to).model_copy(update={"cancel": None, "holds": ()})
    assert rolled_up(later).status is done.status


@given(orders(), st.data())
def test_a_split_shares_out_the_goods_to_the_cent(order: Order, data: st.DataObject) -> None:
    state = with_lines(received(order), order, {line.line_id: line.sku for line in order.lines})
    state = all_moved(state, [Bucket.OPEN], Bucket.RESERVED)
    first: list[LineQuantity] = []
    second: list[LineQuantity] = []
    for lq in units_in(state, Bucket.RESERVED):
        here = data.draw(st.integers(0, lq.quantity))
        for share, quantity in ((first, here), (second, lq.quantity - here)):
            if quantity:
                share.append(LineQuantity(line_id=lq.line_id, quantity=quantity))
    parts = split(state, order, [_assignment("A", first), _assignment("B", second)])
    assert [f.fulfillment_id for f in parts] == ["test-1-F1", "test-1-F2"]
    worth = sum(line.unit_price_minor * line.quantity for line in order.lines)
    assert sum(f.goods_minor for f in parts) == worth
    for f in parts:
        state = moved(with_fulfillment(state, f), f.lines, Bucket.RESERVED, bucket_of(f))
    assert units_in(state, Bucket.RESERVED) == ()
    assert state.fulfillments == parts


@given(states(), orders())
def test_the_catalogue_names_products_and_moves_nothing(state: OrderState, order: Order) -> None:
    named = {line.line_id: f"known-{line.line_id}" for line in order.lines}
    after = with_lines(state, order, named)
    units = {line.line_id: line.buckets for line in state.lines}
    for line in after.lines:
        assert line.sku == named[line.line_id]
        assert line.buckets == units.get(line.line_id, {Bucket.OPEN: line.ordered})


def test_a_fulfillment_is_replaced_by_its_later_self() -> None:
    order = Order(
        channel="test",
        channel_order_id="1",
        placed_at=NOW,
        currency="USD",
        lines=(Line(line_id="1", sku="mug", quantity=2),),
    )
    lines = [LineQuantity(line_id="1", quantity=2)]
    state = with_lines(received(order), order, {"1": "mug"})
    (f,) = split(state, order, [_assignment("A", lines)])
    later: Fulfillment = f.model_copy(update={"status": FulfillmentStatus.CLOSED})
    assert with_fulfillment(with_fulfillment(state, f), later).fulfillments == (later,)


def test_settled_means_delivered_collected_or_cancelled() -> None:
    assert {b for b in Bucket if settled(_all_in(b))} == SETTLED


@pytest.mark.parametrize("reason", ["pickup_expired", ""])
def test_an_order_whose_pickup_expired_says_so(reason: str) -> None:
    state = _all_in(Bucket.CANCELLED).model_copy(update={"reason": reason})
    expected = OrderStatus.EXPIRED if reason else OrderStatus.CANCELLED
    assert rolled_up(state).status is expected


def _all_in(bucket: Bucket) -> OrderState:
    line = LineState(line_id="1", sku="mug", ordered=2, buckets={bucket: 2})
    return OrderState(order_id="o", channel="c", channel_order_id="1", lines=(line,))


def _assignment(node: str, lines: list[LineQuantity]) -> Assignment:
    return Assignment(
        node=node,
        service="ground",
        carrier="ups",
        lines=tuple(lines),
        ship_by=NOW,
        deliver_by=NOW,
        cost=CostParts(shipping=100),
    )
