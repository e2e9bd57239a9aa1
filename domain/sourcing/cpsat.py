"""The sourcing problem as a CP-SAT model, of any size: the only module that knows OR-Tools."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.metadata import version
from typing import Final

from ortools.sat.python import cp_model

from domain.rates import UNITS_PER_G, UNITS_PER_LB, billed_pounds
from domain.sourcing.goods import in_kits, kits_at
from domain.sourcing.problem import Candidate
from domain.sourcing.search import Answer, Load, Question, fixed_cost

SEED: Final = 7
WORK_LIMIT: Final = 0.3  # a solve's, in CP-SAT's deterministic time: the same on a busy machine
PRESOLVED_FROM: Final = 500  # variables


class Model:
    """
    One question as a CP-SAT model, to be solved with one further demand or another.

    Past its limit of work an answer is the best one found, and not `optimal`.
    """

    solver = "ortools-cp-sat"

    def __init__(self, question: Question, work_limit: float = WORK_LIMIT) -> None:
        self._work_limit = work_limit
        self.problem, self.items = question.problem, question.items
        self.bundles, self.usable = question.bundles, question.usable
        self._serves_most = True
        self._cp = cp_model.CpModel()
        self._used: dict[str, cp_model.IntVar] = {}
        self._units: dict[tuple[str, int], cp_model.IntVar] = {}
        self._kits: dict[tuple[str, int], cp_model.IntVar] = {}
        self._chosen: dict[tuple[str, int], cp_model.IntVar] = {}
        cost = [term for candidate in self.usable for term in self._add_node(candidate)]
        for index, item in enumerate(self.items):
            taken = [var for (_, i), var in self._units.items() if i == index]
            self._cp.add(_sum(taken) <= item.quantity)
        self._keep_kits_whole()
        if self.problem.max_nodes is not None:
            self._cp.add(_sum(self._used.values()) <= self.problem.max_nodes)
        self._cp.add(_sum(self._units.values()) == self._most_units())
        self._cp.minimize(_sum(cost))

    @property
    def versions(self) -> dict[str, str]:
        return {"ortools": version("ortools")}

    def solve(
        self, *, other_than: Collection[str] = (), forced: str | None = None
    ) -> Answer | None:
        cp = self._cp.clone()
        avoided = set(other_than)
        if avoided:
            cp.add_bool_or(
                [~used if node in avoided else used for node, used in self._used.items()]
            )
        if forced is not None:
            cp.add(self._used[forced] == 1)
        solver, status = _run(cp, self._work_limit)
        if status == cp_model.INFEASIBLE:
            return None
        loads = tuple(
            self._load(solver, candidate)
            for candidate in self.usable
            if solver.boolean_value(self._used[candidate.node])
        )
        proven = self._serves_most and status == cp_model.OPTIMAL
        return Answer(loads, proven, solver.deterministic_time)

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
            cost.append(fixed_cost(self.problem, option) * chosen)
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
            solver, status = _run(cp, self._work_limit)
            self._serves_most = status == cp_model.OPTIMAL
            return round(solver.objective_value)
        wanted: dict[str, int] = {}
        for item in self.items:
            wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
        return sum(
            min(quantity, sum(candidate.stock.get(sku, 0) for candidate in self.usable))
            for sku, quantity in wanted.items()
        )

    def _load(self, solver: cp_model.CpSolver, candidate: Candidate) -> Load:
        node = candidate.node
        return Load(
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


def _run(
    cp: cp_model.CpModel, work_limit: float
) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """Solve with one worker and a limit in counted work; past it, take the first plan there is."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = SEED
    solver.parameters.max_deterministic_time = work_limit
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
