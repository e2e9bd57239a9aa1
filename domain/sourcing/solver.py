"""The one door to the solvers: the cheapest plan of a problem, proven, and why it is that one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, TypeVar

from domain.fulfillments import LineQuantity
from domain.money import Money
from domain.rates import shipping_minor
from domain.sourcing import kernel
from domain.sourcing.cpsat import Model
from domain.sourcing.goods import Bundle, Item, bundles_of, in_kits, items_of, no_whole_kit
from domain.sourcing.problem import (
    Assignment,
    Candidate,
    Certificate,
    CostParts,
    Decision,
    Plan,
    Problem,
)
from domain.sourcing.search import Answer, Load, Question, Search

NEAREST_EXPLAINED: Final = 1
EXPLAINED_ITEMS: Final = 16
Solver = Callable[[Question], Search]
_T = TypeVar("_T")


def solve(problem: Problem, decision_id: str, *, by: Solver | None = None) -> Decision:
    """
    Serve as many units as can be served, then at the least cost; with the reasons.

    The same problem gives the same bytes. `runner_up` is the cheapest plan that serves as many
    units from another set of nodes; None where there is none. Every node that the plan leaves out
    has its reason in `eliminated`. The kernel decides what it takes, CP-SAT the rest, or whoever
    `by` says. Blocks for milliseconds: call it in a thread.
    """
    question, eliminated = posed(problem)
    return _answered(question, by, lambda s: _decided(question, s, decision_id, eliminated))


def cheapest_plan(problem: Problem, *, by: Solver | None = None) -> Plan:
    """The plan that `solve` decides on, without its reasons: a dry run. Blocks as it does."""
    question, _ = posed(problem)
    return _answered(question, by, lambda s: _plan(question, _best(question, s).loads))


def best_with(problem: Problem, node: str, *, by: Solver | None = None) -> Plan | None:
    """
    The best plan that has a package from the node and serves as many units as any; None where there
    is none, or the node is out. Blocks as `solve` does.
    """
    question, eliminated = posed(problem)
    if node in eliminated:
        return None

    def forced(search: Search) -> Plan | None:
        answer = search.solve(forced=node)
        return _plan(question, answer.loads) if answer else None

    return _answered(question, by, forced)


def certified(decision: Decision, share: float) -> Decision:
    """
    The decision with what CP-SAT makes of the same problem, where it is one of this share (0 to 1)
    of those that the kernel made; which they are is in their ids.

    They agree where both serve as many units at the same cost; or where CP-SAT's limit of work left
    it with something worse.
    """
    drawn = int.from_bytes(sha256(decision.decision_id.encode()).digest()[:8]) / 2**64
    if decision.solver != kernel.Kernel.solver or drawn >= share:
        return decision
    question, _ = posed(decision.problem)
    model = Model(question)
    answer = _best(question, model)
    plan, ours = _plan(question, answer.loads), decision.plan
    worth, our_worth = (_left_over(plan), plan.cost.total), (_left_over(ours), ours.cost.total)
    certificate = Certificate(
        solver=model.solver,
        solver_versions=model.versions,
        agrees=worth == our_worth if answer.optimal else worth >= our_worth,
        proof="optimal" if answer.optimal else "feasible",
        unsourced=_left_over(plan),
        cost_minor=plan.cost.total,
    )
    return decision.model_copy(update={"certificate": certificate})


def _answered(question: Question, by: Solver | None, use: Callable[[Search], _T]) -> _T:
    if by is not None:
        return use(by(question))
    if search := kernel.search(question):
        try:
            return use(search)
        except kernel.TooMuchWork:
            pass
    return use(Model(question))


def _decided(
    question: Question, search: Search, decision_id: str, eliminated: Mapping[str, str]
) -> Decision:
    best = _best(question, search)
    used = {load.candidate.node for load in best.loads}
    second = search.solve(other_than=used) if used else None
    plan = _plan(question, best.loads)
    runner_up = _plan(question, second.loads) if second else None
    if runner_up and runner_up.cost.total < plan.cost.total:  # the first search ended unproven
        plan, runner_up = runner_up, plan
    proven = best.optimal and (second is None or second.optimal)
    work = best.work + (second.work if second else 0.0)
    out = {**eliminated, **_not_chosen(question, search, plan, runner_up)}
    return Decision(
        decision_id=decision_id,
        problem=question.problem,
        plan=plan,
        runner_up=runner_up,
        gap_minor=runner_up.cost.total - plan.cost.total if runner_up else None,
        eliminated=dict(sorted(out.items())),
        proof="optimal" if proven else "feasible",
        solver=search.solver,
        solver_versions=search.versions,
        statistics={
            "candidates": len(question.usable),
            "items": len(question.items),
            "work": round(work, 6),
        },
    )


def _best(question: Question, search: Search) -> Answer:
    best = search.solve()
    if best is None:
        raise RuntimeError(f"{question.problem.order_id}: a sourcing problem always has an answer")
    return best


def _left_over(plan: Plan) -> int:
    return sum(line.quantity for line in plan.unsourced)


def posed(problem: Problem) -> tuple[Question, dict[str, str]]:
    """What a solver is asked, and why each node that it is not asked about cannot serve."""
    items = items_of(problem.demands)
    bundles = bundles_of(problem.demands, items)
    usable, eliminated = _usable(problem, items, bundles)
    return Question(problem, items, bundles, usable), eliminated


def _usable(
    problem: Problem, items: Sequence[Item], bundles: Sequence[Bundle]
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """The nodes that can serve anything, and why each other one cannot."""
    wanted = {item.sku for item in items}
    whole = [b.kits for b in bundles]
    loose = {x.sku for i, x in enumerate(items) if x.quantity > in_kits(bundles, i, whole)}
    usable, eliminated = [], {}
    for candidate in problem.candidates:
        reason = candidate.eliminated
        if reason is None and not any(candidate.stock.get(sku, 0) > 0 for sku in wanted):
            reason = "no stock of any line"
        if reason is None and not any(candidate.stock.get(sku, 0) > 0 for sku in loose):
            reason = no_whole_kit(candidate, items, bundles)
        if reason is None and candidate.capacity_left is not None and candidate.capacity_left <= 0:
            reason = "no capacity left today"
        if reason is None and not candidate.options:
            reason = "no service reaches the destination"
        if reason is None:
            usable.append(candidate)
        else:
            eliminated[candidate.node] = reason
    return tuple(usable), eliminated


def _plan(question: Question, found: Sequence[Load]) -> Plan:
    """
    The loads as packages of order lines, in the alphabet's order of their nodes: whole kits, and
    then earlier lines are served first.
    """
    problem, items, bundles = question.problem, question.items, question.bundles
    loads = sorted(found, key=lambda load: load.candidate.node)
    kit_units = {d.line_id: d.kit.kits * d.kit.per_kit if d.kit else 0 for d in problem.demands}
    loose = {d.line_id: d.quantity - kit_units[d.line_id] for d in problem.demands}
    assignments = []
    left = {demand.line_id: demand.quantity for demand in problem.demands}
    for position, load in enumerate(loads):
        made = {b.line_id: kits for b, kits in zip(bundles, load.kits, strict=True)}
        lines = {d.line_id: made[d.kit.line_id] * d.kit.per_kit for d in problem.demands if d.kit}
        for index, (item, count) in enumerate(zip(items, load.units, strict=True)):
            due = count - in_kits(bundles, index, load.kits)
            for demand in problem.demands:
                if (demand.sku, demand.weight_g) == (item.sku, item.weight_g):
                    taken = min(due, loose[demand.line_id])
                    due -= taken
                    loose[demand.line_id] -= taken
                    lines[demand.line_id] = lines.get(demand.line_id, 0) + taken
        for line_id, units in lines.items():
            left[line_id] -= units
        assignments.append(
            Assignment(
                node=load.candidate.node,
                service=load.option.service,
                carrier=load.option.carrier,
                lines=_quantities(problem, lines),
                ship_by=load.option.ship_by,
                deliver_by=load.option.deliver_by,
                cost=_cost(problem, items, load, split=position > 0),
            )
        )
    total = CostParts()
    for assignment in assignments:
        total = total.plus(assignment.cost)
    return Plan(assignments=tuple(assignments), unsourced=_quantities(problem, left), cost=total)


def _quantities(problem: Problem, units: Mapping[str, int]) -> tuple[LineQuantity, ...]:
    return tuple(
        LineQuantity(line_id=demand.line_id, quantity=units[demand.line_id])
        for demand in problem.demands
        if units.get(demand.line_id, 0) > 0
    )


def _cost(problem: Problem, items: Sequence[Item], load: Load, *, split: bool) -> CostParts:
    candidate, option = load.candidate, load.option
    weight = sum(item.weight_g * count for item, count in zip(items, load.units, strict=True))
    return CostParts(
        shipping=shipping_minor(option.base_minor, option.per_lb_minor, weight),
        handling=candidate.order_cost_minor + candidate.unit_cost_minor * sum(load.units),
        split=problem.split_fee_minor if split else 0,
        late=option.days_late * problem.late_day_minor,
    )


def _not_chosen(
    question: Question, search: Search, plan: Plan, runner_up: Plan | None
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
        alone = None if plan.unsourced else _alone(question, candidate)
        if alone is not None:
            reasons[candidate.node] = _more(question, alone - plan.cost.total, "alone it costs")
        elif runner_up and candidate.node in second:
            gap = runner_up.cost.total - plan.cost.total
            reasons[candidate.node] = _more(question, gap, "the best plan with it costs")
        else:
            rest.append(candidate)
    rest.sort(key=lambda candidate: (candidate.miles, candidate.node))
    sought = rest[:NEAREST_EXPLAINED] if len(question.items) <= EXPLAINED_ITEMS else []
    for candidate in sought:
        answer = search.solve(forced=candidate.node)
        if answer is None:
            reasons[candidate.node] = "no plan that serves as many units can use it"
            continue
        found = _plan(question, answer.loads)
        gap = found.cost.total - plan.cost.total
        reasons[candidate.node] = _more(question, gap, "the best plan with it costs")
    for candidate in rest[len(sought) :]:
        reasons[candidate.node] = "has a part of the goods; not in the optimal plan"
    return reasons


def _alone(question: Question, candidate: Candidate) -> int | None:
    """What the whole order costs from this node only; None where it cannot serve all of it."""
    wanted: dict[str, int] = {}
    for item in question.items:
        wanted[item.sku] = wanted.get(item.sku, 0) + item.quantity
    if any(candidate.stock.get(sku, 0) < quantity for sku, quantity in wanted.items()):
        return None
    units = tuple(item.quantity for item in question.items)
    loads = (Load(candidate, option, units) for option in candidate.options)
    return min(_cost(question.problem, question.items, load, split=False).total for load in loads)


def _more(question: Question, gap: int, what: str) -> str:
    if gap < 0:
        return "no plan with it was proven better within the limit of work"
    if gap == 0:
        return f"{what} the same; the plan is one of equals"
    return f"{what} {Money(minor=gap, currency=question.problem.currency)} more"
