"""The one door to the solvers: the cheapest plan of a problem, proven, and why it is that one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from domain.sourcing import kernel
from domain.sourcing.allowance import Spent, bounded
from domain.sourcing.cpsat import Model
from domain.sourcing.hasty import Hasty
from domain.sourcing.kept import broken
from domain.sourcing.planning import planned
from domain.sourcing.posing import posed
from domain.sourcing.problem import SOURCING_VERSION, Bound, Decision, Plan, Problem
from domain.sourcing.reasons import not_chosen
from domain.sourcing.search import Answer, Question, Search

NOTHING: Final = Plan(assignments=())
Solver = Callable[[Question], Search]
T = TypeVar("T")


def solve(problem: Problem, decision_id: str, *, by: Solver | None = None) -> Decision:
    """
    Serve as many units as can be served, then count the least; with the reasons.

    All rules hold at first. Where units find no node then, the soft ones are dropped for these
    units only: the others stay where they are, and goods may join their packages. The same problem
    gives the same bytes. `runner_up` is the best plan that serves as many units from another set of
    nodes; None where there is none. Every node that the plan leaves out has its reason in
    `eliminated`. The kernel decides what it takes, CP-SAT the rest, or whoever `by` says. Blocks
    for milliseconds: call it in a thread. As a part of the work of a request (`Work`) it takes no
    more than there is, and may then know of no `runner_up` where there is one.
    """
    question, eliminated = posed(problem)
    decision = answered(question, by, lambda s: _decided(question, s, decision_id, eliminated))
    if not _once_more(decision.plan, problem):
        return decision
    # Where the work of a request is counted, the same is not solved twice.
    before = decision.plan if bounded() else _first(question, by)
    second, out = posed(problem, before)
    found = answered(second, by, lambda s: _decided(second, s, decision_id, out, before))
    if found.plan.assignments == before.assignments:
        return decision
    proven = decision.proof == found.proof == "optimal"
    return found.model_copy(update={"proof": "optimal" if proven else "feasible"})


def cheapest_plan(problem: Problem, *, by: Solver | None = None) -> Plan:
    """The plan that `solve` decides on, without its reasons: a dry run. Blocks as it does."""
    return passes(problem, by=by)[-1]


def passes(problem: Problem, *, by: Solver | None = None) -> tuple[Plan, ...]:
    """The plan after every pass, of one or two; the last one is the decision's."""
    question, _ = posed(problem)
    before = _first(question, by)
    if not _once_more(before, problem):
        return (before,)
    second, _ = posed(problem, before)
    plan = answered(second, by, lambda s: planned(second, best(second, s).loads, before))
    return before, plan


def best_with(problem: Problem, node: str, *, by: Solver | None = None) -> Plan | None:
    """As `passes_with`, the plan after the last pass."""
    plans = passes_with(problem, node, by=by)
    return plans[-1] if plans else None


def passes_with(
    problem: Problem, node: str, *, by: Solver | None = None
) -> tuple[Plan, ...] | None:
    """
    As `passes`, with a package from the node: in the first pass in which one serves as many units
    as any. None where there is no such one, or the node is out. Blocks as `solve` does.
    """
    question, eliminated = posed(problem)
    first = None if node in eliminated else _with(question, node, by)
    if first is not None:
        if not _once_more(first, problem):
            return (first,)
        second, _ = posed(problem, first)
        return first, answered(second, by, lambda s: planned(second, best(second, s).loads, first))
    before = _first(question, by)
    if not _once_more(before, problem):
        return None
    second, out = posed(problem, before)
    plan = None if node in out else _with(second, node, by, before)
    return (before, plan) if plan else None


def _with(question: Question, node: str, by: Solver | None, before: Plan = NOTHING) -> Plan | None:
    def forced(search: Search) -> Plan | None:
        answer = search.solve(forced=node)
        return planned(question, answer.loads, before) if answer else None

    return answered(question, by, forced)


def _first(question: Question, by: Solver | None) -> Plan:
    """The plan of the first pass; the same for whoever asks, with reasons or without."""
    return answered(question, by, lambda s: planned(question, best(question, s).loads))


def _once_more(plan: Plan, problem: Problem) -> bool:
    """Whether there is a second pass: units found no node, and there are soft rules to drop."""
    return bool(plan.unsourced) and any(rule.soft for rule in problem.policy.constraints)


def answered(question: Question, by: Solver | None, use: Callable[[Search], T]) -> T:
    """What `use` makes of a solver: the kernel where it takes the question, else CP-SAT."""
    if by is not None:
        return use(by(question))
    work = bounded()
    if work and not work.must:
        work.next()
    if search := kernel.search(question):
        try:
            return use(search)
        except kernel.Beyond:
            pass
    return use(Hasty(question) if work and work.must else Model(question))


def best(question: Question, search: Search) -> Answer:
    found = search.solve()
    if found is None:
        raise RuntimeError(f"{question.problem.order_id}: a sourcing problem always has an answer")
    return found


def _decided(
    question: Question,
    search: Search,
    decision_id: str,
    eliminated: Mapping[str, str],
    before: Plan = NOTHING,
) -> Decision:
    first = best(question, search)
    used = {load.candidate.node for load in first.loads}
    second, sought = _second(search, used)
    plan = planned(question, first.loads, before)
    runner_up = planned(question, second.loads, before) if second else None
    if runner_up and runner_up.worth < plan.worth:  # the first search ended unproven
        plan, runner_up = runner_up, plan
    proven = first.optimal and sought and (second is None or second.optimal)
    work = first.work + (second.work if second else 0.0)
    reasons = {**eliminated, **not_chosen(question, search, plan, runner_up, before)}
    used = {assignment.node for assignment in plan.assignments}
    return Decision(
        decision_id=decision_id,
        problem=question.problem,
        plan=plan,
        runner_up=runner_up,
        gap_minor=runner_up.cost.total - plan.cost.total if runner_up else None,
        eliminated={node: why for node, why in sorted(reasons.items()) if node not in used},
        relaxed=broken(question.problem, plan) if before is not NOTHING else (),
        proof="optimal" if proven else "feasible",
        bound=_bound(question, first, before),
        solver=search.solver,
        solver_versions={"sourcing": SOURCING_VERSION, **search.versions},
        statistics={
            "candidates": len(question.usable),
            "items": len(question.items),
            "work": round(work, 6),
        },
    )


def _second(search: Search, used: Collection[str]) -> tuple[Answer | None, bool]:
    """The best answer from other nodes; and whether there was work left to look for it."""
    try:
        return (search.solve(other_than=used) if used else None), True
    except Spent:
        return None, False


def _bound(question: Question, answer: Answer, before: Plan) -> Bound | None:
    """What is proven of the plan's objective, where not the optimum is."""
    if answer.bound is None:
        return None
    left, points = answer.bound
    spared = 0 if before.assignments else question.weighing.first_split
    objective = (points - spared) * question.weighing.unit + before.objective
    return Bound(unsourced=left, objective=objective)
