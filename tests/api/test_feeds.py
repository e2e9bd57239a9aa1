"""Stock as partners tell of it over HTTP: rows and files, and what people see of it."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from domain.network import Product
from domain.orders import OrderStatus, Units
from storage import audit, database, network, records, reservations, stock
from storage.asks import Ask
from tests.api.conftest import Api, MakeKey, MakeOrder, change, in_fulfillment, rows_of
from tests.samples import a_share

AT = "2026-01-01T10:00:00Z"
FEED = "/v1/stock/feeds/wms-dal"
BULK = "/v1/stock/bulk"
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
async def admin(key: MakeKey) -> dict[str, str]:
    return await key("admin")


@pytest.fixture
async def sku(api: Api, request: pytest.FixtureRequest) -> str:
    """A product of the test's own."""
    name = f"F-{abs(hash(request.node.name)) % 10**9}"
    async with database.transaction(api.services.engine) as conn:
        await network.put_products(conn, [Product(sku=name)])
    return name


def row(kind: str, sku: str, sequence: int, units: int, **more: Any) -> dict[str, Any]:
    said = {"on_hand": units} if kind == "snapshot" else {"change": units}
    return {
        "kind": kind,
        "node": "DC-DAL",
        "sku": sku,
        "sequence": sequence,
        "at": AT,
        **said,
        **more,
    }


def feed(*rows: dict[str, Any], feed_id: str = "f1") -> dict[str, Any]:
    return {"feed_id": feed_id, "rows": list(rows)}


async def level(http: httpx.AsyncClient, headers: dict[str, str], sku: str) -> dict[str, Any]:
    page = (await http.get("/v1/stock", params={"sku": sku}, headers=headers)).json()
    found: dict[str, Any] = page["items"][0]
    return found


async def clean(api: Api) -> None:
    async with database.transaction(api.services.engine) as conn:
        found = [f for f in await audit.audit(conn) if f.invariant in {1, 2}]
    assert found == []


async def test_a_feed_is_taken_once_and_says_what_became_of_it(
    http: httpx.AsyncClient, api: Api, key: MakeKey, sku: str
) -> None:
    bound = await key("stock:write", nodes=["DC-DAL"])
    body = feed(
        row("delta", sku, 7, 2, reason="received"),
        row("snapshot", sku, 5, 40),
        row("delta", sku, 4, -9),
        row("delta", "NO-SUCH", 1, 1),
    )
    first = (await http.post(FEED, json=body, headers=bound)).json()
    again = (await http.post(FEED, json=body, headers=bound)).json()
    rejected = first.pop("rejected")
    assert first == {
        "new": True, "applied": 2, "absorbed": 1, "duplicate": 0, "short": [], "woken": 0,
    }  # fmt: skip
    assert [(r["row"], r["field"], r["code"]) for r in rejected] == [(3, "sku", "unknown_sku")]
    assert (again["new"], again["applied"], again["duplicate"]) == (False, 0, 2)
    assert (await level(http, bound, sku))["on_hand"] == 42
    told = (await http.get("/v1/stock/movements", params={"sku": sku}, headers=bound)).json()
    (moved,) = told["items"]
    assert (moved["on_hand_before"], moved["on_hand_after"]) == (0, 42)
    assert (moved["cause"], moved["actor"]) == ("counted 40 by wms-dal", "key:test key")
    assert (moved["key"], moved["stated_by"]) == ("wms-dal/f1", "feed:wms-dal")
    await clean(api)


async def test_a_key_feeds_its_own_nodes_only(
    http: httpx.AsyncClient, key: MakeKey, sku: str
) -> None:
    bound = await key("stock:write", nodes=["STORE-1"])
    one = feed(row("snapshot", sku, 1, 5, node="STORE-1"), row("snapshot", sku, 1, 5))
    assert (await http.post(FEED, json=one, headers=bound)).status_code == 404
    reader = await key("stock:read", nodes=["DC-DAL"])
    assert (await http.post(FEED, json=feed(), headers=reader)).status_code == 403
    file = f"sku,node,on_hand\n{sku},DC-DAL,5\n{sku},STORE-1,6\n"
    taken = (await http.post(BULK, content=file, headers=bound | CSV)).json()
    assert (taken["applied"], taken["rejected"]) == (1, 1)
    assert taken["errors"][0]["message"] == "there is no node DC-DAL"


@pytest.mark.parametrize(
    ("change_", "field"),
    [
        ({"colour": "red"}, "rows.0.snapshot.colour"),
        ({"on_hand": -1}, "rows.0.snapshot.on_hand"),
        ({"on_hand": 10_000_001}, "rows.0.snapshot.on_hand"),
        ({"at": "2026-01-01T10:00:00"}, "rows.0.snapshot.at"),
        ({"sequence": -1}, "rows.0.snapshot.sequence"),
        ({"kind": "guess"}, "rows.0"),
        ({"sku": "a\x00b"}, "rows.0.sku"),
    ],
)
async def test_a_row_that_cannot_be_names_the_field(
    http: httpx.AsyncClient, admin: dict[str, str], change_: dict[str, Any], field: str
) -> None:
    answer = await http.post(FEED, json=feed(row("snapshot", "X", 1, 1) | change_), headers=admin)
    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json()["errors"]}


@pytest.mark.parametrize("rows", [0, 1001])
async def test_a_feed_has_bounds(http: httpx.AsyncClient, admin: dict[str, str], rows: int) -> None:
    body = feed(*(row("delta", "X", number, 1) for number in range(rows)))
    assert (await http.post(FEED, json=body, headers=admin)).status_code == 422
    none = feed(row("delta", "X", 1, 0))
    assert (await http.post(FEED, json=none, headers=admin)).status_code == 422
    odd = "/v1/stock/feeds/Not%20A%20Source"
    assert (await http.post(odd, json=feed(row("delta", "X", 1, 1)), headers=admin)).is_error


async def test_a_short_shelf_is_listed_until_it_is_made_good(
    http: httpx.AsyncClient, api: Api, key: MakeKey, admin: dict[str, str], sku: str
) -> None:
    await http.post(FEED, json=feed(row("snapshot", sku, 1, 9), feed_id="a"), headers=admin)
    async with database.transaction(api.services.engine) as conn:
        units = [Units(line_id="1", sku=sku, quantity=6)]
        assert not (await reservations.reserve(conn, Ask(f"R-{sku}", f"web-{sku}", units))).missing
        share = a_share(f"F-{sku}", "DC-DAL", {"1": 6}, order_id=f"web-{sku}")
        assert await stock.allocate(conn, f"A-{sku}", f"R-{sku}", [share]) == {}
    short = feed(row("snapshot", sku, 2, 2), feed_id="b")
    taken = (await http.post(FEED, json=short, headers=admin)).json()
    assert taken["short"] == [{"sku": sku, "node": "DC-DAL", "short": 4}]

    async def listed(headers: dict[str, str], **asked: Any) -> list[dict[str, Any]]:
        page = (await http.get("/v1/stock/exceptions", params=asked, headers=headers)).json()
        return [item for item in page["items"] if item["sku"] == sku]

    (seen,) = await listed(admin, node="DC-DAL")
    assert (seen["short"], seen["there"], seen["allocated"]) == (4, 2, 6)
    assert (seen["cause"], seen["orders"]) == ("counted 2 by wms-dal", [f"web-{sku}"])
    assert await listed(await key("stock:read", nodes=["STORE-1"])) == []
    other = await key("stock:read", nodes=["STORE-1"])
    foreign = await http.get("/v1/stock/exceptions?node=DC-DAL", headers=other)
    assert foreign.status_code == 404
    received = {"node": "DC-DAL", "key": f"r-{sku}", "lines": [{"sku": sku, "quantity": 5}]}
    await http.post("/v1/stock/receipts", json=received, headers=admin)
    assert await listed(admin) == []
    (over,) = await listed(admin, cleared=True)
    assert over["cleared_by"] == "received"
    assert (await level(http, admin, sku))["free"] == 1
    await clean(api)


async def test_what_a_feed_or_a_file_brings_wakes_those_who_wait_for_it(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], stored: MakeOrder, sku: str
) -> None:
    order = await stored(f"W-{sku}")
    waits = in_fulfillment(order, "DC-DAL").model_copy(
        update={"status": OrderStatus.BACKORDERED, "short": {sku: 2}, "fulfillments": ()}
    )
    async with database.transaction(api.services.engine) as conn:
        await records.apply(conn, change(waits, seq=2))
    fed = await http.post(FEED, json=feed(row("delta", sku, 1, 5), feed_id="w"), headers=admin)
    assert fed.json()["woken"] == 1
    file = f"sku,node,on_hand\n{sku},STORE-1,6\n"
    assert (await http.post(BULK, content=file, headers=admin | CSV)).json()["woken"] == 1
    supply = await rows_of(api.services.engine, "supply")
    assert sum(delivery.endswith(order.order_id) for delivery in supply) == 2


@pytest.mark.parametrize("form", ["text/csv; charset=utf-8", "application/x-ndjson"])
async def test_a_file_is_kept_but_for_its_wrong_rows(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], sku: str, form: str
) -> None:
    skus = [f"{sku}-{number}" for number in range(300)]
    async with database.transaction(api.services.engine) as conn:
        await network.put_products(conn, [Product(sku=name) for name in skus])
    good = [{"sku": name, "node": "DC-DAL", "on_hand": 4} for name in skus]
    wrong = [
        {"sku": f"{sku}-none-{number}", "node": "DC-DAL", "on_hand": 4} for number in range(150)
    ]
    sent = wrong + good
    if form.startswith("text/csv"):
        lines = [f"{one['sku']},{one['node']},{one['on_hand']}" for one in sent]
        content = "\n".join(["sku,node,on_hand", *lines])
    else:
        content = "\n".join(json.dumps(one) for one in sent)
    headers = admin | {"Content-Type": form}
    taken = (await http.post(BULK, content=content, headers=headers)).json()
    assert (taken["rows"], taken["applied"], taken["rejected"]) == (450, 300, 150)
    assert (taken["newer"], taken["resumed"]) == (0, False)
    assert len(taken["errors"]) == 100
    first = 2 if form.startswith("text/csv") else 1
    assert (taken["errors"][0]["line"], taken["errors"][0]["field"]) == (first, "sku")
    assert (await level(http, admin, skus[7]))["on_hand"] == 4
    known = await http.post(BULK, content=content, headers=headers)
    assert (known.status_code, known.json()["code"]) == (409, "loaded")
    again = await http.post(f"{BULK}?again=true", content=content, headers=headers)
    assert again.json()["applied"] == 300
    await clean(api)


async def test_a_file_of_an_earlier_moment_leaves_what_was_counted_since(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], sku: str
) -> None:
    count = {"node": "DC-DAL", "key": f"c-{sku}", "lines": [{"sku": sku, "on_hand": 3}]}
    await http.put("/v1/stock/counts", json=count, headers=admin)
    file = f"sku,node,on_hand\n{sku},DC-DAL,8\n{sku},STORE-1,8\n"
    asked = {"as_of": AT}
    taken = (await http.post(BULK, params=asked, content=file, headers=admin | CSV)).json()
    assert (taken["applied"], taken["newer"]) == (1, 1)
    assert (await level(http, admin, sku))["on_hand"] == 3
    ahead = {"as_of": "2999-01-01T00:00:00Z"}
    refused = await http.post(BULK, params=ahead, content=file + "\n", headers=admin | CSV)
    assert (refused.status_code, refused.json()["detail"][:5]) == (422, "as_of")
    await clean(api)


async def test_a_file_leaves_what_is_allocated_and_says_what_is_short(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], sku: str
) -> None:
    async def counted(units: int) -> tuple[dict[str, Any], list[int]]:
        file = f"sku,node,on_hand\n{sku},DC-DAL,{units}\n"
        await http.post(BULK, content=file, headers=admin | CSV)
        page = (await http.get("/v1/stock/exceptions?node=DC-DAL", headers=admin)).json()
        short = [item["short"] for item in page["items"] if item["sku"] == sku]
        await clean(api)
        return await level(http, admin, sku), short

    await counted(10)
    async with database.transaction(api.services.engine) as conn:
        units = [Units(line_id="1", sku=sku, quantity=6)]
        assert not (await reservations.reserve(conn, Ask(f"R-{sku}", f"web-{sku}", units))).missing
        share = a_share(f"F-{sku}", "DC-DAL", {"1": 6}, order_id=f"web-{sku}")
        assert await stock.allocate(conn, f"A-{sku}", f"R-{sku}", [share]) == {}
    shelf, short = await counted(2)
    assert (shelf["on_hand"], shelf["allocated"], short) == (6, 6, [4])
    shelf, short = await counted(5)
    assert (shelf["on_hand"], shelf["allocated"], short) == (6, 6, [1])
    shelf, short = await counted(9)
    assert (shelf["on_hand"], shelf["allocated"], short) == (9, 6, [])


async def test_what_is_no_file_of_stock_is_refused(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    no_header = await http.post(BULK, content="A,DC-DAL,3\n", headers=admin | CSV)
    assert (no_header.status_code, no_header.json()["code"]) == (422, "invalid")
    pdf = admin | {"Content-Type": "application/pdf"}
    assert (await http.post(BULK, content="x", headers=pdf)).status_code == 415


async def test_one_load_at_a_time(
    http: httpx.AsyncClient, api: Api, admin: dict[str, str], sku: str
) -> None:
    file = f"sku,node,on_hand\n{sku},DC-DAL,8\n"
    async with api.services.engine.connect() as other:
        await other.execute(text("SELECT pg_advisory_lock(7217002)"))
        busy = await http.post(BULK, content=file, headers=admin | CSV)
        await other.execute(text("SELECT pg_advisory_unlock(7217002)"))
    assert (busy.status_code, busy.json()["code"]) == (409, "load_running")
    assert (await http.post(BULK, content=file, headers=admin | CSV)).json()["applied"] == 1
