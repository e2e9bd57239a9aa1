"""Any one row deleted or altered by hand is found by the next audit, and mended."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Date, DateTime, Integer, Table, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.fulfillments import LineQuantity
from domain.network import Product
from domain.orders import Units
from domain.stock_rules import Rule, RuleKind, Subject
from storage import (
    audit,
    feeds,
    network,
    records,
    repairs,
    reservations,
    signals,
    stock,
    stock_rules,
    stock_watch,
    supplies,
    tables,
)
from storage.asks import Ask
from storage.audit.sources import SOURCES
from storage.audit.wrong import Scope
from storage.batching import Batcher
from storage.database import transaction
from storage.feeds import Delta, Snapshot
from storage.repairs import Repair
from storage.signals import Signal
from storage.stock_watch import Watch
from storage.supplies import Supply
from storage.tables import metadata
from tests.samples import a_change, a_node, a_share, an_order

STOCK_TABLES = [
    table
    for module in ("stock", "supply")
    for table in vars(sys.modules[f"storage.tables.{module}"]).values()
    if isinstance(table, Table) and table.metadata is metadata
] + [tables.nodes, tables.node_log, tables.node_signals, tables.copies]

# A movement is told once: the database refuses to have it altered (`append_only`). Where somebody
# has that guard out of the way, its units are found and mended; these columns say nothing of units,
# but for the three that say of which claim or statement they are, and nothing repeats them.
TOLD_ONCE = {"cause", "actor", "order_id", "key", "line_id", "stated_by", "at"}
# The number of a movement is its place in its shelf's chain; a promise of the network has none, nor
# does the last of a chain lose its place by a higher number.
NO_TRUTH = {("movements", column) for column in TOLD_ONCE} | {("movements", "id")}


@pytest.fixture(scope="module")
async def shop(engine: AsyncEngine) -> AsyncEngine:
    """Something of everything that stock knows; made once, tests roll back what they do."""
    async with transaction(engine) as conn:
        for code in ("DC-A", "DC-B", "ST-C"):
            await network.put_node(
                conn, a_node(code, capacity_per_day=50, units_per_day=90, pickup=True)
            )
        skus = [Product(sku=sku, title=sku, category="toys") for sku in "ABCDE"]
        await network.put_products(conn, skus)
        await stock.receive(conn, "in", "DC-A", [("A", 20), ("B", 9), ("C", 5)], "receipt", "t")
        await stock.receive(conn, "in", "DC-B", [("A", 6)], "receipt", "t")
        await stock.receive(conn, "in", "ST-C", [("A", 4), ("B", 4)], "receipt", "t")
    await _orders(engine)
    await _carts(engine)
    await _backorders(engine)
    async with transaction(engine) as conn:
        await stock.count(conn, "same", "DC-A", [("A", 18)], "t")
        await stock.count(conn, "less", "DC-B", [("A", 5)], "t")
        await stock.set_node_status(conn, "DC-B", "offline", "ops", "flood")
        await stock.set_node_status(conn, "DC-B", "online", "ops")
        await stock_rules.put(conn, [Rule(kind=RuleKind.SAFETY, node="DC-B", units=1)], "t")
        await stock_rules.put(conn, [Rule(kind=RuleKind.THRESHOLD, units=1)], "t")
        await stock_rules.put(conn, [], "t", removed=[Subject(kind=RuleKind.THRESHOLD)])
        await stock_watch.put(conn, [Watch(sku="B", low=30, high=40)], "t")
        await stock_watch.look(conn, ["B"])
        soon = datetime.now(UTC) + timedelta(seconds=1)
        slow = Signal(kind="lead_hours", value=2, until=soon, reason="snow")
        await signals.put(conn, "DC-B", slow, "t")
        reports: list[feeds.Report] = [
            Snapshot(node="ST-C", sku="B", sequence=1, at=soon, on_hand=8),
            Snapshot(node="DC-A", sku="C", sequence=1, at=soon, on_hand=2),
            Delta(node="ST-C", sku="B", sequence=3, at=soon, change=-2),
        ]
        await feeds.take(conn, "wms", "1", reports, "t")
        await conn.execute(
            tables.stock_loads.insert().values(digest="d" * 64, name="f", actor="t", at=soon)
        )
    return engine


async def _order(engine: AsyncEngine, number: str, node: str | None = None, **units: int) -> str:
    order = an_order(number)
    async with transaction(engine) as conn:
        await records.accept(conn, order, "run", a_change(order))
        lines = [
            Units(line_id=str(n), sku=sku, quantity=quantity)
            for n, (sku, quantity) in enumerate(units.items(), 1)
        ]
        name = f"{order.order_id}-R1"
        await reservations.reserve(conn, Ask(name, order.order_id, lines, node, channel="web"))
    return name


async def _orders(engine: AsyncEngine) -> None:
    """Promised only, collected from a store, under way, shipped in part, and given back."""
    await _order(engine, "1", A=2, B=1)
    await _order(engine, "2", "ST-C", A=1)
    await _order(engine, "9", "DC-A", C=4)
    for number, node in (("3", "DC-A"), ("4", "DC-A"), ("5", "DC-B"), ("6", "ST-C")):
        where = node if node == "ST-C" else None
        name = await _order(engine, number, where, A=2)
        share = a_share(f"web-{number}-F1", node, {"1": 2}, order_id=f"web-{number}")
        async with transaction(engine) as conn:
            assert await stock.allocate(conn, f"web-{number}/1", name, [share]) == {}
    one = [LineQuantity(line_id="1", quantity=1)]
    async with transaction(engine) as conn:
        await stock.ship(conn, "s4", "web-4-F1", one)
        await stock.ship(conn, "s6", "web-6-F1", ())
        await stock.give_back(conn, "b5", "web-5-F1", (), "reservation", "web-5-R1", "no")
        await stock.give_back(conn, "b8", "web-8-F1", (), "free", "web-8-R1", "too early")
        await stock.ship(conn, "s3", "web-3-F1", one)


async def _backorders(engine: AsyncEngine) -> None:
    """Two orders that wait for a supply, of which some has come."""
    eta = datetime(2030, 1, 9, tzinfo=UTC)
    said = Supply(
        source="erp",
        ref="PO-1",
        sequence=1,
        kind="purchase_order",
        node="DC-B",
        sku="E",
        quantity=9,
        expected_at=eta,
    )
    async with transaction(engine) as conn:
        await supplies.put(conn, said, "t")
    door = Batcher(engine)
    for number in ("21", "22"):
        order = an_order(number)
        async with transaction(engine) as conn:
            await records.accept(conn, order, "run", a_change(order))
        units = [Units(line_id="1", sku="E", quantity=3)]
        ask = Ask(f"web-{number}-R1", f"web-{number}", units, channel="web", waits=True)
        assert (await door.reserve(ask)).expected == eta
    async with transaction(engine) as conn:
        await stock.receive(conn, "po", "DC-B", [("E", 2)], "receipt", "t", ("erp", "PO-1"))


async def _carts(engine: AsyncEngine) -> None:
    """Held, confirmed, moved and collected, run out, released, made in part, buried."""
    hour = timedelta(hours=1)
    unit = [Units(line_id="1", sku="A", quantity=1)]
    async with transaction(engine) as conn:
        for name in ("held", "confirmed", "moved", "late", "let-go"):
            await reservations.reserve(conn, Ask(name, None, unit, channel="web", ttl=hour))
        await reservations.reserve(conn, Ask("web/asked", None, unit, ttl=hour, digest="d"))
        many = [Units(line_id="1", sku="B", quantity=99), Units(line_id="2", sku="D", quantity=1)]
        await reservations.reserve(conn, Ask("part", None, many, ttl=hour, partial=True))
        await reservations.confirm(conn, "confirmed", "web-7")
        await reservations.transfer(conn, "t", "moved", "ST-C")
        await reservations.fulfill(conn, "f", "moved")
        await reservations.release(conn, "let-go", "left")
        await reservations.release(conn, "never", "left")
        query = "UPDATE reservations SET expires_at = now() WHERE reservation_id = 'late'"
        await conn.execute(text(query))
        assert await reservations.expire(conn) == ("late",)


class Hand:
    """Somebody at the database, past its guards; all is undone at the end."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn = conn

    async def does(self, statement: str, **values: Any) -> None:
        said = "SELECT set_config('application_name', 'psql', true), set_config(:of, :to, true)"
        role = {"of": "session_replication_role", "to": "replica"}
        await self.conn.execute(text(said), role)
        assert (await self.conn.execute(text(statement), values)).rowcount == 1
        back = said.replace("psql", "crossdock")
        await self.conn.execute(text(back), {**role, "to": "origin"})


async def findings(conn: AsyncConnection) -> list[audit.Finding]:
    found = await audit.audit(conn, grace=timedelta(days=9), invariants={1, 2, 7})
    return [f for f in found if f.rows]


async def mend(conn: AsyncConnection) -> list[Repair]:
    """A pass of the auditor, and then a person who approves of whatever is proposed."""
    made = []
    for source in SOURCES:
        for wrong in await repairs.look(conn, source.kind, Scope()):
            repair = await repairs.settle(conn, source.kind, wrong, repairs.POLICIES)
            if repair is not None and repair.status == "proposed":
                repair = await repairs.apply(conn, repair.id, "ann")
            made += [repair] if repair else []
    return made


async def _mended(conn: AsyncConnection, case: str) -> None:
    assert await findings(conn), f"{case}: not found"
    for _ in range(3):
        made = await mend(conn)
        left = await findings(conn)
        if not left:
            return
    raise AssertionError(f"{case}: {made} leaves {left}")


async def _truth(conn: AsyncConnection, table: Table) -> list[tuple[Any, ...]]:
    """What must be again as it was: every row, and of the movements what they come to."""
    if table is tables.movements:
        sums = (
            "SELECT sku, node, sum(on_hand_delta), sum(allocated_delta), sum(reserved_delta),"
            " sum(on_hand_delta) FILTER (WHERE stated_by = 'shortage') FROM movements"
            " GROUP BY sku, node HAVING count(*) FILTER (WHERE reserved_delta <> 0) = 0"
            " OR sum(reserved_delta) <> 0 ORDER BY sku, node"
        )
        return [tuple(row) for row in await conn.execute(text(sums))]
    query = select(table).order_by(*table.primary_key)
    if table is tables.pool:  # none of what nobody knows is nothing
        query = query.where(tables.pool.c.available != 0)
    rows = await conn.execute(query)
    # Of a count its movement keeps the moment, taken a moment after the shelf's.
    return [
        tuple(round(v.timestamp()) if isinstance(v, datetime) else v for v in row) for row in rows
    ]


def _key(table: Table) -> str:
    return " AND ".join(f"{column.name} = :{column.name}" for column in table.primary_key)


async def _rows(conn: AsyncConnection, table: Table) -> list[dict[str, Any]]:
    """But for those that hold no truth of their own."""
    rows = await conn.execute(select(table).order_by(*table.primary_key))
    stocked = {row["sku"] for row in (await conn.execute(select(tables.stock))).mappings()}
    return [
        dict(row)
        for row in rows.mappings()
        # A pool of none, of a SKU that never was in stock, is made again when it is asked for.
        if not (table is tables.pool and row["sku"] not in stocked)
        # What a cart could not have, its line and the copy of that alone say: either may be wrong.
        and not (table is tables.copies and row["row"].get("missing"))
        # What has changed and is again as it was, its movements tell as well.
        and not (table is tables.copies and row["key"].get("reservation_id") == "web-5-R1")
    ]


def _some(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """From all over the table: the first, the last, and some between."""
    step = max((len(rows) - 1) / max(most - 1, 1), 1)
    chosen = {round(n * step) for n in range(most)} | {len(rows) - 1}
    return [rows[n] for n in sorted(chosen) if n < len(rows)]


def _keys(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    return {
        column.name: json.dumps(row[column.name])
        if isinstance(column.type, JSONB)
        else row[column.name]
        for column in table.primary_key
    }


def _altered(column: Column[Any], value: Any) -> str:
    """SQL for another value of the column."""
    name = column.name
    if isinstance(column.type, DateTime | Date):
        return f"coalesce({name}, '2026-01-01') + interval '1 day'"
    if isinstance(column.type, Integer):
        return f"coalesce({name}, 0) + {1000 if column.primary_key else 1}"
    if column.type.python_type is bool:
        return f"NOT coalesce({name}, false)"
    if isinstance(column.type, JSONB):
        return "'{\"x\": 1}'::jsonb"
    return f"coalesce({name}, '') || 'x'"


async def test_a_true_record_has_no_findings(shop: AsyncEngine) -> None:
    async with transaction(shop) as conn:
        assert await findings(conn) == []
        assert await mend(conn) == []


@pytest.mark.parametrize("column", sorted(TOLD_ONCE))
async def test_what_a_movement_told_is_not_told_anew(shop: AsyncEngine, column: str) -> None:
    async with shop.connect() as conn:
        with pytest.raises(DBAPIError, match="only grows"):
            await conn.execute(text(f"UPDATE movements SET {column} = {column}"))  # noqa: S608


@pytest.mark.parametrize("table", STOCK_TABLES, ids=lambda table: table.name)
async def test_any_one_row_deleted_by_hand_is_mended(shop: AsyncEngine, table: Table) -> None:
    async with shop.connect() as conn:
        rows, truth = await _rows(conn, table), await _truth(conn, table)
        assert rows
        for row in _some(rows, 6):
            async with conn.begin_nested() as undone:
                query = f"DELETE FROM {table.name} WHERE {_key(table)}"  # noqa: S608 - of names of ours
                await Hand(conn).does(query, **_keys(table, row))
                await _mended(conn, f"deleted {row}")
                assert await _truth(conn, table) == truth
                await undone.rollback()


@pytest.mark.parametrize(
    "column",
    [c for table in STOCK_TABLES for c in table.columns if (table.name, c.name) not in NO_TRUTH],
    ids=str,
)
async def test_any_one_row_altered_by_hand_is_mended(
    shop: AsyncEngine, column: Column[Any]
) -> None:
    table = column.table
    assert isinstance(table, Table)
    async with shop.connect() as conn:
        rows, truth = await _rows(conn, table), await _truth(conn, table)
        for check in [c.name for c in table.constraints if isinstance(c, CheckConstraint)]:
            await conn.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT {check}"))
        for row in _some(rows, 2):
            async with conn.begin_nested() as undone:
                to = _altered(column, row[column.name])
                query = f"UPDATE {table.name} SET {column.name} = {to} WHERE {_key(table)}"  # noqa: S608 - of names of ours
                await Hand(conn).does(query, **_keys(table, row))
                await _mended(conn, f"{column} of {row}")
                assert await _truth(conn, table) == truth
                await undone.rollback()
