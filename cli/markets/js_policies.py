"""Plays a season of the literature's market by a policy: the peers' rules, and prices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from cli.markets.js import Market
from domain.sourcing.fluid import Desk, Floats, Fluid, Ints, Prices

Pricer = Callable[[Ints, int], Floats]


class Pace(NamedTuple):
    """How much work goes into our prices: counted, never timed."""

    first: int  # steps of the first ascent
    renewals: int  # a season
    steps: int  # of each
    periods: int  # after which all prices are brought up to date


class Policy(Protocol):
    """What plays: it may know the market (its rates, its first stock), and never the path."""

    def plan(self, basket: int, region: int, stock: Ints, left: int) -> Sequence[int]:
        """
        The place of each item of the basket, in its order; `len(stock)` is the vendor.

        `stock` by place and item is as it stands and is not to be changed; `left` counts the
        periods to come, this one with them.
        """
        ...


def season(market: Market, path: Ints, policy: Policy) -> float:
    """What a policy's plans cost. Raises ValueError for a plan that has no stock."""
    network, stock = market.network, market.stock.copy()
    vendor = len(stock)
    shown = stock.view()
    shown.flags.writeable = False
    fixed, unit = network.fixed.tolist(), network.unit.tolist()
    cost = 0.0
    for period, (basket, region) in enumerate(path.tolist()):
        items = network.baskets[basket]
        if not items:
            continue
        places = policy.plan(basket, region, shown, market.periods - period)
        for item, place in zip(items, places, strict=True):
            cost += unit[place][region]
            if place == vendor:
                continue
            if stock[place, item] < 1:
                raise ValueError(f"period {period}: place {place} has no item {item}")
            stock[place, item] -= 1
        cost += sum(fixed[place] for place in set(places))
    return cost


class Remembered(ABC):
    """
    A policy whose choice does not change while what it chose is there: it is made once for each
    basket and region, and again when a place of it runs dry. `forget` when its ground changes.
    """

    def __init__(self, market: Market) -> None:
        self._baskets, self._vendor = market.network.baskets, len(market.stock)
        self._plans: dict[tuple[int, int], Sequence[int]] = {}

    def plan(self, basket: int, region: int, stock: Ints, left: int) -> Sequence[int]:
        del left
        items = self._baskets[basket]
        known = self._plans.get((basket, region))
        if known is None or not self._stands(items, known, stock):
            known = self._plans[basket, region] = self.choose(basket, region, stock)
        return known

    @abstractmethod
    def choose(self, basket: int, region: int, stock: Ints) -> Sequence[int]:
        """The place of each item, in this stock."""

    def forget(self) -> None:
        self._plans.clear()

    def _stands(self, items: Sequence[int], plan: Sequence[int], stock: Ints) -> bool:
        return all(
            place == self._vendor or stock[place, item] > 0
            for item, place in zip(items, plan, strict=True)
        )


class Listed(Remembered):
    """Each item from the first place of a list that has it."""

    def __init__(self, market: Market, places: Sequence[Sequence[int]]) -> None:
        """`places` by region, the first first."""
        super().__init__(market)
        self._places = places

    def choose(self, basket: int, region: int, stock: Ints) -> Sequence[int]:
        return tuple(
            next((place for place in self._places[region] if stock[place, item]), self._vendor)
            for item in self._baskets[basket]
        )


class Brokering(Remembered):
    """The nearest place that has the whole order, or else most of it; then the rest in turn."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._nearest = by_distance(market)

    def choose(self, basket: int, region: int, stock: Ints) -> Sequence[int]:
        items = self._baskets[basket]
        sent: dict[int, int] = {}
        while len(sent) < len(items):
            open_items = [item for item in items if item not in sent]
            has = [sum(stock[place, open_items] > 0) for place in self._nearest[region]]
            most = max(has)
            if most == 0:
                break
            place = self._nearest[region][has.index(most)]
            sent.update((item, place) for item in open_items if stock[place, item] > 0)
        return tuple(sent.get(item, self._vendor) for item in items)


class Priced(Remembered):
    """Each order's cheapest plan where a unit of stock has a price: exact, one by one."""

    def __init__(self, market: Market, desk: Desk, prices: Floats) -> None:
        super().__init__(market)
        self._desk, self._never = desk, market.network.never
        self.price(prices)

    def price(self, prices: Floats) -> None:
        """By place and item, the vendor's too."""
        self._prices = prices
        self.forget()

    def choose(self, basket: int, region: int, stock: Ints) -> Sequence[int]:
        prices = self._prices.copy()
        prices[:-1][stock < 1] = self._never
        return self._desk.cheapest(prices, basket, region)


class Renewed:
    """Prices that a pricer finds anew so many times a season, from the stock and the time left."""

    def __init__(self, market: Market, desk: Desk, pricer: Pricer, times: int) -> None:
        self._pricer, self._every = pricer, market.periods // times
        self._periods, self._at = market.periods, -1
        self._priced = Priced(market, desk, free(market))

    def plan(self, basket: int, region: int, stock: Ints, left: int) -> Sequence[int]:
        at = (self._periods - left) // self._every
        if at != self._at:
            self._at = at
            self._priced.price(self._pricer(stock, left))
        return self._priced.plan(basket, region, stock, left)


class Following:
    """Ours: prices that follow each unit sold and the time left, renewed together now and then."""

    def __init__(self, market: Market, desk: Desk, fluid: Fluid, pace: Pace) -> None:
        self._desk, self._pace, self._periods = desk, pace, market.periods
        self._baskets, self._vendor = market.network.baskets, len(market.stock)
        self._prices = Prices(fluid, free(market), market.stock, market.periods, pace.first)
        self._renewed, self._passed = market.periods, market.periods

    def plan(self, basket: int, region: int, stock: Ints, left: int) -> Sequence[int]:
        if self._renewed - left >= self._periods / self._pace.renewals:
            self._prices.renew(stock, left, self._pace.steps)
            self._renewed = self._passed = left
        elif self._passed - left >= self._pace.periods:
            self._prices.pass_time(stock, left)
            self._passed = left
        plan = self._desk.cheapest(self._prices.now, basket, region)
        sold = [
            (place, item)
            for place, item in zip(plan, self._baskets[basket], strict=True)
            if place != self._vendor
        ]
        if sold:
            at = tuple(map(list, zip(*sold, strict=True)))
            self._prices.sold(at, stock[at] - 1, left)
        return plan


def free(market: Market) -> Floats:
    """What is there costs nothing."""
    vendor = np.ones((1, market.network.items), dtype=bool)
    return np.where(np.vstack([market.stock > 0, vendor]), 0.0, market.network.never)


def by_distance(market: Market) -> list[list[int]]:
    """The places but the vendor, by region, the nearest first."""
    nearest: list[list[int]] = market.network.unit[:-1].argsort(axis=0, kind="stable").T.tolist()
    return nearest


def by_stock(market: Market) -> list[list[int]]:
    """The places but the vendor, the same for each region, first the one with the most stock."""
    order = (-market.stock.sum(axis=1)).argsort(kind="stable").tolist()
    return [order] * market.network.unit.shape[1]
