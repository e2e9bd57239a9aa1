"""Shadow prices over HTTP: seen and switched by operators of the whole network alone."""

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from domain.sourcing.evidence import Evidence, Trial
from domain.sourcing.prices import Prices
from storage import prices
from storage.database import transaction
from tests.api.conftest import Api, MakeKey

AT = "/v1/prices"
EVIDENCE = Evidence(
    orders=400,
    tried=80,
    per_horizon=100,
    horizon_days=7,
    trials=(
        Trial(method="none", scale=0, cost_minor=80_000),
        Trial(method="poisson-tail", scale=0.5, cost_minor=78_000),
    ),
)


def a_book() -> Prices:
    one = np.ones((1, 1))
    return Prices("poisson-tail × 0.5", ("A",), ("DC-DAL",), one * 0, one * 300, one * 2)


@pytest.fixture
async def book(api: Api) -> str:
    """A book that holds; its version."""
    async with transaction(api.services.engine) as conn:
        await conn.execute(text("TRUNCATE price_books, price_log"))
        version = await prices.keep(conn, a_book(), 0.2, 400, EVIDENCE)
        assert await prices.settle(conn, version, "pricing", "saves 2.50% on 80 orders")
    return version


async def test_an_operator_sees_the_book_that_holds_and_what_it_was_chosen_by(
    http: httpx.AsyncClient, key: MakeKey, book: str
) -> None:
    ops = await key("ops")
    seen = (await http.get(AT, headers=ops)).json()
    assert (seen["state"]["on"], seen["state"]["version"]) == (True, book)
    assert seen["state"]["priced_since"] is not None
    assert [item["version"] for item in seen["items"]] == [book]
    assert [entry["action"] for entry in seen["history"]] == ["activated"]
    shown = (await http.get(f"{AT}/{book[:8]}", headers=ops)).json()
    assert shown["evidence"]["trials"][1]["cost_minor"] == 78_000
    unknown = await http.get(f"{AT}/{'0' * 12}", headers=ops)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_the_switch_says_who_and_why_and_changes_nothing_again(
    http: httpx.AsyncClient, key: MakeKey, book: str
) -> None:
    ops = await key("ops")
    for _ in range(2):
        off = (await http.post(f"{AT}/off", headers=ops, json={"note": "peak week"})).json()
        assert (off["on"], off["version"], off["priced_since"]) == (False, None, None)
        assert off["last"]["note"] == "peak week"
    other = await http.post(f"{AT}/on", headers=ops, json={"version": "0" * 12})
    assert other.status_code == 404
    for asked in ({}, {"version": book[:10]}):
        on = (await http.post(f"{AT}/on", headers=ops, json=asked)).json()
        assert (on["on"], on["version"]) == (True, book)
    history = (await http.get(AT, headers=ops)).json()["history"]
    assert [entry["action"] for entry in history] == ["on", "off", "activated"]
    assert all(entry["actor"] for entry in history)


async def test_others_may_not(http: httpx.AsyncClient, key: MakeKey, book: str) -> None:
    assert (await http.get(AT)).status_code == 401
    for headers in (await key("orders:read"), await key("ops", nodes=["DC-DAL"])):
        assert (await http.get(AT, headers=headers)).status_code == 403
        assert (await http.get(f"{AT}/{book}", headers=headers)).status_code == 403
        for verb in ("on", "off"):
            done = await http.post(f"{AT}/{verb}", headers=headers, json={})
            assert done.status_code == 403
