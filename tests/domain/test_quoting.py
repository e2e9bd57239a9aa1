"""A quote is what the engine would decide: options, cut-offs, stores, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from cli import sample
from domain.network import Calendar, Node, Product, RateCard
from domain.orders import Address, DeliveryMethod, Units
from domain.promises import (
    Promise,
    destination,
    keep,
    promised_packages,
    units_by_sku,
)
from domain.quoting import MIXED, Cart, Quote, ShipOption, quote
from domain.sourcing.build import build
from domain.sourcing.problem import Plan, Problem
from domain.sourcing.solver import cheapest_plan

NETWORK = sample.network()
NOON = datetime(2026, 11, 18, 17, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DALLAS = Address(postal_code="75201", country="US")


@dataclass(frozen=True)
class Snapshot:
    nodes: tuple[Node, ...] = NETWORK.nodes
    stock: dict[str, dict[str, int]] = field(default_factory=dict)
    capacity_left: dict[str, int | None] = field(default_factory=dict)
    units_left: dict[str, int | None] = field(default_factory=dict)
    rate_cards: tuple[RateCard, ...] = NETWORK.rate_cards
    products: dict[str, Product] = field(
        default_factory=lambda: {product.sku: product for product in NETWORK.products}
    )
    as_of: datetime = NOON


def everywhere(**units: int) -> Snapshot:
    return Snapshot(stock={node.code: dict(units) for node in NETWORK.nodes})


def cart(*lines: tuple[str, int], to: Address = DALLAS) -> Cart:
    return Cart(
        lines=tuple(
            Units(line_id=str(i), sku=sku, quantity=quantity)
            for i, (sku, quantity) in enumerate(lines, start=1)
        ),
        ship_to=to,
    )


def ask(snapshot: Snapshot, asked: Cart, *, as_of: datetime = NOON, sellable: int = 999) -> Quote:
    free = {line.sku: sellable for line in asked.lines}
    return quote(snapshot, asked, sellable=free, as_of=as_of, solve=cheapest_plan)


def test_each_option_is_the_engines_own_plan_for_its_service() -> None:
    snapshot, asked = everywhere(A=2, B=3), cart(("A", 3), ("B", 2))
    made = ask(snapshot, asked)

    assert [option.service for option in made.ship] == ["ground", "expedited", "overnight"]
    for option in made.ship:
        problem = engine(snapshot, asked, services=[option.service])
        plan = cheapest_plan(problem)
        assert (option.packages, option.cost) == (plan.assignments, plan.cost)


def test_what_an_order_without_a_token_gets_is_the_cheapest() -> None:
    snapshot, asked = everywhere(A=2, B=3), cart(("A", 3), ("B", 2))
    plan = cheapest_plan(engine(snapshot, asked))
    [cheapest] = [option for option in ask(snapshot, asked).ship if "cheapest" in option.labels]

    assert cheapest.packages == plan.assignments


def test_services_are_mixed_where_no_single_one_brings_all_of_it() -> None:
    """Ground goes 600 miles, overnight costs more; A is in Dallas and B in New York only."""
    ground, _, overnight = NETWORK.rate_cards
    cards = (ground.model_copy(update={"zones": ground.zones[:3]}), overnight)
    snapshot = Snapshot(stock={"DC-DAL": {"A": 5}, "TPL-EDI": {"B": 5}}, rate_cards=cards)
    made = ask(snapshot, cart(("A", 1), ("B", 1)))

    assert [(option.service, option.labels) for option in made.ship] == [
        (MIXED, ("cheapest", "fastest")),
        ("overnight", ()),
    ]
    assert {(p.node, p.service) for p in made.ship[0].packages} == {
        ("DC-DAL", "ground"),
        ("TPL-EDI", "overnight"),
    }


def test_a_node_that_never_opens_is_no_trouble_to_the_others() -> None:
    closed = Calendar(timezone="America/Chicago", weekdays=())
    nodes = tuple(
        node.model_copy(update={"calendar": closed}) if node.code in {"DC-DAL", "ST-AUS"} else node
        for node in NETWORK.nodes
    )
    snapshot = replace(everywhere(A=2), nodes=nodes)
    made = ask(snapshot, cart(("A", 1), to=Address(postal_code="78701")))
    problem = engine(snapshot, cart(("A", 1)))
    [dallas] = [c for c in problem.candidates if c.node == "DC-DAL"]

    assert made.ship
    assert made.pickup == ()
    assert dallas.eliminated is not None
    assert dallas.eliminated.startswith("calendar: no open day within 400 days")


def test_a_node_that_no_carrier_collects_from_says_so() -> None:
    sundays = tuple(card.model_copy(update={"collects": (6,)}) for card in NETWORK.rate_cards)
    problem = engine(replace(everywhere(A=2), rate_cards=sundays), cart(("A", 1)))
    reasons = {c.node: c.eliminated for c in problem.candidates}

    assert reasons["TPL-EDI"] == (
        "Meridian Parcel never collects on a day on which the node is open"
    )
    assert reasons["MF-BOS"] is None


def test_abroad_there_are_services_and_no_stores() -> None:
    made = ask(everywhere(A=2), cart(("A", 1), to=Address(postal_code="K2P 1L4", country="CA")))

    assert (made.located_by, made.timezone, made.pickup) == ("abroad", "UTC", ())
    assert made.ship


def test_a_network_without_rate_cards_ships_nothing() -> None:
    made = ask(replace(everywhere(A=2), rate_cards=()), cart(("A", 1)))

    assert made.ship == ()
    assert [shortage.available for shortage in made.short] == [0]


_carts = st.lists(
    st.tuples(st.sampled_from(["A", "B", "C"]), st.integers(1, 6)), min_size=1, max_size=4
)
_shelves = st.dictionaries(
    st.sampled_from([node.code for node in NETWORK.nodes]),
    st.dictionaries(st.sampled_from(["A", "B", "C"]), st.integers(1, 5)),
)
_moments = st.datetimes(
    datetime(2026, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2027, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
_homes = st.sampled_from(["75201", "10025", "98103", "33139", "60614"])


@settings(max_examples=60, deadline=None)
@given(lines=_carts, shelves=_shelves, now=_moments, home=_homes)
def test_whatever_is_quoted_can_be_had_and_holds_until_its_cut_off(
    lines: list[tuple[str, int]], shelves: dict[str, dict[str, int]], now: datetime, home: str
) -> None:
    snapshot, asked = Snapshot(stock=shelves), cart(*lines, to=Address(postal_code=home))
    made = ask(snapshot, asked, as_of=now)
    for option in made.ship:
        assert served(option.packages) == {line.line_id: line.quantity for line in asked.lines}
        assert now < option.ship_by
        assert option.deliver_earliest < option.deliver_latest
        last = ask(snapshot, asked, as_of=option.cutoff.at - SECOND)
        assert dated(same(last, option.service)) == dated(option)
        plan = keep(held(option, asked, now), engine(snapshot, asked), option.cutoff.at - SECOND)
        assert isinstance(plan, Plan)
        assert (plan.assignments, plan.cost) == (option.packages, option.cost)
        late = keep(held(option, asked, now), engine(snapshot, asked), option.cutoff.at)
        assert isinstance(late, str)
    for store in made.pickup:
        lacks = {line.line_id: line.quantity for line in store.missing}
        has = {line.line_id: line.quantity for line in store.lines}
        assert {
            line.line_id: has.get(line.line_id, 0) + lacks.get(line.line_id, 0)
            for line in asked.lines
        } == {line.line_id: line.quantity for line in asked.lines}
        assert (store.has == "all") == (not lacks) == bool(store.packages)
        assert store.ready_by >= now
    if not made.ship:
        assert made.short
        assert all(s.available < s.quantity for s in made.short)


def test_a_plan_is_not_kept_where_the_day_cannot_take_all_its_units() -> None:
    snapshot, asked = everywhere(A=9), cart(("A", 3))
    [option, *_] = ask(snapshot, asked).ship
    [node] = {package.node for package in option.packages}
    for left, reason in ((0, "no capacity"), (2, "capacity for 2 of 3 units is"), (3, None)):
        problem = engine(replace(snapshot, units_left={node: left}), asked)
        kept = keep(held(option, asked, NOON), problem, NOON)
        assert isinstance(kept, Plan) if reason is None else kept == f"{node}: {reason} left today"


def engine(snapshot: Snapshot, asked: Cart, services: list[str] | None = None) -> Problem:
    """The problem of an order for the same."""
    return build(
        snapshot,
        order_id="o",
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=None,
        units=asked.lines,
        ship_to=asked.ship_to,
        excluded={},
        services=services,
    )


def served(packages: tuple[object, ...]) -> dict[str, int]:
    total: dict[str, int] = {}
    for package in packages:
        for line in package.lines:  # type: ignore[attr-defined]
            total[line.line_id] = total.get(line.line_id, 0) + line.quantity
    return total


def same(made: Quote, service: str) -> ShipOption:
    return next(option for option in made.ship if option.service == service)


def dated(option: ShipOption) -> list[tuple[str, datetime]]:
    return [(package.node, package.deliver_by) for package in option.packages]


def held(option: ShipOption, asked: Cart, now: datetime) -> Promise:
    return Promise(
        token="pr",
        channel="api",
        method=DeliveryMethod.SHIP,
        destination=destination(asked.ship_to),
        units=units_by_sku(asked.lines),
        packages=promised_packages(option.packages, {u.line_id: u.sku for u in asked.lines}),
        deliver_by=option.deliver_latest,
        cutoff=option.cutoff.at,
        quoted_at=now,
        expires_at=option.cutoff.at,
    )


def test_a_plan_fits_an_order_that_names_its_lines_otherwise() -> None:
    snapshot, quoted = everywhere(A=2, B=3), cart(("A", 3), ("B", 2))
    option = ask(snapshot, quoted).ship[0]
    ordered = Cart(
        lines=(
            Units(line_id="b", sku="B", quantity=2),
            Units(line_id="a1", sku="A", quantity=1),
            Units(line_id="a2", sku="A", quantity=2),
        ),
        ship_to=DALLAS,
    )
    plan = keep(held(option, quoted, NOON), engine(snapshot, ordered), NOON)

    assert isinstance(plan, Plan)
    assert served(plan.assignments) == {"b": 2, "a1": 1, "a2": 2}
    assert plan.cost == option.cost


def test_an_address_is_the_same_however_it_is_written() -> None:
    said = [
        Address(postal_code="75201", country="US"),
        Address(postal_code="75201-1234", country="us"),
        Address(postal_code=" 75201 ", city="Dallas"),
    ]

    assert len({destination(address) for address in said}) == 1
    assert destination(Address(postal_code="75202")) != destination(DALLAS)
