"""Every package that could leave for an order: from which node, with what, at which cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from domain.rates import UNITS_PER_G, UNITS_PER_LB
from domain.sourcing.goods import in_kits
from domain.sourcing.lattice import Ints, lattice
from domain.sourcing.problem import Candidate, ServiceOption
from domain.sourcing.search import Load, Question, fixed_cost

MOST: Final = 2**61  # a value that nothing reaches; the sum of two is still an integer


@dataclass(frozen=True)
class Kind:
    """So many times the same: one unit of an item, or one kit with all that is in it."""

    count: int
    needs: Mapping[int, int]
    bundle: int | None = None


@dataclass(frozen=True)
class Tables:
    """
    The usable nodes as columns, in the alphabet's order; a row for each of their services, the
    soonest first (a node with fewer has its first again). Costs in minor units: `fixed` is what a
    package costs at any content. `highest` bounds fixed, per_lb and per_unit.
    """

    candidates: tuple[Candidate, ...]
    options: tuple[tuple[ServiceOption, ...], ...]
    stock: Mapping[str, Ints]
    fixed: Ints
    per_lb: Ints
    per_unit: Ints
    highest: tuple[int, int, int]

    @classmethod
    def of(cls, question: Question) -> Tables:
        problem = question.problem
        nodes = tuple(sorted(question.usable, key=lambda candidate: candidate.node))
        options = tuple(
            tuple(sorted(c.options, key=lambda o: (o.deliver_by, o.service, o.carrier)))
            for c in nodes
        )
        rows = max(map(len, options), default=0)
        padded = [some + some[:1] * (rows - len(some)) for some in options]
        package = [c.order_cost_minor + problem.split_fee_minor for c in nodes]
        fixed = _column([[fixed_cost(problem, o) for o in some] for some in padded], rows)
        fixed += np.array(package, np.int64)
        per_lb = _column([[o.per_lb_minor for o in some] for some in padded], rows)
        per_unit = np.array([c.unit_cost_minor for c in nodes], np.int64)
        stock = {
            sku: np.array([c.stock.get(sku, 0) for c in nodes], np.int64)
            for sku in {item.sku for item in question.items}
        }
        highest = (_highest(fixed), _highest(per_lb), _highest(per_unit))
        return cls(nodes, options, stock, fixed, per_lb, per_unit, highest)


def _column(costs: Sequence[Sequence[int]], rows: int) -> Ints:
    return np.array(costs, np.int64).reshape(len(costs), rows).T.copy()


def _highest(costs: Ints) -> int:
    return int(np.abs(costs).max(initial=0))


def kinds_of(question: Question) -> tuple[Kind, ...]:
    """In an order that does not depend on that of the lines."""
    items, bundles = question.items, question.bundles
    whole = [bundle.kits for bundle in bundles]
    named = [
        ((item.sku, item.weight_g, ""), Kind(item.quantity - in_kits(bundles, i, whole), {i: 1}))
        for i, item in enumerate(items)
    ]
    named += [((b.sku, 0, b.line_id), Kind(b.kits, b.needs, i)) for i, b in enumerate(bundles)]
    named.sort(key=lambda pair: (pair[1].count, pair[0]))
    return tuple(kind for _, kind in named if kind.count > 0)


class Packages:
    """
    A package is a node, by its `place` in the alphabet, and a part of what is asked for, by its
    number in the `lattice`. `number` is how many packages there are.

    What packages compare and add up by is one integer, their value: the cost, then how many they
    are, then the sum of the nodes' places. Each counts for more than all that comes after it can in
    one plan; units `left` over count for more than anything.
    """

    def __init__(self, question: Question, kinds: tuple[Kind, ...], tables: Tables) -> None:
        self._question, self._kinds, self._tables = question, kinds, tables
        self.max_nodes = question.problem.max_nodes
        self.lattice = lattice(tuple(kind.count for kind in kinds))
        self._most = self._most_of_each_node()
        self.number = int(self.lattice.counts(self._most).sum())
        self.units = self._sums([1] * len(question.items))
        grams = self._sums([item.weight_g for item in question.items])
        self._pounds = np.maximum(-(-grams * UNITS_PER_G // UNITS_PER_LB) - 1, 0)
        most_packages = sum(kind.count for kind in kinds)
        fixed, per_lb, per_unit = tables.highest
        dearest = fixed + per_lb * int(self._pounds[-1]) + per_unit * int(self.units[-1])
        self._one = most_packages * len(tables.candidates) + 1
        self._cent = self._one * (most_packages + 1)
        self.left = self._cent * (2 * most_packages * dearest + 1)

    @property
    def fit(self) -> bool:
        """Whether every value is an integer that arrays can hold."""
        return self.left * (int(self.units[-1]) + 1) < MOST

    def place(self, value: int) -> int:
        """The place of the node whose package has this value."""
        return value % self._one

    def places(self, nodes: Collection[str]) -> list[int]:
        return [i for i, c in enumerate(self._tables.candidates) if c.node in nodes]

    def best(self, *, without: Sequence[int] = (), only: int | None = None) -> Ints:
        """The value of the best package of every part; MOST where there is none."""
        place, part, value = self._all
        if only is not None or without:
            chosen = place == only if only is not None else ~np.isin(place, without)
            part, value = part[chosen], value[chosen]
        best = np.full(self.lattice.size, MOST, np.int64)
        np.minimum.at(best, part, value)
        return best

    def load(self, place: int, part: int) -> Load:
        tables, pounds = self._tables, int(self._pounds[part])
        fixed, per_lb = tables.fixed[:, place], tables.per_lb[:, place]
        option = tables.options[place][int((fixed + per_lb * pounds).argmin())]
        units, kits = [0] * len(self._question.items), [0] * len(self._question.bundles)
        for kind, count in zip(self._kinds, self.lattice.digits[:, part].tolist(), strict=True):
            for index, need in kind.needs.items():
                units[index] += need * count
            if kind.bundle is not None:
                kits[kind.bundle] = count
        return Load(tables.candidates[place], option, tuple(units), tuple(kits))

    @cached_property
    def _all(self) -> tuple[Ints, Ints, Ints]:
        """Every package that a node can make: its place, the part, the value."""
        place, part = self._in_stock(*self.lattice.parts_of_each(self._most))
        return place, part, self._valued(place, part)

    def _in_stock(self, place: Ints, part: Ints) -> tuple[Ints, Ints]:
        """Of those that fit kind by kind the ones whose kinds do not want the same unit."""
        items = self._question.items
        asking = Counter(sku for kind in self._kinds for sku in {items[i].sku for i in kind.needs})
        for sku in [sku for sku, kinds in asking.items() if kinds > 1]:
            wanted = self._sums([int(item.sku == sku) for item in items])
            fits = wanted[part] <= self._tables.stock[sku][place]
            place, part = place[fits], part[fits]
        return place, part

    def _valued(self, place: Ints, part: Ints) -> Ints:
        tables = self._tables
        pounds = self._pounds[part]
        cost: Ints | None = None
        for fixed, per_lb in zip(tables.fixed, tables.per_lb, strict=True):
            by_this = fixed[place] + per_lb[place] * pounds
            cost = by_this if cost is None else np.minimum(cost, by_this, out=cost)
        if cost is None:
            return np.zeros_like(place)
        cost += tables.per_unit[place] * self.units[part]
        cost *= self._cent
        cost += place
        cost += self._one
        return cost

    def _most_of_each_node(self) -> Ints:
        """The part that a node could send, if no two kinds wanted the same unit."""
        items, stock = self._question.items, self._tables.stock
        part = np.zeros(len(self._tables.candidates), np.int64)
        for weight, kind in zip(self.lattice.weights, self._kinds, strict=True):
            most: Ints = np.full_like(part, kind.count)
            for index, need in kind.needs.items():
                there = stock[items[index].sku]
                most = np.minimum(most, there if need == 1 else there // need)
            part += weight * most
        return part

    def _sums(self, of_item: Sequence[int]) -> Ints:
        """By part: the sum over its units of what is given by item."""
        of_kind = [sum(of_item[i] * n for i, n in kind.needs.items()) for kind in self._kinds]
        return np.array(of_kind, np.int64) @ self.lattice.digits
