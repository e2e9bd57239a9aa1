"""Finds the cheapest plan and proves it, with CP-SAT: the only module that knows OR-Tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from ortools.sat.python import cp_model

from domain.fulfillments import LineQuantity
from domain.money import Money
from domain.rates import UNITS_PER_G, UNITS_PER_LB, billed_pounds, shipping_minor
from domain.sourcing.goods import (
    Bundle,
    Item,
    bundles_of,
    in_kits,
    items_of,
    kits_at,
    no_whole_kit,
)
from domain.sourcing.problem import (
    Assignment,
    Candidate,
    CostParts,
    Decision,
    Plan,
    Problem,
    ServiceOption,
)

SOLVER: Final = "ortools-cp-sat"
SEED: Final = 7
WORK_LIMIT: Final = 0.3  # a solve's, in CP-SAT's deterministic time: the same on a busy machine
PRESOLVED_FROM: Final = 500  # variables
NEAREST_EXPLAINED: Final = 1
EXPLAINED_ITEMS: Final = 16


@dataclass(frozen=True)
class _Load:
    """What one node sends: by which option, how many units of each item, and whole kits of each."""

    candidate: Candidate
    option: ServiceOption
    units: tuple[int, ...]
    kits: tuple[int, ...] = ()


_Loads = tuple[_Load, ...]


@dataclass(frozen=True)
class _Answer:
    loads: _Loads
    optimal: bool
    work: float


def solve(problem: Problem, decision_id: str) -> Decision:
    """
    Serve as many units as can be served, then at the least cost; with the reasons.

    The same problem gives the same bytes. `runner_up` is the cheapest plan that serves as many
    units from another set of nodes; None where there is none. Every node that the plan leaves out
    has its reason in `eliminated`. Blocks for milliseconds: call it in a thread.
    """
    items = items_of(problem.demands)
    bundles = bundles_of(problem.demands, items)
    usable, eliminated = _usable(problem, items, bundles)
    model = _Model(problem, items, bundles, usable)
    best = model.solve()
    if best is None:
        raise RuntimeError(f"{problem.order_id}: a sourcing problem always has an answer")
    used = {load.candidate.node for load in best.loads}
    second = model.solve(other_than=used) if used else None
    plan = _plan(problem, items, bundles, best.loads)
    runner_up = _plan(problem, items, bundles, second.loads) if second else None
    if runner_up and runner_up.cost.total < plan.cost.total:  # the first search ended unproven
        plan, runner_up = runner_up, plan
    proven = model.serves_most and best.optimal and (second is None or second.optimal)
    work = best.work + (second.work if second else 0.0)
    return Decision(
        decision_id=decision_id,
        problem=problem,
        plan=plan,
        runner_up=runner_up,
        gap_minor=runner_up.cost.total - plan.cost.total if runner_up else None,
        eliminated=dict(sorted({**eliminated, **_not_chosen(model, plan, runner_up)}.items())),
        proof="optimal" if proven else "feasible",
        solver=SOLVER,
        solver_versions={"ortools": version("ortools")},
        statistics={"candidates": len(usable), "items": len(items), "work": round(work, 6)},
    )


def cheapest_plan(problem: Problem) -> Plan:
    """The plan that `solve` decides on, without its reasons: a dry run. Blocks as it does."""
    items = items_of(problem.demands)
    bundles = bundles_of(problem.demands, items)
    usable, _ = _usable(problem, items, bundles)
    best = _Model(problem, items, bundles, usable).solve()
    if best is None:
        raise RuntimeError(f"{problem.order_id}: a sourcing problem always has an answer")
    return _plan(problem, items, bundles, best.loads)


def _usable(
    problem: Problem, items: Sequence[Item], bundles: Sequence[Bundle]
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """The nodes that can serve anything, and why each other one cannot."""
    wanted = {item.sku for item in items}
    whole = [b.kits for b in bundles]
    loose = {x.sku for i, x in enumerate(items) if x.quantity > in_kits(bundles, i, whole)}
    usable, eliminated = [], {}
    for candidate in problem.candidates:
        reason = candidate.eliminated
        if reason is None and not any(candidate.stock.get(sku, 0) > 0 for sku in wanted):
            reason = "no stock of any line"
        if reason is None and not any(candidate.stock.get(sku, 0) > 0 for sku in loose):
            reason = no_whole_kit(candidate, items, bundles)
        if reason is None and candidate.capacity_left is not None and candidate.capacity_left <= 0:
            reason = "no capacity left today"
        if reason is None and not candidate.options:
            reason = "no service reaches the destination"
        if reason is None:
            usable.append(candidate)
        else:
            eliminated[candidate.node] = reason
    return tuple(usable), eliminated


class _Model:
    """
    One problem as a CP-SAT model, to be solved with one further demand or another.

    `serves_most` says whether it is proven that no plan serves more units.
    """

    def __init__(
        self,
        problem: Problem,
        items: tuple[Item, ...],
        bundles: tuple[Bundle, ...],
        usable: tuple[Candidate, ...],
    ) -> None:
        self.problem, self.items, self.bundles, self.usable = problem, items, bundles, usable
        self.serves_most = True
        self._cp = cp_model.CpModel()
        self._used: dict[str, cp_model.IntVar] = {}
        self._units: dict[tuple[str, int], cp_model.IntVar] = {}
        self._kits: dict[tuple[str, int], cp_model.IntVar] = {}
        self._chosen: dict[tuple[str, int], cp_model.IntVar] = {}
        cost = [term for candidate in usable for term in self._add_node(candidate)]
        for index, item in enumerate(items):
            taken = [var for (_, i), var in self._units.items() if i == index]
            self._cp.add(_sum(taken) <= item.quantity)
        self._keep_kits_whole()
        if problem.max_nodes is not None:
            self._cp.add(_sum(self._used.values()) <= problem.max_nodes)
        self._cp.add(_sum(self._units.values()) == self._most_units())
        self._cp.minimize(_sum(cost))

    def solve(self, *, other_than: Iterable[str] = (), forced: str | None = None) -> _Answer | None:
        """The best loads; not from exactly these nodes; with the forced one. None: no way."""
        cp = self._cp.clone()
        avoided = set(other_than)
        if avoided:
            cp.add_bool_or(
                [~used if node in avoided else used for node, used in self._used.items()]
            )
        if forced is not None:
            cp.add(self._used[forced] == 1)
        solver, status = _run(cp)
        if status == cp_model.INFEASIBLE:
            return None
        loads = tuple(
            self._load(solver, candidate)
            for candidate in self.usable
            if solver.boolean_value(self._used[candidate.node])
        )
        return _Answer(loads, status == cp_model.OPTIMAL, solver.deterministic_time)

    def _add_node(self, candidate: Candidate) -> list[cp_model.LinearExprT]:
        """
        At most one package from the node, by one of its services; its terms of the cost.

        The pounds beyond the first are counted by the service that is chosen:
        weight <= pound x (used + their sum), in integers.
        """
        node, cp = candidate.node, self._cp
        used = self._used[node] = cp.new_bool_var("")
        units: dict[int, cp_model.IntVar] = {}
        heaviest = 0
        for index, item in enumerate(self.items):
            most = min(item.quantity, candidate.stock.get(item.sku, 0))
            if most > 0:
                units[index] = self._units[node, index] = cp.new_int_var(0, most, "")
                cp.add(units[index] <= most * used)
                heaviest += most * item.weight_g
        for number, bundle in enumerate(self.bundles):
            if most := kits_at(candidate, self.items, bundle):
                self._kits[node, number] = cp.new_int_var(0, most, "")
        cp.add(_sum(units.values()) >= used)
        for sku in {self.items[index].sku for index in units}:
            same = [var for index, var in units.items() if self.items[index].sku == sku]
            if len(same) > 1:
                cp.add(_sum(same) <= candidate.stock[sku])
        cost: list[cp_model.LinearExprT] = [
            (candidate.order_cost_minor + self.problem.split_fee_minor) * used,
            candidate.unit_cost_minor * _sum(units.values()),
        ]
        more = max(0, billed_pounds(heaviest) - 1)
        pounds: list[cp_model.IntVar] = []
        for index, option in enumerate(candidate.options):
            chosen = self._chosen[node, index] = cp.new_bool_var("")
            cost.append(_fixed(self.problem, option) * chosen)
            if more:
                pounds.append(cp.new_int_var(0, more, ""))
                cp.add(pounds[-1] <= more * chosen)
                cost.append(option.per_lb_minor * pounds[-1])
        cp.add(_sum(self._chosen[node, i] for i in range(len(candidate.options))) == used)
        if more:
            weight = _sum(self.items[i].weight_g * UNITS_PER_G * var for i, var in units.items())
            cp.add(weight <= UNITS_PER_LB * (_sum(pounds) + used))
        return cost

    def _keep_kits_whole(self) -> None:
        """
        What a node sends of an item is in whole kits or loose; no more of either than is wanted.
        """
        for number, bundle in enumerate(self.bundles):
            made = [var for (_, n), var in self._kits.items() if n == number]
            self._cp.add(_sum(made) <= bundle.kits)
        whole = [bundle.kits for bundle in self.bundles]
        for index in {index for bundle in self.bundles for index in bundle.needs}:
            wanted = self.items[index].quantity - in_kits(self.bundles, index, whole)
            loose: list[cp_model.LinearExprT] = []
            for (node, i), units in self._units.items():
                if i == index:
                    loose.append(units - self._in_kits_from(node, index))
                    self._cp.add(loose[-1] >= 0)
            self._cp.add(_sum(loose) <= wanted)

    def _in_kits_from(self, node: str, index: int) -> cp_model.LinearExpr:
        return _sum(
            bundle.needs[index] * self._kits[node, number]
            for number, bundle in enumerate(self.bundles)
            if index in bundle.needs and (node, number) in self._kits
        )

    def _most_units(self) -> int:
        """
        How many units can be served at all; plain arithmetic unless nodes or kits are counted.
        """
        limit = self.problem.max_nodes
        if self.bundles or (limit is not None and limit < len(self.usable)):
            cp = self._cp.clone()
            cp.maximize(_sum(self._units.values()))
            solver, status = _run(cp)
            self.serves_most = status == cp_model.OPTIMAL
            return round(solver.objective_value)
        wanted: dict[str, int] = {}
        for item in self.items:
            wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
        return sum(
            min(quantity, sum(candidate.stock.get(sku, 0) for candidate in self.usable))
            for sku, quantity in wanted.items()
        )

    def _load(self, solver: cp_model.CpSolver, candidate: Candidate) -> _Load:
        node = candidate.node
        return _Load(
            candidate,
            next(
                option
                for index, option in enumerate(candidate.options)
                if solver.boolean_value(self._chosen[node, index])
            ),
            tuple(
                solver.value(self._units[node, index]) if (node, index) in self._units else 0
                for index in range(len(self.items))
            ),
            tuple(
                solver.value(self._kits[node, number]) if (node, number) in self._kits else 0
                for number in range(len(self.bundles))
            ),
        )


def _run(cp: cp_model.CpModel) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """Solve with one worker and a limit in counted work; past it, take the first plan there is."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = SEED
    solver.parameters.max_deterministic_time = WORK_LIMIT
    # Measured: on models this small presolve and cuts cost more time than they save.
    solver.parameters.cp_model_presolve = len(cp.proto.variables) > PRESOLVED_FROM
    solver.parameters.cp_model_probing_level = 0
    solver.parameters.symmetry_level = 0
    solver.parameters.cut_level = 0
    solver.parameters.linearization_level = 2
    status = solver.solve(cp)
    if status == cp_model.UNKNOWN:
        solver.parameters.max_deterministic_time = float("inf")
        solver.parameters.stop_after_first_solution = True
        status = solver.solve(cp)
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.INFEASIBLE}:
        raise RuntimeError(f"the sourcing model is broken: {solver.status_name(status)}")
    return solver, status


def _sum(terms: Iterable[cp_model.LinearExprT]) -> cp_model.LinearExpr:
    return cp_model.LinearExpr.sum(list(terms))


def _fixed(problem: Problem, option: ServiceOption) -> int:
    return option.base_minor + option.days_late * problem.late_day_minor


def _plan(
    problem: Problem, items: Sequence[Item], bundles: Sequence[Bundle], loads: _Loads
) -> Plan:
    """The loads as packages of order lines: whole kits, and then earlier lines are served first."""
    kit_units = {d.line_id: d.kit.kits * d.kit.per_kit if d.kit else 0 for d in problem.demands}
    loose = {d.line_id: d.quantity - kit_units[d.line_id] for d in problem.demands}
    assignments = []
    left = {demand.line_id: demand.quantity for demand in problem.demands}
    for position, load in enumerate(loads):
        made = {b.line_id: kits for b, kits in zip(bundles, load.kits, strict=True)}
        lines = {d.line_id: made[d.kit.line_id] * d.kit.per_kit for d in problem.demands if d.kit}
        for index, (item, count) in enumerate(zip(items, load.units, strict=True)):
            due = count - in_kits(bundles, index, load.kits)
            for demand in problem.demands:
                if (demand.sku, demand.weight_g) == (item.sku, item.weight_g):
                    taken = min(due, loose[demand.line_id])
                    due -= taken
                    loose[demand.line_id] -= taken
                    lines[demand.line_id] = lines.get(demand.line_id, 0) + taken
        for line_id, units in lines.items():
            left[line_id] -= units
        assignments.append(
            Assignment(
                node=load.candidate.node,
                service=load.option.service,
                carrier=load.option.carrier,
                lines=_quantities(problem, lines),
                ship_by=load.option.ship_by,
                deliver_by=load.option.deliver_by,
                cost=_cost(problem, items, load, split=position > 0),
            )
        )
    total = CostParts()
    for assignment in assignments:
        total = total.plus(assignment.cost)
    return Plan(assignments=tuple(assignments), unsourced=_quantities(problem, left), cost=total)


def _quantities(problem: Problem, units: Mapping[str, int]) -> tuple[LineQuantity, ...]:
    return tuple(
        LineQuantity(line_id=demand.line_id, quantity=units[demand.line_id])
        for demand in problem.demands
        if units.get(demand.line_id, 0) > 0
    )


def _cost(problem: Problem, items: Sequence[Item], load: _Load, *, split: bool) -> CostParts:
    candidate, option = load.candidate, load.option
    weight = sum(item.weight_g * count for item, count in zip(items, load.units, strict=True))
    return CostParts(
        shipping=shipping_minor(option.base_minor, option.per_lb_minor, weight),
        handling=candidate.order_cost_minor + candidate.unit_cost_minor * sum(load.units),
        split=problem.split_fee_minor if split else 0,
        late=option.days_late * problem.late_day_minor,
    )


def _not_chosen(model: _Model, plan: Plan, runner_up: Plan | None) -> dict[str, str]:
    """
    Why each node that could have served does not.

    For a node that could serve all by itself: what that costs more. For one in the runner-up: the
    gap, which no plan with another set of nodes beats. For the nearest of the rest the best plan
    with it is sought, unless the order is long.
    """
    used = {assignment.node for assignment in plan.assignments}
    second = {assignment.node for assignment in runner_up.assignments} if runner_up else set()
    reasons: dict[str, str] = {}
    rest = []
    for candidate in model.usable:
        if candidate.node in used:
            continue
        alone = None if plan.unsourced else _alone(model, candidate)
        if alone is not None:
            reasons[candidate.node] = _more(model, alone - plan.cost.total, "alone it costs")
        elif runner_up and candidate.node in second:
            gap = runner_up.cost.total - plan.cost.total
            reasons[candidate.node] = _more(model, gap, "the best plan with it costs")
        else:
            rest.append(candidate)
    rest.sort(key=lambda candidate: (candidate.miles, candidate.node))
    sought = rest[:NEAREST_EXPLAINED] if len(model.items) <= EXPLAINED_ITEMS else []
    for candidate in sought:
        answer = model.solve(forced=candidate.node)
        if answer is None:
            reasons[candidate.node] = "no plan that serves as many units can use it"
            continue
        found = _plan(model.problem, model.items, model.bundles, answer.loads)
        gap = found.cost.total - plan.cost.total
        reasons[candidate.node] = _more(model, gap, "the best plan with it costs")
    for candidate in rest[len(sought) :]:
        reasons[candidate.node] = "has a part of the goods; not in the optimal plan"
    return reasons


def _alone(model: _Model, candidate: Candidate) -> int | None:
    """What the whole order costs from this node only; None where it cannot serve all of it."""
    wanted: dict[str, int] = {}
    for item in model.items:
        wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
    if any(candidate.stock.get(sku, 0) < quantity for sku, quantity in wanted.items()):
        return None
    units = tuple(item.quantity for item in model.items)
    loads = (_Load(candidate, option, units) for option in candidate.options)
    return min(_cost(model.problem, model.items, load, split=False).total for load in loads)


def _more(model: _Model, gap: int, what: str) -> str:
    if gap < 0:
        return "no plan with it was proven better within the limit of work"
    if gap == 0:
        return f"{what} the same; the plan is one of equals"
    return f"{what} {Money(minor=gap, currency=model.problem.currency)} more"
