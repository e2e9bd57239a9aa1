"""Says of every node that could have served why it does not."""

from __future__ import annotations

from typing import Final

from domain.money import Money
from domain.sourcing.allowance import Spent
from domain.sourcing.planning import planned
from domain.sourcing.problem import Candidate, Plan
from domain.sourcing.search import Load, Question, Search

NEAREST_EXPLAINED: Final = 1
EXPLAINED_ITEMS: Final = 16


def not_chosen(
    question: Question, search: Search, plan: Plan, runner_up: Plan | None, before: Plan
) -> dict[str, str]:
    """
    Why each node that could have served does not.

    For a node that could serve all by itself: what that costs more. For one in the runner-up: the
    gap, which no plan with another set of nodes beats. For the nearest of the rest the best plan
    with it is sought, unless the order is long.
    """
    used = {assignment.node for assignment in plan.assignments}
    second = {assignment.node for assignment in runner_up.assignments} if runner_up else set()
    reasons: dict[str, str] = {}
    rest = []
    for candidate in question.usable:
        if candidate.node in used:
            continue
        alone = None if plan.unsourced or before.assignments else _alone(question, candidate)
        if alone is not None:
            reasons[candidate.node] = _more(plan, alone, "alone it costs", question)
        elif runner_up and candidate.node in second:
            reasons[candidate.node] = _more(
                plan, runner_up, "the best plan with it costs", question
            )
        else:
            rest.append(candidate)
    rest.sort(key=lambda candidate: (candidate.miles, candidate.node))
    sought = rest[:NEAREST_EXPLAINED] if len(question.items) <= EXPLAINED_ITEMS else []
    for candidate in sought:
        try:
            answer = search.solve(forced=candidate.node)
        except Spent:
            reasons[candidate.node] = "has a part of the goods; what it would cost was not found"
            continue
        if answer is None:
            reasons[candidate.node] = "no plan that serves as many units can use it"
            continue
        found = planned(question, answer.loads, before)
        reasons[candidate.node] = _more(plan, found, "the best plan with it costs", question)
    for candidate in rest[len(sought) :]:
        reasons[candidate.node] = "has a part of the goods; not in the optimal plan"
    return reasons


def _alone(question: Question, candidate: Candidate) -> Plan | None:
    """The whole order from this node only; None where it cannot serve all of it, or as it may."""
    for item, free in zip(question.items, question.free[candidate.node], strict=True):
        if free < item.quantity:
            return None
    if question.room.get(candidate.node, question.units) < question.units:
        return None
    wanted: dict[str, int] = {}
    there: dict[str, int] = {}
    for item, free in zip(question.items, question.free[candidate.node], strict=True):
        wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
        there[item.sku] = max(there.get(item.sku, 0), free)
    if any(there[sku] < quantity for sku, quantity in wanted.items()):
        return None
    units = tuple(item.quantity for item in question.items)
    kits = tuple(bundle.kits for bundle in question.bundles)
    plans = [
        planned(question, [Load(candidate, option, units, kits)])
        for option in candidate.options
        if not question.refused(option)
    ]
    most = question.limits.cartons
    plans = [p for p in plans if most is None or p.assignments[0].cartons <= most]
    return min(plans, key=lambda plan: plan.worth, default=None)


def _more(plan: Plan, other: Plan, what: str, question: Question) -> str:
    if other.worth < plan.worth:
        return "no plan with it was proven better within the limit of work"
    gap = other.cost.total - plan.cost.total
    currency = question.problem.currency
    if other.worth == plan.worth and gap == 0:
        return f"{what} the same; the plan is one of equals"
    if gap > 0:
        return f"{what} {Money(minor=gap, currency=currency)} more"
    less = f"{Money(minor=-gap, currency=currency)} less" if gap else "the same"
    weighs = "the priorities of locations" if other.rank > plan.rank else "its profile's weights"
    return f"{what} {less}, but by {weighs} the plan is better"
