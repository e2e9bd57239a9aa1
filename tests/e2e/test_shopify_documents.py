"""Every document of a shop leads to its order, to a question, or to a reason that can be read."""

import asyncio
import json
from random import Random
from typing import Any

import pytest

from tests.e2e.conftest import Json, Operator
from tests.e2e.documents import each, is_accepted, is_declined, is_held, units_of
from tests.e2e.shopify_documents import Webhook, documents, line, order

DOCUMENTS = documents()


@pytest.fixture(scope="module", autouse=True)
async def sent(operator: Operator) -> None:
    """All documents, sent at once, with a catalogue made of their own SKUs and variants."""
    skus = {sku for one in DOCUMENTS for _, sku, _ in one.units if sku not in ("", *one.unknown)}
    await operator.stocks(sorted(skus))
    answers = await asyncio.gather(
        *(operator.webhook(one.raw, delivery=f"e2e {one.name}") for one in DOCUMENTS)
    )
    assert {answer.status_code for answer in answers} == {200}


@each(DOCUMENTS, "accepted")
async def test_an_order_with_open_units_is_accepted_with_exactly_these(
    operator: Operator, document: Webhook
) -> None:
    await is_accepted(operator, document)
    [entry] = await operator.settled(document.order_id)
    assert (entry["channel"], entry["outcome"]) == ("webshop", "accepted")


@each(DOCUMENTS, "held")
async def test_what_cannot_be_decided_is_held_and_says_so(
    operator: Operator, document: Webhook
) -> None:
    [entry] = await operator.settled(document.order_id)
    assert entry["outcome"] == "held"
    card = await is_held(operator, document)
    if any(sku in ("", *document.unknown) for _, sku, _ in document.units):
        assert [item["code"] for item in card["attention"]] == ["unknown_sku"]


@each(DOCUMENTS, "declined")
async def test_what_is_not_ours_to_ship_is_declined_and_the_reason_can_be_found(
    operator: Operator, document: Webhook
) -> None:
    [entry] = await operator.settled(document.order_id)
    assert (entry["outcome"], entry["code"]) == ("declined", document.outcome)
    assert entry["detail"]
    await is_declined(operator, document)


@each(DOCUMENTS, "invalid")
async def test_what_is_no_order_is_kept_as_invalid(operator: Operator, document: Webhook) -> None:
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

    card = await operator.under_way(order_id)
    assert units_of(card) == (("11", "E2E-LATE", 2),)


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
