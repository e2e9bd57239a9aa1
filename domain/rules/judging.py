"""Decides an order by the rules that hold for it, set after set, until a plan or a word stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from domain.calendars import next_cutoff
from domain.orders import DeliveryMethod
from domain.rules.evaluation import Judged, choose, evaluate
from domain.rules.facts import Case
from domain.rules.sets import Version
from domain.sourcing.policy import Policy
from domain.sourcing.problem import Decision, Outcome, Problem
from domain.sourcing.rulings import refused
from domain.values import earliest

BUILT_IN: Final = Policy()
# So long before its cut-off a node is asked at the latest.
ASKED_BEFORE: Final = timedelta(minutes=15)
# The problem by what a rule set says; None is the built-in policy.
Build = Callable[[Judged | None], Problem]


class Posed(NamedTuple):
    """The problem as one rule set poses it; `judged` None: the built-in policy does."""

    problem: Problem
    judged: Judged | None


def pose(active: Sequence[Version], case: Case, build: Build, name: str = "") -> Posed:
    """By the set of that name, which holds whatever its dates; else by the one it comes to."""
    version = _version(active, case, name)
    judged = evaluate(version, case) if version else None
    return Posed(build(judged), judged)


def policy_by(judged: Judged | None) -> Policy:
    return judged.policy if judged else BUILT_IN


def asked_again(judged: Judged | None, case: Case) -> frozenset[str]:
    """The nodes that gave the order's work back so long ago that they may be asked once more."""
    return frozenset(node for node, end in _ends(judged, case).items() if end <= _clock(case))


def _ends(judged: Judged | None, case: Case) -> dict[str, datetime]:
    """By node, from when on it may be asked again."""
    wait = judged and judged.retry_after
    return {node: at + wait for node, at in case.excluded_at.items()} if wait else {}


def _clock(case: Case) -> datetime:
    """Where ours is behind the order's, whoever waits until a time would come too early."""
    return max(case.now, case.asked_at or case.now)


def cool_down(
    active: Sequence[Version], case: Case, name: str = ""
) -> tuple[str, timedelta] | None:
    """
    The set's version and profile whose orders are sourced together, and how long one waits for
    others; None where it does not.
    """
    version = _version(active, case, name)
    order = case.order
    profile = version and version.rules.profile(order.channel, order.method, order.segment)
    if not version or not profile or profile.cool_down is None:
        return None
    return f"{version.label}/{profile.name}", profile.cool_down


def _version(active: Sequence[Version], case: Case, name: str) -> Version | None:
    named = next((version for version in active if version.rules.name == name), None)
    return named or choose(active, case.order, case.now)


def policy_of(active: Sequence[Version], case: Case) -> Policy:
    """What the rules say of a plan for the order, before there is one."""
    version = choose(active, case.order, case.now)
    return policy_by(evaluate(version, case) if version else None)


def decide_by(
    active: Sequence[Version],
    case: Case,
    build: Build,
    solve: Callable[[Problem], Decision],
    name: str = "",
) -> Decision:
    """
    The decision, with what the rules make of it. Where they say so the next set judges the whole
    order; that ends, for no set is come back to (`checks.check_graph`). A node may be asked again
    once one of these sets allows it.
    """
    again_at: datetime | None = None
    while True:
        posed = pose(active, case, build, name)
        decision = ruled(solve(posed.problem), posed.judged, case)
        if not _left_over(decision):
            return decision
        again_at = earliest(again_at, decision.again_at)
        waits = decision.outcome.allocate and decision.plan.assignments
        if decision.outcome.then != "next" or waits:
            return decision.model_copy(update={"again_at": again_at})
        name = decision.outcome.next


def ruled(decision: Decision, judged: Judged | None, case: Case) -> Decision:
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
    left = (
        {"outcome": outcome, "again_at": _again_at(decision, judged, case)}
        if _left_over(decision)
        else {}
    )
    release_at = _release_at(decision, judged, case)
    said_beside = {"review": judged.review, "release_at": release_at}
    return decision.model_copy(update={**left, **said_beside})


def _release_at(decision: Decision, judged: Judged, case: Case) -> dict[str, datetime]:
    """
    By node, when it is given its work, where that is not at once.

    Never so late that it would ship later than planned, which is from the node's next cut-off on;
    and an order waits once, so what comes back and is sourced anew goes out when it would have. A
    plan that was promised or that a person approves, and a pickup, do not wait: nothing could come
    of it.
    """
    kept = decision.promise is not None and decision.promise.kept
    wait = judged.release_after
    if wait is None or judged.review or kept or case.order.method is not DeliveryMethod.SHIP:
        return {}
    nodes = {node.code: node for node in case.snapshot.nodes}
    wanted = min(case.now + wait, case.release_at or case.now + wait)
    found = {}
    for code in (package.node for package in decision.plan.assignments):
        lead = timedelta(hours=nodes[code].lead_hours)
        cutoff = next_cutoff(nodes[code].calendar, case.now + lead) - lead
        found[code] = min(wanted, cutoff - ASKED_BEFORE)
    return {code: at for code, at in found.items() if at > case.now}


def _again_at(decision: Decision, judged: Judged, case: Case) -> datetime | None:
    """
    When the first of the nodes that gave its work back may be asked for what is left over; None
    where that is nothing that may still be sourced, for it was refused too often.
    """
    hard = [rule for rule in judged.policy.constraints if not rule.soft]
    left = {line.line_id for line in decision.plan.unsourced}
    demands = [d for d in decision.problem.demands if not left or d.line_id in left]
    if all(refused(hard, demand) for demand in demands):
        return None
    now = _clock(case)
    return earliest(*(end for end in _ends(judged, case).values() if end > now))


def _left_over(decision: Decision) -> bool:
    return bool(decision.plan.unsourced) or not decision.plan.assignments
