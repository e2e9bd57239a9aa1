"""An order as every channel's order becomes: who, what, where to, by when."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from domain.errors import Invalid
from domain.money import Currency
from domain.values import Value


class OrderStatus(StrEnum):
    """Where the order as a whole stands; the roll-up of its lines, and a few explicit states."""

    RECEIVED = "received"
    ON_HOLD = "on_hold"
    REJECTED = "rejected"
    BACKORDERED = "backordered"
    SOURCING = "sourcing"
    IN_FULFILLMENT = "in_fulfillment"
    PARTIALLY_SHIPPED = "partially_shipped"
    SHIPPED = "shipped"
    READY_FOR_PICKUP = "ready_for_pickup"
    CANCEL_PENDING = "cancel_pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL: Final = frozenset(
    {OrderStatus.REJECTED, OrderStatus.COMPLETED, OrderStatus.CANCELLED, OrderStatus.EXPIRED}
)


class DeliveryMethod(StrEnum):
    SHIP = "ship"
    PICKUP = "pickup"


class Bucket(StrEnum):
    """Where a unit of a line is. A line's buckets always sum to what was ordered."""

    OPEN = "open"
    RESERVED = "reserved"
    ALLOCATED = "allocated"
    RELEASED = "released"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    READY_FOR_PICKUP = "ready_for_pickup"
    PICKED_UP = "picked_up"
    BACKORDERED = "backordered"
    UNFILLABLE = "unfillable"
    CANCELLED = "cancelled"


# No slash, so that a channel's code, a slash and its key are one reservation's name and no order's.
RESERVATION_KEY: Final = r"[\w.:=@+-]{1,64}"
GONE: Final = frozenset({Bucket.SHIPPED, Bucket.DELIVERED, Bucket.PICKED_UP})
SETTLED: Final = frozenset({Bucket.DELIVERED, Bucket.PICKED_UP, Bucket.CANCELLED})


class Address(Value):
    name: str = ""
    company: str = ""
    line1: str = ""
    line2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""
    phone: str = ""
    email: str = ""


class Line(Value):
    """
    One line of an order.

    `sku` is the channel's own name for the product and may be empty; `aliases` are other names to
    look for in the catalogue (a variant id), tried in order after `sku`. `line_id` is the
    channel's.
    """

    line_id: Annotated[str, Field(min_length=1, max_length=64)]
    sku: Annotated[str, Field(max_length=128)] = ""
    aliases: tuple[str, ...] = ()
    quantity: Annotated[int, Field(ge=1, le=100_000)]
    unit_price_minor: int = 0
    title: str = ""


class Order(Value):
    """
    The canonical order. Its id is made of the channel and the channel's own order id.

    `channel_ref` is what the channel's API calls the order (Shopify's gid, Magento's entity_id).
    `when_short` says what happens when stock is short: the order waits, or is refused.
    `promise_token` is that of a quote whose plan and date the order is to have. `reservation` is
    the key of a reservation of its channel, a cart's, whose units it takes over. Of the orders that
    wait for goods to come those of a higher `priority` are served first. `segment` is the
    customer's, as the channel names it: rules may go by it.
    """

    channel: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    channel_order_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.#:+=@-]+$")]
    channel_ref: str = ""
    placed_at: datetime
    currency: Currency
    total_minor: int = 0
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=1000)]
    ship_to: Address = Address()
    email: str = ""
    method: DeliveryMethod = DeliveryMethod.SHIP
    pickup_node: str | None = None
    deliver_by: datetime | None = None
    when_short: Literal["backorder", "refuse"] = "backorder"
    fraud: Literal["pass", "review", "reject"] = "pass"
    holds: tuple[str, ...] = ()
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    segment: Annotated[str, Field(max_length=64)] = ""
    promise_token: Annotated[str, Field(max_length=64)] = ""
    reservation: Annotated[str, Field(pattern=rf"^({RESERVATION_KEY})?$")] = ""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if len({line.line_id for line in self.lines}) != len(self.lines):
            raise ValueError("lines: each line_id may stand once; two lines share one")
        if self.method is DeliveryMethod.PICKUP and not self.pickup_node:
            raise ValueError("pickup_node: name the store where the order is collected")
        if self.placed_at.tzinfo is None:
            raise ValueError("placed_at: give a time with its zone, such as 2026-11-20T10:00:00Z")
        return self

    @property
    def order_id(self) -> str:
        return order_id(self.channel, self.channel_order_id)

    @property
    def digest(self) -> str:
        """
        What makes two submissions the same order, whoever sends them. A field that is added, with a
        default, changes no digest: sender and workflow may be of different versions.
        """
        told = self.model_dump_json(exclude_defaults=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


class Declined(Value):
    """An order that a channel sent and that is not ours to fulfill, with the reason."""

    channel: str
    channel_order_id: str
    code: Literal["cancelled", "voided", "already_fulfilled", "nothing_to_ship"]
    reason: str


class Hold(Value):
    """The order must wait. Each hold has an owner and is released by its handle."""

    handle: str
    reason: str
    owner: str = "crossdock"


class PartOf(Value):
    """
    Of what kit units are a component: one of `kits` kits, `per_kit` units in each, sold on the
    order's own line `line_id`. `together`: each of the kits leaves whole, from one node.
    """

    line_id: str
    sku: str
    kits: int
    per_kit: int
    together: bool = True


class LineState(Value):
    """
    A line's units by where they are.

    A kit's line stands as its components' lines: each says of what it is a part, and which share of
    the price of all its kits it has (`goods_minor`).
    """

    line_id: str
    sku: str
    ordered: int
    buckets: dict[Bucket, int]
    kit: PartOf | None = None
    goods_minor: int = 0

    @classmethod
    def new(cls, line: Line, sku: str) -> LineState:
        buckets = {Bucket.OPEN: line.quantity}
        return cls(line_id=line.line_id, sku=sku, ordered=line.quantity, buckets=buckets)

    def units(self, *buckets: Bucket) -> int:
        return sum(self.buckets.get(bucket, 0) for bucket in buckets)

    def moved(self, source: Bucket, to: Bucket, quantity: int) -> LineState:
        """The same line with units moved; never more than are there. Raises Invalid."""
        here = self.buckets.get(source, 0)
        if not 0 <= quantity <= here:
            raise Invalid(f"line {self.line_id}: {quantity} of {here} {source} units cannot move")
        after = {**self.buckets, source: here - quantity}
        after[to] = after.get(to, 0) + quantity
        return self.model_copy(update={"buckets": {k: v for k, v in after.items() if v}})


class Units(Value):
    """
    Units of a line, under the catalogue's name of what they are.

    `kit` is there where some of them make whole kits with the others that are named with them: so
    many `kits`.
    """

    line_id: str
    sku: str
    quantity: int
    kit: PartOf | None = None


def order_id(channel: str, channel_order_id: str) -> str:
    return f"{channel}-{channel_order_id}"


def reservation_id(channel: str, key: str) -> str:
    """What a reservation that a channel's client made under its key is called."""
    return f"{channel}/{key}"
