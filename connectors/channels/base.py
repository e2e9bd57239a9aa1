"""What we need of any channel: orders in, and out again what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from pydantic import Field

from domain.errors import Invalid
from domain.fulfillments import Fulfillment, LineQuantity, Package
from domain.orders import Declined, Order
from domain.values import Value

# The code of a refusal that ends when somebody gives us the credential.
NO_CREDENTIAL: Final = "no_credential"

WhenShort = Literal["backorder", "refuse"]


class Connection(Value):
    """How one channel is reached. `secrets` are its credentials by name, unsealed."""

    code: str
    url: str
    settings: dict[str, Any] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(default_factory=dict, repr=False)

    def secret(self, name: str) -> str:
        if not self.secrets.get(name):
            message = f"channel {self.code} has no credential {name!r}"
            raise Invalid(message, code=NO_CREDENTIAL)
        return self.secrets[name]


class Shipment(Value):
    """
    Units that left a node, to be told to the channel once.

    `lines` are the units of this shipment alone. `key` is its identity for ever, else that of the
    fulfillment; `source_code` is the channel's name for the node, else the channel's settings tell.
    `before` are units told before it under a tracking number that it has too: one parcel.
    """

    order: Order
    fulfillment: Fulfillment
    lines: tuple[LineQuantity, ...]
    packages: tuple[Package, ...] = ()
    source_code: str = ""
    key: str = ""
    before: tuple[LineQuantity, ...] = ()

    @property
    def marker(self) -> str:
        return self.key or self.fulfillment.fulfillment_id

    @property
    def tracking_numbers(self) -> tuple[str, ...]:
        numbers = (package.tracking_number for package in self.packages)
        return tuple(dict.fromkeys(number for number in numbers if number))


class Arrival(Value):
    """One order as a polled channel gave it. `key` changes when the order does; `body` is JSON."""

    key: str
    body: str


class Page(Value):
    """Some arrivals, oldest change first, and where to poll on once they are stored."""

    arrivals: tuple[Arrival, ...]
    cursor: str


class ChannelAdapter(Protocol):
    """
    One kind of channel. Those that call us are let in by the API (`api/webhooks.py`).

    What is told to a channel is told once, however often it is called: each call first reads what
    the channel already knows. Raises Refused where the channel says no for good, else Outage.
    """

    def translate(
        self,
        channel_code: str,
        raw: bytes,
        settings: Mapping[str, Any],
        when_short: WhenShort,
        *,
        received_at: datetime | None = None,
    ) -> Order | Declined:
        """
        The canonical order: the units that are open now. Pure.

        `received_at` stands in where the channel gives no time. Raises Invalid, naming the field,
        for what is no order.
        """

    def number(self, raw: bytes) -> str:
        """The channel's own id of the order in a document, as `translate` reads it; else empty."""

    async def complete(self, connection: Connection, order: Order) -> Order:
        """The order with what its document could not tell (a pickup). Called before submitting."""

    async def shipped(self, connection: Connection, shipment: Shipment) -> None:
        """Tell the channel that units left, or were collected."""

    async def ready_for_pickup(self, connection: Connection, shipment: Shipment) -> None:
        """Tell the channel that units wait for the customer at the store."""

    async def cancelled(self, connection: Connection, order: Order, reason: str) -> None:
        """Tell the channel that we cancelled the order; nothing where it did so itself."""


class PolledChannel(ChannelAdapter, Protocol):
    """A channel that we ask."""

    def poll(self, connection: Connection, cursor: str) -> AsyncIterator[Page]:
        """
        What changed since the cursor ("" is everything), a page at a time.

        Pages overlap with those of the poll before; what is known by its key is old.
        """


def undecided(order: Order) -> Order:
    """The order held, because how it is to be delivered could not be learnt from its channel."""
    return order.model_copy(update={"holds": (*order.holds, "delivery_unknown")})
