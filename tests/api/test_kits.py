"""Kits over HTTP: described, refused, read as availability, and quoted."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Api, MakeKey
from tests.api.promising import cart, open_shop
from tests.api.test_availability import ask

KIT = {"sku": "SET", "components": [{"sku": "MUG"}, {"sku": "TEE", "quantity": 2}]}
LOOSE = {**KIT, "sku": "LOOSE", "ships_together": False}


@pytest.fixture
async def admin(api: Api, http: httpx.AsyncClient, key: MakeKey) -> dict[str, str]:
    """Mugs and shirts: Dallas has 10 of each and ships, Fort Worth is a store and has 50."""
    await open_shop(api.services.engine)
    headers = await key("admin")
    answer = await described(http, headers, KIT, LOOSE)
    assert answer.status_code == 200, answer.text
    return headers


async def described(
    http: httpx.AsyncClient, headers: dict[str, str], *products: dict[str, Any]
) -> httpx.Response:
    return await http.put("/v1/products", json={"products": products}, headers=headers)


async def test_a_kit_is_described_and_told_as_it_was(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    told = (await http.get("/v1/products/SET", headers=admin)).json()
    assert told["components"] == [{"sku": "MUG", "quantity": 1}, {"sku": "TEE", "quantity": 2}]
    assert told["ships_together"] is True


@pytest.mark.parametrize(
    ("product", "status", "code"),
    [
        ({"sku": "K", "components": [{"sku": "NOBODY"}]}, 422, "unknown_component"),
        ({"sku": "K", "components": [{"sku": "SET"}]}, 422, "kit_in_kit"),
        ({"sku": "MUG", "components": [{"sku": "HAT"}]}, 422, "kit_in_kit"),
        ({"sku": "LAMP", "components": [{"sku": "HAT"}]}, 409, "kit_has_stock"),
        ({"sku": "K", "components": [{"sku": "MUG", "quantity": 0}]}, 422, "invalid"),
        ({"sku": "K", "components": [{"sku": "K"}]}, 422, "invalid"),
        ({"sku": "K", "components": [{"sku": "MUG"}, {"sku": "MUG"}]}, 422, "invalid"),
    ],
)
async def test_what_is_no_kit_is_refused_with_the_cure(
    http: httpx.AsyncClient, admin: dict[str, str], product: dict[str, Any], status: int, code: str
) -> None:
    answer = await described(http, admin, product)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_kit_is_never_received(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    receipt = {"node": "DC-DAL", "key": "k", "lines": [{"sku": "SET", "quantity": 1}]}
    answer = await http.post("/v1/stock/receipts", json=receipt, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "is_kit")


async def test_availability_is_of_whole_kits(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    said = await ask(http, admin, "SET", "LOOSE", by_node=True)
    kit, loose = said["items"]
    assert (kit["available"], loose["available"]) == (5, 5)  # stores here do not ship
    assert kit["nodes"] == {"DC-DAL": 5}

    at_a_store = await ask(http, admin, "SET", method="pickup", node=["ST-FTW"])
    assert at_a_store["items"][0]["nodes"] == {"ST-FTW": 25}


async def test_a_cart_counts_a_kit_and_its_component_together(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    async def complete(*lines: tuple[str, int], **how: Any) -> bool:
        body = {"lines": [{"sku": sku, "quantity": n} for sku, n in lines], **how}
        answer = await http.post("/v1/availability", json=body, headers=admin)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["complete"])

    assert await complete(("SET", 4), ("TEE", 2))
    assert not await complete(("SET", 4), ("TEE", 3))
    assert not await complete(("SET", 3), ("LOOSE", 3))
    assert await complete(("SET", 24), ("TEE", 2), method="pickup")
    assert not await complete(("SET", 24), ("TEE", 3), method="pickup")


async def test_a_quote_keeps_each_kit_whole(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    answer = await http.post("/v1/promises", json=cart(("SET", 4), ("MUG", 1)), headers=admin)
    assert answer.status_code == 200, answer.text
    assert answer.json()["ship"]
    for option in answer.json()["ship"]:
        for package in option["packages"]:
            units = {line["line_id"]: line["quantity"] for line in package["lines"]}
            assert units.get("1/2", 0) == 2 * units.get("1/1", 0)
    stores = {store["node"]: store["has"] for store in answer.json()["pickup"]}
    assert stores["ST-FTW"] == "all"

    too_many = cart(("SET", 31), ("MUG", 1), methods=["ship"])
    refused = await http.post("/v1/promises", json=too_many, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (422, "no_option")
    assert "lines.0" in str(refused.json())
