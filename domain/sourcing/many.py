"""Many orders at once, as arrays: all packages of each, and its cheapest plan at a price."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.sourcing.lattice import Ints, Lattice, lattice

Floats = NDArray[np.float64]

NEVER: Final = 1e15  # a cost that nothing reaches


class Offer(NamedTuple):
    """
    One order and all packages that it could be sent in.

    Its kinds are `counts[k]` portions, each of which is `each[k, s]` units of the SKU with row
    `skus[s]` (a line, a unit of it, a kit); a portion is not divided. Package i is a `node[i]`, the
    `part[i]` of the order that it has (its number in `lattice(counts)`) and a `cost[i]`. `left` is
    the cost of each unit that is in no package.
    """

    counts: tuple[int, ...]
    each: Ints
    skus: Ints
    node: Ints
    part: Ints
    cost: Floats
    left: float


class Chosen(NamedTuple):
    """
    The cheapest plan of each order at some prices: its `value` with them, and of all plans the
    `packages`, by order. `units` is what they take of each cell.
    """

    value: Floats
    packages: Ints
    units: Floats


@dataclass(frozen=True)
class _Group:
    """Orders of the same counts. Their segments are `low` to `high`, at `parts` and `rows`."""

    orders: Ints
    grid: Lattice
    low: int
    high: int
    rows: Ints
    parts: Ints
    left: Floats


class Many:
    """
    The packages of all orders in one table, sorted by order and part; the cheapest first.

    A cell is a thing that they compete for. `cells` has its number: SKU times `nodes` plus node are
    the units of a SKU at a node. Where `counted`, after all those come by node the packages that it
    sends, and then by node the units that it sends. `given` is a package's place in its offer.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        skus: int,
        nodes: int,
        *,
        counted: bool = False,
    ) -> None:
        self.orders, self.nodes, self.skus = len(offers), nodes, skus
        self._by_counts(offers)
        self._tabled(offers)
        self._used(offers, counted=counted)
        self._grouped(offers)

    def _by_counts(self, offers: Sequence[Offer]) -> None:
        same: dict[tuple[int, ...], list[int]] = {}
        for number, offer in enumerate(offers):
            same.setdefault(offer.counts, []).append(number)
        self._same = [(lattice(counts), np.array(same[counts])) for counts in sorted(same)]

    def _tabled(self, offers: Sequence[Offer]) -> None:
        """Every package, by order (in the sequence of the groups), part and cost."""
        sequence = np.concatenate([orders for _, orders in self._same])
        sorted_ = [_by_part(offers[number]) for number in sequence.tolist()]
        counts = np.array([len(some) for some in sorted_])
        self.order: Ints = np.repeat(sequence, counts)
        pairs = list(zip(sequence.tolist(), sorted_, strict=True))
        self.node: Ints = np.concatenate([offers[i].node[some] for i, some in pairs])
        self.part: Ints = np.concatenate([offers[i].part[some] for i, some in pairs])
        self.given: Ints = np.concatenate(sorted_)
        self.cost: Floats = np.concatenate([offers[i].cost[some] for i, some in pairs])
        ends = np.cumsum(counts)
        self._spans = dict(
            zip(
                sequence.tolist(),
                zip((ends - counts).tolist(), ends.tolist(), strict=True),
                strict=True,
            )
        )
        fresh = (np.diff(self.order, prepend=-1) != 0) | (np.diff(self.part, prepend=-1) != 0)
        self._starts: Ints = np.flatnonzero(fresh)
        self._ends: Ints = np.append(self._starts[1:], len(self.order))

    def _used(self, offers: Sequence[Offer], *, counted: bool) -> None:
        """What each package takes of which cell, one after the other."""
        cells, units, counts, low = [], [], [], 0
        for grid, orders in self._same:
            high = low + int(np.isin(self.order[low:], orders).sum()) if len(orders) else low
            order, part = self.order[low:high], self.part[low:high]
            place = np.full(self.orders, 0)
            place[orders] = np.arange(len(orders))
            each, skus = _alike([offers[i] for i in orders.tolist()])
            row, node = place[order], self.node[low:high, None]
            taken = np.zeros((high - low, skus.shape[1]), np.int64)
            for kind, digits in enumerate(grid.digits):
                taken += digits[part][:, None] * each[row, kind]
            cell = skus[row] * self.nodes + node
            if counted:
                after = self.skus * self.nodes + node
                taken = np.column_stack([taken, np.ones_like(node), taken.sum(axis=1)])
                cell = np.column_stack([cell, after, after + self.nodes])
            some = taken > 0
            cells.append(cell[some])
            units.append(taken[some])
            counts.append(some.sum(axis=1))
            low = high
        self.cells, cell = np.unique(np.concatenate(cells), return_inverse=True)
        self._cell: Ints = cell.astype(np.int64)
        self._units = np.concatenate(units).astype(np.float64)
        many = np.concatenate(counts)
        self.use_ends: Ints = np.cumsum(many)
        self.use_begins: Ints = self.use_ends - many

    def _grouped(self, offers: Sequence[Offer]) -> None:
        order, part = self.order[self._starts], self.part[self._starts]
        self._groups, low = [], 0
        self._group_of = np.zeros(self.orders, np.int64)
        self._row_of = np.zeros(self.orders, np.int64)
        for number, (grid, orders) in enumerate(self._same):
            self._group_of[orders], self._row_of[orders] = number, np.arange(len(orders))
            place = np.full(self.orders, -1)
            place[orders] = np.arange(len(orders))
            high = low + int((place[order[low:]] >= 0).sum())
            left = np.array([offers[i].each.sum(axis=1) * offers[i].left for i in orders.tolist()])
            self._groups.append(
                _Group(
                    orders,
                    grid,
                    low,
                    high,
                    place[order[low:high]],
                    part[low:high],
                    left.T,
                )
            )
            low = high

    def alone(self, order: int, stock: Floats, prices: Floats | None = None) -> tuple[int, ...]:
        """
        The packages of one order's cheapest plan in this stock, by cell; at prices, if any. Each is
        of another node; where only that makes the plan another, it is a good one, not proven.
        """
        low, high = self._spans[order]
        if low == high:
            return ()
        group, row = self._groups[self._group_of[order]], self._row_of[order]
        uses = slice(self.use_begins[low], self.use_ends[high - 1])
        cells, units = self._cell[uses], self._units[uses]
        begins = self.use_begins[low:high] - self.use_begins[low]
        cost = self.cost[low:high]
        if prices is not None:
            cost = cost + np.add.reduceat(units * prices[cells], begins)
        short = np.logical_or.reduceat(units > stock[cells], begins)
        cost = np.where(short, NEVER, cost)
        part, left = self.part[low:high], group.left[:, row].tolist()
        best = np.full(group.grid.size, NEVER)
        np.minimum.at(best, part, cost)
        parts = division(group.grid, best, left)
        found = [low + _first(part, some, cost, best) for some in parts]
        if self.apart(found):
            return tuple(sorted(found))
        return self._once(order, found, cost, left)

    def apart(self, packages: Sequence[int]) -> bool:
        """Whether each is of another node."""
        return len(set(self.node[list(packages)].tolist())) == len(packages)

    def _once(
        self, order: int, twice: Sequence[int], cost: Floats, left: Sequence[float]
    ) -> tuple[int, ...]:
        """
        Of the nodes that a plan has twice one package at most, all of them together, and the rest
        from others: the cheapest such plan.
        """
        low, high = self._spans[order]
        grid, part = self._groups[self._group_of[order]].grid, self.part[low:high]
        nodes, counts = np.unique(self.node[list(twice)], return_counts=True)
        out = np.isin(self.node[low:high], nodes[counts > 1])
        others = np.where(out, NEVER, cost)
        best = np.full(grid.size, NEVER)
        np.minimum.at(best, part, others)
        plan = plan_of(grid, best, left)
        whole = grid.size - 1
        total = np.where(out, cost + plan[whole - part], NEVER)
        first: list[int] = []
        if total.min() < plan[whole]:
            first = [int(total.argmin())]
            whole -= int(part[first[0]])
        rest = traced(grid, best, left, plan, whole)
        first += [_first(part, some, others, best) for some in rest]
        return tuple(sorted(low + at for at in first))

    def total(self, order: int, packages: Sequence[int]) -> float:
        """What the order costs in these, with what stays behind."""
        group, row = self._groups[self._group_of[order]], self._row_of[order]
        behind = group.grid.digits[:, -1].copy()
        for package in packages:
            behind -= group.grid.digits[:, self.part[package]]
        return float(self.cost[list(packages)].sum() + behind @ group.left[:, row])

    def priced(self, prices: Floats) -> Floats:
        """Every package's cost with the price of what it takes, by cell."""
        return self.cost + np.add.reduceat(self._units * prices[self._cell], self.use_begins)

    def best(self, prices: Floats) -> Chosen:
        """The cheapest plan of each order at these prices. A plan may use a node twice."""
        return self.best_of(self.priced(prices))

    def best_of(self, cost: Floats) -> Chosen:
        """The same, of costs by package."""
        lowest = np.minimum.reduceat(cost, self._starts)
        value = np.zeros(self.orders)
        segments: list[Ints] = []
        for group in self._groups:
            value[group.orders] = self._planned(group, lowest, segments)
        chosen = np.concatenate(segments) if segments else np.zeros(0, np.int64)
        packages = self._first_at(chosen, cost, lowest)
        packages = packages[np.argsort(self.order[packages], kind="stable")]
        return Chosen(value, packages, self.units_of(packages))

    def plans(self, packages: Ints) -> Iterator[tuple[int, tuple[int, ...]]]:
        """These, sorted by order, as each order's plan; an order without any has none here."""
        if not len(packages):
            return
        order = self.order[packages]
        starts = np.flatnonzero(np.diff(order, prepend=-1))
        numbers, ends = packages.tolist(), np.append(starts, len(packages))[1:].tolist()
        for begin, end in zip(starts.tolist(), ends, strict=True):
            yield int(order[begin]), tuple(sorted(numbers[begin:end]))

    def units_of(self, packages: Ints) -> Floats:
        """What these take of each cell."""
        cells, units = self.taken(packages)
        return np.asarray(np.bincount(cells, units, len(self.cells)), np.float64)

    def taken(self, packages: Ints) -> tuple[Ints, Floats]:
        """What each of these takes: its cells and how much of them, one package after the other."""
        uses = _ranges(self.use_begins[packages], self.use_ends[packages])
        return self._cell[uses], self._units[uses]

    def _planned(self, group: _Group, lowest: Floats, segments: list[Ints]) -> Floats:
        """The value of each order's plan; adds the segments that it takes."""
        grid, orders = group.grid, len(group.orders)
        best = np.full((grid.size, orders), NEVER)
        best[group.parts, group.rows] = lowest[group.low : group.high]
        where = np.full((grid.size, orders), -1)
        where[group.parts, group.rows] = np.arange(group.low, group.high)
        plan = np.zeros((grid.size, orders))
        kinds = {unit: kind for kind, unit in enumerate(grid.weights)}
        for step in grid.steps:
            low, high, begin = step.low, step.high, 0
            if high == grid.size:  # of the last ones only the whole is wanted
                low, begin = high - 1, int(step.starts[-1])
            sums = best[step.taken[begin:]] + plan[step.rest[begin:]]
            starts = step.starts[step.starts >= begin] - begin
            left = plan[low - step.unit : high - step.unit] + group.left[kinds[step.unit]]
            np.minimum(np.minimum.reduceat(sums, starts), left, out=plan[low:high])
        segments.extend(_traced(group, best, plan, where))
        return np.asarray(plan[-1], np.float64)

    def _first_at(self, segments: Ints, cost: Floats, lowest: Floats) -> Ints:
        """Of each segment the first package with its lowest cost."""
        begins, ends = self._starts[segments], self._ends[segments]
        every = _ranges(begins, ends)
        owner = np.repeat(np.arange(len(segments)), ends - begins)
        hits = np.flatnonzero(cost[every] == lowest[segments][owner])
        _, first = np.unique(owner[hits], return_index=True)
        return every[hits[first]]


def _traced(group: _Group, best: Floats, plan: Floats, where: Ints) -> Iterator[Ints]:
    """The segments of the orders' plans, one package of each after the other."""
    grid = group.grid
    weights = np.array(grid.weights)
    whole = np.full(len(group.orders), grid.size - 1)
    while (open_ := np.flatnonzero(whole)).size:
        for state in np.unique(whole[open_]).tolist():
            rows = open_[whole[open_] == state]
            kind = int(np.searchsorted(weights, state, side="right")) - 1
            unit = grid.weights[kind]
            taken = grid.parts_of(state)
            taken = taken[taken >= unit]  # with the last kind, as they were planned
            sums = best[np.ix_(taken, rows)] + plan[np.ix_(state - taken, rows)]
            at = sums.argmin(axis=0)
            left = plan[state - unit, rows] + group.left[kind, rows]
            sent = sums[at, np.arange(len(rows))] <= left
            yield where[taken[at[sent]], rows[sent]]
            whole[rows] -= np.where(sent, taken[at], unit)


def division(grid: Lattice, best: Floats, left: Sequence[float]) -> list[int]:
    """
    The parts that go apart in the cheapest plan of one order; what is in none stays behind.

    `best` is the cost of each part's best package, `left` that of each kind's portion left behind.
    """
    if grid.size == 2:  # noqa: PLR2004  # one portion
        return [1] if best[1] < left[0] else []
    return traced(grid, best, left, plan_of(grid, best, left), grid.size - 1)


def plan_of(grid: Lattice, best: Floats, left: Sequence[float]) -> Floats:
    """What the cheapest plan of each part costs."""
    plan = np.zeros(grid.size)
    kinds = {unit: kind for kind, unit in enumerate(grid.weights)}
    for step in grid.steps:
        sums = best[step.taken] + plan[step.rest]
        behind = plan[step.low - step.unit : step.high - step.unit] + left[kinds[step.unit]]
        np.minimum(np.minimum.reduceat(sums, step.starts), behind, out=plan[step.low : step.high])
    return plan


def traced(
    grid: Lattice, best: Floats, left: Sequence[float], plan: Floats, whole: int
) -> list[int]:
    """The packages' parts in the cheapest plan of the part `whole`."""
    parts = []
    while whole:
        kind = bisect_right(grid.weights, whole) - 1
        unit = grid.weights[kind]
        if plan[whole] == plan[whole - unit] + left[kind]:
            whole -= unit
            continue
        taken = grid.parts_of(whole)
        parts.append(int(taken[(best[taken] + plan[whole - taken]).argmin()]))
        whole -= parts[-1]
    return parts


def _first(part: Ints, some: int, cost: Floats, best: Floats) -> int:
    """The place of the part's best package."""
    return int(np.flatnonzero((part == some) & (cost == best[some]))[0])


def _alike(offers: Sequence[Offer]) -> tuple[Ints, Ints]:
    """`each` and `skus` of these as an array each; where one has fewer SKUs, there is 0 of them."""
    most = max(len(offer.skus) for offer in offers)
    each = np.zeros((len(offers), len(offers[0].counts), most), np.int64)
    skus = np.zeros((len(offers), most), np.int64)
    for number, offer in enumerate(offers):
        each[number, :, : len(offer.skus)] = offer.each
        skus[number, : len(offer.skus)] = offer.skus
    return each, skus


def cheapest_of(offer: Offer, keep: int) -> Offer:
    """The offer with the cheapest packages of each part only."""
    by_part = _by_part(offer)
    part = offer.part[by_part]
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    rank = np.arange(len(part)) - np.repeat(starts, np.diff(np.append(starts, len(part))))
    some = by_part[rank < keep]
    return offer._replace(node=offer.node[some], part=offer.part[some], cost=offer.cost[some])


def _by_part(offer: Offer) -> Ints:
    return np.asarray(np.lexsort((offer.cost, offer.part)), np.int64)


def _ranges(begins: Ints, ends: Ints) -> Ints:
    counts = ends - begins
    total = int(counts.sum())
    offsets = np.repeat(begins - np.cumsum(counts) + counts, counts)
    return np.asarray(np.arange(total) + offsets, np.int64)
