"""What clients may say of the network: its nodes, goods, costs and channels."""

from __future__ import annotations

import json
import re
from datetime import date, time
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from api import examples
from api.schemas import Closed, Code, Minor, Note, Text, Units
from domain.calendars import public_holidays
from domain.errors import Invalid
from domain.geography import timezones
from domain.network import Calendar, Component, Node, Product, RateCard, Zone
from storage.network import Channel

_ANY_YEAR: Final = 2026


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = not url or (parts.hostname and parts.port != 0)
    except ValueError:
        known = False
    if not known:
        raise ValueError("not an address that can be called")
    return url


Url = Annotated[str, Field(max_length=500, pattern=r"^(https?://\S+)?$"), AfterValidator(_address)]


def _timezone(name: str) -> str:
    if name not in timezones():
        raise ValueError("not a time zone, such as America/Chicago")
    return name


def _local(at: time) -> time:
    if at.tzinfo is not None:
        raise ValueError("a time on the node's own clock, without a zone, such as 08:00")
    return at


def _country(code: str) -> str:
    try:
        public_holidays(code, _ANY_YEAR)
    except NotImplementedError:
        message = "not a country whose holidays are known, such as US; empty is none"
        raise ValueError(message) from None
    return code


def _day(day: str) -> str:
    if date.fromisoformat(day).isoformat() != day:
        raise ValueError("not a day, such as 2026-12-24")
    return day


_Local = Annotated[time, AfterValidator(_local)]
_Day = Annotated[str, Field(max_length=10), AfterValidator(_day)]


class PutCalendar(Calendar):
    model_config = ConfigDict(extra="forbid")

    timezone: Annotated[str, AfterValidator(_timezone)]
    weekdays: Annotated[
        tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1, max_length=7)
    ] = (0, 1, 2, 3, 4)
    opens: _Local = time(8)
    closes: _Local = time(18)
    cutoff: _Local = time(14)
    holidays: Annotated[str, AfterValidator(_country)] = "US"
    closed: Annotated[tuple[_Day, ...], Field(max_length=366)] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.opens <= self.cutoff <= self.closes or self.opens == self.closes:
            raise ValueError("opens, cutoff and closes must follow each other in the day")
        return self


class PutNode(Closed):
    """A node's description. Its status is not part of it: see `down` and `up`."""

    model_config = examples.of(examples.NODE)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Annotated[str, Field(pattern="^(dc|store|3pl|vendor|micro)$")]
    postal_code: Annotated[str, Field(min_length=1, max_length=16)]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    calendar: PutCalendar
    ships: bool = True
    pickup: bool = False
    capacity_per_day: Annotated[int, Field(ge=0, le=10**6)] | None = None
    units_per_day: Annotated[int, Field(ge=0, le=10**6)] | None = None
    handling_days: Annotated[int, Field(ge=0, le=60)] = 0
    pickup_minutes: Annotated[int, Field(ge=0, le=1440)] = 60
    order_cost_minor: Minor = 0
    unit_cost_minor: Minor = 0
    line_cost_minor: Minor = 0
    labour_minor: Minor = 0
    handling_classes: Annotated[tuple[Text, ...], Field(max_length=50)] = ("standard",)
    adapter: Annotated[str, Field(pattern="^signed_http$")] = "signed_http"
    url: Url = ""

    def node(self, code: str) -> Node:
        """Raises Invalid where the code of the address cannot be a node's."""
        try:
            return Node.model_validate({**self.model_dump(), "code": code})
        except ValidationError as error:
            raise Invalid(f"code: {error.errors()[0]['msg']}") from error


class PutSecret(Closed):
    model_config = examples.of({"secret": "a-shared-secret-of-24-characters-or-more"})

    secret: Annotated[SecretStr, Field(min_length=24, max_length=500)]


class Reason(Closed):
    model_config = examples.of({"reason": "power outage"})

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class PutZone(Zone):
    model_config = ConfigDict(extra="forbid")

    max_miles: Annotated[int, Field(ge=0, le=25_000)]
    base_minor: Annotated[int, Field(ge=0, le=10**8)]
    per_lb_minor: Annotated[int, Field(ge=0, le=10**6)]
    transit_days: Annotated[int, Field(ge=0, le=90)]
    carbon_g: Annotated[int, Field(ge=0, le=10**7)] = 0
    carbon_g_per_lb: Annotated[int, Field(ge=0, le=10**7)] = 0


class PutRateCard(RateCard):
    """`zones` from the nearest to the farthest; no package goes beyond the last one."""

    model_config = ConfigDict(extra="forbid")

    service: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    carrier: Annotated[str, Field(min_length=1, max_length=64)]
    zones: Annotated[tuple[PutZone, ...], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _outwards(self) -> Self:
        reach = [zone.max_miles for zone in self.zones]
        if reach != sorted(set(reach)):
            raise ValueError("zones must follow each other by max_miles")
        return self


class PutRateCards(Closed):
    """All services at once, in one currency: that of every cost of a decision."""

    model_config = examples.of(examples.RATES)

    rate_cards: Annotated[tuple[PutRateCard, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if len({card.service for card in self.rate_cards}) != len(self.rate_cards):
            raise ValueError("rate_cards: each service may stand once; two cards share one")
        if len({card.currency for card in self.rate_cards}) != 1:
            raise ValueError("rate_cards: costs are compared, so all are in one currency")
        return self

    def cards(self) -> tuple[RateCard, ...]:
        return tuple(RateCard.model_validate(card.model_dump()) for card in self.rate_cards)


class PutComponent(Component):
    model_config = ConfigDict(extra="forbid")

    sku: Code


class PutProduct(Product):
    model_config = ConfigDict(extra="forbid")

    title: Note = ""
    weight_g: Annotated[int, Field(ge=0, le=10**8)] = 500
    length_mm: Annotated[int, Field(ge=0, le=10**6)] = 200
    width_mm: Annotated[int, Field(ge=0, le=10**6)] = 150
    height_mm: Annotated[int, Field(ge=0, le=10**6)] = 100
    handling_class: Text = "standard"
    requires: Annotated[tuple[Text, ...], Field(max_length=50)] = ()
    category: Text = ""
    aliases: Annotated[tuple[Code, ...], Field(max_length=50)] = ()
    components: Annotated[
        tuple[PutComponent, ...], Field(max_length=50, description="of a kit, which has no stock")
    ] = ()
    ships_together: Annotated[
        bool, Field(description="a kit's: each leaves whole, from one node")
    ] = True


class PutProducts(Closed):
    model_config = examples.of(examples.PRODUCTS)

    products: Annotated[tuple[PutProduct, ...], Field(min_length=1, max_length=1000)]


class ReceivedLine(Closed):
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=10**9)]


class CountedLine(Closed):
    sku: Code
    on_hand: Units


class NamedSupply(Closed):
    source: Text
    ref: Code


class ReceiveStock(Closed):
    """
    Units that came in. `key` makes sending it twice receiving it once. Of a named `supply` they go
    to the orders that wait for it, first come first, before anyone else may have them.
    """

    model_config = examples.of(
        {"node": "DC-DAL", "key": "asn-4711", "lines": [{"sku": "SKU-0001", "quantity": 40}]}
    )

    node: Text
    key: Code
    lines: Annotated[tuple[ReceivedLine, ...], Field(min_length=1, max_length=1000)]
    supply: NamedSupply | None = None


class CountStock(Closed):
    """What was counted, absolute. `key` makes sending it twice counting it once."""

    model_config = examples.of(
        {"node": "DC-DAL", "key": "count-12", "lines": [{"sku": "SKU-0001", "on_hand": 38}]}
    )

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

    model_config = examples.of(examples.CHANNEL)

    kind: Literal["shopify", "magento", "api"]
    url: Url = ""
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

    model_config = examples.of(examples.CREDENTIALS)

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
