import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from connectors import http
from connectors.channels import Arrival, Connection
from connectors.channels.magento import Magento
from domain.errors import Invalid, NotFound, Outage, Refused
from domain.orders import Declined, DeliveryMethod, Order
from tests.connectors.outside import OAUTH, World, shipment

CONNECTION = Connection(
    code="outlet", url="https://shop.test", secrets={"oauth": json.dumps(OAUTH)}
)
STORE = {"id": 77, "code": "dallas_store", "name": "Dallas store"}


async def polled(
    client: httpx.AsyncClient, connection: Connection, cursor: str = ""
) -> tuple[list[Arrival], str]:
    arrivals: list[Arrival] = []
    async for page in Magento(client).poll(connection, cursor):
        arrivals += page.arrivals
        cursor = page.cursor
    return arrivals, cursor


def translated(connection: Connection, arrival: Arrival) -> Order | Declined:
    raw = arrival.body.encode()
    shop = Magento(httpx.AsyncClient())
    return shop.translate("outlet", raw, connection.settings, "backorder")


async def current(world: World, client: httpx.AsyncClient, order_id: int) -> Order | Declined:
    connection = world.shop("outlet", sources={"ST-DAL": "dallas_store"})
    arrivals, _ = await polled(client, connection)
    found = [x for x in arrivals if x.key.startswith(f"{order_id}:")]
    return translated(connection, found[-1])


async def placed(
    world: World, client: httpx.AsyncClient, *quantities: int, **changes: Any
) -> Order:
    order = await current(world, client, await world.place("outlet", *quantities, **changes))
    assert isinstance(order, Order)
    return order


def told(world: World, order: Order) -> list[tuple[str, str, int]]:
    """Source, tracking number and units of what the shop was told has left."""
    return world.rows(
        "SELECT f.source, f.tracking_number, l.quantity FROM shop_fulfillments f"
        " JOIN shop_fulfillment_lines l USING (shop, fulfillment_id)"
        " WHERE f.shop = 'outlet' AND f.order_id = ? ORDER BY f.fulfillment_id, l.line_id",
        int(order.channel_ref),
    )


async def test_orders_are_polled_a_page_at_a_time(world: World, client: httpx.AsyncClient) -> None:
    placed_ids = [await world.place("outlet", 1) for _ in range(7)]

    arrivals, cursor = await polled(client, world.shop("outlet", page_size=3))

    keys = [arrival.key for arrival in arrivals]
    assert len(keys) == len(set(keys))
    assert set(placed_ids) <= {int(key.partition(":")[0]) for key in keys}
    assert cursor == max(key.partition(":")[2].rpartition(":")[0] for key in keys)
    again, same = await polled(client, world.shop("outlet", overlap_seconds=60), cursor)
    assert same == cursor
    assert {arrival.key for arrival in again} >= {keys[-1]}


async def test_an_order_that_moves_while_pages_are_read_hides_no_other() -> None:
    """The second of four changes after the first page: plain paging would skip the third."""
    times = {1: "2026-11-20 10:00:01", 2: "2026-11-20 10:00:02", 3: "2026-11-20 10:00:03"}
    times[4] = "2026-11-20 10:00:04"
    asked: list[dict[str, str]] = []

    def shop(request: httpx.Request) -> httpx.Response:
        query = dict(parse_qsl(request.url.query.decode()))
        asked.append(query)
        since = query["searchCriteria[filter_groups][0][filters][0][value]"]
        found = sorted((at, n) for n, at in times.items() if at >= since)
        size, page = (int(query[f"searchCriteria[{x}]"]) for x in ("pageSize", "currentPage"))
        items = [{"entity_id": n, "updated_at": at} for at, n in found][(page - 1) * size :][:size]
        times[2] = "2026-11-20 10:00:09"
        return httpx.Response(200, json={"items": items, "total_count": len(found)})

    async with httpx.AsyncClient(transport=httpx.MockTransport(shop)) as client:
        settings = {"page_size": 2}
        connection = CONNECTION.model_copy(update={"settings": settings})
        arrivals, cursor = await polled(client, connection, "2026-11-20 10:05:00")

    assert [x.key.partition(":")[0] for x in arrivals] == ["1", "2", "3", "4", "2"]
    assert cursor == "2026-11-20 10:05:00"
    since = "searchCriteria[filter_groups][0][filters][0][value]"
    assert asked[0][since] == "2026-11-20 10:00:00"


async def test_a_second_with_more_orders_than_a_page_is_read_through() -> None:
    def shop(request: httpx.Request) -> httpx.Response:
        query = dict(parse_qsl(request.url.query.decode()))
        page = min(int(query["searchCriteria[currentPage]"]), 3)  # the last page comes again
        items = [{"entity_id": n, "updated_at": "2026-11-20 10:00:00"} for n in (page, page + 100)]
        return httpx.Response(200, json={"items": items, "total_count": 6})

    async with httpx.AsyncClient(transport=httpx.MockTransport(shop)) as client:
        connection = CONNECTION.model_copy(update={"settings": {"page_size": 2}})
        arrivals, _ = await polled(client, connection)

    assert {int(x.key.partition(":")[0]) for x in arrivals} == {1, 2, 3, 101, 102, 103}


async def test_an_order_from_the_future_does_not_hide_those_that_come_meanwhile() -> None:
    """A shop's clock that is ahead, or an import that set the time, must not move the cursor on."""
    times = {1: "2026-11-20 10:00:00", 2: "2031-01-01 00:00:00", 3: "no time", 4: ""}

    async with httpx.AsyncClient(transport=httpx.MockTransport(_shop_of(times))) as client:
        now = datetime(2026, 11, 20, 10, 0, 30, tzinfo=UTC)
        shop = Magento(client, clock=lambda: now)
        pages = [page async for page in shop.poll(CONNECTION, "")]

    assert len([arrival for page in pages for arrival in page.arrivals]) == 4
    assert pages[-1].cursor == "2026-11-20 10:00:30"


async def test_a_change_within_the_same_second_is_another_arrival() -> None:
    states = iter(["pending_payment", "processing"])

    def shop(_: httpx.Request) -> httpx.Response:
        item = {"entity_id": 1, "updated_at": "2026-11-20 10:00:00", "state": next(states)}
        return httpx.Response(200, json={"items": [item], "total_count": 1})

    async with httpx.AsyncClient(transport=httpx.MockTransport(shop)) as client:
        (first,), _ = await polled(client, CONNECTION)
        (second,), _ = await polled(client, CONNECTION)

    assert first.key != second.key


@pytest.mark.parametrize("seconds", [10**18, -5, "x", None])
async def test_an_overlap_that_makes_no_sense_stops_no_poll(seconds: Any) -> None:
    times = {1: "2026-11-20 10:00:00"}
    connection = CONNECTION.model_copy(update={"settings": {"overlap_seconds": seconds}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(_shop_of(times))) as client:
        arrivals, _ = await polled(client, connection, "2026-11-20 10:00:00")

    assert len(arrivals) == 1


async def test_a_page_that_is_too_large_is_read_in_smaller_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {n: f"2026-11-20 10:00:{n:02d}" for n in range(40)}
    monkeypatch.setattr(http, "LARGEST_ANSWER", 1000)

    async with httpx.AsyncClient(transport=httpx.MockTransport(_shop_of(times))) as client:
        arrivals, cursor = await polled(client, CONNECTION)

    assert sorted(int(x.key.partition(":")[0]) for x in arrivals) == list(range(40))
    assert cursor == times[39]


async def test_an_order_too_large_for_any_page_is_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER", 20)
    transport = httpx.MockTransport(_shop_of({1: "2026-11-20 10:00:00"}))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(Outage, match="more than"):
            await polled(client, CONNECTION)


def _shop_of(times: dict[int, str]) -> Callable[[httpx.Request], httpx.Response]:
    """A shop that has these orders, changed at these times."""

    def shop(request: httpx.Request) -> httpx.Response:
        query = dict(parse_qsl(request.url.query.decode()))
        since = query["searchCriteria[filter_groups][0][filters][0][value]"]
        size, page = (int(query[f"searchCriteria[{x}]"]) for x in ("pageSize", "currentPage"))
        found = sorted((at, n) for n, at in times.items() if at >= since or not at)
        items = [{"entity_id": n, "updated_at": at} for at, n in found][(page - 1) * size :][:size]
        return httpx.Response(200, json={"items": items, "total_count": len(found)})

    return shop


async def test_shipments_are_told_each_once(world: World, client: httpx.AsyncClient) -> None:
    shop, order = Magento(client), await placed(world, client, 2, 1)
    connection = world.shop("outlet", sources={"DC-DAL": "dallas"})
    first = shipment(order, 1, 0, number=1, tracking="T-1")
    second = shipment(order, 1, 1, number=2, tracking="T-2")
    second = second.model_copy(update={"source_code": "austin"})

    for one in (first, first, second, first, second):
        await shop.shipped(connection, one)

    assert told(world, order) == [("dallas", "T-1", 1), ("austin", "T-2", 1), ("austin", "T-2", 1)]
    after = await current(world, client, int(order.channel_ref))
    assert isinstance(after, Declined)
    assert after.code == "already_fulfilled"


async def test_two_shipments_in_one_parcel_are_both_told(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Magento(client), await placed(world, client, 2, 1)
    first = shipment(order, 1, 0).model_copy(update={"key": "evt-1"})
    second = shipment(order, 1, 1).model_copy(update={"key": "evt-2"})

    for one in (first, second, first, second):
        await shop.shipped(world.shop("outlet"), one)

    assert [units for _, _, units in told(world, order)] == [1, 1, 1]


async def test_what_the_shop_has_cancelled_and_we_shipped_all_the_same_is_no_silence(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Magento(client), await placed(world, client, 2)
    await shop.cancelled(world.shop("outlet"), order, "")

    with pytest.raises(Refused, match="nothing of it open"):
        await shop.shipped(world.shop("outlet"), shipment(order, 2))


@pytest.mark.parametrize("state", ["holded", "payment_review"])
async def test_a_shop_that_has_the_order_on_hold_is_told_when_it_lets_go(state: str) -> None:
    item = {"item_id": 1, "sku": "A", "qty_ordered": 1}
    body = {"entity_id": 5, "increment_id": "5", "state": state, "items": [item]}
    raw = json.dumps({**body, "created_at": "2026-11-20 10:00:00", "order_currency_code": "USD"})
    order = Magento(httpx.AsyncClient()).translate("outlet", raw.encode(), {}, "backorder")
    assert isinstance(order, Order)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    async with httpx.AsyncClient(transport=transport) as client:
        for tell in (Magento(client).shipped, Magento(client).ready_for_pickup):
            with pytest.raises(Outage, match="on hold"):
                await tell(CONNECTION, shipment(order, 1))


async def test_a_configurable_is_shipped_by_its_parent_row(
    world: World, client: httpx.AsyncClient
) -> None:
    lines = [{"sku": "TEE-M-RED", "quantity": 2, "configurable": True}]
    order = await placed(world, client, lines=lines)

    await Magento(client).shipped(world.shop("outlet"), shipment(order, 2))

    assert told(world, order) == [("DC-DAL", "1Z999", 2)]


@pytest.mark.parametrize("tracking", ["1Z999", None])
async def test_a_lost_answer_does_not_make_a_second_shipment(
    world: World, client: httpx.AsyncClient, tracking: str | None
) -> None:
    order = await placed(world, client, 3)
    one = shipment(order, 1, tracking=tracking)

    async with httpx.AsyncClient(transport=_LosesPosts()) as lossy:
        with pytest.raises(Outage):
            await Magento(lossy).shipped(world.shop("outlet"), one)
    await Magento(client).shipped(world.shop("outlet"), one)

    assert told(world, order) == [("DC-DAL", tracking or "", 1)]


class _LosesPosts(httpx.AsyncHTTPTransport):
    """Carries every request; the answers to those that change something get lost."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.method == "GET":
            return response
        await response.aread()
        await response.aclose()
        raise httpx.ReadError("connection reset")


async def test_more_than_is_open_is_refused_in_the_shops_words(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, client, 2)

    with pytest.raises(Refused, match="channel outlet said 400"):
        await Magento(client).shipped(world.shop("outlet"), shipment(order, 3))

    assert told(world, order) == []


async def test_lines_that_the_shop_does_not_know_are_refused(
    world: World, client: httpx.AsyncClient
) -> None:
    order = await placed(world, client, 1)
    (line,) = order.lines
    other = order.model_copy(update={"lines": (line.model_copy(update={"line_id": "5"}),)})

    with pytest.raises(Refused, match="does not know all lines"):
        await Magento(client).shipped(world.shop("outlet"), shipment(other, 1))


async def test_a_pickup_is_announced_once_and_collected(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, connection = Magento(client), world.shop("outlet")
    order = await placed(world, client, 1, method="pickup", location=STORE)
    assert (order.method, order.pickup_node) == (DeliveryMethod.PICKUP, "ST-DAL")
    assert await shop.complete(connection, order) == order

    for _ in range(2):
        await shop.ready_for_pickup(connection, shipment(order, 1, tracking=None))
    await shop.shipped(connection, shipment(order, 1, tracking=None))

    sql = "SELECT count(*) FROM shop_pickup_notices WHERE shop = 'outlet' AND order_id = ?"
    assert world.rows(sql, int(order.channel_ref)) == [(1,)]
    assert [units for _, _, units in told(world, order)] == [1]


async def test_a_cancellation_is_told_once(world: World, client: httpx.AsyncClient) -> None:
    shop, order = Magento(client), await placed(world, client, 1)

    for _ in range(2):
        await shop.cancelled(world.shop("outlet"), order, "out of stock")

    after = await current(world, client, int(order.channel_ref))
    assert isinstance(after, Declined)
    assert after.code == "cancelled"


async def test_what_has_shipped_the_shop_does_not_cancel(
    world: World, client: httpx.AsyncClient
) -> None:
    shop, order = Magento(client), await placed(world, client, 2)
    await shop.shipped(world.shop("outlet"), shipment(order, 1))

    with pytest.raises(Refused, match="did not cancel"):
        await shop.cancelled(world.shop("outlet"), order, "")


async def test_a_wrong_signature_is_a_refusal_with_its_parameters_in_place(
    world: World, client: httpx.AsyncClient
) -> None:
    wrong = json.dumps({**OAUTH, "access_token_secret": "wrong"})
    connection = world.shop("outlet").model_copy(update={"secrets": {"oauth": wrong}})

    with pytest.raises(Refused, match="authorized to access Magento_Sales::sales") as refused:
        await polled(client, connection)

    assert refused.value.code == "partner_unauthorized"


@pytest.mark.parametrize("stored", ["", "secret", '{"consumer_key": "secret"}'])
async def test_a_credential_that_lacks_a_part_says_so_and_shows_nothing(
    client: httpx.AsyncClient, stored: str
) -> None:
    connection = CONNECTION.model_copy(update={"secrets": {"oauth": stored}})

    with pytest.raises(Invalid, match="oauth") as invalid:
        await polled(client, connection)

    assert "secret" not in str(invalid.value)


Answering = Callable[[httpx.Request], httpx.Response]


@pytest.mark.parametrize(
    ("status", "body", "kind", "match"),
    [
        (400, {"message": "%1 of %2", "parameters": ["a", "b"]}, Refused, "a of b"),
        (400, {"message": "%a, %b", "parameters": {"a": "x"}}, Refused, "x, %b"),
        (400, {"message": ["odd"], "parameters": 7}, Refused, "said 400"),
        (404, {"message": "no such entity"}, NotFound, "no such entity"),
        (500, "<html>", Outage, "said 500"),
        (200, [], Outage, "not Magento"),
        (200, "<html>", Outage, "not Magento"),
    ],
)
async def test_answers_that_are_no_answers(
    status: int, body: Any, kind: type[Exception], match: str
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(kind, match=match):
            await polled(client, CONNECTION)
