"""The demo says whether all went well, and its auditor sees one wrong row of each kind."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.e2e.conftest import Demo, Finished, crossdock, finished

REQUIRED = {
    "ok",
    "orders",
    "by_state",
    "packages_per_order",
    "cost_minor",
    "on_time_share",
    "order_to_plan_ms",
    "order_to_shipped_ms",
    "events_per_order",
    "audit_findings",
}


class Lie(NamedTuple):
    """One cell made wrong: of the first row of `table` for which `where` holds."""

    table: str
    key: str
    column: str
    wrong: str
    where: str = "true"


# One for each invariant of the architecture, by its number there.
LIES = {
    1: Lie("stock", "sku || node", "on_hand", "on_hand + 1"),
    2: Lie("node_capacity", "node || day", "used", "used + 1", "used > 0"),
    3: Lie(
        "allocation_lines", "fulfillment_id || line_id", "shipped", "shipped + 1", "shipped > 0"
    ),
    4: Lie(
        "orders",
        "order_id",
        "state",
        "jsonb_set(state, '{lines,0,buckets}', '{}')",
        "status = 'completed'",
    ),
    5: Lie(
        "reservation_lines",
        "reservation_id || line_id",
        "quantity",
        "1",
        "quantity = 0 AND reservation_id IN (SELECT reservation_id FROM reservations"
        " JOIN orders USING (order_id) WHERE status = 'completed')",
    ),
    6: Lie(
        "fulfillments",
        "fulfillment_id",
        "goods_minor",
        "goods_minor + 1",
        "order_id IN (SELECT order_id FROM orders WHERE status = 'completed')",
    ),
    7: Lie("order_events", "id::text", "actor", "''"),
}


def test_the_demo_of_thirty_orders_ends_well_and_says_so_in_one_line(demo: Demo) -> None:
    assert demo.said.code == 0, demo.said.err
    said = demo.said.last_line

    assert set(said) >= REQUIRED
    assert (said["ok"], said["orders"], said["audit_findings"]) == (True, 30, 0)
    assert sum(said["by_state"].values()) == 30
    assert {"completed", "cancelled", "expired"} == set(said["by_state"])
    for latency in ("order_to_plan_ms", "order_to_shipped_ms"):
        assert 0 < said[latency]["p50"] <= said[latency]["p99"]
    assert said["packages_per_order"] > 1
    assert said["cost_minor"] > 0
    assert 0 < said["on_time_share"] <= 1


def test_orders_stay_within_their_budget_of_history_events(
    demo: Demo, record_property: Callable[[str, object], None]
) -> None:
    events = demo.said.last_line["events_per_order"]
    record_property("history events of an undisturbed order", events)

    assert 0 < events["one_shipment_p50"] <= 40
    assert events["one_shipment_max"] <= 48
    assert 0 < events["further_shipment_p50"] <= 20
    assert events["further_shipment_max"] >= events["further_shipment_p50"]


@pytest.mark.parametrize("invariant", LIES)
def test_a_corrupted_row_is_found_under_its_invariant(demo: Demo, invariant: int) -> None:
    with corrupted(demo, LIES[invariant]):
        told = demo.does("audit")

    assert told.code == 1, told.err
    assert f"invariant {invariant}, " in told.out


def test_units_that_only_a_partner_knows_of_are_found(demo: Demo) -> None:
    one = "rowid = (SELECT min(rowid) FROM node_shipments)"
    demo.partners_run(f"UPDATE node_shipments SET quantity = quantity + 1 WHERE {one}")  # noqa: S608
    told = demo.does("audit")
    demo.partners_run(f"UPDATE node_shipments SET quantity = quantity - 1 WHERE {one}")  # noqa: S608

    assert told.code == 1
    assert "invariant 3, " in told.out


def test_mended_again_the_auditor_finds_nothing(demo: Demo) -> None:
    told = demo.does("audit", "--json")

    assert told.code == 0, told.out
    checked = told.last_line["checked"]
    assert checked["orders"] >= 30
    assert checked["workflows"] >= 30
    assert checked["partner_requests"] > 0
    assert checked["shop_orders"] > 0


@pytest.mark.long
def test_a_demo_in_which_rows_were_corrupted_does_not_end_well(tmp_path: Path) -> None:
    """All kinds at once, in the tables of a demo under way: its own auditor must see them."""
    running = crossdock(tmp_path, "demo", "--orders", "10", "--json")
    try:
        _corrupt_once_orders_have_ended(Demo(tmp_path, Finished(0, "", "")))
    finally:
        said = finished(running)

    assert said.code == 1
    assert said.last_line["ok"] is False
    assert said.last_line["audit_findings"] >= len(LIES)
    for invariant in LIES:
        assert f"invariant {invariant}, " in said.err


@contextlib.contextmanager
def corrupted(demo: Demo, lie: Lie) -> Iterator[None]:
    """Inside, the cell is wrong; after it, it is as before."""
    table, key, column, wrong, where = lie
    demo.asks(
        f"CREATE TABLE before AS SELECT {key} AS key, {column} AS was FROM {table}"  # noqa: S608
        f" WHERE {where} ORDER BY 1 LIMIT 1"
    )
    try:
        changed = demo.asks(
            f"UPDATE {table} SET {column} = {wrong}"  # noqa: S608
            f" WHERE {key} = (SELECT key FROM before) RETURNING 1 AS one"
        )
        assert changed == [{"one": 1}]
        yield
    finally:
        demo.asks(
            f"UPDATE {table} SET {column} = was FROM before WHERE {key} = before.key"  # noqa: S608
        )
        demo.asks("DROP TABLE before")


def _corrupt_once_orders_have_ended(demo: Demo) -> None:
    """Rows of ended orders, so that the lies disturb nothing that is still under way."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError, psycopg.Error, OSError):
            if demo.asks("SELECT order_id FROM orders WHERE status = 'completed' LIMIT 1"):
                break
        time.sleep(0.3)
    for table, key, column, wrong, where in LIES.values():
        demo.asks(
            f"UPDATE {table} SET {column} = {wrong} WHERE {key} = "  # noqa: S608
            f"(SELECT {key} FROM {table} WHERE {where} ORDER BY 1 LIMIT 1)"
        )
