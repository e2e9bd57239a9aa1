"""How near to the bound many orders come that are sourced together, on DOMBench's markets."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path as File
from typing import Final

import numpy as np

from cli.bench import Metric, at_most
from cli.bench.dombench import AMPLE, TIGHT
from cli.markets.bound import KEEP, bound_at, lower_bound, offers
from cli.markets.dombench import SCORED, SIZES, Ints, Size, market, path
from cli.markets.exact import Exact
from cli.markets.simulation import play
from domain.errors import Invalid
from domain.sourcing.batch import Batch, Effort, solve
from domain.sourcing.lattice import lattice
from domain.sourcing.many import Offer

SUMMARY: Final = (
    "orders sourced together: cost over the bound, 5,000 orders; --size L: 10,000 x 500"
)

EFFORT: Final = Effort(rounds=150)
BOUND_PASSES: Final = 250
LIMITS: Final = {AMPLE: 1.014, TIGHT: 1.06}  # stretch: 1.010 and 1.03
LARGE: Final = Size(dcs=15, stores=485, skus=10_000, orders=10_000)
LARGE_EFFORT: Final = Effort(passes=60, kept=30, perturbed=4, rounds=100)


def measure(seed: int, size: str = "S", plot: str = "") -> dict[str, Metric]:
    """
    The budget is counted work, meant for 60 s on two idle cores; its seconds are told.

    `plot` names an SVG to write. Raises Invalid for a size that there is not.
    """
    if size == "L":
        metrics = large(seed, LARGE, LARGE_EFFORT)
    elif size == "S":
        metrics = measured(seed, SIZES["S"], AMPLE, EFFORT)
        metrics |= measured(seed, SIZES["S"], TIGHT, EFFORT)
    else:
        raise Invalid(f"size: there are S and L, not {size!r}")
    if plot:
        _drawn(metrics, File(plot))
    return metrics


def measured(seed: int, scale: Size, rho: float, effort: Effort) -> dict[str, Metric]:
    """Beside the bound, and beside the same orders one after the other, each exactly."""
    of = market(scale, seed, rho)
    orders = path(of, seed + SCORED)
    started, worked = time.perf_counter(), time.process_time()
    offered = offers(of, orders.asked, of.stock, keep=KEEP)
    found = solve(offered, of.stock, effort)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    bound = lower_bound(of, orders.asked, passes=BOUND_PASSES).cost
    sequential = play(Exact("exact"), of, orders).cost
    cost, over = settled(offered, found, of.stock)
    at = f"_rho_{rho:g}"
    return {
        f"cost_to_bound{at}": at_most(cost / bound, LIMITS[rho], "x"),
        f"cost_to_sequential{at}": at_most(cost / sequential, 1.0, "x"),
        f"over_stock{at}": at_most(over, 0, "cells"),
        f"solving_s{at}": at_most(seconds, 60, "s", decides=False),
        f"solving_cpu_s{at}": Metric(value=cpu, unit="s"),
    }


def large(seed: int, scale: Size, effort: Effort) -> dict[str, Metric]:
    """Minutes and memory; the bound is the one that the batch's own prices prove."""
    of = market(scale, seed, AMPLE)
    asked = path(of, seed + SCORED).asked
    started = time.perf_counter()
    offered = offers(of, asked, of.stock, keep=KEEP)
    found = solve(offered, of.stock, effort)
    minutes = (time.perf_counter() - started) / 60
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    bound = bound_at(of, asked, found.prices)
    cost, over = settled(offered, found, of.stock)
    return {
        "large_minutes": at_most(minutes, 5, "min", decides=False),
        "large_memory": at_most(gigabytes, 4, "GB"),
        "large_cost_to_bound": Metric(value=cost / bound, unit="x"),
        "large_over_stock": at_most(over, 0, "cells"),
    }


def settled(offered: Sequence[Offer], found: Batch, stock: Ints) -> tuple[float, int]:
    """What the plans cost, counted package by package, and how many cells they overdraw."""
    cost, free = 0.0, stock.copy()
    for offer, plan in zip(offered, found.plans, strict=True):
        packages = list(plan)
        digits = lattice(offer.counts).digits[:, offer.part[packages]]
        units = digits.T @ offer.each
        np.subtract.at(free, (offer.skus[None], offer.node[packages][:, None]), units)
        behind = np.array(offer.counts) @ offer.each - units.sum(axis=0)
        if (behind < 0).any():
            raise ValueError("a plan sends more than was asked for")
        cost += float(offer.cost[packages].sum() + offer.left * behind.sum())
    return cost, int((free < 0).sum())


def _drawn(metrics: dict[str, Metric], file: File) -> None:
    """A bar for each measure of stock: per cent over the bound."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import, and seldom wanted

    shown = {name: metric for name, metric in metrics.items() if "cost_to_bound" in name}
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shown), [(metric.value - 1) * 100 for metric in shown.values()])
    axes.set_xlabel("% over the lower bound")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
