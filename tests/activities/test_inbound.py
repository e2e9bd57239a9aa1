"""What a channel sent is taken up as what it was when it came."""

from activities.house import House
from activities.inbound import Inbox
from storage import inbox, network
from storage.database import transaction
from storage.network import Channel


async def test_a_document_outlives_its_channels_kind(house: House) -> None:
    raw = b'{"id": 5, "line_items": []}'
    async with transaction(house.engine) as conn:
        await network.put_channel(conn, Channel(code="turned", kind="api"))
        await inbox.put(conn, "shopify:x", "d-1", "shopify", {"channel": "turned"}, raw=raw)
    (row,) = await Inbox(house).claim(10)

    assert (await Inbox(house).work(row)).startswith("declined: nothing_to_ship")
