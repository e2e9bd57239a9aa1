"""Decides, and decides again from the record alone: the same bytes, or what differs and why."""

from __future__ import annotations

from typing import Final

from domain.promises import keep, kept, units_by_sku
from domain.sourcing.kept import broken
from domain.sourcing.problem import Decision, Problem, Promised
from domain.sourcing.record import Quoted, Record, canonical
from domain.sourcing.solver import solve
from domain.values import Value

# What a decision says is compared but for what was checked beside it, the versions themselves, and
# what rules made of its plan.
_BESIDE: Final = frozenset(
    {
        "problem",
        "certificate",
        "solver_versions",
        "outcome",
        "review",
        "release_at",
        "again_at",
        "batch",
    }
)


class Difference(Value):
    """
    What came out otherwise: the names of the `parts` that differ (none: it is the same, by other
    versions), and the versions that are not what they were ("was → is").
    """

    decision_id: str
    parts: tuple[str, ...]
    versions: dict[str, str] = {}


def decide(problem: Problem, decision_id: str, quoted: Quoted | None = None) -> Decision:
    """
    As it was promised, while all of it is still to be sourced and the plan can be kept; else anew.

    A share that a node gave back is no longer what was promised: it is decided without a word. Of
    a promise that is kept the rules that it breaks are named, hard ones of since then too.
    """
    if quoted is None or units_by_sku(problem.demands) != quoted.promise.units:
        return solve(problem, decision_id)
    plan = keep(quoted.promise, problem, quoted.came)
    if not isinstance(plan, str):
        decision = kept(quoted.promise, problem, plan, decision_id)
        return decision.model_copy(update={"relaxed": broken(problem, plan)})
    not_kept = Promised(token=quoted.promise.token, kept=False, reason=plan)
    return solve(problem, decision_id).model_copy(update={"promise": not_kept})


def replay(record: Record) -> Difference | None:
    """What comes out otherwise when it is decided again; None where it is the same to the byte."""
    found = again(record)
    return found if found.parts else None


def again(record: Record) -> Difference:
    """As `replay`, with the versions that are others also where it is the same."""
    was = record.decision
    now = decide(was.problem, was.decision_id, record.quoted)
    old, new = was.solver_versions, now.solver_versions
    return Difference(
        decision_id=was.decision_id,
        parts=tuple(name for name in _parts(was) if _said(was, name) != _said(now, name)),
        versions={
            name: f"{old.get(name, 'none')} → {new.get(name, 'none')}"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        },
    )


def _parts(decision: Decision) -> list[str]:
    return [name for name in type(decision).model_fields if name not in _BESIDE]


def _said(decision: Decision, name: str) -> bytes:
    return canonical(decision.model_dump(mode="json", include={name})[name])
