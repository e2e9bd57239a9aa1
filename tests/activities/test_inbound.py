"""What a channel sent is taken up as what it was when it came; no fault of our own refuses it."""

import json

import pytest

from activities.house import House
from activities.inbound import Inbox
from domain.errors import Outage
from storage import inbox, network
from storage.database import transaction
from storage.network import Channel
from workflows.codec import Keyring


async def test_a_shop_that_is_down_for_minutes_makes_no_pickup_a_question(house: House) -> None:
    """Only the shop can tell that an order without an address is collected, and where."""
    line = {"id": 1, "sku": "SKU-1", "quantity": 1, "fulfillable_quantity": 1}
    body = {"id": 6, "currency": "USD", "created_at": "2026-11-20T10:00:00Z", "line_items": [line]}
    async with transaction(house.engine) as conn:
        away = Channel(code="away", kind="shopify", url="http://127.0.0.1:1")
        await network.put_channel(conn, away)
        sealed = house.keyring.seal("shpat")
        await network.put_credential(conn, "channel:away", "access_token", sealed)
        raw = json.dumps(body).encode()
        await inbox.put(conn, "shopify:y", "d-2", "shopify", {"channel": "away"}, raw=raw)
    (row,) = await Inbox(house).claim(10)

    with pytest.raises(Outage, match="away"):
        await Inbox(house).work(row.model_copy(update={"attempts": 8}))


async def test_a_document_outlives_its_channels_kind(house: House) -> None:
    raw = b'{"id": 5, "line_items": []}'
    async with transaction(house.engine) as conn:
        await network.put_channel(conn, Channel(code="turned", kind="api"))
        await inbox.put(conn, "shopify:x", "d-1", "shopify", {"channel": "turned"}, raw=raw)
    (row,) = await Inbox(house).claim(10)

    assert (await Inbox(house).work(row)).startswith("declined: nothing_to_ship")


async def test_a_missing_key_refuses_no_order(house: House) -> None:
    """A worker was started without the key that the channel's secret was sealed with."""
    sealed = Keyring({"old": bytes(32)}, "old").seal("token")
    async with transaction(house.engine) as conn:
        await network.put_channel(conn, Channel(code="webshop", kind="shopify"))
        await network.put_credential(conn, "channel:webshop", "token", sealed)
        await inbox.put(conn, "shopify", "d1", "shopify", {"channel": "webshop"}, raw=b"{}")
    (row,) = await Inbox(house).claim(10)

    with pytest.raises(Outage, match="old"):
        await Inbox(house).work(row)
