"""What conditions may speak of: every field with its type, what it means, and where it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from domain.geography import locate, miles_between
from domain.network import Node, NodeKind, Product
from domain.orders import DeliveryMethod, Line, Order, Units
from domain.sourcing.build import UNKNOWN_PRODUCT, Snapshot

FieldType = Literal["string", "int", "bool", "timestamp", "list(string)"]
Scope = Literal["order", "line", "node"]
Fact = str | int | bool | datetime | list[str]

UNLIMITED: Final = 1_000_000_000
NOT_PROMISED: Final = 1_000_000
FAR: Final = 25_000


@dataclass(frozen=True)
class Case:
    """
    One order to decide about, and the network in which, as both are at `now`. `release_at` is when
    its work was last to be given to its nodes, where it was sourced before; `excluded_at` since
    when nodes that gave it back are not asked. `asked_at` is the order's own clock, where it has
    one.
    """

    order: Order
    units: tuple[Units, ...]
    snapshot: Snapshot
    now: datetime
    promise_by: datetime | None = None
    round: int = 1
    release_at: datetime | None = None
    excluded_at: Mapping[str, datetime] = field(default_factory=dict)
    asked_at: datetime | None = None

    @cached_property
    def asked(self) -> Mapping[str, int]:
        """How many units of each SKU."""
        units: dict[str, int] = {}
        for one in self.units:
            units[one.sku] = units.get(one.sku, 0) + one.quantity
        return units

    @cached_property
    def there(self) -> tuple[float, float] | None:
        address = self.order.ship_to
        place = locate(address.postal_code, address.country, address.region)
        return (place.latitude, place.longitude) if place else None

    @cached_property
    def lines(self) -> Mapping[str, Line]:
        return {line.line_id: line for line in self.order.lines}

    def product(self, sku: str) -> Product:
        return self.snapshot.products.get(sku, UNKNOWN_PRODUCT)

    def line_of(self, units: Units) -> Line:
        """The line as it was ordered; of a kit's component, the kit's."""
        line_id = units.kit.line_id if units.kit else units.line_id
        return self.lines.get(line_id) or Line(line_id=line_id, quantity=units.quantity)

    def stock_of(self, node: Node) -> int:
        free = self.snapshot.stock.get(node.code, {})
        return sum(min(free.get(sku, 0), wanted) for sku, wanted in self.asked.items())

    def miles_to(self, node: Node) -> int:
        if self.there is None:
            return FAR
        return round(miles_between((node.latitude, node.longitude), self.there))


class Field(NamedTuple):
    """
    `read` takes the case, and what the field is of: units of a line, or a node. A text is one of
    `among`, where that is not empty.
    """

    type: FieldType
    says: str
    read: Callable[[Case, Any], Fact]
    among: tuple[str, ...] = ()


def _capacity(case: Case, node: Node) -> int:
    left = case.snapshot.capacity_left.get(node.code, node.capacity_per_day)
    return UNLIMITED if left is None else left


def _hours_left(case: Case, _: object) -> int:
    if case.promise_by is None:
        return NOT_PROMISED
    return (case.promise_by - case.now) // timedelta(hours=1)


def worth(case: Case) -> int:
    """What the order's lines cost, whatever of them is decided on."""
    return sum(line.quantity * line.unit_price_minor for line in case.order.lines)


def _goods(case: Case, read: Callable[[Product], str]) -> list[str]:
    return sorted({read(case.product(units.sku)) for units in case.units})


_OF_ORDER: Final[Mapping[str, Field]] = {
    "now": Field("timestamp", "when it is decided", lambda c, _: c.now),
    "order.channel": Field("string", "the channel's code", lambda c, _: c.order.channel),
    "order.method": Field(
        "string",
        '"ship" or "pickup"',
        lambda c, _: c.order.method.value,
        among=tuple(DeliveryMethod),
    ),
    "order.currency": Field("string", "of its money, such as USD", lambda c, _: c.order.currency),
    "order.total_minor": Field("int", "its total, minor units", lambda c, _: c.order.total_minor),
    "order.goods_minor": Field(
        "int",
        "what its lines cost, minor units",
        lambda c, _: worth(c),
    ),
    "order.lines": Field("int", "how many lines it has", lambda c, _: len(c.order.lines)),
    "order.units": Field("int", "how many units want a node", lambda c, _: sum(c.asked.values())),
    "order.weight_g": Field(
        "int",
        "what these units weigh, grams",
        lambda c, _: sum(c.product(sku).weight_g * units for sku, units in c.asked.items()),
    ),
    "order.skus": Field("list(string)", "of these units", lambda c, _: sorted(c.asked)),
    "order.categories": Field(
        "list(string)", "of these units", lambda c, _: _goods(c, lambda p: p.category)
    ),
    "order.handling_classes": Field(
        "list(string)", "of these units", lambda c, _: _goods(c, lambda p: p.handling_class)
    ),
    "order.country": Field(
        "string", "where it goes, such as US", lambda c, _: c.order.ship_to.country
    ),
    "order.region": Field(
        "string", "where it goes, such as TX", lambda c, _: c.order.ship_to.region
    ),
    "order.city": Field("string", "where it goes", lambda c, _: c.order.ship_to.city),
    "order.postal_code": Field("string", "where it goes", lambda c, _: c.order.ship_to.postal_code),
    "order.pickup_node": Field(
        "string", "the store of a pickup, else empty", lambda c, _: c.order.pickup_node or ""
    ),
    "order.priority": Field("int", "0 to 9, the highest first", lambda c, _: c.order.priority),
    "order.placed_at": Field("timestamp", "when it was placed", lambda c, _: c.order.placed_at),
    "order.hours_left": Field(
        "int", f"hours to the promised time; {NOT_PROMISED} without one", _hours_left
    ),
    "order.round": Field(
        "int", "1 at first, one more each time that units came back", lambda c, _: c.round
    ),
    "customer.segment": Field(
        "string", "as the channel names it, or empty", lambda c, _: c.order.segment
    ),
    "customer.email": Field("string", "the order's", lambda c, _: c.order.email),
    "customer.company": Field(
        "string", "of the address, or empty", lambda c, _: c.order.ship_to.company
    ),
}
_OF_LINE: Final[Mapping[str, Field]] = {
    "line.id": Field("string", "the line's id", lambda _, u: u.line_id),
    "line.sku": Field("string", "the catalogue's; of a kit, the component's", lambda _, u: u.sku),
    "line.quantity": Field("int", "units that want a node", lambda _, u: u.quantity),
    "line.unit_price_minor": Field(
        "int", "as ordered, minor units", lambda c, u: c.line_of(u).unit_price_minor
    ),
    "line.value_minor": Field(
        "int",
        "what the line as ordered costs, minor units",
        lambda c, u: c.line_of(u).unit_price_minor * c.line_of(u).quantity,
    ),
    "line.kit": Field("bool", "whether it is part of a kit", lambda _, u: u.kit is not None),
    "product.title": Field("string", "the catalogue's", lambda c, u: c.product(u.sku).title),
    "product.category": Field("string", "the catalogue's", lambda c, u: c.product(u.sku).category),
    "product.handling_class": Field(
        "string", "such as frozen or hazmat", lambda c, u: c.product(u.sku).handling_class
    ),
    "product.weight_g": Field("int", "a unit's, grams", lambda c, u: c.product(u.sku).weight_g),
    "product.length_mm": Field("int", "a unit's", lambda c, u: c.product(u.sku).length_mm),
    "product.width_mm": Field("int", "a unit's", lambda c, u: c.product(u.sku).width_mm),
    "product.height_mm": Field("int", "a unit's", lambda c, u: c.product(u.sku).height_mm),
}
_OF_NODE: Final[Mapping[str, Field]] = {
    "node.code": Field("string", "the node's code", lambda _, n: n.code),
    "node.name": Field("string", "the node's name", lambda _, n: n.name),
    "node.kind": Field(
        "string",
        "dc, store, 3pl, vendor or micro",
        lambda _, n: n.kind.value,
        among=tuple(NodeKind),
    ),
    "node.status": Field(
        "string", "online or offline", lambda _, n: n.status, among=("online", "offline")
    ),
    "node.ships": Field("bool", "whether it ships for the channel", lambda _, n: n.ships),
    "node.pickup": Field("bool", "whether it offers pickup", lambda _, n: n.pickup),
    "node.postal_code": Field("string", "where it is", lambda _, n: n.postal_code),
    "node.timezone": Field("string", "such as America/Chicago", lambda _, n: n.calendar.timezone),
    "node.miles": Field(
        "int",
        f"to where the order goes; {FAR} where that is not known, or abroad",
        lambda c, n: c.miles_to(n),
    ),
    "node.capacity_left": Field(
        "int", f"fulfillments still possible today; {UNLIMITED} without a limit", _capacity
    ),
    "node.handling_classes": Field(
        "list(string)", "what it may handle", lambda _, n: list(n.handling_classes)
    ),
    "node.handling_days": Field("int", "open days it takes", lambda _, n: n.handling_days),
    "node.order_cost_minor": Field("int", "of each package", lambda _, n: n.order_cost_minor),
    "node.unit_cost_minor": Field("int", "of each unit", lambda _, n: n.unit_cost_minor),
    "node.units": Field(
        "int", "of what is asked for, how many units it has", lambda c, n: c.stock_of(n)
    ),
    "node.has_all": Field(
        "bool",
        "whether it has all of it",
        lambda c, n: c.stock_of(n) == sum(c.asked.values()),
    ),
}
FIELDS: Final[Mapping[str, Field]] = {**_OF_ORDER, **_OF_LINE, **_OF_NODE}
SCOPES: Final[Mapping[str, Scope]] = {
    **dict.fromkeys(_OF_ORDER, "order"),
    **dict.fromkeys(_OF_LINE, "line"),
    **dict.fromkeys(_OF_NODE, "node"),
}
