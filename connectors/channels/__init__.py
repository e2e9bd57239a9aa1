"""The channels that orders come from, each reached through the adapter of its kind."""

import httpx

from connectors.channels.base import (
    Arrival,
    ChannelAdapter,
    Connection,
    Delivery,
    Page,
    PolledChannel,
    Shipment,
    WebhookChannel,
    undecided,
)
from connectors.channels.magento import Magento
from connectors.channels.shopify import Shopify

__all__ = [
    "Arrival",
    "ChannelAdapter",
    "Connection",
    "Delivery",
    "Page",
    "PolledChannel",
    "Shipment",
    "WebhookChannel",
    "adapters",
    "polled",
    "undecided",
    "webhooks",
]


def adapters(client: httpx.AsyncClient) -> dict[str, ChannelAdapter]:
    """All adapters by a channel's `kind`. The kind `api` has none: its orders come to our API."""
    return {**webhooks(client), **polled(client)}


def webhooks(client: httpx.AsyncClient) -> dict[str, WebhookChannel]:
    return {"shopify": Shopify(client)}


def polled(client: httpx.AsyncClient) -> dict[str, PolledChannel]:
    return {"magento": Magento(client)}
