"""Deliveries that cannot be worked on for a fault of our own are kept, not refused."""

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.house import House
from activities.inbound import Inbox
from domain.errors import Outage
from storage import inbox, network
from storage.database import transaction
from storage.network import Channel
from workflows.codec import Keyring


@pytest.fixture
async def house(engine: AsyncEngine) -> AsyncIterator[House]:
    """A worker that was started without the key that the channel's secret was sealed with."""
    async with httpx.AsyncClient() as http:
        yield House(engine, cast("Any", None), Keyring({"new": bytes(32)}, "new"), http)


async def test_a_missing_key_refuses_no_order(house: House) -> None:
    sealed = Keyring({"old": bytes(32)}, "old").seal("token")
    async with transaction(house.engine) as conn:
        await network.put_channel(conn, Channel(code="webshop", kind="shopify"))
        await network.put_credential(conn, "channel:webshop", "token", sealed)
        await inbox.put(conn, "shopify", "d1", "shopify", {"channel": "webshop"}, raw=b"{}")
    box = Inbox(house)
    [row] = await box.claim(1)
    with pytest.raises(Outage, match="old"):
        await box.work(row)
