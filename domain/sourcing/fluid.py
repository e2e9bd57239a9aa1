"""
Prices stock where demand is dense: by what its last unit is expected to save until the end.

A network of up to a dozen places, the last of which never runs out. What is known is the rate of
every order; `Fluid` answers all of them at once at given prices, `ascend` finds the prices at which
the mean demand fits the stock (and with the orders of a season known, a lower bound of its cost),
`Prices` makes of them what a season needs: prices that follow the stock and the time left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

_ROUNDED: Final = 1e-6  # of a bound, more than 32 bits may be wrong by
LEVELS: Final = 128  # of what a unit may save: the grid on which rates are kept
_OWN: Final = 0.3  # of a price is by its own stock's chances; measured, flat from 0.3 to 0.6
_PATIENCE: Final = 10  # steps without a better bound, before the stride shortens


@dataclass(frozen=True)
class Network:
    """
    What orders ask for and what it costs to send it, in any money.

    An order is a basket (of items, one of each) from a region. A plan's cost is `fixed` for each
    place that sends and `unit` for each item sent. `rate` is how many such orders a period brings.
    """

    items: int
    baskets: tuple[tuple[int, ...], ...]
    fixed: Floats  # by place
    unit: Floats  # by place and region
    rate: Floats  # by basket and region

    @cached_property
    def never(self) -> float:
        """The price of what a place does not have: more than any order costs, exact in 32 bits."""
        longest = max(map(len, self.baskets))
        return float(2 * (self.fixed.max() + longest * self.unit.max()))


class Openings:
    """The sets of places that may send together: all that cost at most `most` to open."""

    def __init__(self, fixed: Floats, most: float = np.inf) -> None:
        every = [
            chosen
            for size in range(1, len(fixed) + 1)
            for chosen in combinations(range(len(fixed)), size)
        ]
        costs = {chosen: float(fixed[list(chosen)].sum()) for chosen in every}
        sets = [chosen for chosen in every if costs[chosen] <= most]
        number = {chosen: at for at, chosen in enumerate(sets)}
        self.cost = np.array([costs[chosen] for chosen in sets])
        self.beyond = min((cost for cost in costs.values() if cost > most), default=np.inf)
        self.has = np.array([[place in chosen for place in range(len(fixed))] for chosen in sets])
        self.last = np.array([chosen[-1] for chosen in sets])
        self.before = np.array([number.get(chosen[:-1], -1) for chosen in sets])
        self.without = np.array(
            [
                [
                    number.get(tuple(other for other in chosen if other != place), -1)
                    for place in range(len(fixed))
                ]
                for chosen in sets
            ]
        )
        sizes = self.has.sum(axis=1)
        self.of_size = [np.flatnonzero(sizes == size) for size in range(1, sizes.max() + 1)]


class Desk:
    """The cheapest plan of one order at a time, where stock has a price. Exact."""

    def __init__(self, network: Network, most: float = np.inf) -> None:
        """Looks at sets of places up to `most` first, and beyond them only if it must."""
        self._network, self._openings = network, Openings(network.fixed, most)
        self._barred = np.where(self._openings.has, 0.0, np.inf)
        self._baskets = [list(basket) for basket in network.baskets]
        self._unit = [column[:, None] for column in network.unit.T]

    @cached_property
    def _thorough(self) -> Desk:
        return Desk(self._network)

    def cheapest(self, prices: Floats, basket: int, region: int) -> tuple[int, ...]:
        """The place of each item, by prices of place and item; `never` where it has none."""
        each = prices[:, self._baskets[basket]] + self._unit[region]
        costs = self._lowest(each).sum(axis=1)
        costs += self._openings.cost
        best = int(costs.argmin())
        if costs[best] > self._openings.beyond + each.min(axis=0).sum():
            return self._thorough.cheapest(prices, basket, region)
        return tuple((each + self._barred[best][:, None]).argmin(axis=0).tolist())

    def _lowest(self, each: Floats) -> Floats:
        """By set and item."""
        sets = self._openings
        low = np.empty((len(sets.cost), each.shape[1]))
        low[sets.of_size[0]] = each[sets.last[sets.of_size[0]]]
        for size in sets.of_size[1:]:
            low[size] = np.minimum(low[sets.before[size]], each[sets.last[size]])
        return low


class Answers(NamedTuple):
    """Every basket of every region at its cheapest: its value, prices included, and its set."""

    value: Floats
    chosen: Ints


class Fluid:
    """
    All the orders of a network at once. By basket here means by those that ask for something.

    `most` leaves out what costs more to open. In 32 bits: a price is meant to the cent.
    """

    def __init__(self, network: Network, most: float = np.inf) -> None:
        self.network = network
        self.asked = [q for q, basket in enumerate(network.baskets) if basket]
        baskets = [network.baskets[q] for q in self.asked]
        self.rate = network.rate[self.asked]
        self.line_basket = np.array([q for q, basket in enumerate(baskets) for _ in basket])
        self.line_item = np.array([item for basket in baskets for item in basket])
        self._openings = Openings(network.fixed, most)
        self._asks = np.zeros((len(baskets), network.items), dtype=np.float32)
        self._asks[self.line_basket, self.line_item] = 1
        self._unit = network.unit.astype(np.float32)
        self._opening = self._openings.cost.astype(np.float32)[:, None, None]

    def answers(self, prices: Floats) -> Answers:
        return self._best(self._totals(self._lowest(prices)))

    def bound(self, prices: Floats, stock: Ints, orders: Floats, value: Floats) -> float:
        """
        What these orders cost at least with this stock, whatever the prices: Lagrange's bound.

        The sets that were left out are counted with the least that they could cost.
        """
        each = prices[:, :, None] + self.network.unit[:, None, :]
        left_out = self._openings.beyond + self._asks.astype(float) @ each.min(axis=0)
        least = np.minimum(value, left_out)
        found = float((least * orders).sum() - (prices[:-1] * stock).sum())
        return found - _ROUNDED * abs(found)

    def places(self, prices: Floats, chosen: Ints) -> Ints:
        """The place of each line, by region."""
        each = prices.T[self.line_item][:, None, :] + self.network.unit.T[None]
        within = self._openings.has[chosen[self.line_basket]]
        places: Ints = np.where(within, each, np.inf).argmin(axis=2)
        return places

    def usage(self, prices: Floats, chosen: Ints, orders: Floats) -> Floats:
        """How many units of each place and item these orders take."""
        cell = self.places(prices, chosen) * self.network.items + self.line_item[:, None]
        weights = orders[self.line_basket].ravel()
        used = np.zeros(prices.size)
        used += np.bincount(cell.ravel(), weights, prices.size)
        return used.reshape(prices.shape)

    def savings(self, prices: Floats) -> Floats:
        """
        By line, place (but the last) and region: how much cheaper the order is where this place
        has the item for nothing than where it has none, all else at its price.
        """
        low = self._lowest(prices)
        totals = self._totals(low)
        value, chosen = self._best(totals)
        value, places = value[self.line_basket], self.places(prices, chosen)
        others = totals[:, self.line_basket] - low[:, self.line_item]  # the order but for the line
        saved = np.empty((len(self.line_item), len(prices) - 1, value.shape[1]), dtype=np.float32)
        for place in range(len(prices) - 1):
            within, without = self._openings.has[:, place], self._openings.without[:, place]
            saved[:, place] = value - others[within].min(axis=0) - self._unit[place]
            line, region = np.nonzero(places == place)
            item = self.line_item[line]
            instead = np.where(
                (without >= 0)[:, None], low[without][:, item, region], self.network.never
            )
            instead = (others[:, line, region] + instead).min(axis=0)
            saved[line, place, region] = instead - value[line, region] + prices[place, item]
        return saved

    def _lowest(self, prices: Floats) -> Floats:
        """By set, item and region: the item from where in the set it is cheapest."""
        each = prices.astype(np.float32)[:, :, None] + self._unit[:, None, :]
        low = np.empty((len(self._openings.cost), *each.shape[1:]), dtype=np.float32)
        for at, (last, before) in enumerate(
            zip(self._openings.last, self._openings.before, strict=True)
        ):
            low[at] = each[last] if before < 0 else np.minimum(low[before], each[last])
        return low

    def _totals(self, low: Floats) -> Floats:
        """By set, basket and region."""
        totals: Floats = np.matmul(self._asks, low)
        totals += self._opening
        return totals

    def _best(self, totals: Floats) -> Answers:
        chosen: Ints = totals.argmin(axis=0)
        return Answers(np.take_along_axis(totals, chosen[None], 0)[0].astype(float), chosen)


def ascend(
    fluid: Fluid, stock: Ints, orders: Floats, prices: Floats, steps: int
) -> tuple[float, Floats]:
    """
    The best lower bound of what these orders cost with this stock, and its prices: a subgradient
    ascent of the dual from `prices`, by steps of counted number, each a fraction of Polyak's.

    `orders` by basket and region (of `fluid.asked`), in any number: `rate` × periods is the mean.
    """
    has = stock > 0
    scale = np.sqrt(np.maximum(stock, 1))
    best, best_prices, stride, since = -np.inf, prices, 0.01, 0
    momentum: Floats = np.zeros(stock.shape)
    prices = prices.copy()
    prices[:-1][~has] = fluid.network.never
    for _ in range(steps):
        value, chosen = fluid.answers(prices)
        found = fluid.bound(prices, stock, orders, value)
        since += 1
        if found > best + 1e-6 * abs(best) or best == -np.inf:
            best, best_prices, since = found, prices.copy(), 0
        elif since == _PATIENCE:
            stride, since, prices = 0.7 * stride, 0, best_prices.copy()
            momentum[:] = 0
        short = fluid.usage(prices, chosen, orders)[:-1] - stock
        short = np.where(has & ((prices[:-1] > 0) | (short > 0)), short, 0) / scale
        momentum = 0.7 * momentum + 0.3 * short
        length = stride * abs(best) / max(float((short**2).sum()), 1e-9)
        moved = np.maximum(prices[:-1] + length * momentum / scale, 0)
        prices[:-1] = np.where(has, moved, fluid.network.never)
    return best, best_prices


class Prices:
    """
    A price for each place and item that follows its stock and the time left.

    At each renewal the prices at which the mean demand fits the stock, and for each one, all others
    as they are, what the last unit is expected to save: the sum over all savings of the chance that
    as many orders save more. The price is the first of them, and a share of the way to the second;
    from there it goes as the second goes when a unit is sold, or time passes.
    """

    def __init__(self, fluid: Fluid, prices: Floats, stock: Ints, left: int, steps: int) -> None:
        """`prices` are where the ascent starts; `left` counts periods."""
        self.now = self._mean = prices  # by place and item, the last place's too
        self._fluid = fluid
        self._step = 2 * fluid.network.fixed.max() / LEVELS
        self.renew(stock, left, steps)

    def renew(self, stock: Ints, left: int, steps: int) -> None:
        """All prices anew, by so many steps of `ascend` from those of the last renewal."""
        _, self._mean = ascend(self._fluid, stock, self._fluid.rate * left, self._mean, steps)
        self._roots = self._rates(self._mean)
        expected = self._expected(self._roots, stock, left)
        self._offset = np.where(stock > 0, (1 - _OWN) * (self._mean[:-1] - expected), 0)
        self.now = self._mean.copy()
        self.pass_time(stock, left)

    def pass_time(self, stock: Ints, left: int) -> None:
        """All prices as they are with this stock, so many periods from the end."""
        expected = self._expected(self._roots, stock, left) + self._offset
        self.now[:-1] = np.where(stock > 0, np.maximum(expected, 0), self._fluid.network.never)

    def sold(self, at: tuple[list[int], ...], stock: Ints, left: int) -> None:
        """The prices of what was just sold `at` places and items, of which `stock` is left."""
        expected = self._expected(self._roots[at], stock, left) + self._offset[at]
        self.now[at] = np.where(stock > 0, np.maximum(expected, 0), self._fluid.network.never)

    def _rates(self, prices: Floats) -> Floats:
        """The cube root of how often a period's order saves more, by place, item and saving."""
        fluid = self._fluid
        saved = fluid.savings(prices)
        weight = np.broadcast_to(fluid.rate[fluid.line_basket][:, None, :], saved.shape)
        level = np.clip(saved / self._step, 0, LEVELS - 1.001)
        floor = level.astype(np.int64)
        above = level - floor
        place = np.arange(saved.shape[1])[:, None]
        cell = (place * fluid.network.items + fluid.line_item[:, None, None]) * LEVELS + floor
        size = saved.shape[1] * fluid.network.items * LEVELS
        rates = np.bincount(cell.ravel(), (weight * (1 - above)).ravel(), size)
        rates += np.bincount(cell.ravel() + 1, (weight * above).ravel(), size)
        by_level = rates.reshape(saved.shape[1], fluid.network.items, LEVELS)
        more = by_level[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
        roots: Floats = np.cbrt(np.maximum(more[:, :, 1:], 0))
        return roots

    def _expected(self, roots: Floats, stock: Ints, left: int) -> Floats:
        chances = at_least(roots * left ** (1 / 3), stock[..., None])
        expected: Floats = chances.sum(axis=-1) * self._step
        return expected


def at_least(root: Floats, number: Ints) -> Floats:
    """
    The chance that a Poisson count is `number` or more, by the cube root of its mean.

    Wilson and Hilferty's approximation, good to a few thousandths.
    """
    number = np.maximum(number, 1)
    deviation = (root / np.cbrt(number) - (1 - 1 / (9 * number))) * (3 * np.sqrt(number))
    chance: Floats = 0.5 * (1 + np.tanh(0.7978845608 * (deviation + 0.044715 * deviation**3)))
    return chance
