"""The cheapest plan of one order, exactly: each division of it over the nodes is priced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from cli.markets.dombench import UNFILLED, Asked, Floats, Ints, Market
from cli.markets.simulation import Package, State
from domain.sourcing.lattice import divisions, lattice
from domain.sourcing.many import NEVER, division

MOST_DIVISIONS: Final = 3**11  # beyond this a quantity is not divided


class Portions(NamedTuple):
    """Of each line how many may go apart, and how many units each of them is."""

    counts: Ints
    each: Ints


class Prices(Protocol):
    """What a unit is worth where it is, in cents, by line and node of an order: it may change."""

    def of(self, asked: Asked, state: State) -> Floats: ...


class Exact:
    """
    The least cost, and what the `prices` say of the units that are taken.

    A line goes whole, or where `parts` of a quantity may, by the unit; whole again in the rare
    order whose best division would take a node's last units twice.
    """

    def __init__(self, name: str, prices: Prices | None = None, *, parts: bool = False) -> None:
        self.name, self._prices, self._parts = name, prices, parts

    def decide(self, asked: Asked, free: Ints, state: State) -> Sequence[Package]:
        per_unit = None if self._prices is None else self._prices.of(asked, state)
        cut = portions(asked.units, parts=self._parts)
        packages = cheapest(asked, free, per_unit, state.market, cut)
        if len({package.node for package in packages}) < len(packages):
            cut = portions(asked.units, parts=False)
            packages = cheapest(asked, free, per_unit, state.market, cut)
        return packages


def portions(units: Ints, *, parts: bool) -> Portions:
    if parts and divisions(units.tolist()) <= MOST_DIVISIONS:
        return Portions(units, np.ones_like(units))
    return Portions(np.ones_like(units), units)


def packages_of(
    asked: Asked, free: Ints, market: Market, cut: Portions
) -> tuple[Ints, Ints, Floats]:
    """Every package that the free units allow: its node, its part of the order, its cost."""
    counts, each = cut
    grid = lattice(tuple(counts.tolist()))
    most = np.array(grid.weights) @ np.minimum(free // each[:, None], counts[:, None])
    nodes = np.flatnonzero(most)
    position, part = grid.parts_of_each(most[nodes])
    node = nodes[position]
    weight = market.weight[asked.skus] * each @ grid.digits
    pounds = np.maximum(np.ceil(weight - 1e-9) - 1, 0)
    lines = np.count_nonzero(grid.digits, axis=0)
    cost = (
        market.fixed[asked.promise][asked.metro, node]
        + market.per_lb[asked.metro, node] * pounds[part]
        + market.pick[node] * lines[part]
    )
    return node, part, cost


def cheapest(
    asked: Asked, free: Ints, per_unit: Floats | None, market: Market, cut: Portions
) -> list[Package]:
    """By the node's part of the order: which packages, at the least cost and price."""
    counts, each = cut
    grid = lattice(tuple(counts.tolist()))
    node, part, cost = packages_of(asked, free, market, cut)
    units = each[:, None] * grid.digits
    if per_unit is not None:
        cost = cost + (units[:, part] * per_unit[:, node]).sum(axis=0)
    best = np.full(grid.size, NEVER)
    np.minimum.at(best, part, cost)
    found = []
    for some in division(grid, best, (UNFILLED * each).tolist()):
        at = int(np.flatnonzero((part == some) & (cost == best[some]))[0])
        found.append(Package(int(node[at]), units[:, some]))
    return found
