"""Nodes, products and stock over HTTP; a node that goes down is told to every order in one go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.orders import OrderStatus, Units
from storage import database, records, reservations, stock
from storage.asks import Ask
from tests.api.conftest import Api, MakeKey, MakeOrder, change, in_fulfillment, rows_of

ZONE = {"timezone": "America/New_York"}
NODE: dict[str, Any] = {
    "name": "Store Nine",
    "kind": "store",
    "postal_code": "10001",
    "latitude": 40.75,
    "longitude": -73.99,
    "calendar": ZONE,
    "url": "http://127.0.0.1:1/nodes/STORE-9",
}


@pytest.fixture
async def admin(key: MakeKey) -> dict[str, str]:
    return await key("admin")


async def test_a_node_is_described_again_and_keeps_its_status(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    put = await http.put("/v1/nodes/STORE-9", json=NODE, headers=admin)
    assert (put.status_code, put.json()["status"]) == (200, "online")
    await http.post("/v1/nodes/STORE-9/down", json={"reason": "flood"}, headers=admin)
    again = await http.put("/v1/nodes/STORE-9", json={**NODE, "name": "Nine"}, headers=admin)
    assert (again.json()["status"], again.json()["name"]) == ("offline", "Nine")
    assert (await http.get("/v1/nodes/STORE-9", headers=admin)).json() == again.json()


@pytest.mark.parametrize(
    ("change_", "field"),
    [
        ({"calendar": {"timezone": "Mars/Olympus"}}, "calendar.timezone"),
        ({"calendar": {**ZONE, "opens": "08:00:00Z"}}, "calendar.opens"),
        ({"calendar": {**ZONE, "closed": ["2026-02-30"]}}, "calendar.closed.0"),
        ({"calendar": {**ZONE, "holidays": "ATLANTIS"}}, "calendar.holidays"),
        ({"latitude": 91}, "latitude"),
        ({"url": "http://[bad"}, "url"),
        ({"status": "offline"}, "status"),
        ({"adapter": "telepathy"}, "adapter"),
    ],
)
async def test_a_node_that_cannot_be_names_the_field(
    http: httpx.AsyncClient, admin: dict[str, str], change_: dict[str, Any], field: str
) -> None:
    answer = await http.put("/v1/nodes/STORE-8", json={**NODE, **change_}, headers=admin)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    bad_code = await http.put("/v1/nodes/a%20b", json=NODE, headers=admin)
    assert bad_code.status_code == 422


async def test_down_tells_every_order_with_work_there_once(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], stored: MakeOrder
) -> None:
    await http.put("/v1/nodes/STORE-7", json=NODE, headers=admin)
    orders = [await stored(f"D-{n}", node="STORE-7") for n in range(3)]
    await stored("D-elsewhere", node="DC-DAL")
    path = "/v1/nodes/STORE-7/down"
    first = (await http.post(path, json={"reason": "fire"}, headers=admin)).json()
    again = (await http.post(path, json={"reason": "fire"}, headers=admin)).json()
    assert (first["changed"], first["orders"]) == (True, 3)
    assert (again["changed"], again["orders"]) == (False, 0)
    told = await rows_of(api.services.engine, "node_down")
    assert {row.partition(":")[2] for row in told} >= {order.order_id for order in orders}
    assert "webshop-D-elsewhere" not in str(told)
    none = await http.post("/v1/nodes/NO-SUCH/down", json={"reason": "fire"}, headers=admin)
    assert none.status_code == 404


async def test_what_comes_in_wakes_those_who_wait_for_it(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], stored: MakeOrder
) -> None:
    for number, sku in (("B-1", "SKU-9"), ("B-2", "SKU-8"), ("B-3", "SKU-9")):
        order = await stored(number)
        waits = in_fulfillment(order, "DC-DAL").model_copy(
            update={"status": OrderStatus.BACKORDERED, "short": {sku: 2}, "fulfillments": ()}
        )
        async with database.transaction(api.services.engine) as conn:
            await records.apply(conn, change(waits, seq=2))
    await http.put("/v1/products", json={"products": [{"sku": "SKU-9"}]}, headers=admin)
    receipt = {"node": "DC-DAL", "key": "r-1", "lines": [{"sku": "SKU-9", "quantity": 5}]}
    first = await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    again = await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    assert (first.json(), again.json()) == (
        {"new": True, "woken": 2},
        {"new": False, "woken": 0},
    )
    woken = [row.rpartition(":")[2] for row in await rows_of(api.services.engine, "supply")]
    assert woken == ["webshop-B-1", "webshop-B-3"]
    stock = (await http.get("/v1/stock?sku=SKU-9", headers=admin)).json()["items"]
    (level,) = stock
    assert level == {
        "sku": "SKU-9", "node": "DC-DAL", "on_hand": 5, "allocated": 0, "free": 5, "short": 0,
    }  # fmt: skip
    available = await http.get("/v1/availability?sku=SKU-9&sku=NOPE", headers=admin)
    units = {item["sku"]: item["available"] for item in available.json()["items"]}
    assert units == {"SKU-9": 5, "NOPE": 0}


async def test_a_count_is_absolute_and_stock_comes_in_pages(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    skus = [f"P-{n}" for n in range(5)]
    products = [{"sku": sku, "aliases": [f"variant:{sku}"]} for sku in skus]
    saved = await http.put("/v1/products", json={"products": products}, headers=admin)
    assert saved.json() == {"saved": 5}
    assert (await http.get("/v1/products/P-1", headers=admin)).json()["aliases"] == ["variant:P-1"]
    assert (await http.get("/v1/products/P-9", headers=admin)).status_code == 404
    for round_, units in enumerate((7, 3)):
        count = {
            "node": "STORE-1",
            "key": f"c-{round_}",
            "lines": [{"sku": sku, "on_hand": units} for sku in skus],
        }
        answer = await http.put("/v1/stock/counts", json=count, headers=admin)
        assert answer.json() == {"new": True, "woken": 0}
    seen: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"node": "STORE-1", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/v1/stock", params=params, headers=admin)).json()
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [(level["sku"], level["on_hand"]) for level in seen] == [(sku, 3) for sku in skus]


async def test_up_wakes_those_who_wait_for_what_the_node_has(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], stored: MakeOrder
) -> None:
    await http.put("/v1/nodes/STORE-6", json=NODE, headers=admin)
    receipt = {"node": "STORE-6", "key": "r", "lines": [{"sku": "SKU-6", "quantity": 5}]}
    await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    await http.post("/v1/nodes/STORE-6/down", json={"reason": "strike"}, headers=admin)
    order = await stored("U-1")
    waits = in_fulfillment(order, "DC-DAL").model_copy(
        update={"status": OrderStatus.BACKORDERED, "short": {"SKU-6": 2}, "fulfillments": ()}
    )
    async with database.transaction(api.services.engine) as conn:
        await records.apply(conn, change(waits, seq=2))
    answer = await http.post("/v1/nodes/STORE-6/up", json={"reason": "work again"}, headers=admin)
    assert (answer.json()["changed"], answer.json()["orders"]) == (True, 1)
    assert answer.json()["node"]["status"] == "online"


async def test_a_node_tells_what_it_has_taken_on_by_its_own_days(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], stored: MakeOrder
) -> None:
    limits = {"capacity_per_day": 3, "units_per_day": 5}
    put = await http.put("/v1/nodes/STORE-5", json={**NODE, **limits}, headers=admin)
    assert put.json()["units_per_day"] == 5
    receipt = {"node": "STORE-5", "key": "r", "lines": [{"sku": "SKU-1", "quantity": 5}]}
    await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    order = await stored("C-1", node="STORE-5")
    async with database.transaction(api.services.engine) as conn:
        units = [Units(line_id="1", sku="SKU-1", quantity=2)]
        name = f"{order.order_id}-R1"
        await reservations.reserve(conn, Ask(name, order.order_id, units))
        fulfillments = in_fulfillment(order, "STORE-5").fulfillments
        assert await stock.allocate(conn, "C-1/1", name, fulfillments) == {}
    path = "/v1/nodes/STORE-5/capacity"
    today = (await http.get(path, headers=admin)).json()
    assert today["orders"] == {"limit": 3, "held": 1, "confirmed": 0, "left": 2}
    assert today["units"] == {"limit": 5, "held": 2, "confirmed": 0, "left": 3}
    said = {
        "event_id": "c-1",
        "fulfillment_id": f"{order.order_id}-F1",
        "type": "accepted",
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    events = f"/v1/fulfillments/{order.order_id}-F1/events"
    assert (await http.post(events, json=said, headers=admin)).status_code < 300
    accepted = await http.get(path, params={"day": today["day"]}, headers=admin)
    assert accepted.json()["units"] == {"limit": 5, "held": 0, "confirmed": 2, "left": 3}
    before = (await http.get(path, params={"day": "2026-01-02"}, headers=admin)).json()
    assert before["orders"] == {"limit": None, "held": 0, "confirmed": 0, "left": None}
    assert (await http.get("/v1/nodes/NO-SUCH/capacity", headers=admin)).status_code == 404


async def test_a_signal_stands_until_its_instant_or_until_it_is_ended(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    node = {**NODE, "capacity_per_day": 9}
    await http.put("/v1/nodes/STORE-4", json=node, headers=admin)
    path = "/v1/nodes/STORE-4/signals"
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    half = {"kind": "capacity_percent", "value": 50, "until": until, "reason": "flu"}
    late = {"kind": "lead_hours", "value": 4, "until": until, "reason": "snow"}
    await http.put(path, json={**half, "value": 90}, headers=admin)
    await http.put(path, json=half, headers=admin)
    told = (await http.put(path, json=late, headers=admin)).json()
    assert [(s["kind"], s["value"]) for s in told] == [("capacity_percent", 50), ("lead_hours", 4)]
    assert (await http.get(path, headers=admin)).json() == told
    day = (await http.get("/v1/nodes/STORE-4/capacity", headers=admin)).json()
    assert day["orders"]["limit"] == 4
    assert (await http.get("/v1/nodes/STORE-4", headers=admin)).json()["lead_hours"] == 4
    again = await http.put("/v1/nodes/STORE-4", json=node, headers=admin)
    assert again.json()["lead_hours"] == 4
    left = await http.delete(f"{path}/capacity_percent", headers=admin)
    assert [s["kind"] for s in left.json()] == ["lead_hours"]
    assert (await http.get("/v1/nodes/NO-SUCH/signals", headers=admin)).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "capacity_percent"},
        {"kind": "capacity_percent", "value": 1001},
        {"kind": "lead_hours", "value": 0},
        {"kind": "lead_hours", "value": 721},
        {"kind": "offline_for_sourcing", "value": 1},
        {"kind": "weather", "value": 1},
        {"kind": "lead_hours", "value": 1, "until": "2026-01-02T00:00:00Z"},
        {"kind": "lead_hours", "value": 1, "reason": ""},
    ],
)
async def test_a_signal_that_cannot_be_is_refused(
    http: httpx.AsyncClient, admin: dict[str, str], wrong: dict[str, Any]
) -> None:
    await http.put("/v1/nodes/STORE-4", json=NODE, headers=admin)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    said = {"until": until, "reason": "snow", **wrong}
    answer = await http.put("/v1/nodes/STORE-4/signals", json=said, headers=admin)
    assert answer.status_code == 422


async def test_as_many_aliases_as_a_body_holds_are_kept(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    products = [
        {"sku": f"Z{sku}", "aliases": [f"{sku}.{alias}" for alias in range(40)]}
        for sku in range(1000)
    ]
    answer = await http.put("/v1/products", json={"products": products}, headers=admin)
    assert (answer.status_code, answer.json()) == (200, {"saved": 1000})
    last = await http.get("/v1/products/Z999", headers=admin)
    assert len(last.json()["aliases"]) == 40


async def test_more_units_than_can_be_counted_are_refused(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    lines = [{"sku": "SKU-MANY", "quantity": 10**9}] * 3
    receipt = {"node": "DC-DAL", "key": "too many", "lines": lines}
    answer = await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_large_number")
    assert (await http.get("/v1/stock?sku=SKU-MANY", headers=admin)).json()["items"] == []


def card(service: str = "ground", **changes: Any) -> dict[str, Any]:
    clean = {"carbon_g": 0, "carbon_g_per_lb": 0}
    near = {"max_miles": 300, "base_minor": 750, "per_lb_minor": 40, "transit_days": 2, **clean}
    far = {"max_miles": 3000, "base_minor": 1100, "per_lb_minor": 90, "transit_days": 5, **clean}
    known: dict[str, Any] = {"service": service, "carrier": "ups", "zones": [near, far]}
    known |= {"currency": "USD", "dim_divisor": 139, "carton_in3": 0, "offers": ["hazmat"]}
    return {**known, "collects": [0, 1, 2, 3, 4, 5], "delivers": [0, 1, 2, 3, 4], **changes}


async def test_the_rate_cards_are_one_list_and_replaced_as_one(
    http: httpx.AsyncClient, admin: dict[str, str], key: MakeKey
) -> None:
    both = [card(), card("overnight")]
    put = await http.put("/v1/rate-cards", json={"rate_cards": both}, headers=admin)
    assert (put.status_code, put.json()) == (200, both)

    dearer = [card(currency="EUR", carrier="dhl")]
    again = await http.put("/v1/rate-cards", json={"rate_cards": dearer}, headers=admin)

    assert again.json() == dearer
    assert (await http.get("/v1/rate-cards", headers=await key("nodes:read"))).json() == dearer


@pytest.mark.parametrize(
    ("cards", "field"),
    [
        ([], "rate_cards"),
        ([card(), card()], "rate_cards"),
        ([card(), card("air", currency="EUR")], "rate_cards"),
        ([card(zones=[])], "rate_cards.0.zones"),
        ([card(zones=card()["zones"][::-1])], "rate_cards.0"),
        (
            [card(zones=[{**card()["zones"][0], "base_minor": -1}])],
            "rate_cards.0.zones.0.base_minor",
        ),
        ([card(collects=[])], "rate_cards.0.collects"),
        ([card(delivers=[7])], "rate_cards.0.delivers.0"),
        ([card(fuel="12 %")], "rate_cards.0.fuel"),
        ([card("Über Nacht")], "rate_cards.0.service"),
        ([card(carrier="u\x00s")], "rate_cards.0.carrier"),
    ],
)
async def test_rate_cards_that_cannot_be_change_nothing(
    http: httpx.AsyncClient, admin: dict[str, str], cards: list[dict[str, Any]], field: str
) -> None:
    before = (await http.get("/v1/rate-cards", headers=admin)).json()
    answer = await http.put("/v1/rate-cards", json={"rate_cards": cards}, headers=admin)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert (await http.get("/v1/rate-cards", headers=admin)).json() == before


async def test_rates_are_the_whole_networks(http: httpx.AsyncClient, key: MakeKey) -> None:
    store = await key("nodes:read", "nodes:write", nodes=["STORE-1"])
    body = {"rate_cards": [card()]}
    assert (await http.put("/v1/rate-cards", json=body, headers=store)).status_code == 403
    reader = await key("nodes:read")
    assert (await http.put("/v1/rate-cards", json=body, headers=reader)).status_code == 403
