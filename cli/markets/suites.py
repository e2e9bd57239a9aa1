"""What goes wrong in a market: days that are full, nodes that say no, a flash sale, late goods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from cli.markets.dombench import Asked, Flags, Ints, Market, Path
from cli.markets.simulation import NOTHING, Obstacles

DAYS: Final = 10  # of one path
STORE_PER_DAY: Final = 40  # packages
DC_SPARE: Final = 1.2  # of what a DC is expected to send
REFUSED: Final = 0.1  # of what a store is asked for
FLASH: Final = 0.1  # of the orders, all within
FLASH_TIME: Final = 0.01  # of the time
LATER: Final = 0.5  # of the stock, that comes halfway


class Suite(NamedTuple):
    market: Market
    path: Path
    obstacles: Obstacles


def capacity(market: Market, path: Path, rng: np.random.Generator) -> Suite:  # noqa: ARG001
    """A store takes 40 packages a day, a DC 1.2 times its share of the packages by its stock."""
    dcs = market.size.dcs
    share = market.stock.sum(axis=0) / market.stock.sum()
    expected = share * len(path) * 1.2 / DAYS
    per_day = np.where(np.arange(len(share)) < dcs, np.ceil(DC_SPARE * expected), STORE_PER_DAY)
    return Suite(market, path, Obstacles(days=DAYS, per_day=per_day.astype(np.int64)))


def rejection(market: Market, path: Path, rng: np.random.Generator) -> Suite:
    """A store refuses one request in ten; what it refused is decided again without it."""
    says_no: Flags = rng.random((len(path), market.stock.shape[1])) < REFUSED
    says_no[:, : market.size.dcs] = False
    return Suite(market, path, Obstacles(refuses=says_no))


def flash_sale(market: Market, path: Path, rng: np.random.Generator) -> Suite:
    """One order in ten has the most popular SKU, all of them within a hundredth of the time."""
    count = int(len(path) * FLASH)
    begin = int(rng.integers(0, len(path) - count))
    asked = list(path.asked)
    for number in range(begin, begin + count):
        asked[number] = _with(asked[number], 0)
    at = path.at.copy()
    at[begin : begin + count] = at[begin] + np.arange(count) / count * FLASH_TIME
    return Suite(market, Path(tuple(asked), at), NOTHING)


def restock(market: Market, path: Path, rng: np.random.Generator) -> Suite:  # noqa: ARG001
    """Half of the stock comes halfway."""
    later: Ints = np.floor(market.stock * LATER).astype(np.int64)
    at_first = replace(market, stock=market.stock - later)
    return Suite(at_first, path, Obstacles(arrivals=((0.5, later),)))


SUITES: Final[dict[str, Callable[[Market, Path, np.random.Generator], Suite]]] = {
    "capacity": capacity,
    "rejection": rejection,
    "flash_sale": flash_sale,
    "restock": restock,
}


def _with(asked: Asked, sku: int) -> Asked:
    """Its first SKU is this one, unless it has it already."""
    if sku in asked.skus:
        return asked
    return asked._replace(skus=np.concatenate([[sku], asked.skus[1:]]))
