"""The literature's market: what its policies and ours cost beside a bound in hindsight."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from rich.table import Table

from cli import printing
from cli.bench import Metric, at_most
from cli.markets.js import FIXED, LARGE, SMALL, Market, Setting, generator, market
from cli.markets.js_policies import (
    Brokering,
    Following,
    Listed,
    Pace,
    Policy,
    Priced,
    Renewed,
    by_distance,
    by_stock,
    free,
    season,
)
from cli.markets.js_program import Program
from domain.sourcing.fluid import Desk, Floats, Fluid, Ints, ascend

SUMMARY: Final = "the literature's market (Jasin and Sinha, Ma): peers, exact, shadow prices, ours"

OURS: Final = "ours"
RIVAL: Final = "duals_10"
TITLES: Final = {
    "priority": "priority order",
    "nearest": "nearest for each item",
    "brokering": "sequential brokering",
    "exact": "exact, one order at a time",
    "duals_1": "exact + duals, solved once",
    RIVAL: "exact + duals, solved 10 times",
    OURS: "exact + prices that follow stock and time",
}
# What was measured before, on instances that are not ours: cost ÷ bound, in the order above.
KNOWN: Final = {
    "small_075": (1.251, 1.116, 1.104, 1.079, 1.044, 1.024),
    "small_05": (1.220, 1.154, 1.112, 1.039, 1.022, 1.012),
    "large": (1.443, 1.225, 1.162, 1.084, 1.019, 1.0113),
}
_KNOWN_OF: Final = {"small_075": 20, "small_05": 20, "large": 1}  # instances
TARGETS: Final = {"small_075": 0.85, "small_05": 0.85, "large": 0.9}

_STREAMS: Final = {name: number for number, name in enumerate(KNOWN)}
# What is looked at first in a large market; hardly one order costs more.
_FOUR_PACKAGES: Final = 4 * FIXED


class Scale(NamedTuple):
    """
    How much of it; `large` may be left out. All policies meet the first `instances` of a setting,
    of large the first one; peers meet all that are drawn.
    """

    instances: int = 20
    drawn: int = 400
    large_drawn: int = 20
    processes: int = os.cpu_count() or 1
    small: Setting = SMALL
    large: Setting | None = LARGE
    small_pace: Pace = Pace(first=300, renewals=40, steps=60, periods=50)
    large_pace: Pace = Pace(first=300, renewals=30, steps=50, periods=200)
    ascent: int = 300  # steps of a large market's, from nothing
    again: int = 110  # from the last one's prices


FULL: Final = Scale()


class Played(NamedTuple):
    """One season: each policy's cost ÷ the bound, and the seconds of CPU it took."""

    ratios: dict[str, float]
    seconds: dict[str, float]


def measure(seed: int, plot: str = "") -> dict[str, Metric]:
    """`plot` names an SVG to write."""
    metrics = measured(seed, FULL)
    if plot:
        draw(metrics, Path(plot))
    return metrics


def measured(seed: int, scale: Scale) -> dict[str, Metric]:
    """
    Every policy meets the same seasons. A policy knows the rates and the first stock: the path is
    drawn from a stream of its own, after the market.
    """
    metrics: dict[str, Metric] = {}
    with ProcessPoolExecutor(scale.processes) as pool:
        waiting = {
            name: [
                pool.submit(_played, name, setting, (seed, _STREAMS[name], at), scale)
                for at in range(instances)
            ]
            for name, setting, instances in _settings(scale)
        }
        for name in reversed(waiting):
            played = [one.result() for one in waiting[name]]
            metrics |= _metrics(name, [one for one in played if OURS in one.ratios], played)
    return metrics


def _settings(scale: Scale) -> Iterator[tuple[str, Setting, int]]:
    """With the number of instances; what takes longest is first."""
    if scale.large:
        yield "large", scale.large, scale.large_drawn
    yield "small_05", scale.small._replace(carried=0.5), scale.drawn
    yield "small_075", scale.small._replace(carried=0.75), scale.drawn


def _played(name: str, setting: Setting, stream: tuple[int, ...], scale: Scale) -> Played:
    drawn, path = _drawn(setting, stream)
    if name == "large":
        return _large(drawn, path, scale, all_of_them=stream[-1] == 0)
    return _small(drawn, path, scale, all_of_them=stream[-1] < scale.instances)


def _drawn(setting: Setting, stream: tuple[int, ...]) -> tuple[Market, Ints]:
    drawn = market(setting, generator(*stream, 0))
    return drawn, drawn.path(generator(*stream, 1))


def counted(market: Market, path: Ints) -> Floats:
    """How many orders of each basket and region a path has."""
    orders = np.zeros(market.network.rate.shape)
    np.add.at(orders, tuple(path.T), 1)
    return orders


def _small(drawn: Market, path: Ints, scale: Scale, *, all_of_them: bool) -> Played:
    """Prices and bound by the item-based program. The peers, and perhaps who has prices."""
    desk, fluid = Desk(drawn.network), Fluid(drawn.network)
    bound, _ = Program(drawn, counted(drawn, path)).solve(drawn.stock)
    peers = _peers(drawn, desk)
    if not all_of_them:
        return _against(drawn, path, bound, peers)
    program = Program(drawn, drawn.network.rate)

    def prices(stock: Ints, left: int) -> Floats:
        return program.solve(stock / left)[1]

    return _against(
        drawn,
        path,
        bound,
        peers
        | {
            "duals_1": lambda: Priced(drawn, desk, prices(drawn.stock, drawn.periods)),
            RIVAL: lambda: Renewed(drawn, desk, prices, 10),
            OURS: lambda: Following(drawn, desk, fluid, scale.small_pace),
        },
    )


def _large(drawn: Market, path: Ints, scale: Scale, *, all_of_them: bool) -> Played:
    """The same by the plan-based dual, whose program would have millions of plans."""
    desk, fluid = Desk(drawn.network, _FOUR_PACKAGES), Fluid(drawn.network, _FOUR_PACKAGES)
    mean = fluid.rate * drawn.periods
    orders = counted(drawn, path)[fluid.asked]
    peers = _peers(drawn, desk)
    if not all_of_them:
        bound, _ = ascend(fluid, drawn.stock, orders, free(drawn), scale.again)
        return _against(drawn, path, bound, peers)
    started = time.process_time()
    _, first = ascend(fluid, drawn.stock, mean, free(drawn), scale.ascent)
    solving = time.process_time() - started
    bound, _ = ascend(fluid, drawn.stock, orders, first, scale.ascent)
    latest = [first]

    def prices(stock: Ints, left: int) -> Floats:
        if left < drawn.periods:
            latest.append(ascend(fluid, stock, fluid.rate * left, latest[-1], scale.again)[1])
        return latest[-1]

    played = _against(
        drawn,
        path,
        bound,
        peers
        | {
            "duals_1": lambda: Priced(drawn, desk, first),
            RIVAL: lambda: Renewed(drawn, desk, prices, 10),
            OURS: lambda: Following(drawn, desk, fluid, scale.large_pace),
        },
    )
    for name in ("duals_1", RIVAL):
        played.seconds[name] += solving
    return played


def _peers(drawn: Market, desk: Desk) -> dict[str, Callable[[], Policy]]:
    return {
        "priority": lambda: Listed(drawn, by_stock(drawn)),
        "nearest": lambda: Listed(drawn, by_distance(drawn)),
        "brokering": lambda: Brokering(drawn),
        "exact": lambda: Priced(drawn, desk, free(drawn)),
    }


def _against(
    drawn: Market, path: Ints, bound: float, policies: dict[str, Callable[[], Policy]]
) -> Played:
    """Raises where a policy costs less than the bound: then the bound is none."""
    played = Played({}, {})
    for name, make in policies.items():
        started = time.process_time()
        played.ratios[name] = season(drawn, path, make()) / bound
        played.seconds[name] = time.process_time() - started
        if played.ratios[name] < 1 - 1e-6:
            raise RuntimeError(f"{name} costs {played.ratios[name]} of its lower bound")
    return played


def _metrics(name: str, played: list[Played], drawn: list[Played]) -> dict[str, Metric]:
    """What all policies `played`, and how near the peers are to what was known in all `drawn`."""
    ratios = {policy: statistics.fmean(one.ratios[policy] for one in played) for policy in TITLES}
    gap = (ratios[OURS] - 1) / max(ratios[RIVAL] - 1, 1e-9)
    metrics = {f"{name}_ratio": at_most(gap, TARGETS[name], "x")}
    for policy, ratio in ratios.items():
        metrics[f"{name}_{policy}"] = Metric(value=ratio, unit="x bound")
        if len(played) > 1:
            spread = statistics.stdev(one.ratios[policy] for one in played) * 100
            error = spread / math.sqrt(len(played))
            metrics[f"{name}_{policy}_error"] = Metric(value=error, unit="points")
    for policy, known in zip(TITLES, KNOWN[name], strict=False):
        seen = [one.ratios[policy] for one in drawn if policy in one.ratios]
        mean = statistics.fmean(seen)
        metrics[f"{name}_{policy}_expected"] = Metric(value=mean, unit="x bound")
        off = abs(mean - known) * 100
        metrics[f"{name}_{policy}_off"] = at_most(off, 1, "points", decides=False)
        if len(seen) > 1:  # of the difference: what was known is a mean of so few, too
            error = statistics.stdev(seen) * 100 * math.sqrt(1 / _KNOWN_OF[name] + 1 / len(seen))
            metrics[f"{name}_{policy}_off_error"] = Metric(value=error, unit="points")
    for policy in TITLES:
        seconds = sum(one.seconds[policy] for one in played)
        metrics[f"{name}_{policy}_s"] = Metric(value=seconds, unit="s")
    return metrics


def show(metrics: dict[str, Metric]) -> Table:
    """A row for each policy: cost ÷ bound, with that of all that were drawn, and what was known."""
    names = _shown(metrics)
    table = printing.table("policy", *names, title="cost ÷ bound in hindsight (all drawn; known)")
    for number, (policy, title) in enumerate(TITLES.items()):
        cells = []
        for name in names:
            value = metrics[f"{name}_{policy}"].value
            known = f"{KNOWN[name][number]:.4f}" if number < len(KNOWN[name]) else "-"
            drawn = metrics.get(f"{name}_{policy}_expected")
            cells.append(f"{value:.4f} ({drawn.value if drawn else value:.4f}; {known})")
        table.add_row(title, *cells)
    gaps = [metrics[f"{name}_ratio"] for name in names]
    table.add_section()
    table.add_row("our gap ÷ that of 10 duals", *(f"{m.value:.3f} ({m.target})" for m in gaps))
    return table


def draw(metrics: dict[str, Metric], file: Path) -> None:
    """Gaps to the bound, by policy and setting, as SVG."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import, and seldom wanted

    names = _shown(metrics)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        gaps = [(metrics[f"{name}_{policy}"].value - 1) * 100 for policy in TITLES]
        places = [at + number * height for at in range(len(gaps))]
        bars = axes.barh(places, gaps, height, label=name)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.set_yticks([at + 0.4 - height / 2 for at in range(len(TITLES))], list(TITLES.values()))
    axes.invert_yaxis()
    axes.set_xlabel("per cent above the bound in hindsight")
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg")


def _shown(metrics: dict[str, Metric]) -> list[str]:
    return [name for name in KNOWN if f"{name}_ratio" in metrics]
