"""A book of prices at work: what a unit of a SKU at a node is worth now, if it is priced."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import numpy as np

from domain.sourcing.many import Floats
from domain.sourcing.prices import Prices

NEGLIGIBLE: Final = 1e-4  # a chance to run dry below which a unit has no price
MOST_KNOWN: Final = 1_000_000  # prices by units that a book keeps at hand


class Book:
    """
    Prices that a decision reads, SKU by SKU; what it read lately it does not work out again.

    A share of the SKUs, `unpriced`, has no price whatever the book says: the others are compared
    with it (`arms`). Prices are for a stock that must last for the whole horizon from now on.
    """

    def __init__(self, prices: Prices, unpriced: float) -> None:
        self.prices, self._unpriced = prices, unpriced
        self._rows = {sku: row for row, sku in enumerate(prices.skus)}
        self._known: dict[str, dict[str, list[int]]] = {}
        self._size = 0

    def of(self, stock: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """By node and SKU, in minor units: as `stock`, in which there is some; 0 is left out."""
        found: dict[str, dict[str, int]] = {}
        known = {sku: self._of(sku) for sku in {sku for shelf in stock.values() for sku in shelf}}
        for node, shelf in stock.items():
            worth = {
                sku: by_units[units]
                for sku, units in shelf.items()
                if (by_units := known[sku].get(node)) and units < len(by_units)
            }
            if worth:
                found[node] = worth
        return found

    def _of(self, sku: str) -> dict[str, list[int]]:
        """By node what a unit is worth by the units that are there, as far as it is not 0."""
        if (known := self._known.get(sku)) is not None:
            return known
        made: dict[str, list[int]] = {}
        row = self._rows.get(sku)
        if row is not None and not unpriced(sku, self._unpriced):
            gain, rate = self.prices.gain[row], self.prices.rate[row]
            worth = np.rint(gain[:, None] * tails(rate)).astype(np.int64)
            some = np.flatnonzero(worth[:, 0])
            counts = np.count_nonzero(worth, axis=1)
            made = {self.prices.nodes[n]: worth[n, : counts[n]].tolist() for n in some.tolist()}
        if self._size > MOST_KNOWN:
            self._known, self._size = {}, 0
        self._known[sku] = made
        self._size += 1 + sum(map(len, made.values()))
        return made


def unpriced(sku: str, share: float) -> bool:
    """Whether the SKU is one of this share (0 to 1) that is never priced: it is in its name."""
    return int.from_bytes(sha256(f"unpriced {sku}".encode()).digest()[:8]) < share * 2**64


def tails(means: Floats) -> Floats:
    """P(N >= count) of Poisson numbers N, by mean and count, as far as any is not negligible."""
    most = float(means.max(initial=0))
    counts = np.arange(int(most + 6 * np.sqrt(most) + 12))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(counts))))])
    of_means = np.log(np.maximum(means, NEGLIGIBLE**4))[:, None]
    below = np.cumsum(np.exp(counts * of_means - means[:, None] - logs), axis=1)
    chances = np.clip(1.0 - below[:, :-1], 0.0, 1.0)
    chances[chances < NEGLIGIBLE] = 0.0
    return np.column_stack([np.ones(len(means)), chances])
