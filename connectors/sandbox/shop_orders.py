"""Says what a customer buys, in few words; each shop writes the order down in its own shape."""

import zlib
from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from connectors.sandbox.config import Frozen

_DECIMALS: Final = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "KWD": 3, "BHD": 3, "OMR": 3}

COUNTRIES: Final = {"US": "United States", "CA": "Canada", "DE": "Germany", "JP": "Japan"}
_REGIONS: Final = (
    "AL=Alabama AK=Alaska AZ=Arizona AR=Arkansas CA=California CO=Colorado CT=Connecticut"
    " DE=Delaware DC=District_of_Columbia FL=Florida GA=Georgia HI=Hawaii ID=Idaho IL=Illinois"
    " IN=Indiana IA=Iowa KS=Kansas KY=Kentucky LA=Louisiana ME=Maine MD=Maryland"
    " MA=Massachusetts MI=Michigan MN=Minnesota MS=Mississippi MO=Missouri MT=Montana"
    " NE=Nebraska NV=Nevada NH=New_Hampshire NJ=New_Jersey NM=New_Mexico NY=New_York"
    " NC=North_Carolina ND=North_Dakota OH=Ohio OK=Oklahoma OR=Oregon PA=Pennsylvania"
    " RI=Rhode_Island SC=South_Carolina SD=South_Dakota TN=Tennessee TX=Texas UT=Utah"
    " VT=Vermont VA=Virginia WA=Washington WV=West_Virginia WI=Wisconsin WY=Wyoming"
)
REGIONS: Final = dict(pair.replace("_", " ").split("=") for pair in _REGIONS.split(" "))


class Place(Frozen):
    """A shop's location: its id (Shopify) and its code (Magento's source_code)."""

    code: str
    name: str
    id: int


class Address(Frozen):
    name: str = "Jane Doe"
    company: str = ""
    line1: str = ""
    line2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = "US"
    phone: str = ""

    @property
    def first_name(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def last_name(self) -> str:
        return self.name.partition(" ")[2]

    @property
    def region_name(self) -> str:
        return REGIONS.get(self.region, self.region) if self.country == "US" else self.region

    @property
    def country_name(self) -> str:
        return COUNTRIES.get(self.country, self.country)


class Item(Frozen):
    """`configurable` (Magento) writes a parent and a child row."""

    sku: str | None
    quantity: Annotated[int, Field(ge=1)] = 1
    price: Decimal = Decimal("10.00")
    title: str = ""
    variant_id: int | None = None
    requires_shipping: bool = True
    gift_card: bool = False
    configurable: bool = False


class Webhooks(Frozen):
    """How Shopify sends orders/create: so many times, after orders/updated, or not at all."""

    times: Annotated[int, Field(ge=1, le=100)] = 1
    updated_first: bool = False
    drop: bool = False


class OrderSpec(Frozen):
    """
    An order to be. `order_id` and `name` are given out in turn where they are not said.

    `routing_ms` is how long Shopify's fulfillment orders take to appear; `state` is Magento's.
    """

    lines: Annotated[tuple[Item, ...], Field(min_length=1)]
    method: Literal["ship", "pickup"] = "ship"
    address: Address | None = None
    location: Place | None = None
    order_id: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    name: str = ""
    email: str = "shopper@example.com"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    shipping_title: str = "Standard"
    shipping_price: Decimal = Decimal(0)
    financial_status: str = "paid"
    tags: tuple[str, ...] = ()
    note: str | None = None
    test: bool = False
    routing_ms: Annotated[int, Field(ge=0)] = 0
    state: Literal[
        "new", "pending_payment", "payment_review", "processing", "holded", "complete", "canceled"
    ] = "processing"
    webhooks: Webhooks = Webhooks()

    @model_validator(mode="after")
    def _somewhere_to_go(self) -> Self:
        if self.method == "pickup" and self.location is None:
            raise ValueError("location: a pickup order names the location")
        if self.method == "ship" and self.address is None:
            raise ValueError("address: an order to ship names the address")
        return self

    @property
    def goods(self) -> Decimal:
        return sum((item.price * item.quantity for item in self.lines), Decimal(0))

    @property
    def total(self) -> Decimal:
        return self.goods + self.shipping_price


def amount(value: Decimal, currency: str) -> str:
    """A decimal string with the currency's own number of decimals."""
    return f"{value:.{_DECIMALS.get(currency, 2)}f}"


def variant_id(item: Item) -> int:
    """The given one, or one that belongs to the SKU for ever."""
    return item.variant_id or 40_000_000_000_000 + zlib.crc32((item.sku or item.title).encode())
