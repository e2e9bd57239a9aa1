"""The cart that is to be quoted, and what rules say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from api import examples
from api.schemas import Closed, Code, PlacedAddress
from domain.orders import DeliveryMethod, Line, Order
from domain.quoting import Cart
from domain.rules.facts import Case
from domain.rules.judging import policy_of
from domain.rules.sets import Version
from domain.sourcing.build import Particulars
from domain.sourcing.policy import Policy
from storage.snapshot import Snapshot

MOST_LINES: Final = 50


class QuotedLine(Closed):
    line_id: Annotated[str, Field(max_length=64)] = ""
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=100_000)]
    unit_price_minor: Annotated[
        int, Field(ge=0, le=10**12, description="what rules that go by worth are told")
    ] = 0


class QuoteCart(Closed):
    """
    A cart and where it is to go; a postal code is enough of an address.

    `token_seconds` asks for tokens that live so long at most, and is all that makes a quote write.
    With `hold` the cart's units are reserved for that long, for whichever option is ordered.
    Stores are looked for within `within_miles`; the first `stores` are answered.
    """

    model_config = examples.of(examples.CART)

    channel: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    lines: Annotated[tuple[QuotedLine, ...], Field(min_length=1, max_length=MOST_LINES)]
    ship_to: PlacedAddress
    methods: Annotated[tuple[DeliveryMethod, ...], Field(min_length=1, max_length=2)] = (
        DeliveryMethod.SHIP,
        DeliveryMethod.PICKUP,
    )
    stores: Annotated[int, Field(ge=1, le=20)] = 5
    within_miles: Annotated[int, Field(ge=1, le=5000)] = 100
    token_seconds: Annotated[int | None, Field(ge=1, le=3600)] = None
    hold: bool = False
    segment: Annotated[str, Field(max_length=64, description="the customer's, for rules")] = ""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.hold and self.token_seconds is None:
            raise ValueError("token_seconds: say for how long the units are to be held")
        names = self.line_ids()
        if len(set(names)) != len(names):
            raise ValueError("lines: each line_id may stand once; two lines share one")
        return self

    def line_ids(self) -> list[str]:
        """The lines' ids; a line without one has its number."""
        return [line.line_id or str(i) for i, line in enumerate(self.lines, start=1)]


@dataclass
class Ruled:
    """What the active rule sets say of the cart's order, by each method."""

    body: QuoteCart
    cart: Cart
    now: Snapshot
    active: Sequence[Version]
    open_orders: dict[str, int]
    as_of: datetime
    _policies: dict[DeliveryMethod, Policy] = field(default_factory=dict, init=False)

    @property
    def known(self) -> Particulars:
        prices = [line.unit_price_minor for line in self.body.lines]
        by_line = dict(zip(self.body.line_ids(), prices, strict=True))
        return Particulars(price_minor=by_line, open_orders=self.open_orders)

    def policies(self, method: DeliveryMethod) -> Policy:
        if method not in self._policies:
            case = Case(
                order=self._order(method),
                units=self.cart.lines,
                snapshot=self.now,
                now=self.as_of,
            )
            self._policies[method] = policy_of(self.active, case)
        return self._policies[method]

    def _order(self, method: DeliveryMethod) -> Order:
        body = self.body
        cards = self.now.rate_cards
        return Order(
            channel=body.channel,
            channel_order_id="quote",
            placed_at=self.as_of,
            currency=cards[0].currency if cards else "USD",
            total_minor=sum(line.quantity * line.unit_price_minor for line in body.lines),
            lines=tuple(
                Line(
                    line_id=name,
                    sku=line.sku,
                    quantity=line.quantity,
                    unit_price_minor=line.unit_price_minor,
                )
                for name, line in zip(body.line_ids(), body.lines, strict=True)
            ),
            ship_to=self.cart.ship_to,
            method=method,
            pickup_node="any" if method is DeliveryMethod.PICKUP else None,
            segment=body.segment,
        )
