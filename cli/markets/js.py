"""The literature's market, one order a period, as Ma's public code for Jasin and Sinha draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.random import PCG64, Generator

from cli.markets.js_places import CENTERS, REGIONS, Place
from domain.sourcing.fluid import Bools, Floats, Ints, Network

FIXED: Final = 8.759  # a package
UNIT: Final = 0.423  # an item in it
MILE: Final = 0.000541  # an item for a mile
EARTH_KM: Final = 6371.0
KM_PER_MILE: Final = 1.61


class Setting(NamedTuple):
    """How large a market is. `carried` is the chance that a center carries an item."""

    centers: int
    regions: int
    items: int
    largest: int  # basket
    of_each_size: int  # baskets
    periods: int
    carried: float


SMALL: Final = Setting(5, 10, 20, 5, 5, 10_000, 0.75)
LARGE: Final = Setting(10, 99, 100, 10, 10, 100_000, 0.5)


@dataclass(frozen=True)
class Market:
    """
    A network with the stock it starts with. Its last place is the vendor who never runs out, the
    literature's dummy center; `stock` is by center and item, without that vendor.
    """

    network: Network
    stock: Ints
    periods: int

    def path(self, chance: Generator) -> Ints:
        """A season: each period's basket and region."""
        rate = self.network.rate
        drawn = chance.choice(rate.size, size=self.periods, p=rate.ravel())
        return np.stack(np.divmod(drawn, rate.shape[1]), axis=1)


def generator(seed: int, *stream: int) -> Generator:
    return Generator(PCG64([seed, *stream]))


def market(setting: Setting, chance: Generator) -> Market:
    unit = unit_costs(CENTERS[: setting.centers], REGIONS[: setting.regions])
    baskets: list[tuple[int, ...]] = [()]
    sizes = chance.random(setting.largest + 1)
    shares = [sizes[0:1]]
    for size in range(1, setting.largest + 1):
        for _ in range(setting.of_each_size):
            picked = chance.choice(setting.items, size=size, replace=False)
            baskets.append(tuple(sorted(picked.tolist())))
        inside = chance.random(setting.of_each_size)
        shares.append(sizes[size] * inside / inside.sum())
    people = np.array([region.millions for region in REGIONS[: setting.regions]])
    by_basket = np.concatenate(shares) / sizes.sum()
    rate = np.outer(by_basket, people / people.sum())
    network = Network(
        items=setting.items,
        baskets=tuple(baskets),
        fixed=np.array([FIXED] * setting.centers + [2 * FIXED]),
        unit=unit,
        rate=rate / rate.sum(),
    )
    carries = chance.random((setting.centers, setting.items)) < setting.carried
    return Market(network, _stock(network, carries, setting.periods), setting.periods)


def unit_costs(centers: tuple[Place, ...], regions: tuple[Place, ...]) -> Floats:
    """By place and region; the last place is the vendor, twice as dear as the farthest center."""
    miles = np.array([[miles_between(center, region) for region in regions] for center in centers])
    return np.vstack([UNIT + MILE * miles, 2 * (UNIT + MILE * miles.max(axis=0))])


def miles_between(one: Place, other: Place) -> float:
    """Great circle, by the haversine."""
    here, there = np.radians((one.latitude, other.latitude))
    east = np.radians(other.longitude - one.longitude)
    half = np.sin((there - here) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(east / 2) ** 2
    return float(2 * EARTH_KM * np.arcsin(np.sqrt(half)) / KM_PER_MILE)


def _stock(network: Network, carries: Bools, periods: int) -> Ints:
    """Each item's demand of a region is the nearest center's that carries it."""
    wanted = np.zeros((network.items, network.rate.shape[1]))
    for basket, rate in zip(network.baskets, network.rate, strict=True):
        wanted[list(basket)] += rate
    far = np.where(carries[:, :, None], network.unit[:-1, None, :], np.inf)
    nearest = far.argmin(axis=0)  # by item and region
    demand = np.zeros(carries.shape)
    for center in range(len(carries)):
        demand[center] = np.where(nearest == center, wanted, 0).sum(axis=1)
    demand = np.where(carries, demand, 0.0)
    safety = 0.5 * np.sqrt(periods * demand * (1 - demand))
    stock: Ints = np.rint(periods * demand + safety).astype(np.int64)
    return stock
