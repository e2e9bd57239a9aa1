"""A book of prices at work: what a unit of a SKU at a node is worth now, if it is priced."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Final

import numpy as np

from domain.sourcing.many import Floats
from domain.sourcing.prices import Prices

NEGLIGIBLE: Final = 1e-4  # a chance to run dry below which a unit has no price


class Book:
    """
    Prices that a decision reads, SKU by SKU; what it read once it does not work out again.

    A share of the SKUs, `unpriced`, has no price whatever the book says: the others are compared
    with it (`arms`). Prices are for a stock that must last for the whole horizon from now on.
    """

    def __init__(self, prices: Prices, unpriced: float) -> None:
        self.prices, self._unpriced = prices, unpriced
        self._rows = {sku: row for row, sku in enumerate(prices.skus)}
        self._known: dict[str, dict[str, tuple[float, Floats]]] = {}

    def of(self, stock: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """By node and SKU, in minor units: as `stock`, in which there is some; 0 is left out."""
        found: dict[str, dict[str, int]] = {}
        for node, shelf in stock.items():
            for sku, units in shelf.items():
                known = self._of(sku).get(node)
                if known is None or units >= len(known[1]):
                    continue
                if price := round(known[0] * float(known[1][units])):
                    found.setdefault(node, {})[sku] = price
        return found

    def _of(self, sku: str) -> dict[str, tuple[float, Floats]]:
        """By node the gain, and the chance of running dry by the units that are there."""
        if (known := self._known.get(sku)) is not None:
            return known
        known, row = {}, self._rows.get(sku)
        if row is not None and not unpriced(sku, self._unpriced):
            gains, rates = self.prices.gain[row].tolist(), self.prices.rate[row].tolist()
            places = zip(self.prices.nodes, gains, rates, strict=True)
            known = {node: (gain, tail(rate)) for node, gain, rate in places if gain > 0}
        self._known[sku] = known
        return known


def unpriced(sku: str, share: float) -> bool:
    """Whether the SKU is one of this share (0 to 1) that is never priced: it is in its name."""
    return int.from_bytes(sha256(f"unpriced {sku}".encode()).digest()[:8]) < share * 2**64


@lru_cache(maxsize=100_000)
def tail(mean: float) -> Floats:
    """P(N >= count) of a Poisson number N, by count, as far as it is not negligible."""
    if mean <= 0:
        return np.ones(1)
    count = np.arange(int(mean + 6 * np.sqrt(mean) + 12))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(count))))])
    below = np.cumsum(np.exp(count * np.log(mean) - mean - logs))
    chance = np.concatenate([[1.0], np.clip(1.0 - below, 0.0, 1.0)])
    return np.asarray(chance[chance >= NEGLIGIBLE], np.float64)
