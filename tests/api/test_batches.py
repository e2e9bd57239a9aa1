"""Orders that are sourced together, over HTTP: how many wait, and to have it done now."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from storage import cooling, database, records
from tests.api.conftest import Api, MakeKey
from tests.samples import a_change, an_order

AT = "/v1/batches"


async def test_nothing_cools_down_at_first(http: httpx.AsyncClient, key: MakeKey) -> None:
    headers = await key("ops")
    assert (await http.get("/v1/batches", headers=headers)).json() == {"items": []}
    assert (await http.post("/v1/batches", headers=headers, json={})).json() == {"orders": 0}


@pytest.fixture
async def profile(api: Api, request: pytest.FixtureRequest) -> str:
    """Two orders that wait for an hour, in a profile of the test's own."""
    name = f"web@1/{abs(hash(request.node.name)) % 10**9}"
    async with database.transaction(api.services.engine) as conn:
        for number in "12":
            order = an_order(f"{name.removeprefix('web@1/')}-{number}")
            await records.accept(conn, order, "run", a_change(order))
            window = {"order_id": order.order_id, "round": 1}
            await cooling.enter(conn, name, timedelta(hours=1), window)
    return name


async def test_what_waits_is_listed_and_due_once_it_is_asked_for(
    http: httpx.AsyncClient, key: MakeKey, profile: str
) -> None:
    ops = await key("ops")
    [before] = await listed(http, ops, profile)
    assert before["orders"] == 2
    assert before["due_at"] > before["since"]

    answer = await http.post(AT, json={"profile": profile}, headers=ops)
    assert (answer.status_code, answer.json()) == (200, {"orders": 2})
    [after] = await listed(http, ops, profile)
    assert after["due_at"] < before["due_at"]
    assert (await http.post(AT, json={"profile": "none"}, headers=ops)).json() == {"orders": 0}


async def test_only_operators_of_the_whole_network_start_batches(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    assert (await http.post(AT, json={})).status_code == 401
    assert (await http.post(AT, json={}, headers=await key("rules:write"))).status_code == 403
    bound = await key("ops", nodes=["DC-DAL"])
    assert (await http.post(AT, json={}, headers=bound)).status_code == 403
    misspelt = await http.post(AT, json={"profil": "x"}, headers=await key("ops"))
    assert misspelt.status_code == 422
    assert "profil" in misspelt.text


async def listed(
    http: httpx.AsyncClient, headers: dict[str, str], profile: str
) -> list[dict[str, Any]]:
    page = (await http.get(AT, headers=headers)).json()
    return [item for item in page["items"] if item["profile"] == profile]


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/batches/reoptimise"])
async def test_only_who_operates_the_whole_network_starts_one(
    http: httpx.AsyncClient, key: MakeKey, path: str
) -> None:
    for headers in (await key("orders:write"), await key("ops", nodes=["STORE-1"])):
        answer = await http.post(path, headers=headers, json={})
        assert answer.status_code == 403, answer.text


async def test_a_pass_needs_temporal_and_a_word_that_is_understood(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    headers = await key("ops")
    away = await http.post("/v1/batches/reoptimise", headers=headers, json={"dry_run": True})
    assert away.status_code == 503, away.text
    wrong = await http.post("/v1/batches/reoptimise", headers=headers, json={"dry_run": "maybe"})
    assert wrong.status_code == 422
