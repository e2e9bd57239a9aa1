"""Every part of a demand, numbered, and the ways to divide each part in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
SMALL: Final = 3**8


def divisions(counts: Sequence[int]) -> int:
    """How many ways there are to divide a part in two, over all parts: 3**n for n single kinds."""
    return prod((count + 1) * (count + 2) // 2 for count in counts)


@dataclass(frozen=True)
class Step:
    """
    The parts from `low` up to `high`: those whose last kind is the same, and as often there.

    For each of them in turn (a new one begins at `starts`), all that one package could take of it
    with at least one of that last kind, and what `rest` is left then. `unit` is one of that kind.
    """

    unit: int
    low: int
    high: int
    taken: Ints
    rest: Ints
    starts: Ints


class Lattice:
    """
    The parts of so many of each kind. A part's number is the sum of `weights` over what is in it.

    A smaller part of it has a smaller number, and the rest's is the difference of the two. `every`
    is all the parts but the empty one as a single step, whatever of them is taken; what is taken
    of one begins at `begins`.
    """

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.weights = [prod(c + 1 for c in counts[:kind]) for kind in range(len(counts))]
        self.size = prod(c + 1 for c in counts)
        index = np.arange(self.size)
        self.digits: Ints = np.array(
            [index // w % (c + 1) for w, c in zip(self.weights, counts, strict=True)], np.int64
        ).reshape(len(counts), self.size)
        self.steps: list[Step] = []
        whole = taken = np.zeros(1, np.int64)
        for unit, count in zip(self.weights, counts, strict=True):
            self.steps += [_step(unit, digit, whole, taken) for digit in range(1, count + 1)]
            pairs = [(digit, some) for digit in range(count + 1) for some in range(digit + 1)]
            taken = np.concatenate([taken + some * unit for _, some in pairs])
            whole = np.concatenate([whole + digit * unit for digit, _ in pairs])
            order = np.lexsort((taken, whole))
            whole, taken = whole[order], taken[order]
        whole, taken = whole[taken > 0], taken[taken > 0]
        self.begins: Ints = np.searchsorted(whole, np.arange(self.size + 1))
        self.every = Step(0, 1, self.size, taken, whole - taken, self.begins[1:-1])

    def parts_of(self, whole: int) -> Ints:
        """What one package could take of a part, in order."""
        return self.every.taken[self.begins[whole] : self.begins[whole + 1]]

    def parts_of_each(self, wholes: Ints) -> tuple[Ints, Ints]:
        """The same of many, one after the other; with each the position of its whole."""
        begins, counts = self.begins[wholes], self.counts(wholes)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        position = np.repeat(np.arange(len(wholes)), counts)
        offset = np.repeat(begins - ends + counts, counts)
        return position, self.every.taken[np.arange(total) + offset]

    def counts(self, wholes: Ints) -> Ints:
        return self.begins[wholes + 1] - self.begins[wholes]


def lattice(counts: tuple[int, ...]) -> Lattice:
    """The one of these counts, kept: a large one takes milliseconds to make, and megabytes."""
    return _small(counts) if divisions(counts) <= SMALL else _large(counts)


@lru_cache(maxsize=256)
def _small(counts: tuple[int, ...]) -> Lattice:
    return Lattice(counts)


@lru_cache(maxsize=8)
def _large(counts: tuple[int, ...]) -> Lattice:
    return Lattice(counts)


def _step(unit: int, digit: int, whole: Ints, taken: Ints) -> Step:
    """From the divisions of the parts of lower kinds, sorted."""
    order = np.argsort(np.tile(whole, digit), kind="stable")
    some = np.repeat(np.arange(1, digit + 1), len(taken)) * unit
    here = (some + np.tile(taken, digit))[order]
    wholes = np.tile(whole, digit)[order] + digit * unit
    starts = np.flatnonzero(np.diff(wholes, prepend=-1))
    return Step(unit, digit * unit, (digit + 1) * unit, here, wholes - here, starts)
