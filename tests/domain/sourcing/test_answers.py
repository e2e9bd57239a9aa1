"""The questions that people ask: no answer says of money or stock what is not so."""

from __future__ import annotations

import pytest

from cli.random_problems import random_problem, with_rules
from domain.sourcing.answers import Question, answers
from domain.sourcing.comparing import against
from domain.sourcing.policy import PROFILES, Constraint, Policy, Weights
from domain.sourcing.problem import Problem
from domain.sourcing.record import Record
from domain.sourcing.solver import solve
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_solver import changed, two_nodes


def told(problem: Problem, question: Question) -> str:
    found = answers(Record(decision=solve(problem, "o/1")))
    return next(answer.text for answer in found if answer.question == question)


def preferring(problem: Problem, node: str) -> Problem:
    rule = Constraint(name="ours-first", kind="preferred_node", value=400, nodes=(node,))
    return problem.model_copy(update={"policy": Policy(constraints=(rule,))})


def fastest(problem: Problem, days: tuple[int, int]) -> Problem:
    """By the objective of that name; the nodes' services take so many days."""
    candidates = [
        c.model_copy(update={"options": tuple(o.model_copy(update={"days": n}) for o in c.options)})
        for c, n in zip(problem.candidates, days, strict=True)
    ]
    policy = Policy(profile="fastest", weights=PROFILES["fastest"])
    return changed(problem.model_copy(update={"policy": policy}), candidates)


def test_the_next_best_costs_more_or_the_same_or_less() -> None:
    dearer = two_nodes(stock=(1, 1), base=(500, 820))

    assert "The next best, N1, would cost 3.20 USD more." in told(dearer, "which_nodes")
    equal = two_nodes(stock=(1, 1), base=(500, 500))
    assert "The next best, N1, would cost the same." in told(equal, "which_nodes")
    less = (
        "The next best, N0, would cost 3.20 USD less,"
        " but rule ours-first counts 4.00 USD against it."
    )
    assert less in told(preferring(dearer, "N1"), "which_nodes")


def test_of_what_counts_for_more_than_money_as_much_is_named_as_it_takes() -> None:
    days = fastest(two_nodes(stock=(1, 1), base=(500, 820)), days=(4, 2))
    later = "would cost 3.20 USD less, but arrives 2 days later, and a day counts 100.00 USD here."
    assert later in told(days, "which_nodes")

    weights = Weights(minor_per_day=100, minor_per_1000_miles=1_000)
    both = days.model_copy(update={"policy": Policy(weights=weights)})
    near, far = (
        c.model_copy(update={"miles": m}) for c, m in zip(both.candidates, (900, 100), strict=True)
    )
    assert (
        "would cost 3.20 USD less, but goes 800 miles more, and 1,000 miles count 10.00 USD here."
    ) in told(changed(both, [near, far]), "which_nodes")
    nearer = near.model_copy(update={"miles": 250})
    assert (
        "less, but arrives 2 days later, and a day counts 1.00 USD here,"
        " and goes 150 miles more, and 1,000 miles count 10.00 USD here."
    ) in told(changed(both, [nearer, far]), "which_nodes")


def test_money_that_counts_more_or_less_than_it_is_is_named() -> None:
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    busy, idle = (
        c.model_copy(update={"labour_minor": minor})
        for c, minor in zip(problem.candidates, (200, 0), strict=True)
    )
    labour = problem.model_copy(update={"policy": Policy(weights=Weights(labour=500))})
    assert (
        "The next best, N0, would cost 1.20 USD less,"
        " but 2.00 USD more for labour counts as 10.00 USD here."
    ) in told(changed(labour, [busy, idle]), "which_nodes")
    weights = Weights(shipping=0, minor_per_1000_miles=1)
    free = problem.model_copy(update={"policy": Policy(weights=weights)})
    far, near = (
        c.model_copy(update={"miles": m}) for c, m in zip(free.candidates, (9_000, 0), strict=True)
    )
    assert (
        "The next best, N0, would cost 3.20 USD less,"
        " but 3.20 USD less for shipping counts as nothing here."
    ) in told(changed(free, [far, near]), "which_nodes")


def test_what_plans_are_compared_by_is_the_objective_and_no_profile_of_rules() -> None:
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    policy = Policy(rules="standard@1", profile="fastest", weights=PROFILES["fastest"])
    ruled = problem.model_copy(update={"policy": policy})

    assert told(problem, "which_rules").startswith("Rules built in, objective lowest_cost.")
    assert told(ruled, "which_rules").startswith("Rules standard@1, objective fastest.")


def test_one_is_told_as_one_and_recorded_as_ever() -> None:
    """What is recorded must come out the same in a replay by this version."""
    keep = Constraint(name="keep-one", kind="min_stock", value=1, nodes=("N0",))
    busy = Constraint(name="busy", kind="max_orders", value=1, nodes=("N1",))
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    first, second = problem.candidates
    busy_one = changed(problem, [first, second.model_copy(update={"open_orders": 1})])
    ruled = busy_one.model_copy(update={"policy": Policy(constraints=(keep, busy))})

    assert solve(ruled, "o/1").eliminated == {
        "N0": "rule keep-one: 1 units stay there",
        "N1": "rule busy: 1 open orders, 1 at most",
    }
    assert told(ruled, "which_nodes").endswith(
        "N0: rule keep-one: 1 unit stays there. N1: rule busy: 1 open order, 1 at most."
    )
    assert "N0 has 1 (rule keep-one: 1 unit stays there)" in told(ruled, "why_not_shipped")


def test_priorities_of_locations_are_named() -> None:
    rules = tuple(
        Constraint(name=node, kind="location_priority", value=value, nodes=(node,))
        for node, value in (("N0", 2), ("N1", 1))
    )
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    ranked = problem.model_copy(update={"policy": Policy(constraints=rules)})

    assert (
        "would cost 3.20 USD less, but the priorities of locations come before any cost."
    ) in told(ranked, "which_nodes")


def test_a_service_that_is_slower_says_what_a_day_counts() -> None:
    problem = fastest(two_nodes(stock=(1, 0), base=(820, 0)), days=(2, 2))
    [only, other] = problem.candidates
    [fast] = only.options
    slow = fast.model_copy(update={"service": "slow", "base_minor": 500, "days": 5, "days_late": 1})
    both = changed(problem, [only.model_copy(update={"options": (fast, slow)}), other])

    assert told(both, "why_service") == (
        f"{fast.service} from N0: slow would cost 0.20 USD less, 1 day late,"
        " but arrives 3 days later, and a day counts 100.00 USD here."
    )


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
        " From N0 alone it would cost 9.20 USD less,"
        " but makes 1,000 g more carbon, and a kilogram counts 50.00 USD here."
    )


def test_what_counts_for_more_has_always_a_name() -> None:
    chance, said = seeded(2), 0
    for _ in range(200):
        problem = with_rules(chance, random_problem(chance, lines=3, nodes=5))
        weights = PROFILES[chance.choice([name for name in PROFILES if name != "lowest_cost"])]
        policy = problem.policy.model_copy(update={"weights": weights})
        decision = solve(problem.model_copy(update={"policy": policy}), "o/1")
        if decision.runner_up is None or decision.gap_minor is None:
            continue
        text = against(decision, decision.runner_up)
        assert "something else" not in text
        assert ("less, but " in text) == (decision.gap_minor < 0)
        said += decision.gap_minor < 0
    assert said >= 5
