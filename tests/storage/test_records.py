"""An order's record: accepted once, told once, and never set back by what comes late."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, NotFound
from domain.fulfillments import (
    FulfillmentStatus,
    NodeEvent,
    NodeEventType,
    RequestStatus,
)
from domain.orders import OrderStatus
from domain.records import Attention, Message, OrderEvent
from storage import inbox, open_orders, outbox, reads, records
from tests.samples import NOON, a_change, a_share, an_order

RECEIVED = OrderEvent(type="received", summary="3 units", actor="channel:web", cause="1")


async def test_an_order_is_accepted_once(conn: AsyncConnection) -> None:
    order = an_order()
    first = await records.accept(conn, order, "run-1", a_change(order, events=(RECEIVED,)))
    assert first.new
    again = await records.accept(conn, order, "run-1", a_change(order, 2, events=(RECEIVED,)))
    assert (again.new, again.same_run, again.same_payload) == (False, True, True)
    other = await records.accept(conn, an_order(email="eve@x.com"), "run-2", a_change(order))
    assert (other.new, other.same_run, other.same_payload) == (False, False, False)
    assert await records.order(conn, "web-1") == order
    assert other.state == await records.state(conn, "web-1")
    assert len(await reads.timeline(conn, "web-1")) == 1
    assert (await records.accept(conn, order, "run-2", a_change(order))).same_run


async def test_a_run_that_was_replaced_writes_no_more(conn: AsyncConnection) -> None:
    order = an_order()
    first, second = a_change(order, 1), a_change(order, 2).model_copy(update={"key": "other:1"})
    await records.accept(conn, order, "run-1", first)
    await records.accept(conn, order, "run-1", second)

    with pytest.raises(Conflict, match="another run"):
        await records.apply(conn, a_change(order, 3))


async def test_a_late_change_tells_its_story_but_sets_nothing_back(conn: AsyncConnection) -> None:
    order = an_order()
    await records.accept(conn, order, "run-1", a_change(order, events=(RECEIVED,)))
    newer = a_change(order, 3, status=OrderStatus.SOURCING, events=(RECEIVED, RECEIVED))
    older = a_change(order, 2, status=OrderStatus.ON_HOLD, events=(RECEIVED,))
    for change in (newer, older, newer, older):
        await records.apply(conn, change)
    state = await records.state(conn, "web-1")
    assert state is not None
    assert state.status is OrderStatus.SOURCING
    assert len(await reads.timeline(conn, "web-1")) == 4


async def test_a_change_of_an_unknown_order_is_loud(conn: AsyncConnection) -> None:
    with pytest.raises(NotFound):
        await records.apply(conn, a_change(an_order()))
    assert await records.order(conn, "web-1") is None
    assert await records.state(conn, "web-1") is None


async def test_a_run_that_was_replaced_writes_nothing_more(conn: AsyncConnection) -> None:
    order = an_order()
    await records.accept(conn, order, "run-1", a_change(order, events=(RECEIVED,)))
    after_reset = a_change(order, 2).model_copy(update={"key": "other:1"})
    assert (await records.accept(conn, order, "run-1", after_reset)).same_run
    with pytest.raises(Conflict) as conflict:
        await records.apply(conn, a_change(order, 3))
    assert conflict.value.code == "superseded"
    await records.apply(conn, after_reset)


async def test_what_waits_can_be_found(conn: AsyncConnection) -> None:
    attention = Attention(item="source", code="no_node", message="help", since=NOON)
    for number, state in (
        ("1", {"short": {"A": 1}, "status": OrderStatus.BACKORDERED}),
        ("2", {"short": {"B": 1}, "status": OrderStatus.BACKORDERED}),
        ("3", {"fulfillments": (a_share("web-3-F1", "DC-A", {"1": 3}, order_id="web-3"),)}),
        ("4", {"status": OrderStatus.COMPLETED, "short": {"A": 1}}),
        ("5", {"attention": (attention,)}),
    ):
        order = an_order(number)
        await records.accept(conn, order, "run", a_change(order, int(number), **state))
    assert await open_orders.backordered_for(conn, ["A"]) == ["web-1", "web-5"]
    assert await open_orders.backordered_for(conn, ["B", "A"]) == ["web-1", "web-2", "web-5"]
    assert await open_orders.at_node(conn, "DC-A") == ["web-3"]
    assert await open_orders.at_node(conn, "DC-B") == []
    for code in ("no_node", ""):  # empty is any
        found = await reads.find_orders(conn, attention=code)
        assert [order.order_id for order in found.items] == ["web-5"]


async def test_goods_that_come_in_pass_over_the_orders_that_do_not_wait(
    conn: AsyncConnection,
) -> None:
    """Each receipt asks, with the stock of its SKUs locked."""

    def explained(_1: Any, _2: Any, statement: str, values: Any, *_: Any) -> tuple[str, Any]:
        asks = statement.startswith("SELECT orders.order_id")
        return (f"EXPLAIN {statement}" if asks else statement), values

    await conn.execute(text("SET LOCAL enable_seqscan = off"))
    await conn.execute(text("DROP INDEX ix_orders_open"))
    sync = conn.sync_connection
    event.listen(sync, "before_cursor_execute", explained, retval=True)
    plan = await open_orders.backordered_for(conn, ["A", "B"])
    assert any("ix_orders_waits_for_supply" in line for line in plan), plan


async def _dispatched(conn: AsyncConnection) -> None:
    order = an_order()
    share = a_share("web-1-F1", "DC-A", {"1": 3})
    await records.accept(conn, order, "run-1", a_change(order, fulfillments=(share,)))
    told = OrderEvent(type="dispatched", summary="asked DC-A", cause="allocated")
    for _ in range(2):
        await records.mark_request(
            conn, "web-1-F1", RequestStatus.SUBMITTED, NOON, "web-1-F1/dispatch", told
        )


def _says(kind: NodeEventType, event_id: str = "e1") -> NodeEvent:
    return NodeEvent(
        event_id=event_id, fulfillment_id="web-1-F1", node="DC-A", type=kind, occurred_at=NOON
    )


async def _hear(conn: AsyncConnection, event: NodeEvent) -> bool:
    return await inbox.put(
        conn,
        f"node:{event.node}",
        event.event_id,
        "node_event",
        event.model_dump(mode="json"),
        order_id="web-1",
    )


async def test_a_request_is_noted_and_told_once(conn: AsyncConnection) -> None:
    assert not await records.submitted(conn, "web-1-F1")
    await _dispatched(conn)
    f = await records.fulfillment(conn, "web-1-F1")
    assert f is not None
    assert f.request is RequestStatus.SUBMITTED
    assert await records.submitted(conn, "web-1-F1")
    assert [event.type for event in await reads.timeline(conn, "web-1")] == ["dispatched"]
    with pytest.raises(NotFound):
        await records.mark_request(conn, "web-9-F1", RequestStatus.SUBMITTED, NOON, "k", RECEIVED)


async def test_what_a_node_says_stands_until_the_workflow_knows_it(conn: AsyncConnection) -> None:
    await _dispatched(conn)
    assert await _hear(conn, _says(NodeEventType.ACCEPTED))
    assert not await _hear(conn, _says(NodeEventType.ACCEPTED))
    stale = a_share("web-1-F1", "DC-A", {"1": 3})
    await records.apply(conn, a_change(an_order(), 2, fulfillments=(stale,)))
    f = await records.fulfillment(conn, "web-1-F1")
    assert f is not None
    assert (f.status, f.request) == (FulfillmentStatus.IN_PROGRESS, RequestStatus.ACCEPTED)
    ended = stale.model_copy(
        update={"status": FulfillmentStatus.CANCELLED, "request": RequestStatus.REJECTED}
    )
    await records.apply(conn, a_change(an_order(), 3, fulfillments=(ended,)))
    assert await _hear(conn, _says(NodeEventType.ACCEPTED, "e2"))
    await records.mark_request(conn, "web-1-F1", RequestStatus.UNKNOWN, NOON, "late", RECEIVED)
    assert await records.fulfillment(conn, "web-1-F1") == ended
    heard = await inbox.events_of(conn, "web-1-F1")
    assert [event.event_id for event in heard] == ["e1", "e2"]
    types = [event.type for event in await reads.timeline(conn, "web-1")]
    assert types == ["dispatched", "node.accepted", "node.accepted", "received"]


async def test_a_request_that_was_made_is_not_forgotten(conn: AsyncConnection) -> None:
    await _dispatched(conn)
    stale = a_share("web-1-F1", "DC-A", {"1": 3})
    await records.apply(conn, a_change(an_order(), 2, fulfillments=(stale,)))
    f = await records.fulfillment(conn, "web-1-F1")
    assert f is not None
    assert f.request is RequestStatus.SUBMITTED


async def test_messages_leave_once_by_their_key(conn: AsyncConnection) -> None:
    order = an_order()
    message = Message(key="m1", kind="channel.shipped", body={"n": 1})
    await records.accept(conn, order, "run", a_change(order, messages=(message,)))
    await records.apply(conn, a_change(order, 2, messages=(message,)))
    (item,) = await outbox.claim(conn)
    assert (item.key, item.kind, item.order_id, item.body) == (
        "m1", "channel.shipped", "web-1", {"n": 1},
    )  # fmt: skip
    assert (await outbox.pending(conn)).count == 1
    assert await outbox.done(conn, item.id, "told") == item
    assert (await outbox.pending(conn)).count == 0


async def test_orders_are_found_by_what_people_know(conn: AsyncConnection) -> None:
    for number in range(1, 6):
        order = an_order(
            f"{number}00",
            email=f"Ann{number}@Example.com",
            ship_to=an_order().ship_to.model_copy(
                update={"name": f"Ann Example {number}", "postal_code": f"7520{number}"}
            ),
        )
        await records.accept(conn, order, "run", a_change(order, number, events=(RECEIVED,)))
    found = [
        [o.order_id for o in (await reads.find_orders(conn, q=q)).items]
        for q in ("300", "web-300", "ann3@example.com", "75203", "ann example 3", "100%")
    ]
    assert found == [["web-300"]] * 5 + [[]]
    seen: list[str] = []
    cursor = None
    while True:
        page = await reads.find_orders(conn, cursor=cursor, limit=2)
        seen += [o.order_id for o in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == ["web-500", "web-400", "web-300", "web-200", "web-100"]
    assert (await reads.find_orders(conn, channels=["web"])).items
    assert not (await reads.find_orders(conn, channels=["other"])).items
    assert not (await reads.find_orders(conn, channels=[], nodes=[])).items
    card = await reads.order_card(conn, "web-300")
    assert card is not None
    assert card.order.channel_order_id == "300"
    assert [event.type for event in card.events] == ["received"]
    assert await reads.order_card(conn, "web-999") is None


async def test_a_nodes_work_is_listed_by_urgency(conn: AsyncConnection) -> None:
    order = an_order()
    shares = tuple(
        a_share(f"web-1-F{n}", node, {"1": 1}).model_copy(
            update={"ship_by": NOON + timedelta(hours=hours)}
        )
        for n, node, hours in ((1, "DC-A", 3), (2, "DC-B", 1), (3, "DC-A", 2))
    )
    await records.accept(conn, order, "run", a_change(order, fulfillments=shares))
    page = await reads.find_fulfillments(conn, limit=2, status=FulfillmentStatus.OPEN)
    rest = await reads.find_fulfillments(conn, limit=2, cursor=page.next)
    assert [f.fulfillment_id for f in (*page.items, *rest.items)] == [
        "web-1-F2", "web-1-F3", "web-1-F1",
    ]  # fmt: skip
    mine = await reads.find_fulfillments(conn, nodes=["DC-A"], channels=["web"])
    assert [f.fulfillment_id for f in mine.items] == ["web-1-F3", "web-1-F1"]
    assert not (await reads.find_fulfillments(conn, channels=["other"])).items


async def test_a_change_that_does_not_know_the_last_one_is_refused(conn: AsyncConnection) -> None:
    order = an_order()
    first = a_change(order, 1)
    await records.accept(conn, order, "run-1", first)
    second = a_change(order, 2).model_copy(update={"base": first.key})
    await records.apply(conn, second)
    await records.apply(conn, second)

    other = a_change(order, 3).model_copy(update={"base": first.key})
    with pytest.raises(Conflict, match="gone on"):
        await records.apply(conn, other)
