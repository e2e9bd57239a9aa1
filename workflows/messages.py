"""What is said to an order's workflow and what it answers. Every message has defaults for all."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from temporalio.exceptions import ApplicationError

from domain.orders import Hold, Order, OrderStatus
from domain.records import Action
from domain.values import Value


class Declined(ApplicationError):
    """A no to a message. Its words are for a person and name no customer: nothing seals them."""


class Patience(Value):
    """How long the order waits for each thing before it does something about it."""

    dispatch: timedelta = timedelta(minutes=15)
    acknowledge: timedelta = timedelta(hours=4)
    recall: timedelta = timedelta(hours=1)
    ship_grace: timedelta = timedelta(hours=24)
    delivery_grace: timedelta = timedelta(days=3)
    pickup_prepare: timedelta = timedelta(days=1)
    pickup_days: int = 3
    pickup_window: timedelta | None = None  # in place of pickup_days, for demonstrations
    backorder: timedelta = timedelta(days=30)


class StartOrder(Value):
    """`cancel`, where it is not empty, is why the order is to be cancelled at once."""

    order: Order
    patience: Patience = Patience()
    cancel: str = ""


class Submitted(Value):
    """
    What the caller of `submit` learns at once: what is `missing` by SKU, and when named supply will
    have brought it, where that is known (`expected`).
    """

    order_id: str
    status: OrderStatus
    outcome: Literal["accepted", "held", "backordered", "refused", "duplicate"]
    code: str = ""
    reason: str = ""
    holds: tuple[Hold, ...] = ()
    missing: dict[str, int] = {}
    expected: datetime | None = None


class Resolve(Value):
    """An empty message means retry. `item` names one of several; empty is the oldest."""

    action: Action = "retry"
    note: str = ""
    by: str = "ops"
    item: str = ""


class Cancel(Value):
    by: str = "ops"
    note: str = ""


class ReleaseHold(Value):
    """`handle` names the hold; empty releases all."""

    handle: str = ""
    by: str = "ops"
    note: str = ""


class PlaceHold(Value):
    handle: str = "manual"
    reason: str = ""
    by: str = "ops"


class ExtendPickup(Value):
    """`days` are open days of the store; `fulfillment_id` empty is the only pickup."""

    days: int = 1
    by: str = "ops"
    fulfillment_id: str = ""


class HandOver(Value):
    """The store gives the goods to the customer. Refused once the window has expired."""

    fulfillment_id: str = ""
    by: str = "store"
    proof: str = ""


class NodeDown(Value):
    node: str = ""
    reason: str = "node went offline"
    by: str = "ops"


class SourceAgain(Value):
    """
    Take these fulfillments back and source them anew, with other orders' of the same `batch`;
    nothing, where one of them waits no more to be given to its node.
    """

    fulfillments: tuple[str, ...] = ()
    batch: str = ""
    reason: str = "it can be sourced better"


class Supply(Value):
    """Units of a SKU came in; a backordered order that waits for it tries again."""

    sku: str = ""
