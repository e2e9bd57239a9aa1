from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from cli import sample
from domain.fulfillments import LineQuantity
from domain.network import Node, Product, RateCard
from domain.orders import Address, DeliveryMethod, Units
from domain.sourcing.build import MILES_ABROAD, Particulars, build, cheapest
from domain.sourcing.policy import Constraint, Policy, Weights
from domain.sourcing.problem import Candidate, Problem, ServiceOption
from domain.sourcing.solver import solve

NOON = datetime(2026, 11, 19, 17, tzinfo=UTC)
NETWORK = sample.network()
DALLAS = Address(postal_code="75201", country="US")


@dataclass(frozen=True)
class Snapshot:
    nodes: tuple[Node, ...] = NETWORK.nodes
    stock: dict[str, dict[str, int]] = field(default_factory=dict)
    capacity_left: dict[str, int | None] = field(default_factory=dict)
    units_left: dict[str, int | None] = field(default_factory=dict)
    rate_cards: tuple[RateCard, ...] = NETWORK.rate_cards
    products: dict[str, Product] = field(default_factory=lambda: {"X": Product(sku="X")})


EVERYWHERE = Snapshot(stock={node.code: {"X": 10} for node in NETWORK.nodes})


def problem(snapshot: Snapshot = EVERYWHERE, **given: object) -> Problem:
    asked: dict[str, object] = {
        "order_id": "o",
        "round": 1,
        "as_of": NOON,
        "currency": "USD",
        "promise_by": None,
        "units": [Units(line_id="1", sku="X", quantity=2)],
        "ship_to": DALLAS,
        "excluded": {},
        **given,
    }
    return build(snapshot, **asked)  # type: ignore[arg-type]


def candidate(made: Problem, node: str) -> Candidate:
    return next(candidate for candidate in made.candidates if candidate.node == node)


def altered(node: str, **changes: object) -> Snapshot:
    return replace(
        EVERYWHERE,
        nodes=tuple(n.model_copy(update=changes if n.code == node else {}) for n in NETWORK.nodes),
    )


@pytest.mark.parametrize(
    ("snapshot", "given", "reason"),
    [
        pytest.param(altered("DC-DAL", status="offline"), {}, "offline", id="offline"),
        pytest.param(EVERYWHERE, {"excluded": {"DC-DAL": "said no"}}, "said no", id="excluded"),
        pytest.param(altered("DC-DAL", ships=False), {}, "does not ship", id="no-shipping"),
        pytest.param(
            EVERYWHERE,
            {"method": DeliveryMethod.PICKUP, "firm_node": "DC-DAL"},
            "offers no pickup",
            id="no-pickup",
        ),
        pytest.param(
            EVERYWHERE, {"firm_node": "ST-CHI"}, "the order is bound to ST-CHI", id="another-node"
        ),
        pytest.param(
            EVERYWHERE,
            {"units": [Units(line_id="1", sku="Y", quantity=1)]},
            "no stock of any line",
            id="no-stock",
        ),
        pytest.param(
            replace(EVERYWHERE, capacity_left={"DC-DAL": 0}),
            {},
            "no capacity left today",
            id="no-capacity",
        ),
        pytest.param(
            replace(EVERYWHERE, units_left={"DC-DAL": 0}),
            {},
            "no capacity left today",
            id="no-units",
        ),
        pytest.param(
            replace(EVERYWHERE, products={"X": Product(sku="X", handling_class="frozen")}),
            {},
            "does not handle frozen goods",
            id="handling-class",
        ),
        pytest.param(
            replace(
                EVERYWHERE,
                rate_cards=tuple(
                    card.model_copy(update={"zones": card.zones[:2]}) for card in NETWORK.rate_cards
                ),
            ),
            {"ship_to": Address(postal_code="10025", country="US")},
            "too far: 1383 miles, beyond the last zone",
            id="too-far",
        ),
    ],
)
def test_a_node_that_may_not_serve_says_why(
    snapshot: Snapshot, given: dict[str, object], reason: str
) -> None:
    made = problem(snapshot, **given)

    assert candidate(made, "DC-DAL").eliminated == reason
    assert solve(made, "d").eliminated["DC-DAL"] == reason


def test_without_a_promise_only_the_cheapest_service_is_left() -> None:
    near = candidate(problem(), "DC-DAL")

    assert [(option.service, option.zone) for option in near.options] == [("ground", 1)]
    assert near.miles < 20


def test_a_promise_that_is_dear_to_break_takes_the_faster_service() -> None:
    made = problem(promise_by=NOON + timedelta(days=2), late_day_minor=2000)
    far = candidate(made, "DC-ONT")

    assert (far.options[0].service, far.options[0].days_late) == ("overnight", 0)


def test_a_node_that_is_behind_ships_as_if_it_were_asked_later() -> None:
    late = candidate(problem(altered("DC-DAL", lead_hours=24)), "DC-DAL")
    tomorrow = candidate(problem(as_of=NOON + timedelta(days=1)), "DC-DAL")
    near = candidate(problem(), "DC-DAL")

    assert [option.ship_by for option in late.options] == [tomorrow.options[0].ship_by]
    assert late.options[0].deliver_by > near.options[0].deliver_by


def test_an_address_abroad_is_served_by_the_last_zone() -> None:
    made = problem(ship_to=Address(postal_code="K2P 1L4", country="CA"))

    assert made.located_by == "abroad"
    assert {c.miles for c in made.candidates} == {MILES_ABROAD}
    assert {option.zone for c in made.candidates for option in c.options} == {7}
    assert len(solve(made, "d").plan.assignments) == 1


def test_an_address_abroad_is_farther_than_any_distance_that_a_rule_allows() -> None:
    far = Constraint(name="near-by", kind="max_distance", value=20_000)
    soft = far.model_copy(update={"hard": False})
    abroad = Address(postal_code="K2P 1L4", country="CA")
    barred, relaxed = (
        solve(problem(ship_to=abroad, policy=Policy(constraints=(rule,))), "d")
        for rule in (far, soft)
    )

    assert barred.plan.assignments == ()
    assert set(barred.eliminated.values()) >= {"rule near-by: abroad, more than 20000"}
    assert (len(relaxed.plan.assignments), relaxed.relaxed) == (1, ("near-by",))


def test_a_pickup_is_served_by_its_store_from_what_was_held_there() -> None:
    made = problem(
        replace(EVERYWHERE, stock={}, capacity_left={"ST-CHI": 0}, units_left={"ST-CHI": 0}),
        method=DeliveryMethod.PICKUP,
        firm_node="ST-CHI",
        policy=Policy(constraints=(Constraint(name="keep", kind="min_stock", value=5),)),
    )
    plan = solve(made, "d").plan

    assert [(a.node, a.service, a.cost.shipping) for a in plan.assignments] == [
        ("ST-CHI", "pickup", 0)
    ]
    assert plan.assignments[0].lines == (LineQuantity(line_id="1", quantity=2),)


def test_the_policy_stands_in_the_problem() -> None:
    policy = Policy(rules="peak@3", weights=Weights(shipping=50))
    assert problem(policy=policy).policy == policy


def test_goods_have_volume_and_need_what_their_class_and_they_require() -> None:
    lamp = Product(
        sku="X",
        length_mm=100,
        width_mm=200,
        height_mm=300,
        handling_class="frozen",
        requires=("signature",),
    )
    made = problem(replace(EVERYWHERE, products={"X": lamp}))

    assert made.demands[0].volume_mm3 == 6_000_000
    assert made.demands[0].needs == ("frozen", "signature")


def test_particulars_of_lines_and_nodes_are_taken_over() -> None:
    known = Particulars(
        price_minor={"1": 1999},
        rejections={"1": 2},
        open_orders={"DC-DAL": 7},
        goods_minor={"DC-DAL": {"X": 800, "Y": 1}},
        stock_minor={"DC-DAL": {"X": 40}},
    )
    made = problem(known=known)
    here = candidate(made, "DC-DAL")

    assert (made.demands[0].price_minor, made.demands[0].rejections) == (1999, 2)
    assert (here.open_orders, here.goods_minor, here.stock_minor) == (7, {"X": 800}, {"X": 40})


@pytest.mark.parametrize(("left", "price"), [(100, 0), (75, 25), (0, 100), (None, 100)])
def test_labour_is_dearer_the_more_of_the_day_is_taken(left: int | None, price: int) -> None:
    busy = altered("DC-DAL", labour_minor=100, capacity_per_day=100)
    made = problem(replace(busy, capacity_left={"DC-DAL": left}))

    assert candidate(made, "DC-DAL").labour_minor == price


def test_a_service_that_is_dearer_stays_where_it_carries_or_saves_what_counts() -> None:
    cheap = option("cheap", base_minor=500, days=5, carbon_g=900, offers=())
    carries = option("carries", base_minor=700, days=5, carbon_g=900)
    fast = option("fast", base_minor=900, days=1, carbon_g=2000)
    green = option("green", base_minor=950, days=6, carbon_g=100)
    by_size = option("by size", base_minor=960, days=6, carbon_g=2000, dim_divisor=139)

    def kept(weights: Weights, *options: ServiceOption) -> list[str]:
        return [o.service for o in cheapest(options, 300, Policy(weights=weights))]

    assert kept(Weights(), cheap, carries) == ["cheap", "carries"]
    assert kept(Weights(), carries, fast, green) == ["carries"]
    assert kept(Weights(minor_per_day=1), carries, fast, green) == ["carries", "fast"]
    assert kept(Weights(carbon_minor_per_kg=1), carries, fast, green) == ["carries", "green"]
    assert kept(Weights(), carries, by_size) == ["carries", "by size"]


def option(service: str, **given: object) -> ServiceOption:
    return ServiceOption.model_validate(
        {
            "service": service,
            "carrier": "x",
            "zone": 1,
            "per_lb_minor": 0,
            "ship_by": NOON,
            "deliver_by": NOON,
            **given,
        }
    )
