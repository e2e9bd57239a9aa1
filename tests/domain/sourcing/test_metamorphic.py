"""What must happen to a plan when the problem changes a little; hypothesis makes the problems."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.random_problems import random_problem, with_rules
from domain.sourcing.policy import PROFILES, Constraint, Policy, Weights
from domain.sourcing.problem import Plan, Problem
from domain.sourcing.solver import cheapest_plan, solve
from domain.sourcing.weighing import parts
from tests.domain.sourcing.small import GROUND, node, problem, sent
from tests.domain.sourcing.test_solver import changed, nodes_of, served, with_more_stock, without

SEEDS = st.integers(min_value=0, max_value=2**32)
WEIGHTS = (
    "shipping",
    "handling",
    "split",
    "late",
    "labour",
    "stock",
    "goods",
    "carbon_minor_per_kg",
    "minor_per_day",
    "minor_per_package",
    "minor_per_1000_miles",
)
PART_OF = {
    "carbon_minor_per_kg": "carbon_g",
    "minor_per_day": "days",
    "minor_per_package": "packages",
    "minor_per_1000_miles": "miles",
}


def made(seed: int, *, rules: bool = True) -> Problem:
    chance = Random(seed)  # noqa: S311  # test cases, not secrets
    ruled = with_rules(chance, random_problem(chance, lines=4, quantity=2, nodes=8))
    hard = tuple(
        rule
        for rule in ruled.policy.constraints
        if rules and not rule.soft and rule.kind != "location_priority"
    )
    return with_policy(ruled, ruled.policy.weights, hard)


def with_policy(of: Problem, weights: Weights, rules: tuple[object, ...] | None = None) -> Problem:
    kept = of.policy.constraints if rules is None else rules
    policy = Policy.model_validate({"weights": weights, "constraints": kept})
    return of.model_copy(update={"policy": policy})


def amount(plan: Plan, weight: str) -> int:
    """What the plan has of what is weighed, as it is."""
    if weight in PART_OF:
        return sum(getattr(a.measures, PART_OF[weight]) for a in plan.assignments)
    total: int = getattr(plan.cost, weight)
    return total


@pytest.mark.parametrize("cases", [40, pytest.param(2000, marks=pytest.mark.long)])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_raising_a_weight_never_worsens_its_part(weight: str, cases: int) -> None:
    bettered = 0
    for seed in range(cases):
        before = made(seed) if seed else two_packages_or_a_dear_one()
        weights = before.policy.weights
        more = 1 + 10 * seed**2 % 90_000 if seed else 90_000
        raised = weights.model_copy(update={weight: getattr(weights, weight) + more})

        was = amount(cheapest_plan(before), weight)
        now = amount(cheapest_plan(with_policy(before, raised)), weight)

        assert now <= was, seed
        bettered += now < was
    assert bettered > 0


@pytest.mark.parametrize("cases", [30, pytest.param(1000, marks=pytest.mark.long)])
def test_one_unit_more_of_any_goods_at_any_node_never_counts_more_nor_serves_less(
    cases: int,
) -> None:
    bettered = 0
    for seed in range(cases):
        before = made(seed)
        worth = cheapest_plan(before).worth
        skus = {demand.sku for demand in before.demands}
        for number, sku in product(range(len(before.candidates)), sorted(skus)):
            after = cheapest_plan(with_one_more(before, number, sku)).worth

            assert after <= worth, (seed, number, sku)
            bettered += after < worth
    assert bettered > 0


def with_one_more(of: Problem, number: int, sku: str) -> Problem:
    nodes = list(of.candidates)
    stock = {**nodes[number].stock, sku: nodes[number].stock.get(sku, 0) + 1}
    nodes[number] = nodes[number].model_copy(update={"stock": stock})
    return changed(of, nodes)


@given(SEEDS)
@settings(max_examples=80, deadline=None)
def test_more_stock_everywhere_never_counts_more_nor_serves_less(seed: int) -> None:
    before = made(seed)
    assert cheapest_plan(with_more_stock(before)).worth <= cheapest_plan(before).worth


@pytest.mark.parametrize("cases", [100, pytest.param(3000, marks=pytest.mark.long)])
def test_forbidding_a_chosen_node_gives_the_runner_up(cases: int) -> None:
    """Or, where that has the node too, nothing better than it; without the node, or by a rule."""
    given_ = 0
    for seed in range(cases):
        before = made(seed)
        decision = solve(before, "d")
        if decision.runner_up is None:
            continue
        worth, others = decision.runner_up.worth, nodes_of(decision.runner_up)
        for gone in nodes_of(decision.plan):
            never = Constraint(name="never", kind="exclude", nodes=(gone,))
            rules = (*before.policy.constraints, never)
            ruled = cheapest_plan(with_policy(before, before.policy.weights, rules))
            bare = cheapest_plan(without(before, frozenset({gone})))

            assert ruled.worth == bare.worth
            if gone in others:
                assert ruled.worth >= worth, seed
            else:
                assert ruled.worth == worth, seed
                given_ += 1
    assert given_ > cases / 10


@given(SEEDS)
@settings(max_examples=80, deadline=None)
def test_one_rule_less_never_serves_less_nor_counts_more(seed: int) -> None:
    before = made(seed)
    if not before.policy.constraints:
        return
    fewer = with_policy(before, before.policy.weights, before.policy.constraints[1:])
    plan, after = cheapest_plan(before), cheapest_plan(fewer)
    if before.policy.constraints[0].kind in {"max_orders", "preferred_node", "local_radius"}:
        return  # the highest holds, or it is no limit: one less may be stricter
    assert served(after) >= served(plan)
    if served(after) == served(plan) and before.policy.constraints[0].kind != "ship_alone":
        assert after.objective <= plan.objective


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_parts_sum_to_the_objective_and_to_the_money(seed: int) -> None:
    before = made(seed)
    decision = solve(before, "d")
    for plan in filter(None, (decision.plan, decision.runner_up)):
        assert sum(parts(before.policy.weights, plan).values()) == plan.objective
        assert sum(a.cost.total for a in plan.assignments) == plan.cost.total
        plain = with_policy(before, Weights(goods=100), ())
        assert sum(parts(plain.policy.weights, plan).values()) == 1000 * plan.cost.total + sum(
            1000 * a.measures.preference_minor for a in plan.assignments
        )


@pytest.mark.parametrize(
    ("profile", "chosen"),
    [
        ("lowest_cost", {"cheap": {"A": 2, "B": 1}}),
        ("fastest", {"fast": {"A": 2, "B": 1}}),
        ("greenest", {"green": {"A": 2, "B": 1}}),
        ("balanced_load", {"idle": {"A": 2, "B": 1}}),
        ("margin", {"vendor": {"A": 2, "B": 1}}),
    ],
)
def test_each_profile_has_its_own_best_node(profile: str, chosen: dict[str, object]) -> None:
    def goes(base: int, days: int, carbon: int) -> dict[str, Any]:
        option = {"base_minor": base, "days": days, "carbon_g": carbon}
        return {"options": (GROUND.model_copy(update=option),)}

    dear: dict[str, Any] = {"goods_minor": {"A": 500, "B": 500}}
    busy: dict[str, Any] = {"labour_minor": 100}
    nodes = (
        node("cheap", **goes(500, 5, 3000), **dear, **busy),
        node("fast", **goes(1500, 1, 9000), **dear, **busy),
        node("green", **goes(1400, 6, 100), **dear, **busy),
        node("idle", **goes(650, 5, 3000), **dear),
        node("vendor", **goes(800, 5, 3000), **busy),
    )
    of = problem(*nodes, asks={"A": 2, "B": 1}, weights=PROFILES[profile])

    assert sent(cheapest_plan(of)) == chosen


def test_fewest_packages_pays_for_one_package_less() -> None:
    either = two_packages_or_a_dear_one()

    assert len(cheapest_plan(either).assignments) == 2
    fewest = cheapest_plan(with_policy(either, PROFILES["fewest_packages"]))
    assert sent(fewest) == {"both": {"A": 1, "B": 1}}


def two_packages_or_a_dear_one() -> Problem:
    nodes = (
        node("a", 100, stock={"A": 1}),
        node("b", 100, stock={"B": 1}),
        node("both", 20_000),
    )
    return problem(*nodes, asks={"A": 1, "B": 1})


def test_a_shadow_price_leaves_scarce_stock_where_it_is_worth_more() -> None:
    scarce, plenty = node("scarce", 500, stock_minor={"A": 300}), node("plenty", 700)
    plan = cheapest_plan(problem(scarce, plenty))
    off = cheapest_plan(problem(scarce, plenty, weights=Weights(stock=0)))

    assert (sent(plan), plan.cost.stock) == ({"plenty": {"A": 1}}, 0)
    assert (sent(off), off.cost.stock, off.objective) == ({"scarce": {"A": 1}}, 300, 500_000)


def test_money_stays_as_it_is_whatever_is_weighed() -> None:
    one = node("one", 500, order_cost_minor=70, line_cost_minor=11, unit_cost_minor=5)
    of = problem(one, asks={"A": 2, "B": 1}, weights=Weights(shipping=50, handling=0))
    plan = cheapest_plan(of)

    assert (plan.cost.shipping, plan.cost.handling) == (500, 70 + 2 * 11 + 3 * 5)
    assert plan.objective == 250_000
    assert parts(of.policy.weights, plan) == {"shipping": 250_000}


def test_what_changes_nothing_changes_nothing() -> None:
    for seed in range(20):
        of = made(seed)
        again = changed(of, list(reversed(of.candidates)))
        assert cheapest_plan(again).worth == cheapest_plan(of).worth
