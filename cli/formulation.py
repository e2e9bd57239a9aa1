"""The sourcing problem once more, for OR-Tools: line by line and rule by rule, from the problem."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ortools.sat.python import cp_model

from domain.sourcing.policy import Constraint, Kind
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption

_LIMIT: Final = 3.0  # of work, in CP-SAT's deterministic time, for each of up to four goals
_MOST: Final = 2**40
_POUND, _GRAM, _INCH = 45_359_237, 100_000, 16_387_064

Expr = cp_model.LinearExprT


class Unproven(Exception):
    """The limit of work came first."""


def optimum(problem: Problem) -> tuple[int, int, int, int]:
    """
    What the best plan under all rules is worth: units left over, then its packages and the sum of
    their priorities where locations have such, then its objective in thousandths of a minor unit.

    It shares neither code nor shape with the models that decide: units of lines and not of items,
    pounds by division, a price that is enforced by the service that is chosen. Raises Unproven.
    """
    return _Formulation(problem).solved()


class _Formulation:
    def __init__(self, problem: Problem) -> None:
        self._problem, self._cp = problem, cp_model.CpModel()
        self._demands = problem.demands
        self._nodes = [
            c
            for c in problem.candidates
            if c.eliminated is None
            and c.options
            and (c.capacity_left is None or c.capacity_left > 0)
        ]
        self._lines = range(len(self._demands))
        self._x = [[self._units(c, d) for d in self._demands] for c in self._nodes]
        self._used = [self._any(self._x[n]) for n in range(len(self._nodes))]
        self._cartons: list[Expr] = []
        self._points: list[Expr] = [
            term for n in range(len(self._nodes)) for term in self._package(n)
        ]
        for line in self._lines:
            sent = cp_model.LinearExpr.sum([row[line] for row in self._x])
            self._cp.add(sent <= self._demands[line].quantity)
        self._kits()
        for node, row in zip(self._nodes, self._x, strict=True):
            if node.units_left is not None:
                self._cp.add(cp_model.LinearExpr.sum(row) <= node.units_left)
        for rule in problem.policy.constraints:
            self._rule(rule)
        if problem.max_nodes is not None:
            self._cp.add(sum(self._used) <= problem.max_nodes)

    def solved(self) -> tuple[int, int, int, int]:
        asked = sum(demand.quantity for demand in self._demands)
        sent = cp_model.LinearExpr.sum([var for row in self._x for var in row])
        left = self._least(asked - sent)
        ranks = self._of("location_priority")
        packages = priorities = 0
        if ranks:
            packages = self._least(cp_model.LinearExpr.sum(self._used))
            prior = [
                min((r.value or 0 for r in ranks if _names(r, c)), default=0) for c in self._nodes
            ]
            priorities = self._least(cp_model.LinearExpr.weighted_sum(self._used, prior))
        split = self._problem.split_fee_minor * self._problem.policy.weights.split * 10
        first = self._any(self._used)
        total = self._least(cp_model.LinearExpr.sum([*self._points, -split * first]))
        return left, packages, priorities, total

    def _least(self, goal: Expr) -> int:
        """Minimise it, and keep it so."""
        self._cp.minimize(goal)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.max_deterministic_time = _LIMIT
        solver.parameters.presolve_inclusion_work_limit = 0  # it has called a model infeasible
        if solver.solve(self._cp) != cp_model.OPTIMAL:
            raise Unproven
        found = round(solver.objective_value)
        self._cp.add(goal == found)
        return found

    def _of(self, kind: Kind) -> list[Constraint]:
        return [rule for rule in self._problem.policy.constraints if rule.kind == kind]

    def _units(self, candidate: Candidate, demand: Demand) -> cp_model.IntVar:
        return self._cp.new_int_var(0, min(demand.quantity, candidate.stock.get(demand.sku, 0)), "")

    def _any(self, some: Sequence[cp_model.IntVar]) -> cp_model.IntVar:
        """Whether any of them is more than 0."""
        there = self._cp.new_bool_var("")
        total = cp_model.LinearExpr.sum(list(some))
        self._cp.add(total >= 1).only_enforce_if(there)
        self._cp.add(total == 0).only_enforce_if(~there)
        return there

    def _package(self, n: int) -> list[Expr]:
        node, x, used = self._nodes[n], self._x[n], self._used[n]
        weights = self._problem.policy.weights
        kept: dict[str, int] = dict.fromkeys(node.stock, 0)
        for rule in self._of("min_stock"):
            for demand in self._demands:
                if _names(rule, node) and _speaks(rule, demand):
                    kept[demand.sku] = max(kept.get(demand.sku, 0), rule.value or 0)
        points: list[Expr] = []
        for sku in dict.fromkeys(demand.sku for demand in self._demands):
            same = [x[i] for i in self._lines if self._demands[i].sku == sku]
            free = max(0, node.stock.get(sku, 0) - kept.get(sku, 0))
            self._cp.add(cp_model.LinearExpr.sum(same) <= free)
            points.append(node.line_cost_minor * weights.handling * 10 * self._any(same))
            each = (
                node.stock_minor.get(sku, 0) * weights.stock
                + node.goods_minor.get(sku, 0) * weights.goods
                + node.unit_cost_minor * weights.handling
                + node.labour_unit_minor * weights.labour
            )
            points.append(each * 10 * cp_model.LinearExpr.sum(same))
        radius = max((r.value or 0 for r in self._of("local_radius")), default=0)
        against = sum(r.value or 0 for r in self._of("preferred_node") if not _names(r, node))
        fixed = (
            10 * node.order_cost_minor * weights.handling
            + 10 * node.labour_minor * weights.labour
            + 10 * self._problem.split_fee_minor * weights.split
            + 1000 * (weights.minor_per_package + against)
            + max(node.miles, radius, 0) * weights.minor_per_1000_miles
        )
        return [*points, fixed * used, self._sent(n)]

    def _sent(self, n: int) -> cp_model.IntVar:
        """What its going counts: that of the one service that is chosen, enforced by it."""
        cp, node, x = self._cp, self._nodes[n], self._x[n]
        weights = self._problem.policy.weights
        alone = [i for i in self._lines if self._named(self._of("ship_alone"), i)]
        shared = [i for i in self._lines if i not in alone]
        cartons = self._any([x[i] for i in shared]) + sum(x[i] for i in alone)
        self._cartons.append(cartons)
        counted = cp.new_int_var(-_MOST, _MOST, "")
        cp.add(counted == 0).only_enforce_if(~self._used[n])
        grams = cp_model.LinearExpr.sum([self._demands[i].weight_g * x[i] for i in shared])
        volume = cp_model.LinearExpr.sum([self._demands[i].volume_mm3 * x[i] for i in shared])
        choices = []
        for option in node.options:
            chosen = cp.new_bool_var("")
            choices.append(chosen)
            for i in self._lines:
                if not self._carries(option, i):
                    cp.add(x[i] == 0).only_enforce_if(chosen)
            beyond = cp_model.LinearExpr.sum([self._beyond(option, grams, volume)])
            for i in alone:
                demand = self._demands[i]
                beyond += _beyond_of(option, demand.weight_g, demand.volume_mm3) * x[i]
            carton = 10 * option.base_minor * weights.shipping
            carton += option.carbon_g * weights.carbon_minor_per_kg
            pound = 10 * option.per_lb_minor * weights.shipping
            pound += option.carbon_g_per_lb * weights.carbon_minor_per_kg
            late = 10 * option.days_late * self._problem.late_day_minor * weights.late
            late += 1000 * option.days * weights.minor_per_day
            cp.add(counted == carton * cartons + pound * beyond + late).only_enforce_if(chosen)
        cp.add(sum(choices) == self._used[n])
        return counted

    def _beyond(
        self, option: ServiceOption, grams: cp_model.LinearExpr, volume: cp_model.LinearExpr
    ) -> cp_model.IntVar:
        """Begun pounds after the first, by division."""
        pounds = [self._begun(grams * _GRAM, _POUND)]
        if option.dim_divisor and option.carton_in3:
            boxes = self._begun(volume * 1000, option.carton_in3 * _INCH)
            inches = cp_model.LinearExpr.sum([boxes * option.carton_in3])
            pounds.append(self._begun(inches, option.dim_divisor))
        elif option.dim_divisor:
            pounds.append(self._begun(volume * 1000, option.dim_divisor * _INCH))
        beyond = self._cp.new_int_var(0, 10**6, "")
        self._cp.add_max_equality(beyond, [0, *(pound - 1 for pound in pounds)])
        return beyond

    def _begun(self, amount: cp_model.LinearExpr, size: int) -> cp_model.IntVar:
        parts = self._cp.new_int_var(0, 10**6, "")
        self._cp.add_division_equality(parts, amount + (size - 1), size)
        return parts

    def _carries(self, option: ServiceOption, i: int) -> bool:
        demand = self._demands[i]
        needs = set(demand.needs)
        needs |= {rule.what for rule in self._of("capability") if _speaks(rule, demand)}
        return option.offers is None or needs <= set(option.offers)

    def _named(self, rules: Iterable[Constraint], i: int) -> bool:
        return any(_speaks(rule, self._demands[i]) for rule in rules)

    def _kits(self) -> None:
        """At every node each kit has all of its parts; no more units are loose than asked for."""
        kits = {d.kit.line_id: d.kit.kits for d in self._demands if d.kit}
        for line_id, count in kits.items():
            made = [self._cp.new_int_var(0, count, "") for _ in self._nodes]
            self._cp.add(cp_model.LinearExpr.sum(made) <= count)
            for i, demand in enumerate(self._demands):
                if demand.kit and demand.kit.line_id == line_id:
                    each = demand.kit.per_kit
                    loose = [row[i] - each * k for row, k in zip(self._x, made, strict=True)]
                    for some in loose:
                        self._cp.add(some >= 0)
                    self._cp.add(sum(loose) <= demand.quantity - each * count)

    def _rule(self, rule: Constraint) -> None:  # noqa: C901, PLR0912  # one for each kind
        cp, value = self._cp, rule.value or 0
        match rule.kind:
            case "max_nodes":
                cp.add(sum(self._used) <= value)
            case "max_packages":
                cp.add(sum(self._cartons) <= value)
            case "ship_complete_order":
                self._all_or_none(self._lines)
            case "ship_complete_lines":
                sold = {_sold(d) for d in self._demands if _speaks(rule, d)}
                for line in sorted(sold):
                    self._all_or_none([i for i in self._lines if _sold(self._demands[i]) == line])
            case "never_split":
                worth = sum(d.price_minor * d.quantity for d in self._demands)
                listed = any(_speaks(rule, demand) for demand in self._demands)
                if listed and (rule.value is None or worth < value):
                    self._all_or_none(self._lines)
                    cp.add(sum(self._used) <= 1)
            case "value_floor":
                self._floor(max(r.value or 0 for r in self._of("value_floor")))
            case "keep_together":
                self._together(rule)
            case "max_rejects":
                for i, demand in enumerate(self._demands):
                    if _speaks(rule, demand) and demand.rejections >= value:
                        cp.add(sum(row[i] for row in self._x) == 0)
            case _:
                for n, node in enumerate(self._nodes):
                    if self._bars(rule, node):
                        for i in self._lines:
                            if _speaks(rule, self._demands[i]):
                                cp.add(self._x[n][i] == 0)

    def _bars(self, rule: Constraint, node: Candidate) -> bool:
        value, named = rule.value or 0, _names(rule, node)
        match rule.kind:
            case "offline" | "exclude":
                return named
            case "firm_node":
                return not named
            case "max_distance":
                return named and (node.miles > value or node.miles < 0)
            case "max_orders":
                most = max(
                    (r.value or 0 for r in self._of("max_orders") if _names(r, node)), default=0
                )
                return named and node.open_orders >= most
            case "location_priority":
                return not any(_names(r, node) for r in self._of("location_priority"))
        return False

    def _all_or_none(self, lines: Iterable[int]) -> None:
        some = list(lines)
        whole = self._cp.new_bool_var("")
        sent = cp_model.LinearExpr.sum([row[i] for row in self._x for i in some])
        self._cp.add(sent == sum(self._demands[i].quantity for i in some) * whole)

    def _together(self, rule: Constraint) -> None:
        spoken = {_sold(d) for d in self._demands if _speaks(rule, d)}
        for row in self._x:
            here = self._cp.new_bool_var("")
            for i, demand in enumerate(self._demands):
                if _sold(demand) in spoken:
                    self._cp.add(row[i] == demand.quantity * here)

    def _floor(self, floor: int) -> None:
        cp = self._cp
        asked = sum(demand.quantity for demand in self._demands)
        prices = [demand.price_minor for demand in self._demands]
        worth = [cp_model.LinearExpr.weighted_sum(row, prices) for row in self._x]
        sent = cp_model.LinearExpr.sum([var for row in self._x for var in row])
        split = cp.new_bool_var("")
        packages = cp_model.LinearExpr.sum(self._used)
        cp.add(packages <= 1).only_enforce_if(~split)
        whole, nothing = cp.new_bool_var(""), cp.new_bool_var("")
        cp.add(sent == asked).only_enforce_if(whole)
        cp.add(sent == 0).only_enforce_if(nothing)
        cp.add_bool_or([split, whole, nothing])
        for value, used in zip(worth, self._used, strict=True):
            cp.add(value >= floor).only_enforce_if([split, used])
        left = sum(d.price_minor * d.quantity for d in self._demands) - sum(worth)
        cp.add(left >= floor).only_enforce_if([~whole, ~nothing])


def _names(rule: Constraint, node: Candidate) -> bool:
    return rule.nodes is None or node.node in rule.nodes


def _sold(demand: Demand) -> str:
    return demand.kit.line_id if demand.kit else demand.line_id


def _speaks(rule: Constraint, demand: Demand) -> bool:
    return rule.lines is None or bool({demand.line_id, _sold(demand)} & set(rule.lines))


def _beyond_of(option: ServiceOption, grams: int, volume: int) -> int:
    pounds = 1
    inches = volume * 1000
    if option.dim_divisor and option.carton_in3:
        inches = -(-inches // (option.carton_in3 * _INCH)) * option.carton_in3 * _INCH
    while pounds * _POUND < grams * _GRAM or (
        option.dim_divisor and pounds * option.dim_divisor * _INCH < inches
    ):
        pounds += 1
    return pounds - 1
