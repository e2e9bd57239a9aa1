"""Holds what every partner of the sandbox shares: the configuration, the store and the clock."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.sandbox.config import SandboxConfig
from connectors.sandbox.store import Store


@dataclass(frozen=True)
class World:
    """`wake` is set when there may be something new to do or to send."""

    config: SandboxConfig
    store: Store
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)


def iso(instant: datetime) -> str:
    """UTC with milliseconds and Z; sorts as text."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
