"""What no policy can beat: the orders known in advance, the stock priced."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cli.markets.dombench import UNFILLED, Asked, Ints, Market
from cli.markets.exact import packages_of, portions
from domain.sourcing.many import Offer


def offers(
    market: Market, asked: Iterable[Asked], stock: Ints, *, parts: bool = False
) -> list[Offer]:
    """Every order with all that the stock could send it."""
    return [_offer(market, one, stock, parts=parts) for one in asked]


def _offer(market: Market, asked: Asked, stock: Ints, *, parts: bool) -> Offer:
    order = np.argsort(asked.units, kind="stable") if parts else np.arange(len(asked.units))
    asked = asked._replace(skus=asked.skus[order], units=asked.units[order])
    counts, each = portions(asked.units, parts=parts)
    node, part, cost = packages_of(asked, stock[asked.skus], market, counts, each)
    return Offer(tuple(counts.tolist()), each, asked.skus, node, part, cost, UNFILLED)
