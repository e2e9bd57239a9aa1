"""What clients may send. Closed: a misspelt field is an error here, never later."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from api import examples
from api.bounds import keep_in_bounds
from domain.fulfillments import FulfillmentStatus
from domain.orders import Address, Line, Order, OrderStatus
from domain.records import Action
from storage.intake import Outcome

# One order's goods stay far inside 64 bits: 10^10 a unit, 10^5 units a line, 10^3 lines.
Minor = Annotated[int, Field(ge=0, le=10**10)]
Total = Annotated[int, Field(ge=0, le=10**15)]
Units = Annotated[int, Field(ge=0, le=10**9)]
Text = Annotated[str, Field(max_length=200)]
Note = Annotated[str, Field(max_length=500)]
Code = Annotated[str, Field(min_length=1, max_length=128)]

_DEEPEST: Final = 40
_FIRST_YEAR: Final = 1990
_LAST_YEAR: Final = 2200


def _storable(tree: Any, path: str = "", depth: int = 0) -> None:
    """What PostgreSQL cannot store, or nothing can read back: refuse it and say where it is."""
    where = path or "body"
    if depth > _DEEPEST:
        raise ValueError(f"{where.partition('.')[0]}: nested too deeply")
    if isinstance(tree, str):
        if "\x00" in tree:
            raise ValueError(f"{where}: contains a NUL character")
        if any("\ud800" <= char <= "\udfff" for char in tree):
            raise ValueError(f"{where}: contains half a character")
    elif isinstance(tree, float) and not math.isfinite(tree):
        raise ValueError(f"{where}: not a finite number")
    elif isinstance(tree, dict):
        for name, part in tree.items():
            _storable(name, path, depth)
            _storable(part, f"{path}.{name}".strip("."), depth + 1)
    elif isinstance(tree, list):
        for index, part in enumerate(tree):
            _storable(part, f"{path}.{index}".strip("."), depth + 1)


class Closed(BaseModel):
    """A request: immutable, and it knows every field it may have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _can_be_kept(cls, sent: Any) -> Any:
        keep_in_bounds(cls, sent)
        _storable(sent)
        return sent


def _of_this_age(at: datetime) -> datetime:
    """In UTC, so that equal times are written equally. PostgreSQL's years are not all Python's."""
    if not _FIRST_YEAR <= at.year < _LAST_YEAR:
        raise ValueError(f"not a time of the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return at.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_of_this_age)]


class PlacedAddress(Address):
    model_config = ConfigDict(extra="forbid")

    name: Text = ""
    company: Text = ""
    line1: Text = ""
    line2: Text = ""
    city: Text = ""
    region: Text = ""
    postal_code: Text = ""
    country: Annotated[str, Field(pattern=r"^([A-Z]{2})?$", description="ISO 3166 alpha-2")] = ""
    phone: Text = ""
    email: Text = ""


class PlacedLine(Line):
    model_config = ConfigDict(extra="forbid")

    aliases: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    unit_price_minor: Minor = 0
    title: Note = ""


class PlaceOrder(Order, Closed):
    """An order of a direct client. Send the same body again as often as needed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [examples.ORDER]})

    channel_ref: Text = ""
    placed_at: Instant
    total_minor: Total = 0
    lines: Annotated[tuple[PlacedLine, ...], Field(min_length=1, max_length=1000)]
    ship_to: PlacedAddress = PlacedAddress()
    email: Text = ""
    pickup_node: Text | None = None
    deliver_by: Instant | None = None
    holds: Annotated[tuple[Text, ...], Field(max_length=20)] = ()

    def order(self) -> Order:
        """The canonical order."""
        return Order.model_validate(self.model_dump())


class CancelOrder(Closed):
    model_config = examples.of({"note": "the customer changed her mind"})

    note: Note = ""


class ResolveAttention(Closed):
    """An empty body means retry. `item` names one of several; empty is the oldest."""

    model_config = examples.of(
        {"action": "reroute", "note": "the 3PL confirmed by phone: not shipped"}
    )

    action: Action = "retry"
    note: Note = ""
    item: Text = ""


class PutHold(Closed):
    model_config = examples.of({"handle": "manual", "reason": "the customer asked us to wait"})

    handle: Annotated[str, Field(min_length=1, max_length=64)] = "manual"
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class LiftHold(Closed):
    """`handle` names the hold; empty releases all."""

    model_config = examples.of({"handle": "manual", "note": "she called back"})

    handle: Annotated[str, Field(max_length=64)] = ""
    note: Note = ""


class ExtendWindow(Closed):
    """`days` are open days of the store; `fulfillment_id` empty is the only pickup."""

    model_config = examples.of({"days": 3})

    days: Annotated[int, Field(ge=1, le=60)] = 1
    fulfillment_id: Text = ""


class HandOverGoods(Closed):
    model_config = examples.of({"proof": "order confirmation on the phone"})

    proof: Annotated[str, Field(max_length=200, description="what the customer showed")] = ""


class PageOf(Closed):
    """A list's page: `cursor` is the `next` of the page before."""

    cursor: Annotated[
        str | None, Field(max_length=500, description="`next` of the page before")
    ] = None
    limit: Annotated[int, Field(ge=1, le=200, description="how many, at most")] = 50


class FindOrders(PageOf):
    status: Annotated[OrderStatus | None, Field(description="where the order stands")] = None
    channel: Annotated[Text | None, Field(description="where it came from")] = None
    node: Annotated[str | None, Field(max_length=64, description="with work at this node")] = None
    attention: Annotated[
        str | None,
        Field(max_length=64, description="a code, or stock_short; empty is any"),
    ] = None
    q: Annotated[
        str | None,
        Field(max_length=200, description="order id, channel's id, e-mail, name or postcode"),
    ] = None


class FindIntake(PageOf):
    channel: Annotated[Text | None, Field(description="who sent it")] = None
    outcome: Annotated[Outcome | None, Field(description="what the document led to")] = None
    q: Annotated[
        str | None, Field(max_length=200, description="order id, channel's id or delivery id")
    ] = None


class FindFulfillments(PageOf):
    node: Annotated[Text | None, Field(description="whose work it is")] = None
    status: Annotated[FulfillmentStatus | None, Field(description="how far it is")] = None


class FindStock(PageOf):
    sku: Annotated[tuple[Code, ...], Field(max_length=200, description="all without it")] = ()
    node: Annotated[Text | None, Field(description="all without it")] = None


class AfterEntry(Closed):
    after: Annotated[int, Field(ge=0, le=2**62, description="the last `seq` or `id` seen")] = 0
    limit: Annotated[int, Field(ge=1, le=500, description="how many, at most")] = 100


_Told = Annotated[str, Field(max_length=200, description="kept beside the body")]


class ShopifyHeaders(BaseModel):
    """What Shopify says of a delivery. Only the body is signed: these tell deliveries apart."""

    x_shopify_topic: Annotated[str, Field(min_length=1, max_length=255, description="orders/…")]
    x_shopify_shop_domain: Annotated[
        str, Field(min_length=1, max_length=255, description="which shop")
    ]
    x_shopify_webhook_id: Annotated[
        str, Field(min_length=1, max_length=255, description="of the delivery, on every retry")
    ]
    x_shopify_hmac_sha256: Annotated[
        str, Field(max_length=255, description="base64(HMAC-SHA256(secret, raw body))")
    ] = ""
    x_shopify_api_version: _Told = ""
    x_shopify_event_id: _Told = ""
    x_shopify_triggered_at: _Told = ""
    x_shopify_test: _Told = ""

    def kept(self) -> dict[str, str]:
        """The headers to store beside the body; the signature has done its work."""
        said = self.model_dump(exclude={"x_shopify_hmac_sha256"}, exclude_defaults=True)
        return {name.replace("_", "-"): value for name, value in said.items()}
