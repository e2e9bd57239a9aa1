"""CP-SAT where the work of a request is counted: some plan there must be, however large it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from typing import Final

from domain.sourcing.allowance import Spent, Work
from domain.sourcing.cpsat import VERSION, Model
from domain.sourcing.problem import Candidate
from domain.sourcing.search import Answer, Question

FEW: Final = 10  # nodes, or as many as it takes
FEW_WORK: Final = 3.0  # beside the request's: a model of so few nodes is small


class Hasty:
    """
    As `Model`; where the work ends before it has any plan, the best one of a few nodes that have
    most of the goods between them, with what was proven till then. Spent is raised only where even
    they are too many, and for what is asked beside the best plan.
    """

    solver = Model.solver

    def __init__(self, question: Question) -> None:
        self._question = question
        self._model: Model | None = None
        with suppress(Spent):
            self._model = Model(question)

    @property
    def versions(self) -> dict[str, str]:
        return {"ortools": VERSION}

    def solve(
        self, *, other_than: Collection[str] = (), forced: str | None = None
    ) -> Answer | None:
        proven = None
        try:
            if self._model is not None:
                return self._model.solve(other_than=other_than, forced=forced)
        except Spent as spent:
            points = not self._question.rank  # else it may be the rank that was being sought
            if self._model and points and spent.bound is not None and isfinite(spent.bound):
                proven = self._model.bound(spent.bound)
        if other_than or forced is not None:
            raise Spent
        with Work(FEW_WORK).part(must=True):
            found = Model(few(self._question)).solve()
        return found and replace(found, optimal=False, bound=proven)


def few(question: Question) -> Question:
    """
    The question with as few nodes as have between them all that there is of the goods, the one with
    most of what is still lacking first; and more of those that have most, up to `FEW`.
    """
    lacking = Counter[str]()
    for item in question.items:
        lacking[item.sku] += item.quantity
    shelves = {candidate.node: _shelf(question, candidate) for candidate in question.usable}

    def has(candidate: Candidate) -> int:
        return sum(min(free, lacking[sku]) for sku, free in shelves[candidate.node].items())

    rest = sorted(question.usable, key=lambda c: (-has(c), c.order_cost_minor, c.node))
    fullest, taken = [candidate.node for candidate in rest[:FEW]], list[str]()
    while rest and has(best := max(rest, key=has)):
        rest.remove(best)
        taken.append(best.node)
        lacking -= Counter(shelves[best.node])
    more = [node for node in fullest if node not in taken]
    kept = {*taken, *more[: max(0, FEW - len(taken))]}
    return replace(question, usable=tuple(c for c in question.usable if c.node in kept))


def _shelf(question: Question, candidate: Candidate) -> dict[str, int]:
    shelf: dict[str, int] = {}
    for item, free in zip(question.items, question.free[candidate.node], strict=True):
        shelf[item.sku] = max(free, shelf.get(item.sku, 0))
    return shelf
