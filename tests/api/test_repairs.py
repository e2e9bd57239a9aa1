"""What is wrong in the books, over HTTP: listed, made, refused, by operators alone."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from activities.auditing import mend
from domain.network import Product
from storage import database, network, stock
from storage.repairs import POLICIES
from tests.api.conftest import Api, MakeKey

AT = "/v1/repairs"


@pytest.fixture
async def proposed(api: Api, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A shelf of the test's own that was altered by hand, and its proposal."""
    sku = f"R-{abs(hash(request.node.name)) % 10**9}"
    engine = api.services.engine
    async with database.transaction(engine) as conn:
        await network.put_products(conn, [Product(sku=sku)])
        await stock.receive(conn, sku, "DC-DAL", [(sku, 7)], "receipt", "test")
    async with database.transaction(engine) as conn:
        await conn.execute(text("SET LOCAL application_name = 'psql'"))
        query = "UPDATE stock SET on_hand = 70 WHERE sku = :sku"
        await conn.execute(text(query), {"sku": sku})
    [repair] = await mend(engine, POLICIES, [sku])
    return repair.model_dump()


async def test_an_operator_sees_a_proposal_and_has_it_made(
    http: httpx.AsyncClient, key: MakeKey, proposed: dict[str, Any]
) -> None:
    ops = await key("ops")
    page = (await http.get(AT, params={"status": "proposed"}, headers=ops)).json()
    [seen] = [item for item in page["items"] if item["id"] == proposed["id"]]
    assert (seen["table"], seen["before"]["on_hand"], seen["after"]["on_hand"]) == ("stock", 70, 7)
    for _ in range(2):
        made = await http.post(f"{AT}/{seen['id']}/apply", headers=ops)
        assert (made.status_code, made.json()["status"]) == (200, "applied")
    no = await http.post(f"{AT}/{seen['id']}/refuse", json={}, headers=ops)
    assert (no.status_code, no.json()["code"]) == (409, "repair_decided")
    level = await http.get(
        "/v1/stock", params={"sku": proposed["key"]["sku"]}, headers=await key("admin")
    )
    assert level.json()["items"][0]["on_hand"] == 7


async def test_an_operator_may_refuse(
    http: httpx.AsyncClient, api: Api, key: MakeKey, proposed: dict[str, Any]
) -> None:
    ops = await key("ops")
    said = {"note": "seventy it is"}
    refused = await http.post(f"{AT}/{proposed['id']}/refuse", json=said, headers=ops)
    assert (refused.json()["status"], refused.json()["note"]) == ("refused", "seventy it is")
    assert (await http.post(f"{AT}/{proposed['id']}/apply", headers=ops)).status_code == 409
    assert await mend(api.services.engine, POLICIES, [proposed["key"]["sku"]]) == ()


async def test_others_may_not(
    http: httpx.AsyncClient, key: MakeKey, proposed: dict[str, Any]
) -> None:
    for scopes, nodes in (("stock:write", None), ("ops", ["DC-DAL"])):
        headers = await key(scopes, nodes=nodes)
        assert (await http.get(AT, headers=headers)).status_code == 403
        made = await http.post(f"{AT}/{proposed['id']}/apply", headers=headers)
        assert made.status_code == 403
    missing = await http.post(f"{AT}/999999/apply", headers=await key("ops"))
    assert missing.status_code == 404
