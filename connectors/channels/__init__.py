"""The channels that orders come from, each reached through the adapter of its kind."""

from typing import Final

import httpx

from connectors.channels.base import (
    Arrival,
    ChannelAdapter,
    Connection,
    Page,
    PolledChannel,
    Shipment,
    undecided,
)
from connectors.channels.magento import Magento
from connectors.channels.shopify import Shopify

__all__ = [
    "POLLED",
    "Arrival",
    "ChannelAdapter",
    "Connection",
    "Page",
    "PolledChannel",
    "Shipment",
    "adapters",
    "polled",
    "undecided",
]


# The kinds of channel that do not call us: we ask them.
POLLED: Final = frozenset({"magento"})


def adapters(client: httpx.AsyncClient) -> dict[str, ChannelAdapter]:
    """All adapters by a channel's `kind`. The kind `api` has none: its orders come to our API."""
    return {"shopify": Shopify(client), **polled(client)}


def polled(client: httpx.AsyncClient) -> dict[str, PolledChannel]:
    return {"magento": Magento(client)}
