"""Explanations take so much counted work and no more, and say where that was not enough."""

import pytest

from cli.random_problems import random_problem
from domain.sourcing.allowance import Spent, allowed
from domain.sourcing.answers import ASKED, answers
from domain.sourcing.cpsat import Model
from domain.sourcing.explain import why
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
