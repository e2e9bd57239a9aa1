"""What a solver is asked and what it answers, whichever solver it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.sourcing.goods import Bundle, Item
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption
from domain.sourcing.weighing import Weighing


@dataclass(frozen=True)
class Limits:
    """
    What a plan as a whole must keep to.

    Most nodes and cartons (None: any number). `floor`: the least that each part of a split is
    worth, what stays behind too. `everything`: all that is asked for, or nothing. `whole`: of each
    of these sets of items all units, or none.
    """

    nodes: int | None = None
    cartons: int | None = None
    floor: int = 0
    everything: bool = False
    whole: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Aboard:
    """
    What an earlier pass sends from a node already, and how: more goods go with it.

    Weight and volume are those of the carton that is not closed; None where there is no such one.
    """

    option: ServiceOption
    open: tuple[int, int] | None
    skus: frozenset[str]


@dataclass(frozen=True)
class Question:
    """
    A problem as solvers see it: every rule is resolved.

    What is asked for over all lines; the nodes that can serve any of it, each with its services,
    and its free units by item; the limits; by node how many units it has `room` for today, where
    that is limited, the rank and what counts against it.
    """

    problem: Problem
    weighing: Weighing
    demands: tuple[Demand, ...]
    items: tuple[Item, ...]
    bundles: tuple[Bundle, ...]
    usable: tuple[Candidate, ...]
    free: Mapping[str, Sequence[int]]
    room: Mapping[str, int]
    limits: Limits
    rank: Mapping[str, int]
    apart: Mapping[str, int]
    radius: int
    aboard: Mapping[str, Aboard]

    @property
    def units(self) -> int:
        return sum(item.quantity for item in self.items)

    @property
    def most_units(self) -> int | None:
        """How many units can be served; None where there is more to it than stock."""
        limits = self.limits
        few = limits.nodes is not None and limits.nodes < len(self.usable)
        tied = limits.everything or limits.whole or limits.floor or limits.cartons is not None
        needy = any(x.traits.needs or x.traits.out or x.traits.held for x in self.items)
        if self.bundles or self.room or few or tied or needy:
            return None
        wanted: dict[str, int] = {}
        shelves: dict[str, dict[str, int]] = {}
        for index, item in enumerate(self.items):
            wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
            shelf = shelves.setdefault(item.sku, {})
            for candidate in self.usable:
                free = self.free[candidate.node][index]
                shelf[candidate.node] = max(shelf.get(candidate.node, 0), free)
        return sum(min(units, sum(shelves[sku].values())) for sku, units in wanted.items())

    def kits_at(self, candidate: Candidate, bundle: Bundle) -> int:
        free = self.free[candidate.node]
        return min(bundle.kits, *(free[index] // need for index, need in bundle.needs.items()))

    def options(self, candidate: Candidate) -> tuple[ServiceOption, ...]:
        """How a package may go; one that is aboard goes as it does."""
        there = self.aboard.get(candidate.node)
        return (there.option,) if there else candidate.options

    def refused(self, option: ServiceOption) -> frozenset[int]:
        """The items that the service cannot carry."""
        if option.offers is None:
            return frozenset()
        return frozenset(
            index
            for index, item in enumerate(self.items)
            if not set(item.traits.needs) <= set(option.offers)
        )

    def miles(self, candidate: Candidate) -> int:
        """As they count: all within the radius are equally near, and abroad is no distance."""
        return max(candidate.miles, self.radius, 0)

    def rank_of(self, candidate: Candidate) -> int:
        """By how much a package from there raises the plan's rank."""
        return 0 if candidate.node in self.aboard else self.rank.get(candidate.node, 0)

    def package_points(self, candidate: Candidate) -> int:
        """What a package counts at any content, however it goes."""
        if candidate.node in self.aboard:
            return 0
        return self.weighing.package(
            candidate.order_cost_minor,
            candidate.labour_minor,
            self.miles(candidate),
            self.apart.get(candidate.node, 0),
        )

    def unit_points(self, candidate: Candidate, index: int) -> int:
        """What a unit of the item counts, wherever else it goes."""
        sku, by = self.items[index].sku, self.weighing
        each = by.unit_of(candidate.unit_cost_minor, candidate.labour_unit_minor)
        stock, goods = candidate.stock_minor.get(sku, 0), candidate.goods_minor.get(sku, 0)
        return each + by.goods(stock, goods)


@dataclass(frozen=True)
class Load:
    """What one node sends: by which option, how many units of each item, and whole kits of each."""

    candidate: Candidate
    option: ServiceOption
    units: tuple[int, ...]
    kits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """
    `optimal`: proven; if not, `bound` is (units left over, points): none leaves fewer, none that
    leaves as many as this counts less. `work` is counted, each solver in its own measure; the same
    every time.
    """

    loads: tuple[Load, ...]
    optimal: bool
    work: float
    bound: tuple[int, int] | None = None


class Search(Protocol):
    """
    A solver at work on one question.

    Every answer serves as many units as can be served at all, has the lowest rank at that, and then
    counts the least: at most one package from a node, whole kits, within all limits.
    """

    @property
    def solver(self) -> str: ...
    @property
    def versions(self) -> dict[str, str]: ...

    def solve(
        self, *, other_than: Collection[str] = (), forced: str | None = None
    ) -> Answer | None:
        """
        The best loads. Not from exactly the nodes `other_than`; or with the forced one. None: no
        way that serves as many units.
        """
