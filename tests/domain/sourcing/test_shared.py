"""Problems that are decided together: what is scarce is shared, and each plan is one of its own."""

from collections import Counter
from collections.abc import Sequence

import pytest

from cli.random_problems import random_problem
from domain.sourcing.batch import Effort
from domain.sourcing.policy import Constraint
from domain.sourcing.problem import Plan, Problem
from domain.sourcing.shared import plans
from domain.sourcing.solver import cheapest_plan
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.small import node, problem, sent

QUICK = Effort(passes=30, kept=30, perturbed=2, rounds=4, work=0.02)


def units_of(problems: Sequence[Problem], found: Sequence[Plan | None]) -> Counter[tuple[str, str]]:
    """By node and SKU, what all plans take."""
    taken: Counter[tuple[str, str]] = Counter()
    for asked, plan in zip(problems, found, strict=True):
        skus = {demand.line_id: demand.sku for demand in asked.demands}
        for package in plan.assignments if plan else ():
            for line in package.lines:
                taken[package.node, skus[line.line_id]] += line.quantity
    return taken


def test_the_last_unit_goes_to_the_order_that_saves_most_by_it() -> None:
    near, far = node("N", base=500, stock={"A": 1}), node("F", base=600, stock={"A": 5})
    flexible, needy = problem(near, far), problem(near, far.model_copy(update={"stock": {}}))
    found = plans([flexible, needy], QUICK)
    assert [sent(plan) for plan in found if plan] == [{"F": {"A": 1}}, {"N": {"A": 1}}]


def test_a_nodes_capacity_is_shared() -> None:
    full = node("N", base=500, capacity_left=1)
    orders = [problem(full, node("F", base=600)), problem(full, node("F", base=900))]
    found = plans(orders, QUICK)
    assert [sent(plan) for plan in found if plan] == [{"F": {"A": 1}}, {"N": {"A": 1}}]


def test_an_order_with_a_limit_on_its_plan_is_not_taken() -> None:
    limit = Constraint(name="one", kind="max_nodes", value=1)
    assert plans([problem(node("N"), rules=(limit,))], QUICK) == [None]
    assert plans([], QUICK) == []


@pytest.mark.parametrize("seed", range(24, 44))
def test_an_order_by_itself_gets_the_plan_that_it_would_get_alone(seed: int) -> None:
    """Not always the same one: of two as good, or where a node twice were cheaper, another."""
    asked = random_problem(seeded(seed), lines=4, quantity=2, nodes=6)
    (found,) = plans([asked], QUICK)
    if found is None:
        return
    best = cheapest_plan(asked)
    assert found.worth[0] == best.worth[0]
    assert found.worth >= best.worth
    assert found.objective <= best.objective * 1.1
    assert len({package.node for package in found.assignments}) == len(found.assignments)


def test_no_unit_is_given_twice() -> None:
    asked = random_problem(seeded(3), lines=4, quantity=2, nodes=6)
    orders = [asked] * 5
    found = plans(orders, QUICK)
    assert any(found)
    stock = {(c.node, sku): count for c in asked.candidates for sku, count in c.stock.items()}
    for key, count in units_of(orders, found).items():
        assert count <= stock[key]
