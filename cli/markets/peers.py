"""Sourcing as other systems do it, after their documentation; whole lines, and split quantities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cli.markets.dombench import Asked, Flags, Ints, Market
from cli.markets.simulation import Package, State


class Ranked:
    """Each line whole from the first node that has it: by a fixed priority, or by distance."""

    def __init__(self, name: str, priority: Ints | None = None) -> None:
        self.name, self._priority = name, priority

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        rank = _rank(self._priority, asked, state)
        has = (free >= asked.units[:, None])[:, rank]
        chosen = np.where(has.any(axis=1), rank[has.argmax(axis=1)], -1)
        return list(_grouped(chosen, asked.units))


class RankedParts:
    """
    As Magento's algorithms walk the sources item by item: what the first has, then the next, until
    the quantity is complete.
    """

    def __init__(self, name: str, priority: Ints | None = None) -> None:
        self.name, self._priority = name, priority

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        rank = _rank(self._priority, asked, state)
        there = np.minimum(free[:, rank], asked.units[:, None])
        before = np.cumsum(there, axis=1) - there
        taken = np.minimum(there, np.maximum(asked.units[:, None] - before, 0))
        return [
            Package(int(rank[i]), taken[:, i].copy()) for i in np.flatnonzero(taken.any(axis=0))
        ]


class Brokering:
    """
    Whole lines, of the nodes that are on time: the whole order at the nearest that has it, or else
    again and again at the one that has most lines of what is left, the nearest of several. The
    nodes that are late come after them, in the same way.
    """

    name = "brokering"

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        on_time = state.market.days[asked.metro] <= asked.promise
        return _most_lines(asked, (np.where(on_time, free, 0), free), state)


class SequentialBrokering:
    """
    As HotWax brokers: a first run for orders that one node has whole, the nearest; what remains
    goes in a second run with splits, from one node after the other by distance, each all that it
    has, partial quantities too.
    """

    name = "hotwax"

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        near = state.market.near[asked.metro]
        whole = np.all(free >= asked.units[:, None], axis=0)[near]
        if whole.any():
            return [Package(int(near[whole.argmax()]), asked.units)]
        return _drained(near.tolist(), asked.units, free)


class FewestSplits:
    """
    As Shopify ranks: fewest locations, then the least distance of them all together. Where it takes
    more than two they are found one by one, the one that has most first.
    """

    name = "shopify"

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        miles = state.market.miles[asked.metro]
        there = np.minimum(free, asked.units[:, None])
        some = np.flatnonzero(there.any(axis=0))
        some = some[np.argsort(miles[some], kind="stable")]
        complete = np.minimum(asked.units, there.sum(axis=1))
        whole = np.all(there[:, some] >= complete[:, None], axis=0)
        if whole.any():
            return _drained([int(some[whole.argmax()])], complete, free)
        if (pair := _nearest_pair(some, there, complete, miles)) is not None:
            return _drained(pair, complete, free)
        return _drained(_greedy_cover(some, there, complete), complete, free)


class TwoPass:
    """
    As D365's fulfillment optimisation: a first pass within the distance limit and whole lines, the
    fewest shipments and then the least miles, by going through the nodes; what found no node comes
    in a second pass without the limits.
    """

    name = "d365"

    def __init__(self, miles: float = 1000.0) -> None:
        self._miles = miles

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        far = state.market.miles[asked.metro] > self._miles
        near = free.copy()
        near[:, far] = 0
        first = _most_lines(asked, (near,), state)
        left, rest = asked.units.copy(), free.copy()
        for package in first:
            left -= package.units
            rest[:, package.node] -= package.units
        ranked = [p.node for p in first] + state.market.near[asked.metro].tolist()
        second = _drained(list(dict.fromkeys(ranked)), left, rest) if left.any() else []
        return list(_merged([*first, *second]))


def _most_lines(asked: Asked, frees: Sequence[Ints], state: State) -> list[Package]:
    """
    Again and again the node that has most of the whole lines left, the nearest of them; by what is
    free in the first table as long as that has any, then in the next.
    """
    near = state.market.near[asked.metro]
    left = np.ones(len(asked.units), np.bool_)
    packages = []
    for free in frees:
        has = (free >= asked.units[:, None])[:, near]
        while (covers := has[left].sum(axis=0)).any():
            at = int(covers.argmax())
            lines = has[:, at] & left
            packages.append(Package(int(near[at]), np.where(lines, asked.units, 0)))
            left &= ~lines
    return packages


def by_stock(market: Market) -> Ints:
    """A priority: the nodes with the most units first."""
    return np.argsort(-market.stock.sum(axis=0), kind="stable")


def by_number(market: Market) -> Ints:
    """A priority: DCs before stores, as they were founded."""
    return np.arange(market.stock.shape[1])


def _rank(priority: Ints | None, asked: Asked, state: State) -> Ints:
    return state.market.near[asked.metro] if priority is None else priority


def _grouped(chosen: Ints, units: Ints) -> Iterator[Package]:
    """The lines that go from the same node as one package; -1 is none."""
    for node in dict.fromkeys(chosen.tolist()):
        if node >= 0:
            yield Package(node, np.where(chosen == node, units, 0))


def _drained(nodes: Iterable[int], units: Ints, free: Ints) -> list[Package]:
    """From each in turn all that it has of what is left."""
    left, packages = units.copy(), []
    for node in nodes:
        if not left.any():
            break
        taken = np.minimum(left, free[:, node])
        if taken.any():
            packages.append(Package(node, taken))
            left -= taken
    return packages


def _nearest_pair(some: Ints, there: Ints, complete: Ints, miles: Ints) -> list[int] | None:
    """Two nodes that have it all together."""
    mine = there[:, some]
    enough: Flags = np.asarray(
        (mine[:, :, None] + mine[:, None, :] >= complete[:, None, None]).all(axis=0), np.bool_
    )
    np.fill_diagonal(enough, val=False)
    if not enough.any():
        return None
    total = np.where(enough, miles[some][:, None] + miles[some][None], np.inf)
    a, b = np.unravel_index(int(total.argmin()), total.shape)
    return [int(some[a]), int(some[b])]


def _greedy_cover(some: Ints, there: Ints, complete: Ints) -> list[int]:
    """Most units first, the nearest of them."""
    left, chosen = complete.copy(), []
    while left.any():
        gives = np.minimum(there[:, some], left[:, None]).sum(axis=0)
        chosen.append(int(some[gives.argmax()]))
        left -= np.minimum(there[:, chosen[-1]], left)
        some = some[some != chosen[-1]]
    return chosen


def _merged(packages: Sequence[Package]) -> Iterator[Package]:
    for node in dict.fromkeys(p.node for p in packages):
        yield Package(node, np.sum([p.units for p in packages if p.node == node], axis=0))
