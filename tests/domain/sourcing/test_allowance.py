"""Explanations take so much counted work and no more, and say where that was not enough."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import sleep

import pytest

from cli.random_problems import NOON, random_problem
from domain.sourcing.allowance import Spent, Stopped, Work, allowed
from domain.sourcing.answers import ASKED, answers
from domain.sourcing.cpsat import Model
from domain.sourcing.explain import why
from domain.sourcing.policy import Constraint, Policy
from domain.sourcing.posing import posed
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption
from domain.sourcing.record import Record
from domain.sourcing.solver import cheapest_plan, solve
from tests.domain.sourcing.brute import seeded

_LITTLE = 1e-9
_MUCH = 1000.0


def long_order() -> Record:
    """One that the kernel leaves to CP-SAT."""
    problems = (random_problem(seeded(n), lines=20, nodes=12, quantity=3) for n in range(50))
    decisions = (solve(problem, "o/1") for problem in problems)
    return Record(
        decision=next(
            d for d in decisions if d.solver == Model.solver and len(d.plan.assignments) > 1
        )
    )


def endless(*, lines: int = 40, nodes: int = 30) -> Problem:
    """One that CP-SAT does not prove within any budget here: much of everything at every node."""
    chance = seeded(1)
    demands = tuple(
        Demand(
            line_id=str(number),
            sku=f"S{number}",
            quantity=chance.randint(1, 3),
            weight_g=chance.choice((200, 450, 700, 2300, 9000)),
        )
        for number in range(lines)
    )
    candidates = tuple(
        Candidate(
            node=f"N{number:02}",
            kind="dc",
            miles=chance.randint(10, 2000),
            stock={d.sku: chance.randint(1, 2) for d in demands if chance.random() < 1 / 2},
            capacity_left=None,
            order_cost_minor=chance.randint(0, 300),
            unit_cost_minor=chance.randint(0, 200),
            options=tuple(
                ServiceOption(
                    service=service,
                    carrier="x",
                    zone=1,
                    base_minor=chance.randint(300, 1500),
                    per_lb_minor=chance.randint(0, 150),
                    ship_by=NOON,
                    deliver_by=NOON + timedelta(days=late),
                    days_late=late,
                )
                for late, service in enumerate(("express", "ground"))
            ),
        )
        for number in range(nodes)
    )
    return Problem(
        order_id="o",
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=None,
        demands=demands,
        candidates=candidates,
        split_fee_minor=100,
        late_day_minor=300,
        max_nodes=None,
    )


def test_what_takes_more_work_than_is_allowed_ends_at_the_same_solve() -> None:
    problem = long_order().decision.problem
    with allowed(_MUCH):
        found = cheapest_plan(problem)
    assert found == cheapest_plan(problem)
    with allowed(_LITTLE), pytest.raises(Spent):
        cheapest_plan(problem)
    assert found == cheapest_plan(problem)  # an allowance ends with its block


def test_the_outer_allowance_holds() -> None:
    problem = long_order().decision.problem
    with allowed(_LITTLE), allowed(_MUCH), pytest.raises(Spent):
        cheapest_plan(problem)


def test_answers_and_reasons_say_that_they_were_not_found() -> None:
    record = long_order()
    node = next(iter(record.decision.eliminated))
    with allowed(_LITTLE):
        told = {answer.question: answer.text for answer in answers(record)}
        found = why(record, node)
    assert told.keys() == ASKED.keys()
    assert "more work" in told["why_split"]
    assert "more work" in found.text
    assert (found.plan, found.cost_minor, found.change) == (None, None, ())
    in_full = {answer.question: answer.text for answer in answers(record)}
    assert "more work" not in " ".join(in_full.values())
    assert all(told[q] == text for q, text in in_full.items() if "more work" not in told[q])
    assert why(record, node).cost_minor is not None


def test_a_decision_takes_so_much_work_and_says_what_is_proven() -> None:
    problem, work = endless(), Work(2.0)
    with work.part(keeping=1.0, must=True):
        decision = solve(problem, "o/1")

    assert 0.8 < work.left < 2.0
    assert decision.proof == "feasible"
    assert decision.bound is not None
    assert decision.bound.objective < decision.plan.objective
    with Work(2.0).part(keeping=1.0, must=True):
        assert solve(problem, "o/1") == decision


def test_there_is_a_plan_where_the_work_ends_before_the_first_one() -> None:
    problem = endless()
    with Work(1e-6).part(must=True):
        decision = solve(problem, "o/1")

    assert decision.plan.assignments
    assert decision.plan.unsourced == ()  # as many units as any plan serves
    assert (decision.proof, decision.runner_up) == ("feasible", None)
    with Work(1e-6).part(must=True):
        assert solve(problem, "o/1") == decision


def test_both_passes_and_their_reasons_share_the_work() -> None:
    few = Constraint(name="few", kind="max_nodes", hard=False, value=2)
    near = Constraint(name="near", kind="max_distance", hard=False, value=900)
    problem = endless().model_copy(update={"policy": Policy(constraints=(few, near))})
    work = Work(3.0)
    with work.part(keeping=1.0, must=True):
        decision = solve(problem, "o/1")
    assert decision.relaxed
    assert work.left > 0.5


def test_what_the_kernel_does_is_work_too() -> None:
    problem, work = endless(lines=10, nodes=20), Work(1000.0)
    demands = tuple(d.model_copy(update={"quantity": 1}) for d in problem.demands)
    with work.part():
        assert solve(problem.model_copy(update={"demands": demands}), "o/1").solver != Model.solver
    assert work.left < 1000.0


def test_what_nobody_waits_for_ends() -> None:
    work, problem = Work(1e9), endless()

    def endlessly() -> None:
        with work.part(must=True):
            Model(posed(problem)[0], work_limit=1e9).solve()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(endlessly)
        while not work.solving:
            assert not running.done()
        while not running.done():  # one that has just begun does not hear it the first time
            work.stop()
            sleep(0.01)
        with pytest.raises(Stopped):
            running.result()
