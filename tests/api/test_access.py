"""What is another's looks like what is not there; and a key does only what its scopes say."""

import httpx
import pytest

from storage import access, database
from tests.api.conftest import Api, MakeKey, MakeOrder, an_order, body_of

EVERYTHING = ("orders:read", "orders:write", "ops", "events:write", "pickup:write")


@pytest.mark.parametrize(
    "request_",
    [
        "GET /v1/orders/{order}",
        "GET /v1/orders/{order}/timeline",
        "GET /v1/orders/{order}/decisions",
        "GET /v1/orders/{order}/decisions/1",
        "GET /v1/orders/{order}/decisions/1/why?node=DC-DAL",
        "POST /v1/orders/{order}/cancel",
        "POST /v1/orders/{order}/resolve",
        "POST /v1/orders/{order}/holds",
        "POST /v1/orders/{order}/holds/release",
        "POST /v1/orders/{order}/extend-pickup",
        "GET /v1/fulfillments/{order}-F1",
        "POST /v1/fulfillments/{order}-F1/events",
        "POST /v1/fulfillments/{order}-F1/hand-over",
    ],
)
@pytest.mark.parametrize("bound", [{"channels": ["outlet"]}, {"nodes": ["STORE-1"]}])
async def test_what_is_anothers_is_not_there(
    http: httpx.AsyncClient,
    key: MakeKey,
    stored: MakeOrder,
    request_: str,
    bound: dict[str, list[str]],
) -> None:
    verb, path = request_.split()
    order = await stored("3001")
    headers = await key(*EVERYTHING, **bound)
    body = {"reason": "a hold"} if path.endswith("holds") else None
    theirs = await http.request(verb, path.format(order=order.order_id), headers=headers, json=body)
    none = await http.request(verb, path.format(order="webshop-none"), headers=headers, json=body)
    assert (theirs.status_code, none.status_code) == (404, 404)
    said = theirs.json()["detail"].replace(order.order_id, "webshop-none")
    assert said == none.json()["detail"]


async def test_lists_show_only_ones_own(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder
) -> None:
    await stored("3002", channel="webshop", node="DC-DAL")
    await stored("3003", channel="outlet", node="STORE-1")
    outlet = await key("orders:read", channels=["outlet"])
    store = await key("orders:read", nodes=["STORE-1"])

    async def ids(path: str, headers: dict[str, str]) -> set[str]:
        answer = await http.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return {item.get("fulfillment_id") or item["order_id"] for item in answer.json()["items"]}

    assert await ids("/v1/orders?q=3003", outlet) == {"outlet-3003"}
    assert await ids("/v1/orders?q=3002", outlet) == set()
    assert await ids("/v1/orders?channel=webshop", outlet) == set()
    assert await ids("/v1/orders", store) == set()
    assert await ids("/v1/fulfillments", store) == {"outlet-3003-F1"}
    assert await ids("/v1/fulfillments?node=DC-DAL", store) == set()
    assert await ids("/v1/fulfillments", outlet) == {"outlet-3003-F1"}


async def test_a_key_may_place_orders_of_its_channels_only(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    headers = await key("orders:write", channels=["outlet"])
    answer = await http.post("/v1/orders", json=body_of(an_order("3004")), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_store_keeps_to_its_own_node(http: httpx.AsyncClient, key: MakeKey) -> None:
    headers = await key("nodes:write", "stock:write", nodes=["STORE-1"])
    receipt = {"node": "DC-DAL", "key": "r", "lines": [{"sku": "SKU-1", "quantity": 1}]}
    count = {"node": "DC-DAL", "key": "c", "lines": [{"sku": "SKU-1", "on_hand": 1}]}
    for verb, path, body in (
        ("GET", "/v1/nodes/DC-DAL", None),
        ("POST", "/v1/nodes/DC-DAL/down", {"reason": "spite"}),
        ("PUT", "/v1/nodes/DC-DAL/secret", {"secret": "x" * 30}),
        ("POST", "/v1/stock/receipts", receipt),
        ("PUT", "/v1/stock/counts", count),
        ("GET", "/v1/stock?node=DC-DAL", None),
    ):
        answer = await http.request(verb, path, json=body, headers=headers)
        assert answer.status_code == 404, path
    nodes = (await http.get("/v1/nodes", headers=headers)).json()
    assert [node["code"] for node in nodes] == ["STORE-1"]
    products = await http.put("/v1/products", json={"products": [{"sku": "X"}]}, headers=headers)
    assert products.status_code == 403


async def test_a_bound_admin_keeps_to_its_own_channels(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    outlet = await key("admin", channels=["outlet"])
    listed = await http.get("/v1/channels", headers=outlet)
    assert [channel["code"] for channel in listed.json()] == ["outlet"]
    kind, secret = {"kind": "shopify"}, {"webhook_secret": "a stolen secret"}
    for headers in (outlet, await key("admin", nodes=["DC-DAL"])):
        put = await http.put("/v1/channels/webshop", json=kind, headers=headers)
        keys = await http.put("/v1/channels/webshop/credentials", json=secret, headers=headers)
        assert (put.status_code, keys.status_code) == (404, 404)


async def test_a_channel_whose_orders_would_carry_the_ids_of_anothers_is_refused(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    admin = await key("admin")
    for code in ("webshop-eu", "web"):
        answer = await http.put(f"/v1/channels/{code}", json={"kind": "api"}, headers=admin)
        assert answer.status_code == (409 if code == "webshop-eu" else 200)
    answer = await http.put("/v1/channels/web-2", json={"kind": "api"}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous_code")


async def test_scopes_decide(http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder) -> None:
    order = await stored("3005")
    reader = await key("orders:read")
    assert (await http.get(f"/v1/orders/{order.order_id}", headers=reader)).status_code == 200
    for verb, path in (
        ("POST", f"/v1/orders/{order.order_id}/cancel"),
        ("POST", f"/v1/orders/{order.order_id}/resolve"),
        ("GET", "/v1/nodes"),
        ("GET", "/v1/stock"),
        ("POST", f"/v1/fulfillments/{order.order_id}-F1/events"),
    ):
        answer = await http.request(verb, path, headers=reader)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


async def test_no_key_a_wrong_key_and_a_revoked_key_are_strangers(
    http: httpx.AsyncClient, api: Api
) -> None:
    async with database.transaction(api.services.engine) as conn:
        token = await access.create(conn, "soon gone", ["orders:read"], None, None)
        await access.revoke(conn, token.split("_")[1])
    for headers in (
        {},
        {"Authorization": "Bearer cd_nobody_nothing"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"Bearer {token[:-1]}"},
    ):
        answer = await http.get("/v1/orders", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
