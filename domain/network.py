"""The places that fulfill, what they cost, and when they work."""

from __future__ import annotations

from datetime import time
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from domain.money import Currency
from domain.values import Value

Weekdays = Annotated[
    tuple[Annotated[int, Field(ge=0, le=6)], ...], Field(min_length=1, max_length=7)
]


class NodeKind(StrEnum):
    DC = "dc"
    STORE = "store"
    THREE_PL = "3pl"
    VENDOR = "vendor"
    MICRO = "micro"


class Calendar(Value):
    """
    When a node works, in its own zone.

    `weekdays` are open days (Monday is 0); `holidays` names a country whose public holidays are
    closed days ("US", or "" for none); `closed` are further closed days, ISO dates.
    """

    timezone: str
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)
    opens: time = time(8)
    closes: time = time(18)
    cutoff: time = time(14)
    holidays: str = "US"
    closed: tuple[str, ...] = ()


class Node(Value):
    """
    A place that can fulfill. Money is in minor units of the network's currency.

    `adapter` names how we talk to it (`signed_http`); `url` is where. `capacity_per_day` counts
    fulfillments, `units_per_day` their units; None is unlimited. `handling_days` are open days
    between request and hand-over, `pickup_minutes` the opening time that a pickup takes to prepare,
    `lead_hours` what a signal delays its work by for now. Handling costs so much for an order, for
    each of the goods in it and for each unit. `labour_minor` is what a fulfillment's labour is
    worth when the day is full; it grows with what the day has taken.
    """

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
    name: str
    kind: NodeKind
    postal_code: str
    latitude: float
    longitude: float
    calendar: Calendar
    status: Literal["online", "offline"] = "online"
    ships: bool = True
    pickup: bool = False
    capacity_per_day: int | None = None
    units_per_day: int | None = None
    handling_days: int = 0
    pickup_minutes: Annotated[int, Field(ge=0)] = 60
    lead_hours: Annotated[int, Field(ge=0)] = 0
    order_cost_minor: int = 0
    unit_cost_minor: int = 0
    line_cost_minor: int = 0
    labour_minor: int = 0
    handling_classes: tuple[str, ...] = ("standard",)
    adapter: str = "signed_http"
    url: str = ""


class Component(Value):
    """`quantity` units of a SKU in each kit."""

    sku: Annotated[str, Field(min_length=1, max_length=128)]
    quantity: Annotated[int, Field(ge=1, le=1000)] = 1


class Kit(Value):
    """
    What is sold as one SKU and stocked as its components.

    `together`: each kit leaves whole, from one node; else its components may come from anywhere.
    """

    sku: str
    components: tuple[Component, ...]
    together: bool = True


class Product(Value):
    """
    A sellable SKU. Weight in grams, sizes in millimetres. Stock rules speak of categories.

    One with `components` is a kit: it has no stock of its own, and no weight but theirs. What
    carries it must offer its handling class, and what else it `requires` (a signature, export).
    """

    sku: Annotated[str, Field(min_length=1, max_length=128)]
    title: str = ""
    weight_g: Annotated[int, Field(ge=0)] = 500
    length_mm: Annotated[int, Field(ge=0)] = 200
    width_mm: Annotated[int, Field(ge=0)] = 150
    height_mm: Annotated[int, Field(ge=0)] = 100
    handling_class: str = "standard"
    requires: tuple[str, ...] = ()
    category: str = ""
    aliases: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    ships_together: bool = True

    @model_validator(mode="after")
    def _made_of_others(self) -> Self:
        names = [component.sku for component in self.components]
        if len(set(names)) != len(names):
            raise ValueError("components: each SKU may stand once; give its quantity instead")
        if self.sku in names:
            raise ValueError("components: a kit cannot be a component of itself")
        return self

    @property
    def kit(self) -> Kit | None:
        if not self.components:
            return None
        return Kit(sku=self.sku, components=self.components, together=self.ships_together)


class Zone(Value):
    """
    One row of a rate card: up to `max_miles`, what a package costs and how long it takes; and what
    it emits, in grams of CO2e, for itself and for each pound after the first.
    """

    max_miles: int
    base_minor: int
    per_lb_minor: int
    transit_days: int
    carbon_g: int = 0
    carbon_g_per_lb: int = 0


class RateCard(Value):
    """
    A carrier service: a package costs base + per_lb × (ceil(weight in lb) − 1), by zone.

    The weight is the dimensional one where that is more: `dim_divisor` cubic inches to the pound
    (139 is common; 0: weight only), counted in whole cartons of `carton_in3` where they have a
    size. `offers` are the handling classes and requirements beside "standard" that it carries;
    None: all.
    `currency` is the network's: that of every cost of a decision, whatever the order was paid in.
    The carrier collects from nodes on the weekdays of `collects`, and moves and delivers on those
    of `delivers` (Monday is 0); on the six US holidays on which no carrier drives, neither.
    """

    service: str
    carrier: str
    zones: tuple[Zone, ...]
    currency: Currency = "USD"
    collects: Weekdays = (0, 1, 2, 3, 4)
    delivers: Weekdays = (0, 1, 2, 3, 4)
    dim_divisor: Annotated[int, Field(ge=0)] = 0
    carton_in3: Annotated[int, Field(ge=0)] = 0
    offers: tuple[str, ...] | None = None
