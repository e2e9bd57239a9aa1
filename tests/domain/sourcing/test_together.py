"""Orders that are sourced together: scarce stock goes where it is worth most, never out twice."""

from collections import Counter
from typing import Any

import pytest

from cli.random_problems import random_problem, with_rules
from domain.sourcing.policy import Constraint
from domain.sourcing.problem import Decision, Problem
from domain.sourcing.record import Record
from domain.sourcing.replay import replay
from domain.sourcing.solver import solve
from domain.sourcing.together import FULL, TAKEN, Takes, Together
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.small import node, problem, sent


def decided(problems: list[Problem]) -> list[Decision]:
    together = Together(problems)
    decisions = []
    for number, of in enumerate(problems):
        left = together.problem(number, of)
        decisions.append(solve(left, f"d{number}"))
        together.settle(number, of, decisions[-1].plan)
    return decisions


def pair(**given: Any) -> list[Problem]:
    """Two orders for the last unit at `near`; the second one has a dearer way out."""
    near: dict[str, Any] = {"stock": {"A": 1}, **given}
    return [
        problem(node("near", 500, **near), node("far", 600)),
        problem(node("near", 500, **near), node("far", 900)),
    ]


def test_the_last_unit_goes_to_the_order_that_would_pay_more_without_it() -> None:
    first, second = decided(pair())
    assert (sent(first.plan), sent(second.plan)) == ({"far": {"A": 1}}, {"near": {"A": 1}})
    assert first.eliminated["near"] == TAKEN
    alone = solve(pair()[0], "d").plan
    assert sent(alone) == {"near": {"A": 1}}


@pytest.mark.parametrize("limit", ["capacity_left", "units_left"])
def test_a_place_in_the_day_of_a_node_goes_out_once(limit: str) -> None:
    decisions = decided(pair(stock={"A": 5}, **{limit: 1}))
    assert Counter(a.node for d in decisions for a in d.plan.assignments) == {"near": 1, "far": 1}
    [without] = [d for d in decisions if "near" in d.eliminated]
    assert without.eliminated["near"] == FULL


def test_a_node_gets_no_more_orders_of_a_batch_than_rules_let_it_have_open() -> None:
    few = Constraint(name="few", kind="max_orders", value=3)
    near = node("near", 500, open_orders=1)
    decisions = decided([problem(near, node("far", 600), rules=(few,)) for _ in range(5)])
    assert Counter(a.node for d in decisions for a in d.plan.assignments) == {"near": 2, "far": 3}


def test_every_decision_is_made_again_from_its_own_problem() -> None:
    for decision in decided(pair()):
        assert replay(Record(decision=decision)) is None


def test_whatever_the_orders_no_unit_and_no_place_goes_out_twice() -> None:
    chance = seeded(5)
    for _ in range(6):
        network = random_problem(chance, lines=4, nodes=6)
        problems = []
        for number in range(10):
            asks = random_problem(chance, lines=4, nodes=6).demands
            of = network.model_copy(update={"demands": asks, "order_id": str(number)})
            problems.append(with_rules(chance, of) if number % 2 else of)
        taken, packages, units = Takes.of({})
        for of, decision in zip(problems, decided(problems), strict=True):
            takes = Takes.of_plan(of, decision.plan)
            taken += takes.stock
            packages += takes.packages
            units += takes.units
        for there in network.candidates:
            name = there.node
            for sku, free in there.stock.items():
                assert taken[name, sku] <= free
            assert there.capacity_left is None or packages[name] <= there.capacity_left
            assert there.units_left is None or units[name] <= there.units_left
