"""A quote, then the order, over HTTP and through its workflow: the plan and the date hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from storage import stock
from storage.database import transaction
from tests.api.conftest import Api, MakeKey
from tests.api.promising import an_order, at_work, cart, open_shop
from workflows.codec import Keyring

Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
async def network(api: Api) -> None:
    await open_shop(api.services.engine)


@pytest.fixture(autouse=True)
async def worker(
    engine: AsyncEngine, temporal: WorkflowEnvironment, keyring: Keyring
) -> AsyncIterator[House]:
    async with at_work(engine, temporal, keyring) as house:
        yield house


async def offers(shop: httpx.AsyncClient, headers: dict[str, str], body: Json) -> list[Json]:
    answer = await shop.post("/v1/promises", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    quote: Json = answer.json()
    return [offer for offer in (*quote["ship"], *quote["pickup"]) if offer["token"]]


async def sourced(shop: httpx.AsyncClient, headers: dict[str, str], order: Json) -> Json:
    """The order's card, once it has its fulfillments."""
    placed = await shop.post("/v1/orders", json=order, headers=headers)
    assert (placed.status_code, placed.json()["outcome"]) == (201, "accepted"), placed.text
    for _ in range(300):
        card: Json = (await shop.get(placed.headers["Location"], headers=headers)).json()
        if card.get("fulfillments"):
            return card
        await asyncio.sleep(0.1)
    raise AssertionError(f"never sourced: {card}")


async def decision(shop: httpx.AsyncClient, headers: dict[str, str], order_id: str) -> Json:
    path = f"/v1/orders/{order_id}/decisions"
    told = (await shop.get(path, headers=headers)).json()[-1]
    full: Json = (await shop.get(f"{path}/{told['round']}", headers=headers)).json()
    return full


async def test_every_offer_of_a_quote_is_kept(shop: httpx.AsyncClient, key: MakeKey) -> None:
    headers = await key("orders:write", "orders:read")
    made = await offers(shop, headers, cart(("TEE", 1), ("CAP", 2), token_seconds=600))
    assert [offer["method"] for offer in made] == ["ship", "ship", "pickup"]
    for number, offer in enumerate(made):
        pickup = {"method": "pickup", "pickup_node": offer["packages"][0]["node"]}
        how = pickup if offer["method"] == "pickup" else {}
        body = an_order(
            f"kept-{number}", ("CAP", 2), ("TEE", 1), promise_token=offer["token"], **how
        )
        card = await sourced(shop, headers, body)

        assert [as_planned(f) for f in card["fulfillments"]] == [
            as_planned(p) for p in offer["packages"]
        ]
        latest = offer.get("deliver_latest") or offer["ready_by"]
        assert card["promise"]["promised"] == card["order"]["deliver_by"] == latest
        assert card["why"]["sentence"].startswith("As it was promised. ")
        record = await decision(shop, headers, card["order_id"])
        assert record["promise"] == {"token": offer["token"], "kept": True, "reason": ""}
        again = await shop.post("/v1/orders", json=body, headers=headers)
        assert again.status_code == 200


def as_planned(part: Json) -> tuple[str, str, str, str]:
    return part["node"], part["service"], part["ship_by"], part["deliver_by"]


async def test_a_plan_whose_node_goes_down_is_decided_anew_for_the_date(
    shop: httpx.AsyncClient, key: MakeKey, engine: AsyncEngine
) -> None:
    headers = await key("orders:write", "orders:read")
    [ground, *_] = await offers(shop, headers, cart(("MUG", 1), token_seconds=600))
    assert ground["nodes"] == ["DC-DAL"]
    async with transaction(engine) as conn:
        await stock.set_node_status(conn, "DC-DAL", "offline", "ops", "power cut")
    body = an_order("anew", ("MUG", 1), promise_token=ground["token"])
    card = await sourced(shop, headers, body)
    record = await decision(shop, headers, card["order_id"])

    assert {f["node"] for f in card["fulfillments"]} == {"DC-NYC"}
    assert record["promise"] == {
        "token": ground["token"],
        "kept": False,
        "reason": "DC-DAL: offline",
    }
    assert record["problem"]["promise_by"] == ground["deliver_latest"]
    assert card["promise"]["promised"] == ground["deliver_latest"]
    assert "could not be kept (DC-DAL: offline)" in card["why"]["sentence"]
