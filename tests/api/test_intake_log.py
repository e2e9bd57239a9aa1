"""What channels sent can be looked up, also where it became no order."""

import json
from typing import Any

import httpx

from storage import inbox, intake
from storage.database import transaction
from tests.api.conftest import Api, MakeKey

NOTES = {
    "1": "accepted",
    "2": "declined: already_fulfilled: the shop has fulfilled all of it",
    "3": "invalid: line_items: missing; this is not an order",
    "4": "held",
}


async def _sent(api: Api, channel: str, number: str, note: str = "") -> int:
    """A document of a channel; taken up where there is a note."""
    async with transaction(api.services.engine) as conn:
        body = {"channel": channel, "topic": "orders/create"}
        await inbox.put(
            conn,
            f"shopify:{channel}",
            f"{channel} {number}",
            "shopify",
            body,
            order_id=f"{channel}-{number}",
            raw=json.dumps({"id": number}).encode(),
        )
        found = await intake.log(conn, q=f"{channel} {number}")
        row = found.items[0].id
        if note:
            await inbox.done(conn, [row], note)
    return row


async def test_the_log_tells_what_each_document_led_to(
    http: httpx.AsyncClient, api: Api, key: MakeKey
) -> None:
    for number, note in NOTES.items():
        await _sent(api, "webshop", number, note)
    failing = await _sent(api, "webshop", "5")
    async with transaction(api.services.engine) as conn:
        await inbox.failed(conn, failing, "Outage: shop is away", None)
    await _sent(api, "webshop", "6")
    headers = await key("orders:read")

    async def ask(**query: str) -> list[dict[str, Any]]:
        answer = await http.get("/v1/intake", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    said = [(entry["order_id"], entry["outcome"]) for entry in await ask(channel="webshop")]
    outcomes = ["pending", "given_up", "held", "invalid", "declined", "accepted"]
    numbers = [f"webshop-{n}" for n in "654321"]
    assert said == list(zip(numbers, outcomes, strict=True))
    [declined] = await ask(outcome="declined")
    assert (declined["code"], declined["detail"]) == (
        "already_fulfilled",
        "the shop has fulfilled all of it",
    )
    assert [entry["outcome"] for entry in await ask(q="5")] == ["given_up"]
    assert (await ask(q="5"))[0]["detail"] == "Outage: shop is away"
    assert [entry["order_id"] for entry in await ask(q="webshop 3")] == ["webshop-3"]
    assert await ask(q="%") == []

    first = await http.get("/v1/intake?limit=4", headers=headers)
    second = await http.get(f"/v1/intake?cursor={first.json()['next']}", headers=headers)
    assert len(first.json()["items"]) + len(second.json()["items"]) == 6
    assert second.json()["next"] is None
    assert (await http.get("/v1/intake?cursor=x", headers=headers)).status_code == 422
    assert (await http.get("/v1/intake?outcome=x", headers=headers)).status_code == 422


async def test_a_key_sees_the_documents_of_its_own_channels(
    http: httpx.AsyncClient, api: Api, key: MakeKey
) -> None:
    await _sent(api, "outlet", "71", NOTES["2"])
    foreign = await key("orders:read", channels=["webshop"])
    at_a_node = await key("orders:read", nodes=["DC-DAL"])
    own = await key("orders:read", channels=["outlet"])

    for headers in (foreign, at_a_node):
        assert (await http.get("/v1/intake?q=71", headers=headers)).json()["items"] == []
        hidden = await http.get("/v1/orders/outlet-71", headers=headers)
        assert (hidden.status_code, hidden.json()["detail"]) == (
            404,
            "there is no order outlet-71",
        )
    assert len((await http.get("/v1/intake?q=71", headers=own)).json()["items"]) == 1
    told = await http.get("/v1/orders/outlet-71", headers=own)
    assert told.status_code == 404
    assert told.json()["detail"] == (
        "there is no order outlet-71: outlet sent it and it was declined: already fulfilled: "
        "the shop has fulfilled all of it"
    )
    assert (await http.get("/v1/intake", headers=await key("ops"))).status_code == 403
