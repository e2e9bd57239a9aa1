"""Chooses one of a few ready plans for each order, within the stock: by LP, or to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ortools.linear_solver import pywraplp
from ortools.sat.python import cp_model

from domain.sourcing.many import Floats


class Column(NamedTuple):
    """A plan that an order may have: its packages, what it costs, what it takes of which cells."""

    order: int
    packages: tuple[int, ...]
    cost: float
    takes: tuple[tuple[int, float], ...]


class Mixture(NamedTuple):
    """How much of each plan the cheapest mixture has, one for each order; the cells' prices."""

    shares: Floats
    prices: Floats


def relaxed(columns: Sequence[Column], stock: Floats) -> Mixture:
    """By GLOP."""
    lp = pywraplp.Solver.CreateSolver("GLOP")
    goal = lp.Objective()
    once: dict[int, pywraplp.Constraint] = {}
    within = {
        cell: lp.Constraint(-lp.infinity(), float(stock[cell]))
        for cell in contested(columns, stock)
    }
    shares = []
    for column in columns:
        share = lp.NumVar(0.0, lp.infinity(), "")
        goal.SetCoefficient(share, column.cost)
        if column.order not in once:
            once[column.order] = lp.Constraint(1.0, 1.0)
        once[column.order].SetCoefficient(share, 1.0)
        for cell, units in column.takes:
            if cell in within:
                within[cell].SetCoefficient(share, units)
        shares.append(share)
    goal.SetMinimization()
    if lp.Solve() != pywraplp.Solver.OPTIMAL:
        raise RuntimeError("GLOP finds no optimum: every order has a plan that takes nothing")
    prices = np.zeros(len(stock))
    for cell, row in within.items():
        prices[cell] = max(-row.dual_value(), 0.0)
    return Mixture(np.array([share.solution_value() for share in shares]), prices)


def chosen(
    columns: Sequence[Column], stock: Floats, hint: Sequence[int], work: float
) -> list[int] | None:
    """
    One plan for each order, the cheapest together, by CP-SAT within a limit of deterministic work.

    Costs count in whole minor units. `hint` are plans that fit. None where nothing was found.
    """
    cp = cp_model.CpModel()
    takes = [cp.new_bool_var("") for _ in columns]
    by_order: dict[int, list[cp_model.IntVar]] = {}
    by_cell: dict[int, list[tuple[cp_model.IntVar, int]]] = {}
    scarce = contested(columns, stock)
    for column, var in zip(columns, takes, strict=True):
        by_order.setdefault(column.order, []).append(var)
        for cell, units in column.takes:
            if cell in scarce:
                by_cell.setdefault(cell, []).append((var, round(units)))
    for some in by_order.values():
        cp.add_exactly_one(some)
    for cell, pairs in by_cell.items():
        cp.add(sum(units * var for var, units in pairs) <= int(stock[cell]))
    hinted = set(hint)
    for number, var in enumerate(takes):
        cp.add_hint(var, number in hinted)
    costs = [round(column.cost) for column in columns]
    cp.minimize(cp_model.LinearExpr.weighted_sum(takes, costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = work
    if solver.solve(cp) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return [number for number, var in enumerate(takes) if solver.boolean_value(var)]


def contested(columns: Sequence[Column], stock: Floats) -> set[int]:
    """The cells of which the orders could want more than there is."""
    most: dict[tuple[int, int], float] = {}
    for column in columns:
        for cell, units in column.takes:
            key = (column.order, cell)
            most[key] = max(most.get(key, 0.0), units)
    wanted: dict[int, float] = {}
    for (_, cell), units in most.items():
        wanted[cell] = wanted.get(cell, 0.0) + units
    return {cell for cell, units in wanted.items() if units > stock[cell]}
