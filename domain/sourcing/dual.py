"""The Lagrangian dual of many orders over the same stock: its prices, and what no plan can beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from domain.sourcing.lattice import Ints
from domain.sourcing.many import Floats, Many

MOMENTUM: Final = 0.5
PATIENCE: Final = 12  # passes without a better bound, then the steps are halved
AIM: Final = 0.10  # over the value without prices is what the steps aim at first
AHEAD: Final = 0.005  # over the best bound is the least that they aim at
DECIMALS: Final = 2  # of a price: processors differ in the last bits, and steps make much of it


class Dual(NamedTuple):
    """`bound`: no plans within the stock cost less. `prices` by cell, where it was found."""

    bound: float
    prices: Floats


def solve(
    many: Many,
    stock: Floats,
    *,
    passes: int = 150,
    prices: Floats | None = None,
    seen: Callable[[int, Ints], None] | None = None,
) -> Dual:
    """
    Polyak's steps with momentum; a pass is one exact plan of every order. `stock` by cell.

    Fisher, "The Lagrangian relaxation method for solving integer programming problems" (1981), with
    the heavy ball of Polyak (1964). A step moves a price by how far the demand is from the stock in
    relation to the stock: prices are alike, stocks are not. `seen` gets the packages of each pass.
    """
    at = np.zeros(len(stock)) if prices is None else prices.copy()
    best, best_at, aim, step = -np.inf, at, -np.inf, 1.0
    scale = 1.0 / (1.0 + stock)
    moved, waited = np.zeros(len(stock)), 0
    for number in range(passes):
        chosen = many.best(at)
        if seen is not None:
            seen(number, chosen.packages)
        value = float(chosen.value.sum() - at @ stock)
        waited += 1
        if value > best:
            best, best_at, waited = value, at, 0
        aim = max(aim, best + (AIM if number == 0 else AHEAD) * abs(best))
        if waited >= PATIENCE:
            step, waited = step / 2, 0
        slope = chosen.units - stock
        slope[(slope < 0) & (at <= 0)] = 0
        norm = float(slope @ (slope * scale))
        if norm == 0:
            break
        moved = MOMENTUM * moved + step * (aim - value) / norm * slope * scale
        after = np.maximum(at + moved, 0).round(DECIMALS)
        moved, at = after - at, after
    return Dual(best, best_at)


def value(many: Many, stock: Floats, prices: Floats) -> float:
    """The bound that these prices prove."""
    return float(many.best(prices).value.sum() - prices @ stock)
