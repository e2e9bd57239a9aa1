from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from cli import sample
from domain.fulfillments import LineQuantity
from domain.network import Node, Product, RateCard
from domain.orders import Address, DeliveryMethod, Units
from domain.sourcing.build import MILES_ABROAD, build
from domain.sourcing.problem import Candidate, Problem
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


def test_a_pickup_is_served_by_its_store_from_what_was_held_there() -> None:
    made = problem(
        replace(EVERYWHERE, stock={}, capacity_left={"ST-CHI": 0}, units_left={"ST-CHI": 0}),
        method=DeliveryMethod.PICKUP,
        firm_node="ST-CHI",
    )
    plan = solve(made, "d").plan

    assert [(a.node, a.service, a.cost.shipping) for a in plan.assignments] == [
        ("ST-CHI", "pickup", 0)
    ]
    assert plan.assignments[0].lines == (LineQuantity(line_id="1", quantity=2),)
