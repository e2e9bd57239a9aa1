import pytest

from domain.orders import PartOf
from domain.sourcing.problem import Candidate, Plan, Problem
from domain.sourcing.solver import solve
from tests.domain.sourcing.brute import (
    best_by_node_set,
    kits_are_whole,
    random_problem,
    seeded,
    with_kits,
)


@pytest.mark.parametrize("seed", range(10))
def test_plan_and_runner_up_are_what_trying_everything_finds(seed: int) -> None:
    chance = seeded(seed)
    for _ in range(25):
        problem = random_problem(chance)
        most, by_set = best_by_node_set(problem)

        decision = solve(problem, "d")

        assert decision.proof == "optimal"
        assert served(decision.plan) == most
        if most:
            assert decision.plan.cost.total == min(by_set.values())
            others = [cost for nodes, cost in by_set.items() if nodes != nodes_of(decision.plan)]
            found = decision.runner_up.cost.total if decision.runner_up else None
            assert found == min(others, default=None)


@pytest.mark.parametrize("seed", range(6))
def test_with_kits_that_leave_whole_the_plan_is_what_trying_everything_finds(seed: int) -> None:
    chance = seeded(500 + seed)
    for _ in range(15):
        problem = with_kits(chance, random_problem(chance, lines=2, nodes=3))
        most, by_set = best_by_node_set(problem)

        decision = solve(problem, "d")

        assert decision.proof == "optimal"
        assert served(decision.plan) == most
        if most:
            assert decision.plan.cost.total == min(by_set.values())
            others = [cost for nodes, cost in by_set.items() if nodes != nodes_of(decision.plan)]
            found = decision.runner_up.cost.total if decision.runner_up else None
            assert found == min(others, default=None)
        for package in decision.plan.assignments:
            units = {line.line_id: line.quantity for line in package.lines}
            assert kits_are_whole(problem, [units.get(d.line_id, 0) for d in problem.demands])


def test_a_node_with_parts_of_a_kit_is_told_that_it_has_no_whole_one() -> None:
    problem = two_nodes(stock=(1, 1), base=(500, 820))
    kit = PartOf(line_id="1", sku="KIT", kits=1, per_kit=2)
    parts = problem.demands[0].model_copy(update={"quantity": 2, "kit": kit})

    decision = solve(problem.model_copy(update={"demands": (parts,)}), "d")

    assert decision.plan.assignments == ()
    assert decision.eliminated == dict.fromkeys(
        ("N0", "N1"), "has parts of kit KIT, and no whole one"
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_keeps_to_stock_and_adds_up(seed: int) -> None:
    chance = seeded(1000 + seed)
    for _ in range(20):
        problem = random_problem(chance, lines=6, nodes=6)
        decision = solve(problem, "d")
        for plan in filter(None, (decision.plan, decision.runner_up)):
            assert_keeps_to_the_problem(problem, plan)
        unused = {c.node for c in problem.candidates} - nodes_of(decision.plan)
        assert set(decision.eliminated) == unused
        assert all(decision.eliminated.values())


@pytest.mark.parametrize("seed", range(5))
def test_more_stock_never_costs_more_nor_serves_less(seed: int) -> None:
    chance = seeded(2000 + seed)
    for _ in range(10):
        problem = random_problem(chance)
        before = solve(problem, "d").plan
        after = solve(with_more_stock(problem), "d").plan

        assert served(after) >= served(before)
        if served(after) == served(before):
            assert after.cost.total <= before.cost.total


@pytest.mark.parametrize("seed", range(5))
def test_without_the_chosen_nodes_nothing_beats_the_runner_up(seed: int) -> None:
    chance = seeded(3000 + seed)
    for _ in range(10):
        problem = random_problem(chance)
        decision = solve(problem, "d")
        left = solve(without(problem, nodes_of(decision.plan)), "d").plan
        if decision.runner_up and served(left) == served(decision.plan):
            assert left.cost.total >= decision.runner_up.cost.total


def test_the_same_problem_gives_the_same_bytes() -> None:
    chance = seeded(4)
    for _ in range(10):
        problem = random_problem(chance, lines=5, nodes=6)
        again = Problem.model_validate_json(problem.model_dump_json())

        assert solve(problem, "d").model_dump_json() == solve(again, "d").model_dump_json()


def test_a_node_that_could_serve_all_is_told_what_that_costs_more() -> None:
    problem = two_nodes(stock=(5, 5), base=(500, 820))

    decision = solve(problem, "d")

    assert nodes_of(decision.plan) == {"N0"}
    assert decision.gap_minor == 320
    assert decision.eliminated == {"N1": "alone it costs 3.20 USD more"}


def test_a_quantity_is_split_where_no_node_has_it_all() -> None:
    plan = solve(two_nodes(stock=(1, 5), base=(500, 820), quantity=6), "d").plan

    assert [(a.node, a.lines[0].quantity) for a in plan.assignments] == [("N0", 1), ("N1", 5)]
    assert plan.cost.split == 100


def test_what_nobody_has_is_unsourced() -> None:
    decision = solve(two_nodes(stock=(1, 0), base=(500, 820), quantity=3), "d")

    assert decision.plan.unsourced[0].quantity == 2
    assert decision.eliminated == {"N1": "no stock of any line"}
    assert decision.runner_up is None


def test_a_long_order_is_answered_within_a_limit_of_work() -> None:
    problem = random_problem(seeded(5), nodes=8)
    demand = problem.demands[0]
    demands = tuple(
        demand.model_copy(update={"line_id": str(i), "sku": f"S{i}", "weight_g": 90 + i})
        for i in range(250)
    )
    candidates = [
        candidate.model_copy(
            update={
                "stock": {f"S{i}": 4 for i in range(250) if i % 8 != index},
                "capacity_left": None,
                "units_left": None,
            }
        )
        for index, candidate in enumerate(problem.candidates)
    ]
    long = problem.model_copy(update={"demands": demands, "max_nodes": None})

    decision = solve(changed(long, candidates), "d")

    assert not decision.plan.unsourced
    assert decision.gap_minor is None or decision.gap_minor >= 0
    assert_keeps_to_the_problem(decision.problem, decision.plan)


def test_an_order_that_nobody_can_serve_has_an_empty_plan() -> None:
    decision = solve(two_nodes(stock=(0, 0), base=(500, 820)), "d")

    assert decision.plan.assignments == ()
    assert decision.plan.cost.total == 0
    assert [lq.quantity for lq in decision.plan.unsourced] == [1]


def served(plan: Plan) -> int:
    return sum(lq.quantity for assignment in plan.assignments for lq in assignment.lines)


def nodes_of(plan: Plan) -> frozenset[str]:
    return frozenset(assignment.node for assignment in plan.assignments)


def assert_keeps_to_the_problem(problem: Problem, plan: Plan) -> None:
    stock = {c.node: dict(c.stock) for c in problem.candidates}
    left = {demand.line_id: demand.quantity for demand in problem.demands}
    sku_of = {demand.line_id: demand.sku for demand in problem.demands}
    assert len(nodes_of(plan)) == len(plan.assignments)
    for assignment in plan.assignments:
        for lq in assignment.lines:
            left[lq.line_id] -= lq.quantity
            stock[assignment.node][sku_of[lq.line_id]] -= lq.quantity
    assert all(units >= 0 for shelf in stock.values() for units in shelf.values())
    assert {line: units for line, units in left.items() if units} == {
        lq.line_id: lq.quantity for lq in plan.unsourced
    }
    assert sum(a.cost.total for a in plan.assignments) == plan.cost.total


def with_more_stock(problem: Problem) -> Problem:
    return changed(
        problem,
        [
            c.model_copy(update={"stock": {s: u + (u > 0) for s, u in c.stock.items()}})
            for c in problem.candidates
        ],
    )


def without(problem: Problem, nodes: frozenset[str]) -> Problem:
    return changed(problem, [c for c in problem.candidates if c.node not in nodes])


def changed(problem: Problem, candidates: list[Candidate]) -> Problem:
    return problem.model_copy(update={"candidates": tuple(candidates)})


def two_nodes(stock: tuple[int, int], base: tuple[int, int], quantity: int = 1) -> Problem:
    problem = random_problem(seeded(0), lines=1, nodes=2)
    demand = problem.demands[0].model_copy(update={"quantity": quantity, "weight_g": 100})
    candidates = [
        candidate.model_copy(
            update={
                "stock": {demand.sku: units},
                "capacity_left": None,
                "units_left": None,
                "order_cost_minor": 0,
                "unit_cost_minor": 0,
                "options": tuple(
                    option.model_copy(update={"base_minor": price, "days_late": 0})
                    for option in candidate.options[:1]
                ),
            }
        )
        for candidate, units, price in zip(problem.candidates, stock, base, strict=True)
    ]
    return changed(
        problem.model_copy(
            update={"demands": (demand,), "max_nodes": None, "split_fee_minor": 100}
        ),
        candidates,
    )
