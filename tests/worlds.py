"""Many worlds behind one worker: each order is answered by the world that it lives in."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from domain.records import Change
from tests.world import World
from workflows import ports


class Worlds:
    """Every activity of an order that a `World` has."""

    def __init__(self) -> None:
        self.of_order: dict[str, World] = {}


def _passed_on(name: str) -> Callable[..., Awaitable[Any]]:
    """The activity of this name, types and all, answered by the world of the request's order."""

    @functools.wraps(getattr(World, name))
    async def passed_on(worlds: Worlds, request: Any) -> Any:
        return await getattr(worlds.of_order[_order_of(request)], name)(request)

    return passed_on


def _order_of(request: Any) -> str:
    match request:
        case ports.ValidateOrder():
            return request.order.order_id
        case ports.Reserve() | ports.SourceOrder():
            return request.order_id
        case ports.Recall():
            return _order_of(request.fulfillment_id)
        case str():  # a fulfillment's id
            return request.rpartition("-F")[0]
        case Change():
            return request.state.order_id
        case _:
            return _order_of(request.change)


for _port in (ports.Orders, ports.Stock, ports.Sourcing, ports.Nodes):
    for _name in _port.__abstractmethods__:
        setattr(Worlds, _name, _passed_on(_name))
