"""Orders come in once, are found again, and answer every question in one call."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from domain.orders import Hold, Order, OrderStatus
from domain.records import Attention, OrderEvent
from storage import database, decisions, records
from tests.api.conftest import (
    AT,
    Api,
    MakeKey,
    MakeOrder,
    a_decision,
    an_order,
    body_of,
    change,
    in_fulfillment,
)
from workflows import client
from workflows.client import Pending
from workflows.messages import Cancel, HandOver, Resolve, Submitted

Submits = Callable[[Submitted | Exception], list[Order]]


@pytest.fixture
def submits(monkeypatch: pytest.MonkeyPatch) -> Submits:
    """Stands in for Temporal at the one door to it; returns what was submitted."""

    def answering(answer: Submitted | Exception) -> list[Order]:
        sent: list[Order] = []

        async def submit(_: object, order: Order, *args: object, **kwargs: object) -> Submitted:
            sent.append(order)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(client, "submit", submit)
        return sent

    return answering


def answered(order_id: str, **fields: Any) -> Submitted:
    return Submitted(
        **{"order_id": order_id, "status": "sourcing", "outcome": "accepted", **fields}
    )


@pytest.mark.parametrize(
    ("outcome", "status"), [("accepted", 201), ("held", 201), ("backordered", 201)]
)
async def test_a_new_order_is_told_at_once_how_it_stands(
    http: httpx.AsyncClient, key: MakeKey, submits: Submits, outcome: str, status: int
) -> None:
    order = an_order("#10:01")
    sent = submits(answered(order.order_id, outcome=outcome))
    answer = await http.post(
        "/v1/orders", json=body_of(order), headers=await key("orders:write", channels=["webshop"])
    )
    assert (answer.status_code, answer.json()["outcome"]) == (status, outcome)
    assert answer.headers["location"] == "/v1/orders/webshop-%2310%3A01"
    assert sent == [order]


async def test_times_of_any_zone_make_the_same_order(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder
) -> None:
    order = await stored("1002")
    body = {**body_of(order), "placed_at": "2026-11-20T12:00:00+02:00"}
    answer = await http.post("/v1/orders", json=body, headers=await key("orders:write"))
    assert answer.status_code == 200


async def test_a_refusal_is_a_problem_with_its_code(
    http: httpx.AsyncClient, key: MakeKey, submits: Submits
) -> None:
    order = an_order("1003")
    submits(answered(order.order_id, outcome="refused", code="out_of_stock", reason="none left"))
    answer = await http.post("/v1/orders", json=body_of(order), headers=await key("orders:write"))
    assert (answer.status_code, answer.json()["code"]) == (422, "out_of_stock")
    assert answer.json()["detail"] == "none left"


async def test_a_deadline_that_passed_promises_nothing_unless_temporal_has_the_order(
    http: httpx.AsyncClient, key: MakeKey, submits: Submits
) -> None:
    order = an_order("1004")
    submits(Pending("temporal", "has not answered yet"))
    answer = await http.post("/v1/orders", json=body_of(order), headers=await key("orders:write"))
    assert (answer.status_code, answer.json()["code"]) == (503, "outage")


async def test_a_known_order_is_answered_from_the_record_even_while_temporal_is_away(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder
) -> None:
    order = await stored("1005")
    headers = await key("orders:write")
    again = await http.post("/v1/orders", json=body_of(order), headers=headers)
    assert (again.status_code, again.json()["status"]) == (200, "in_fulfillment")
    other = {**body_of(order), "total_minor": 1}
    conflict = await http.post("/v1/orders", json=other, headers=headers)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "conflict")


async def test_one_call_answers_where_when_why_what_and_who(
    http: httpx.AsyncClient, api: Api, key: MakeKey, stored: MakeOrder
) -> None:
    order = await stored("1006")
    async with database.transaction(api.services.engine) as conn:
        await decisions.store(conn, a_decision(order))
    answer = await http.get(f"/v1/orders/{order.order_id}", headers=await key("orders:read"))
    card = answer.json()
    assert answer.status_code == 200
    assert card["sentence"] == "2 units are being prepared at DC-DAL."
    [line] = card["lines"]
    assert (line["line_id"], line["sku"], line["title"]) == ("1", "SKU-1", "Mug")
    assert (line["ordered"], line["buckets"]) == (2, {"open": 2})
    assert line["components"] == []
    assert card["fulfillments"][0]["node"] == "DC-DAL"
    assert card["promise"]["late"] is False
    assert card["why"]["chosen"][0]["node"] == "DC-DAL"
    assert card["why"]["runner_up"] == {"nodes": ["STORE-1"], "cost_minor": 1000, "gap_minor": 200}
    assert card["why"]["eliminated"] == {"DC-NYC": "offline"}
    assert "would cost 2.00 USD more" in card["why"]["sentence"]
    assert [entry["type"] for entry in card["timeline"]] == ["received"]
    assert card["timeline"][0]["actor"] == "channel:webshop"
    full = await http.get(
        f"/v1/orders/{order.order_id}/decisions", headers=await key("orders:read")
    )
    assert full.json()[0]["decision_id"] == card["why"]["decision_id"]


async def test_what_went_wrong_early_in_a_long_story_is_still_told(
    http: httpx.AsyncClient, api: Api, key: MakeKey, stored: MakeOrder
) -> None:
    order = await stored("1098")
    wrong = OrderEvent(type="node.rejected", summary="DC-DAL says rejected: no stock")
    later = (OrderEvent(type="recorded", summary=f"step {n}") for n in range(80))
    step = change(in_fulfillment(order, "DC-DAL"), seq=2)
    async with database.transaction(api.services.engine) as conn:
        await records.apply(conn, step.model_copy(update={"events": (wrong, *later)}))

    answer = await http.get(f"/v1/orders/{order.order_id}", headers=await key("orders:read"))

    card = answer.json()
    assert [(found["kind"], found["message"]) for found in card["problems"]] == [
        ("rejection", "DC-DAL says rejected: no stock")
    ]
    assert len(card["timeline"]) == 50
    assert card["timeline"][-1]["summary"] == "step 79"


async def test_what_waits_for_a_person_stands_in_the_sentence_and_the_problems(
    http: httpx.AsyncClient, api: Api, key: MakeKey, stored: MakeOrder
) -> None:
    order = await stored("1007")
    item = Attention(item="F1", code="no_answer", message="DC-DAL does not answer.", since=AT)
    state = in_fulfillment(order, "DC-DAL").model_copy(
        update={
            "status": OrderStatus.ON_HOLD,
            "attention": (item,),
            "holds": (Hold(handle="manual", reason="address looks odd"),),
        }
    )
    async with database.transaction(api.services.engine) as conn:
        await records.apply(conn, change(state, seq=2))
    headers = await key("orders:read")
    card = (await http.get(f"/v1/orders/{order.order_id}", headers=headers)).json()
    assert "address looks odd" in card["sentence"]
    assert "A person must decide: DC-DAL does not answer." in card["sentence"]
    assert [problem["kind"] for problem in card["problems"]] == ["attention", "hold"]
    found = await http.get("/v1/orders?attention=no_answer", headers=headers)
    assert [item["order_id"] for item in found.json()["items"]] == [order.order_id]


async def test_search_finds_by_every_name_and_pages_without_loss(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder
) -> None:
    placed = [(await stored(f"S-{n}", channel="outlet", name="Grace Hopper")) for n in range(7)]
    headers = await key("orders:read", channels=["outlet"])
    for q in ("outlet-S-3", "S-3"):
        found = (await http.get("/v1/orders", params={"q": q}, headers=headers)).json()["items"]
        assert [item["order_id"] for item in found] == ["outlet-S-3"], q
    for q in ("ada@example.com", "grace hopper", "75202"):
        found = (await http.get("/v1/orders", params={"q": q}, headers=headers)).json()["items"]
        assert len(found) == 7, q
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "3", "status": "in_fulfillment", "node": "DC-DAL"}
        params |= {"cursor": cursor} if cursor else {}
        page = (await http.get("/v1/orders", params=params, headers=headers)).json()
        seen += [item["order_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(order.order_id for order in placed)
    bad = await http.get("/v1/orders?cursor=nonsense", headers=headers)
    assert bad.status_code == 422
    misspelt = await http.get("/v1/orders?chanel=outlet", headers=headers)
    assert (misspelt.status_code, misspelt.json()["errors"][0]["field"]) == (422, "chanel")


async def test_the_timeline_pages_by_what_was_seen(
    http: httpx.AsyncClient, api: Api, key: MakeKey, stored: MakeOrder
) -> None:
    order = await stored("1008")
    state = in_fulfillment(order, "DC-DAL")
    async with database.transaction(api.services.engine) as conn:
        for seq in range(2, 6):
            await records.apply(conn, change(state, seq=seq))
    headers = await key("orders:read")
    path = f"/v1/orders/{order.order_id}/timeline"
    first = (await http.get(path, params={"limit": 3}, headers=headers)).json()
    rest = (await http.get(path, params={"after": first["next"]}, headers=headers)).json()
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [3, 2, None]


async def test_commands_carry_who_asked_and_an_empty_body_means_retry(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await stored("1009")
    said: list[object] = []

    async def hear(_: object, order_id: str, message: object) -> str:
        said.append(message)
        return "done"

    monkeypatch.setattr(client, "resolve", hear)
    monkeypatch.setattr(client, "cancel", hear)
    headers = await key("ops")
    retried = await http.post(f"/v1/orders/{order.order_id}/resolve", headers=headers)
    rerouted = await http.post(
        f"/v1/orders/{order.order_id}/resolve",
        json={"action": "reroute", "note": "they are on strike"},
        headers=headers,
    )
    cancelled = await http.post(
        f"/v1/orders/{order.order_id}/cancel", json={"note": "asked by phone"}, headers=headers
    )
    assert {a.status_code for a in (retried, rerouted, cancelled)} == {200}
    assert retried.json() == {"order_id": order.order_id, "result": "done"}
    assert said == [
        Resolve(action="retry", by="key:test key"),
        Resolve(action="reroute", note="they are on strike", by="key:test key"),
        Cancel(note="asked by phone", by="key:test key"),
    ]
    unknown = await http.post(
        f"/v1/orders/{order.order_id}/resolve", json={"action": "explode"}, headers=headers
    )
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "action")


async def test_a_store_hands_over_its_own_pickup(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await stored("1011", node="STORE-1")
    said: list[object] = []

    async def hear(_: object, order_id: str, message: object) -> str:
        said.append((order_id, message))
        return "collected"

    monkeypatch.setattr(client, "hand_over", hear)
    path = f"/v1/fulfillments/{order.order_id}-F1/hand-over"
    headers = await key("pickup:write", nodes=["STORE-1"])
    answer = await http.post(path, json={"proof": "a passport"}, headers=headers)
    assert answer.json() == {"order_id": order.order_id, "result": "collected"}
    message = HandOver(fulfillment_id=f"{order.order_id}-F1", by="key:test key", proof="a passport")
    assert said == [(order.order_id, message)]


async def test_the_window_s_new_end_is_a_time(
    http: httpx.AsyncClient, key: MakeKey, stored: MakeOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await stored("1010", node="STORE-1")
    until = AT + timedelta(days=5)

    async def extend(_: object, order_id: str, message: object) -> str:
        return until.isoformat()

    monkeypatch.setattr(client, "extend_pickup", extend)
    headers = await key("pickup:write", nodes=["STORE-1"])
    answer = await http.post(
        f"/v1/orders/{order.order_id}/extend-pickup",
        json={"days": 2, "fulfillment_id": f"{order.order_id}-F1"},
        headers=headers,
    )
    assert answer.json()["pickup_until"] == "2026-11-25T10:00:00Z"
