"""Shadow prices: what a unit of a SKU at a node is worth to the orders that are still to come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy.special import pdtrc

from domain.sourcing import dual
from domain.sourcing.lattice import Ints
from domain.sourcing.many import NEVER, Floats, Many

SURE: Final = 0.05  # a stock-out less likely than this at the start does not scale a gain up
TRUST: Final = 3.0  # how many futures the Poisson tail counts for beside the sampled ones


@dataclass(frozen=True)
class Prices:
    """
    Prices in minor units, by SKU and node, as of a moment; immutable, and known by their `version`.

    A unit costs `flat`, and `gain` times the chance that the node runs dry: that at least as many
    are wanted as are there, of a Poisson number whose mean is `rate` for the whole horizon and
    falls with the time that is left of it.
    """

    method: str
    skus: tuple[str, ...]
    nodes: tuple[str, ...]
    flat: Floats
    gain: Floats
    rate: Floats

    def at(self, skus: Ints, stock: Ints, left: float) -> Floats:
        """Of these rows, by node, at the stock there is now and the share of the horizon left."""
        dry = at_least(self.rate[skus] * left, stock)
        return np.asarray(self.flat[skus] * (left > 0) + self.gain[skus] * dry, np.float64)

    def packed(self) -> bytes:
        """A line of JSON, then three little-endian arrays of four-byte floats, by SKU and node."""
        head = {"method": self.method, "nodes": self.nodes, "skus": self.skus}
        arrays = np.stack([self.flat, self.gain, self.rate]).astype("<f4")
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + arrays.tobytes()

    @classmethod
    def unpacked(cls, packed: bytes) -> Prices:
        head, _, body = packed.partition(b"\n")
        names = json.loads(head)
        skus, nodes = tuple(names["skus"]), tuple(names["nodes"])
        shape = (3, len(skus), len(nodes))
        flat, gain, rate = np.frombuffer(body, "<f4").reshape(shape).astype(np.float64)
        return cls(names["method"], skus, nodes, flat, gain, rate)

    @cached_property
    def version(self) -> str:
        """A hash of the content: equal prices have equal versions."""
        return hashlib.sha256(self.packed()).hexdigest()


def at_least(mean: Floats, count: Ints) -> Floats:
    """P(N >= count) of Poisson numbers N, elementwise; 1 for a count of 0."""
    mean, count = np.broadcast_arrays(np.asarray(mean, np.float64), count)
    chance = np.where(count > 0, 0.0, 1.0)
    some = (count > 0) & (mean > 0)  # few: most nodes never have a SKU
    chance[some] = pdtrc(count[some] - 1, mean[some])
    return chance


def spread(cells: Ints, values: Floats, skus: int, nodes: int) -> Floats:
    """Values of cells as a table by SKU and node; a node's capacity is left out."""
    table = np.zeros(skus * nodes)
    units = cells < skus * nodes
    table[cells[units]] = values[units]
    return table.reshape(skus, nodes)


def poisson_tail(past: Many, horizons: float) -> tuple[Floats, Floats]:
    """
    What a missing unit costs, and how many are wanted in one horizon, from past orders over all
    that is ever stocked: two passes over them, no stock needed.

    The newsvendor's marginal value, as Littlewood's rule has it for two fares: a unit kept back is
    worth its gain times the chance that it will be wanted. Wanted is what the cheapest plan of each
    order takes; its gain is what the order costs more when none of those nodes may send it
    anything, shared by the things that it takes.
    """
    chosen = past.best(np.zeros(len(past.cells)))
    cost = past.cost.copy()
    used = np.unique(past.order[chosen.packages] * past.nodes + past.node[chosen.packages])
    cost[np.isin(past.order * past.nodes + past.node, used)] = NEVER
    more = past.best_of(cost).value - chosen.value
    takes = past.use_ends[chosen.packages] - past.use_begins[chosen.packages]
    order = past.order[chosen.packages]
    each = more / np.maximum(np.bincount(order, takes, past.orders), 1)
    units, gains = np.zeros(len(past.cells)), np.zeros(len(past.cells))
    cells, counts = past.taken(chosen.packages)
    units += np.bincount(cells, counts, len(past.cells))
    gains += np.bincount(cells, np.repeat(each[order], takes), len(past.cells))
    times = np.bincount(cells, minlength=len(past.cells))
    table = (past.cells, past.skus, past.nodes)
    gain = spread(table[0], gains / np.maximum(times, 1), *table[1:])
    return gain, spread(table[0], units / horizons, *table[1:])


def mean_dual(futures: Sequence[tuple[Many, Floats]], *, passes: int = 100) -> Floats:
    """
    The mean of the optimal prices over sampled futures, each solved by itself.

    Talluri and van Ryzin, "A randomized linear programming method for computing network bid prices"
    (1999); the dual of each is the Lagrangian's, with an exact plan of every order in each pass.
    One future alone overfits where demand is sparse: take six or more.
    """
    first, _ = futures[0]
    total = np.zeros((first.skus, first.nodes))
    for many, stock in futures:
        prices = dual.solve(many, stock, passes=passes).prices
        total += spread(many.cells, prices, many.skus, many.nodes)
    return total / len(futures)


def tail_through(duals: Floats, futures: int, gain: Floats, rate: Floats, stock: Ints) -> Floats:
    """
    The gain of a Poisson tail that goes through the mean dual at the stock there is now.

    So a price from sampled futures moves with every sale and every hour, without another solve. A
    mean of few futures is noisy where demand is sparse: it is shrunk towards the Poisson tail's own
    price, in proportion to how many `futures` it is the mean of (James and Stein, 1961).
    """
    dry = at_least(rate, stock)
    trust = futures / (futures + TRUST)
    price = trust * duals + (1 - trust) * gain * dry
    return np.asarray(price / np.maximum(dry, SURE), np.float64)
