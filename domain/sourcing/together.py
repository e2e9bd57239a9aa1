"""Orders that are sourced together: what each of them may take, so that all of them cost least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from domain.sourcing import batch
from domain.sourcing.batch import UNLIMITED, Capacity, Effort
from domain.sourcing.kernel import packages_of
from domain.sourcing.lattice import Ints, lattice
from domain.sourcing.many import Offer, cheapest_of
from domain.sourcing.posing import posed
from domain.sourcing.problem import Candidate, Plan, Problem
from domain.sourcing.weighing import THOUSANDTHS

KEPT: Final = 24  # of the packages of each part of an order: the cheapest ones
LEFT: Final = 10.0  # so many times the dearest package is what a unit costs that finds no node
TAKEN: Final = "what it has goes to other orders of the batch"
FULL: Final = "its room for today goes to other orders of the batch"


class Takes(NamedTuple):
    """What one order takes: units by node and SKU, and packages and units by node."""

    stock: Counter[tuple[str, str]]
    packages: Counter[str]
    units: Counter[str]

    @classmethod
    def of(cls, stock: Mapping[tuple[str, str], int]) -> Takes:
        units: Counter[str] = Counter()
        for (node, _), count in stock.items():
            units[node] += count
        return cls(Counter(stock), Counter(units.keys()), units)

    @classmethod
    def of_plan(cls, problem: Problem, plan: Plan) -> Takes:
        skus = {demand.line_id: demand.sku for demand in problem.demands}
        stock: Counter[tuple[str, str]] = Counter()
        for sent in plan.assignments:
            for line in sent.lines:
                stock[sent.node, skus[line.line_id]] += line.quantity
        return cls.of(stock)


class Together:
    """
    Problems of one snapshot, of orders in the order in which they came.

    A batch plans them all at once (`batch.solve`), as far as packages that simply add up tell it:
    each order within its own rules for packages, but without limits of a plan as a whole. Then
    every one of them is decided exactly in what the plans of the others leave, `problem` by
    `problem`, and `settle` puts what was decided in the place of what was planned. So a limit that
    the batch did not know costs that order alone, two never get the same unit, and each decision
    can be made again from its own problem.

    An order that is too large for the batch, or whose locations have priorities, is planned
    nothing: it gets what the others leave. Blocks for as long as the effort takes.
    """

    def __init__(self, problems: Sequence[Problem], effort: Effort = Effort()) -> None:  # noqa: B008
        self._takes = _planned(problems, effort)
        self._all = Takes(Counter(), Counter(), Counter())
        for takes in self._takes:
            self._add(takes)

    def problem(self, number: int, problem: Problem) -> Problem:
        """
        The problem of this order, with no more than what all the others leave; what they send is
        open at its nodes.
        """
        own = self._takes[number]
        candidates = tuple(self._left(candidate, own) for candidate in problem.candidates)
        return problem.model_copy(update={"candidates": candidates})

    def settle(self, number: int, problem: Problem, plan: Plan) -> None:
        """The order takes this, and nothing else of what was planned for it."""
        before, after = self._takes[number], Takes.of_plan(problem, plan)
        self._all.stock.subtract(before.stock)
        self._all.packages.subtract(before.packages)
        self._all.units.subtract(before.units)
        self._takes[number] = after
        self._add(after)

    def _add(self, takes: Takes) -> None:
        self._all.stock.update(takes.stock)
        self._all.packages.update(takes.packages)
        self._all.units.update(takes.units)

    def _left(self, candidate: Candidate, own: Takes) -> Candidate:
        if candidate.eliminated is not None:
            return candidate
        node = candidate.node
        stock = {
            sku: units - self._all.stock[node, sku] + own.stock[node, sku]
            for sku, units in candidate.stock.items()
        }
        stock = {sku: units for sku, units in stock.items() if units > 0}
        packages = self._all.packages[node] - own.packages[node]
        capacity = _less(candidate.capacity_left, packages)
        units = _less(candidate.units_left, self._all.units[node] - own.units[node])
        reason = (
            TAKEN if candidate.stock and not stock else FULL if 0 in {capacity, units} else None
        )
        return candidate.model_copy(
            update={
                "stock": stock,
                "capacity_left": capacity,
                "units_left": units,
                "open_orders": candidate.open_orders + packages,
                "eliminated": reason,
                "options": candidate.options if reason is None else (),
            }
        )


def _less(limit: int | None, taken: int) -> int | None:
    return None if limit is None else max(0, limit - taken)


def _planned(problems: Sequence[Problem], effort: Effort) -> list[Takes]:
    """What the batch has each of them take; nothing of those that it cannot know."""
    names = sorted({c.node for problem in problems for c in problem.candidates})
    skus = sorted({demand.sku for problem in problems for demand in problem.demands})
    places = {node: place for place, node in enumerate(names)}
    rows = {sku: row for row, sku in enumerate(skus)}
    takes = [Takes.of({}) for _ in problems]
    offers: dict[int, Offer] = {}
    for number, problem in enumerate(problems):
        if (made := offer(problem, rows, places)) is not None:
            offers[number] = made
    if not offers:
        return takes
    left = LEFT * max(1.0, *(float(abs(made.cost).max()) for made in offers.values()))
    of_all = [made._replace(left=left) for made in offers.values()]
    free, capacity = _shared(problems, rows, places)
    found = batch.solve(of_all, free, effort, capacity=capacity)
    for (number, made), plan in zip(offers.items(), found.plans, strict=True):
        stock: Counter[tuple[str, str]] = Counter()
        digits = lattice(made.counts).digits
        for package in plan:
            units = digits[:, made.part[package]] @ made.each
            for row, count in zip(made.skus.tolist(), units.tolist(), strict=True):
                if count:
                    stock[names[made.node[package]], skus[row]] += count
        takes[number] = Takes.of(stock)
    return takes


def offer(problem: Problem, rows: Mapping[str, int], places: Mapping[str, int]) -> Offer | None:
    """
    The cheapest packages that the order could be sent in, in the first pass; None where it cannot
    be told so. `rows` and `places` number SKUs and nodes. Costs are the packages' points, in whole
    minor units; what is left costs nothing, until it is said.
    """
    question, _ = posed(problem)
    if not question.usable or question.rank:
        return None
    packages = packages_of(question)
    if packages is None:
        return None
    place, part, points = packages.counted()
    if not len(place):
        return None
    here = np.array([places[node] for node in sorted(c.node for c in question.usable)])
    skus = sorted({item.sku for item in question.items})
    each = np.zeros((len(packages.kinds), len(skus)), np.int64)
    for row, kind in zip(each, packages.kinds, strict=True):
        for index, need in kind.needs.items():
            row[skus.index(question.items[index].sku)] += need
    made = Offer(
        counts=tuple(kind.count for kind in packages.kinds),
        each=each,
        skus=np.array([rows[sku] for sku in skus]),
        node=here[place],
        part=part,
        cost=np.rint(points * (question.weighing.unit / THOUSANDTHS)),
        left=0.0,
    )
    return cheapest_of(made, KEPT)


def _shared(
    problems: Sequence[Problem], rows: Mapping[str, int], places: Mapping[str, int]
) -> tuple[Ints, Capacity]:
    """The most units that any of the orders sees, by SKU and node; and what nodes may take on."""
    free = np.zeros((len(rows), len(places)), np.int64)
    packages, units = (np.full(len(places), UNLIMITED) for _ in range(2))
    for problem in problems:
        for candidate in problem.candidates:
            place = places[candidate.node]
            for sku, count in candidate.stock.items():
                if sku in rows:
                    free[rows[sku], place] = max(free[rows[sku], place], count)
            for room, limit in (
                (packages, candidate.capacity_left),
                (units, candidate.units_left),
            ):
                if limit is not None:
                    room[place] = min(room[place], max(0, limit))
    return free, Capacity(packages, units)
