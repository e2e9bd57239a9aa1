"""From cart to order over HTTP and through the workflow: what was kept is the order's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from activities.inbound import Inbox
from storage import audit, inbox, stock
from storage.database import transaction
from tests.api.conftest import Api, MakeKey
from tests.api.promising import an_order, at_work, cart, open_shop
from workflows.codec import Keyring

Json = dict[str, Any]
Headers = dict[str, str]


@pytest.fixture(scope="module", autouse=True)
async def network(api: Api) -> None:
    await open_shop(api.services.engine)


@pytest.fixture(autouse=True)
async def worker(
    engine: AsyncEngine, temporal: WorkflowEnvironment, keyring: Keyring
) -> AsyncIterator[House]:
    async with at_work(engine, temporal, keyring) as house:
        yield house


@pytest.fixture
async def headers(key: MakeKey) -> Headers:
    return await key("orders:write", "orders:read")


async def kept(shop: httpx.AsyncClient, headers: Headers, name: str, **more: Any) -> Json:
    body = {
        "channel": "api",
        "key": name,
        "lines": [{"sku": "LAMP", "quantity": 2}],
        "ttl_seconds": 900,
        **more,
    }
    answer = await shop.post("/v1/reservations", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def told(shop: httpx.AsyncClient, headers: Headers, order_id: str, kind: str) -> list[Json]:
    """What the order's timeline says of a kind, once it was sourced."""
    for _ in range(300):
        found = await shop.get(f"/v1/orders/{order_id}/timeline", headers=headers)
        events = found.json()["items"]
        if any(event["type"] in {"allocated", "attention", "backordered"} for event in events):
            break
        await asyncio.sleep(0.1)
    return [event for event in events if event["type"] == kind]


async def arrives(house: House, number: int, **notes: str) -> str:
    """A shop's order for one cap, with these attributes of its cart; what it led to."""
    line = {"id": 1, "sku": "CAP", "quantity": 1, "fulfillable_quantity": 1}
    body = {
        "id": number,
        "currency": "USD",
        "created_at": "2026-11-20T10:00:00Z",
        "line_items": [line],
        "note_attributes": [{"name": name, "value": value} for name, value in notes.items()],
        "shipping_address": {"name": "Ada Byron", "zip": "75201", "country_code": "US"},
    }
    async with transaction(house.engine) as conn:
        raw = json.dumps(body).encode()
        await inbox.put(
            conn, "shopify:s", f"d-{number}", "shopify", {"channel": "webshop"}, raw=raw
        )
    box = Inbox(house)
    (row,) = await box.claim(10)
    first = await box.work(row)
    assert await box.work(row) == first  # as after a crash in between
    await box.done([row.id], first)
    return first


async def clean(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 3, 5}] == []


async def test_the_last_units_are_the_carts_though_another_order_comes_first(
    shop: httpx.AsyncClient, headers: Headers, engine: AsyncEngine
) -> None:
    for n, quantity in enumerate((2, 2, 1)):  # all five lamps there are
        lines = [{"sku": "LAMP", "quantity": quantity}]
        await kept(shop, headers, f"last-{n}", lines=lines)
    rival = await shop.post("/v1/orders", json=an_order("rival", ("LAMP", 1)), headers=headers)
    assert rival.json()["outcome"] == "backordered"
    body = an_order("mine", ("LAMP", 2), reservation="last-0")
    mine = await shop.post("/v1/orders", json=body, headers=headers)
    assert (mine.status_code, mine.json()["outcome"]) == (201, "accepted")
    [event] = await told(shop, headers, "api-mine", "reservation_taken_over")
    assert event["summary"] == "reservation api/last-0 is the order's now"
    gone = (await shop.get("/v1/reservations/api/last-0", headers=headers)).json()
    assert (gone["state"], gone["order_id"]) == ("released", "api-mine")
    again = await shop.post("/v1/orders", json=body, headers=headers)
    assert again.status_code == 200
    second = an_order("second", ("LAMP", 1), reservation="last-0")
    refused = await shop.post("/v1/orders", json=second, headers=headers)
    assert refused.json()["outcome"] == "backordered"
    [event] = await told(shop, headers, "api-second", "reservation_ignored")
    assert event["summary"].startswith("reservation api/last-0 is another order's")
    await clean(engine)


async def test_another_channels_cart_is_not_known(
    shop: httpx.AsyncClient, headers: Headers, engine: AsyncEngine
) -> None:
    lines = [{"sku": "MUG", "quantity": 2}]
    await kept(shop, headers, "theirs", channel="outlet", lines=lines)
    body = an_order("ours", ("MUG", 2), reservation="theirs")
    ours = await shop.post("/v1/orders", json=body, headers=headers)
    assert ours.json()["outcome"] == "accepted"
    [event] = await told(shop, headers, "api-ours", "reservation_ignored")
    assert event["data"] == {"reservation": "api/theirs", "fate": "unknown"}
    still = (await shop.get("/v1/reservations/outlet/theirs", headers=headers)).json()
    assert (still["state"], still["lines"][0]["quantity"]) == ("held", 2)
    await clean(engine)


async def test_a_quote_that_holds_its_units_gives_them_to_the_order_with_its_token(
    shop: httpx.AsyncClient, headers: Headers, engine: AsyncEngine
) -> None:
    body = cart(("CAP", 3), token_seconds=600, hold=True)
    quote = (await shop.post("/v1/promises", json=body, headers=headers)).json()
    held = quote["reservation"]
    found = (await shop.get(f"/v1/reservations/api/{held}", headers=headers)).json()
    assert (found["state"], found["lines"][0]["quantity"]) == ("held", 3)
    async with transaction(engine) as conn:
        before = await stock.available(conn, ["CAP"])
    pickup = quote["pickup"][0]
    order = an_order(
        "held",
        ("CAP", 3),
        promise_token=pickup["token"],
        method="pickup",
        pickup_node=pickup["node"],
    )
    for _ in range(2):
        placed = await shop.post("/v1/orders", json=order, headers=headers)
        assert placed.json()["outcome"] == "accepted"
    assert len(await told(shop, headers, "api-held", "reservation_taken_over")) == 1
    async with transaction(engine) as conn:
        assert await stock.available(conn, ["CAP"]) == before
    await clean(engine)


async def test_a_quote_of_more_than_there_is_holds_nothing(
    shop: httpx.AsyncClient, headers: Headers
) -> None:
    body = cart(("CAP", 41), ("MUG", 1), token_seconds=600, hold=True)
    short = (await shop.post("/v1/promises", json=body, headers=headers)).json()
    assert short["reservation"] is None
    for_ever = await shop.post("/v1/promises", json=cart(("CAP", 1), hold=True), headers=headers)
    assert [error["field"] for error in for_ever.json()["errors"]] == ["token_seconds"]


async def test_a_shops_order_gets_what_its_cart_carried(
    shop: httpx.AsyncClient, key: MakeKey, worker: House
) -> None:
    admin = await key("admin")
    asked = {"channel": "webshop", "token_seconds": 600, "hold": True, "methods": ["ship"]}
    quote = (await shop.post("/v1/promises", json=cart(("CAP", 1)) | asked, headers=admin)).json()
    offer = quote["ship"][-1]
    assert await arrives(worker, 901, crossdock_promise=offer["token"]) == "accepted"
    assert await told(shop, admin, "webshop-901", "reservation_taken_over")
    card = (await shop.get("/v1/orders/webshop-901", headers=admin)).json()
    assert card["promise"]["promised"] == offer["deliver_latest"]
    assert [f["service"] for f in card["fulfillments"]] == [offer["service"]]


async def test_what_a_shops_order_carries_and_nobody_knows_is_told_and_no_more(
    shop: httpx.AsyncClient, key: MakeKey, worker: House, engine: AsyncEngine
) -> None:
    admin = await key("admin")
    hostile = {"crossdock_promise": "pr_'; --", "crossdock_reservation": "../../" + "x" * 900}
    assert await arrives(worker, 902, **hostile) == "accepted"
    [ignored] = await told(shop, admin, "webshop-902", "reservation_ignored")
    assert ignored["data"]["fate"] == "unknown"
    [lost] = await told(shop, admin, "webshop-902", "promise_ignored")
    assert (lost["cause"], lost["data"]) == ("promise_unknown", {"token": "pr_'; --"})
    await clean(engine)


async def test_an_order_gets_what_it_waits_for_and_nobody_else_does(
    shop: httpx.AsyncClient, headers: Headers, key: MakeKey, worker: House, engine: AsyncEngine
) -> None:
    admin = await key("admin")
    said = {"kind": "purchase_order", "node": "DC-DAL", "sku": "HAT", "quantity": 2}
    first = {**said, "sequence": 1, "expected_at": "2127-01-09T12:00:00Z"}
    await shop.put("/v1/supplies/erp/PO-1", json=first, headers=admin)
    waits = await shop.post("/v1/orders", json=an_order("waits", ("HAT", 2)), headers=headers)
    assert (waits.json()["outcome"], waits.json()["expected"]) == (
        "backordered",
        "2127-01-09T12:00:00Z",
    )
    late = {**said, "sequence": 2, "expected_at": "2127-02-09T12:00:00Z"}
    for _ in range(2):
        await shop.put("/v1/supplies/erp/PO-1", json=late, headers=admin)
    came = {
        "key": "asn-1",
        "node": "DC-DAL",
        "lines": [{"sku": "HAT", "quantity": 2}],
        "supply": {"source": "erp", "ref": "PO-1"},
    }
    received = await shop.post("/v1/stock/receipts", json=came, headers=admin)
    assert received.json() == {"new": True, "woken": 1}
    body = an_order("faster", ("HAT", 1), when_short="refuse")
    faster = await shop.post("/v1/orders", json=body, headers=headers)
    assert (faster.status_code, faster.json()["code"]) == (422, "out_of_stock")

    box = Inbox(worker)
    for row in await box.claim(10):
        await box.done([row.id], await box.work(row))
    await _until_allocated(shop, headers, "api-waits")
    [moved] = await told(shop, headers, "api-waits", "expected_moved")
    assert moved["summary"].startswith("expected 2127-02-09, before 2127-01-09")
    await clean(engine)


async def _until_allocated(shop: httpx.AsyncClient, headers: Headers, order_id: str) -> None:
    for _ in range(300):
        found = await shop.get(f"/v1/orders/{order_id}/timeline", headers=headers)
        if any(event["type"] == "allocated" for event in found.json()["items"]):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{order_id} was not allocated: {found.text}")
