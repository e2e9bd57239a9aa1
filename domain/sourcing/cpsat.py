"""The sourcing problem as a CP-SAT model, of any size: the only module that knows OR-Tools."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from math import ceil
from operator import attrgetter
from typing import Final

from ortools.sat.python import cp_model

from domain.rates import (
    THOUSANDTHS_MM3_PER_IN3,
    UNITS_PER_G,
    UNITS_PER_LB,
    billed_pounds,
)
from domain.sourcing.allowance import take
from domain.sourcing.cpsat_runs import run
from domain.sourcing.goods import in_kits
from domain.sourcing.problem import Candidate, ServiceOption
from domain.sourcing.search import Answer, Load, Question

VERSION: Final = version("ortools")
WORK_LIMIT: Final = 1.0  # a solve's, in CP-SAT's deterministic time: the same on a busy machine
BUILD_EACH: Final = 3e-5  # of a variable, in the seconds that the work of a request counts


@dataclass
class _Node:
    """The variables of one node, each only where it may be more than 0."""

    used: cp_model.IntVar
    units: dict[int, cp_model.IntVar] = field(default_factory=dict)
    kits: dict[int, cp_model.IntVar] = field(default_factory=dict)
    chosen: list[cp_model.IntVar] = field(default_factory=list)
    cartons: cp_model.LinearExpr = field(default_factory=lambda: _sum([]))


class Model:
    """
    One question as a CP-SAT model, to be solved with one further demand or another.

    Past its limit of work an answer is the best one found, and not `optimal`.
    """

    solver = "ortools-cp-sat"

    def __init__(self, question: Question, work_limit: float = WORK_LIMIT) -> None:
        self._question, self._work_limit = question, work_limit
        self._items, self._bundles = question.items, question.bundles
        self._proven, self._left_bound = True, 0
        self._cp = cp_model.CpModel()
        self._nodes: dict[str, _Node] = {}
        # Which of equal plans is found depends on the order of the nodes: not on the caller's.
        usable = sorted(question.usable, key=attrgetter("node"))
        points = [term for candidate in usable for term in self._add_node(candidate)]
        for index, item in enumerate(self._items):
            taken = [n.units[index] for n in self._nodes.values() if index in n.units]
            self._cp.add(_sum(taken) <= item.quantity)
        self._keep_kits_whole()
        self._keep_limits()
        take(BUILD_EACH * len(self._cp.proto.variables))
        self._serve_most(question.most_units)
        self._rank = _sum(question.rank_of(c) * self._of(c).used for c in usable)
        self._points = _sum(points)

    @property
    def versions(self) -> dict[str, str]:
        return {"ortools": VERSION}

    def bound(self, points: float) -> tuple[int, int]:
        """As an answer has it, where so much is proven of the points."""
        return self._left_bound, ceil(points - 1e-6)

    def solve(
        self, *, other_than: Collection[str] = (), forced: str | None = None
    ) -> Answer | None:
        cp = self._cp.clone()
        avoided = set(other_than)
        if avoided:
            cp.add_bool_or(
                [~n.used if node in avoided else n.used for node, n in self._nodes.items()]
            )
        if forced is not None:
            cp.add(self._nodes[forced].used == 1)
        proven = self._proven
        if self._question.rank:  # the best of these plans: others may be of a better one
            cp.minimize(self._rank)
            solver, status = run(cp, self._work_limit)
            if status == cp_model.INFEASIBLE:
                return None
            proven = proven and status == cp_model.OPTIMAL
            cp.add(self._rank == round(solver.objective_value))
        cp.minimize(self._points)
        solver, status = run(cp, self._work_limit)
        if status == cp_model.INFEASIBLE:
            return None
        loads = tuple(
            self._load(solver, candidate)
            for candidate in self._question.usable
            if solver.boolean_value(self._of(candidate).used)
        )
        optimal = status == cp_model.OPTIMAL and proven
        work = solver.response_proto.deterministic_time
        bound = None if optimal else self.bound(solver.best_objective_bound)
        return Answer(loads, optimal, work, bound)

    def _of(self, candidate: Candidate) -> _Node:
        return self._nodes[candidate.node]

    def _all_units(self) -> cp_model.LinearExpr:
        return _sum(units for node in self._nodes.values() for units in node.units.values())

    def _add_node(self, candidate: Candidate) -> list[cp_model.LinearExprT]:
        """At most one package from the node, by one of its services; what it counts, as terms."""
        question, cp = self._question, self._cp
        node = self._nodes[candidate.node] = _Node(cp.new_bool_var(""))
        free = question.free[candidate.node]
        for index, item in enumerate(self._items):
            if (most := min(item.quantity, free[index])) > 0:
                node.units[index] = cp.new_int_var(0, most, "")
                cp.add(node.units[index] <= most * node.used)
        for number, bundle in enumerate(self._bundles):
            if most := question.kits_at(candidate, bundle):
                node.kits[number] = cp.new_int_var(0, most, "")
        cp.add(_sum(node.units.values()) >= node.used)
        if (room := question.room.get(candidate.node)) is not None:
            cp.add(_sum(node.units.values()) <= room)
        for sku in dict.fromkeys(self._items[index].sku for index in node.units):
            same = [index for index in node.units if self._items[index].sku == sku]
            if len(same) > 1:
                shelf = max(free[index] for index in same)
                cp.add(_sum(node.units[index] for index in same) <= shelf)
        points = [question.package_points(candidate) * node.used]
        points += [question.unit_points(candidate, i) * var for i, var in node.units.items()]
        if line := question.weighing.line(candidate.line_cost_minor):
            points += [line * var for var in self._goods(candidate, node)]
        return points + self._add_services(candidate, node)

    def _goods(self, candidate: Candidate, node: _Node) -> list[cp_model.IntVar]:
        """One for each of the goods that the package has, and that is not aboard."""
        aboard = self._question.aboard.get(candidate.node)
        found: dict[str, cp_model.IntVar] = {}
        for index, units in node.units.items():
            sku = self._items[index].sku
            if aboard is None or sku not in aboard.skus:
                there = found.setdefault(sku, self._cp.new_bool_var(""))
                self._cp.add(units <= self._items[index].quantity * there)
        return list(found.values())

    def _add_services(self, candidate: Candidate, node: _Node) -> list[cp_model.LinearExprT]:
        """
        The service that is chosen counts the cartons, and the pounds beyond the first of each: in
        the carton that goods share, weight <= pound x (carton + their number), in integers.
        """
        question, cp, by = self._question, self._cp, self._question.weighing
        aboard = question.aboard.get(candidate.node)
        alone = [i for i in node.units if self._items[i].traits.alone]
        shared = [i for i in node.units if not self._items[i].traits.alone]
        before = (aboard.open if aboard else None) or (0, 0)
        opened = _sum([node.used])
        if alone and not (aboard and aboard.open):
            opened = _sum([cp.new_bool_var("")])
            cp.add(opened <= _sum(node.units[i] for i in shared))
            for i in shared:
                cp.add(node.units[i] <= self._items[i].quantity * opened)
        new = _sum([]) if aboard and aboard.open else opened
        node.cartons = new + _sum(node.units[i] for i in alone)
        points: list[cp_model.LinearExprT] = []
        counted: list[tuple[ServiceOption, cp_model.IntVar, cp_model.IntVar]] = []
        for option in question.options(candidate):
            chosen = cp.new_bool_var("")
            node.chosen.append(chosen)
            for index in question.refused(option) & node.units.keys():
                most = self._items[index].quantity
                cp.add(node.units[index] + most * chosen <= most)
            if aboard is None:
                points.append(by.option(option.days_late, option.days) * chosen)
            heaviest = self._pounds(option, shared, before)
            extra = cp.new_int_var(0, heaviest, "")
            cp.add(extra <= heaviest * chosen)
            counted.append((option, chosen, extra))
            carton = by.carton(option.base_minor, option.carbon_g)
            pound = by.pound(option.per_lb_minor, option.carbon_g_per_lb)
            paid = _beyond(option, *before)
            points += [pound * extra, -pound * paid * chosen]
            if alone or aboard:
                points += self._add_cartons(node, chosen, new, alone, carton, pound, option)
            else:
                points.append(carton * chosen)
        cp.add(_sum(node.chosen) == node.used)
        self._weigh(node, shared, before, opened, counted)
        return points

    def _add_cartons(  # noqa: PLR0913, PLR0917  # one service's part of it
        self,
        node: _Node,
        chosen: cp_model.IntVar,
        new: cp_model.LinearExpr,
        alone: list[int],
        carton: int,
        pound: int,
        option: ServiceOption,
    ) -> list[cp_model.LinearExprT]:
        """What the service makes of cartons that are not simply one: each product is a variable."""
        cp, points = self._cp, list[cp_model.LinearExprT]()
        opened = cp.new_bool_var("")
        cp.add(opened >= new + chosen - 1)
        cp.add(opened <= chosen)
        cp.add(opened <= new)
        points.append(carton * opened)
        for index in alone:
            item = self._items[index]
            each = carton + pound * _beyond(option, item.weight_g, item.volume_mm3)
            sent = cp.new_int_var(0, item.quantity, "")
            cp.add(sent <= node.units[index])
            cp.add(sent <= item.quantity * chosen)
            cp.add(sent >= node.units[index] - item.quantity * (1 - chosen))
            points.append(each * sent)
        return points

    def _pounds(self, option: ServiceOption, shared: list[int], before: tuple[int, int]) -> int:
        """No carton that goods share has more beyond its first."""
        grams = sum(self._items[i].weight_g * self._items[i].quantity for i in shared)
        volume = sum(self._items[i].volume_mm3 * self._items[i].quantity for i in shared)
        return _beyond(option, grams + before[0], volume + before[1])

    def _weigh(
        self,
        node: _Node,
        shared: list[int],
        before: tuple[int, int],
        opened: cp_model.LinearExpr,
        counted: list[tuple[ServiceOption, cp_model.IntVar, cp_model.IntVar]],
    ) -> None:
        """The pounds that are counted carry the weight, and the volume where the service asks."""
        cp = self._cp
        pounds = opened + _sum(extra for _, _, extra in counted)
        grams = before[0] * node.used + _sum(
            self._items[i].weight_g * node.units[i] for i in shared
        )
        if any(self._pounds(option, shared, before) for option, _, _ in counted):
            cp.add(grams * UNITS_PER_G <= UNITS_PER_LB * pounds)
        volume = before[1] * node.used + _sum(
            self._items[i].volume_mm3 * node.units[i] for i in shared
        )
        for option, chosen, extra in counted:
            if not option.dim_divisor or not self._pounds(option, shared, before):
                continue
            inches: cp_model.LinearExprT = option.dim_divisor * (opened + extra)
            if option.carton_in3:
                largest = before[1] + sum(
                    self._items[i].volume_mm3 * self._items[i].quantity for i in shared
                )
                size = option.carton_in3 * THOUSANDTHS_MM3_PER_IN3
                boxes = cp.new_int_var(0, -(-largest * 1000 // size), "")
                cp.add(volume * 1000 <= size * boxes).only_enforce_if(chosen)
                cp.add(option.carton_in3 * boxes <= inches).only_enforce_if(chosen)
            else:
                room = inches * THOUSANDTHS_MM3_PER_IN3
                cp.add(volume * 1000 <= room).only_enforce_if(chosen)

    def _keep_kits_whole(self) -> None:
        """
        What a node sends of an item is in whole kits or loose; no more of either than is wanted.
        """
        for number, bundle in enumerate(self._bundles):
            made = [n.kits[number] for n in self._nodes.values() if number in n.kits]
            self._cp.add(_sum(made) <= bundle.kits)
        whole = [bundle.kits for bundle in self._bundles]
        for index in dict.fromkeys(index for bundle in self._bundles for index in bundle.needs):
            wanted = self._items[index].quantity - in_kits(self._bundles, index, whole)
            loose: list[cp_model.LinearExprT] = []
            for node in self._nodes.values():
                if index in node.units:
                    loose.append(node.units[index] - self._in_kits_from(node, index))
                    self._cp.add(loose[-1] >= 0)
            self._cp.add(_sum(loose) <= wanted)

    def _in_kits_from(self, node: _Node, index: int) -> cp_model.LinearExpr:
        return _sum(
            bundle.needs[index] * node.kits[number]
            for number, bundle in enumerate(self._bundles)
            if index in bundle.needs and number in node.kits
        )

    def _keep_limits(self) -> None:
        cp, limits, question = self._cp, self._question.limits, self._question
        fresh = [n.used for name, n in self._nodes.items() if name not in question.aboard]
        if limits.nodes is not None:
            cp.add(_sum(fresh) <= limits.nodes)
        if limits.cartons is not None:
            cp.add(_sum(node.cartons for node in self._nodes.values()) <= limits.cartons)
        if limits.everything:
            self._all_or_none(range(len(self._items)))
        for whole in limits.whole:
            self._all_or_none(whole)
        if limits.floor:
            self._keep_floor(limits.floor)

    def _all_or_none(self, indexes: Iterable[int]) -> None:
        of = set(indexes)
        taken = [v for n in self._nodes.values() for i, v in n.units.items() if i in of]
        whole = self._cp.new_bool_var("")
        self._cp.add(_sum(taken) == sum(self._items[i].quantity for i in of) * whole)

    def _keep_floor(self, floor: int) -> None:
        """Every part of a split is worth so much, and so is what stays behind, if anything does."""
        cp, question = self._cp, self._question
        worth = [item.traits.price_minor for item in self._items]
        for name, node in self._nodes.items():
            if name in question.aboard:
                continue
            single = cp.new_bool_var("")  # all that is asked for, in one package
            cp.add(_sum(node.units.values()) >= question.units * single)
            if question.aboard:
                cp.add(single == 0)
            value = _sum(worth[i] * var for i, var in node.units.items())
            cp.add(value >= floor * (node.used - single))
        total = sum(item.traits.price_minor * item.quantity for item in self._items)
        left = total - _sum(
            worth[i] * var for node in self._nodes.values() for i, var in node.units.items()
        )
        some_left, some_sent = cp.new_bool_var(""), cp.new_bool_var("")
        units = self._all_units()
        cp.add(question.units - units <= question.units * some_left)
        cp.add(units <= question.units * some_sent)
        cp.add(left >= floor * (some_left + some_sent - 1))

    def _serve_most(self, known: int | None) -> None:
        """Every answer serves as many units as can be served at all."""
        most = bound = known
        if most is None:
            cp = self._cp.clone()
            cp.maximize(self._all_units())
            solver, status = run(cp, self._work_limit)
            self._proven = status == cp_model.OPTIMAL
            most = round(solver.objective_value)
            bound = int(solver.best_objective_bound + 1e-6)
        self._left_bound = max(0, self._question.units - (bound or 0))
        self._cp.add(self._all_units() == most)

    def _load(self, solver: cp_model.CpSolver, candidate: Candidate) -> Load:
        node, question = self._of(candidate), self._question
        options = zip(question.options(candidate), node.chosen, strict=True)
        return Load(
            candidate,
            next(option for option, chosen in options if solver.boolean_value(chosen)),
            tuple(
                solver.value(node.units[index]) if index in node.units else 0
                for index in range(len(self._items))
            ),
            tuple(
                solver.value(node.kits[number]) if number in node.kits else 0
                for number in range(len(self._bundles))
            ),
        )


def _beyond(option: ServiceOption, grams: int, volume: int) -> int:
    return max(0, billed_pounds(grams, volume, option.dim_divisor, option.carton_in3) - 1)


def _sum(terms: Iterable[cp_model.LinearExprT]) -> cp_model.LinearExpr:
    return cp_model.LinearExpr.sum(list(terms))
