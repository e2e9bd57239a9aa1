"""Whether it pays to source anew: what a plan is worth as it is, and who moves with whom."""

from typing import Any

from cli.random_problems import random_problem, with_rules
from domain.sourcing.again import Chance, as_it_is, holds, worth_moving
from domain.sourcing.problem import Plan, Problem
from domain.sourcing.solver import cheapest_plan, passes
from domain.sourcing.together import Together
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.small import GROUND, node, problem, sent
from tests.domain.sourcing.test_rule_kinds import rule
from tests.samples import a_share


def share(node: str, units: int = 1, service: str = "ground") -> Any:
    return a_share("web-1-F1", node, {"A": units}).model_copy(update={"service": service})


def known(problem: Problem, node: str) -> Plan:
    plan = as_it_is(problem, [share(node)])
    assert plan is not None
    assert sent(plan) == {node: {"A": 1}}
    return plan


def chances(*orders: tuple[Problem, str | None], price: int = 100) -> list[Chance]:
    """Orders with their nodes now, all of it given back; None: one that cannot be compared."""
    together = Together([of for of, _ in orders])
    found = []
    for number, (of, at) in enumerate(orders):
        after = cheapest_plan(together.problem(number, of))
        together.settle(number, of, after)
        held = holds([share(at or "near")])
        found.append(Chance(of, known(of, at) if at else None, held, after, price))
    return found


def test_a_plan_is_priced_as_it_is_whatever_rules_would_now_forbid() -> None:
    keep = (rule("min_stock", value=9), rule("preferred_node", nodes=("near",), value=70))
    both = problem(node("near", 500), node("far", 700), rules=keep)
    assert known(both, "near").objective == 500_000
    assert known(both, "far").objective == 770_000
    split = problem(node("near", 500), node("far", 700), asks={"A": 3})
    plan = as_it_is(split, [share("near", 1), share("far", 2)])
    assert plan is not None
    assert sent(plan) == {"near": {"A": 1}, "far": {"A": 2}}
    assert plan.cost.total == 500 + 700 + 100


def test_what_could_not_leave_so_today_has_no_price() -> None:
    out: list[dict[str, Any]] = [{"stock": {}}, {"eliminated": "offline"}, {"options": ()}]
    for changes in out:
        gone = problem(node("near", 500, **changes), node("far", 700))
        assert as_it_is(gone, [share("near")]) is None
    assert as_it_is(problem(node("near")), [share("near", service="air")]) is None


def test_an_order_moves_alone_where_that_saves_more_than_its_price() -> None:
    of = problem(node("near", 500), node("far", 601))
    assert worth_moving(chances((of, "far"))) == {0}
    assert worth_moving(chances((of, "far"), price=101)) == set()
    assert worth_moving(chances((of, "near"), price=0)) == set()


def test_priorities_of_locations_come_before_money() -> None:
    for near, moves in ((1, {0}), (3, set())):
        first = rule("location_priority", value=near, nodes=("near",))
        rules = (first, rule("location_priority", value=2, nodes=("far",)))
        of = problem(node("near", 500), node("far", 900), rules=rules)
        after = cheapest_plan(problem(node("near", 500), rules=rules))
        held = holds([share("far")])
        assert worth_moving([Chance(of, known(of, "far"), held, after, 100)]) == moves


def rivals(one: int, other: int) -> list[Problem]:
    """The one unit at `near` costs both 500; without it they pay so much."""
    near = node("near", 500, stock={"A": 1})
    return [problem(near, node("far", 500 + more)) for more in (one, other)]


def test_one_makes_room_for_another_where_that_pays_for_both() -> None:
    small, large = rivals(50, 400)
    assert worth_moving(chances((small, "near"), (large, "far"))) == {0, 1}
    assert worth_moving(chances((small, "near"), (large, "far"), price=175)) == set()
    assert worth_moving(chances((small, None), (large, "far"))) == set()


def test_who_needs_nobody_to_leave_is_no_member_of_a_group() -> None:
    small, large = rivals(50, 120)
    other = GROUND.model_copy(update={"base_minor": 900})
    apart = problem(node("third", 500), node("fourth", options=(other,)))
    assert worth_moving(chances((small, "near"), (large, "far"), (apart, "fourth"))) == {2}


def test_the_best_plan_is_worth_as_it_is_what_it_was_decided_for() -> None:
    chance, compared = seeded(9), 0
    for _ in range(150):
        of = with_rules(chance, random_problem(chance, lines=4, nodes=6))
        plans = passes(of)
        if len(plans) > 1 or plans[0].unsourced:
            continue
        skus = {demand.line_id: demand.sku for demand in of.demands}
        shares = [
            share(a.node, service=a.service).model_copy(update={"lines": a.lines, "skus": skus})
            for a in plans[0].assignments
        ]
        found = as_it_is(of, shares)
        assert found is not None
        assert (found.unsourced, found.objective) == ((), plans[0].objective)
        compared += 1
    assert compared > 10
