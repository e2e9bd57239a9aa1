"""How much shadow prices and exact plans save over the ways of others, on DOMBench's markets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Final, NamedTuple

import numpy as np

from cli.bench import Metric, at_most
from cli.markets import peers
from cli.markets.bound import lower_bound
from cli.markets.dombench import SCORED, SIZES, Market, Size, market, path
from cli.markets.exact import Exact
from cli.markets.priced import Live, fitted, proven
from cli.markets.simulation import Played, Policy, play
from cli.markets.suites import SUITES
from domain.errors import Invalid

SUMMARY: Final = "routing policies against a lower bound on made-up markets; --size S, M or L"

AMPLE, TIGHT = 1.3, 1.0


class Published(NamedTuple):
    """Over the bound in per cent, the mean of seeds 11 to 13 (M: seed 12)."""

    priority: float
    nearest: float
    brokering: float
    exact: float


PUBLISHED: Final = {
    ("S", AMPLE): Published(66.9, 38.4, 15.1, 11.8),
    ("S", TIGHT): Published(67.3, 36.3, 19.1, 16.7),
    ("M", AMPLE): Published(71.8, 40.0, 13.9, 12.2),
}
PUBLIC: Final = {"S": (11, 12, 13), "M": (12,)}  # the seeds of those figures
NEAR: Final = 1.0  # points between a published figure and ours


class Work(NamedTuple):
    """Passes of the bound's dual; futures and periods that prices are fitted to; packages kept."""

    passes: int
    futures: int
    periods: int
    keep: int


WORK: Final = {"S": Work(150, 6, 5, 8), "M": Work(120, 6, 5, 8), "L": Work(40, 2, 1, 3)}
SUITES_AT: Final = ("S",)  # sizes that the suites are run at
SUITE_PASSES: Final = 80

# Of the targets: cost over that of priority, nearest, brokering; packages over nearest's.
RATIOS: Final = {"S": (0.70, 0.82, 0.965, 0.76), "M": (0.67, 0.80, 0.98, 0.70)}
TIGHT_OVER_BOUND: Final = 15.0  # per cent, at size S


class Scores(NamedTuple):
    """One market at one measure of stock: the bounds, and what each policy's run came to."""

    rho: float
    bound: float
    bound_with_parts: float
    runs: dict[str, Played]

    def over(self, name: str, *, parts: bool = False) -> float:
        """Per cent over the bound."""
        return (self.runs[name].cost / (self.bound_with_parts if parts else self.bound) - 1) * 100

    def closed(self, name: str) -> float:
        """Per cent of the gap between exact plans and the bound that a policy closes."""
        gap = self.runs["exact"].cost - self.bound
        return (self.runs["exact"].cost - self.runs[name].cost) / gap * 100


PRICED: Final = "exact_priced"
OURS_IN_PARTS: Final = "exact_priced_in_parts"
IN_PARTS: Final = (
    "magento_priority",
    "magento_distance",
    "hotwax",
    "shopify",
    "d365",
    "exact_in_parts",
    OURS_IN_PARTS,
)


def measure(seed: int, size: str = "S", plot: str = "") -> dict[str, Metric]:
    """`plot` names an SVG to write. Raises Invalid for a size that there is not."""
    if size not in SIZES:
        raise Invalid(f"size: there are {', '.join(SIZES)}, not {size!r}")
    return reproduced(size) | measured(seed, size, SIZES[size], plot)


def reproduced(size: str) -> dict[str, Metric]:
    """
    Points between the published means and ours, of whole lines at the same public seeds; both to
    the one decimal that is published.
    """
    metrics: dict[str, Metric] = {}
    for (at, rho), published in PUBLISHED.items():
        if at != size:
            continue
        over = [_whole_lines(seed, size, rho) for seed in PUBLIC[size]]
        for name, figure in published._asdict().items():
            ours = round(float(np.mean([each[name] for each in over])), 1)
            off = round(abs(ours - figure), 1)
            metrics[f"{name}_rho_{rho:g}_points_off"] = at_most(off, NEAR, "points")
    return metrics


def _whole_lines(seed: int, size: str, rho: float) -> dict[str, float]:
    """Per cent over the bound."""
    of = market(SIZES[size], seed, rho)
    orders = path(of, seed + SCORED)
    work = WORK[size]
    bound = lower_bound(of, orders.asked, passes=work.passes, keep=work.keep).cost
    costs = {policy.name: play(policy, of, orders).cost for policy, _ in _peers(of)}
    return {name: (cost / bound - 1) * 100 for name, cost in costs.items()}


def measured(seed: int, size: str, scale: Size, plot: str = "") -> dict[str, Metric]:
    scores = [scored(seed, size, scale, rho) for rho in (AMPLE, TIGHT)]
    metrics: dict[str, Metric] = {}
    for score in scores:
        metrics |= _reported(score, size)
    if size in SUITES_AT:
        metrics |= _suites(seed, scale)
    if plot:
        _drawn(scores, File(plot))
    return metrics


def scored(seed: int, size: str, scale: Size, rho: float) -> Scores:
    """Every policy on the same path, each from the same stock."""
    of, work = market(scale, seed, rho), WORK[size]
    orders = path(of, seed + SCORED)
    parts = whole = lower_bound(of, orders.asked, passes=work.passes, keep=work.keep)
    runs = {policy.name: play(policy, of, orders, judge=judge) for policy, judge in _peers(of)}
    if size != "L":
        parts = lower_bound(of, orders.asked, passes=work.passes, parts=True)
        runs |= {policy.name: play(policy, of, orders) for policy in _in_parts(of)}
    for policy in _priced(of, size):
        runs[policy.name] = play(policy, of, orders)
    return Scores(rho, whole.cost, parts.cost, runs)


def _peers(of: Market) -> Iterator[tuple[Policy, Policy | None]]:
    exact = Exact("exact")
    yield peers.Ranked("priority", peers.by_number(of)), exact
    yield peers.Ranked("nearest"), exact
    yield peers.Brokering(), exact
    yield exact, None


def _in_parts(of: Market) -> Iterator[Policy]:
    yield peers.RankedParts("magento_priority", peers.by_number(of))
    yield peers.RankedParts("magento_distance")
    yield peers.SequentialBrokering()
    yield peers.FewestSplits()
    yield peers.TwoPass()


def _priced(of: Market, size: str) -> Iterator[Policy]:
    """Ours, at each kind of price; last the one that did best on a path of its own."""
    work = WORK[size]
    book = fitted(of, futures=work.futures, periods=work.periods, keep=work.keep)
    for each in book:
        yield Exact(f"exact_{each.method}", Live(each))
    best = proven(of, book)
    yield Exact(PRICED, best)
    if size != "L":
        yield Exact("exact_in_parts", parts=True)
        yield Exact(OURS_IN_PARTS, best, parts=True)


def _reported(score: Scores, size: str) -> dict[str, Metric]:
    at = f"_rho_{score.rho:g}"
    metrics: dict[str, Metric] = {}
    for name, run in score.runs.items():
        over = score.over(name, parts=name in IN_PARTS)
        metrics[f"{name}{at}_over_bound"] = Metric(value=over, unit="%")
        metrics[f"{name}{at}_packages"] = Metric(value=run.per_order, unit="per order")
    for name in ("priority", "nearest", "brokering"):
        run = score.runs[name]
        metrics[f"{name}{at}_routed_optimally"] = Metric(
            value=100 * run.optimal / len(run.costs), unit="%"
        )
    metrics[f"gap_closed{at}"] = Metric(value=score.closed(PRICED), unit="%")
    return metrics | _held(score, size, at)


def _held(score: Scores, size: str, at: str) -> dict[str, Metric]:
    """The targets, of whole lines beside whole lines."""
    ours, runs = score.runs[PRICED], score.runs
    held: dict[str, Metric] = {}
    if score.rho == AMPLE and size in RATIOS:
        *costs, packages = RATIOS[size]
        for name, limit in zip(("priority", "nearest", "brokering"), costs, strict=True):
            held[f"cost_to_{name}{at}"] = at_most(ours.cost / runs[name].cost, limit, "x")
        of_nearest = ours.packages / runs["nearest"].packages
        held[f"packages_to_nearest{at}"] = at_most(of_nearest, packages, "x")
    if score.rho == TIGHT and size == "S":
        held[f"over_bound{at}"] = at_most(score.over(PRICED), TIGHT_OVER_BOUND, "%")
    return held


def _suites(seed: int, scale: Size) -> dict[str, Metric]:
    """Each policy under each suite, over the bound of the same orders without what went wrong."""
    metrics: dict[str, Metric] = {}
    of = market(scale, seed, AMPLE)
    orders = path(of, seed + SCORED)
    for name, make in SUITES.items():
        suite = make(of, orders, np.random.Generator(np.random.PCG64(seed)))
        bound = lower_bound(of, suite.path.asked, passes=SUITE_PASSES).cost
        for policy in (peers.Ranked("nearest"), peers.Brokering(), Exact("exact")):
            cost = play(policy, suite.market, suite.path, suite.obstacles).cost
            metrics[f"{policy.name}_{name}_over_bound"] = Metric(
                value=(cost / bound - 1) * 100, unit="%"
            )
    return metrics


def _drawn(scores: Sequence[Scores], file: File) -> None:
    """A bar for each policy: how far over its bound."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import, and seldom wanted

    figure = Figure(figsize=(10, 5), layout="constrained")
    for score, axes in zip(scores, figure.subplots(1, len(scores)), strict=True):
        names = sorted(score.runs, key=lambda name: score.runs[name].cost)
        axes.barh(names, [score.over(name, parts=name in IN_PARTS) for name in names])
        axes.set_title(f"stock x {score.rho:g}")
        axes.set_xlabel("% over the lower bound")
        axes.invert_yaxis()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
