"""The auditor finds nothing in a true record, and finds each kind of lie."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.fulfillments import Fulfillment, FulfillmentStatus, RequestStatus
from domain.orders import Bucket, LineState, OrderStatus, Units
from domain.records import Message, OrderEvent
from domain.sourcing.problem import CostParts
from domain.stock_rules import Rule, RuleKind, Subject
from storage import audit, decisions, inbox, records, reservations, signals, stock, stock_rules
from storage.asks import Ask
from storage.database import transaction
from storage.signals import Signal
from tests.samples import a_change, a_decision, a_share, an_order
from tests.storage.conftest import stocked

TOLD = OrderEvent(type="told", summary="it happened", cause="test")
COST = CostParts(shipping=750, handling=100)
LIES = {
    "stock without a movement": (1, "UPDATE stock SET on_hand = on_hand + 1"),
    "a movement without stock": (1, "DELETE FROM movements WHERE on_hand_delta < 0"),
    "a promise without a movement": (
        1,
        "UPDATE reservation_lines SET quantity = 1 WHERE reservation_id = 'web-2-R1'",
    ),
    "an allocation that no shelf knows": (
        1,
        "UPDATE allocation_lines SET quantity = quantity + 1 WHERE fulfillment_id = 'web-2-F1'",
    ),
    "more available than there is": (1, "UPDATE pool SET available = available + 1"),
    "a node's status changed behind our back": (
        1,
        "UPDATE nodes SET status = 'offline' WHERE code = 'DC-A'",
    ),
    "more allocated than on hand": (
        2,
        "ALTER TABLE stock DROP CONSTRAINT ck_stock_never_oversold;UPDATE stock SET allocated = 99",
    ),
    "an allocation of what was not there": (
        2,
        "UPDATE movements SET allocated_delta = 99 WHERE allocated_delta > 0",
    ),
    "a place at a node that nobody holds": (2, "UPDATE node_capacity SET used = used + 1"),
    "units at a node that nobody holds": (2, "UPDATE node_capacity SET units = units + 1"),
    "more allocated than was ordered": (
        3,
        "UPDATE allocation_lines SET quantity = 9 WHERE fulfillment_id = 'web-2-F1'",
    ),
    "shipped by stock, not by the record": (
        3,
        "UPDATE fulfillments SET body = jsonb_set(body, '{shipped}', '{}')",
    ),
    "asked of the node more than was allocated": (
        3,
        (
            "UPDATE fulfillments SET body = jsonb_set(body, '{lines,0,quantity}', '8')"
            " WHERE fulfillment_id = 'web-2-F1'"
        ),
    ),
    "a unit that is nowhere": (
        4,
        "UPDATE orders SET state = jsonb_set(state, '{lines,0,buckets}', '{}')",
    ),
    "units that only the state knows": (
        4,
        """UPDATE orders SET state = jsonb_set(state, '{lines,0,buckets}', '{"reserved": 3}')""",
    ),
    "a reservation for nobody": (
        4,
        """INSERT INTO reservations (reservation_id, order_id, state)
             VALUES ('x-R1', 'x', 'committed');
             INSERT INTO reservation_lines VALUES ('x-R1', '1', 'A', 2);
             UPDATE pool SET available = available - 2;
             INSERT INTO movements (sku, on_hand_delta, allocated_delta, reserved_delta, cause,
               actor, key) VALUES ('A', 0, 0, 2, 'reserved for x', 'crossdock', 'x-R1')""",
    ),
    "units held for a line that the state does not have": (
        4,
        "UPDATE orders SET state = jsonb_set(state, '{lines}', '[]') WHERE order_id = 'web-2'",
    ),
    "an end that left units undecided": (
        4,
        """UPDATE orders SET state = jsonb_set(state, '{lines,0,buckets}', '{"backordered": 3}'),
             terminal_at = now(), status = 'completed' WHERE order_id = 'web-3'""",
    ),
    "a status that the state does not know": (
        4,
        "UPDATE orders SET status = 'on_hold' WHERE order_id = 'web-2'",
    ),
    "units left at a node that is done with them": (
        4,
        """UPDATE fulfillments SET status = 'incomplete', request = 'closed',
             updated_at = now() - interval '1 day' WHERE fulfillment_id = 'web-2-F1'""",
    ),
    "delivered by the state, on its way by the fulfillment": (
        4,
        "UPDATE fulfillments SET body = jsonb_set(body, '{delivered}', '{}')",
    ),
    "an order that nobody works on": (
        4,
        (
            "UPDATE orders SET status = 'received', updated_at = now() - interval '1 day'"
            " WHERE order_id = 'web-2'"
        ),
    ),
    "a delivery that was given up": (4, "UPDATE inbox SET dead_at = now()"),
    "a message that was given up": (4, "UPDATE outbox SET dead_at = now()"),
    "a terminal order with a reservation": (
        5,
        "UPDATE reservation_lines SET quantity = 1 WHERE reservation_id = 'web-1-R1'",
    ),
    "a terminal order with an allocation": (
        5,
        "UPDATE allocation_lines SET quantity = 1 WHERE fulfillment_id = 'web-1-F1'",
    ),
    "a place kept for nothing": (
        5,
        "UPDATE allocation_lines SET shipped = 0, returned = 3 WHERE fulfillment_id = 'web-1-F1'",
    ),
    "a terminal order with an open request": (
        5,
        "UPDATE fulfillments SET request = 'submitted' WHERE fulfillment_id = 'web-1-F1'",
    ),
    "goods of another value": (6, "UPDATE fulfillments SET goods_minor = goods_minor + 1"),
    "more goods than were ordered": (
        6,
        "UPDATE fulfillments SET goods_minor = goods_minor * 2",
    ),
    "a cost that its parts do not make": (6, "UPDATE decisions SET cost_minor = cost_minor + 1"),
    "a fulfillment that no decision priced": (
        6,
        "UPDATE fulfillments SET cost_minor = cost_minor - 1",
    ),
    "a decision whose piece is gone": (7, "DELETE FROM decision_pieces"),
    "a piece that was altered": (7, "UPDATE decision_pieces SET body = body || ' '"),
    "a decision that was altered": (7, "UPDATE decisions SET own = own || ' '"),
    "units that another channel's cap counts": (2, "UPDATE allocations SET channel = 'outlet'"),
    "a rule that was altered": (7, "UPDATE stock_rules SET units = 2"),
    "a rule that is gone": (7, "DELETE FROM stock_rules"),
    "a rule that nobody made": (7, "DELETE FROM stock_rule_log WHERE node = 'DC-B'"),
    "a change by nobody": (7, "UPDATE order_events SET actor = ''"),
    "an order without a story": (7, "DELETE FROM order_events"),
}


def _share(number: str) -> Fulfillment:
    share = a_share(f"web-{number}-F1", "DC-A", {"1": 3}, order_id=f"web-{number}")
    return share.model_copy(update={"goods_minor": 3000, "cost_minor": COST.total})


async def _allocated(engine: AsyncEngine, number: str) -> None:
    """An order of three units, reserved, decided and allocated at a node."""
    order, share = an_order(number), _share(number)
    lines = (LineState(line_id="1", sku="A", ordered=3, buckets={Bucket.ALLOCATED: 3}),)
    message = Message(key=f"{number}:m", kind="channel.shipped", body={})
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", a_change(order, events=(TOLD,)))
        units = [Units(line_id="1", sku="A", quantity=3)]
        await reservations.reserve(conn, Ask(f"web-{number}-R1", f"web-{number}", units))
        await decisions.store(conn, a_decision(share, COST))
        await stock.allocate(conn, f"web-{number}/1", f"web-{number}-R1", [share])
        change = a_change(
            order,
            2,
            status=OrderStatus.IN_FULFILLMENT,
            lines=lines,
            fulfillments=(share,),
            messages=(message,),
        )
        await records.apply(conn, change)


async def _completed(engine: AsyncEngine, number: str) -> None:
    await _allocated(engine, number)
    lines = (LineState(line_id="1", sku="A", ordered=3, buckets={Bucket.DELIVERED: 3}),)
    ended = {
        "status": FulfillmentStatus.CLOSED,
        "request": RequestStatus.CLOSED,
        "shipped": {"1": 3},
        "delivered": {"1": 3},
    }
    async with transaction(engine) as conn:
        await stock.ship(conn, f"web-{number}/ship", f"web-{number}-F1", ())
        change = a_change(
            an_order(number),
            3,
            status=OrderStatus.COMPLETED,
            lines=lines,
            fulfillments=(_share(number).model_copy(update=ended),),
        )
        await records.apply(conn, change)
        await inbox.put(conn, "test", number, "supply", {})


async def _three_orders(engine: AsyncEngine) -> None:
    """One that is completed, one that is under way, and one that nobody has begun."""
    async with transaction(engine) as conn:
        order = an_order("3")
        held = a_change(order, status=OrderStatus.ON_HOLD, events=(TOLD,))
        await records.accept(conn, order, "run", held)
    await stocked(engine, {("A", "DC-A"): 10, ("A", "DC-B"): 5})
    safety = Rule(kind=RuleKind.SAFETY, node="DC-B", units=1)
    async with transaction(engine) as conn:
        await stock_rules.put(conn, [safety, Rule(kind=RuleKind.THRESHOLD, units=1)], "test")
        await stock_rules.put(conn, [], "test", removed=[Subject(kind=RuleKind.THRESHOLD)])
        until = datetime.now(UTC) + timedelta(days=1)
        slow = Signal(kind="lead_hours", value=2, until=until, reason="snow")
        await signals.put(conn, "DC-B", slow, "test")
    await _completed(engine, "1")
    await _allocated(engine, "2")


async def _findings(engine: AsyncEngine, grace: timedelta) -> tuple[audit.Finding, ...]:
    async with transaction(engine) as conn:
        return await audit.audit(conn, grace=grace)


async def test_a_true_record_has_no_findings(world: AsyncEngine) -> None:
    await _three_orders(world)
    assert await _findings(world, timedelta(days=9)) == ()


async def test_what_is_only_late_is_a_warning(world: AsyncEngine) -> None:
    await _three_orders(world)
    found = await _findings(world, timedelta(days=-9))
    assert {(f.subject, f.severity) for f in found} == {
        ("test 1", "warning"), ("1:m", "warning"), ("2:m", "warning"),
    }  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_each_kind_of_lie_is_found(world: AsyncEngine, lie: str) -> None:
    invariant, statements = LIES[lie]
    await _three_orders(world)
    async with world.connect() as conn:  # never committed
        await conn.execute(text("SET LOCAL crossdock.repair = 'a lie'"))
        for statement in statements.split(";"):
            await conn.execute(text(statement))
        found = await audit.audit(conn, grace=timedelta(hours=1))
    assert invariant in {f.invariant for f in found}, found
