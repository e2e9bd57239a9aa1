import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors import signing
from connectors.nodes import Answer, CancelAnswer, adapters
from connectors.nodes.signed_http import SignedHttp
from domain.errors import Outage
from domain.fulfillments import Fulfillment, LineQuantity
from domain.network import Calendar, Node, NodeKind
from domain.orders import Address, DeliveryMethod, Line, Order

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "a-secret-of-24-characters"
NODE = Node(
    code="DC-DAL",
    name="Dallas",
    kind=NodeKind.DC,
    postal_code="75201",
    latitude=32.8,
    longitude=-96.8,
    calendar=Calendar(timezone="America/Chicago"),
    url="https://node.test/api/",
)
ORDER = Order(
    channel="webshop",
    channel_order_id="#1001",
    placed_at=NOW,
    currency="USD",
    lines=(Line(line_id="1", sku="A", quantity=2),),
    ship_to=Address(name="Jane", line1="1 Elm St", postal_code="75201", country="US"),
)
FULFILLMENT = Fulfillment(
    fulfillment_id="webshop-#1001-F1",
    order_id=ORDER.order_id,
    node="DC-DAL",
    method=DeliveryMethod.SHIP,
    service="ground",
    lines=(LineQuantity(line_id="1", quantity=2),),
    skus={"1": "SKU-0001"},
    ship_by=NOW,
    deliver_by=NOW,
)

Responder = Callable[[httpx.Request], httpx.Response]


async def request(responder: Responder) -> Answer:
    async with httpx.AsyncClient(transport=httpx.MockTransport(responder)) as client:
        node = SignedHttp(client, lambda: NOW)
        return await node.request(NODE, FULFILLMENT, ORDER, secret=SECRET)


async def cancel(responder: Responder) -> CancelAnswer:
    async with httpx.AsyncClient(transport=httpx.MockTransport(responder)) as client:
        node = SignedHttp(client, lambda: NOW)
        return await node.cancel(NODE, "webshop-#1001-F1", "customer", secret=SECRET)


async def test_the_request_is_signed_and_says_what_the_protocol_says() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202)

    assert await request(take) == Answer(received=True)

    assert str(seen[0].url) == "https://node.test/api/fulfillment-requests"
    assert seen[0].headers["webhook-id"] == "webshop-#1001-F1"
    assert signing.verify([SECRET], seen[0].headers, seen[0].content, now=NOW)
    body = json.loads(seen[0].content)
    assert body["lines"] == [{"line_id": "1", "sku": "SKU-0001", "quantity": 2}]
    assert body["ship_by"] == "2026-11-21T12:00:00Z"
    assert (body["method"], body["node"], body["ship_to"]["name"]) == ("ship", "DC-DAL", "Jane")


@pytest.mark.parametrize("status", [409, 422])
async def test_a_refusal_carries_the_reason(status: int) -> None:
    answer = await request(lambda _: httpx.Response(status, json={"reason": "no such SKU"}))

    assert answer == Answer(received=False, reason="no such SKU")


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 403, 404, 410, 429, 500, 503])
async def test_any_other_answer_says_nothing_about_the_goods(status: int) -> None:
    def say(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"reason": "?"}, headers={"Retry-After": "7"})

    with pytest.raises(Outage) as outage:
        await request(say)

    assert (outage.value.maybe_received, outage.value.retry_after) == (True, 7)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (200, "cancelled", "cancelled"),
        (404, "never_received", "never_received"),
        (409, "refused", "refused"),
        (409, "", "refused"),
        (202, "pending", "pending"),
    ],
)
async def test_a_cancellation_is_answered(status: int, said: str, expected: str) -> None:
    seen: list[httpx.Request] = []

    def say(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json={"status": said, "reason": "on the truck"})

    assert (await cancel(say)).answer == expected

    assert seen[0].url.raw_path == b"/api/fulfillment-requests/webshop-%231001-F1/cancel"
    assert signing.verify([SECRET], seen[0].headers, seen[0].content, now=NOW)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>not found</html>"),  # a wrong address is no proof that nothing came
        (404, b'{"status": "cancelled"}'),
        (200, b""),
        (200, b'{"status": "refused"}'),
        (200, b"[]"),
        (500, b'{"status": "cancelled"}'),
        (401, b"{}"),
    ],
)
async def test_only_the_nodes_own_word_proves_that_it_will_not_ship(
    status: int, body: bytes
) -> None:
    with pytest.raises(Outage):
        await cancel(lambda _: httpx.Response(status, content=body))


async def test_a_node_that_is_not_there_never_received_it() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Outage) as outage:
        await request(refuse)

    assert not outage.value.maybe_received
    assert SECRET not in str(outage.value)


async def test_the_adapters_are_known_by_name() -> None:
    async with httpx.AsyncClient() as client:
        found: dict[str, Any] = dict(adapters(client))

    assert isinstance(found["signed_http"], SignedHttp)
