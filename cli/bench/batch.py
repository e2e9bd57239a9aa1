"""How near to the bound many orders come that are sourced together, on DOMBench's markets."""

from __future__ import annotations

import resource
import time
from typing import Final

import numpy as np

from cli.bench import Metric, at_most
from cli.bench.dombench import AMPLE, TIGHT
from cli.markets.bound import KEEP, lower_bound, of_cells, offers
from cli.markets.dombench import SCORED, SIZES, Size, market, path
from cli.markets.exact import Exact
from cli.markets.simulation import play
from domain.sourcing.batch import Effort, solve
from domain.sourcing.many import Many

SUMMARY: Final = (
    "orders sourced together: cost over the bound, 5,000 orders; --size L: 10,000 x 500"
)

EFFORT: Final = Effort(rounds=400)
BOUND_PASSES: Final = 250
LIMITS: Final = {AMPLE: 1.014, TIGHT: 1.06}  # stretch: 1.010 and 1.03
LARGE: Final = Size(dcs=15, stores=485, skus=10_000, orders=10_000)
LARGE_EFFORT: Final = Effort(passes=60, kept=30, perturbed=4, generations=2, rounds=100)


def measure(seed: int, size: str = "S") -> dict[str, Metric]:
    """The budget is counted work, whose seconds are told: 60 of them are enough on an idle core."""
    if size == "L":
        return _large(seed, LARGE)
    return {
        name: metric
        for rho in (AMPLE, TIGHT)
        for name, metric in measured(seed, SIZES[size], rho, EFFORT).items()
    }


def measured(seed: int, scale: Size, rho: float, effort: Effort) -> dict[str, Metric]:
    """Beside the bound, and beside the same orders one after the other, each exactly."""
    of = market(scale, seed, rho)
    orders = path(of, seed + SCORED)
    bound = lower_bound(of, orders.asked, of.stock, passes=BOUND_PASSES).cost
    sequential = play(Exact("exact"), of, orders).cost
    started, worked = time.perf_counter(), time.process_time()
    many = Many(offers(of, orders.asked, of.stock, keep=KEEP), *of.stock.shape)
    found = solve(many, of_cells(of.stock, many), effort)
    at = f"_rho_{rho:g}"
    return {
        f"cost_to_bound{at}": at_most(found.cost / bound, LIMITS[rho], "x"),
        f"cost_to_sequential{at}": at_most(found.cost / sequential, 1.0, "x"),
        f"solving_s{at}": Metric(value=time.perf_counter() - started, unit="s"),
        f"solving_cpu_s{at}": Metric(value=time.process_time() - worked, unit="s"),
    }


def _large(seed: int, scale: Size) -> dict[str, Metric]:
    of = market(scale, seed, AMPLE)
    orders = path(of, seed + SCORED)
    started = time.perf_counter()
    many = Many(offers(of, orders.asked, of.stock, keep=KEEP), *of.stock.shape)
    stock = of_cells(of.stock, many)
    found = solve(many, stock, LARGE_EFFORT)
    minutes = (time.perf_counter() - started) / 60
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    taken = np.array([package for plan in found.plans for package in plan], np.int64)
    return {
        "large_minutes": at_most(minutes, 5, "min", decides=False),
        "large_memory": at_most(gigabytes, 4, "GB"),
        "large_cost_to_own_bound": Metric(value=found.cost / found.bound, unit="x"),
        "large_over_stock": at_most(float((many.units_of(taken) > stock).sum()), 0, "cells"),
    }
