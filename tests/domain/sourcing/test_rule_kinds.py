"""Each kind of rule, what of several holds, and what is left of it in the second pass."""

import pytest

from domain.orders import PartOf
from domain.sourcing.cpsat import Model
from domain.sourcing.kept import broken
from domain.sourcing.policy import Constraint, Weights
from domain.sourcing.problem import Decision, Problem
from domain.sourcing.solver import best_with, solve
from tests.domain.sourcing.small import GROUND, left, node, problem, sent

NEAR, FAR = node("near", 500, 100), node("far", 900, 1200)


def decided(of: Problem) -> Decision:
    decision = solve(of, "d")
    hard = {rule.name for rule in of.policy.constraints if not rule.soft}
    assert not hard & set(broken(of, decision.plan))
    return decision


def rule(kind: str, value: int | None = None, **given: object) -> Constraint:
    return Constraint.model_validate({"name": kind, "kind": kind, "value": value, **given})


def test_minimum_inventory_stays_at_the_node_and_the_highest_of_several_holds() -> None:
    rules = (rule("min_stock", 2), rule("min_stock", 8, name="more", nodes=("near",)))
    decision = decided(problem(NEAR, FAR, asks={"A": 2}, rules=rules))

    assert sent(decision.plan) == {"far": {"A": 2}}
    only = decided(problem(NEAR, asks={"A": 2}, rules=rules))
    assert (sent(only.plan), left(only.plan)) == ({"near": {"A": 1}}, {"A": 1})


def test_a_soft_minimum_is_taken_from_only_by_the_units_that_found_no_node() -> None:
    soft = rule("min_stock", 8, hard=False)
    decision = decided(problem(NEAR, asks={"A": 3}, rules=(soft,)))

    assert sent(decision.plan) == {"near": {"A": 3}}
    assert decision.relaxed == ("min_stock",)
    [package] = decision.plan.assignments
    assert (package.cost.shipping, package.cost.split) == (500, 0)


def test_more_goods_join_the_package_that_goes_already() -> None:
    by_weight = GROUND.model_copy(update={"per_lb_minor": 90})
    keeps = node("keeps", options=(by_weight,), stock={"A": 2})
    cheap = node("cheap", 450, stock={"A": 9})
    rules = (rule("min_stock", 1, hard=False), rule("firm_node", nodes=("keeps", "cheap")))
    lonely = problem(keeps, asks={"A": 2}, rules=rules, weight_g=400)
    both = problem(keeps, cheap, asks={"A": 2}, rules=rules, weight_g=400)

    assert decided(lonely).plan.cost.shipping == 500 + 90
    assert sent(decided(both).plan) == {"cheap": {"A": 2}}
    assert decided(both).relaxed == ()


def test_the_first_priority_of_a_location_holds_and_locations_without_one_are_out() -> None:
    rules = (
        rule("location_priority", 5, nodes=("near", "far")),
        rule("location_priority", 1, name="first", nodes=("far",)),
    )
    other = node("other", 10)
    decision = decided(problem(NEAR, FAR, other, rules=rules))

    assert sent(decision.plan) == {"far": {"A": 1}}
    assert decision.eliminated["other"] == "rule location_priority: the node has no priority"
    assert decision.gap_minor == -400


def test_a_whole_order_from_a_lower_priority_comes_before_a_split() -> None:
    half = node("half", 100, stock={"A": 1})
    rules = (
        rule("location_priority", 1, nodes=("half", "near")),
        rule("location_priority", 2, name="second", nodes=("far",)),
    )
    decision = decided(
        problem(half, node("near", stock={"B": 1}), FAR, asks={"A": 1, "B": 1}, rules=rules)
    )
    assert sent(decision.plan) == {"far": {"A": 1, "B": 1}}


def test_a_plan_with_a_node_may_be_of_a_worse_priority_whoever_decides() -> None:
    levels = [rule("location_priority", n, nodes=(name,)) for n, name in enumerate("abc", 1)]
    ruled = problem(node("a"), node("b"), node("c", 100), rules=tuple(levels))
    by_kernel, by_cp_sat = solve(ruled, "d"), solve(ruled, "d", by=Model)

    assert by_kernel.runner_up
    assert sent(by_kernel.runner_up) == {"b": {"A": 1}}
    assert by_cp_sat.runner_up == by_kernel.runner_up
    assert best_with(ruled, "c", by=Model) == best_with(ruled, "c") is not None


def test_a_location_priority_is_hard_also_where_it_says_that_it_is_soft() -> None:
    soft = rule("location_priority", 1, nodes=("far",), hard=False)
    decision = decided(problem(NEAR, node("far", stock={}), rules=(soft,)))

    assert (sent(decision.plan), decision.relaxed) == ({}, ())


def test_of_several_maxima_of_nodes_the_lowest_holds() -> None:
    nodes = [node(name, stock={name: 1}) for name in "ABC"]
    asks = {"A": 1, "B": 1, "C": 1}
    rules = (rule("max_nodes", 3), rule("max_nodes", 2, name="fewer"))

    assert len(decided(problem(*nodes, asks=asks, rules=rules)).plan.assignments) == 2
    soft = tuple(r.model_copy(update={"hard": False}) for r in rules)
    relaxed = decided(problem(*nodes, asks=asks, rules=soft))
    assert len(relaxed.plan.assignments) == 3
    assert relaxed.relaxed == ("fewer",)


@pytest.mark.parametrize(
    ("kinds", "sends"),
    [
        pytest.param((), {"near": {"A": 2, "B": 1}}, id="partial-lines"),
        pytest.param(("ship_complete_lines",), {"near": {"B": 1}}, id="whole-lines"),
        pytest.param(("ship_complete_order",), {}, id="whole-order"),
    ],
)
def test_partial_orders_and_lines_are_three_states(
    kinds: tuple[str, ...], sends: dict[str, dict[str, int]]
) -> None:
    short = node("near", stock={"A": 2, "B": 1})
    rules = tuple(rule(kind) for kind in kinds)

    assert sent(decided(problem(short, asks={"A": 3, "B": 1}, rules=rules)).plan) == sends


def test_a_complete_line_may_come_from_several_nodes() -> None:
    nodes = (node("one", stock={"A": 2}), node("two", stock={"A": 1}))
    decision = decided(problem(*nodes, asks={"A": 3}, rules=(rule("ship_complete_lines"),)))

    assert sent(decision.plan) == {"one": {"A": 2}, "two": {"A": 1}}


def test_an_offline_location_is_out_and_a_soft_one_is_used_if_no_other_can() -> None:
    offline = rule("offline", nodes=("near",))
    assert sent(decided(problem(NEAR, FAR, rules=(offline,))).plan) == {"far": {"A": 1}}

    soft = offline.model_copy(update={"hard": False})
    assert sent(decided(problem(NEAR, FAR, rules=(soft,))).plan) == {"far": {"A": 1}}
    alone = decided(problem(NEAR, rules=(soft,)))
    assert (sent(alone.plan), alone.relaxed) == ({"near": {"A": 1}}, ("offline",))


def test_a_line_that_was_rejected_too_often_is_not_sourced_by_the_lowest_maximum() -> None:
    rules = (rule("max_rejects", 5), rule("max_rejects", 2, name="two"))
    decision = decided(problem(NEAR, rules=rules, rejections=2))

    assert left(decision.plan) == {"A": 1}
    assert decision.eliminated == {"near": "rule two: rejected too often"}
    assert not left(decided(problem(NEAR, rules=rules, rejections=1)).plan)


def test_of_several_maximum_distances_the_lowest_holds() -> None:
    rules = (rule("max_distance", 5000), rule("max_distance", 99, name="short", nodes=("near",)))
    decision = decided(problem(NEAR, FAR, rules=rules))

    assert sent(decision.plan) == {"far": {"A": 1}}
    assert decision.eliminated == {"near": "rule short: 100 miles, more than 99"}


def test_of_several_maximum_orders_the_highest_holds() -> None:
    busy = node("busy", open_orders=4)
    few, more = rule("max_orders", 3), rule("max_orders", 5, name="more")

    assert left(decided(problem(busy, rules=(few,))).plan) == {"A": 1}
    assert sent(decided(problem(busy, rules=(few, more))).plan) == {"busy": {"A": 1}}


@pytest.mark.parametrize(("below", "packages"), [(3000, 2), (4001, 0), (None, 0)])
def test_an_order_below_an_amount_or_with_listed_products_is_not_split(
    below: int | None, packages: int
) -> None:
    nodes = (node("a", stock={"A": 1}), node("b", stock={"B": 1}))
    rules = (rule("never_split", below, lines=("A",)),)
    decision = decided(problem(*nodes, asks={"A": 1, "B": 1}, rules=rules, price_minor=2000))

    assert len(decision.plan.assignments) == packages


@pytest.mark.parametrize(
    ("belt", "wallet", "sends"),
    [
        pytest.param(6000, 6000, 2, id="both-parts-are-worth-it"),
        pytest.param(2000, 2000, 0, id="neither-is"),
        pytest.param(6000, 2000, 0, id="one-part-is-not"),
    ],
)
def test_a_threshold_must_hold_for_both_parts_of_a_split(
    belt: int, wallet: int, sends: int
) -> None:
    """A belt at one place and a wallet at another, with a threshold of 50 for a shipment."""
    nodes = (node("a", stock={"belt": 1}), node("b", stock={"wallet": 1}))
    made = problem(*nodes, asks={"belt": 1, "wallet": 1}, rules=(rule("value_floor", 5000),))
    prices = {"belt": belt, "wallet": wallet}
    demands = tuple(d.model_copy(update={"price_minor": prices[d.sku]}) for d in made.demands)
    together = node("c", 5000, stock={"belt": 1, "wallet": 1})

    plan = decided(made.model_copy(update={"demands": demands})).plan
    assert len(plan.assignments) == sends
    whole = made.model_copy(update={"demands": demands, "candidates": (*nodes, together)})
    assert len(decided(whole).plan.assignments) == (2 if sends else 1)


@pytest.mark.parametrize(("wallet", "sends"), [(6000, {"a": {"belt": 1}}), (2000, {})])
def test_what_stays_behind_must_be_worth_a_shipment_too(
    wallet: int, sends: dict[str, dict[str, int]]
) -> None:
    made = problem(
        node("a", stock={"belt": 1}),
        asks={"belt": 1, "wallet": 1},
        rules=(rule("value_floor", 5000),),
    )
    prices = {"belt": 6000, "wallet": wallet}
    demands = tuple(d.model_copy(update={"price_minor": prices[d.sku]}) for d in made.demands)

    assert sent(decided(made.model_copy(update={"demands": demands})).plan) == sends


def test_a_group_is_in_one_package_or_in_none() -> None:
    nodes = (node("a", stock={"A": 1, "C": 1}), node("b", stock={"B": 1, "C": 1}))
    asks = {"A": 1, "B": 1, "C": 1}
    group = (rule("keep_together", lines=("A", "B")),)
    decision = decided(problem(*nodes, asks=asks, rules=group))

    assert left(decision.plan) == {"A": 1, "B": 1}
    both = decided(problem(*nodes, node("c", 5000), asks=asks, rules=group))
    assert sent(both.plan)["c"] == {"A": 1, "B": 1}


def test_groups_that_share_a_line_are_one_group() -> None:
    rules = tuple(rule("keep_together", lines=pair) for pair in (("A", "B"), ("B", "C")))
    nodes = (node("a", stock={"A": 1, "B": 1}), node("c", stock={"B": 1, "C": 1}))
    asks = {"A": 1, "B": 1, "C": 1}

    assert sent(decided(problem(*nodes, asks=asks, rules=rules)).plan) == {}


def test_a_group_with_a_component_has_all_of_its_kit() -> None:
    kit = PartOf(line_id="K", sku="KIT", kits=1, per_kit=1)
    made = problem(
        node("a", stock={"A": 1, "C": 1}),
        node("b", stock={"B": 1}),
        asks={"A": 1, "B": 1, "C": 1},
        rules=(rule("keep_together", lines=("A", "C")),),
    )
    demands = tuple(
        d.model_copy(update={"kit": kit}) if d.sku in {"A", "B"} else d for d in made.demands
    )
    assert sent(decided(made.model_copy(update={"demands": demands})).plan) == {}


def test_goods_that_ship_alone_have_a_carton_each_in_one_fulfillment() -> None:
    by_weight = GROUND.model_copy(update={"per_lb_minor": 90})
    made = problem(
        node("a", options=(by_weight,)),
        asks={"A": 2, "B": 3},
        rules=(rule("ship_alone", lines=("A",)),),
        weight_g=500,
    )
    [package] = decided(made).plan.assignments

    assert package.cartons == 3
    assert package.cost.shipping == 3 * 500 + (1 + 1 + 3) * 90
    few = made.policy.model_copy(
        update={"constraints": (*made.policy.constraints, rule("max_packages", 2))}
    )
    assert decided(made.model_copy(update={"policy": few})).plan.worth[0] == 1


def test_hazmat_goes_by_a_service_that_carries_it() -> None:
    air = GROUND.model_copy(update={"service": "air", "base_minor": 100, "offers": ()})
    ground = GROUND.model_copy(update={"offers": ("hazmat",)})
    by_air, both = node("air", options=(air,)), node("both", options=(air, ground))
    made = problem(by_air, both, needs=("hazmat",))
    decision = decided(made)

    assert [(a.node, a.service) for a in decision.plan.assignments] == [("both", "ground")]
    assert decision.eliminated["air"] == "no service for hazmat"
    signed = problem(by_air, both, rules=(rule("capability", what="signature"),))
    assert left(decided(signed).plan) == {"A": 1}


def test_a_firm_node_without_the_goods_is_not_silently_another_node() -> None:
    firm = rule("firm_node", nodes=("far",))
    assert sent(decided(problem(NEAR, FAR, rules=(firm,))).plan) == {"far": {"A": 1}}
    without = problem(NEAR, node("far", stock={}), rules=(firm,))
    assert left(decided(without).plan) == {"A": 1}


@pytest.mark.parametrize(("bonus", "chosen"), [(399, "near"), (401, "far")])
def test_a_preferred_node_is_worth_its_bonus(bonus: int, chosen: str) -> None:
    decision = decided(problem(NEAR, FAR, rules=(rule("preferred_node", bonus, nodes=("far",)),)))

    assert sent(decision.plan) == {chosen: {"A": 1}}
    assert decision.plan.cost.total == {"near": 500, "far": 900}[chosen]


def test_a_line_is_kept_from_nodes_where_it_was_rejected() -> None:
    cool_down = rule("exclude", nodes=("near",), lines=("A",))
    decision = decided(problem(NEAR, FAR, asks={"A": 1, "B": 1}, rules=(cool_down,)))
    assert sent(decision.plan) == {"far": {"A": 1, "B": 1}}
    apart = decided(
        problem(NEAR, node("far", 900, stock={"A": 1}), asks={"A": 1, "B": 1}, rules=(cool_down,))
    )
    assert sent(apart.plan) == {"far": {"A": 1}, "near": {"B": 1}}


def test_within_a_local_radius_nodes_are_equally_near() -> None:
    weights = Weights(minor_per_1000_miles=1000)
    nodes = (node("close", 501, miles=10), node("closer", 502, miles=5), node("far", 500, miles=90))
    radius = rule("local_radius", 50)

    assert sent(decided(problem(*nodes, weights=weights)).plan) == {"closer": {"A": 1}}
    tied = problem(*nodes, weights=weights, rules=(radius,))
    assert sent(decided(tied).plan) == {"close": {"A": 1}}


def test_no_node_gets_more_units_in_a_day_than_it_has_room_for() -> None:
    small = node("near", 500, 100, units_left=2)
    asks = {"A": 2, "B": 1}
    assert sent(decided(problem(small, FAR, asks=asks)).plan) == {"far": asks}
    few = decided(problem(small, asks=asks)).plan
    assert sum(sum(lines.values()) for lines in sent(few).values()) == 2
    full = decided(problem(small.model_copy(update={"units_left": 0}), FAR, asks=asks))
    assert full.eliminated["near"] == "no capacity left today"


def test_the_second_pass_has_the_room_that_the_first_one_left() -> None:
    small = node("near", units_left=2, stock={"A": 3})
    soft = rule("min_stock", 2, hard=False)
    assert sent(decided(problem(small, asks={"A": 3}, rules=(soft,))).plan) == {"near": {"A": 2}}
