"""A question as columns: its nodes, services, free units and prices, for the kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np

from domain.sourcing.lattice import Ints
from domain.sourcing.problem import Candidate, ServiceOption
from domain.sourcing.search import Aboard, Question

Billing = tuple[int, int]  # the dimensional divisor, and the size of a carton

_PRICES: Final = attrgetter(
    "base_minor",
    "per_lb_minor",
    "days_late",
    "days",
    "carbon_g",
    "carbon_g_per_lb",
    "dim_divisor",
    "carton_in3",
)
_COSTS: Final = attrgetter(
    "order_cost_minor",
    "labour_minor",
    "miles",
    "unit_cost_minor",
    "labour_unit_minor",
    "line_cost_minor",
)


@dataclass(frozen=True)
class Tables:
    """
    The usable nodes as columns, in the alphabet's order; a row for each of their services, the
    soonest first (a node with fewer has its first again).

    In points: `fixed` is what a package counts at any content, `carton` each of its cartons (in
    `fixed` where there is never more than the one), `pound` each pound beyond the first of one,
    `unit` each unit, `goods` beside it each one of some items, `line` each of the goods in it.
    `free` is units by item. `billed` numbers the `billings`, `refused` has a bit for each item that
    the service cannot carry; None where all is carried. `aboard` is by place. `highest` bounds
    fixed, carton, pound, unit with goods, and line.
    """

    candidates: tuple[Candidate, ...]
    options: tuple[tuple[ServiceOption, ...], ...]
    free: Ints
    fixed: Ints
    carton: Ints | None
    pound: Ints
    unit: Ints
    goods: Mapping[int, Ints]
    line: Ints | None
    rank: Ints | None
    billings: tuple[Billing, ...]
    billed: Ints
    refused: Ints | None
    aboard: Mapping[int, Aboard]
    highest: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, question: Question) -> Tables:
        nodes = tuple(sorted(question.usable, key=attrgetter("node")))
        aboard = {
            n: question.aboard[c.node] for n, c in enumerate(nodes) if c.node in question.aboard
        }
        options = tuple(
            (aboard[n].option,) if n in aboard else _soonest_first(c.options)
            for n, c in enumerate(nodes)
        )
        rows = max(map(len, options), default=0)
        price = _grid(options, rows, _PRICES, 8)
        cost = np.array([_COSTS(c) for c in nodes], np.int64).reshape(len(nodes), 6).T
        by = question.weighing
        apart = np.array([question.apart.get(c.node, 0) for c in nodes] if question.apart else 0)
        package = by.package(cost[0], cost[1], np.maximum(cost[2], max(question.radius, 0)), apart)
        fixed = by.option(price[2], price[3]) + package
        for place in aboard:
            fixed[:, place] = 0
        carton: Ints | None = by.carton(price[0], price[4])
        if not aboard and not any(item.traits.alone for item in question.items):
            fixed, carton = fixed + carton, None
        billings, billed = _billings(price[6], price[7])
        line, goods = by.line(cost[5]), _goods(question, nodes)
        pound, unit = by.pound(price[1], price[5]), by.unit_of(cost[3], cost[4])
        dearest = max(map(_highest, goods.values()), default=0)
        return cls(
            candidates=nodes,
            options=options,
            free=_free(question, nodes),
            fixed=fixed,
            carton=carton,
            pound=pound,
            unit=unit,
            goods=goods,
            line=line if line.any() else None,
            rank=np.array([question.rank_of(c) for c in nodes]) if question.rank else None,
            billings=billings,
            billed=billed,
            refused=_refused(question, options, rows),
            aboard=aboard,
            highest=(
                _highest(fixed),
                _highest(carton),
                _highest(pound),
                _highest(unit) + dearest,
                _highest(line),
            ),
        )

    def dearest(self, units: int, pounds: int, goods: int) -> int:
        """No package of so much at most counts more, whichever way."""
        fixed, carton, pound, unit, line = self.highest
        return fixed + carton * (units + 1) + pound * pounds + unit * units + line * goods


def _soonest_first(options: tuple[ServiceOption, ...]) -> tuple[ServiceOption, ...]:
    if len(options) < 2:  # noqa: PLR2004  # nothing to sort
        return options
    return tuple(sorted(options, key=attrgetter("deliver_by", "service", "carrier")))


def _grid(
    options: Sequence[Sequence[ServiceOption]],
    rows: int,
    fields: Callable[[ServiceOption], Any],
    width: int,
) -> Ints:
    """Field by field, row by row, node by node."""
    cells = [fields(o) for some in options for o in _padded(some, rows)]
    grid = np.array(cells, np.int64).reshape(len(options), rows, width)
    return np.ascontiguousarray(grid.transpose(2, 1, 0))


def _padded(some: Sequence[ServiceOption], rows: int) -> Sequence[ServiceOption]:
    return some if len(some) == rows else [*some, *[some[0]] * (rows - len(some))]


def _free(question: Question, nodes: Sequence[Candidate]) -> Ints:
    free = [question.free[c.node] for c in nodes]
    return np.array(free, np.int64).reshape(len(nodes), len(question.items)).T.copy()


def _goods(question: Question, nodes: Sequence[Candidate]) -> Mapping[int, Ints]:
    if not any(c.stock_minor or c.goods_minor for c in nodes):
        return {}
    found = {}
    for index, item in enumerate(question.items):
        stock = np.array([c.stock_minor.get(item.sku, 0) for c in nodes], np.int64)
        goods = np.array([c.goods_minor.get(item.sku, 0) for c in nodes], np.int64)
        points = question.weighing.goods(stock, goods)
        if points.any():
            found[index] = points
    return found


def _billings(divisors: Ints, cartons: Ints) -> tuple[tuple[Billing, ...], Ints]:
    if not divisors.any():
        return ((0, 0),), np.zeros_like(divisors)
    pairs = np.stack([divisors.ravel(), cartons.ravel()], axis=1)
    found, number = np.unique(pairs, axis=0, return_inverse=True)
    billings = tuple((int(divisor), int(carton)) for divisor, carton in found)
    return billings, number.reshape(divisors.shape).astype(np.int64)


def _refused(
    question: Question, options: Sequence[Sequence[ServiceOption]], rows: int
) -> Ints | None:
    if not any(item.traits.needs for item in question.items):
        return None
    bits = [
        [sum(1 << i for i in question.refused(o)) for o in _padded(some, rows)] for some in options
    ]
    refused = np.array(bits, np.int64).reshape(len(options), rows).T.copy()
    return refused if refused.any() else None


def _highest(costs: Ints | None) -> int:
    return 0 if costs is None else int(np.abs(costs).max(initial=0))
