"""Orders that are sourced together, seen and started by those who operate the whole network."""

import httpx
import pytest

from tests.api.conftest import MakeKey


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/batches/reoptimise"])
async def test_only_who_operates_the_whole_network_starts_one(
    http: httpx.AsyncClient, key: MakeKey, path: str
) -> None:
    for headers in (await key("orders:write"), await key("ops", nodes=["STORE-1"])):
        answer = await http.post(path, headers=headers, json={})
        assert answer.status_code == 403, answer.text


async def test_nothing_cools_down_at_first(http: httpx.AsyncClient, key: MakeKey) -> None:
    headers = await key("ops")
    assert (await http.get("/v1/batches", headers=headers)).json() == {"items": []}
    assert (await http.post("/v1/batches", headers=headers, json={})).json() == {"orders": 0}


async def test_a_pass_needs_temporal_and_a_word_that_is_understood(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    headers = await key("ops")
    away = await http.post("/v1/batches/reoptimise", headers=headers, json={"dry_run": True})
    assert away.status_code == 503, away.text
    wrong = await http.post("/v1/batches/reoptimise", headers=headers, json={"dry_run": "maybe"})
    assert wrong.status_code == 422
