"""Many worlds behind one worker: each order is answered by the world that it lives in."""

from __future__ import annotations

from datetime import datetime

from temporalio import activity

from domain.records import Change
from tests.world import World
from workflows import ports
from workflows.ports import (
    Abandoned,
    Allocate,
    Allocated,
    Dispatched,
    GiveBack,
    OpenPickup,
    Recall,
    Recalled,
    Release,
    Reserve,
    Reserved,
    Ship,
    Sourced,
    SourceOrder,
    Validated,
    ValidateOrder,
)


class Worlds(ports.Orders, ports.Stock, ports.Sourcing, ports.Nodes, ports.Upkeep):
    def __init__(self) -> None:
        self.of_order: dict[str, World] = {}

    def _of(self, change: Change) -> World:
        return self.of_order[change.state.order_id]

    def _at(self, fulfillment_id: str) -> World:
        return self.of_order[fulfillment_id.rpartition("-F")[0]]

    @activity.defn
    async def validate(self, request: ValidateOrder) -> Validated:
        return await self.of_order[request.order.order_id].validate(request)

    @activity.defn
    async def record(self, change: Change) -> None:
        await self._of(change).record(change)

    @activity.defn
    async def reserve(self, request: Reserve) -> Reserved:
        return await self.of_order[request.order_id].reserve(request)

    @activity.defn
    async def release(self, request: Release) -> None:
        await self._of(request.change).release(request)

    @activity.defn
    async def optimize_source(self, request: SourceOrder) -> Sourced:
        return await self.of_order[request.order_id].optimize_source(request)

    @activity.defn
    async def allocate(self, request: Allocate) -> Allocated:
        return await self._of(request.change).allocate(request)

    @activity.defn
    async def give_back(self, request: GiveBack) -> None:
        await self._of(request.change).give_back(request)

    @activity.defn
    async def ship(self, request: Ship) -> None:
        await self._of(request.change).ship(request)

    @activity.defn
    async def open_pickup(self, request: OpenPickup) -> datetime:
        return await self._of(request.change).open_pickup(request)

    @activity.defn
    async def dispatch(self, fulfillment_id: str) -> Dispatched:
        return await self._at(fulfillment_id).dispatch(fulfillment_id)

    @activity.defn
    async def recall(self, request: Recall) -> Recalled:
        return await self._at(request.fulfillment_id).recall(request)

    @activity.defn
    async def recover_abandoned(self) -> tuple[Abandoned, ...]:
        return ()

    @activity.defn
    async def poll_channel(self, channel: str) -> int:
        return 0
