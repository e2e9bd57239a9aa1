"""Plans under rules beside everything tried out, and beside CP-SAT."""

from fractions import Fraction
from functools import partial

import pytest

from cli.random_problems import random_problem, with_rules
from domain.sourcing import weighing
from domain.sourcing.certifying import certified
from domain.sourcing.cpsat import Model
from domain.sourcing.kept import broken
from domain.sourcing.planning import planned
from domain.sourcing.policy import Policy
from domain.sourcing.posing import posed
from domain.sourcing.problem import Plan, Problem
from domain.sourcing.solver import best, passes, solve
from tests.domain.sourcing import brute
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_solver import nodes_of, served
from tests.domain.sourcing.trying import Worth, tried


def worth(plan: Plan) -> Fraction:
    return Fraction(plan.objective, 1000)


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 60))]
)
def test_each_pass_is_what_trying_everything_finds(seed: int) -> None:
    chance = seeded(7000 + seed)
    for number in range(12):
        small = brute.random_problem(chance, lines=2, nodes=3)
        if number % 3 == 0:
            small = brute.with_kits(chance, small)
        problem = with_rules(chance, small)
        before: Plan | None = None
        for plan in passes(problem):
            rules = [r for r in problem.policy.constraints if before is None or not r.soft]
            if before and any(
                r.soft and r.kind == "ship_alone" for r in problem.policy.constraints
            ):
                break
            most, by_set = tried(problem, rules, before)
            assert served(plan) == most
            found = min(by_set.values())
            assert worth(plan) == found[2]
            before = plan


@pytest.mark.parametrize("seed", range(3))
def test_the_runner_up_is_the_best_of_the_other_sets_of_nodes(seed: int) -> None:
    chance = seeded(7100 + seed)
    for _ in range(15):
        problem = with_rules(chance, brute.random_problem(chance, lines=2, nodes=3))
        if len(passes(problem)) > 1:
            continue
        decision = solve(problem, "d")
        _, by_set = tried(problem, problem.policy.constraints)
        others = [w for nodes, w in by_set.items() if nodes != nodes_of(decision.plan)]
        if not decision.plan.assignments:
            continue
        second: Worth | None = min(others, default=None)
        assert (worth(decision.runner_up) if decision.runner_up else None) == (
            second[2] if second else None
        )


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]
)
def test_the_kernel_and_cp_sat_agree_in_every_pass(seed: int) -> None:
    chance = seeded(7200 + seed)
    for _ in range(20):
        problem = with_rules(chance, random_problem(chance))
        before: Plan | None = None
        for plan in passes(problem):
            question, _ = posed(problem, before)
            answer = best(question, Model(question, work_limit=60))
            other = planned(question, answer.loads, before)
            assert answer.optimal
            if other.worth != plan.worth:  # its budget of work ended first, and it says so
                assert other.worth < plan.worth
                assert not best(question, Model(question)).optimal
                break
            for one in (plan, other):
                assert_adds_up(problem, one)
                assert not hard_ones_broken(problem, one)
            if before is None:
                assert broken(problem, plan) == ()
            before = plan


def assert_adds_up(problem: Problem, plan: Plan) -> None:
    weights = problem.policy.weights
    assert sum(weighing.parts(weights, plan).values()) == plan.objective
    assert sum(a.cost.total for a in plan.assignments) == plan.cost.total
    for name in type(plan.cost).model_fields:
        assert sum(getattr(a.cost, name) for a in plan.assignments) == getattr(plan.cost, name)


def hard_ones_broken(problem: Problem, plan: Plan) -> set[str]:
    return set(broken(problem, plan)) - {r.name for r in problem.policy.constraints if r.soft}


def test_the_record_names_the_soft_rules_that_were_relaxed() -> None:
    chance, relaxed = seeded(7300), 0
    for _ in range(60):
        problem = with_rules(chance, random_problem(chance, lines=3, nodes=6))
        decision = solve(problem, "d")
        soft = {rule.name for rule in problem.policy.constraints if rule.soft}
        assert set(decision.relaxed) <= soft
        assert set(decision.relaxed) == set(broken(problem, decision.plan))
        relaxed += bool(decision.relaxed)
        again = solve(Problem.model_validate_json(problem.model_dump_json()), "d")
        assert again.model_dump_json() == decision.model_dump_json()
    assert relaxed > 3


def test_cp_sat_alone_decides_the_same() -> None:
    chance = seeded(7400)
    for _ in range(15):
        problem = with_rules(chance, random_problem(chance, lines=4, nodes=10))
        ours = passes(problem)[0]
        other = passes(problem, by=partial(Model, work_limit=60))[0]
        assert ours.worth == other.worth


def test_of_equal_plans_cp_sat_has_the_same_in_whatever_order_nodes_are_told() -> None:
    chance = seeded(7700)
    for _ in range(10):
        problem = with_rules(chance, random_problem(chance, lines=3, nodes=6))
        alike = [
            candidate.model_copy(update={"node": f"{candidate.node}{twin}"})
            for candidate in problem.candidates
            for twin in "ab"
        ]
        free = Policy(weights=problem.policy.weights)
        told = problem.model_copy(update={"candidates": tuple(alike), "policy": free})
        chance.shuffle(alike)
        other = told.model_copy(update={"candidates": tuple(alike)})
        assert passes(told, by=Model) == passes(other, by=Model)


def test_where_the_budget_ends_the_plan_has_a_proven_gap() -> None:
    chance, ended = seeded(7500), 0
    for _ in range(12):
        problem = random_problem(chance, lines=16, nodes=50)
        decision = solve(problem, "d", by=partial(Model, work_limit=0.002))
        optimum = solve(problem, "d", by=partial(Model, work_limit=60)).plan
        assert decision.plan.worth >= optimum.worth
        if decision.bound is None:
            continue
        ended += 1
        assert decision.proof == "feasible"
        assert decision.bound.unsourced <= optimum.worth[0]
        if decision.plan.worth[0] == optimum.worth[0]:
            assert decision.bound.objective <= optimum.objective
            if decision.proven_gap is not None:
                assert decision.plan.objective - optimum.objective <= decision.proven_gap
    assert ended


def test_decisions_under_rules_are_certified_pass_by_pass() -> None:
    chance, twice = seeded(7600), 0
    for _ in range(40):
        problem = with_rules(chance, random_problem(chance, lines=3, nodes=6))
        decision = solve(problem, "d")
        certificate = certified(decision, 1).certificate
        if certificate is None:
            continue
        assert certificate.agrees
        twice += len(passes(problem)) > 1
        worse = decision.plan.model_copy(update={"objective": decision.plan.objective + 1})
        wrong = certified(decision.model_copy(update={"plan": worse}), 1).certificate
        assert wrong
        assert not wrong.agrees
    assert twice > 3
