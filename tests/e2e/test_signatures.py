"""What is not signed leaves no trace; what comes fifty times is one order."""

import asyncio
import json
from functools import partial

from tests.e2e.conftest import Json, Operator
from tests.e2e.shopify_documents import line, order


async def test_a_signature_off_by_one_byte_is_answered_401_and_stores_nothing(
    operator: Operator,
) -> None:
    raw = json.dumps(order(line(11), id=7_300_000_000_001)).encode()
    signature = operator.signature(raw)
    forged = ("B" if signature[0] != "B" else "C") + signature[1:]
    before = operator.demo.asks("SELECT count(*) FROM inbox WHERE kind = 'shopify'")

    answers = [
        await operator.webhook(raw, delivery="forged", signature=forged),
        await operator.webhook(raw[:-1] + b" ", delivery="forged", signature=signature),
        await operator.webhook(raw, delivery="forged", signature=""),
    ]

    assert [answer.status_code for answer in answers] == [401] * 3
    assert operator.demo.asks("SELECT count(*) FROM inbox WHERE kind = 'shopify'") == before
    assert (await operator.reads("/v1/intake", q="forged"))["items"] == []
    assert await operator.order("webshop-7300000000001") is None


async def test_the_same_webhook_fifty_times_at_once_is_one_order_with_one_reservation(
    operator: Operator,
) -> None:
    await operator.stocks(["E2E-FIFTY"])
    same, alike = 7_300_000_000_002, 7_300_000_000_003
    raws = {n: json.dumps(order(line(11, "E2E-FIFTY"), id=n)).encode() for n in (same, alike)}
    answers = await asyncio.gather(
        *(operator.webhook(raws[same], delivery="fifty") for _ in range(50)),
        *(operator.webhook(raws[alike], delivery=f"alike {n}") for n in range(50)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["new"] for answer in answers[:50]].count(True) == 1

    for number, deliveries in ((same, 1), (alike, 50)):
        order_id = f"webshop-{number}"
        entries = await operator.settled(order_id)
        assert len(entries) == deliveries
        assert {entry["outcome"] for entry in entries} <= {"accepted", "duplicate"}
        await operator.waits(partial(_shipped, operator, order_id), order_id)
        assert operator.demo.asks("SELECT count(*) FROM orders WHERE order_id = %s", order_id) == [
            {"count": 1}
        ]
        assert operator.demo.asks(
            "SELECT reservation_id FROM reservations WHERE order_id = %s", order_id
        ) == [{"reservation_id": f"{order_id}-R1"}]
        assert operator.demo.asks(
            "SELECT sum(reserved_delta) AS units FROM movements WHERE order_id = %s"
            " AND reserved_delta > 0",
            order_id,
        ) == [{"units": 2}]
        assert operator.demo.asks(
            "SELECT count(*) FROM fulfillments WHERE order_id = %s", order_id
        ) == [{"count": 1}]


async def _shipped(operator: Operator, order_id: str) -> Json | None:
    found = await operator.order(order_id)
    return found if found and found["status"] in {"shipped", "completed"} else None
