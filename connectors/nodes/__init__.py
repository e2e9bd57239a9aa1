"""The nodes that fulfill, each reached through the adapter that it names."""

import httpx

from connectors.nodes.base import Answer, CancelAnswer, NodeAdapter
from connectors.nodes.events import parse_event
from connectors.nodes.signed_http import SignedHttp

__all__ = ["Answer", "CancelAnswer", "NodeAdapter", "adapters", "parse_event"]


def adapters(client: httpx.AsyncClient) -> dict[str, NodeAdapter]:
    """The adapters by the name that `Node.adapter` gives."""
    return {"signed_http": SignedHttp(client)}
