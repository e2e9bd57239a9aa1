"""The literature's linear program of a season, by OR-Tools: its optimum, and prices of stock."""

from __future__ import annotations

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

from cli.markets.js import Market
from domain.sourcing.fluid import Floats, Ints


class Program:
    """
    The item-based program: of each basket and region, the share of its orders that gets an item
    from a place, and the share that opens the place, which is no less. It is weaker than one over
    whole plans, and what the literature bounds by.
    """

    def __init__(self, market: Market, orders: Floats) -> None:
        """`orders` by basket and region: how many, or how often."""
        self._market = market
        self._at = np.argwhere(market.stock > 0)
        self._model = mathopt.Model.from_model_proto(_proto(market, self._at, orders))
        self._stock_rows = list(self._model.linear_constraints())[: len(self._at)]
        self._solver = mathopt.IncrementalSolver(self._model, mathopt.SolverType.GLOP)

    def solve(self, stock: Floats | Ints) -> tuple[float, Floats]:
        """
        The least cost with so much stock (of what the market has at first), and by place and item
        what one more would save; `never` where there is none. The vendor's are free.
        """
        for row, (place, item) in zip(self._stock_rows, self._at, strict=True):
            row.upper_bound = float(stock[place, item])
        found = self._solver.solve()
        if found.termination.reason != mathopt.TerminationReason.OPTIMAL:
            raise RuntimeError(f"no optimum: {found.termination}")
        never, duals = self._market.network.never, found.dual_values(self._stock_rows)
        prices = np.zeros((len(self._market.stock) + 1, self._market.network.items))
        prices[:-1][self._market.stock < 1] = never
        prices[self._at[:, 0], self._at[:, 1]] = np.maximum(-np.array(duals), 0)
        prices[:-1][stock <= 0] = never
        return found.objective_value(), prices


def _proto(market: Market, at: Ints, orders: Floats) -> model_pb2.ModelProto:
    """Rows of stock first, in the order of `at`."""
    network, vendor = market.network, len(market.stock)
    stock_row = {(place, item): row for row, (place, item) in enumerate(at.tolist())}
    costs: list[float] = []
    upper: list[float] = [0.0] * len(at)
    lower: list[float] = [-np.inf] * len(at)
    entries: list[tuple[int, int, float]] = []
    for basket, region in np.argwhere(orders > 0).tolist():
        items, number = network.baskets[basket], float(orders[basket, region])
        opens = len(costs)
        costs += [number * fixed for fixed in network.fixed] if items else []
        for item in items:
            once = len(upper)
            lower.append(1.0)
            upper.append(1.0)
            for place in range(vendor + 1):
                if place != vendor and (place, item) not in stock_row:
                    continue
                sends, opened = len(costs), len(upper)
                costs.append(number * network.unit[place, region])
                lower.append(-np.inf)
                upper.append(0.0)
                entries += [(once, sends, 1), (opened, opens + place, -1), (opened, sends, 1)]
                if place != vendor:
                    entries.append((stock_row[place, item], sends, number))
    return _filled(costs, lower, upper, sorted(entries))


def _filled(
    costs: list[float],
    lower: list[float],
    upper: list[float],
    entries: list[tuple[int, int, float]],
) -> model_pb2.ModelProto:
    proto = model_pb2.ModelProto()
    columns, rows = range(len(costs)), range(len(lower))
    proto.variables.ids.extend(columns)
    proto.variables.lower_bounds.extend([0.0] * len(costs))
    proto.variables.upper_bounds.extend([np.inf] * len(costs))
    proto.variables.integers.extend([False] * len(costs))
    proto.objective.linear_coefficients.ids.extend(columns)
    proto.objective.linear_coefficients.values.extend(costs)
    proto.linear_constraints.ids.extend(rows)
    proto.linear_constraints.lower_bounds.extend(lower)
    proto.linear_constraints.upper_bounds.extend(upper)
    matrix = proto.linear_constraint_matrix
    for row, column, coefficient in entries:
        matrix.row_ids.append(row)
        matrix.column_ids.append(column)
        matrix.coefficients.append(coefficient)
    return proto
