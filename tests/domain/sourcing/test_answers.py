"""The questions that people ask: no answer says of money or stock what is not so."""

from __future__ import annotations

import pytest

from domain.sourcing.answers import Question, answers
from domain.sourcing.policy import Constraint, Policy, Weights
from domain.sourcing.problem import Problem
from domain.sourcing.record import Record
from domain.sourcing.solver import solve
from tests.domain.sourcing.test_solver import changed, two_nodes


def told(problem: Problem, question: Question) -> str:
    found = answers(Record(decision=solve(problem, "o/1")))
    return next(answer.text for answer in found if answer.question == question)


def preferring(problem: Problem, node: str) -> Problem:
    rule = Constraint(name="ours-first", kind="preferred_node", value=400, nodes=(node,))
    return problem.model_copy(update={"policy": Policy(constraints=(rule,))})


def test_the_next_best_costs_more_or_the_same_or_less() -> None:
    dearer = two_nodes(stock=(1, 1), base=(500, 820))

    assert "The next best, N1, would cost 3.20 USD more." in told(dearer, "which_nodes")
    equal = two_nodes(stock=(1, 1), base=(500, 500))
    assert "The next best, N1, would cost the same." in told(equal, "which_nodes")
    less = "The next best, N0, would cost 3.20 USD less, but something else counts for more."
    assert less in told(preferring(dearer, "N1"), "which_nodes")


def test_a_node_that_has_it_all_and_is_out_could_not_send_it() -> None:
    problem = two_nodes(stock=(1, 1), base=(500, 820), quantity=2)
    [demand] = problem.demands
    third = problem.candidates[0].model_copy(
        update={"node": "N2", "stock": {demand.sku: 9}, "options": (), "eliminated": "offline"}
    )
    split = changed(problem, [*problem.candidates, third])

    assert told(split, "why_split") == (
        "It comes in 2 packages, from N0 and N1."
        " No one node could send it all: the most from one was 1 of 2."
    )


@pytest.mark.parametrize("kind", ["ship_complete_order", "ship_complete_lines", "value_floor"])
def test_what_one_node_could_send_is_told_also_where_it_may_not_go_by_itself(kind: str) -> None:
    whole = Constraint.model_validate({"name": "whole", "kind": kind, "value": 10})
    problem = two_nodes(stock=(3, 2), base=(500, 820), quantity=4)
    [demand] = problem.demands
    problem = problem.model_copy(
        update={
            "demands": (demand.model_copy(update={"price_minor": 5}),),
            "policy": Policy(constraints=(whole,)),
        }
    )

    assert "the most from one was 3 of 4" in told(problem, "why_split")


def test_a_split_that_weights_want_is_not_said_to_be_promised() -> None:
    problem = two_nodes(stock=(2, 2), base=(500, 820), quantity=2)
    [demand] = problem.demands
    heavy = problem.model_copy(
        update={
            "demands": (demand.model_copy(update={"weight_g": 400}),),
            "policy": Policy(weights=Weights(carbon_minor_per_kg=5_000)),
        }
    )
    by_pound = {"per_lb_minor": 0, "dim_divisor": 0, "carbon_g": 0, "carbon_g_per_lb": 1_000}
    candidates = [
        c.model_copy(
            update={"options": tuple(option.model_copy(update=by_pound) for option in c.options)}
        )
        for c in heavy.candidates
    ]

    assert told(changed(heavy, candidates), "why_split") == (
        "It comes in 2 packages, from N0 and N1."
        " From N0 alone it would cost 9.20 USD less, but something else counts for more."
    )
