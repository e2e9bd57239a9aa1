"""What no policy can beat: the orders known in advance, the stock priced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from cli.markets.dombench import UNFILLED, Asked, Floats, Ints, Market
from cli.markets.exact import packages_of, portions
from domain.sourcing import dual
from domain.sourcing.many import Many, Offer, cheapest_of
from domain.sourcing.prices import spread

KEEP: Final = 8  # packages of each part that the prices are looked for with
BLOCK: Final = 1000  # orders that are priced at once with all their packages


class Bound(NamedTuple):
    """In cents; `prices` by SKU and node prove it."""

    cost: float
    prices: Floats


def lower_bound(
    market: Market,
    asked: Sequence[Asked],
    *,
    passes: int,
    keep: int = KEEP,
    parts: bool = False,
) -> Bound:
    """
    Under every policy's cost: the Lagrangian dual at the best prices found, over every package.

    `parts`: for policies that divide quantities too. The prices are looked for among the cheapest
    packages of each part, so many to `keep`, and proven with all.
    """
    stock, (skus, nodes) = market.stock, market.stock.shape
    few = Many(offers(market, asked, stock, parts=parts, keep=keep), skus, nodes)
    found = dual.solve(few, of_cells(stock, few), passes=passes).prices
    prices = spread(few.cells, found, skus, nodes)
    return Bound(bound_at(market, asked, prices, parts=parts), prices)


def bound_at(
    market: Market, asked: Sequence[Asked], prices: Floats, *, parts: bool = False
) -> float:
    """The bound that prices by SKU and node prove, whichever they are: one pass over everything."""
    stock = market.stock
    cost = -float((prices * stock).sum())
    for begin in range(0, len(asked), BLOCK):
        every = Many(offers(market, asked[begin : begin + BLOCK], stock, parts=parts), *stock.shape)
        cost += float(every.best(of_cells(prices, every)).value.sum())
    return cost


def of_cells(table: Ints | Floats, many: Many) -> Floats:
    """The table's values by SKU and node, of the cells."""
    return np.asarray(table.reshape(-1)[many.cells], np.float64)


def offers(
    market: Market,
    asked: Sequence[Asked],
    stock: Ints,
    *,
    parts: bool = False,
    keep: int | None = None,
) -> list[Offer]:
    """Every order with what the stock could send it, or of each part of it the cheapest few."""
    every = (_offer(market, one, stock, parts=parts) for one in asked)
    return [offer if keep is None else cheapest_of(offer, keep) for offer in every]


def _offer(market: Market, asked: Asked, stock: Ints, *, parts: bool) -> Offer:
    order = np.argsort(asked.units, kind="stable")
    asked = asked._replace(skus=asked.skus[order], units=asked.units[order])
    cut = portions(asked.units, parts=parts)
    node, part, cost = packages_of(asked, stock[asked.skus], market, cut)
    each = np.diag(cut.each)
    return Offer(tuple(cut.counts.tolist()), each, asked.skus, node, part, cost, UNFILLED)
