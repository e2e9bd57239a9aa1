"""An order is judged by one profile of one set; conditions decide for what each rule holds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from domain.network import NodeKind, Product
from domain.orders import Address, DeliveryMethod, Line, Order, PartOf, Units
from domain.rules import evaluation
from domain.rules.documents import load, read
from domain.rules.evaluation import Judged, choose, evaluate
from domain.rules.facts import FAR, NOT_PROMISED, UNLIMITED, Case
from domain.rules.sets import Then, Version
from domain.rules.together import check_together
from domain.sourcing.policy import PROFILES, Constraint
from tests.domain.rules.written import WAITS, a_case, a_profile, a_rule, a_set, rules, version
from tests.samples import NOON, a_node, an_order

STORE = a_node("ST-A", kind=NodeKind.STORE)
DC = a_node("DC-A")
FAR_DC = a_node("DC-B", latitude=47.6, longitude=-122.3)
FROZEN = Product(sku="ICE", handling_class="frozen", category="food")
MIXED = an_order(
    lines=(
        Line(line_id="1", sku="A", quantity=3, unit_price_minor=1000),
        Line(line_id="2", sku="ICE", quantity=1, unit_price_minor=200),
        Line(line_id="3", sku="ICE", quantity=2, unit_price_minor=200),
    ),
    ship_to=Address(postal_code="75202", country="US", region="TX"),
)
SEEN: dict[str, Any] = {"products": {"ICE": FROZEN, "A": Product(sku="A", category="mugs")}}


def mixed(**changes: Any) -> Case:
    return a_case(MIXED, STORE, DC, FAR_DC, **(SEEN | changes))


def judged(case: Case, *of: dict[str, Any]) -> Judged:
    found = evaluate(version(*of), case)
    assert found is not None
    return found


def made(case: Case, *of: dict[str, Any]) -> tuple[Constraint, ...]:
    return judged(case, *of).policy.constraints


def test_a_rule_without_a_condition_holds_for_all() -> None:
    found = judged(mixed(), a_rule("few", "max_nodes", value=2, hard=False))
    assert found.policy.constraints == (
        Constraint(name="few", kind="max_nodes", hard=False, value=2),
    )
    assert (found.policy.rules, found.policy.profile) == ("web@3", "lowest_cost")
    assert found.policy.weights == PROFILES["lowest_cost"]


def test_a_condition_on_the_order_makes_its_rule_or_none() -> None:
    few = a_rule("few", "max_nodes", "order.units > 5 && order.region == 'TX'", value=2)
    many = a_rule("many", "max_nodes", "order.units > 6", value=9)
    found = judged(mixed(), few, many)
    assert [c.name for c in found.policy.constraints] == ["few"]
    assert [(t.name, t.state) for t in found.told[:2]] == [("few", "met"), ("many", "not_met")]


@pytest.mark.parametrize(("value", "holds"), [(3_601, True), (3_600, False), (700, False)])
def test_never_split_goes_by_what_the_whole_order_is_worth(value: int, holds: bool) -> None:  # noqa: FBT001
    """3,600: also of what is left of it, when a part has been shipped."""
    rule = a_rule("small", "never_split", value=value)
    rest = (Units(line_id="2", sku="ICE", quantity=1),)
    for case in (mixed(), a_case(MIXED, STORE, DC, units=rest, **SEEN)):
        assert bool(made(case, rule)) == holds
        assert judged(case, rule).told[0].state == ("met" if holds else "not_met")


def test_a_condition_on_nodes_names_them() -> None:
    (near,) = made(mixed(), a_rule("r", "exclude", "node.kind == 'dc' && node.miles > 500"))
    assert (near.nodes, near.lines) == (("DC-B",), None)
    assert made(mixed(), a_rule("r", "exclude", "node.code == 'none'")) == ()


def test_a_condition_on_lines_and_products_names_lines() -> None:
    (cold,) = made(mixed(), a_rule("r", "ship_alone", "product.category == 'food'"))
    assert (cold.nodes, cold.lines) == (None, ("2", "3"))


def test_a_condition_on_both_pairs_them() -> None:
    when = "!(product.handling_class in node.handling_classes) || node.miles > 500 * line.quantity"
    found = made(mixed(), a_rule("r", "exclude", when))
    assert [(c.name, c.nodes, c.lines) for c in found] == [
        ("r", ("DC-B",), ("1",)),
        ("r", ("DC-A", "DC-B", "ST-A"), ("2", "3")),
    ]


def test_a_kit_is_judged_by_its_components_and_priced_as_it_was_sold() -> None:
    kit = PartOf(line_id="1", sku="KIT", kits=3, per_kit=1)
    units = (
        Units(line_id="1/ICE", sku="ICE", quantity=3, kit=kit),
        Units(line_id="1/A", sku="A", quantity=3, kit=kit),
    )
    (found,) = made(
        mixed(units=units),
        a_rule(
            "r", "ship_alone", "line.kit && product.category == 'food' && line.value_minor == 3000"
        ),
    )
    assert found.lines == ("1/ICE",)


def test_what_goes_wrong_is_told_and_counts_as_the_rule_says() -> None:
    when = "order.units / (order.lines - 3) > 1"
    found = judged(
        mixed(),
        a_rule("out", "max_nodes", when, value=1),
        a_rule("in", "max_nodes", when, value=2, on_error="apply"),
        a_rule(
            "some", "exclude", "node.units / (node.miles - node.miles) > 1 || node.code == 'DC-A'"
        ),
    )
    assert [(c.name, c.nodes) for c in found.policy.constraints] == [
        ("in", None),
        ("some", ("DC-A",)),
    ]
    assert [t.state for t in found.told[:3]] == ["error", "met", "met"]
    assert all("divide by zero" in t.error for t in found.told[:3])


def test_a_condition_of_fields_that_are_no_more_is_told_and_not_met() -> None:
    old = a_rule("old", "exclude", "node.colour == 'red'", on_error="apply")
    found = judged(mixed(), old, a_rule("few", "max_nodes", value=2))
    assert [c.name for c in found.policy.constraints] == ["few"]
    assert "there is no node.colour" in found.told[0].error


def test_an_order_costs_so_many_evaluations_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MOST_EVALUATIONS", 4)
    each = a_rule("each", "exclude", "node.code != ''")
    found = judged(
        mixed(), each, {**each, "name": "again"}, {**each, "name": "sure", "on_error": "apply"}
    )
    assert [(c.name, c.nodes) for c in found.policy.constraints] == [
        ("each", ("DC-A", "DC-B", "ST-A")),
        ("again", ("DC-A",)),
        ("sure", ("DC-A", "DC-B", "ST-A")),
    ]
    assert "evaluations for one order" in found.told[1].error


def test_too_many_pairs_of_lines_and_nodes_are_not_even_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "MOST_EVALUATIONS", 8)
    pairs = a_rule("pairs", "exclude", "node.code != line.id")
    found = judged(mixed(), pairs, {**pairs, "name": "sure", "on_error": "apply"})
    (sure,) = found.policy.constraints
    assert (sure.name, sure.nodes, sure.lines) == (
        "sure",
        ("DC-A", "DC-B", "ST-A"),
        ("1", "2", "3"),
    )
    assert "evaluations for one order" in found.told[0].error


def test_lists_count_by_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MOST_EVALUATIONS", 8)
    each = a_rule("each", "exclude", "node.code != '' && order.skus.exists(s, s == 'ICE')")
    found = judged(mixed(), each)
    assert found.policy.constraints[0].nodes == ("DC-A", "DC-B")
    assert "evaluations for one order" in found.told[0].error


def test_neither_the_order_of_nodes_nor_what_was_asked_before_matters() -> None:
    nodes = [
        a_node(f"N{i}", kind=list(NodeKind)[i % 5], latitude=30 + i % 7, unit_cost_minor=i % 3)
        for i in range(60)
    ]
    asked = [
        a_rule("a", "exclude", "node.kind == 'store' && node.miles > 100"),
        a_rule("b", "preferred_node", "node.unit_cost_minor < line.quantity", value=100),
        a_rule("c", "min_stock", "node.miles > 200 || product.category == 'food'", value=2),
    ]
    first = judged(a_case(MIXED, *nodes, **SEEN), *asked)
    for seed in range(3):
        Random(seed).shuffle(nodes)  # noqa: S311 - the same each time
        assert judged(a_case(MIXED, *nodes, **SEEN), *asked) == first


def test_a_case_without_nodes_or_units_raises_nothing() -> None:
    every = [
        a_rule("a", "exclude", "node.kind == 'dc'"),
        a_rule("b", "exclude", "node.kind == 'dc' && line.quantity > 0"),
        a_rule("c", "ship_alone", "line.quantity > 0"),
        a_rule("d", "max_nodes", "order.units == 0", value=1),
    ]
    found = judged(a_case(MIXED, units=()), *every)
    assert [c.name for c in found.policy.constraints] == ["d"]


def test_facts_that_are_not_there_have_a_value_all_the_same() -> None:
    nowhere = an_order(ship_to=Address(postal_code="SW1", country="GB"))
    when = (
        f"node.miles == {FAR} && node.capacity_left == {UNLIMITED}"
        f" && order.hours_left == {NOT_PROMISED} && product.weight_g == 500"
    )
    (found,) = made(a_case(nowhere, DC), a_rule("r", "exclude", when))
    assert found.nodes == ("DC-A",)


def test_stock_promise_round_and_segment_are_facts() -> None:
    case = a_case(
        an_order(segment="vip"),
        STORE,
        DC,
        stock={"ST-A": {"A": 9}, "DC-A": {"A": 2}},
        capacity_left={"DC-A": 0},
        promise_by=NOON + timedelta(hours=25, minutes=59),
        round=2,
    )
    (full,) = made(case, a_rule("r", "preferred_node", "node.has_all && node.units == 3", value=1))
    assert full.nodes == ("ST-A",)
    (short,) = made(case, a_rule("r", "exclude", "!node.has_all && node.capacity_left == 0"))
    assert short.nodes == ("DC-A",)
    when = "order.hours_left == 25 && order.round == 2 && customer.segment == 'vip'"
    assert made(case, a_rule("r", "max_nodes", when, value=1))


@pytest.mark.parametrize(
    ("now", "applies"),
    [
        (datetime(2026, 12, 1, 5, 59, 59, tzinfo=UTC), False),
        (datetime(2026, 12, 1, 6, tzinfo=UTC), True),
        (datetime(2026, 12, 25, 12, tzinfo=UTC), False),
        (datetime(2027, 1, 1, 5, 59, 59, tzinfo=UTC), True),
        (datetime(2027, 1, 1, 6, tzinfo=UTC), False),
    ],
)
def test_days_are_those_of_the_sets_own_zone(now: datetime, applies: bool) -> None:  # noqa: FBT001
    dates = {
        "first": "2026-12-01",
        "last": "2026-12-31",
        "blackout": [{"first": "2026-12-25", "last": "2026-12-25"}],
    }
    dated = Version(rules("web", timezone="America/Chicago", dates=dates), 1)
    assert (choose([dated], an_order(), now) is dated) is applies
    rule = a_rule("r", "max_nodes", value=1, dates=dates)
    whole = Version(rules("web", a_profile("all", rule), timezone="America/Chicago"), 1)
    found = evaluate(whole, a_case(now=now))
    assert found is not None
    assert bool(found.policy.constraints) is applies
    assert found.told[0].state == ("met" if applies else "not_now")


def test_an_order_comes_to_the_one_set_and_profile_that_match_it() -> None:
    two = Version(
        rules(
            "web",
            a_profile("vips", channels=["web"], segments=["vip"], objective="fastest", review=True),
            a_profile("stores", channels=["web"], methods=["pickup"], segments=["", "x"][1:]),
        ),
        1,
    )
    rest = Version(rules("rest", a_profile(), entry=False), 1)
    vip = an_order(segment="vip")
    assert choose([rest, two], vip, NOON) is two
    assert choose([rest, two], an_order(), NOON) is None
    found = evaluate(two, a_case(vip))
    assert found is not None
    assert (found.profile, found.review, found.policy.profile) == ("vips", True, "fastest")
    pickup = an_order(method=DeliveryMethod.PICKUP, pickup_node="ST-A", segment="x")
    assert evaluate(two, a_case(pickup, STORE)) is not None
    assert evaluate(two, a_case(an_order())) is None


def test_weights_change_what_is_otherwise_in_the_objective() -> None:
    weights = {"split": 300, "carbon_minor_per_kg": 7}
    profile = a_profile(objective="greenest", weights=weights)
    found = evaluate(Version(read(a_set("web", profile)), 1), a_case())
    assert found is not None
    assert found.policy.weights == PROFILES["greenest"].model_copy(update=weights)


def test_the_first_outcome_whose_condition_is_met_is_taken() -> None:
    partial = [
        {"when": "order.units / 0 > 1", "then": "cancel"},
        {"when": "order.total_minor > 5000", "then": "review"},
        {"when": "customer.segment == 'vip'", "then": "queue", "queue": "care"},
        WAITS,
    ]
    chosen = Version(rules("web", a_profile(outcomes={"partial": partial, "nothing": [WAITS]})), 1)

    def then(order: Order) -> tuple[Then, list[tuple[str, str]]]:
        found = evaluate(chosen, a_case(order))
        assert found is not None
        return found.partial.then, [(t.name, t.state) for t in found.told]

    assert then(an_order(segment="vip")) == (
        Then.QUEUE,
        [
            ("partial.0", "error"),
            ("partial.1", "not_met"),
            ("partial.2", "met"),
            ("nothing.0", "met"),
        ],
    )
    assert then(an_order(total_minor=5001))[0] is Then.REVIEW
    assert then(an_order())[0] is Then.BACKORDER


def test_the_sample_rules_hold_together() -> None:
    folder = Path(__file__).parents[3] / "cli"
    standard = load((folder / "sample_rules.yaml").read_text())
    last = load((folder / "sample_rules_last.yaml").read_text())
    check_together([], last)
    check_together([last], standard)
    found = evaluate(Version(standard, 1), mixed())
    assert found is not None
    assert {c.name: c.nodes for c in found.policy.constraints} == {
        "no-more-than-three": None,
        "stores-keep-two": ("ST-A",),
        "vendors-last": ("DC-A", "DC-B", "ST-A"),
    }
    assert (found.partial.next, found.partial.allocate) == ("last-resort", True)
