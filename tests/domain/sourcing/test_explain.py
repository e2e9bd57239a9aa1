"""Why not from there: each cost is what another solver finds, each change was tried and wins."""

from functools import partial

import pytest

from cli.random_problems import random_problem, with_rules
from domain.network import RateCard, Zone
from domain.orders import Address, DeliveryMethod
from domain.sourcing.answers import answers
from domain.sourcing.cpsat import Model
from domain.sourcing.explain import Counterfactual, why
from domain.sourcing.policy import Constraint, Policy
from domain.sourcing.posing import posed
from domain.sourcing.problem import Candidate, Decision, Plan, Problem
from domain.sourcing.record import Record, Seen
from domain.sourcing.solver import best_with, cheapest_plan, passes_with, solve
from domain.sourcing.steps import applied
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_answers import fastest
from tests.domain.sourcing.test_solver import changed, nodes_of, served, two_nodes
from tests.samples import a_node

_MOST_WORK = 60


def worth(plans: tuple[Plan, ...] | None) -> tuple[int, int, int] | None:
    """Of the first pass: what comes after may hang on which of equal plans it was."""
    return plans[0].worth if plans else None


def assert_true_under_rules(decision: Decision, found: Counterfactual) -> None:
    problem, node = decision.problem, found.node
    admitted = applied(problem, node, found.assumed)
    cp_sat = partial(Model, work_limit=_MOST_WORK)
    assert worth(passes_with(admitted, node, by=cp_sat)) == worth(passes_with(admitted, node))
    assert found.change, found.text
    for change in (found.change, *found.others):
        won = cheapest_plan(applied(problem, node, change))
        assert node in nodes_of(won), (found.text, change)


def left_out(decision: Decision) -> list[str]:
    used = {package.node for package in decision.plan.assignments}
    return [c.node for c in decision.problem.candidates if c.node not in used]


def forced(problem: Problem, node: str) -> Plan | None:
    """By CP-SAT, which is asked for a package from the node."""
    return best_with(problem, node, by=partial(Model, work_limit=_MOST_WORK))


def assert_true(decision: Decision, found: Counterfactual) -> None:
    problem, node = decision.problem, found.node
    admitted = applied(problem, node, found.assumed)
    if not found.assumed:
        assert node not in posed(problem)[1]
    other = forced(admitted, node)
    assert (other is None) == (found.plan is None), found.text
    if other is None or found.plan is None:
        return
    assert served(other) == served(found.plan)
    assert other.cost.total == found.cost_minor
    assert found.change, found.text
    for change in (found.change, *found.others):
        won = cheapest_plan(applied(problem, node, change))
        assert node in nodes_of(won), (found.text, change)
    cp_sat = partial(Model, work_limit=_MOST_WORK)
    won = cheapest_plan(applied(problem, node, found.change), by=cp_sat)
    assert node in nodes_of(won), found.text


@pytest.mark.parametrize(
    "seed",
    [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 23))],
)
def test_costs_are_another_solver_s_and_changes_make_the_node_win(seed: int) -> None:
    chance = seeded(seed)
    asked, size = 0, (4, 8) if seed < 3 else (6, 20)
    while asked < 10:
        problem = random_problem(chance, lines=size[0], nodes=size[1])
        decision = solve(problem, "o/1")
        out = left_out(decision)
        asked += bool(out)
        for node in out:
            assert_true(decision, why(Record(decision=decision), node))


@pytest.mark.parametrize(
    "seed",
    [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))],
)
def test_so_it_is_under_rules_and_weights(seed: int) -> None:
    chance = seeded(100 + seed)
    for _ in range(8):
        problem = with_rules(chance, random_problem(chance, lines=4, nodes=6))
        decision = solve(problem, "o/1")
        for node in left_out(decision)[:3]:
            assert_true_under_rules(decision, why(Record(decision=decision), node))


def test_a_change_of_cost_is_the_smallest() -> None:
    decision = solve(two_nodes(stock=(1, 1), base=(500, 820)), "o/1")
    [node] = left_out(decision)
    found = why(Record(decision=decision), node)

    [step] = found.change
    assert step.kind == "cost"
    less = step.model_copy(update={"minor": step.minor - 1})
    tie = solve(applied(decision.problem, node, [less]), "o/1")
    assert tie.plan.cost.total == decision.plan.cost.total
    assert found.gap_minor == step.minor - 1 == decision.gap_minor


def test_a_rule_without_which_it_wins_takes_no_lower_price_besides() -> None:
    priorities = tuple(
        Constraint(name="first", kind="location_priority", value=level, nodes=(node,))
        for level, node in enumerate(("N0", "N1"), 1)
    )
    problem = two_nodes(stock=(1, 1), base=(820, 500))
    ruled = problem.model_copy(update={"policy": Policy(constraints=priorities)})
    found = why(Record(decision=solve(ruled, "o/1")), "N1")

    assert [(step.kind, step.rule) for step in found.change] == [("rule", "first")]


def _barred(problem: Problem, node: str, **changes: object) -> Problem:
    candidates = [
        Candidate.model_validate({**c.model_dump(), **changes}) if c.node == node else c
        for c in problem.candidates
    ]
    return changed(problem, candidates)


def _winner(problem: Problem) -> str:
    [package] = solve(problem, "o/1").plan.assignments
    return package.node


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"eliminated": "offline"}, "open"),
        ({"capacity_left": 0}, "capacity"),
        ({"stock": {}}, "stock"),
        ({"options": ()}, "reach"),
    ],
)
def test_what_bars_the_best_node_is_the_change(changes: dict[str, object], kind: str) -> None:
    best = _winner(two_nodes(stock=(1, 1), base=(500, 820)))
    problem = _barred(two_nodes(stock=(1, 1), base=(500, 820)), best, **changes)
    decision = solve(problem, "o/1")
    found = why(Record(decision=decision), best)

    assert found.standing == "eliminated"
    assert [step.kind for step in found.assumed] == [kind]
    assert kind in {step.kind for step in found.change}
    assert found.reason == decision.eliminated[best]
    assert_true(decision, found)


@pytest.mark.parametrize(("there", "more"), [(0, 3), (2, 1)])
def test_what_must_stay_at_a_node_is_more_of_its_stock(there: int, more: int) -> None:
    """One step, and the rule holds; not one unit more, and no such rule."""
    problem = two_nodes(stock=(there, 1), base=(500, 820))
    keep = Constraint(name="keep-two", kind="min_stock", value=2, nodes=("N0",), hard=False)
    ruled = problem.model_copy(update={"policy": Policy(constraints=(keep,))})
    found = why(Record(decision=solve(ruled, "o/1")), "N0")

    steps = [step for step in found.change if step.kind != "open"]
    assert [(step.kind, list(step.units.values())) for step in steps] == [("stock", [more])]


def test_a_node_that_was_out_has_the_services_that_the_network_gives_it() -> None:
    problem = _barred(
        two_nodes(stock=(1, 1), base=(500, 820)), "N0", eliminated="offline", options=()
    )
    card = RateCard(
        service="ground",
        carrier="ups",
        zones=(Zone(max_miles=3000, base_minor=1, per_lb_minor=0, transit_days=2),),
    )
    seen = Seen(
        nodes=(a_node("N0"), a_node("N1")),
        rate_cards=(card,),
        ship_to=Address(country="DE"),
    )
    found = why(Record(decision=solve(problem, "o/1"), seen=seen), "N0")

    [step] = found.assumed
    assert step.kind == "open"
    assert [option.base_minor for option in step.options] == [1]
    assert found.plan is not None
    assert found.plan.assignments[0].cost.shipping == 1


def test_how_each_plan_goes_is_told_where_there_are_several_services() -> None:
    """A customer who sees the node's ground at 5.00 USD reads that another service is compared."""
    problem = fastest(two_nodes(stock=(1, 1), base=(820, 900)), days=(1, 1))
    candidates = []
    for candidate in problem.candidates:
        [option] = candidate.options
        overnight = option.model_copy(update={"service": "overnight"})
        ground = option.model_copy(update={"service": "ground", "base_minor": 500, "days": 5})
        update = {"options": (overnight, ground)}
        candidates.append(candidate.model_copy(update=update))
    record = Record(decision=solve(changed(problem, candidates), "o/1"))

    assert why(record, "N1").text.startswith(
        "N1 was not chosen: the best plan with it by overnight costs 9.00 USD,"
        " 0.80 USD more than by overnight without it."
    )
    told = {answer.question: answer.text for answer in answers(record)}
    assert "The next best, N1 by overnight, would cost 0.80 USD more." in told["which_nodes"]


def test_a_service_that_nobody_would_use_is_one_to_be_told_apart_from() -> None:
    """The problem has only what may win; the network at that time has all."""
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    [option] = problem.candidates[0].options
    cards = tuple(
        RateCard(service=service, carrier="ups", zones=(zone,))
        for service in (option.service, "overnight")
        for zone in [Zone(max_miles=3000, base_minor=900, per_lb_minor=0, transit_days=2)]
    )
    seen = Seen(nodes=(), rate_cards=cards, ship_to=Address(country="US"))
    found = why(Record(decision=solve(problem, "o/1"), seen=seen), "N1")

    assert f"the best plan with it by {option.service} costs 8.20 USD" in found.text


def test_all_that_bars_a_node_is_told_and_not_only_the_first() -> None:
    bound = "the order is bound to N1"
    problem = _barred(two_nodes(stock=(1, 1), base=(500, 820)), "N0", eliminated=bound, options=())
    seen = Seen(
        nodes=(a_node("N0", status="offline"), a_node("N1", pickup=True)),
        rate_cards=(),
        ship_to=Address(country="US"),
        method=DeliveryMethod.PICKUP,
    )
    found = why(Record(decision=solve(problem, "o/1"), seen=seen), "N0")

    [step] = found.assumed
    assert step.text == f"it had not been out ({bound}; offline; offers no pickup)"
    assert step.text in found.text


@pytest.mark.parametrize(("value", "told"), [(0, False), (400, True)])
def test_what_counts_beside_money_is_told(value: int, told: bool) -> None:  # noqa: FBT001
    rule = Constraint(name="vendors-last", kind="preferred_node", value=value, nodes=("N0",))
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    problem = problem.model_copy(update={"policy": Policy(constraints=(rule,))})
    decision = solve(problem, "o/1")
    [node] = left_out(decision)
    found = why(Record(decision=decision), node)

    assert found.gap_minor is not None
    assert [step.minor for step in found.change] == [found.gap_minor + value + 1]
    also = "more than without it, and rule vendors-last counts 4.00 USD against it."
    assert (also in found.text) == told


def test_a_node_that_would_win_though_it_costs_more_says_so() -> None:
    rule = Constraint(name="ours-first", kind="preferred_node", value=400, nodes=("N1",))
    problem = _barred(two_nodes(stock=(1, 1), base=(500, 820)), "N1", eliminated="offline")
    problem = problem.model_copy(update={"policy": Policy(constraints=(rule,))})
    found = why(Record(decision=solve(problem, "o/1")), "N1")

    assert found.change == found.assumed
    assert (
        "3.20 USD more than without it, but rule ours-first counts 4.00 USD for it,"
        " and it would have been chosen." in found.text
    )


def test_what_counts_for_more_than_money_is_named() -> None:
    """The cheaper node's only service takes two days longer, and days count."""
    problem = fastest(two_nodes(stock=(1, 1), base=(500, 820)), days=(4, 2))
    found = why(Record(decision=solve(problem, "o/1")), "N0")
    dearer = _barred(problem, "N1", eliminated="offline")
    other = why(Record(decision=solve(dearer, "o/1")), "N1")

    assert found.text.startswith(
        "N0 was not chosen: the best plan with it costs 5.00 USD, 3.20 USD less than without it,"
        " but arrives 2 days later, and a day counts 100.00 USD here."
    )
    assert (
        "3.20 USD more than without it, but arrives 2 days earlier, and a day counts 100.00 USD"
        " here, and it would have been chosen." in other.text
    )


def test_a_limit_on_nodes_is_told_where_it_binds() -> None:
    chance = seeded(11)
    seen = 0
    for _ in range(400):
        problem = random_problem(chance, lines=4, nodes=6)
        if problem.max_nodes is None:
            continue
        decision = solve(problem, "o/1")
        for node in left_out(decision):
            found = why(Record(decision=decision), node)
            changes = (found.change, *found.others)
            seen += any(step.kind == "limit" for change in changes for step in change)
        if seen >= 2:
            return
    raise AssertionError("no limit was ever told")


def test_a_node_that_is_unknown_is_an_error() -> None:
    with pytest.raises(KeyError):
        why(Record(decision=solve(two_nodes(stock=(1, 1), base=(500, 820)), "o/1")), "NOWHERE")
