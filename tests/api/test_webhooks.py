"""Partners push: what is not signed leaves no trace, and what is comes in once."""

import asyncio
import base64
import hashlib
import hmac
import json

import httpx

from connectors import signing
from tests.api.conftest import NODE_SECRET, SHOP_SECRET, Api, MakeKey, MakeOrder, rows_of

BODY = json.dumps({"id": 820982911946154508, "line_items": []}).encode()


def shopify_headers(delivery: str, raw: bytes = BODY, secret: str = SHOP_SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), raw, hashlib.sha256).digest()
    return {
        "X-Shopify-Topic": "orders/create",
        "X-Shopify-Shop-Domain": "acme.myshopify.com",
        "X-Shopify-API-Version": "2026-10",
        "X-Shopify-Webhook-Id": delivery,
        "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
        "Content-Type": "application/json",
    }


def event(fulfillment_id: str, event_id: str = "evt-1", **changes: object) -> bytes:
    said = {
        "event_id": event_id,
        "fulfillment_id": fulfillment_id,
        "type": "shipped",
        "occurred_at": "2026-11-22T15:04:05Z",
        "unknown_field": {"is": "ignored"},
        **changes,
    }
    return json.dumps(said).encode()


async def test_a_signature_off_by_one_byte_stores_nothing(
    http: httpx.AsyncClient, api: Api
) -> None:
    before = await rows_of(api.services.engine, "shopify")
    headers = shopify_headers("w-0")
    good = headers["X-Shopify-Hmac-Sha256"]
    wrong = ("B" if good[0] != "B" else "C") + good[1:]
    attempts = [
        http.post("/webhooks/shopify/webshop", content=BODY + b" ", headers=headers),
        http.post(
            "/webhooks/shopify/webshop",
            content=BODY,
            headers={**headers, "X-Shopify-Hmac-Sha256": wrong},
        ),
        http.post("/webhooks/shopify/outlet", content=BODY, headers=headers),
        http.post(
            "/webhooks/shopify/webshop",
            content=BODY,
            headers={k: v for k, v in headers.items() if "Hmac" not in k},
        ),
        http.post("/webhooks/shopify/webshop", content=b"", headers=shopify_headers("w-1", b"")),
    ]
    answers = [await attempt for attempt in attempts]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert answers[0].json()["code"] == "unauthorized"
    assert await rows_of(api.services.engine, "shopify") == before


async def test_the_same_webhook_fifty_times_at_once_is_one_row(
    http: httpx.AsyncClient, api: Api
) -> None:
    headers = shopify_headers("w-50")
    answers = await asyncio.gather(
        *(http.post("/webhooks/shopify/webshop", content=BODY, headers=headers) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["new"] for answer in answers].count(True) == 1
    assert (await rows_of(api.services.engine, "shopify")).count("w-50") == 1


async def test_a_rotated_secret_is_accepted_beside_the_new_one(http: httpx.AsyncClient) -> None:
    headers = shopify_headers("w-old", secret="shpss_the_old_one")
    answer = await http.post("/webhooks/shopify/webshop", content=BODY, headers=headers)
    assert answer.status_code == 200


async def test_a_webhook_larger_than_two_mebibytes_is_refused(http: httpx.AsyncClient) -> None:
    raw = b"[" + b" " * (2 * 1024 * 1024) + b"]"
    headers = shopify_headers("w-large", raw)
    answer = await http.post("/webhooks/shopify/webshop", content=raw, headers=headers)
    assert answer.status_code == 413
    fits = b"[" + b" " * (1024 * 1024 + 100) + b"]"
    headers = shopify_headers("w-fits", fits)
    answer = await http.post("/webhooks/shopify/webshop", content=fits, headers=headers)
    assert answer.status_code == 200


async def test_a_signed_node_event_is_stored_once_however_it_comes(
    http: httpx.AsyncClient, api: Api, stored: MakeOrder, key: MakeKey
) -> None:
    order = await stored("2001")
    raw = event(f"{order.order_id}-F1", "evt-2001")
    headers = signing.sign(NODE_SECRET, "evt-2001", api.services.clock(), raw)
    first = await http.post("/webhooks/nodes/DC-DAL", content=raw, headers=headers)
    again = await http.post("/webhooks/nodes/DC-DAL", content=raw, headers=headers)
    unsigned = await http.post(
        f"/v1/fulfillments/{order.order_id}-F1/events",
        content=raw,
        headers=await key("events:write", nodes=["DC-DAL"]),
    )
    answers = [first, again, unsigned]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [answer.json()["new"] for answer in answers] == [True, False, False]
    assert (await rows_of(api.services.engine, "node_event")).count("evt-2001") == 1


async def test_a_node_event_that_is_forged_foreign_or_unreadable_stores_nothing(
    http: httpx.AsyncClient, api: Api, stored: MakeOrder
) -> None:
    mine = await stored("2002")
    others = await stored("2003", node="STORE-1")
    before = await rows_of(api.services.engine, "node_event")

    async def post(raw: bytes, *, secret: str = NODE_SECRET, node: str = "DC-DAL") -> int:
        headers = signing.sign(secret, "evt-x", api.services.clock(), raw)
        answer = await http.post(f"/webhooks/nodes/{node}", content=raw, headers=headers)
        return answer.status_code

    good = event(f"{mine.order_id}-F1", "evt-x")
    assert await post(good, secret=NODE_SECRET + "x") == 401
    assert await post(good, node="NO-SUCH") == 401
    assert await post(event(f"{others.order_id}-F1", "evt-x")) == 404
    assert await post(event("webshop-none-F1", "evt-x")) == 404
    assert await post(event(f"{mine.order_id}-F1", "evt-x", type="teleported")) == 422
    assert await post(b"not json") == 422
    assert await rows_of(api.services.engine, "node_event") == before


async def test_a_topic_whose_body_is_no_order_is_answered_and_left_aside(
    http: httpx.AsyncClient, api: Api
) -> None:
    headers = {**shopify_headers("w-fulfillment"), "X-Shopify-Topic": "fulfillments/create"}
    answer = await http.post("/webhooks/shopify/webshop", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"new": False})
    assert "w-fulfillment" not in await rows_of(api.services.engine, "shopify")


async def test_a_channel_s_secret_rotates_without_a_lost_delivery_and_is_never_shown(
    http: httpx.AsyncClient, key: MakeKey
) -> None:
    admin = await key("admin")
    channel = {"kind": "shopify", "url": "https://acme.myshopify.com"}
    put = await http.put("/v1/channels/acme", json=channel, headers=admin)
    assert (put.status_code, put.json()["code"]) == (200, "acme")

    async def deliver(secret: str) -> int:
        headers = shopify_headers("w-acme", secret=secret)
        answer = await http.post("/webhooks/shopify/acme", content=BODY, headers=headers)
        return answer.status_code

    path = "/v1/channels/acme/credentials"
    for secret in ("shpss_first", "shpss_second", "shpss_third"):
        answer = await http.put(path, json={"webhook_secret": secret}, headers=admin)
        assert answer.status_code == 204
    accepted = [await deliver(f"shpss_{name}") for name in ("first", "second", "third")]
    assert accepted == [401, 200, 200]
    assert "shpss" not in (await http.get("/v1/channels", headers=admin)).text
    unknown = await http.put("/v1/channels/none/credentials", json={}, headers=admin)
    assert unknown.status_code == 404
    assert (await http.get("/v1/channels", headers=await key("ops"))).status_code == 403
    assert (await http.put("/v1/channels/A_B", json=channel, headers=admin)).status_code == 422
