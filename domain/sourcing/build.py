"""Makes the sourcing problem from one snapshot: which node may serve, how, for what, by when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from domain.calendars import ready_by
from domain.errors import Invalid
from domain.geography import Place, locate, miles_between
from domain.network import Node, Product, RateCard, Zone
from domain.orders import Address, DeliveryMethod, Units
from domain.promising import Lane, days_late
from domain.rates import zone_of
from domain.sourcing.policy import Policy
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption
from domain.sourcing.words import count
from domain.values import Value

ABROAD_EXTRA_DAYS: Final = 5
MILES_ABROAD: Final = -1
SPLIT_FEE_MINOR: Final = 100
PICKUP: Final = "pickup"  # the service of what customers collect
LATE_DAY_MINOR: Final = 300
MOST_REASON: Final = 200  # characters of why a node may not serve; the API takes no more
UNKNOWN_PRODUCT: Final = Product(sku="?")


class Snapshot(Protocol):
    """The network at one instant: free units by node and SKU, what is still possible today."""

    @property
    def nodes(self) -> Sequence[Node]: ...
    @property
    def stock(self) -> Mapping[str, Mapping[str, int]]: ...
    @property
    def capacity_left(self) -> Mapping[str, int | None]: ...
    @property
    def units_left(self) -> Mapping[str, int | None]: ...
    @property
    def rate_cards(self) -> Sequence[RateCard]: ...
    @property
    def products(self) -> Mapping[str, Product]: ...


class Particulars(Value):
    """
    What is known of an order beside the snapshot: by line id the price of a unit and how often it
    was rejected; by node its unshipped orders, and by SKU what a unit costs from there and what the
    opportunity of one is worth, by the book of `prices` of that version.
    """

    price_minor: dict[str, int] = {}
    rejections: dict[str, int] = {}
    open_orders: dict[str, int] = {}
    goods_minor: dict[str, dict[str, int]] = {}
    stock_minor: dict[str, dict[str, int]] = {}
    prices: str = ""


NOTHING_KNOWN: Final = Particulars()
PLAIN: Final = Policy()


def build(  # noqa: PLR0913  # an order's part of the problem, by name
    snapshot: Snapshot,
    *,
    order_id: str,
    round: int,
    as_of: datetime,
    currency: str,
    promise_by: datetime | None,
    units: Sequence[Units],
    ship_to: Address,
    excluded: Mapping[str, str],
    firm_node: str | None = None,
    method: DeliveryMethod = DeliveryMethod.SHIP,
    services: Collection[str] | None = None,
    split_fee_minor: int = SPLIT_FEE_MINOR,
    late_day_minor: int = LATE_DAY_MINOR,
    policy: Policy = PLAIN,
    known: Particulars = NOTHING_KNOWN,
) -> Problem:
    """
    The problem of one order, each node in it either with its services or with why it is out.

    A destination abroad is served by each card's last zone, with five more days; its miles are -1.
    `services` names those that may be used; None is any.
    The units of a pickup were taken at the store when they were reserved: the store has them,
    whatever else is free there or should stay, and needs no further capacity.
    """
    asked = tuple(_demand(snapshot, unit, known) for unit in units)
    place = locate(ship_to.postal_code, ship_to.country, ship_to.region)
    cards = [c for c in snapshot.rate_cards if services is None or c.service in services]
    candidates = []
    for node in sorted(snapshot.nodes, key=lambda node: node.code):
        pickup = method is DeliveryMethod.PICKUP
        free = snapshot.stock.get(node.code, {})
        candidate = _candidate(snapshot, node, free, asked, place, known)
        if pickup and node.code == firm_node:
            free = _asked_for(asked)
            unlimited = {"capacity_left": None, "units_left": None}
            candidate = candidate.model_copy(update={"stock": free, **unlimited})
        reason = _barred(node, excluded, firm_node, method) or _unable(
            candidate, {_class_of(snapshot, d.sku) for d in asked if free.get(d.sku, 0) > 0}
        )
        options: tuple[ServiceOption, ...] = ()
        if reason is None:
            try:
                options = (
                    (_pickup(node, as_of, promise_by),)
                    if pickup
                    else cheapest(
                        _services(cards, node, place, as_of, promise_by), late_day_minor, policy
                    )
                )
            except Invalid as never:
                reason = str(never)
            else:
                miles = count(candidate.miles, "mile", "miles")
                far = f"too far: {miles}, beyond the last zone"
                reason = None if options else far
        candidates.append(candidate.model_copy(update={"options": options, "eliminated": reason}))
    return Problem(
        order_id=order_id,
        round=round,
        as_of=as_of,
        currency=currency,
        promise_by=promise_by,
        demands=asked,
        candidates=tuple(candidates),
        split_fee_minor=split_fee_minor,
        late_day_minor=late_day_minor,
        located_by=place.precision if place else "abroad",
        policy=_of_pickups(policy) if method is DeliveryMethod.PICKUP else policy,
        prices=known.prices,
    )


def _of_pickups(policy: Policy) -> Policy:
    rules = tuple(rule for rule in policy.constraints if rule.kind != "min_stock")
    return policy.model_copy(update={"constraints": rules})


def options_of(  # noqa: PLR0913  # by name
    node: Node,
    cards: Sequence[RateCard],
    ship_to: Address,
    *,
    method: DeliveryMethod,
    as_of: datetime,
    promise_by: datetime | None,
) -> tuple[ServiceOption, ...]:
    """All that could bring a package from the node, whether or not it may send one; or nothing."""
    try:
        if method is DeliveryMethod.PICKUP:
            return (_pickup(node, as_of, promise_by),)
        place = locate(ship_to.postal_code, ship_to.country, ship_to.region)
        return _services(cards, node, place, as_of, promise_by)
    except Invalid:  # it is never open
        return ()


def lane_of(card: RateCard, node: Node, place: Place | None) -> tuple[int, Zone, Lane] | None:
    """The zone (counted from 1) and the way of the service; None where it does not go there."""
    if place is None:
        reached = (len(card.zones), card.zones[-1]) if card.zones else None
    else:
        here = (node.latitude, node.longitude)
        reached = zone_of(card, miles_between(here, (place.latitude, place.longitude)))
    if reached is None:
        return None
    number, zone = reached
    days = zone.transit_days + (0 if place else ABROAD_EXTRA_DAYS)
    zone_there = place.timezone if place else "UTC"
    lead = timedelta(hours=node.lead_hours)
    return number, zone, Lane(node.calendar, node.handling_days, card, days, zone_there, lead)


def pickup_ready(node: Node, as_of: datetime) -> tuple[datetime, datetime]:
    """When goods asked for now wait at the store, and until when asking gives that day."""
    takes, late = timedelta(minutes=node.pickup_minutes), timedelta(hours=node.lead_hours)
    ready, last = ready_by(node.calendar, as_of + late, takes, node.handling_days)
    return ready, last - late


def cheapest(
    options: Sequence[ServiceOption], late_day_minor: int, policy: Policy = PLAIN
) -> tuple[ServiceOption, ...]:
    """
    The options that no other one beats in every order; of equal ones the one that is sooner.

    One that is no better in anything that counts by the policy is beaten: at every weight if they
    are billed alike, and for all goods that it carries.
    """
    kept: list[ServiceOption] = []
    for option in sorted(
        options,
        key=lambda o: (_counted(o, late_day_minor, policy), o.deliver_by, o.service, o.carrier),
    ):
        if not any(_beats(other, option, late_day_minor, policy) for other in kept):
            kept.append(option)
    return tuple(kept)


def _beats(one: ServiceOption, other: ServiceOption, late_day_minor: int, policy: Policy) -> bool:
    billed_alike = (one.dim_divisor, one.carton_in3) == (other.dim_divisor, other.carton_in3)
    carries = one.offers is None or (
        other.offers is not None and set(other.offers) <= set(one.offers)
    )
    ours, theirs = (_counted(o, late_day_minor, policy) for o in (one, other))
    return billed_alike and carries and all(a <= b for a, b in zip(ours, theirs, strict=True))


def _counted(option: ServiceOption, late_day_minor: int, policy: Policy) -> tuple[int, ...]:
    """What of an option counts: what every package does, each pound, and beside."""
    weights = policy.weights
    base, late = option.base_minor * weights.shipping, option.days_late * late_day_minor
    cartons = any(rule.kind == "ship_alone" for rule in policy.constraints)
    return (
        base + late * weights.late,
        option.per_lb_minor * weights.shipping,
        base if cartons else 0,
        option.days if weights.minor_per_day else 0,
        option.carbon_g if weights.carbon_minor_per_kg else 0,
        option.carbon_g_per_lb if weights.carbon_minor_per_kg else 0,
    )


def _demand(snapshot: Snapshot, unit: Units, known: Particulars) -> Demand:
    product = snapshot.products.get(unit.sku, UNKNOWN_PRODUCT)
    classes = () if product.handling_class == "standard" else (product.handling_class,)
    return Demand(
        line_id=unit.line_id,
        sku=unit.sku,
        quantity=unit.quantity,
        weight_g=product.weight_g,
        volume_mm3=product.length_mm * product.width_mm * product.height_mm,
        kit=unit.kit if unit.kit and unit.kit.together else None,
        price_minor=known.price_minor.get(unit.line_id, 0),
        needs=(*classes, *product.requires),
        rejections=known.rejections.get(unit.line_id, 0),
    )


def _asked_for(asked: Sequence[Demand]) -> dict[str, int]:
    units: dict[str, int] = {}
    for demand in asked:
        units[demand.sku] = units.get(demand.sku, 0) + demand.quantity
    return units


def _candidate(  # noqa: PLR0913, PLR0917  # what there is to know of a node
    snapshot: Snapshot,
    node: Node,
    free: Mapping[str, int],
    asked: Sequence[Demand],
    place: Place | None,
    known: Particulars,
) -> Candidate:
    """The node with the stock it may send: goods of a class that it does not handle stay out."""
    skus = sorted({demand.sku for demand in asked})
    capacity_left = snapshot.capacity_left.get(node.code, node.capacity_per_day)
    goods, stock = known.goods_minor.get(node.code, {}), known.stock_minor.get(node.code, {})
    here = (node.latitude, node.longitude)
    there = (place.latitude, place.longitude) if place else None
    return Candidate(
        node=node.code,
        kind=node.kind,
        miles=round(miles_between(here, there)) if there else MILES_ABROAD,
        stock={
            sku: free[sku]
            for sku in skus
            if free.get(sku, 0) > 0 and _class_of(snapshot, sku) in node.handling_classes
        },
        capacity_left=capacity_left,
        units_left=snapshot.units_left.get(node.code, node.units_per_day),
        order_cost_minor=node.order_cost_minor,
        unit_cost_minor=node.unit_cost_minor,
        options=(),
        line_cost_minor=node.line_cost_minor,
        labour_minor=_labour(node, capacity_left),
        goods_minor={sku: goods[sku] for sku in skus if sku in goods},
        stock_minor={sku: stock[sku] for sku in skus if sku in stock},
        open_orders=known.open_orders.get(node.code, 0),
    )


def _labour(node: Node, left: int | None) -> int:
    """As much of the full day's price as of its capacity is taken; all of it without a limit."""
    if not node.capacity_per_day or left is None:
        return node.labour_minor
    taken = node.capacity_per_day - min(left, node.capacity_per_day)
    return node.labour_minor * taken // node.capacity_per_day


def _class_of(snapshot: Snapshot, sku: str) -> str:
    return snapshot.products.get(sku, UNKNOWN_PRODUCT).handling_class


def _barred(
    node: Node, excluded: Mapping[str, str], firm_node: str | None, method: DeliveryMethod
) -> str | None:
    """Why the node may not serve this order whatever it has."""
    if node.code in excluded:
        return excluded[node.code] or "excluded"
    if node.status == "offline":
        return "offline"
    if firm_node is not None and node.code != firm_node:
        return f"the order is bound to {firm_node}"
    return not_by(node, method)


def not_by(node: Node, method: DeliveryMethod) -> str | None:
    """Why nothing leaves the node by this method, if so."""
    if method is DeliveryMethod.PICKUP and not node.pickup:
        return "offers no pickup"
    if method is DeliveryMethod.SHIP and not node.ships:
        return "does not ship"
    return None


def _unable(candidate: Candidate, classes: set[str]) -> str | None:
    """Why the node cannot serve any of it now. `classes` are those of the goods it has."""
    if not candidate.stock and classes:
        return f"does not handle {', '.join(sorted(classes))} goods"
    if not candidate.stock:
        return "no stock of any line"
    if 0 in {candidate.capacity_left, candidate.units_left}:
        return "no capacity left today"
    return None


def _pickup(node: Node, as_of: datetime, promise_by: datetime | None) -> ServiceOption:
    ready, _ = pickup_ready(node, as_of)
    return ServiceOption(
        service=PICKUP,
        carrier="",
        zone=0,
        base_minor=0,
        per_lb_minor=0,
        ship_by=ready,
        deliver_by=ready,
        days_late=days_late(ready, promise_by),
    )


def _services(
    cards: Sequence[RateCard],
    node: Node,
    place: Place | None,
    as_of: datetime,
    promise_by: datetime | None,
) -> tuple[ServiceOption, ...]:
    """The node's services. Raises Invalid where it is never open when any is collected."""
    options, never = [], None
    for card in cards:
        found = lane_of(card, node, place)
        if found is None:
            continue
        number, zone, lane = found
        try:
            leaves = lane.leaves(as_of)
        except Invalid as closed:
            never = closed
            continue
        arrives = lane.delivered(leaves)
        options.append(
            ServiceOption(
                service=card.service,
                carrier=card.carrier,
                zone=number,
                base_minor=zone.base_minor,
                per_lb_minor=zone.per_lb_minor,
                ship_by=leaves,
                deliver_by=arrives,
                days_late=days_late(arrives, promise_by),
                days=_days(as_of, arrives),
                dim_divisor=card.dim_divisor,
                carton_in3=card.carton_in3,
                carbon_g=zone.carbon_g,
                carbon_g_per_lb=zone.carbon_g_per_lb,
                offers=card.offers,
            )
        )
    if never and not options:
        raise never
    return tuple(options)


def _days(since: datetime, until: datetime) -> int:
    """Begun days between."""
    return max(0, -(-(until - since) // timedelta(days=1)))
