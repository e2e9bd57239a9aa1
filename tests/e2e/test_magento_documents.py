"""Every order of a polled shop leads to its order, to a question, or to a reason."""

from collections.abc import Sequence

import pytest

from tests.e2e.conftest import Json, Operator
from tests.e2e.magento_documents import Document, documents, order, row

DOCUMENTS = documents()
ACCEPTED = [one for one in DOCUMENTS if one.outcome == "accepted"]
HELD = [one for one in DOCUMENTS if one.outcome == "held"]
DECLINED = [one for one in DOCUMENTS if one.outcome not in {"accepted", "held"}]
NOT_READY = {"received", "on_hold", "rejected", "backordered"}


def named(some: Sequence[Document]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", some, ids=lambda one: one.name)


@pytest.fixture(scope="module", autouse=True)
async def sold(operator: Operator) -> None:
    """All orders stand in the shop, and the catalogue is made of their own SKUs."""
    await operator.stocks(sorted({sku for one in DOCUMENTS for _, sku, _ in one.units if sku}))
    shelf = {"node": "ST-CHI", "key": "e2e bags", "lines": [{"sku": "E2E-BAG", "quantity": 9}]}
    await operator.sends("POST", "/v1/stock/receipts", shelf)
    for one in DOCUMENTS:
        operator.sells_at_the_outlet(one.body)


@named(ACCEPTED)
async def test_an_order_with_open_units_is_accepted_with_exactly_these(
    operator: Operator, document: Document
) -> None:
    async def under_way() -> Json | None:
        found = await operator.order(document.order_id)
        return found if found and found["status"] not in NOT_READY else None

    card = await operator.waits(under_way, document.name)
    assert _units(card) == document.units
    assert card["order"]["currency"] == document.currency
    if document.total_minor is not None:
        assert card["order"]["total_minor"] == document.total_minor
    outcomes = [entry["outcome"] for entry in await operator.settled(document.order_id)]
    assert outcomes[-1] == "accepted"
    assert set(outcomes) <= {"accepted", "known", "duplicate"}


@named(HELD)
async def test_what_cannot_be_decided_is_held_and_says_so(
    operator: Operator, document: Document
) -> None:
    entries = await operator.settled(document.order_id)
    assert entries[-1]["outcome"] == "held"

    card = await operator.order(document.order_id)
    assert card is not None
    assert card["status"] == "on_hold"
    assert _units(card) == document.units
    assert card["problems"]


@named(DECLINED)
async def test_what_is_not_ours_to_ship_is_declined_and_the_reason_can_be_found(
    operator: Operator, document: Document
) -> None:
    entries = await operator.settled(document.order_id)
    assert {(entry["outcome"], entry["code"]) for entry in entries} == {
        ("declined", document.outcome)
    }
    answer = await operator.http.get(f"/v1/orders/{document.order_id}")
    assert answer.status_code == 404
    assert "declined: " + document.outcome.replace("_", " ") in answer.json()["detail"]


async def test_an_order_that_is_paid_at_last_goes_on(operator: Operator) -> None:
    body = order(row(11), entity_id=710_001, increment_id="E2E-PAID", state="pending_payment")
    operator.sells_at_the_outlet(body)
    [held] = await operator.settled("outlet-E2E-PAID")
    assert held["outcome"] == "held"

    operator.sells_at_the_outlet({**body, "state": "processing", "total_paid": 103.5})

    async def goes_on() -> Json | None:
        found = await operator.order("outlet-E2E-PAID")
        return found if found and found["status"] not in NOT_READY else None

    card = await operator.waits(goes_on, "the order to go on")
    assert card["holds"] == []


def _units(card: Json) -> tuple[tuple[str, str, int], ...]:
    return tuple((line["line_id"], line["sku"], line["ordered"]) for line in card["lines"])
