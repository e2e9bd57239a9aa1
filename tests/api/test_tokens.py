"""Tokens: what holds a quote for who orders it, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.database import transaction
from tests.api.promising import an_order, cart, local
from tests.api.quoting import (
    MUGS,
    TUESDAY,
    At,
    Json,
    at,
    option,
    quoted,
    shop,
    utc,
)

__all__ = ["at", "shop"]


async def a_token(at: At, now: datetime = TUESDAY, seconds: int = 600) -> Json:
    quote = await quoted(at, now, cart(MUGS, token_seconds=seconds))
    return option(quote, "ground")


async def placed(at: At, now: datetime, body: Json) -> tuple[int, str, str]:
    """The status, the code, and the detail; the one field that is wrong begins it."""
    async with at(now) as http:
        answer = await http.post("/v1/orders", json=body)
    problem = answer.json()
    assert all(problem["detail"].startswith(e["field"]) for e in problem.get("errors", ()))
    return answer.status_code, problem["code"], problem["detail"]


async def test_a_token_ends_with_its_time_or_with_the_cut_off(at: At) -> None:
    cutoff = local("2026-09-01T14:00")
    early = await a_token(at, TUESDAY)
    late = await a_token(at, cutoff - timedelta(seconds=9))

    assert early["token_expires_at"] == utc(TUESDAY + timedelta(seconds=600))
    assert late["token_expires_at"] == utc(cutoff)


@pytest.mark.parametrize(
    ("later", "change", "code", "said"),
    [
        pytest.param(600, {}, "promise_expired", "it ended at 2026-09-01T14:10:00Z", id="late"),
        pytest.param(
            9, {"promise_token": "pr_x"}, "promise_unknown", "no such thing", id="unknown"
        ),
        pytest.param(9, {"channel": "other"}, "promise_unknown", "channel other", id="foreign"),
        pytest.param(
            9,
            {"lines": [{"line_id": "1", "sku": "MUG", "quantity": 3}]},
            "promise_mismatch",
            "other goods: 2 of MUG",
            id="another-cart",
        ),
        pytest.param(
            9,
            {"ship_to": {"postal_code": "60601"}},
            "promise_mismatch",
            "another address (US  75201)",
            id="another-address",
        ),
        pytest.param(
            9,
            {"method": "pickup", "pickup_node": "ST-DAL"},
            "promise_mismatch",
            "ship, not pickup",
            id="another-method",
        ),
        pytest.param(
            9,
            {"deliver_by": "2026-09-02T01:00:00Z"},
            "promise_mismatch",
            "deliver_by: leave it out: the promise is for 2026-09-03T01:00:00Z",
            id="another-date",
        ),
    ],
)
async def test_a_token_that_does_not_fit_is_refused(
    at: At, later: int, change: Json, code: str, said: str
) -> None:
    offer = await a_token(at)
    body = {**an_order(f"misfit-{code}", MUGS, promise_token=offer["token"]), **change}
    status, given, detail = await placed(at, TUESDAY + timedelta(seconds=later), body)

    assert (status, given) == (422, code)
    assert said in detail
    if "deliver_by" not in change:
        assert detail.startswith("promise_token: ")
        assert detail.endswith("quote the cart again (POST /v1/promises), or leave the token out")


async def test_a_token_is_one_orders_and_stays_its_own_after_its_time(at: At) -> None:
    """Temporal is away here: 503 says that the token was good."""
    offer = await a_token(at)
    mine, other = (an_order(number, MUGS, promise_token=offer["token"]) for number in ("me", "you"))

    assert (await placed(at, TUESDAY + timedelta(seconds=599), mine))[0] == 503
    assert (await placed(at, TUESDAY + timedelta(hours=3), mine))[0] == 503
    status, code, detail = await placed(at, TUESDAY, other)
    assert (status, code) == (422, "promise_used")
    assert "order api-me has it" in detail


async def test_tokens_that_nobody_claimed_are_swept_away(at: At, engine: AsyncEngine) -> None:
    await a_token(at, datetime(2026, 1, 6, 15, tzinfo=UTC))
    await a_token(at)
    async with transaction(engine) as conn:
        old = text("SELECT count(*) FROM promises WHERE expires_at < '2026-01-07'")
        assert (await conn.execute(old)).scalar_one() == 0
