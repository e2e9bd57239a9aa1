"""What is written down of an order: its state, its events, and what must leave the house."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from domain.fulfillments import Fulfillment
from domain.orders import Hold, LineState, OrderStatus
from domain.values import Value

Action = Literal["retry", "skip", "reroute", "approve", "cancel"]


class Attention(Value):
    """
    A person must decide. `item` names it within its order; `options` are what may be answered.
    `queue` is the named queue of people whom rules chose for it, if any.
    """

    item: str
    code: str
    message: str
    since: datetime
    options: tuple[Action, ...] = ("retry", "cancel")
    fulfillment_id: str = ""
    queue: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """What it is searched by."""
        return (self.code, f"queue:{self.queue}") if self.queue else (self.code,)


class CancelRequest(Value):
    by: str = ""
    note: str = ""


class OrderState(Value):
    """
    All of an order that its workflow knows; the answer of the `state` query and the stored
    projection.

    `round` counts sourcing decisions, `reservations` the reservations made. `excluded` are nodes
    that may not be asked again, with the reason, and `excluded_at` since when: rules may end it.
    `short` is what was missing when the order was backordered. `left_since` is when units were
    first left over by a decision, and not all of them have had a node since that had not given
    them back before.
    """

    order_id: str
    channel: str
    channel_order_id: str
    status: OrderStatus = OrderStatus.RECEIVED
    reason: str = ""
    lines: tuple[LineState, ...] = ()
    fulfillments: tuple[Fulfillment, ...] = ()
    holds: tuple[Hold, ...] = ()
    attention: tuple[Attention, ...] = ()
    promise_by: datetime | None = None
    round: int = 0
    reservations: int = 0
    excluded: dict[str, str] = {}
    excluded_at: dict[str, datetime] = {}
    short: dict[str, int] = {}
    left_since: datetime | None = None
    cancel: CancelRequest | None = None


class OrderEvent(Value):
    """
    One fact of an order's story: what, by whom, why. `type` is stable, `summary` is for people.
    """

    type: str
    summary: str
    actor: str = "crossdock"
    cause: str = ""
    fulfillment_id: str = ""
    data: dict[str, Any] = {}


class Message(Value):
    """
    Something that must leave the house, once: kept in the outbox until its receiver took it.

    `kind` says who sends it: `channel.shipped`, `channel.ready_for_pickup`, `channel.cancelled`,
    `node.recall`. `key` is its identity for ever.
    """

    key: str
    kind: str
    body: dict[str, Any]


class Change(Value):
    """
    One step of an order's record: the state after it and the events that tell of it.

    Written in the same transaction as the effect it describes. (`at`, `seq`) orders the changes of
    an order, also across the runs of its workflow; `key` makes writing it twice writing it once.
    """

    key: str
    base: str | None = None
    at: datetime
    seq: int
    state: OrderState
    events: tuple[OrderEvent, ...] = ()
    messages: tuple[Message, ...] = ()
