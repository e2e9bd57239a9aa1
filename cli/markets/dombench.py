"""DOMBench: made-up markets of nodes, SKUs, stock and orders, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

PLANE: Final = (2500.0, 1300.0)  # miles
METROS: Final = 100
FIT, SCORED, HISTORY = 1000, 2000, 500  # a path's seed is its market's, and this
SKUS_OF_A_CATEGORY: Final = 200
PERIODS: Final = 5  # of orders in the history that the stock is sized by

ZONE_MILES: Final = (150, 300, 600, 1000, 1400, 1800)
BASE: Final = np.array([750, 790, 840, 920, 1010, 1090, 1190])  # cents, as all money here
PER_LB: Final = np.array([18, 22, 30, 42, 55, 68, 82])
TRANSIT: Final = np.array([1, 2, 2, 3, 4, 4, 5])
PACK: Final = (110, 220)  # of a DC, of a store
PICK: Final = (75, 160)
SPLIT_FEE: Final = 100
LATE_DAY: Final = 300
UNFILLED: Final = 3000  # a unit

LINES: Final = (0.50, 0.22, 0.12, 0.07, 0.04, 0.01, 0.01, 0.01, 0.01, 0.01)
QUANTITIES: Final = (0.85, 0.12, 0.03)
PROMISES: Final = (2, 3, 5)  # days
PROMISED: Final = (0.3, 0.4, 0.3)


class Size(NamedTuple):
    dcs: int
    stores: int
    skus: int
    orders: int


SIZES: Final = {
    "S": Size(5, 15, 1_000, 5_000),
    "M": Size(10, 190, 5_000, 20_000),
    "L": Size(20, 980, 20_000, 100_000),
}


class Asked(NamedTuple):
    """One order: where to, by when (in days), and how many of which SKUs; each SKU once."""

    number: int
    metro: int
    promise: int
    skus: Ints
    units: Ints


@dataclass(frozen=True)
class Path:
    """Orders in their sequence; `at` is each one's moment, from 0 to 1."""

    asked: tuple[Asked, ...]
    at: Floats

    def __len__(self) -> int:
        return len(self.asked)

    def __iter__(self) -> Iterator[Asked]:
        return iter(self.asked)


@dataclass(frozen=True)
class Market:
    """
    Where everything is and what it costs; DCs come first. `stocked[sku, node]` says which node
    carries what, `stock` how many units there are to begin with.
    """

    size: Size
    seed: int
    metros: Floats
    share: Floats
    nodes: Floats
    popularity: Floats
    weight: Floats
    category: Ints
    stocked: Flags
    stock: Ints

    @property
    def store(self) -> Ints:
        """1 for a store, 0 for a DC."""
        return (np.arange(self.size.dcs + self.size.stores) >= self.size.dcs).astype(np.int64)

    @cached_property
    def miles(self) -> Floats:
        """From metro to node."""
        return np.asarray(
            np.linalg.norm(self.metros[:, None] - self.nodes[None], axis=2), np.float64
        )

    @cached_property
    def zone(self) -> Ints:
        return np.searchsorted(np.array(ZONE_MILES), self.miles)

    @cached_property
    def near(self) -> Ints:
        """By metro: the nodes, the nearest first."""
        return np.argsort(self.miles, axis=1, kind="stable")

    @cached_property
    def days(self) -> Ints:
        """That a package takes, by metro and node."""
        return np.asarray(TRANSIT[self.zone] + self.store, np.int64)

    @cached_property
    def fixed(self) -> dict[int, Ints]:
        """By promise, then metro and node: what a package costs before its lines and pounds."""
        package = BASE[self.zone] + np.array(PACK)[self.store] + SPLIT_FEE
        return {p: package + LATE_DAY * np.maximum(self.days - p, 0) for p in PROMISES}

    @cached_property
    def per_lb(self) -> Ints:
        return np.asarray(PER_LB[self.zone], np.int64)

    @cached_property
    def pick(self) -> Ints:
        """By node: each line of a package."""
        return np.asarray(np.array(PICK)[self.store], np.int64)

    def package_cost(self, asked: Asked, node: int, units: Ints) -> int:
        """Of one package from the node with these units of each line."""
        pounds = max(int(np.ceil(float(self.weight[asked.skus] @ units) - 1e-9)) - 1, 0)
        return int(
            self.fixed[asked.promise][asked.metro, node]
            + self.per_lb[asked.metro, node] * pounds
            + self.pick[node] * np.count_nonzero(units)
        )


def market(size: Size, seed: int, rho: float) -> Market:
    """The stock is `rho` times what each node is expected to need, and a margin."""
    rng = np.random.Generator(np.random.PCG64(seed))
    metros = rng.uniform((0.0, 0.0), PLANE, (METROS, 2))
    share = _shares(np.arange(1.0, METROS + 1) ** -0.8)
    dcs = _spread(metros, share, size.dcs)
    homes = rng.choice(METROS, size.stores, p=share)
    stores = metros[homes] + rng.normal(0.0, 15.0, (size.stores, 2))
    popularity = _shares((np.arange(size.skus) + 10.0) ** -1.05)
    weight = np.minimum(rng.lognormal(0.2, 0.8, size.skus), 50.0)
    category = np.arange(size.skus) % max(size.skus // SKUS_OF_A_CATEGORY, 1)
    empty = Market(
        size=size,
        seed=seed,
        metros=metros,
        share=share,
        nodes=np.concatenate([metros[dcs], stores]),
        popularity=popularity,
        weight=weight,
        category=category,
        stocked=_stocked(rng, size),
        stock=np.zeros((size.skus, size.dcs + size.stores), np.int64),
    )
    return replace(empty, stock=_stock(empty, rho, rng))


def path(of: Market, seed: int, orders: int | None = None) -> Path:
    """As many orders as the market's size says, if not told."""
    rng = np.random.Generator(np.random.PCG64(seed))
    count = of.size.orders if orders is None else orders
    lines = rng.choice(len(LINES), count, p=LINES) + 1
    total = int(lines.sum())
    related = rng.random(count) < 0.5  # noqa: PLR2004
    first = rng.choice(of.size.skus, count, p=of.popularity)
    further = rng.choice(of.size.skus, total, p=of.popularity)
    within = rng.random(total) ** 2
    units = rng.choice(len(QUANTITIES), total, p=QUANTITIES) + 1
    metro = rng.choice(METROS, count, p=of.share)
    promise = rng.choice(PROMISES, count, p=PROMISED)
    kin = [np.flatnonzero(of.category == c) for c in range(int(of.category.max()) + 1)]
    asked, end = [], 0
    for number in range(count):
        begin, end = end, end + int(lines[number])
        skus = further[begin:end]
        if related[number]:
            family = kin[of.category[first[number]]]
            skus = family[(within[begin:end] * len(family)).astype(np.int64)]
        skus[0] = first[number]
        once, line = np.unique(skus, return_inverse=True)
        together = np.bincount(line, units[begin:end]).astype(np.int64)
        asked.append(Asked(number, int(metro[number]), int(promise[number]), once, together))
    return Path(tuple(asked), (np.arange(count) + 0.5) / count)


def _shares(weights: NDArray[np.floating]) -> Floats:
    return np.asarray(weights / weights.sum(), np.float64)


def _spread(metros: Floats, share: Floats, count: int) -> list[int]:
    """Greedy: the metro next that is farthest from those chosen, by its weight."""
    chosen = [0]
    gap = np.linalg.norm(metros - metros[0], axis=1)
    while len(chosen) < count:
        chosen.append(int((gap * share).argmax()))
        gap = np.minimum(gap, np.linalg.norm(metros - metros[chosen[-1]], axis=1))
    return chosen


def _stocked(rng: np.random.Generator, size: Size) -> Flags:
    top = np.arange(size.skus)[:, None] < size.skus // 5
    stocked = np.concatenate(
        [
            rng.random((size.skus, size.dcs)) < np.where(top, 0.9, 0.6),
            rng.random((size.skus, size.stores)) < np.where(top, 0.5, 0.1),
        ],
        axis=1,
    )
    nowhere = np.flatnonzero(~stocked[:, : size.dcs].any(axis=1))
    stocked[nowhere, rng.integers(0, size.dcs, len(nowhere))] = True
    return stocked


def _stock(of: Market, rho: float, rng: np.random.Generator) -> Ints:
    """
    The history says how many of each SKU; they are asked for where people are, 70 % of them from
    the nearest DC that carries it, 30 % from the nearest store.
    """
    sold = np.zeros(of.size.skus)
    for asked in path(of, of.seed + HISTORY, PERIODS * of.size.orders):
        sold[asked.skus] += asked.units
    need = np.zeros(of.stocked.shape)
    dcs, every = of.size.dcs, np.arange(of.size.skus)
    in_stores = of.stocked[:, dcs:]
    share = np.where(in_stores.any(axis=1), 0.3, 0.0)
    for metro in range(METROS):
        for low, there, part in ((0, of.stocked[:, :dcs], 1 - share), (dcs, in_stores, share)):
            order = np.argsort(of.miles[metro, low : low + there.shape[1]], kind="stable")
            first = low + order[there[:, order].argmax(axis=1)]
            need[every, first] += part * sold * of.share[metro]
    need /= PERIODS
    stock = np.floor(rho * need + 0.5 * np.sqrt(need) + rng.random(need.shape))
    return np.asarray(np.where(of.stocked, stock, 0), np.int64)
