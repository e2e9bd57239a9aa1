"""What storefronts are told may be sold, and the rules and watches behind it, over HTTP."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.orders import OrderStatus
from storage import database, records
from tests.api.conftest import Api, MakeKey, MakeOrder, change, in_fulfillment, rows_of

PLACES = {
    "AV-DAL": ("75201", 32.79, -96.80),
    "AV-AUS": ("78701", 30.27, -97.74),
    "AV-NYC": ("10001", 40.75, -73.99),
}


@pytest.fixture
async def admin(key: MakeKey) -> dict[str, str]:
    return await key("admin")


@pytest.fixture
async def stores(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Three stores that ship and offer pickup, with mugs, and jugs in the two of Texas."""
    shelves = {"AV-DAL": {"MUG": 9, "JUG": 1}, "AV-AUS": {"MUG": 2, "JUG": 7}, "AV-NYC": {"MUG": 3}}
    for code, (postal_code, latitude, longitude) in PLACES.items():
        node = {
            "name": code,
            "kind": "store",
            "postal_code": postal_code,
            "latitude": latitude,
            "longitude": longitude,
            "calendar": {"timezone": "America/Chicago"},
            "pickup": True,
        }
        assert (await http.put(f"/v1/nodes/{code}", json=node, headers=admin)).status_code == 200
        lines = [{"sku": sku, "quantity": units} for sku, units in shelves[code].items()]
        receipt = {"node": code, "key": f"in {code}", "lines": lines}
        await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    await _rules(http, admin, removed=await _all_rules(http, admin))


async def _all_rules(http: httpx.AsyncClient, admin: dict[str, str]) -> list[dict[str, Any]]:
    listed = (await http.get("/v1/stock/rules?limit=200", headers=admin)).json()["items"]
    names = ("kind", "channel", "node", "sku", "category")
    return [{name: rule[name] for name in names} for rule in listed]


async def _rules(http: httpx.AsyncClient, admin: dict[str, str], **body: Any) -> dict[str, Any]:
    answer = await http.put("/v1/stock/rules", json=body, headers=admin)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def ask(
    http: httpx.AsyncClient, headers: dict[str, str], *skus: str, **how: Any
) -> dict[str, Any]:
    """The answer, once it is of a moment after this call."""
    since = datetime.fromisoformat((await _get(http, headers, *skus, **how))["as_of"])
    while True:
        said = await _get(http, headers, *skus, **how)
        assert said["age_ms"] <= 1000
        if datetime.fromisoformat(said["as_of"]) > since:
            return said


async def _get(
    http: httpx.AsyncClient, headers: dict[str, str], *skus: str, **how: Any
) -> dict[str, Any]:
    answer = await http.get("/v1/availability", params={"sku": skus, **how}, headers=headers)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_one_sku_and_where_it_is(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    said = await ask(http, admin, "MUG")
    assert (said["channel"], said["method"], said["complete"]) == ("", "ship", True)
    assert said["items"] == [
        {"sku": "MUG", "available": 14, "level": "in_stock", "enough": True, "nodes": None}
    ]
    by_node = await ask(http, admin, "MUG", by_node=True)
    assert by_node["items"][0]["nodes"] == {"AV-AUS": 2, "AV-DAL": 9, "AV-NYC": 3}
    coarse = await ask(http, admin, "MUG", by_node=True, view="coarse")
    assert coarse["items"][0] == {
        "sku": "MUG",
        "available": None,
        "level": "in_stock",
        "enough": True,
        "nodes": {"AV-AUS": "few_left", "AV-DAL": "in_stock", "AV-NYC": "few_left"},
    }


async def test_near_a_postal_code_the_nearest_first(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    how = {"postal_code": "78701", "method": "pickup"}
    said = await ask(http, admin, "MUG", "JUG", **how)
    assert [(n["node"], n["has"]) for n in said["nodes"]] == [
        ("AV-AUS", "all"), ("AV-DAL", "all"), ("AV-NYC", "some"),
    ]  # fmt: skip
    assert said["nodes"][0]["miles"] < 5
    assert 150 < said["nodes"][1]["miles"] < 220
    near = await ask(http, admin, "MUG", within_miles=250, limit=1, **how)
    assert [n["node"] for n in near["nodes"]] == ["AV-AUS"]
    assert near["items"][0]["nodes"] == {"AV-AUS": 2}


async def test_a_cart_for_pickup_is_complete_at_one_store(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    async def cart(jugs: int, **how: Any) -> dict[str, Any]:
        lines = [{"sku": "MUG", "quantity": 2}, {"sku": "JUG", "quantity": jugs}]
        answer = await http.post("/v1/availability", json={"lines": lines, **how}, headers=admin)
        assert answer.status_code == 200
        said: dict[str, Any] = answer.json()
        return said

    assert (await cart(8))["complete"] is True
    assert (await cart(8, method="pickup"))["complete"] is False
    said = await cart(7, method="pickup", by_node=True, node=["AV-AUS", "AV-NYC", "NOWHERE"])
    assert said["complete"] is True
    assert said["nodes"] == [
        {"node": "AV-AUS", "has": "all", "miles": None},
        {"node": "AV-NYC", "has": "some", "miles": None},
    ]
    assert [item["enough"] for item in said["items"]] == [True, True]


async def test_a_key_of_a_channel_sees_what_its_channel_may_sell(
    http: httpx.AsyncClient, admin: dict[str, str], key: MakeKey, stores: None
) -> None:
    rules = [
        {"kind": "threshold", "channel": "webshop", "units": 10},
        {
            "kind": "visibility",
            "node": "AV-NYC",
            "channel": "outlet",
            "ship": False,
            "pickup": True,
        },
        {"kind": "few_left", "channel": "outlet", "units": 20},
    ]
    assert await _rules(http, admin, rules=rules) == {"saved": 3}
    webshop = await key("stock:read", channels=["webshop"])
    said = await ask(http, webshop, "MUG")
    assert (said["channel"], said["items"][0]["available"]) == ("webshop", 4)
    both = await key("stock:read", channels=["webshop", "outlet"])
    said = await ask(http, both, "MUG", channel="outlet")
    assert (said["items"][0]["available"], said["items"][0]["level"]) == (11, "few_left")
    unnamed = await http.get("/v1/availability?sku=MUG", headers=both)
    assert (unnamed.status_code, unnamed.json()["detail"].partition(":")[0]) == (422, "channel")
    others = await http.get("/v1/availability?sku=MUG&channel=outlet", headers=webshop)
    assert others.status_code == 404
    writer = await key("stock:write", channels=["webshop"])
    refused = await http.put("/v1/stock/rules", json={"rules": rules[:1]}, headers=writer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    store = await key("stock:read", nodes=["AV-NYC"])
    assert (await http.get("/v1/availability?sku=MUG", headers=store)).status_code == 403
    assert (await http.get("/v1/availability?sku=MUG")).status_code == 401


async def test_a_rule_holds_from_the_answer_on(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    for units, left in ((2, 8), (5, 4), (0, 14)):
        await _rules(http, admin, rules=[{"kind": "safety", "sku": "MUG", "units": units}])
        assert (await ask(http, admin, "MUG"))["items"][0]["available"] == left


async def test_rules_come_in_pages_with_who_made_them(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    rules = [{"kind": "safety", "sku": f"P:{n}", "units": n} for n in range(5)]
    await _rules(http, admin, rules=[*rules, {"kind": "threshold", "units": 3}])
    seen, cursor = [], None
    while True:
        params = {"kind": "safety", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/v1/stock/rules", params=params, headers=admin)).json()
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [(rule["sku"], rule["units"]) for rule in seen] == [(f"P:{n}", n) for n in range(5)]
    assert {rule["actor"] for rule in seen} == {"key:test key"}
    removed = await _rules(http, admin, removed=[{"kind": "safety", "sku": "P:1"}])
    assert removed == {"saved": 1}
    gone = await http.get("/v1/stock/rules", params={"sku": "P:1"}, headers=admin)
    assert gone.json() == {"items": [], "next": None}
    bad = await http.get("/v1/stock/rules?cursor=x", headers=admin)
    assert (bad.status_code, bad.json()["detail"]) == (
        422, "cursor: not one that a page before gave",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"kind": "safety", "units": -1}, "rules.0.units"),
        ({"kind": "safety", "channel": "web", "units": 1}, "rules.0.channel"),
        ({"kind": "cap", "channel": "web"}, "rules.0.units"),
        ({"kind": "thresold", "units": 1}, "rules.0.kind"),
        ({"kind": "safety", "unit": 1}, "rules.0.unit"),
    ],
)
async def test_a_rule_that_cannot_be_names_the_field(
    http: httpx.AsyncClient, admin: dict[str, str], rule: dict[str, Any], field: str
) -> None:
    answer = await http.put("/v1/stock/rules", json={"rules": [rule]}, headers=admin)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


async def test_a_rule_of_an_unknown_node_says_what_to_do(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    rule = {"kind": "safety", "node": "NOWHERE", "units": 1}
    answer = await http.put("/v1/stock/rules", json={"rules": [rule]}, headers=admin)
    assert answer.json()["detail"] == (
        "rules.0.node: there is no node NOWHERE; describe it first, with PUT /v1/nodes/NOWHERE"
    )


async def test_less_held_back_wakes_those_who_wait(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], stores: None, stored: MakeOrder
) -> None:
    order = await stored("AV-1")
    waits = in_fulfillment(order, "DC-DAL").model_copy(
        update={"status": OrderStatus.BACKORDERED, "short": {"MUG": 2}, "fulfillments": ()}
    )
    async with database.transaction(api.services.engine) as conn:
        await records.apply(conn, change(waits, seq=2))
    before = await rows_of(api.services.engine, "supply")
    for rule in ({"sku": "JUG"}, {"sku": "MUG"}, {"category": "any"}):
        await _rules(http, admin, rules=[{"kind": "safety", "units": 0, **rule}])
    woken = (await rows_of(api.services.engine, "supply"))[len(before) :]
    assert [row.rpartition(":")[2] for row in woken] == ["webshop-AV-1"] * 2


async def test_watches_tell_and_events_are_read_on_from_the_last(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    async def put(**body: Any) -> httpx.Response:
        return await http.put("/v1/stock/watches", json=body, headers=admin)

    assert (await put(watches=[{"sku": "JUG", "low": 8, "high": 10}])).json() == {"saved": 1}
    assert (await put(watches=[{"sku": "MUG", "node": "AV-AUS", "low": 2, "high": 2}])).is_success
    first, second = (await http.get("/v1/stock/events", headers=admin)).json()
    assert (first["type"], first["sku"], first["node"], first["units"]) == (
        "low_stock",
        "JUG",
        "",
        8,
    )
    assert (second["sku"], second["node"]) == ("MUG", "AV-AUS")
    rest = await http.get("/v1/stock/events", params={"after": first["id"]}, headers=admin)
    assert rest.json() == [second]
    page = (await http.get("/v1/stock/watches?limit=1", headers=admin)).json()
    assert [(w["sku"], w["state"]) for w in page["items"]] == [("JUG", "low")]
    page = (
        await http.get("/v1/stock/watches", params={"cursor": page["next"]}, headers=admin)
    ).json()
    assert [w["sku"] for w in page["items"]] == ["MUG"]
    wrong = await put(watches=[{"sku": "JUG", "low": 8, "high": 7}])
    assert [error["field"] for error in wrong.json()["errors"]] == ["watches.0.high"]
    gone = [{"sku": "JUG"}, {"sku": "MUG", "node": "AV-AUS"}]
    assert (await put(removed=gone)).json() == {"saved": 2}


async def test_distance_needs_a_place(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    answer = await http.get("/v1/availability?sku=MUG&within_miles=5", headers=admin)
    assert answer.json()["detail"] == "within_miles: say of where, with postal_code"
    abroad = await http.get("/v1/availability?sku=MUG&postal_code=10115&country=DE", headers=admin)
    assert abroad.json()["detail"].startswith("country: ")


async def test_an_answer_is_never_older_than_it_says(
    http: httpx.AsyncClient, admin: dict[str, str], stores: None
) -> None:
    """Whatever has happened at its `as_of` is in it."""
    for number in range(5):
        receipt = {"node": "AV-DAL", "key": f"s{number}", "lines": [{"sku": "CUP", "quantity": 1}]}
        await http.post("/v1/stock/receipts", json=receipt, headers=admin)
        after = (await ask(http, admin, "CUP"))["as_of"]
        said = await _get(http, admin, "CUP")
        assert datetime.fromisoformat(said["as_of"]) >= datetime.fromisoformat(after)
        assert said["items"][0]["available"] == number + 1
        assert timedelta(milliseconds=said["age_ms"]) <= timedelta(seconds=1)
