"""Every document of a shop leads to its order, to a question, or to a reason that can be read."""

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from tests.e2e.conftest import Json, Operator
from tests.e2e.shopify_documents import Document, documents, line, order

DOCUMENTS = documents()
ACCEPTED = [one for one in DOCUMENTS if one.outcome == "accepted"]
HELD = [one for one in DOCUMENTS if one.outcome == "held"]
INVALID = [one for one in DOCUMENTS if one.outcome == "invalid"]
DECLINED = [one for one in DOCUMENTS if one not in (*ACCEPTED, *HELD, *INVALID)]
NOT_READY = {"received", "on_hold", "rejected", "backordered"}


def named(some: Sequence[Document]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", some, ids=lambda one: one.name)


@pytest.fixture(scope="module", autouse=True)
async def sent(operator: Operator) -> None:
    """All documents, sent at once, with a catalogue made of their own SKUs and variants."""
    skus = {sku for one in DOCUMENTS for _, sku, _ in one.units if sku not in ("", *one.unknown)}
    await operator.stocks(sorted(skus))
    answers = await asyncio.gather(
        *(operator.webhook(one.raw, delivery=f"e2e {one.name}") for one in DOCUMENTS)
    )
    assert {answer.status_code for answer in answers} == {200}


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
    [entry] = await operator.settled(document.order_id)
    assert (entry["channel"], entry["outcome"]) == ("webshop", "accepted")


@named(HELD)
async def test_what_cannot_be_decided_is_held_and_says_so(
    operator: Operator, document: Document
) -> None:
    [entry] = await operator.settled(document.order_id)
    assert entry["outcome"] == "held"

    card = await operator.order(document.order_id)
    assert card is not None
    assert card["status"] == "on_hold"
    assert _units(card) == tuple(
        (line_id, "" if sku in document.unknown else sku, units)
        for line_id, sku, units in document.units
    )
    assert card["order"]["currency"] == document.currency
    assert card["problems"]
    if any(sku in ("", *document.unknown) for _, sku, _ in document.units):
        assert [item["code"] for item in card["attention"]] == ["unknown_sku"]


@named(DECLINED)
async def test_what_is_not_ours_to_ship_is_declined_and_the_reason_can_be_found(
    operator: Operator, document: Document
) -> None:
    [entry] = await operator.settled(document.order_id)
    assert (entry["outcome"], entry["code"]) == ("declined", document.outcome)
    assert entry["detail"]

    answer = await operator.http.get(f"/v1/orders/{document.order_id}")
    assert answer.status_code == 404
    assert "declined: " + document.outcome.replace("_", " ") in answer.json()["detail"]


@named(INVALID)
async def test_what_is_no_order_is_kept_as_invalid(operator: Operator, document: Document) -> None:
    [entry] = await operator.settled(f"e2e {document.name}")
    assert (entry["outcome"], entry["order_id"]) == ("invalid", None)
    assert entry["detail"]


async def test_an_unknown_product_goes_on_once_the_catalogue_has_it(operator: Operator) -> None:
    body = order(line(11, "E2E-LATE"), id=7_100_000_000_001)
    order_id = f"webshop-{body['id']}"
    await operator.webhook(json.dumps(body).encode())
    await operator.settled(order_id)

    async def asks() -> Json | None:
        found = await operator.order(order_id)
        return found if found and found["attention"] else None

    asked = await operator.waits(asks, "the question about the product")
    assert "E2E-LATE" in asked["sentence"]
    too_early = await operator.sends("POST", f"/v1/orders/{order_id}/resolve", {})
    assert too_early["result"].startswith("retry")
    still = await operator.waits(asks, "the question, asked again")
    assert still["status"] == "on_hold"

    await operator.stocks(["E2E-LATE"])
    await operator.sends("POST", f"/v1/orders/{order_id}/resolve", {})

    async def goes_on() -> Json | None:
        found = await operator.order(order_id)
        return found if found and found["status"] not in NOT_READY else None

    card = await operator.waits(goes_on, "the order to go on")
    assert _units(card) == (("11", "E2E-LATE", 2),)


async def test_a_cancellation_that_overtakes_its_order_wins(operator: Operator) -> None:
    body = order(line(11), id=7_100_000_000_002)
    order_id = f"webshop-{body['id']}"
    late = json.dumps({**body, "cancelled_at": "2026-11-20T10:05:00Z"}).encode()
    await operator.webhook(late, topic="orders/cancelled")
    await operator.webhook(json.dumps(body).encode())

    entries = await operator.settled(order_id)
    assert [(entry["outcome"], entry["code"]) for entry in entries] == [
        ("declined", "cancelled"),
        ("declined", "cancelled"),
    ]
    assert await operator.order(order_id) is None


async def test_three_hundred_garbled_documents_crash_nothing(operator: Operator) -> None:
    chance = Random(20261120)  # noqa: S311 - any documents do
    raws = [_garbled(chance, number) for number in range(300)]
    answers = await asyncio.gather(
        *(operator.webhook(raw, delivery=f"garbled {n}") for n, raw in enumerate(raws))
    )
    assert {answer.status_code for answer in answers} == {200}

    async def taken_up() -> list[Json] | None:
        found = operator.demo.asks(
            "SELECT note, error, done_at, dead_at FROM inbox WHERE delivery_id LIKE %s", "garbled %"
        )
        return found if all(row["done_at"] or row["error"] for row in found) else None

    rows = await operator.waits(taken_up, "the garbled documents")
    assert len(rows) == 300
    assert [row["error"] for row in rows if row["error"]] == []
    assert len({row["note"].partition(":")[0] for row in rows}) > 3


def _garbled(chance: Random, number: int) -> bytes:
    """A document in which a few places hold what nobody expects there."""
    lines = [line(11), line(12, "E2E-NOWHERE", fulfillable_quantity=1)]
    body = order(*lines, id=7_200_000_000_000 + number // 5)
    for _ in range(chance.randint(1, 4)):
        _garble(chance, body)
    raw = json.dumps(body).encode()
    if chance.random() < 0.1:
        raw = raw[: chance.randrange(len(raw))]
    return raw


def _garble(chance: Random, tree: Any) -> None:
    """One place of the tree, however deep."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return
    key = chance.choice(keys)
    if isinstance(tree[key], dict | list) and tree[key] and chance.random() < 0.7:
        _garble(chance, tree[key])
    elif isinstance(tree, dict) and chance.random() < 0.2:
        del tree[key]
    else:
        tree[key] = chance.choice(_STRANGE)


_STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    1e308,
    float("nan"),
    "",
    "x" * 5000,
    "a\x00b",
    "\ud800",
    "١٢",
    "1e999999999",
    [],
    {},
    [[[[[[]]]]]],
    {"id": {"id": {}}},
    [None, 1, "x"],
)


def _units(card: Json) -> tuple[tuple[str, str, int], ...]:
    return tuple((line["line_id"], line["sku"], line["ordered"]) for line in card["lines"])
