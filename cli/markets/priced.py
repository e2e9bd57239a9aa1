"""Shadow prices for a market: fitted to its history, proven on a path, live while orders come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from cli.markets.bound import KEEP, of_cells, offers
from cli.markets.dombench import FIT, HISTORY, PERIODS, Asked, Floats, Ints, Market, path
from cli.markets.exact import Exact
from cli.markets.simulation import State, play
from domain.sourcing import prices
from domain.sourcing.many import Many
from domain.sourcing.prices import Prices

FUTURES: Final = 6
PASSES: Final = 60
ENOUGH: Final = 100  # units of whatever is stocked: so many that nothing runs out
SCALES: Final = (1.0, 1.5, 2.0, 2.5)  # of the prices that compete


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


def fitted(
    market: Market,
    *,
    futures: int = FUTURES,
    periods: int = PERIODS,
    passes: int = PASSES,
    keep: int = KEEP,
) -> Fitted:
    """
    From what is known before the first order: the history, and futures drawn from it.

    A future is a period's worth of the history's orders, one after the other. `periods` of the
    history are looked at for the Poisson tail; `keep` packages of each part are.
    """
    history = path(market, market.seed + HISTORY, PERIODS * market.size.orders).asked
    recent = history[: periods * market.size.orders]
    past = _many(market, recent, np.where(market.stocked, ENOUGH, 0), keep)
    gain, rate = prices.poisson_tail(past, periods)
    drawn = _drawn(history, market.size.orders, futures)
    duals = prices.mean_dual([_future(market, orders, keep) for orders in drawn], passes=passes)
    none = np.zeros_like(duals)
    through = prices.tail_through(duals, futures, gain, rate, market.stock)
    names = _names(market)
    return Fitted(
        Prices("poisson-tail", *names, none, gain, rate),
        Prices("mean-dual", *names, duals, none, none),
        Prices("tail-through-mean-dual", *names, none, through, rate),
    )


def proven(market: Market, book: Fitted, scales: Sequence[float] = SCALES) -> Live | None:
    """
    An A/B over the path that is there to be fitted to: the prices, more or less of them, that cost
    the least; None, the switch off, where no prices cost less than some.
    """
    recent = path(market, market.seed + FIT)
    tried: list[Live | None] = [None]
    tried += [Live(scaled(each, k)) for each in (book.poisson, book.through) for k in scales]
    costs = [play(Exact("trial", live), market, recent).cost for live in tried]
    return tried[int(np.argmin(costs))]


def scaled(book: Prices, by: float) -> Prices:
    return replace(book, flat=book.flat * by, gain=book.gain * by)


def _drawn(history: Sequence[Asked], period: int, futures: int) -> list[Sequence[Asked]]:
    """Periods that begin in equal steps over the history."""
    step = (len(history) - period) // max(futures - 1, 1)
    return [history[number * step : number * step + period] for number in range(futures)]


def _future(market: Market, asked: Sequence[Asked], keep: int) -> tuple[Many, Floats]:
    many = _many(market, asked, market.stock, keep)
    return many, of_cells(market.stock, many)


def _many(market: Market, asked: Sequence[Asked], stock: Ints, keep: int) -> Many:
    skus, nodes = market.stock.shape
    return Many(offers(market, asked, stock, keep=keep), skus, nodes)


def _names(market: Market) -> tuple[tuple[str, ...], tuple[str, ...]]:
    skus, nodes = market.stock.shape
    return tuple(f"S{i}" for i in range(skus)), tuple(f"N{i}" for i in range(nodes))
