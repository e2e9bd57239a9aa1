"""A world in which one step's effect is there long before its answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import activity

from domain.errors import Outage
from tests.world import World
from workflows.ports import Allocate, Allocated, Reserve, Reserved

Made = TypeVar("Made")


class Slow(World):
    """The `slow` step has to run as a regular activity, which answers once the gate is open."""

    def __init__(self, slow: str, stock: dict[str, dict[str, int]] | None = None) -> None:
        super().__init__(stock)
        self.slow = slow
        self.effect = asyncio.Event()
        self.gate = asyncio.Event()

    async def reserve(self, request: Reserve) -> Reserved:
        return await self._late("reserve", lambda: World.reserve(self, request))

    async def allocate(self, request: Allocate) -> Allocated:
        return await self._late("allocate", lambda: World.allocate(self, request))

    async def _late(self, name: str, make: Callable[[], Awaitable[Made]]) -> Made:
        if name == self.slow and activity.info().is_local:
            raise Outage("postgres")
        made = await make()
        if name == self.slow:
            self.effect.set()
            await self.gate.wait()
        return made
