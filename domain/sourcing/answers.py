"""
The questions that people ask of a decision, answered from its record alone.

What a counterfactual says (another service, one node only) is another solve, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from domain.sourcing.allowance import Spent, allowed
from domain.sourcing.build import PICKUP
from domain.sourcing.comparing import SAID, against, by_services, compared
from domain.sourcing.explain import services
from domain.sourcing.policy import Kind
from domain.sourcing.problem import Assignment, Candidate, Decision, Plan, Problem, ServiceOption
from domain.sourcing.record import Record
from domain.sourcing.solver import best_with, cheapest_plan
from domain.sourcing.words import count, joined, moment, money, reworded
from domain.values import Value

MOST_WORK: Final = 10.0  # of all answers, in CP-SAT's deterministic time: about as many seconds
MOST_TRIED: Final = 3  # nodes that are nearer
MOST_TRIED_SERVICES: Final = 8  # over all packages

Question = Literal[
    "why_split",
    "why_farther",
    "what_cost",
    "what_stock",
    "when_delivered",
    "why_service",
    "why_not_shipped",
    "which_nodes",
    "which_rules",
]
# Rules by which an order that cannot leave whole may not leave at all.
OF_WHAT_STAYS: Final[frozenset[Kind]] = frozenset(
    {"ship_complete_lines", "ship_complete_order", "value_floor"}
)
ASKED: Final[Mapping[Question, str]] = {
    "why_split": "Why does it come in so many packages?",
    "why_farther": "Why not from a node that is nearer?",
    "what_cost": "What does it cost, and what of it is what?",
    "what_stock": "What was in stock when it was decided?",
    "when_delivered": "When does it arrive, and why then?",
    "why_service": "Why by this service?",
    "why_not_shipped": "Why is something not shipped?",
    "which_nodes": "Which nodes were looked at, and why is each one out?",
    "which_rules": "Which rules and limits decided, and who says that it is the best?",
}


class Answer(Value):
    """`text` is for people; `facts` are the same for programs, by the question's own names."""

    question: Question
    asked: str
    text: str
    facts: dict[str, Any] = {}


def answers(record: Record) -> tuple[Answer, ...]:
    """
    All nine, always in this order. Blocks for a handful of solves; what takes more work than is
    allowed is said to, instead of its answer.
    """
    with allowed(MOST_WORK):
        told = {
            "why_split": _within(lambda: _split(record)),
            "why_farther": _within(lambda: _farther(record)),
            "what_cost": _cost(record.decision),
            "what_stock": _stock(record.decision),
            "when_delivered": _delivered(record.decision),
            "why_service": _within(lambda: _service(record)),
            "why_not_shipped": _not_shipped(record.decision),
            "which_nodes": _nodes(record),
            "which_rules": _rules(record.decision),
        }
    return tuple(
        Answer(question=question, asked=asked, text=told[question][0], facts=told[question][1])
        for question, asked in ASKED.items()
    )


_Told = tuple[str, dict[str, Any]]


def _within(answer: Callable[[], _Told]) -> _Told:
    try:
        return answer()
    except Spent:
        return "What else there was takes more work to find than an answer may take.", {}


def _split(record: Record) -> _Told:
    """Against the best plan of one package."""
    decision = record.decision
    problem, plan = decision.problem, decision.plan
    used = [a.node for a in plan.assignments]
    facts: dict[str, Any] = {"packages": len(used), "nodes": used}
    if len(used) < 2:  # noqa: PLR2004 - one package is no split
        return ("It comes in one package." if used else "Nothing of it ships."), facts
    one = cheapest_plan(problem.model_copy(update={"max_nodes": 1}))
    split = f"It comes in {len(used)} packages, from {joined(used)}."
    if _left(one) > _left(plan):
        most = _units(problem) - _left(cheapest_plan(_in_parts(problem, max_nodes=1)))
        facts["most_units_of_one_node"] = most
        told = f"No one node could send it all: the most from one was {most} of {_units(problem)}."
        return f"{split} {told}", facts
    gap = one.cost.total - plan.cost.total
    whole = one.assignments[0].node
    facts |= {"one_node": whole, "one_node_cost_minor": one.cost.total, "gap_minor": gap}
    if gap <= 0 and decision.promise and decision.promise.kept:
        return f"{split} {whole} alone would have cost no more; as it was promised.", facts
    goes = by_services(record, one.assignments)
    return f"{split} From {whole} alone{goes} it {against(decision, one)}.", facts


def _in_parts(problem: Problem, max_nodes: int) -> Problem:
    """From so many nodes, whatever stays behind."""
    rules = tuple(r for r in problem.policy.constraints if r.kind not in OF_WHAT_STAYS)
    policy = problem.policy.model_copy(update={"constraints": rules})
    return problem.model_copy(update={"max_nodes": max_nodes, "policy": policy})


def _farther(record: Record) -> _Told:
    """The nearest node that is nearer than the farthest of the plan, and what is against it."""
    decision = record.decision
    problem, plan = decision.problem, decision.plan
    miles = {c.node: c.miles for c in problem.candidates}
    used = {a.node for a in plan.assignments}
    most = max((miles.get(node, 0) for node in used), default=0)
    nearer = sorted(
        (c for c in problem.candidates if c.node not in used and 0 <= c.miles < most),
        key=lambda c: (c.miles, c.node),
    )
    facts: dict[str, Any] = {
        "farthest_miles": most,
        "nearer": [
            {"node": c.node, "miles": c.miles, "reason": _reason(decision, c)} for c in nearer
        ],
    }
    if not used:
        return "Nothing of it ships.", facts
    if any(miles.get(node, 0) < 0 for node in used):
        return "How far the nodes are is not known: the address is abroad.", facts
    if not nearer:
        return "No node is nearer.", facts
    tried = ((c, best_with(problem, c.node)) for c in nearer[:MOST_TRIED])
    able, other = next(((c, found) for c, found in tried if found), (None, None))
    told = (
        f"{count(len(nearer), 'node is', 'nodes are')} nearer than {count(most, 'mile', 'miles')}."
    )
    if able is None or other is None:
        near = nearer[0]
        return f"{told} The nearest, {near.node}, is out: {_said(decision, near)}.", facts
    gap = other.cost.total - plan.cost.total
    facts["best_nearer"] = {"node": able.node, "miles": able.miles, "gap_minor": gap}
    goes = by_services(record, (a for a in other.assignments if a.node == able.node))
    package = f"A package from {able.node} ({count(able.miles, 'mile', 'miles')}){goes}"
    return f"{told} {package} {against(decision, other)}.", facts


def _cost(decision: Decision) -> _Told:
    problem, plan = decision.problem, decision.plan
    parts = {name: minor for name, minor in plan.cost.model_dump().items() if minor}
    facts = {
        "currency": problem.currency,
        "cost_minor": plan.cost.total,
        "parts": plan.cost.model_dump(),
        "packages": [
            {"node": a.node, "service": a.service, "cost_minor": a.cost.total}
            for a in plan.assignments
        ],
    }
    if not plan.assignments:
        return "Nothing of it ships.", facts
    said = joined(
        f"{money(minor, problem.currency)} for {SAID.get(name, name)}"
        for name, minor in parts.items()
    )
    return f"{money(plan.cost.total, problem.currency)}{f': {said}' if said else ''}.", facts


def _stock(decision: Decision) -> _Told:
    problem = decision.problem
    wanted: dict[str, int] = {}
    for demand in problem.demands:
        wanted[demand.sku] = wanted.get(demand.sku, 0) + demand.quantity
    facts = {
        "as_of": problem.as_of,
        "wanted": wanted,
        "free": {c.node: c.stock for c in problem.candidates if c.stock},
        "capacity_left": {
            c.node: c.capacity_left for c in problem.candidates if c.capacity_left is not None
        },
        "units_left": {
            c.node: c.units_left for c in problem.candidates if c.units_left is not None
        },
    }
    said = [
        f"{sku}, {n} wanted: "
        + (
            joined(f"{c.stock[sku]} at {c.node}" for c in problem.candidates if c.stock.get(sku))
            or "nowhere"
        )
        for sku, n in wanted.items()
    ]
    return f"Free at {moment(problem.as_of)}: {'; '.join(said)}.", facts


def _delivered(decision: Decision) -> _Told:
    problem, plan = decision.problem, decision.plan
    packages = [
        {
            "node": a.node,
            "service": a.service,
            "ship_by": a.ship_by,
            "deliver_by": a.deliver_by,
            "days_late": next((o.days_late for o in _options(problem, a)), 0),
        }
        for a in plan.assignments
    ]
    last = max((a.deliver_by for a in plan.assignments), default=None)
    late = bool(last and problem.promise_by and last > problem.promise_by)
    facts = {
        "promise_by": problem.promise_by,
        "deliver_by": last,
        "late": late,
        "packages": packages,
    }
    if last is None:
        return "Nothing of it ships.", facts
    said = "; ".join(map(_goes, plan.assignments))
    due = ""
    if problem.promise_by:
        too_late = ": that is too late" if late else ""
        due = f" It was promised by {moment(problem.promise_by)}{too_late}."
    return f"By {moment(last)}: {said}.{due}", facts


def _goes(package: Assignment) -> str:
    if package.service == PICKUP:
        return f"it can be collected at {package.node} then"
    return (
        f"{package.node} hands it to {package.carrier or package.service}"
        f" by {moment(package.ship_by)}, and by {package.service} it is there"
        f" by {moment(package.deliver_by)}"
    )


def _service(record: Record) -> _Told:
    """Each package against the other services of its node: the plan is solved with each."""
    decision = record.decision
    problem, said, facts, tried = decision.problem, [], [], 0
    for package in decision.plan.assignments:
        others: dict[str, dict[str, int]] = {}
        told: list[str] = []
        for option in services(record, package.node):
            if option.service == package.service or tried == MOST_TRIED_SERVICES:
                continue
            tried += 1
            plan = best_with(_only_by(problem, package.node, option), package.node)
            if plan is not None and _left(plan) <= _left(decision.plan):
                gap = plan.cost.total - decision.plan.cost.total
                others[option.service] = {"gap_minor": gap, "days_late": option.days_late}
                costs, but = compared(decision, plan)
                late = (
                    f", {count(option.days_late, 'day', 'days')} late" if option.days_late else ""
                )
                told.append(f"{option.service} {costs}{late}{but}")
        facts.append({"node": package.node, "service": package.service, "others": others})
        if package.service == PICKUP:
            said.append(f"The customer collects it at {package.node}")
            continue
        if others or tried < MOST_TRIED_SERVICES:
            ways = "; ".join(told) or "no other service could bring it"
            said.append(f"{package.service} from {package.node}: {ways}")
    return f"{'. '.join(said) or 'Nothing of it ships'}.", {"packages": facts}


def _not_shipped(decision: Decision) -> _Told:
    problem, plan = decision.problem, decision.plan
    if not plan.unsourced:
        return "All that was asked for is in the plan.", {"unsourced": []}
    sku = {demand.line_id: demand.sku for demand in problem.demands}
    facts, said = [], []
    for line in plan.unsourced:
        name = sku[line.line_id]
        there = {c.node: c for c in problem.candidates if c.stock.get(name)}
        facts.append(
            {
                "line_id": line.line_id,
                "sku": name,
                "quantity": line.quantity,
                "stocked": {
                    n: {"free": c.stock[name], "reason": _reason(decision, c)}
                    for n, c in there.items()
                },
            }
        )
        barred = joined(
            f"{n} has {c.stock[name]} ({_said(decision, c) or 'in the plan'})"
            for n, c in there.items()
        )
        said.append(f"{line.quantity} of {name}: {barred or 'no node has any'}")
    return f"Nobody can serve {'; '.join(said)}.", {"unsourced": facts}


def _nodes(record: Record) -> _Told:
    decision = record.decision
    problem, second = decision.problem, decision.runner_up
    facts: dict[str, Any] = {
        "candidates": len(problem.candidates),
        "chosen": [a.node for a in decision.plan.assignments],
        "left_out": decision.eliminated,
        "runner_up": None,
    }
    told = f"{count(len(problem.candidates), 'node was', 'nodes were')} looked at."
    if second is not None:
        names = list(dict.fromkeys(a.node for a in second.assignments))
        facts["runner_up"] = {
            "nodes": names,
            "cost_minor": second.cost.total,
            "gap_minor": decision.gap_minor,
        }
        goes = by_services(record, second.assignments)
        told += f" The next best, {joined(names)}{goes}, {against(decision, second)}."
    by_reason: dict[str, list[str]] = {}
    for node, reason in decision.eliminated.items():
        by_reason.setdefault(reason, []).append(node)
    out = ". ".join(
        f"{', '.join(nodes)}: {reworded(reason).replace(';', ',')}"
        for reason, nodes in by_reason.items()
    )
    return f"{told}{f' Left out: {out}.' if out else ''}", facts


def _rules(decision: Decision) -> _Told:
    """Every limit of the problem, whatever it is; what was relaxed; the proof."""
    problem, promise = decision.problem, decision.promise
    limits = problem.model_dump(
        mode="json", exclude={"order_id", "round", "as_of", "demands", "candidates"}
    )
    facts = {
        "limits": limits,
        "relaxed": decision.relaxed,
        "proof": decision.proof,
        "solver": decision.solver,
        "solver_versions": decision.solver_versions,
        "promise": promise.model_dump() if promise else None,
        "certificate": decision.certificate.model_dump() if decision.certificate else None,
    }
    policy = problem.policy
    names = dict.fromkeys(rule.name for rule in policy.constraints)
    rules = f" with {joined(names)}" if names else ""
    told = f"Rules {policy.rules or 'built in'}, objective {policy.profile}{rules}."
    if problem.max_nodes is not None:
        told += f" At most {count(problem.max_nodes, 'node', 'nodes')}."
    if decision.relaxed:
        as_promised = promise is not None and promise.kept
        why = "" if as_promised else ", so that more could be served"
        told += f" Not kept{why}: {joined(decision.relaxed)}."
    if promise is not None:
        told += (
            " As it was promised."
            if promise.kept
            else f" The promise was not kept: {promise.reason}."
        )
    if promise is None or not promise.kept:
        proven = decision.proof == "optimal"
        best = "No plan is better: that is proven" if proven else "The best plan that was found"
        told += f" {best} (by {decision.solver})."
    return told, facts


def _only_by(problem: Problem, node: str, option: ServiceOption) -> Problem:
    candidates = tuple(
        c.model_copy(update={"options": (option,)}) if c.node == node else c
        for c in problem.candidates
    )
    return problem.model_copy(update={"candidates": candidates})


def _options(problem: Problem, package: Assignment) -> list[ServiceOption]:
    """What the problem knows of the package's service."""
    options = next((c.options for c in problem.candidates if c.node == package.node), ())
    return [option for option in options if option.service == package.service]


def _reason(decision: Decision, candidate: Candidate) -> str:
    return decision.eliminated.get(candidate.node, candidate.eliminated or "")


def _said(decision: Decision, candidate: Candidate) -> str:
    return reworded(_reason(decision, candidate))


def _left(plan: Plan) -> int:
    return sum(line.quantity for line in plan.unsourced)


def _units(problem: Problem) -> int:
    return sum(demand.quantity for demand in problem.demands)
