"""What we need of any node. Each way to talk with one is a module beside this one."""

from __future__ import annotations

from typing import Literal, Protocol

from domain.fulfillments import Fulfillment
from domain.network import Node
from domain.orders import Order
from domain.values import Value


class Answer(Value):
    """Not received: the node refused, for `reason`, and provably ships nothing of it."""

    received: bool
    reason: str = ""


class CancelAnswer(Value):
    """
    What the node said to a cancellation.

    `cancelled` and `never_received` prove that it will not ship; `refused` that it ships or did;
    `pending` that its answer comes as an event.
    """

    answer: Literal["cancelled", "never_received", "refused", "pending"]
    reason: str = ""


class NodeAdapter(Protocol):
    """
    Asks a node to fulfill, and asks the work back. Both may be called again with the same effect.

    What the node did not clearly answer is an Outage, never an answer: units that a node may still
    ship are not given to another.
    """

    async def request(
        self, node: Node, fulfillment: Fulfillment, order: Order, *, secret: str
    ) -> Answer: ...

    async def cancel(
        self, node: Node, fulfillment_id: str, reason: str, *, secret: str
    ) -> CancelAnswer: ...
