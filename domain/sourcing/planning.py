"""Turns what a solver answers into the plan of an order: packages of its lines, and their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from domain.fulfillments import LineQuantity
from domain.sourcing.goods import in_kits
from domain.sourcing.pricing import cartons, cost, measures
from domain.sourcing.problem import Assignment, CostParts, Demand, Plan
from domain.sourcing.search import Load, Question
from domain.sourcing.weighing import objective


def planned(question: Question, found: Sequence[Load], before: Plan | None = None) -> Plan:
    """
    The loads as packages of order lines, in the alphabet's order of their nodes: what is kept
    whole, and then earlier lines are served first. They join the packages of the plan `before`.
    """
    sent = {a.node: a for a in before.assignments} if before else {}
    left = Counter({demand.line_id: demand.quantity for demand in question.demands})
    loose = left - _kept_whole(question, [bundle.kits for bundle in question.bundles])
    for load in sorted(found, key=lambda load: load.candidate.node):
        lines = _kept_whole(question, load.kits) + _loose(question, load, loose)
        left -= lines
        node = load.candidate.node
        added = _assigned(question, load, lines, split=bool(sent))
        sent[node] = _joined(question, sent[node], added) if node in sent else added
    assignments = tuple(sent[node] for node in sorted(sent))
    total = CostParts()
    for assignment in assignments:
        total = total.plus(assignment.cost)
    weights = question.problem.policy.weights
    rank = sum(question.rank_of(load.candidate) for load in found)
    return Plan(
        assignments=assignments,
        unsourced=_quantities(question.demands, left),
        cost=total,
        objective=sum(objective(weights, a.cost, a.measures) for a in assignments),
        rank=rank + (before.rank if before else 0),
    )


def _kept_whole(question: Question, kits: Sequence[int]) -> Counter[str]:
    """What of each line is in so many of each bundle."""
    lines: Counter[str] = Counter()
    for bundle, count in zip(question.bundles, kits, strict=True):
        for line_id, each in bundle.lines.items():
            lines[line_id] += each * count
    return lines


def _loose(question: Question, load: Load, loose: Counter[str]) -> Counter[str]:
    """What of each line is in the load beside that; it is no longer to be had."""
    lines: Counter[str] = Counter()
    for index, (item, count) in enumerate(zip(question.items, load.units, strict=True)):
        due = count - in_kits(question.bundles, index, load.kits)
        for line_id in item.lines:
            taken = min(due, loose[line_id])
            due -= taken
            loose[line_id] -= taken
            lines[line_id] += taken
    return lines


def _assigned(
    question: Question, load: Load, lines: Mapping[str, int], *, split: bool
) -> Assignment:
    return Assignment(
        node=load.candidate.node,
        service=load.option.service,
        carrier=load.option.carrier,
        lines=_quantities(question.demands, lines),
        ship_by=load.option.ship_by,
        deliver_by=load.option.deliver_by,
        cost=cost(question, load, split=split),
        measures=measures(question, load),
        cartons=cartons(question, load),
    )


def _joined(question: Question, sent: Assignment, added: Assignment) -> Assignment:
    """One package of the two; what is added costs what it costs on top."""
    lines = Counter({line.line_id: line.quantity for line in sent.lines})
    lines.update({line.line_id: line.quantity for line in added.lines})
    return sent.model_copy(
        update={
            "lines": _quantities(question.problem.demands, lines),
            "cost": sent.cost.plus(added.cost),
            "measures": sent.measures.plus(added.measures),
            "cartons": sent.cartons + added.cartons,
        }
    )


def _quantities(demands: Iterable[Demand], units: Mapping[str, int]) -> tuple[LineQuantity, ...]:
    """Lines that have any, in the order's own order."""
    return tuple(
        LineQuantity(line_id=demand.line_id, quantity=units[demand.line_id])
        for demand in demands
        if units.get(demand.line_id, 0) > 0
    )
