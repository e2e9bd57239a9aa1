"""What shops have or send, and how it shows what became of it: the same for every shop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from tests.e2e.conftest import Json, Operator

Outcome = Literal[
    "accepted",
    "held",
    "invalid",
    "cancelled",
    "voided",
    "already_fulfilled",
    "nothing_to_ship",
]
_NOT_DECLINED = ("accepted", "held", "invalid")


@dataclass(frozen=True)
class Document:
    """
    A shop's document. `units` are, by line id, the SKU of our catalogue and the open units.

    `outcome` is `accepted`, `held` or `invalid`, else the code with which it is declined; `unknown`
    are the SKUs that the catalogue does not have at first.
    """

    name: str
    body: Json
    outcome: Outcome = "accepted"
    units: tuple[tuple[str, str, int], ...] = ()
    currency: str = "USD"
    total_minor: int | None = None
    unknown: tuple[str, ...] = ()

    @property
    def order_id(self) -> str:
        raise NotImplementedError


def each(documents: Sequence[Document], outcome: str) -> pytest.MarkDecorator:
    """The test runs for each document of this outcome; `declined` is every code."""
    some = [
        one
        for one in documents
        if outcome == (one.outcome if one.outcome in _NOT_DECLINED else "declined")
    ]
    assert some
    return pytest.mark.parametrize("document", some, ids=lambda one: one.name)


async def is_accepted(operator: Operator, document: Document) -> None:
    """With exactly its open units."""
    card = await operator.under_way(document.order_id)
    assert units_of(card) == document.units
    assert card["order"]["currency"] == document.currency
    if document.total_minor is not None:
        assert card["order"]["total_minor"] == document.total_minor


async def is_held(operator: Operator, document: Document) -> Json:
    """It waits, and says why; the order's card."""
    card = await operator.order(document.order_id)
    assert card is not None
    assert card["status"] == "on_hold"
    assert units_of(card) == tuple(
        (line_id, "" if sku in document.unknown else sku, units)
        for line_id, sku, units in document.units
    )
    assert card["order"]["currency"] == document.currency
    assert card["problems"]
    return card


async def is_declined(operator: Operator, document: Document) -> None:
    """There is no such order, and whoever asks for it reads why."""
    answer = await operator.http.get(f"/v1/orders/{document.order_id}")
    assert answer.status_code == 404
    assert "declined: " + document.outcome.replace("_", " ") in answer.json()["detail"]


def units_of(card: Json) -> tuple[tuple[str, str, int], ...]:
    return tuple((line["line_id"], line["sku"], line["ordered"]) for line in card["lines"])
