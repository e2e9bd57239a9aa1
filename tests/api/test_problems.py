"""Every error is a problem with a stable code, and says which field and what to do."""

import base64
import inspect
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api import (
    availability,
    nodes,
    repairs,
    reservations,
    rules,
    schemas,
    setup,
    sourcing,
    stock_rules,
)
from storage import database
from tests.api.conftest import Api, MakeKey, an_order, body_of, serving

PROBLEM = "application/problem+json"


@pytest.fixture
async def writer(key: MakeKey) -> dict[str, str]:
    return await key("orders:write")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"chanel": "webshop"}, "chanel"),
        ({"lines": [{"line_id": "1", "sku": "A", "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{"line_id": "1", "sku": "A", "quantity": 1, "qty": 2}]}, "lines.0.qty"),
        ({"lines": []}, "lines"),
        ({"placed_at": "2026-11-20T10:00:00"}, "placed_at"),
        ({"currency": "dollars"}, "currency"),
        ({"ship_to": {"zip": "75202"}}, "ship_to.zip"),
        ({"ship_to": {"name": "A\x00da"}}, "ship_to.name"),
        ({"method": "pickup"}, "pickup_node"),
        ({"lines": [{"line_id": "1", "quantity": 1}] * 2}, "lines"),
        ({"total_minor": 10**30}, "total_minor"),
        ({"deliver_by": "2026-11-22T10:00:00"}, "deliver_by"),
        ({"channel_order_id": "a/b"}, "channel_order_id"),
    ],
)
async def test_a_body_that_is_wrong_names_the_field(
    http: httpx.AsyncClient, writer: dict[str, str], change: dict[str, object], field: str
) -> None:
    body = {**body_of(an_order("1")), **change}
    answer = await http.post("/v1/orders", json=body, headers=writer)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert answer.json()["code"] == "invalid"


async def test_what_is_not_json_is_said_to_be_so(
    http: httpx.AsyncClient, writer: dict[str, str]
) -> None:
    headers = {**writer, "content-type": "application/json"}
    for content in (b'{"channel": ', b'{"channel": "\xff"}', b'{"n": ' + b"9" * 5000 + b"}"):
        answer = await http.post("/v1/orders", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert answer.json()["detail"] == "the body is not JSON that can be read"
    form = await http.post("/v1/orders", data={"channel": "webshop"}, headers=writer)
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")


async def test_a_body_too_large_is_refused_with_and_without_its_length(
    http: httpx.AsyncClient, writer: dict[str, str]
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    headers = {**writer, "content-type": "application/json"}
    for content in (b" " * 1_100_000, chunks()):
        answer = await http.post("/v1/orders", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/v1/orders?q=%00", "/v1/orders/a%00b", "/v1/stock?cursor=x%00"])
async def test_a_nul_in_the_address_is_refused(
    http: httpx.AsyncClient, key: MakeKey, path: str
) -> None:
    answer = await http.get(path, headers=await key("admin"))
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/fulfillments"])
async def test_a_forged_cursor_is_refused(http: httpx.AsyncClient, key: MakeKey, path: str) -> None:
    forged = base64.urlsafe_b64encode(b'["2026-11-20T10:00:00Z", "a\\u0000"]').decode()
    answer = await http.get(path, params={"cursor": forged}, headers=await key("admin"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    "settings",
    ['{"a": "\\ud800"}', '{"\\ud800": 1}', '{"a": NaN}', '{"a": 1e999}', "[" * 900 + "]" * 900],
    ids=["surrogate", "surrogate name", "nan", "infinite", "deep"],
)
async def test_json_that_no_database_keeps_is_refused_and_poisons_nothing(
    http: httpx.AsyncClient, key: MakeKey, settings: str
) -> None:
    admin = {**await key("admin"), "content-type": "application/json"}
    body = f'{{"kind": "api", "settings": {{"x": {settings}}}}}'
    put = await http.put("/v1/channels/strange", content=body.encode(), headers=admin)
    assert (put.status_code, put.headers["content-type"]) == (422, PROBLEM)
    listed = await http.get("/v1/channels", headers=admin)
    assert listed.status_code == 200


@pytest.mark.parametrize(
    "at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1821-05-05T00:00:00Z"]
)
async def test_a_time_outside_this_age_is_refused(
    http: httpx.AsyncClient, writer: dict[str, str], at: str
) -> None:
    for field in ("placed_at", "deliver_by"):
        body = {**body_of(an_order("8")), field: at}
        answer = await http.post("/v1/orders", json=body, headers=writer)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_unknown_paths_and_verbs_are_problems(http: httpx.AsyncClient) -> None:
    missing = await http.get("/v1/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    verb = await http.delete("/v1/orders")
    assert (verb.status_code, verb.json()["code"]) == (405, "method_not_allowed")
    assert verb.headers["allow"]


async def test_temporal_away_is_an_outage_that_says_when_to_come_again(
    http: httpx.AsyncClient, writer: dict[str, str]
) -> None:
    answer = await http.post("/v1/orders", json=body_of(an_order("77")), headers=writer)
    assert (answer.status_code, answer.json()["code"]) == (503, "outage")
    assert int(answer.headers["retry-after"]) > 0


async def test_postgres_away_is_an_outage_for_a_partner_that_will_come_again(api: Api) -> None:
    nowhere = database.engine("postgresql://nobody:x@127.0.0.1:1/none")
    async with (
        serving(api.services, engine=nowhere, read_engine=nowhere) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        event = await http.post("/webhooks/nodes/DC-DAL", content=b"{}")
        ready = await http.get("/readyz")
    assert (event.status_code, event.json()["code"]) == (503, "outage")
    assert ready.json()["down"] == ["postgres", "temporal"]
    await nowhere.dispose()


async def test_readiness_names_what_is_down(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "up"}
    ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"ready": False, "down": ["temporal"]}


async def test_the_openapi_document_shows_problems_examples_and_scopes(
    http: httpx.AsyncClient, api: Api
) -> None:
    document = (await http.get("/openapi.json")).json()
    place = document["paths"]["/v1/orders"]["post"]
    assert place["security"] == [{"API key": ["orders:write"]}]
    for status in ("401", "403", "409", "422", "503"):
        assert set(place["responses"][status]["content"]) == {PROBLEM}
    assert document["components"]["schemas"]["PlaceOrder"]["examples"]
    assert "HTTPValidationError" not in str(document)
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            assert operation["summary"], (verb, path)
            assert operation["tags"], (verb, path)
            for parameter in operation.get("parameters", ()):
                told = parameter.get("description") or parameter["schema"].get("description")
                assert told, (verb, path, parameter["name"])
            if "requestBody" in operation:
                assert _has_an_example(document, operation), (verb, path)
                assert {"400", "413", "415"} <= set(operation["responses"])
    page = await http.get("/docs")
    assert "/v1/orders/{order_id}/cancel" in page.text
    assert "script" not in page.text


@pytest.mark.parametrize(
    "module",
    [availability, nodes, repairs, reservations, rules, schemas, setup, sourcing, stock_rules],
)
def test_every_example_is_a_request_that_is_taken(module: ModuleType) -> None:
    models = [model for _, model in inspect.getmembers(module, _is_shown)]
    assert models
    for model in models:
        for example in model.model_config["json_schema_extra"]["examples"]:
            model.model_validate(example)


def _is_shown(found: Any) -> bool:
    is_model = inspect.isclass(found) and issubclass(found, BaseModel)
    return is_model and "json_schema_extra" in found.model_config


def _has_an_example(document: dict[str, Any], operation: dict[str, Any]) -> bool:
    bodies = operation["requestBody"]["content"]
    if "application/json" not in bodies:  # a file
        return all(body["example"] for body in bodies.values())
    content = bodies["application/json"]
    schema = content["schema"]
    named = next(
        (one["$ref"] for one in (schema, *schema.get("anyOf", ())) if "$ref" in one), ""
    ).rpartition("/")[2]
    return "example" in content or bool(document["components"]["schemas"][named].get("examples"))
