"""Decides the problems of many orders together, of one snapshot: each one's stock is all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from domain.sourcing import kernel
from domain.sourcing.batch import EFFORT, UNLIMITED, Capacity, Effort, solve
from domain.sourcing.lattice import Ints
from domain.sourcing.many import Offer
from domain.sourcing.packages import Packages
from domain.sourcing.planning import planned
from domain.sourcing.posing import posed
from domain.sourcing.problem import Candidate, Plan, Problem
from domain.sourcing.search import Limits

MOST_LEFT: Final = 10  # times the dearest package is what a unit counts that is left over


class _Posed(NamedTuple):
    """A problem that a batch takes: its place among all, and its packages by place and part."""

    number: int
    packages: Packages
    place: Ints
    part: Ints
    points: Ints


def plans(problems: Sequence[Problem], effort: Effort = EFFORT) -> list[Plan | None]:
    """
    A plan for each, in their sequence, within what they share: no unit and no hand is used twice.

    Their candidates are of one snapshot: where two problems tell of the same node, the less of its
    stock and capacity counts. Points are comparable, so they are of one currency, and should be of
    one profile. None for an order that a batch cannot take: one with a limit on its plan as a whole
    (nodes, packages, all or nothing, a value floor), or one that is not the kernel's. It is solved
    by itself, in what the others leave; and so is one whose plan leaves units over, if it has soft
    rules. Blocks as `batch.solve` does.
    """
    taken = [some for number, problem in enumerate(problems) if (some := _posed(number, problem))]
    answers: list[Plan | None] = [None] * len(problems)
    if not taken:
        return answers
    snapshot = [c for some in taken for c in some.packages.question.problem.candidates]
    skus = {sku: i for i, sku in enumerate(sorted({sku for c in snapshot for sku in c.stock}))}
    nodes = {node: i for i, node in enumerate(sorted({c.node for c in snapshot}))}
    free, capacity = _shared(snapshot, skus, nodes)
    dearest = max(int(some.points.max(initial=0)) for some in taken)
    offers = [_offer(some, skus, nodes, float(MOST_LEFT * dearest + 1)) for some in taken]
    found = solve(offers, free, effort, capacity=capacity)
    for some, plan in zip(taken, found.plans, strict=True):
        loads = [some.packages.load(int(some.place[i]), int(some.part[i])) for i in plan]
        answers[some.number] = planned(some.packages.question, loads)
    return answers


def _posed(number: int, problem: Problem) -> _Posed | None:
    question, _ = posed(problem)
    if question.limits != Limits() or question.aboard:
        return None
    if not question.usable or (search := kernel.search(question)) is None:
        return None
    return _Posed(number, search.packages, *search.packages.counted)


def _offer(some: _Posed, skus: dict[str, int], nodes: dict[str, int], left: float) -> Offer:
    packages, items = some.packages, some.packages.question.items
    mine = sorted({item.sku for item in items} & set(skus))
    each = np.zeros((len(packages.kinds), len(mine)), np.int64)
    for row, kind in zip(each, packages.kinds, strict=True):
        for index, need in kind.needs.items():
            if items[index].sku in skus:
                row[mine.index(items[index].sku)] += need
    column = np.array([nodes[node] for node in packages.nodes], np.int64)
    return Offer(
        counts=tuple(kind.count for kind in packages.kinds),
        each=each,
        skus=np.array([skus[sku] for sku in mine], np.int64),
        node=column[some.place],
        part=some.part,
        cost=some.points.astype(np.float64),
        left=left,
    )


def _shared(
    snapshot: Sequence[Candidate], skus: dict[str, int], nodes: dict[str, int]
) -> tuple[Ints, Capacity]:
    told: dict[tuple[int, int], int] = {}
    packages, units = (np.full(len(nodes), UNLIMITED, np.int64) for _ in range(2))
    for candidate in snapshot:
        node = nodes[candidate.node]
        for sku, count in candidate.stock.items():
            key = (skus[sku], node)
            told[key] = min(count, told.get(key, count))
        for capacity, limit in (
            (packages, candidate.capacity_left),
            (units, candidate.units_left),
        ):
            if limit is not None:
                capacity[node] = min(capacity[node], limit)
    free = np.zeros((len(skus), len(nodes)), np.int64)
    for key, count in told.items():
        free[key] = max(count, 0)
    return free, Capacity(np.maximum(packages, 0), np.maximum(units, 0))
