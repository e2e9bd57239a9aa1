"""Every order of a polled shop leads to its order, to a question, or to a reason."""

import pytest

from tests.e2e.conftest import Operator
from tests.e2e.documents import each, is_accepted, is_declined, is_held
from tests.e2e.magento_documents import ShopOrder, documents, order, row

DOCUMENTS = documents()


@pytest.fixture(scope="module", autouse=True)
async def sold(operator: Operator) -> None:
    """All orders stand in the shop, and the catalogue is made of their own SKUs."""
    await operator.stocks(sorted({sku for one in DOCUMENTS for _, sku, _ in one.units if sku}))
    shelf = {"node": "ST-CHI", "key": "e2e bags", "lines": [{"sku": "E2E-BAG", "quantity": 9}]}
    await operator.sends("POST", "/v1/stock/receipts", shelf)
    for one in DOCUMENTS:
        operator.sells_at_the_outlet(one.body)


@each(DOCUMENTS, "accepted")
async def test_an_order_with_open_units_is_accepted_with_exactly_these(
    operator: Operator, document: ShopOrder
) -> None:
    await is_accepted(operator, document)
    outcomes = [entry["outcome"] for entry in await operator.settled(document.order_id)]
    assert outcomes[-1] == "accepted"
    assert set(outcomes) <= {"accepted", "known", "duplicate"}


@each(DOCUMENTS, "held")
async def test_what_cannot_be_decided_is_held_and_says_so(
    operator: Operator, document: ShopOrder
) -> None:
    entries = await operator.settled(document.order_id)
    assert entries[-1]["outcome"] == "held"
    await is_held(operator, document)


@each(DOCUMENTS, "declined")
async def test_what_is_not_ours_to_ship_is_declined_and_the_reason_can_be_found(
    operator: Operator, document: ShopOrder
) -> None:
    entries = await operator.settled(document.order_id)
    assert {(entry["outcome"], entry["code"]) for entry in entries} == {
        ("declined", document.outcome)
    }
    await is_declined(operator, document)


async def test_an_order_that_is_paid_at_last_goes_on(operator: Operator) -> None:
    body = order(row(11), entity_id=710_001, increment_id="E2E-PAID", state="pending_payment")
    operator.sells_at_the_outlet(body)
    [held] = await operator.settled("outlet-E2E-PAID")
    assert held["outcome"] == "held"

    operator.sells_at_the_outlet({**body, "state": "processing", "total_paid": 103.5})

    card = await operator.under_way("outlet-E2E-PAID")
    assert card["holds"] == []
