"""Every package that could leave for an order: from which node, with what, at which cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from domain.rates import pounds_by_volume, pounds_by_weight
from domain.sourcing.goods import in_kits
from domain.sourcing.lattice import Ints, lattice
from domain.sourcing.search import Load, Question
from domain.sourcing.tables import Billing, Tables

MOST: Final = 2**61  # a value that nothing reaches; the sum of two is still an integer


@dataclass(frozen=True)
class Kind:
    """So many times the same: one unit of an item, or one bundle with all that is in it."""

    count: int
    needs: Mapping[int, int]
    bundle: int | None = None


def kinds_of(question: Question) -> tuple[Kind, ...]:
    """In an order that does not depend on that of the lines."""
    items, bundles = question.items, question.bundles
    whole = [bundle.kits for bundle in bundles]
    named: list[tuple[tuple[Any, ...], Kind]] = []
    for i, item in enumerate(items):
        loose = Kind(item.quantity - in_kits(bundles, i, whole), {i: 1})
        named.append(((item.sku, item.weight_g, item.volume_mm3, tuple(item.traits)), loose))
    for i, bundle in enumerate(bundles):
        named.append(((bundle.sku, 0, 0, (bundle.line_id,)), Kind(bundle.kits, bundle.needs, i)))
    named.sort(key=lambda pair: (pair[1].count, str(pair[0])))
    return tuple(kind for _, kind in named if kind.count > 0)


class Packages:
    """
    A package is a node, by its `place` in the alphabet, and a part of what is asked for, by its
    number in the `lattice`. `number` is how many packages there are.

    What packages compare and add up by is one integer, their value: the rank, then the points, then
    how many they are, then the sum of the nodes' places. Each counts for more than all that comes
    after it can in one plan; units `left` over count for more than anything.
    """

    def __init__(self, question: Question, kinds: tuple[Kind, ...], tables: Tables) -> None:
        self.question, self.kinds, self._tables = question, kinds, tables
        self.lattice = lattice(tuple(kind.count for kind in kinds))
        self._most = self._most_of_each_node()
        self.number = int(self.lattice.counts(self._most).sum())
        self.units = self._sums([1] * len(question.items))
        self._weighed: dict[tuple[Billing, int, int], Ints] = {}
        most_packages = sum(kind.count for kind in kinds)
        pounds = max(int(self._pounds_of(billing)[-1]) for billing in tables.billings) + 1
        dearest = tables.dearest(int(self.units[-1]), pounds, len(question.items))
        self._one = most_packages * len(tables.candidates) + 1
        self._point = self._one * (most_packages + 1)
        self._rank = self._point * (2 * most_packages * dearest + 1)
        most_rank = 0 if tables.rank is None else int(tables.rank.max(initial=0))
        self.left = self._rank * (most_packages * most_rank + 1)

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

    @property
    def nodes(self) -> tuple[str, ...]:
        """By place."""
        return tuple(candidate.node for candidate in self._tables.candidates)

    @property
    def counted(self) -> tuple[Ints, Ints, Ints]:
        """Every package that a node can make: its place, the part, the rank and then its points."""
        place, part, value = self._all
        return place, part, value // self._point

    def load(self, place: int, part: int) -> Load:
        by_option = list(self._by_option(np.array([place]), np.array([part])))
        option = self._tables.options[place][int(np.argmin(by_option))]
        units, kits = [0] * len(self.question.items), [0] * len(self.question.bundles)
        for kind, count in zip(self.kinds, self.lattice.digits[:, part].tolist(), strict=True):
            for index, need in kind.needs.items():
                units[index] += need * count
            if kind.bundle is not None:
                kits[kind.bundle] = count
        return Load(self._tables.candidates[place], option, tuple(units), tuple(kits))

    @cached_property
    def _all(self) -> tuple[Ints, Ints, Ints]:
        """Every package that a node can make: its place, the part, the value."""
        place, part = self._in_stock(*self.lattice.parts_of_each(self._most))
        if self.question.limits.floor:
            place, part = self._worth_it(place, part)
        return self._valued(place, part)

    def _in_stock(self, place: Ints, part: Ints) -> tuple[Ints, Ints]:
        """Of those that fit kind by kind the ones in which no two want the same unit."""
        items = self.question.items
        asking = Counter(items[i].sku for kind in self.kinds for i in kind.needs)
        for sku in [sku for sku, wants in asking.items() if wants > 1]:
            same = [index for index, item in enumerate(items) if item.sku == sku]
            fits = self._of_items(same)[part] <= self._tables.free[same].max(axis=0)[place]
            place, part = place[fits], part[fits]
        return place, part

    def _worth_it(self, place: Ints, part: Ints) -> tuple[Ints, Ints]:
        """Those worth enough to be a part of a split; all that is asked for is none."""
        worth = self._sums([item.traits.price_minor for item in self.question.items])
        able = worth[part] >= self.question.limits.floor
        if self._tables.aboard:
            able |= np.isin(place, list(self._tables.aboard))
        else:
            able |= part == self.lattice.size - 1
        return place[able], part[able]

    def _valued(self, place: Ints, part: Ints) -> tuple[Ints, Ints, Ints]:
        tables = self._tables
        cost: Ints | None = None
        for by_this in self._by_option(place, part):
            cost = by_this if cost is None else np.minimum(cost, by_this, out=cost)
        if cost is None:
            return place, part, np.zeros_like(place)
        if tables.refused is not None:
            able = cost < MOST
            place, part, cost = place[able], part[able], cost[able]
        cost += tables.unit[place] * self.units[part]
        for index, points in tables.goods.items():
            cost += points[place] * self._of_items([index])[part]
        if tables.line is not None:
            cost += tables.line[place] * self._goods(place, part)
        cost *= self._point
        if tables.rank is not None:
            cost += tables.rank[place] * self._rank
        cost += place
        cost += self._one
        return place, part, cost

    def _by_option(self, place: Ints, part: Ints) -> Iterator[Ints]:
        """Points of the packages by each of the services; MOST where it cannot carry the goods."""
        tables = self._tables
        for row in range(len(tables.fixed)):
            cost = tables.fixed[row][place]
            if tables.carton is not None:
                cost += tables.carton[row][place] * self._cartons(place, part)
            cost += tables.pound[row][place] * self._pounds(row, place, part)
            if tables.refused is not None:
                cost[(tables.refused[row][place] & self._bits[part]) != 0] = MOST
            yield cost

    def _cartons(self, place: Ints, part: Ints) -> Ints:
        """How many are packed: one for each unit that is alone, one for all else."""
        items = self.question.items
        alone = self._of_items([i for i, item in enumerate(items) if item.traits.alone])[part]
        there = [at for at, aboard in self._tables.aboard.items() if aboard.open]
        cartons: Ints = alone + ((self.units[part] > alone) & ~np.isin(place, there))
        return cartons

    def _pounds(self, row: int, place: Ints, part: Ints) -> Ints:
        """Pounds beyond the first of every carton, as the node's service bills them."""
        tables = self._tables
        if len(tables.billings) == 1 and not tables.aboard:
            return self._pounds_of(tables.billings[0])[part]
        pounds, billed = np.zeros_like(part), tables.billed[row][place]
        for number, billing in enumerate(tables.billings):
            here = billed == number
            pounds[here] = self._pounds_of(billing)[part[here]]
        for at, aboard in tables.aboard.items():
            here = place == at
            billing = tables.billings[int(tables.billed[row][at])]
            pounds[here] = self._pounds_of(billing, *(aboard.open or (0, 0)))[part[here]]
        return pounds

    def _pounds_of(self, billing: Billing, grams: int = 0, volume: int = 0) -> Ints:
        """By part, where so much is in the carton already."""
        key = (billing, grams, volume)
        if key not in self._weighed:
            items = self.question.items
            weight = self._sums([0 if x.traits.alone else x.weight_g for x in items]) + grams
            pounds = pounds_by_weight(weight)
            if billing[0]:
                size = self._sums([0 if x.traits.alone else x.volume_mm3 for x in items]) + volume
                pounds = np.maximum(pounds, pounds_by_volume(size, *billing))
            pounds = np.maximum(pounds - 1, 0) - _beyond(grams, volume, billing)
            if any(x.traits.alone for x in items):
                each = [_beyond(x.weight_g, x.volume_mm3, billing) for x in items]
                own = [n if x.traits.alone else 0 for x, n in zip(items, each, strict=True)]
                pounds += self._sums(own)
            self._weighed[key] = pounds
        return self._weighed[key]

    @cached_property
    def _bits(self) -> Ints:
        """By part: which items are in it, a bit for each."""
        bits = np.zeros(self.lattice.size, np.int64)
        for index in range(len(self.question.items)):
            bits |= (self._of_items([index]) > 0).astype(np.int64) << index
        return bits

    def _goods(self, place: Ints, part: Ints) -> Ints:
        """How many different goods are in each package, beside what is aboard."""
        items, goods = self.question.items, np.zeros_like(part)
        for sku in dict.fromkeys(item.sku for item in items):
            same = [index for index, item in enumerate(items) if item.sku == sku]
            there = [at for at, aboard in self._tables.aboard.items() if sku in aboard.skus]
            goods += (self._of_items(same)[part] > 0) & ~np.isin(place, there)
        return goods

    def _most_of_each_node(self) -> Ints:
        """The part that a node could send, if no two kinds wanted the same unit."""
        part = np.zeros(len(self._tables.candidates), np.int64)
        for weight, kind in zip(self.lattice.weights, self.kinds, strict=True):
            most: Ints = np.full_like(part, kind.count)
            for index, need in kind.needs.items():
                there = self._tables.free[index]
                most = np.minimum(most, there if need == 1 else there // need)
            part += weight * most
        return part

    def _of_items(self, indexes: Sequence[int]) -> Ints:
        """By part: how many units of these items."""
        return self._sums([int(i in indexes) for i in range(len(self.question.items))])

    def _sums(self, of_item: Sequence[int]) -> Ints:
        """By part: the sum over its units of what is given by item."""
        of_kind = [sum(of_item[i] * n for i, n in kind.needs.items()) for kind in self.kinds]
        return np.array(of_kind, np.int64) @ self.lattice.digits


def _beyond(grams: int, volume: int, billing: Billing) -> int:
    return max(0, pounds_by_weight(grams) - 1, pounds_by_volume(volume, *billing) - 1)
