"""The kernel beside CP-SAT on random problems, its order among equals, its limits, its checks."""

from collections import Counter
from functools import partial
from random import Random

import pytest

from cli.random_problems import random_problem
from domain.sourcing import kernel
from domain.sourcing.certifying import certified
from domain.sourcing.cpsat import Model
from domain.sourcing.kernel import Kernel
from domain.sourcing.packages import Packages, kinds_of
from domain.sourcing.posing import posed
from domain.sourcing.problem import Decision, Demand, Plan, Problem
from domain.sourcing.search import Answer, Question
from domain.sourcing.solver import cheapest_plan, solve
from domain.sourcing.tables import Tables
from tests.domain.sourcing.brute import kits_are_whole, seeded
from tests.domain.sourcing.test_solver import (
    assert_keeps_to_the_problem,
    changed,
    nodes_of,
    served,
    two_nodes,
    with_more_stock,
    without,
)


def of_the_kernel(chance: Random) -> tuple[Problem, Decision]:
    """A random problem that it takes, and what it decides."""
    while True:
        problem = random_problem(chance)
        decision = solve(problem, "d")
        if decision.solver == Kernel.solver:
            return problem, decision


def worth(decision: Decision) -> tuple[int, int, int | None]:
    return served(decision.plan), decision.plan.cost.total, decision.gap_minor


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 70))]
)
def test_plan_and_runner_up_cost_what_cp_sat_proves(seed: int) -> None:
    chance = seeded(seed)
    for _ in range(20):
        problem, decision = of_the_kernel(chance)
        other = solve(problem, "d", by=partial(Model, work_limit=60))

        assert (decision.proof, other.proof) == ("optimal", "optimal")
        assert worth(decision) == worth(other)
        for plan in filter(None, (decision.plan, decision.runner_up)):
            assert_keeps_to_the_problem(problem, plan)
            assert problem.max_nodes is None or len(plan.assignments) <= problem.max_nodes
            for package in plan.assignments:
                units = {line.line_id: line.quantity for line in package.lines}
                assert kits_are_whole(problem, [units.get(d.line_id, 0) for d in problem.demands])


@pytest.mark.parametrize("seed", range(3))
def test_the_best_plan_with_a_node_costs_what_cp_sat_proves(seed: int) -> None:
    chance = seeded(100 + seed)
    compared = 0
    for _ in range(10):
        problem, _ = of_the_kernel(chance)
        question, _ = posed(problem)
        ours = kernel.search(question)
        assert ours
        other = Model(question, work_limit=60)
        for candidate in question.usable[:5]:
            try:
                found = ours.solve(forced=candidate.node)
            except kernel.Beyond:
                continue
            proven = other.solve(forced=candidate.node)
            assert value(question, found) == value(question, proven)
            compared += 1
    assert compared > 20


def value(question: Question, answer: Answer | None) -> tuple[int, int] | None:
    """Units and cost of loads, priced without the kernel's own tables."""
    if answer is None:
        return None
    cost = sum(
        load.candidate.order_cost_minor
        + load.candidate.unit_cost_minor * sum(load.units)
        + question.problem.split_fee_minor
        + load.option.base_minor
        + load.option.days_late * question.problem.late_day_minor
        + load.option.per_lb_minor * pounds_beyond_the_first(question, load.units)
        for load in answer.loads
    )
    return sum(sum(load.units) for load in answer.loads), cost


def pounds_beyond_the_first(question: Question, units: tuple[int, ...]) -> int:
    grams = sum(item.weight_g * n for item, n in zip(question.items, units, strict=True))
    pounds = 1
    while 453.59237 * pounds < grams:
        pounds += 1
    return pounds - 1


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_nodes_and_lines_does_not_matter(seed: int) -> None:
    chance = seeded(200 + seed)
    for _ in range(15):
        problem, decision = of_the_kernel(chance)
        candidates = [
            c.model_copy(update={"options": tuple(chance.sample(c.options, len(c.options)))})
            for c in chance.sample(problem.candidates, len(problem.candidates))
        ]
        again = solve(changed(problem, candidates), "d")
        demands = tuple(chance.sample(problem.demands, len(problem.demands)))
        turned = cheapest_plan(problem.model_copy(update={"demands": demands}))

        assert again.plan.model_dump_json() == decision.plan.model_dump_json()
        assert again.runner_up == decision.runner_up
        assert by_sku(problem, turned) == by_sku(problem, decision.plan)


def by_sku(problem: Problem, plan: Plan) -> list[object]:
    """The packages, with the units of each SKU in place of lines."""
    skus = {demand.line_id: demand.sku for demand in problem.demands}
    found: list[object] = []
    for package in plan.assignments:
        units: Counter[str] = Counter()
        for line in package.lines:
            units[skus[line.line_id]] += line.quantity
        found.append((package.node, package.service, package.cost, units))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_more_stock_never_costs_more_nor_serves_less(seed: int) -> None:
    chance = seeded(300 + seed)
    for _ in range(25):
        problem, decision = of_the_kernel(chance)
        after = cheapest_plan(with_more_stock(problem))

        assert served(after) >= served(decision.plan)
        if served(after) == served(decision.plan):
            assert after.cost.total <= decision.plan.cost.total


@pytest.mark.parametrize("seed", range(3))
def test_without_a_node_that_the_runner_up_does_without_the_runner_up_is_best(seed: int) -> None:
    chance = seeded(400 + seed)
    compared = 0
    for _ in range(25):
        problem, decision = of_the_kernel(chance)
        if decision.runner_up is None:
            continue
        for node in nodes_of(decision.plan) - nodes_of(decision.runner_up):
            left = cheapest_plan(without(problem, frozenset({node})))
            assert served(left) == served(decision.runner_up)
            assert left.cost.total == decision.runner_up.cost.total
            compared += 1
    assert compared


def test_of_plans_that_cost_the_same_the_fewest_packages_then_the_first_nodes_are_taken() -> None:
    same = two_nodes(stock=(2, 2), base=(500, 500), quantity=2)
    backwards = changed(same, list(reversed(same.candidates)))
    free = same.model_copy(update={"split_fee_minor": 0})
    nothing = [
        c.model_copy(update={"options": (c.options[0].model_copy(update={"base_minor": 0}),)})
        for c in free.candidates
    ]

    assert nodes_of(cheapest_plan(same)) == {"N0"} == nodes_of(cheapest_plan(backwards))
    assert nodes_of(cheapest_plan(changed(free, nothing))) == {"N0"}


def test_of_services_that_cost_the_same_the_sooner_is_taken() -> None:
    problem = two_nodes(stock=(1, 0), base=(500, 500))
    option = problem.candidates[0].options[0]
    sooner = option.model_copy(
        update={"service": "zoom", "deliver_by": option.deliver_by.replace(year=2025)}
    )
    both = problem.candidates[0].model_copy(update={"options": (option, sooner)})

    assert cheapest_plan(changed(problem, [both])).assignments[0].service == "zoom"


def test_a_node_sends_one_package_also_where_two_would_be_cheaper() -> None:
    problem = two_nodes(stock=(2, 0), base=(10, 10), quantity=2)
    option = problem.candidates[0].options[0].model_copy(update={"per_lb_minor": 90})
    alone = problem.candidates[0].model_copy(update={"options": (option,)})
    heavy = problem.demands[0].model_copy(update={"weight_g": 400})
    problem = problem.model_copy(update={"demands": (heavy,), "split_fee_minor": 0})

    [package] = cheapest_plan(changed(problem, [alone])).assignments

    assert (package.lines[0].quantity, package.cost.shipping) == (2, 10 + 90)


def test_what_it_takes_has_limits_and_beyond_them_cp_sat_decides() -> None:
    assert [solve(of_lines(n), "d").solver for n in (12, 13)] == ["exact-kernel", "ortools-cp-sat"]
    assert solve(of_lines(5, quantity=3), "d").solver == "exact-kernel"
    assert solve(of_lines(6, quantity=3), "d").solver == "ortools-cp-sat"


def test_a_cost_that_its_integers_cannot_hold_is_left_to_cp_sat() -> None:
    problem = two_nodes(stock=(1, 1), base=(10**17, 2 * 10**17))
    assert solve(problem, "d").solver == "ortools-cp-sat"
    assert nodes_of(cheapest_plan(problem)) == {"N0"}


def test_a_search_beyond_its_limit_of_work_is_left_to_cp_sat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = of_lines(6)
    ours = solve(problem, "d")
    monkeypatch.setattr(kernel, "MOST_WORK", 10)
    other = solve(problem, "d")

    assert (ours.solver, other.solver) == ("exact-kernel", "ortools-cp-sat")
    assert worth(ours) == worth(other)


def of_lines(lines: int, quantity: int = 1) -> Problem:
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    skus = [f"S{number:02}" for number in range(lines)]
    demands = tuple(Demand(line_id=s, sku=s, quantity=quantity, weight_g=100) for s in skus)
    candidates = [
        c.model_copy(update={"stock": dict.fromkeys(skus[first:], quantity)})
        for first, c in enumerate(problem.candidates)
    ]
    return changed(problem.model_copy(update={"demands": demands}), candidates)


def test_tables_that_are_kept_give_what_the_problem_gives() -> None:
    question, _ = posed(of_lines(5))
    tables = Tables.of(question)
    answers = [Kernel(Packages(question, kinds_of(question), tables)).solve() for _ in range(2)]
    search = kernel.search(question)

    assert search
    assert answers[0] == answers[1] == search.solve()


def test_a_share_of_decisions_is_solved_again_always_the_same_ones() -> None:
    problem = two_nodes(stock=(5, 5), base=(500, 820))
    made = [solve(problem, f"order-{number}/1") for number in range(200)]
    checked = [certified(decision, 0.05) for decision in made]
    drawn = [d.decision_id for d in checked if d.certificate]

    assert 1 <= len(drawn) <= 30
    assert drawn == [d.decision_id for d in made if certified(d, 0.05).certificate]
    assert all(d.certificate.agrees for d in checked if d.certificate)
    assert not any(certified(decision, 0).certificate for decision in made)
    assert all(certified(decision, 1).certificate for decision in made[:5])


@pytest.mark.parametrize("wrong", ["dearer", "cheaper", "unsourced"])
def test_a_decision_that_another_solver_does_not_find_is_an_alarm(wrong: str) -> None:
    decision = solve(two_nodes(stock=(5, 5), base=(500, 820)), "d")
    cost, objective = decision.plan.cost, decision.plan.objective
    updates: dict[str, dict[str, object]] = {
        "dearer": {"objective": objective + 1000},
        "cheaper": {"objective": objective - 1000},
        "unsourced": {"assignments": (), "unsourced": decision.plan.assignments[0].lines},
    }
    plan = decision.plan.model_copy(update=updates[wrong])
    certificate = certified(decision.model_copy(update={"plan": plan}), 1).certificate

    assert certificate
    assert not certificate.agrees
    assert (certificate.cost_minor, certificate.unsourced) == (cost.total, 0)


def test_what_cp_sat_decides_is_not_checked_by_itself() -> None:
    assert certified(solve(of_lines(13), "d"), 1).certificate is None
