"""Quotes a cart: what each service and each store would promise, decided as an order would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal, Protocol

from domain.errors import Invalid
from domain.fulfillments import LineQuantity
from domain.geography import Place, locate, miles_between
from domain.network import Node
from domain.orders import Address, DeliveryMethod, Units
from domain.promises import units_by_sku
from domain.promising import deliver_from
from domain.sourcing.build import (
    NOTHING_KNOWN,
    PLAIN,
    Particulars,
    Snapshot,
    build,
    lane_of,
    pickup_ready,
)
from domain.sourcing.policy import Policy
from domain.sourcing.problem import Assignment, CostParts, Plan, Problem
from domain.values import Value

Solve = Callable[[Problem], Plan]
Policies = Callable[[DeliveryMethod], Policy]
Label = Literal["cheapest", "fastest"]
MIXED: Final = "mixed"
_NODES_NAMED: Final = 3


class Cart(Value):
    """
    What is asked: goods, where to, and how far and how many stores to look at for a pickup.
    """

    lines: tuple[Units, ...]
    ship_to: Address
    methods: tuple[DeliveryMethod, ...] = (DeliveryMethod.SHIP, DeliveryMethod.PICKUP)
    stores: int = 5
    within_miles: int = 100


class Cutoff(Value):
    """Ordered before `at`, the date is as quoted; `seconds` are left, the begun one not counted."""

    at: datetime
    seconds: int


class Offer(Value):
    """
    A plan and what it costs us, in minor units of the network's currency.

    `token` claims it for an order until `token_expires_at`, where one was asked for.
    `available_from` is when the last of the goods is expected, where some are still to come: what
    is quoted then is the plan of that day, if nobody else claims them; it has no token.
    """

    method: DeliveryMethod
    cost: CostParts = CostParts()
    cost_minor: int = 0
    cutoff: Cutoff
    packages: tuple[Assignment, ...] = ()
    available_from: datetime | None = None
    token: str | None = None
    token_expires_at: datetime | None = None


class ShipOption(Offer):
    """
    One service for the whole cart; `mixed` where no single one is as cheap.

    `ship_by` is when the last package leaves. The goods come between `deliver_earliest` (08:00 of
    the first package's day, there) and `deliver_latest` (20:00 of the last one's).
    """

    method: Literal[DeliveryMethod.SHIP] = DeliveryMethod.SHIP
    service: str
    labels: tuple[Label, ...] = ()
    nodes: tuple[str, ...]
    ship_by: datetime
    deliver_earliest: datetime
    deliver_latest: datetime


class PickupOption(Offer):
    """
    A store that has all of the cart, or some: then `missing` is what it lacks, and no plan is made.

    `miles` are from the address. The goods are ready by `ready_by`, within opening hours.
    """

    method: Literal[DeliveryMethod.PICKUP] = DeliveryMethod.PICKUP
    node: str
    name: str
    miles: int
    has: Literal["all", "some"]
    lines: tuple[LineQuantity, ...]
    missing: tuple[LineQuantity, ...] = ()
    ready_by: datetime


class Shortage(Value):
    """Why a line cannot be shipped; `available` units of it can."""

    line_id: str
    sku: str
    quantity: int
    available: int
    reason: str


class Quote(Value):
    """
    `as_of` is the instant that dates and cut-offs count from, `stock_as_of` that at which stock,
    capacity and rates were read. `short` says, where no option ships the cart, why. `reservation`
    is the key of the one that holds the units for whichever token is ordered with, if any.
    """

    as_of: datetime
    stock_as_of: datetime
    currency: str
    located_by: Literal["zip", "zip3", "state", "country", "abroad"]
    timezone: str
    ship: tuple[ShipOption, ...] = ()
    pickup: tuple[PickupOption, ...] = ()
    short: tuple[Shortage, ...] = ()
    reservation: str | None = None


class DatedSnapshot(Snapshot, Protocol):
    """A snapshot that knows when it was taken."""

    @property
    def as_of(self) -> datetime: ...


def quote(  # noqa: PLR0913 - one question, by name
    snapshot: DatedSnapshot,
    cart: Cart,
    *,
    sellable: Mapping[str, int],
    pickable: Mapping[str, Mapping[str, int]] | None = None,
    as_of: datetime,
    solve: Solve,
    policies: Policies = lambda _: PLAIN,
    known: Particulars = NOTHING_KNOWN,
) -> Quote:
    """
    All that may be promised for the cart. The same input and snapshot give the same answer.

    Each plan is what `solve` decides on the problem that an order would have. `sellable` are the
    units of each SKU that an order to ship could reserve now, `pickable`, by node, those that a
    pickup could (None: what lies there, if it may be sold). `policies` are what rules say of an
    order by each method. Blocks for as long as `solve` does.
    """
    place = locate(cart.ship_to.postal_code, cart.ship_to.country, cart.ship_to.region)
    making = _Making(
        snapshot, cart, place, sellable, pickable, as_of, solve, policies=policies, known=known
    )
    shipping = DeliveryMethod.SHIP in cart.methods
    ship = _labelled(list(making.shipped())) if shipping else ()
    return Quote(
        as_of=as_of,
        stock_as_of=snapshot.as_of,
        currency=making.currency,
        located_by=place.precision if place else "abroad",
        timezone=making.timezone,
        ship=ship,
        pickup=making.stores() if DeliveryMethod.PICKUP in cart.methods else (),
        short=() if ship or not shipping else tuple(making.short()),
    )


@dataclass(frozen=True)
class _Making:
    """One quote while it is made."""

    snapshot: DatedSnapshot
    cart: Cart
    place: Place | None
    sellable: Mapping[str, int]
    pickable: Mapping[str, Mapping[str, int]] | None
    as_of: datetime
    solve: Solve
    policies: Policies
    known: Particulars

    @property
    def currency(self) -> str:
        cards = self.snapshot.rate_cards
        return cards[0].currency if cards else "USD"

    @property
    def timezone(self) -> str:
        return self.place.timezone if self.place else "UTC"

    def shipped(self) -> Iterator[ShipOption]:
        """One option for each service that brings all of it, and the mixed one if it is cheaper."""
        wanted = units_by_sku(self.cart.lines)
        if any(self.sellable.get(sku, 0) < units for sku, units in wanted.items()):
            return
        costs: list[int] = []
        for card in self.snapshot.rate_cards:
            plan = self.solve(self._problem(services=[card.service]))
            if not plan.unsourced:
                costs.append(plan.cost.total)
                yield self._shipped(card.service, plan)
        anyhow = self._problem()
        if len({o.service for c in anyhow.candidates for o in c.options}) > 1:
            plan = self.solve(anyhow)
            if not plan.unsourced and all(plan.cost.total < cost for cost in costs):
                yield self._shipped(MIXED, plan)

    def stores(self) -> tuple[PickupOption, ...]:
        """The stores that have all of it, then those that have some; the nearer first."""
        if self.place is None:
            return ()
        here = (self.place.latitude, self.place.longitude)
        near = []
        for node in self.snapshot.nodes:
            miles = round(miles_between(here, (node.latitude, node.longitude)))
            if node.pickup and node.status == "online" and miles <= self.cart.within_miles:
                there, missing = self._at(node)
                if there:
                    near.append((bool(missing), miles, node.code, node))
        found = (self._store(node, miles) for _, miles, _, node in sorted(near))
        return tuple(islice((store for store in found if store), self.cart.stores))

    def short(self) -> Iterator[Shortage]:
        """Each line of which not all can be shipped, earlier lines served first, and why."""
        problem = self._problem()
        able = [c for c in problem.candidates if c.eliminated is None]
        shippable = {sku: sum(c.stock.get(sku, 0) for c in able) for sku in self.sellable}
        left = {sku: min(units, shippable[sku]) for sku, units in self.sellable.items()}
        for line in self.cart.lines:
            available = min(line.quantity, left.get(line.sku, 0))
            left[line.sku] = left.get(line.sku, 0) - available
            if available < line.quantity:
                sold_out = self.sellable[line.sku] <= shippable[line.sku]
                barred = "may be sold now" if sold_out else self._barred(line.sku, problem)
                most = f"ask for {available} at most" if available else "leave the line out"
                yield Shortage(
                    line_id=line.line_id,
                    sku=line.sku,
                    quantity=line.quantity,
                    available=available,
                    reason=f"{available} of {line.quantity} units {barred}; {most}",
                )

    def _problem(self, method: DeliveryMethod = DeliveryMethod.SHIP, **how: Any) -> Problem:
        return build(
            self.snapshot,
            order_id="quote",
            round=0,
            as_of=self.as_of,
            currency=self.currency,
            promise_by=None,
            units=self.cart.lines,
            ship_to=self.cart.ship_to,
            excluded={},
            method=method,
            policy=self.policies(method),
            known=self.known,
            **how,
        )

    def _shipped(self, service: str, plan: Plan) -> ShipOption:
        arrivals = [package.deliver_by for package in plan.assignments]
        return ShipOption(
            service=service,
            nodes=tuple(package.node for package in plan.assignments),
            ship_by=max(package.ship_by for package in plan.assignments),
            deliver_earliest=deliver_from(min(arrivals), self.timezone),
            deliver_latest=max(arrivals),
            cost=plan.cost,
            cost_minor=plan.cost.total,
            cutoff=self._cutoff(min(self._holds_until(package) for package in plan.assignments)),
            packages=plan.assignments,
        )

    def _holds_until(self, package: Assignment) -> datetime:
        node = next(n for n in self.snapshot.nodes if n.code == package.node)
        card = next(c for c in self.snapshot.rate_cards if c.service == package.service)
        found = lane_of(card, node, self.place)
        if found is None:
            raise RuntimeError(f"{package.service} was planned from {node.code}, where it is not")
        return found[2].holds_until(self.as_of)

    def _cutoff(self, at: datetime) -> Cutoff:
        return Cutoff(at=at, seconds=int((at - self.as_of).total_seconds()))

    def _at(self, node: Node) -> tuple[tuple[LineQuantity, ...], tuple[LineQuantity, ...]]:
        """What of each line the store could give out now, and what it lacks."""
        if self.pickable is None:
            shelf = self.snapshot.stock.get(node.code, {})
            left = {sku: min(units, shelf.get(sku, 0)) for sku, units in self.sellable.items()}
        else:
            left = dict(self.pickable.get(node.code, {}))
        there, missing = [], []
        for line in self.cart.lines:
            has = min(line.quantity, max(0, left.get(line.sku, 0)))
            left[line.sku] = left.get(line.sku, 0) - has
            if has:
                there.append(LineQuantity(line_id=line.line_id, quantity=has))
            if has < line.quantity:
                lack = line.quantity - has
                missing.append(LineQuantity(line_id=line.line_id, quantity=lack))
        return tuple(there), tuple(missing)

    def _store(self, node: Node, miles: int) -> PickupOption | None:
        """The store's offer; None where it never opens, or its engine finds no plan."""
        there, missing = self._at(node)
        try:
            ready, holds_until = pickup_ready(node, self.as_of)
        except Invalid:
            return None
        plan = Plan(assignments=())
        if not missing:
            plan = self.solve(self._problem(method=DeliveryMethod.PICKUP, firm_node=node.code))
            if plan.unsourced:
                return None
        return PickupOption(
            node=node.code,
            name=node.name,
            miles=miles,
            has="some" if missing else "all",
            lines=there,
            missing=missing,
            ready_by=ready,
            cutoff=self._cutoff(holds_until),
            cost=plan.cost,
            cost_minor=plan.cost.total,
            packages=plan.assignments,
        )

    def _barred(self, sku: str, problem: Problem) -> str:
        """Which nodes have units of it that cannot go there, and why; the first few of them."""
        said = [
            f"{c.node}: {c.eliminated or 'does not handle such goods'}"
            for c in problem.candidates
            if self.snapshot.stock.get(c.node, {}).get(sku, 0)
            and (c.eliminated or not c.stock.get(sku, 0))
        ]
        return f"can be shipped there ({'; '.join(said[:_NODES_NAMED])})"


def _labelled(options: list[ShipOption]) -> tuple[ShipOption, ...]:
    """The cheapest first; it and the fastest are marked, of equal ones the better otherwise."""
    if not options:
        return ()
    ranked = sorted(options, key=lambda o: (o.cost_minor, o.deliver_latest, o.service))
    cheapest = ranked[0]
    fastest = min(options, key=lambda o: (o.deliver_latest, o.cost_minor, o.service))

    def labels(option: ShipOption) -> tuple[Label, ...]:
        marks: dict[Label, ShipOption] = {"cheapest": cheapest, "fastest": fastest}
        return tuple(label for label, marked in marks.items() if marked is option)

    return tuple(option.model_copy(update={"labels": labels(option)}) for option in ranked)
