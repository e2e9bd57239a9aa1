"""Shadow prices for a market: fitted to its history and to sampled futures, live while orders come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from cli.markets.bound import offers
from cli.markets.dombench import FIT, HISTORY, PERIODS, Asked, Floats, Market, Path, path
from cli.markets.simulation import State
from domain.sourcing import prices
from domain.sourcing.many import Many
from domain.sourcing.prices import Prices

KEEP: Final = 8  # packages of each part that a future is solved with
FUTURES: Final = 6
PASSES: Final = 60


class Live:
    """Prices as `Exact` wants them: at the stock and the moment of the order."""

    def __init__(self, book: Prices) -> None:
        self.book = book

    def of(self, asked: Asked, state: State) -> Floats:
        return self.book.at(asked.skus, state.stock[asked.skus], 1.0 - state.at)


class Fitted(NamedTuple):
    """One book of prices for each way to fit them."""

    poisson: Prices
    mean_dual: Prices
    through: Prices


def fitted(market: Market, *, futures: int = FUTURES, passes: int = PASSES) -> Fitted:
    """
    From what is known before the first order: the history, and futures drawn from it.

    A future is a period's worth of the history's orders, and of the orders of the path that is
    there to be fitted to.
    """
    history = path(market, market.seed + HISTORY, PERIODS * market.size.orders)
    recent = path(market, market.seed + FIT)
    everywhere = np.where(market.stocked, 100, 0)
    past = _many(market, [*history, *recent], everywhere)
    gain, rate = prices.poisson_tail(past, PERIODS + 1)
    duals = prices.mean_dual(
        [_future(market, orders) for orders in _drawn(history, recent, futures)], passes=passes
    )
    none = np.zeros_like(duals)
    through = prices.tail_through(duals, futures, gain, rate, market.stock)
    names = _names(market)
    return Fitted(
        Prices("poisson-tail", *names, none, gain, rate),
        Prices("mean-dual", *names, duals, none, none),
        Prices("tail-through-mean-dual", *names, none, through, rate),
    )


def _drawn(history: Path, recent: Path, futures: int) -> list[Sequence[Asked]]:
    """Periods one after the other, the most recent first; more of them from in between."""
    every = [*history, *recent]
    period = len(recent)
    step = (len(every) - period) // max(futures - 1, 1)
    begins = [len(every) - period - number * step for number in range(futures)]
    return [every[begin : begin + period] for begin in begins]


def _future(market: Market, asked: Sequence[Asked]) -> tuple[Many, Floats]:
    many = _many(market, asked, market.stock)
    return many, market.stock.reshape(-1)[many.cells].astype(np.float64)


def _many(market: Market, asked: Sequence[Asked], stock: np.ndarray) -> Many:
    skus, nodes = market.stock.shape
    return Many(offers(market, asked, stock), skus, nodes, keep=KEEP)


def _names(market: Market) -> tuple[tuple[str, ...], tuple[str, ...]]:
    skus, nodes = market.stock.shape
    return tuple(f"S{i}" for i in range(skus)), tuple(f"N{i}" for i in range(nodes))
