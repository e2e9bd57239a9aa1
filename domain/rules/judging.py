"""Decides an order by the rules that hold for it, set after set, until a plan or a word stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from domain.rules.evaluation import Judged, choose, evaluate
from domain.rules.facts import Case
from domain.rules.sets import Version
from domain.sourcing.policy import Policy
from domain.sourcing.problem import Decision, Outcome, Problem

BUILT_IN: Final = Policy()


class Posed(NamedTuple):
    """The problem as one rule set poses it; `judged` None: the built-in policy does."""

    problem: Problem
    judged: Judged | None


def pose(
    active: Sequence[Version], case: Case, build: Callable[[Policy], Problem], name: str = ""
) -> Posed:
    """By the set of that name, which holds whatever its dates; else by the one it comes to."""
    named = next((version for version in active if version.rules.name == name), None)
    version = named or choose(active, case.order, case.now)
    judged = evaluate(version, case) if version else None
    return Posed(build(judged.policy if judged else BUILT_IN), judged)


def policy_of(active: Sequence[Version], case: Case) -> Policy:
    """What the rules say of a plan for the order, before there is one."""
    version = choose(active, case.order, case.now)
    judged = evaluate(version, case) if version else None
    return judged.policy if judged else BUILT_IN


def decide_by(
    active: Sequence[Version],
    case: Case,
    build: Callable[[Policy], Problem],
    solve: Callable[[Problem], Decision],
    name: str = "",
) -> Decision:
    """
    The decision, with what the rules make of it. Where they say so the next set judges the whole
    order; that ends, for no set is come back to (`checks.check_graph`).
    """
    while True:
        posed = pose(active, case, build, name)
        decision = ruled(solve(posed.problem), posed.judged)
        waits = decision.outcome.allocate and decision.plan.assignments
        if decision.outcome.then != "next" or waits or not _left_over(decision):
            return decision
        name = decision.outcome.next


def ruled(decision: Decision, judged: Judged | None) -> Decision:
    """The decision with what its rule set makes of it."""
    if judged is None:
        return decision
    said = judged.partial if decision.plan.assignments else judged.nothing
    outcome = Outcome(
        allocate=said.allocate,
        then=said.then.value,
        next=said.next,
        queue=said.queue,
        cancel_after=said.cancel_after,
    )
    left = {"outcome": outcome} if _left_over(decision) else {}
    return decision.model_copy(update={**left, "review": judged.review})


def _left_over(decision: Decision) -> bool:
    return bool(decision.plan.unsourced) or not decision.plan.assignments
