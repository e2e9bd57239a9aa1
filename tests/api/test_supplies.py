"""Supply that is still to come, over HTTP: stated, waited for, received, and the dates it gives."""

from typing import Any

import httpx
import pytest

from domain.network import Product
from domain.orders import OrderStatus, Units
from storage import database, network, records
from storage.asks import Ask
from storage.batching import Batcher
from tests.api.conftest import Api, MakeKey, MakeOrder, change, rows_of


@pytest.fixture
async def admin(key: MakeKey) -> dict[str, str]:
    return await key("admin")


@pytest.fixture
async def sku(api: Api, request: pytest.FixtureRequest) -> str:
    """A product of the test's own."""
    name = f"S-{abs(hash(request.node.name)) % 10**9}"
    async with database.transaction(api.services.engine) as conn:
        await network.put_products(conn, [Product(sku=name)])
    return name


def supply(sku: str, units: int, on: str, sequence: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "kind": "purchase_order",
        "node": "DC-DAL",
        "sku": sku,
        "quantity": units,
        "expected_at": f"{on}T12:00:00Z",
        **more,
    }


async def state(
    http: httpx.AsyncClient, headers: dict[str, str], name: str, body: dict[str, Any]
) -> bool:
    answer = await http.put(f"/v1/supplies/erp/{name}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["new"])


async def receive(
    http: httpx.AsyncClient, headers: dict[str, str], sku: str, units: int, **more: Any
) -> httpx.Response:
    key = f"in {sku} {units} {more}"
    body = {"node": "DC-DAL", "key": key, "lines": [{"sku": sku, "quantity": units}], **more}
    return await http.post("/v1/stock/receipts", json=body, headers=headers)


async def dates(
    http: httpx.AsyncClient, headers: dict[str, str], sku: str, **asked: Any
) -> dict[str, Any]:
    answer = await http.get(f"/v1/availability/{sku}/dates", params=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_twenty_can_be_had_when_the_first_ten_of_those_to_come_are_there(
    http: httpx.AsyncClient, admin: dict[str, str], sku: str
) -> None:
    await receive(http, admin, sku, 10)
    assert await state(http, admin, f"{sku}-9", supply(sku, 10, "2126-12-09"))
    assert await state(http, admin, f"{sku}-19", supply(sku, 10, "2126-12-19"))
    assert not await state(http, admin, f"{sku}-9", supply(sku, 99, "2126-12-10"))
    unsure = supply(sku, 5, "2126-12-20", confidence="tentative")
    assert await state(http, admin, f"{sku}-20", unsure)
    said = await dates(http, admin, sku, quantity=20)
    assert said["earliest"] == "2126-12-09T12:00:00Z"
    assert [dated["units"] for dated in said["dates"]] == [10, 20, 30]
    assert (await dates(http, admin, sku, quantity=31))["earliest"] is None
    hoped = await dates(http, admin, sku, quantity=31, tentative=True)
    assert hoped["earliest"] == "2126-12-20T12:00:00Z"
    listed = (await http.get("/v1/supplies", params={"sku": sku}, headers=admin)).json()["items"]
    assert [item["quantity"] for item in listed] == [10, 5, 10]


async def test_what_rules_hold_back_of_it_cannot_be_had_then_either(
    http: httpx.AsyncClient, admin: dict[str, str], sku: str
) -> None:
    rule = {"kind": "threshold", "channel": "held-back", "sku": sku, "units": 10}
    await http.put("/v1/stock/rules", json={"rules": [rule]}, headers=admin)
    await state(http, admin, f"{sku}-9", supply(sku, 12, "2126-12-09"))
    said = await dates(http, admin, sku, channel="held-back", quantity=3)
    assert [dated["units"] for dated in said["dates"]] == [0, 2]
    assert said["earliest"] is None
    assert (await dates(http, admin, sku, quantity=12))["earliest"] == "2126-12-09T12:00:00Z"


async def test_a_kit_can_be_had_when_its_last_component_is_there(
    http: httpx.AsyncClient, admin: dict[str, str], sku: str
) -> None:
    name, parts = f"{sku}-kit", [f"{sku}-a", f"{sku}-b"]
    made_of = [{"sku": parts[0]}, {"sku": parts[1], "quantity": 2}]
    products = [*({"sku": part} for part in parts), {"sku": name, "components": made_of}]
    made = await http.put("/v1/products", json={"products": products}, headers=admin)
    assert made.status_code == 200, made.text
    await state(http, admin, f"{sku}-a", supply(parts[0], 4, "2126-12-09"))
    await state(http, admin, f"{sku}-b", supply(parts[1], 5, "2126-12-19"))
    said = await dates(http, admin, name, quantity=2)
    assert [dated["units"] for dated in said["dates"]] == [0, 2]
    assert said["earliest"] == "2126-12-19T12:00:00Z"


async def test_an_order_that_waits_says_for_what_until_it_comes(
    api: Api, http: httpx.AsyncClient, admin: dict[str, str], sku: str, stored: MakeOrder
) -> None:
    await state(http, admin, f"{sku}-9", supply(sku, 3, "2126-12-09"))
    waits = await stored(f"waits-{sku}")
    batcher = Batcher(api.services.engine)
    units = [Units(line_id="1", sku=sku, quantity=2)]

    async def ask() -> dict[str, int]:
        wanted = Ask(f"{waits.order_id}-R1", waits.order_id, units, waits=True)
        return (await batcher.reserve(wanted)).missing

    assert await ask() == {sku: 2}
    async with database.transaction(api.services.engine) as conn:
        state_now = await records.state(conn, waits.order_id)
        assert state_now is not None
        told = {"status": OrderStatus.BACKORDERED, "short": {sku: 2}}
        await records.apply(conn, change(state_now.model_copy(update=told), seq=2))
    assert (await dates(http, admin, sku, quantity=2))["earliest"] is None, "it is claimed"
    card = (await http.get(f"/v1/orders/{waits.order_id}", headers=admin)).json()
    [awaited] = card["awaits"]
    assert (awaited["ref"], awaited["units"]) == (f"{sku}-9", 2)
    assert f"2 of {sku} from {sku}-9 by Mon 09 Dec" in card["sentence"]

    await state(http, admin, f"{sku}-9", supply(sku, 3, "2126-12-19", 2))
    card = (await http.get(f"/v1/orders/{waits.order_id}", headers=admin)).json()
    [moved] = [event for event in card["timeline"] if event["type"] == "expected_moved"]
    assert moved["data"]["old"].startswith("2126-12-09")
    assert moved["data"]["new"].startswith("2126-12-19")
    assert f"{sku}-9 brings 3 on 2126-12-19" in moved["summary"]
    woken = [row for row in await rows_of(api.services.engine, "supply") if waits.order_id in row]
    assert len(woken) == 1

    named = {"source": "erp", "ref": f"{sku}-9"}
    came = await receive(http, admin, sku, 3, supply=named)
    assert (came.status_code, came.json()["woken"]) == (200, 1), came.text
    await api_refreshed(http, admin, sku, 1)
    assert await ask() == {}


async def api_refreshed(
    http: httpx.AsyncClient, headers: dict[str, str], sku: str, units: int
) -> None:
    """Once the view has seen what came; it never says more than is free of claims."""
    while (now := (await dates(http, headers, sku))["dates"][0]["units"]) != units:
        assert now == 0


async def test_what_cannot_be_names_the_field_and_the_cure(
    http: httpx.AsyncClient, admin: dict[str, str], sku: str, key: MakeKey
) -> None:
    await state(http, admin, f"{sku}-1", supply(sku, 3, "2126-12-09"))
    other = supply(f"{sku}x", 3, "2126-12-09", 2)
    no = await http.put(f"/v1/supplies/erp/{sku}-1", json=other, headers=admin)
    assert (no.status_code, no.json()["code"]) == (409, "other_sku")
    gone = await receive(http, admin, sku, 1, supply={"source": "erp", "ref": "nothing"})
    assert gone.status_code == 404
    assert "state it first" in gone.json()["detail"]
    mixed = await receive(http, admin, f"{sku}y", 1, supply={"source": "erp", "ref": f"{sku}-1"})
    assert mixed.status_code == 422
    assert f"is of {sku}" in mixed.text
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        body = supply(f"{sku}z", 3, "2126-12-09", expected_at=at)
        never = await http.put(f"/v1/supplies/erp/{sku}-z", json=body, headers=admin)
        assert (never.status_code, never.json()["errors"][0]["field"]) == (422, "expected_at")
    listed = await http.get("/v1/supplies", params={"sku": f"{sku}z"}, headers=admin)
    assert listed.json()["items"] == []
    body = supply(sku, 3, "2126-12-09", 3)
    reader = await key("stock:read")
    barred = await http.put(f"/v1/supplies/erp/{sku}-1", json=body, headers=reader)
    assert barred.status_code == 403
    elsewhere = await key("stock:write", nodes=["STORE-1"])
    for node in ("DC-DAL", "STORE-1"):
        body = supply(sku, 3, "2126-12-09", 3, node=node)
        hidden = await http.put(f"/v1/supplies/erp/{sku}-1", json=body, headers=elsewhere)
        assert hidden.status_code == 404, node
