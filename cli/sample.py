"""The sample network: eighteen places across the US, what they stock, and a day of orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import time
from random import Random
from typing import Final, Literal

import zipcodes

from domain.errors import Invalid
from domain.geography import locate
from domain.network import Calendar, Node, NodeKind, Product, RateCard, Zone
from domain.orders import Address, DeliveryMethod, Line, OrderStatus
from domain.values import Value
from storage.network import Channel

Scenario = Literal[
    "plain",
    "split",
    "reject",
    "silent",
    "node_down",
    "pickup_collected",
    "pickup_expired",
    "cancelled",
    "held",
    "backorder",
]


class StockLevel(Value):
    sku: str
    node: str
    on_hand: int


class Staged(Value):
    """
    Goods made for one scenario: `primary` is the cheapest node for orders to `postal_code`.

    `behaviour` is the sandbox's knob for this SKU at `knob_node` (any node where empty).
    """

    sku: str
    primary: str
    fallback: str = ""
    postal_code: str
    behaviour: str = ""
    knob_node: str = ""


class SampleNetwork(Value):
    nodes: tuple[Node, ...]
    products: tuple[Product, ...]
    prices_minor: dict[str, int]
    rate_cards: tuple[RateCard, ...]
    levels: tuple[StockLevel, ...]
    channels: tuple[Channel, ...]
    staged: tuple[Staged, ...]

    @property
    def stock(self) -> dict[tuple[str, str], int]:
        """On hand by (sku, node)."""
        return {(level.sku, level.node): level.on_hand for level in self.levels}


class DemoOrder(Value):
    """An order as a shopper places it, and the state in which it has to end."""

    number: str
    scenario: Scenario
    channel: str
    lines: tuple[Line, ...]
    ship_to: Address
    method: DeliveryMethod = DeliveryMethod.SHIP
    pickup_node: str | None = None
    fraud: Literal["pass", "review"] = "pass"
    expected: OrderStatus


_KINDS: Final[Mapping[NodeKind, Mapping[str, object]]] = {
    NodeKind.DC: {
        "capacity_per_day": 2000,
        "order_cost_minor": 110,
        "unit_cost_minor": 75,
        "handling_classes": ("standard", "fragile", "oversized", "hazmat"),
    },
    NodeKind.THREE_PL: {
        "capacity_per_day": 1000,
        "order_cost_minor": 150,
        "unit_cost_minor": 90,
        "handling_classes": ("standard", "fragile", "oversized"),
    },
    NodeKind.STORE: {
        "capacity_per_day": 60,
        "order_cost_minor": 220,
        "unit_cost_minor": 160,
        "handling_classes": ("standard", "fragile"),
        "pickup": True,
    },
    NodeKind.VENDOR: {
        "capacity_per_day": 80,
        "order_cost_minor": 100,
        "unit_cost_minor": 210,
        "handling_days": 2,
        "handling_classes": ("standard", "oversized", "hazmat"),
    },
    NodeKind.MICRO: {"capacity_per_day": 150, "order_cost_minor": 90, "unit_cost_minor": 70},
}
_FEASTS: Final = tuple(f"{y}-{d}" for y in range(2025, 2032) for d in ("01-01", "12-25"))
_HOURS: Final[Mapping[NodeKind, Mapping[str, object]]] = {
    NodeKind.DC: {"weekdays": (0, 1, 2, 3, 4, 5), "opens": time(6), "closes": time(22)},
    NodeKind.THREE_PL: {"opens": time(7), "closes": time(19)},
    NodeKind.STORE: {
        "weekdays": (0, 1, 2, 3, 4, 5, 6),
        "opens": time(10),
        "closes": time(20),
        "holidays": "",
        "closed": _FEASTS,
    },
    NodeKind.VENDOR: {"opens": time(8), "closes": time(17)},
    NodeKind.MICRO: {
        "weekdays": (0, 1, 2, 3, 4, 5, 6),
        "opens": time(8),
        "closes": time(21),
        "holidays": "",
        "closed": _FEASTS,
    },
}
_PLACES: Final = (
    ("DC-DAL", "Dallas Distribution Center", NodeKind.DC, "75236", time(16)),
    ("DC-IND", "Indianapolis Distribution Center", NodeKind.DC, "46168", time(17)),
    ("DC-HAZ", "Hazleton Distribution Center", NodeKind.DC, "18202", time(16)),
    ("DC-ATL", "Atlanta Distribution Center", NodeKind.DC, "30336", time(16)),
    ("DC-ONT", "Inland Empire Distribution Center", NodeKind.DC, "91761", time(15)),
    ("TPL-RNO", "Sierra Fulfillment, Reno", NodeKind.THREE_PL, "89506", time(14)),
    ("TPL-LOU", "Bluegrass Logistics, Shepherdsville", NodeKind.THREE_PL, "40165", time(15)),
    ("TPL-EDI", "Garden State 3PL, Edison", NodeKind.THREE_PL, "08817", time(14)),
    ("TPL-KNT", "Rainier Fulfillment, Kent", NodeKind.THREE_PL, "98032", time(13)),
    ("ST-NYC", "Store Chelsea, New York", NodeKind.STORE, "10001", time(13)),
    ("ST-CHI", "Store Magnificent Mile, Chicago", NodeKind.STORE, "60611", time(13)),
    ("ST-SFO", "Store Mission Bay, San Francisco", NodeKind.STORE, "94107", time(13)),
    ("ST-MIA", "Store Brickell, Miami", NodeKind.STORE, "33131", time(12)),
    ("ST-AUS", "Store Congress Avenue, Austin", NodeKind.STORE, "78701", time(13)),
    ("VN-HKY", "Catawba Furniture Works, Hickory", NodeKind.VENDOR, "28601", time(11)),
    ("VN-PDX", "Cascade Outfitters, Portland", NodeKind.VENDOR, "97218", time(11)),
    ("MF-BOS", "Seaport Micro-fulfillment, Boston", NodeKind.MICRO, "02210", time(18)),
    ("MF-DEN", "River North Micro-fulfillment, Denver", NodeKind.MICRO, "80216", time(18)),
)
_ZONE_MILES: Final = (150, 300, 600, 1000, 1400, 1800, 100_000)
_ZONE_BASE: Final = (750, 790, 840, 920, 1010, 1090, 1190)
_ZONE_PER_LB: Final = (18, 22, 30, 42, 55, 68, 82)
_ZONE_DAYS: Final = (1, 2, 2, 3, 4, 4, 5)
_SERVICES: Final = (("ground", 100, 9), ("expedited", 190, 2), ("overnight", 340, 1))
_GOODS: Final = (
    ("Trail", "standard", ("Backpack 28L", "Rain Jacket", "Merino Socks", "Headlamp", "Dry Bag")),
    ("Kitchen", "fragile", ("Stoneware Mug", "Glass Carafe", "Pasta Bowl", "Serving Plate")),
    ("Desk", "standard", ("Notebook A5", "Pen Set", "Felt Organizer", "Cable Box", "Desk Mat")),
    ("Home", "oversized", ("Floor Lamp", "Side Table", "Bookshelf", "Accent Chair")),
    ("Camp", "hazmat", ("Gas Canister 230g", "Lighter Fluid", "Waterproofing Spray")),
    ("Wear", "standard", ("Crew T-Shirt", "Denim Jacket", "Beanie", "Canvas Belt", "Sneakers")),
    ("Play", "standard", ("Wooden Blocks", "Card Game", "Frisbee", "Puzzle 1000", "Kite")),
)
_COLOURS: Final = ("Slate", "Moss", "Clay", "Sand", "Ink", "Rust", "Fog", "Pine", "Plum", "Chalk")
_GRAMS: Final[Mapping[str, tuple[int, int]]] = {
    "standard": (90, 1600),
    "fragile": (300, 2400),
    "oversized": (4000, 18_000),
    "hazmat": (230, 900),
}
_STAGED: Final = (
    Staged(sku="SCN-REJECT", primary="DC-DAL", fallback="DC-ATL", postal_code="75201",
           behaviour="reject", knob_node="DC-DAL"),
    Staged(sku="SCN-SILENT", primary="TPL-LOU", fallback="DC-HAZ", postal_code="40202",
           behaviour="silent", knob_node="TPL-LOU"),
    Staged(sku="SCN-NODEDOWN", primary="TPL-RNO", fallback="DC-ONT", postal_code="89501",
           behaviour="slow", knob_node="TPL-RNO"),
    Staged(sku="SCN-PICKUP", primary="ST-CHI", postal_code="60611"),
    Staged(sku="SCN-NOSHOW", primary="ST-AUS", postal_code="78701",
           behaviour="no_show", knob_node="ST-AUS"),
    Staged(sku="SCN-CANCEL", primary="DC-HAZ", postal_code="18015", behaviour="slow"),
    Staged(sku="SCN-SPLIT-A", primary="DC-IND", fallback="DC-ATL", postal_code="63101"),
    Staged(sku="SCN-SPLIT-B", primary="DC-DAL", fallback="TPL-EDI", postal_code="63101"),
    Staged(sku="SCN-BACKORDER", primary="", postal_code="55401"),
)  # fmt: skip
_STAGED_UNITS: Final = 60
_LAST_TOP_SKU: Final = "NF-0060"
_SCENARIOS: Final[Mapping[Scenario, tuple[int, tuple[str, ...], OrderStatus]]] = {
    "split": (4, ("SCN-SPLIT-A", "SCN-SPLIT-B"), OrderStatus.COMPLETED),
    "reject": (2, ("SCN-REJECT",), OrderStatus.COMPLETED),
    "silent": (2, ("SCN-SILENT",), OrderStatus.COMPLETED),
    "node_down": (3, ("SCN-NODEDOWN",), OrderStatus.COMPLETED),
    "pickup_collected": (3, ("SCN-PICKUP",), OrderStatus.COMPLETED),
    "pickup_expired": (2, ("SCN-NOSHOW",), OrderStatus.EXPIRED),
    "cancelled": (2, ("SCN-CANCEL",), OrderStatus.CANCELLED),
    "held": (2, (), OrderStatus.COMPLETED),
    "backorder": (2, ("SCN-BACKORDER",), OrderStatus.COMPLETED),
}
_SHOPPERS: Final = (
    "10025", "11215", "07030", "19103", "20009", "02139", "06511", "14620", "15213", "21218",
    "23220", "27601", "28203", "29403", "30309", "32801", "33139", "33602", "37206", "38104",
    "40205", "43215", "44113", "45202", "46220", "48104", "49503", "53703", "55408", "60614",
    "60647", "63108", "64111", "66044", "68104", "70115", "73103", "75206", "76107", "77006",
    "78704", "78209", "80205", "80302", "83702", "84103", "85004", "85719", "87106", "89104",
    "90026", "90404", "91101", "92103", "94110", "94609", "95816", "97214", "98103", "98402",
)  # fmt: skip
_FIRST: Final = (
    "Ada", "Ben", "Carla", "Dev", "Elena", "Femi", "Grace", "Hugo", "Ines", "Jun", "Kim", "Luis",
    "Maya", "Noor", "Omar", "Priya", "Quinn", "Rosa", "Sam", "Tess",
)  # fmt: skip
_LAST: Final = (
    "Alvarez", "Brooks", "Chen", "Diaz", "Evans", "Fischer", "Gupta", "Hayes", "Ito", "Jones",
    "Kowalski", "Lopez", "Murphy", "Nguyen", "Okafor", "Park",
)  # fmt: skip
_STREETS: Final = ("Oak St", "Maple Ave", "Main St", "Cedar Ln", "Hill Rd", "Park Ave", "Lake Dr")


def network(seed: int = 7) -> SampleNetwork:
    """The network; the same for the same seed. Node urls are empty: who runs them knows them."""
    chance = Random(seed)  # noqa: S311  # sample goods, not secrets
    nodes = tuple(_node(*place) for place in _PLACES)
    products = tuple(_product(number, chance) for number in range(1, 301))
    staged = tuple(Product(sku=item.sku, title=f"Sample {item.sku}") for item in _STAGED)
    prices = {product.sku: 100 * chance.randint(8, 180) - 1 for product in (*products, *staged)}
    levels = [level for product in products for level in _levels(product, nodes, chance)]
    levels += [
        StockLevel(sku=item.sku, node=node, on_hand=_STAGED_UNITS)
        for item in _STAGED
        for node in (item.primary, item.fallback)
        if node
    ]
    return SampleNetwork(
        nodes=nodes,
        products=(*products, *staged),
        prices_minor=prices,
        rate_cards=tuple(_rate_card(*service) for service in _SERVICES),
        levels=tuple(levels),
        channels=(
            Channel(
                code="webshop",
                kind="shopify",
                settings={"locations": {node.name: node.code for node in nodes if node.pickup}},
            ),
            Channel(code="outlet", kind="magento"),
            Channel(code="api", kind="api"),
        ),
        staged=_STAGED,
    )


def demo_orders(sample: SampleNetwork, n: int, seed: int = 7) -> list[DemoOrder]:
    """
    A day of n orders in the order in which they arrive; the same for the same seed.

    A fixed few play the scenarios (22 in all; one of each first, where n is smaller); the rest are
    plain: one to four lines of one to three units. `held` orders come by `api` with a fraud verdict
    of review; released, they complete, as the backorders do once their goods come in.
    """
    chance = Random(seed)  # noqa: S311  # sample orders, not secrets
    rounds = max(count for count, _, _ in _SCENARIOS.values())
    scenes: list[Scenario] = [
        name for turn in range(rounds) for name, (count, _, _) in _SCENARIOS.items() if turn < count
    ]
    labels: list[Scenario] = (scenes + ["plain"] * n)[:n]
    chance.shuffle(labels)
    return [_order(sample, str(1001 + i), label, chance) for i, label in enumerate(labels)]


def _node(code: str, name: str, kind: NodeKind, postal_code: str, cutoff: time) -> Node:
    place = locate(postal_code)
    if place is None or place.precision != "zip":
        raise Invalid(f"{code}: {postal_code} is not a known ZIP code")
    calendar = {"timezone": place.timezone, "cutoff": cutoff, **_HOURS[kind]}
    return Node.model_validate(
        {
            "code": code,
            "name": name,
            "kind": kind,
            "postal_code": postal_code,
            "latitude": place.latitude,
            "longitude": place.longitude,
            "calendar": Calendar.model_validate(calendar),
            **_KINDS[kind],
        }
    )


def _product(number: int, chance: Random) -> Product:
    range_, handling, things = _GOODS[number % len(_GOODS)]
    thing = things[number // len(_GOODS) % len(things)]
    low, high = _GRAMS[handling]
    side = 4 if handling == "oversized" else 1
    return Product(
        sku=f"NF-{number:04d}",
        title=f"{range_} {thing}, {_COLOURS[number // 30 % len(_COLOURS)]}",
        weight_g=int(low * (high / low) ** chance.random()),
        length_mm=chance.randrange(120, 320, 5) * side,
        width_mm=chance.randrange(80, 240, 5) * side,
        height_mm=chance.randrange(20, 160, 5) * side,
        handling_class=handling,
    )


def _levels(product: Product, nodes: Sequence[Node], chance: Random) -> list[StockLevel]:
    """The first fifth of the goods lie nearly everywhere, the rest in some DCs and few stores."""
    top = product.sku <= _LAST_TOP_SKU
    odds = {
        NodeKind.DC: 0.8 if top else 0.4,
        NodeKind.THREE_PL: 0.6 if top else 0.25,
        NodeKind.STORE: 0.5 if top else 0.1,
        NodeKind.VENDOR: 0.8 if product.handling_class in {"oversized", "hazmat"} else 0.0,
        NodeKind.MICRO: 0.5 if top else 0.08,
    }
    able = [node for node in nodes if product.handling_class in node.handling_classes]
    stocked = [node for node in able if chance.random() < odds[node.kind]]
    large = [node for node in able if node.kind is NodeKind.DC]
    missing = max(0, 2 - sum(node in stocked for node in large))
    stocked += chance.sample([node for node in large if node not in stocked], missing)
    small = {NodeKind.STORE, NodeKind.MICRO}
    return [
        StockLevel(
            sku=product.sku,
            node=node.code,
            on_hand=chance.randint(2, 9) if node.kind in small else chance.randint(60, 240),
        )
        for node in stocked
    ]


def _rate_card(service: str, percent: int, slowest: int) -> RateCard:
    rows = zip(_ZONE_MILES, _ZONE_BASE, _ZONE_PER_LB, _ZONE_DAYS, strict=True)
    return RateCard(
        service=service,
        carrier="Meridian Parcel",
        zones=tuple(
            Zone(
                max_miles=miles,
                base_minor=base * percent // 100,
                per_lb_minor=per_lb * percent // 100,
                transit_days=min(days, slowest),
            )
            for miles, base, per_lb, days in rows
        ),
    )


def _order(sample: SampleNetwork, number: str, scenario: Scenario, chance: Random) -> DemoOrder:
    _, skus, expected = _SCENARIOS.get(scenario, (0, (), OrderStatus.COMPLETED))
    channel = chance.choices(("webshop", "outlet", "api"), (60, 25, 15))[0]
    staged = next((item for item in sample.staged if item.sku in skus), None)
    pickup = scenario in {"pickup_collected", "pickup_expired"}
    postal_code = staged.postal_code if staged else chance.choice(_SHOPPERS)
    picked = [(sku, 1) for sku in skus] or _basket(sample, chance)
    return DemoOrder(
        number=number,
        scenario=scenario,
        channel="api" if scenario == "held" else channel,
        lines=tuple(
            Line(
                line_id=str(position),
                sku=sku,
                quantity=quantity,
                unit_price_minor=sample.prices_minor[sku],
                title=next(product.title for product in sample.products if product.sku == sku),
            )
            for position, (sku, quantity) in enumerate(picked, start=1)
        ),
        ship_to=_shopper(postal_code, chance),
        method=DeliveryMethod.PICKUP if pickup else DeliveryMethod.SHIP,
        pickup_node=staged.primary if staged and pickup else None,
        fraud="review" if scenario == "held" else "pass",
        expected=expected,
    )


def _basket(sample: SampleNetwork, chance: Random) -> list[tuple[str, int]]:
    goods = [product.sku for product in sample.products if not product.sku.startswith("SCN-")]
    size = chance.choices((1, 2, 3, 4), (50, 25, 15, 10))[0]
    weights = [1 / (rank + 10) for rank in range(len(goods))]
    skus = dict.fromkeys(chance.choices(goods, weights, k=size))
    return [(sku, chance.choices((1, 2, 3), (85, 12, 3))[0]) for sku in skus]


def _shopper(postal_code: str, chance: Random) -> Address:
    row = zipcodes.matching(postal_code)[0]  # type: ignore[no-untyped-call]
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    return Address(
        name=f"{first} {last}",
        line1=f"{chance.randint(1, 980)} {chance.choice(_STREETS)}",
        city=str(row["city"]),
        region=str(row["state"]),
        postal_code=postal_code,
        country="US",
        email=f"{first}.{last}@example.com".lower(),
    )
