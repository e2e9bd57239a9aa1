"""Reservations over HTTP: under the caller's key, for carts that run out and orders that do not."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from activities import expiry
from activities.house import House
from api.app import create_app
from api.reservations import closing
from domain.errors import Outage
from domain.network import Product
from domain.orders import OrderStatus, Units
from domain.stock_rules import Rule, RuleKind
from storage import audit, database, network, records, stock, stock_rules
from storage.asks import Ask
from tests.api.conftest import Api, MakeKey, MakeOrder, change, in_fulfillment, rows_of

Json = dict[str, Any]
Headers = dict[str, str]
URL = "/v1/reservations"


@pytest.fixture
async def shopper(key: MakeKey) -> Headers:
    return await key("orders:write", channels=["webshop"])


@pytest.fixture
async def sku(api: Api) -> str:
    """A product of the test's own with ten units in Dallas, and another name."""
    name = f"R-{uuid4().hex[:10]}"
    async with database.transaction(api.services.engine) as conn:
        await network.put_products(conn, [Product(sku=name, aliases=(f"ean-{name}",))])
        await stock.receive(conn, name, "DC-DAL", [(name, 10)], "receipt", "test")
    return name


def cart(sku: str, quantity: int = 2, **more: Any) -> Json:
    return {
        "channel": "webshop",
        "key": f"cart-{sku}",
        "lines": [{"sku": sku, "quantity": quantity}],
        "ttl_seconds": 900,
        **more,
    }


def problem(answer: httpx.Response) -> tuple[int, str, list[str]]:
    told = answer.json()
    return answer.status_code, told["code"], [error["field"] for error in told.get("errors", ())]


async def available(api: Api, sku: str) -> int:
    async with database.transaction(api.services.engine) as conn:
        return (await stock.available(conn, [sku]))[sku]


async def clean(api: Api) -> None:
    async with database.transaction(api.services.engine) as conn:
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []


async def test_made_once_however_often_it_is_asked_for_and_by_any_name(
    http: httpx.AsyncClient, api: Api, shopper: Headers, sku: str
) -> None:
    by_alias = cart(sku) | {"lines": [{"sku": f"ean-{sku}", "quantity": 2}]}
    bodies = [cart(sku), by_alias] * 5
    answers = await asyncio.gather(*(http.post(URL, json=b, headers=shopper) for b in bodies))
    assert {answer.status_code for answer in answers} == {201}
    [said] = {answer.text for answer in answers}
    told = answers[0].json()
    assert (told["state"], told["key"], told["order_id"]) == ("held", f"cart-{sku}", None)
    assert told["lines"] == [{"line_id": "1", "sku": sku, "quantity": 2, "missing": 0}]
    got = await http.get(f"{URL}/webshop/cart-{sku}", headers=shopper)
    assert got.text == said
    assert await available(api, sku) == 8
    other = await http.post(URL, json=cart(sku, 3), headers=shopper)
    assert problem(other) == (409, "reservation_differs", [])
    assert "other content" in other.json()["detail"]
    await clean(api)


async def test_all_lines_or_none_unless_in_part(
    http: httpx.AsyncClient, api: Api, shopper: Headers, sku: str
) -> None:
    body = cart(sku) | {
        "lines": [{"sku": sku, "quantity": 1}, {"line_id": "big", "sku": sku, "quantity": 11}]
    }
    short = await http.post(URL, json=body, headers=shopper)
    assert problem(short) == (422, "out_of_stock", ["lines.0.quantity", "lines.1.quantity"])
    assert f"10 of 12 {sku} can be had" in short.json()["errors"][0]["message"]
    assert await available(api, sku) == 10
    part = await http.post(URL, json=body | {"partial": True}, headers=shopper)
    assert [(x["line_id"], x["quantity"], x["missing"]) for x in part.json()["lines"]] == [
        ("1", 1, 0),
        ("big", 9, 2),
    ]
    await clean(api)


async def test_the_verbs_from_cart_to_counter(
    http: httpx.AsyncClient, api: Api, shopper: Headers, sku: str
) -> None:
    await http.post(URL, json=cart(sku, 3), headers=shopper)
    one = f"{URL}/webshop/cart-{sku}"

    async def said(verb: str, **body: Any) -> Json:
        answers = [await http.post(f"{one}/{verb}", json=body, headers=shopper) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
        assert answers[0].text == answers[1].text
        found: Json = answers[0].json()
        return found

    too_far = await http.post(
        f"{one}/transfer", json={"key": "x", "node": "STORE-1"}, headers=shopper
    )
    assert problem(too_far) == (422, "out_of_stock", ["node"])
    early = await http.post(f"{one}/fulfill", json={"key": "f0"}, headers=shopper)
    assert problem(early)[:2] == (409, "not_at_node")
    assert (await said("transfer", key="t1", node="DC-DAL"))["node"] == "DC-DAL"
    confirmed = await said("confirm", order_id="pos-17")
    assert (confirmed["state"], confirmed["order_id"]) == ("committed", "pos-17")
    assert confirmed["expires_at"] is None
    another = await http.post(f"{one}/confirm", json={"order_id": "pos-18"}, headers=shopper)
    assert problem(another)[:2] == (409, "reservation_used")
    some = await said("fulfill", key="f1", lines=[{"line_id": "1", "quantity": 1}])
    assert (some["state"], some["lines"][0]["quantity"]) == ("committed", 2)
    assert (await said("fulfill", key="f2"))["state"] == "fulfilled"
    late = await http.post(f"{one}/transfer", json={"key": "t2"}, headers=shopper)
    assert problem(late)[:2] == (409, "reservation_fulfilled")
    async with database.transaction(api.services.engine) as conn:
        [level] = await stock.levels(conn, skus=[sku])
    assert (level.on_hand, level.allocated) == (7, 0)
    await clean(api)


async def test_a_release_that_overtakes_its_reservation_wins(
    http: httpx.AsyncClient, api: Api, shopper: Headers, sku: str
) -> None:
    first = await http.post(f"{URL}/webshop/cart-{sku}/release", headers=shopper)
    assert (first.json()["state"], first.json()["lines"]) == ("released", [])
    late = await http.post(URL, json=cart(sku), headers=shopper)
    assert problem(late)[:2] == (409, "reservation_released")
    assert await available(api, sku) == 10


async def test_a_cart_runs_out_by_itself_and_wakes_who_waits(
    http: httpx.AsyncClient, api: Api, shopper: Headers, stored: MakeOrder, sku: str
) -> None:
    waits = in_fulfillment(await stored(sku), "DC-DAL").model_copy(
        update={"status": OrderStatus.BACKORDERED, "short": {sku: 2}, "fulfillments": ()}
    )
    async with database.transaction(api.services.engine) as conn:
        await records.apply(conn, change(waits, seq=2))
    async with httpx.AsyncClient() as outside:
        services = api.services
        house = House(
            engine=services.engine,
            client=services.temporal,
            keyring=services.keyring,
            http=outside,
        )
        sweep = asyncio.create_task(expiry.run(house))
        made = await http.post(URL, json=cart(sku, ttl_seconds=1), headers=shopper)
        assert made.json()["state"] == "held"
        one = f"{URL}/webshop/cart-{sku}"
        for _ in range(600):
            found = (await http.get(one, headers=shopper)).json()
            if found["state"] != "held":
                break
            await asyncio.sleep(0.05)
        sweep.cancel()
    assert (found["state"], found["lines"][0]["quantity"]) == ("expired", 0)
    assert await available(api, sku) == 10
    again = await http.post(URL, json=cart(sku, ttl_seconds=1), headers=shopper)
    assert problem(again)[:2] == (409, "reservation_expired")
    woken = await rows_of(api.services.engine, "supply")
    assert [row for row in woken if row.endswith(f":webshop-{sku}")]


async def test_one_keys_channels_are_not_anothers(
    http: httpx.AsyncClient, key: MakeKey, shopper: Headers, sku: str
) -> None:
    await http.post(URL, json=cart(sku), headers=shopper)
    stranger = await key("orders:write", channels=["outlet"])
    one = f"{URL}/webshop/cart-{sku}"
    assert (await http.post(URL, json=cart(sku), headers=stranger)).status_code == 403
    assert (await http.get(one, headers=stranger)).status_code == 404
    for verb, body in (
        ("confirm", {"order_id": "o"}),
        ("transfer", {"key": "t"}),
        ("fulfill", {"key": "f"}),
        ("release", {}),
    ):
        answer = await http.post(f"{one}/{verb}", json=body, headers=stranger)
        assert answer.status_code == 404, verb
    listed = await http.get(URL, params={"channel": "webshop"}, headers=stranger)
    assert listed.status_code == 404
    mine = await http.post(URL, json=cart(sku, 1, channel="outlet"), headers=stranger)
    assert mine.status_code == 201  # the same key, and another reservation
    reader = await key("orders:read", channels=["webshop"])
    assert (await http.get(one, headers=reader)).json()["state"] == "held"
    assert (await http.post(f"{one}/release", headers=reader)).status_code == 403
    of_a_node = await key("orders:write", nodes=["DC-DAL"])
    assert (await http.get(one, headers=of_a_node)).status_code == 404


async def test_pages_of_a_channel_newest_first(
    http: httpx.AsyncClient, key: MakeKey, sku: str
) -> None:
    admin = await key("admin")
    for n in range(5):
        body = cart(sku, 1, channel="outlet", key=f"{sku}-{n}")
        assert (await http.post(URL, json=body, headers=admin)).status_code == 201
    await http.post(f"{URL}/outlet/{sku}-1/release", headers=admin)
    found: list[str] = []
    asked: Json = {"channel": "outlet", "limit": 2, "state": "held"}
    while True:
        page = (await http.get(URL, params=asked, headers=admin)).json()
        found += [item["key"] for item in page["items"]]
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert [name for name in found if name.startswith(sku)] == [f"{sku}-{n}" for n in (4, 3, 2, 0)]
    wrong = await http.get(URL, params={"channel": "outlet", "cursor": "x"}, headers=admin)
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ttl_seconds": None}, "ttl_seconds"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 86_401}, "ttl_seconds"),
        ({"order_id": "o1"}, "ttl_seconds"),
        ({"key": "a/b"}, "key"),
        ({"key": ""}, "key"),
        ({"lines": []}, "lines"),
        ({"lines": [{"sku": "SKU-1", "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{"line_id": "a", "sku": "SKU-1", "quantity": 1}] * 2}, "lines"),
        ({"lines": [{"sku": "NO-SUCH", "quantity": 1}]}, "lines.0.sku"),
        ({"node": "NOWHERE"}, "node"),
        ({"holds": 1}, "holds"),
    ],
)
async def test_what_cannot_be_reserved_names_the_field(
    http: httpx.AsyncClient, shopper: Headers, sku: str, change: Json, field: str
) -> None:
    answer = await http.post(URL, json=cart(sku) | change, headers=shopper)
    assert answer.status_code == 422
    assert field in problem(answer)[2]


async def test_what_is_held_back_of_a_channel_is_not_reserved_for_it(
    http: httpx.AsyncClient, api: Api, shopper: Headers, sku: str
) -> None:
    async with database.transaction(api.services.engine) as conn:
        rules = [
            Rule(kind=RuleKind.THRESHOLD, sku=sku, units=3),
            Rule(kind=RuleKind.CAP, channel="webshop", sku=sku, units=5),
        ]
        await stock_rules.put(conn, rules, actor="ann")
    over = await http.post(URL, json=cart(sku, 6), headers=shopper)
    assert "5 of 6" in over.json()["errors"][0]["message"]
    body = cart(sku, 5, ttl_seconds=None, order_id="pos-1")
    kept = (await http.post(URL, json=body, headers=shopper)).json()
    assert (kept["state"], kept["order_id"]) == ("committed", "pos-1")
    no_pickups = await http.post(URL, json=cart(sku, 1, key=sku, node="DC-DAL"), headers=shopper)
    assert problem(no_pickups)[:2] == (422, "out_of_stock")


async def test_200_callers_at_once_for_10_units_get_10(
    http: httpx.AsyncClient, api: Api, shopper: Headers, sku: str
) -> None:
    gate = asyncio.Semaphore(40)

    async def one(n: int) -> int:
        async with gate:
            body = cart(sku, 1, key=f"{sku}-{n}")
            return (await http.post(URL, json=body, headers=shopper)).status_code

    statuses = await asyncio.gather(*(one(n) for n in range(200)))
    assert (statuses.count(201), statuses.count(422)) == (10, 190)
    await clean(api)


async def test_the_door_closes_with_the_application(api: Api, sku: str) -> None:
    app = create_app(api.services)
    async with closing(app), database.transaction(api.services.engine) as conn:
        query = text("SELECT FROM pool WHERE sku = :sku FOR UPDATE")
        await conn.execute(query, {"sku": sku})
        units = [Units(line_id="1", sku=sku, quantity=1)]
        waits = asyncio.create_task(app.state.batcher.reserve(Ask("webshop/late", None, units)))
        await asyncio.sleep(0.1)
        await app.state.batcher.close()
    with pytest.raises(Outage, match="going down"):
        await waits
    assert await available(api, sku) == 10
