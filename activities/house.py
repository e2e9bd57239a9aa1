"""What every activity of a process shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client

from connectors import channels, nodes
from connectors.channels.base import ChannelAdapter, Connection
from connectors.nodes import NodeAdapter
from domain.errors import Invalid, NotFound, Outage
from domain.sourcing.evidence import Pricing
from storage import network
from storage.network import Channel
from storage.repairs import POLICIES, Policy
from workflows.addressing import ORDERS
from workflows.codec import Keyring
from workflows.messages import Patience


@dataclass(frozen=True)
class House:
    """The database, Temporal, the keys, and the adapters to partners, made once per process."""

    engine: AsyncEngine
    client: Client
    keyring: Keyring
    http: httpx.AsyncClient
    patience: Patience = Patience()
    queue: str = ORDERS
    poll_seconds: float = 30.0
    audit_seconds: float = 30.0
    batch_seconds: float = 2.0
    audit_full_seconds: float = 3600.0
    certified: float = 0.05
    prices_seconds: float = 3600.0
    pricing: Pricing = field(default_factory=Pricing)
    policies: Mapping[str, Policy] = field(default_factory=lambda: POLICIES)
    nodes: dict[str, NodeAdapter] = field(init=False)
    channels: dict[str, ChannelAdapter] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", nodes.adapters(self.http))
        object.__setattr__(self, "channels", channels.adapters(self.http))

    async def connection(self, conn: AsyncConnection, code: str) -> tuple[Channel, Connection]:
        """
        A channel and how it is reached, its credentials unsealed. Raises NotFound; Outage where a
        credential does not open, because a key that is missing here is no fault of the order's.
        """
        channel = await network.channel(conn, code)
        if channel is None:
            raise NotFound(f"no channel {code}")
        sealed = await network.credentials(conn, f"channel:{code}")
        try:
            secrets = {name: self.keyring.unseal(text) for name, text in sealed.items()}
        except Invalid as closed:
            raise Outage(f"channel {code}", f"cannot be signed in to: {closed}") from closed
        connection = Connection(
            code=code, url=channel.url, settings=channel.settings, secrets=secrets
        )
        return channel, connection
