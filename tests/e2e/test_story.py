"""One call answers for an order that was split, went wrong, was cancelled, or expired."""

import asyncio
from datetime import datetime

import pytest

from tests.e2e.conftest import Json, Operator


async def _card(operator: Operator, where: str) -> Json:
    """The first order of the demo of which this holds."""
    rows = operator.demo.asks(
        f"SELECT order_id FROM orders WHERE {where} ORDER BY accepted_at LIMIT 1"  # noqa: S608
    )
    found = await operator.order(rows[0]["order_id"])
    assert found is not None
    return found


async def test_a_split_order_says_where_each_package_came_from_and_why(operator: Operator) -> None:
    card = await _card(operator, "body::text LIKE '%SCN-SPLIT-A%'")
    nodes = [share["node"] for share in card["fulfillments"]]

    assert card["sentence"] == "Every unit has reached the customer."
    assert len(set(nodes)) == 2
    assert all(share["packages"][0]["tracking_number"] for share in card["fulfillments"])
    assert card["why"]["sentence"].startswith(f"From {' and '.join(sorted(nodes))} it costs ")
    assert {"DC-ONT", "TPL-KNT"} <= set(card["why"]["eliminated"])
    assert card["promise"]["expected"] is None
    assert datetime.fromisoformat(card["promise"]["arrived"]).tzinfo is not None
    assert card["problems"] == []


@pytest.mark.parametrize(
    ("sku", "first", "kind", "why"),
    [
        ("SCN-REJECT", "DC-DAL", "rejection", "stock"),
        ("SCN-SILENT", "TPL-LOU", "recall", "not acknowledged in time"),
        ("SCN-NODEDOWN", "TPL-RNO", "recall", "down"),
    ],
)
async def test_a_rerouted_order_says_what_went_wrong_and_who_ships_now(
    operator: Operator, sku: str, first: str, kind: str, why: str
) -> None:
    card = await _card(operator, f"body::text LIKE '%{sku}%'")

    gave_up, ships = card["fulfillments"][0], card["fulfillments"][-1]
    assert (gave_up["node"], gave_up["status"]) == (first, "cancelled")
    assert ships["node"] != first
    assert (ships["status"], card["status"]) == ("closed", "completed")
    [problem] = [one for one in card["problems"] if one["kind"] == kind]
    assert first in problem["message"]
    assert why in problem["message"]
    assert problem["fulfillment_id"] == gave_up["fulfillment_id"]
    assert problem["since"]


async def test_an_expired_pickup_says_where_it_lay_and_until_when(operator: Operator) -> None:
    card = await _card(operator, "status = 'expired'")

    assert card["sentence"].startswith("The order was not collected at ST-AUS by ")
    assert card["why"]["sentence"] == "The customer collects it at ST-AUS."
    assert "expiry" in [problem["kind"] for problem in card["problems"]]
    assert card["promise"]["expected"] is None


async def test_a_cancelled_order_says_who_wished_it(operator: Operator) -> None:
    card = await _card(operator, "status = 'cancelled'")

    assert card["cancel"]["by"]
    assert card["sentence"].startswith(f"The order was cancelled by {card['cancel']['by']}")
    assert [problem for problem in card["problems"] if problem["kind"] == "recall"] == []


async def test_an_order_that_was_held_says_who_let_it_go(operator: Operator) -> None:
    card = await _card(
        operator,
        "channel = 'api' AND order_id IN (SELECT order_id FROM order_events"
        " WHERE type = 'hold_released')",
    )
    told = [(entry["type"], entry["summary"], entry["actor"]) for entry in card["timeline"]]

    assert ("held", "the fraud check wants a person to look", "crossdock") in told
    assert ("hold_released", "looks genuine", "key:demo") in told


async def test_every_line_of_a_story_says_who_when_and_why(operator: Operator) -> None:
    for where in ("status = 'completed'", "status = 'cancelled'", "status = 'expired'"):
        for entry in (await _card(operator, where))["timeline"]:
            assert entry["actor"], entry
            assert entry["cause"] or entry["summary"], entry
            assert datetime.fromisoformat(entry["at"]).tzinfo is not None


async def test_after_all_this_the_auditor_finds_nothing(operator: Operator) -> None:
    told = await asyncio.to_thread(operator.demo.does, "audit")

    assert told.code == 0, told.out
