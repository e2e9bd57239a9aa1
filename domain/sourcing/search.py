"""What a solver is asked and what it answers, whichever solver it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from domain.sourcing.goods import Bundle, Item
from domain.sourcing.problem import Candidate, Problem, ServiceOption


@dataclass(frozen=True)
class Question:
    """A problem, what it asks for over all its lines, and the nodes that can serve any of it."""

    problem: Problem
    items: tuple[Item, ...]
    bundles: tuple[Bundle, ...]
    usable: tuple[Candidate, ...]


@dataclass(frozen=True)
class Load:
    """What one node sends: by which option, how many units of each item, and whole kits of each."""

    candidate: Candidate
    option: ServiceOption
    units: tuple[int, ...]
    kits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """`optimal`: proven. `work` is counted, each solver in its own measure; the same every time."""

    loads: tuple[Load, ...]
    optimal: bool
    work: float


class Search(Protocol):
    """
    A solver at work on one question.

    Every answer serves as many units as can be served at all, and then costs the least: at most one
    package from a node, whole kits, no more nodes than allowed.
    """

    @property
    def solver(self) -> str: ...
    @property
    def versions(self) -> dict[str, str]: ...

    def solve(
        self, *, other_than: Collection[str] = (), forced: str | None = None
    ) -> Answer | None:
        """
        The best loads. Not from exactly the nodes `other_than`; or with the forced one. None: no
        way that serves as many units.
        """


def fixed_cost(problem: Problem, option: ServiceOption) -> int:
    """What the option costs at any weight."""
    return option.base_minor + option.days_late * problem.late_day_minor
