"""What clients may send. Closed: a misspelt field is an error here, never later."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict

from domain.errors import Invalid
from domain.fulfillments import FulfillmentStatus
from domain.network import Calendar, Node, Product
from domain.orders import Address, Line, Order, OrderStatus
from domain.records import Action
from storage.intake import Outcome
from storage.network import Channel

# One order's goods stay far inside 64 bits: 10^10 a unit, 10^5 units a line, 10^3 lines.
Minor = Annotated[int, Field(ge=0, le=10**10)]
Total = Annotated[int, Field(ge=0, le=10**15)]
Units = Annotated[int, Field(ge=0, le=10**9)]
Text = Annotated[str, Field(max_length=200)]
Note = Annotated[str, Field(max_length=500)]
Code = Annotated[str, Field(min_length=1, max_length=128)]

_EXAMPLE_ORDER: Final[JsonDict] = {
    "channel": "webshop",
    "channel_order_id": "1001",
    "placed_at": "2026-11-20T10:00:00Z",
    "currency": "USD",
    "total_minor": 5998,
    "lines": [{"line_id": "1", "sku": "SKU-0001", "quantity": 2, "unit_price_minor": 2999}],
    "ship_to": {
        "name": "Ada Byron",
        "line1": "500 Elm St",
        "city": "Dallas",
        "region": "TX",
        "postal_code": "75202",
        "country": "US",
    },
    "email": "ada@example.com",
}


def _no_nul(tree: Any, path: str = "") -> None:
    """PostgreSQL stores no NUL character: refuse it here and say where it is."""
    if isinstance(tree, str) and "\x00" in tree:
        raise ValueError(f"{path or 'body'}: contains a NUL character")
    if isinstance(tree, dict):
        for name, part in tree.items():
            _no_nul(name, path)
            _no_nul(part, f"{path}.{name}".strip("."))
    elif isinstance(tree, list):
        for index, part in enumerate(tree):
            _no_nul(part, f"{path}.{index}".strip("."))


class Closed(BaseModel):
    """A request: immutable, and it knows every field it may have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, sent: Any) -> Any:
        _no_nul(sent)
        return sent


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

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE_ORDER]})

    channel_ref: Text = ""
    placed_at: AwareDatetime
    total_minor: Total = 0
    lines: Annotated[tuple[PlacedLine, ...], Field(min_length=1, max_length=1000)]
    ship_to: PlacedAddress = PlacedAddress()
    email: Text = ""
    pickup_node: Text | None = None
    deliver_by: AwareDatetime | None = None
    holds: Annotated[tuple[Text, ...], Field(max_length=20)] = ()

    def order(self) -> Order:
        """The canonical order, its times in UTC, so that equal orders are written equally."""
        return Order.model_validate(self.model_dump())


class CancelOrder(Closed):
    note: Note = ""


class ResolveAttention(Closed):
    """An empty body means retry. `item` names one of several; empty is the oldest."""

    action: Action = "retry"
    note: Note = ""
    item: Text = ""


class PutHold(Closed):
    handle: Annotated[str, Field(min_length=1, max_length=64)] = "manual"
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class LiftHold(Closed):
    """`handle` names the hold; empty releases all."""

    handle: Annotated[str, Field(max_length=64)] = ""
    note: Note = ""


class ExtendWindow(Closed):
    """`days` are open days of the store; `fulfillment_id` empty is the only pickup."""

    days: Annotated[int, Field(ge=1, le=60)] = 1
    fulfillment_id: Text = ""


class HandOverGoods(Closed):
    proof: Annotated[str, Field(max_length=200, description="what the customer showed")] = ""


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not a time zone, such as America/Chicago")
    return name


class PutCalendar(Calendar):
    model_config = ConfigDict(extra="forbid")

    timezone: Annotated[str, AfterValidator(_timezone)]
    weekdays: Annotated[
        tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1, max_length=7)
    ] = (0, 1, 2, 3, 4)
    closed: Annotated[
        tuple[Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")], ...], Field(max_length=366)
    ] = ()

    @model_validator(mode="after")
    def _day(self) -> Self:
        if not self.opens <= self.cutoff <= self.closes or self.opens == self.closes:
            raise ValueError("opens, cutoff and closes must follow each other in the day")
        return self


class PutNode(Closed):
    """A node's description. Its status is not part of it: see `down` and `up`."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Annotated[str, Field(pattern="^(dc|store|3pl|vendor|micro)$")]
    postal_code: Annotated[str, Field(min_length=1, max_length=16)]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    calendar: PutCalendar
    ships: bool = True
    pickup: bool = False
    capacity_per_day: Annotated[int, Field(ge=0, le=10**6)] | None = None
    handling_days: Annotated[int, Field(ge=0, le=60)] = 0
    pickup_minutes: Annotated[int, Field(ge=0, le=1440)] = 60
    order_cost_minor: Minor = 0
    unit_cost_minor: Minor = 0
    handling_classes: Annotated[tuple[Text, ...], Field(max_length=50)] = ("standard",)
    adapter: Annotated[str, Field(pattern="^signed_http$")] = "signed_http"
    url: Annotated[str, Field(max_length=500, pattern=r"^(https?://\S+)?$")] = ""

    def node(self, code: str) -> Node:
        """Raises Invalid where the code of the address cannot be a node's."""
        try:
            return Node.model_validate({**self.model_dump(), "code": code})
        except ValidationError as error:
            raise Invalid(f"code: {error.errors()[0]['msg']}") from error


class PutSecret(Closed):
    secret: Annotated[SecretStr, Field(min_length=24, max_length=500)]


class Reason(Closed):
    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["power outage"])]


class PutProduct(Product):
    model_config = ConfigDict(extra="forbid")

    title: Note = ""
    weight_g: Annotated[int, Field(ge=0, le=10**8)] = 500
    length_mm: Annotated[int, Field(ge=0, le=10**6)] = 200
    width_mm: Annotated[int, Field(ge=0, le=10**6)] = 150
    height_mm: Annotated[int, Field(ge=0, le=10**6)] = 100
    handling_class: Text = "standard"
    aliases: Annotated[tuple[Code, ...], Field(max_length=50)] = ()


class PutProducts(Closed):
    products: Annotated[tuple[PutProduct, ...], Field(min_length=1, max_length=1000)]


class ReceivedLine(Closed):
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=10**9)]


class CountedLine(Closed):
    sku: Code
    on_hand: Units


class ReceiveStock(Closed):
    """Units that came in. `key` makes sending it twice receiving it once."""

    node: Text
    key: Code
    lines: Annotated[tuple[ReceivedLine, ...], Field(min_length=1, max_length=1000)]


class CountStock(Closed):
    """What was counted, absolute. `key` makes sending it twice counting it once."""

    node: Text
    key: Code
    lines: Annotated[tuple[CountedLine, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({line.sku for line in self.lines}) != len(self.lines):
            raise ValueError("lines: each sku may stand once; two lines share one")
        return self


class PutChannel(Closed):
    """A channel's description. `settings` are what its adapter understands."""

    kind: Literal["shopify", "magento", "api"]
    url: Annotated[str, Field(max_length=500, pattern=r"^(https?://\S+)?$")] = ""
    settings: dict[str, Any] = Field(default_factory=dict, max_length=100)
    when_short: Literal["backorder", "refuse"] = "backorder"

    def channel(self, code: str) -> Channel:
        """Raises Invalid where the code of the address cannot be a channel's."""
        if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", code) is None:
            raise Invalid("code: lower-case letters, digits and hyphens, 31 at most")
        return Channel(code=code, **self.model_dump())


class OAuth(Closed):
    """An integration's four parts, as Magento shows them."""

    consumer_key: Code
    consumer_secret: SecretStr
    access_token: Code
    access_token_secret: SecretStr


class PutCredentials(Closed):
    """Shopify needs `webhook_secret` and `access_token`, Magento needs `oauth`."""

    webhook_secret: Annotated[SecretStr, Field(min_length=8, max_length=500)] | None = None
    access_token: Annotated[SecretStr, Field(min_length=1, max_length=500)] | None = None
    oauth: OAuth | None = None

    def texts(self) -> dict[str, str]:
        """The given secrets in the clear, by the name that they are kept under."""
        found: dict[str, str] = {}
        if self.webhook_secret is not None:
            found["webhook_secret"] = self.webhook_secret.get_secret_value()
        if self.access_token is not None:
            found["access_token"] = self.access_token.get_secret_value()
        if self.oauth is not None:
            parts = self.oauth.model_dump()
            shown = {k: v.get_secret_value() if "secret" in k else v for k, v in parts.items()}
            found["oauth"] = json.dumps(shown)
        return found


class PageOf(Closed):
    """A list's page: `cursor` is the `next` of the page before."""

    cursor: Annotated[str | None, Field(max_length=500)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class FindOrders(PageOf):
    status: OrderStatus | None = None
    channel: Text | None = None
    node: Annotated[str | None, Field(max_length=64, description="with work at this node")] = None
    attention: Annotated[
        str | None, Field(max_length=64, description="an attention code; empty is any")
    ] = None
    q: Annotated[
        str | None,
        Field(max_length=200, description="order id, channel's id, e-mail, name or postcode"),
    ] = None


class FindIntake(PageOf):
    channel: Text | None = None
    outcome: Annotated[Outcome | None, Field(description="what the document led to")] = None
    q: Annotated[
        str | None, Field(max_length=200, description="order id, channel's id or delivery id")
    ] = None


class FindFulfillments(PageOf):
    node: Text | None = None
    status: FulfillmentStatus | None = None


class FindStock(PageOf):
    sku: Annotated[tuple[Code, ...], Field(max_length=200)] = ()
    node: Text | None = None


class AfterEntry(Closed):
    after: Annotated[int, Field(ge=0, le=2**62, description="the last `seq` seen")] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ShopifyHeaders(BaseModel):
    """What Shopify says of a delivery. Only the body is signed: these tell deliveries apart."""

    x_shopify_topic: Annotated[str, Field(min_length=1, max_length=255)]
    x_shopify_shop_domain: Annotated[str, Field(min_length=1, max_length=255)]
    x_shopify_webhook_id: Annotated[str, Field(min_length=1, max_length=255)]
    x_shopify_hmac_sha256: Annotated[str, Field(max_length=255)] = ""
    x_shopify_api_version: Text = ""
    x_shopify_event_id: Text = ""
    x_shopify_triggered_at: Text = ""
    x_shopify_test: Text = ""

    def kept(self) -> dict[str, str]:
        """The headers to store beside the body; the signature has done its work."""
        said = self.model_dump(exclude={"x_shopify_hmac_sha256"}, exclude_defaults=True)
        return {name.replace("_", "-"): value for name, value in said.items()}
