"""Units that are not there: whose they are, where people find it, and one call to send them on."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from domain.network import Product
from domain.orders import Units
from storage import database, network, reservations, stock
from storage.asks import Ask
from tests.api.conftest import Api, MakeKey, MakeOrder
from tests.samples import a_share

Json = dict[str, Any]
Headers = dict[str, str]
EXCEPTIONS = "/v1/stock/exceptions"


@pytest.fixture
async def ops(key: MakeKey) -> Headers:
    return await key("ops", "stock:write", "orders:read")


@pytest.fixture
async def short(
    http: httpx.AsyncClient, api: Api, stored: MakeOrder, ops: Headers
) -> tuple[Json, list[str]]:
    """Three orders have two units each in Dallas, where three of them are; the oldest first."""
    sku = f"S-{uuid4().hex[:10]}"
    orders = []
    async with database.transaction(api.services.engine) as conn:
        await network.put_products(conn, [Product(sku=sku)])
        await stock.receive(conn, sku, "DC-DAL", [(sku, 6)], "receipt", "test")
    for n in range(3):
        order = (await stored(f"{sku}-{n}")).order_id
        async with database.transaction(api.services.engine) as conn:
            units = [Units(line_id="1", sku=sku, quantity=2)]
            await reservations.reserve(conn, Ask(f"{order}-R1", order, units))
            share = a_share(f"{order}-F1", "DC-DAL", {"1": 2}, sku=sku, order_id=order)
            assert await stock.allocate(conn, f"{order}/1", f"{order}-R1", [share]) == {}
        orders.append(order)
    row = {"kind": "snapshot", "node": "DC-DAL", "sku": sku, "sequence": 1, "on_hand": 3}
    async with database.transaction(api.services.engine) as conn:
        row["at"] = (await conn.execute(text("SELECT now()"))).scalar_one().isoformat()
    body = {"feed_id": sku, "rows": [row]}
    fed = await http.post("/v1/stock/feeds/wms-dal", json=body, headers=ops)
    assert fed.json()["short"] == [{"sku": sku, "node": "DC-DAL", "short": 3}]
    page = (await http.get(EXCEPTIONS, params={"limit": 200}, headers=ops)).json()
    [seen] = [item for item in page["items"] if item["sku"] == sku]
    return seen, orders


async def test_those_who_were_allocated_last_are_named_and_found(
    http: httpx.AsyncClient, ops: Headers, short: tuple[Json, list[str]]
) -> None:
    seen, (first, second, third) = short
    assert [(a["order_id"], a["units"]) for a in seen["affected"]] == [(third, 2), (second, 2)]
    for attention in ("stock_short", ""):
        asked = {"attention": attention, "channel": "webshop", "limit": 200}
        page = (await http.get("/v1/orders", params=asked, headers=ops)).json()
        found = {item["order_id"] for item in page["items"]}
        assert {second, third} <= found
        assert first not in found
    none = await http.get("/v1/orders", params={"attention": "no_node"}, headers=ops)
    assert none.json()["items"] == []


async def test_one_call_asks_back_what_is_not_there_once(
    http: httpx.AsyncClient, api: Api, ops: Headers, short: tuple[Json, list[str]]
) -> None:
    seen, (first, second, third) = short
    url = f"{EXCEPTIONS}/{seen['id']}/reroute"
    said = (await http.post(url, headers=ops)).json()
    assert [a["order_id"] for a in said["asked"]] == [third, second]
    again = (await http.post(url, headers=ops)).json()
    assert (again["asked"], again["affected"]) == ([], said["affected"])
    query = text("SELECT order_id, body FROM inbox WHERE delivery_id LIKE :of ORDER BY id")
    async with database.transaction(api.services.engine) as conn:
        rows = (await conn.execute(query, {"of": f"short:{seen['id']}:%"})).all()
    assert [row.order_id for row in rows] == [third, second]
    assert rows[0].body["node"] == "DC-DAL"
    for order, times in ((first, 0), (second, 1), (third, 1)):
        page = (await http.get(f"/v1/orders/{order}/timeline", headers=ops)).json()
        told = [event for event in page["items"] if event["type"] == "stock_short"]
        assert len(told) == times
    assert told[0]["fulfillment_id"] == f"{third}-F1"
    assert "3 of 6 allocated" in told[0]["summary"]
    assert (told[0]["actor"], told[0]["data"]["units"]) == ("key:test key", 2)


async def test_what_is_made_good_or_not_ones_own_is_not_asked_back(
    http: httpx.AsyncClient, key: MakeKey, ops: Headers, short: tuple[Json, list[str]]
) -> None:
    seen, _ = short
    url = f"{EXCEPTIONS}/{seen['id']}/reroute"
    assert (await http.post(url, headers=await key("stock:write"))).status_code == 403
    elsewhere = await key("ops", nodes=["STORE-1"])
    assert (await http.post(url, headers=elsewhere)).status_code == 404
    assert (await http.post(f"{EXCEPTIONS}/999999999/reroute", headers=ops)).status_code == 404
    lines = [{"sku": seen["sku"], "quantity": 3}]
    received = {"node": "DC-DAL", "key": seen["sku"] + "-in", "lines": lines}
    await http.post("/v1/stock/receipts", json=received, headers=ops)
    late = await http.post(url, headers=ops)
    assert (late.status_code, late.json()["code"]) == (409, "cleared")
