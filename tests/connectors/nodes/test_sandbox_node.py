"""The adapter and a node that nobody wrote together speak the same protocol."""

import httpx
import pytest

from connectors.nodes.signed_http import SignedHttp
from domain.errors import Outage
from tests.connectors.nodes.test_signed_http import FULFILLMENT, NODE, ORDER
from tests.connectors.outside import SECRET, World


async def test_a_node_receives_once_and_gives_back(world: World, client: httpx.AsyncClient) -> None:
    adapter = SignedHttp(client)
    node = NODE.model_copy(update={"url": f"{world.url}/nodes/DC-DAL"})

    assert (await adapter.request(node, FULFILLMENT, ORDER, secret=SECRET)).received
    assert (await adapter.request(node, FULFILLMENT, ORDER, secret=SECRET)).received
    back = await adapter.cancel(node, FULFILLMENT.fulfillment_id, "customer", secret=SECRET)
    never = await adapter.cancel(node, "webshop-7-F1", "customer", secret=SECRET)
    late = FULFILLMENT.model_copy(update={"fulfillment_id": "webshop-7-F1"})

    assert (back.answer, never.answer) == ("cancelled", "never_received")
    assert not (await adapter.request(node, late, ORDER, secret=SECRET)).received
    requests = world.rows("SELECT fulfillment_id, times_received FROM node_requests")
    assert (FULFILLMENT.fulfillment_id, 2) in requests


async def test_a_node_that_does_not_know_us_says_nothing_about_the_goods(
    world: World, client: httpx.AsyncClient
) -> None:
    node = NODE.model_copy(update={"url": f"{world.url}/nodes/DC-DAL"})

    with pytest.raises(Outage, match="said 401"):
        await SignedHttp(client).request(node, FULFILLMENT, ORDER, secret="another-secret-of-24-c")
