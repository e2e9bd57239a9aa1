"""
Finds the cheapest plan of an ordinary order by trying every way to divide it, without a solver.

What is asked for is a multiset of kinds: loose units of an item, and whole kits. The cheapest
package of each part of it is looked up over all nodes and services; the cheapest plan of a part is
one package that has its last unit, and the cheapest plan of the rest. Exact: the plans it looks at
are all that there are, but for those that use a node twice. Where such a one is the best, the node
is taken apart: no package of it among the others', and at most one of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Final

import numpy as np

from domain.sourcing.allowance import take
from domain.sourcing.lattice import Ints, divisions
from domain.sourcing.packages import MOST, Packages, kinds_of
from domain.sourcing.pricing import cartons
from domain.sourcing.search import Answer, Load, Question
from domain.sourcing.tables import Tables

VERSION: Final = version("numpy")

# What the kernel takes; all else is CP-SAT's.
MOST_DIVISIONS: Final = 3**12  # twelve single units of twelve items
MOST_PACKAGES: Final = 2**20  # of all nodes, by their content
MOST_WORK: Final = 2**23  # of one search, in sums that are compared
MOST_ITEMS: Final = 62  # where services do not carry all: a bit for each

# Measured, in the seconds that the work of a request counts.
_EACH_PRICE: Final = 3e-6  # of a node's service
_EACH_PACKAGE: Final = 2e-8  # by one service
_EACH_SUM: Final = 5e-8

FEW_PARTS: Final = 64  # for fewer than these it is faster to take one after the other


class Beyond(Exception):
    """The search ends without an answer: too much work, or a limit that its sums do not know."""


def search(question: Question) -> Kernel | None:
    """The kernel at work on an order that it takes: short, and without too many packages."""
    limits = question.limits
    if question.aboard and (limits.nodes is not None or limits.cartons is not None):
        return None
    packages = packages_of(question)
    return None if packages is None else Kernel(packages)


def packages_of(question: Question) -> Packages | None:
    """All that could leave for the order; None where that is more than the kernel takes."""
    kinds = kinds_of(question)
    if divisions([kind.count for kind in kinds]) > MOST_DIVISIONS:
        return None
    if len(question.items) > MOST_ITEMS and any(item.traits.needs for item in question.items):
        return None
    packages = Packages(question, kinds, Tables.of(question))
    services = max((len(candidate.options) for candidate in question.usable), default=0) + 1
    take(services * (_EACH_PRICE * len(question.usable) + _EACH_PACKAGE * packages.number))
    return packages if packages.number <= MOST_PACKAGES and packages.fit else None


@dataclass(frozen=True)
class _Found:
    """A plan as its packages, each a node's place and a part; `value` is what plans compare by."""

    value: int
    packages: tuple[tuple[int, int], ...]

    def twice(self) -> list[int]:
        counted = Counter(place for place, _ in self.packages)
        return sorted(place for place, packages in counted.items() if packages > 1)


@dataclass(frozen=True)
class _Plans:
    """
    The value of the best plan of every part: of any number of packages, in one row; or of at most
    as many as the row's number, where each one leads a row `down`.
    """

    rows: Sequence[Ints]
    down: int

    def under(self, row: int) -> Ints | None:
        """What a package may be added to, to come to this row."""
        return self.rows[row - self.down] if row >= self.down else None


@dataclass(frozen=True)
class _Stage:
    """One package more, which `must` be or may pay: its cost by part, and the plans before it."""

    costs: Ints
    must: bool
    before: _Plans


class Kernel:
    """
    One question at work; see `search` for whether it should be.

    Some limits are those of a plan as a whole: lines that are complete or not there, cartons beside
    packages, the worth of what stays behind. It searches as if they were not there. Mostly the best
    plan keeps to them, and so is the best that does; where it does not, Beyond is raised.

    Of plans that cost the same it answers the one of fewest packages, then the one whose nodes come
    first in the alphabet, by the sum of their places; of services the sooner. Beyond that the order
    of the search decides. The order of the nodes and that of the lines do not matter.
    """

    solver = "exact-kernel"

    def __init__(self, packages: Packages) -> None:
        self._packages, self._lattice = packages, packages.lattice
        self._question, self._limits = packages.question, packages.question.limits
        most = [n for n in (self._limits.nodes, self._limits.cartons) if n is not None]
        self._most_packages = min(most, default=None)
        self._work = 0

    @property
    def versions(self) -> dict[str, str]:
        return {"numpy": VERSION}

    def solve(
        self, *, other_than: Collection[str] = (), forced: str | None = None
    ) -> Answer | None:
        """As every search; of `other_than` and `forced` one at most. May raise Beyond."""
        self._work = 0
        found: _Found | None = self._best
        if forced is not None:
            found = self._cheapest(must=self._packages.places([forced]))
        elif other_than:
            found = self._other_than(self._packages.places(other_than))
        if found is None or self._served(found) < self._served(self._best):
            return None
        loads = tuple(self._packages.load(*package) for package in found.packages)
        if loads and self._limits.everything and self._left_of(loads):
            return None
        self._check(loads)
        return Answer(loads, optimal=True, work=self._work)

    def _check(self, loads: Sequence[Load]) -> None:
        """Raise Beyond where the plan does not keep to a limit that the search does not know."""
        limits, items = self._limits, self._question.items
        left = self._left_of(loads)
        worth = sum(items[index].traits.price_minor * units for index, units in left.items())
        if loads and left and worth < limits.floor:
            raise Beyond
        for whole in limits.whole:
            units = sum(left.get(index, 0) for index in whole)
            if units not in {0, sum(items[index].quantity for index in whole)}:
                raise Beyond
        if limits.cartons is not None:
            packed = sum(cartons(self._question, load) for load in loads)
            if packed > limits.cartons:
                raise Beyond

    def _left_of(self, loads: Sequence[Load]) -> dict[int, int]:
        """By item, the units that stay behind."""
        left = [item.quantity for item in self._question.items]
        for load in loads:
            left = [before - units for before, units in zip(left, load.units, strict=True)]
        return {index: units for index, units in enumerate(left) if units}

    @cached_property
    def _best(self) -> _Found:
        found = self._cheapest()
        if found is None:
            raise RuntimeError("what nobody serves is left over: there is always a plan")
        if self._limits.everything and self._served(found) < self._question.units:
            return _Found(self._question.units * self._packages.left, ())
        return found

    def _other_than(self, used: Sequence[int]) -> _Found | None:
        """Either one of the nodes is not used, or all of them are, and another one."""
        ways = [self._cheapest(without=[place]) for place in used]
        without: list[int] = []
        limit = self._most_packages
        while limit is None or limit > len(used):
            found = self._cheapest(must=used, without=without, more=True)
            ways.append(found)
            if found is None or not (twice := found.twice()):
                break
            ways[-1] = self._cheapest(must=[*used, twice[0]], without=without)
            without.append(twice[0])
        return min((way for way in ways if way), key=lambda way: way.value, default=None)

    def _cheapest(
        self, *, must: Sequence[int] = (), without: Sequence[int] = (), more: bool = False
    ) -> _Found | None:
        """
        The best plan with all of `must`, with none of `without`. One that has `more` nodes than
        those of `must` may use one of the others twice.
        """
        apart = dict.fromkeys(must, True)
        limit = None
        while True:
            found = self._divided(apart, without, limit, more=more)
            if found is None or (more and found.twice()):
                return found
            most = self._most_packages
            if twice := found.twice():
                apart.update(dict.fromkeys(twice, False))
            elif limit is None and most is not None and len(found.packages) > most:
                limit = most
            else:
                return found

    def _divided(
        self, apart: Mapping[int, bool], without: Sequence[int], limit: int | None, *, more: bool
    ) -> _Found | None:
        """The best plan but for nodes used twice; those `apart` are used once, or must be."""
        others = self._packages.best(without=[*apart, *without])
        plans = bottom = self._plans(others, limit)
        extra = [(others, True)] if more else []
        extra += [(self._packages.best(only=place), must) for place, must in apart.items()]
        stages: list[_Stage] = []
        for costs, must in extra:
            if stages:
                plans = self._with_one_more(stages[-1])
            stages.append(_Stage(costs, must, plans))
        value = self._whole(stages[-1]) if stages else int(bottom.rows[-1][-1])
        if value >= MOST:
            return None
        return _Found(value, tuple(self._traced(value, stages, bottom, others)))

    def _plans(self, others: Ints, limit: int | None) -> _Plans:
        if limit is None:
            return _Plans([self._filled(others, None)], 0)
        rows = [self._packages.units * self._packages.left]
        for _ in range(limit):
            rows.append(self._filled(others, rows[-1]))
        return _Plans(rows, 1)

    def _filled(self, others: Ints, under: Ints | None) -> Ints:
        """Part by part: its last unit stays behind, or is in a package and the rest was planned."""
        row = np.zeros_like(others)
        under = row if under is None else under
        for step in self._lattice.steps:
            sums = others[step.taken]
            sums += under[step.rest]
            best = np.minimum.reduceat(sums, step.starts)
            left = row[step.low - step.unit : step.high - step.unit]
            left = left + int(self._packages.units[step.unit]) * self._packages.left
            np.minimum(best, left, out=row[step.low : step.high])
            self._count(len(sums))
        return row

    def _with_one_more(self, stage: _Stage) -> _Plans:
        rows = []
        for number, before in enumerate(stage.before.rows):
            row = np.full_like(before, MOST) if stage.must else before.copy()
            if (under := stage.before.under(number)) is not None:
                self._add(stage.costs, under, row)
            rows.append(row)
        return _Plans(rows, stage.before.down)

    def _add(self, costs: Ints, under: Ints, row: Ints) -> None:
        """Lower the row to what one package more makes of the plans under it."""
        parts = np.flatnonzero(costs < MOST)
        if len(parts) > FEW_PARTS:
            step = self._lattice.every
            sums = costs[step.taken] + under[step.rest]
            np.minimum(row[1:], np.minimum.reduceat(sums, step.starts), out=row[1:])
            self._count(len(sums))
            return
        for part in parts.tolist():
            rest = self._lattice.parts_of(self._lattice.size - 1 - part)
            sums = np.append(under[rest], under[0]) + costs[part]
            to = np.append(rest, 0) + part
            row[to] = np.minimum(row[to], sums)
            self._count(len(sums))

    def _whole(self, stage: _Stage) -> int:
        """As `_with_one_more`, of the whole demand only."""
        rows = stage.before.rows
        under = stage.before.under(len(rows) - 1)
        value = MOST if under is None else int((stage.costs + under[::-1]).min())
        return value if stage.must else min(value, int(rows[-1][-1]))

    def _traced(
        self, value: int, stages: Sequence[_Stage], plans: _Plans, others: Ints
    ) -> Iterator[tuple[int, int]]:
        """The packages of the plan of that value; the first found, where there are several."""
        whole, row, weights = self._lattice.size - 1, len(plans.rows) - 1, self._lattice.weights
        for stage in reversed(stages):
            under = stage.before.under(row)
            if under is None or (not stage.must and int(stage.before.rows[row][whole]) == value):
                continue
            part, _ = self._part(stage.costs, under, whole, 1)
            yield self._packages.place(int(stage.costs[part])), part
            value, whole, row = value - int(stage.costs[part]), whole - part, row - plans.down
        while whole:
            last = weights[bisect_right(weights, whole) - 1]
            under = plans.under(row)
            if under is not None:
                part, best = self._part(others, under, whole, last)
                if best == int(plans.rows[row][whole]):
                    yield self._packages.place(int(others[part])), part
                    whole, row = whole - part, row - plans.down
                    continue
            whole -= last

    def _part(self, costs: Ints, under: Ints, whole: int, least: int) -> tuple[int, int]:
        """Which part, of that number or a higher one, a package best takes; and the value then."""
        parts = self._lattice.parts_of(whole)
        parts = parts[np.searchsorted(parts, least) :]
        sums = costs[parts] + under[whole - parts]
        best = int(sums.argmin())
        return int(parts[best]), int(sums[best])

    def _count(self, sums: int) -> None:
        self._work += sums
        take(_EACH_SUM * sums)
        if self._work > MOST_WORK:
            raise Beyond

    def _served(self, found: _Found) -> int:
        return sum(int(self._packages.units[part]) for _, part in found.packages)
