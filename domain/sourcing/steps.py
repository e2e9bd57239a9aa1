"""What could be otherwise about a node or about rules, and the problem as it would be then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from domain.sourcing.policy import Constraint
from domain.sourcing.policy import Kind as RuleKind
from domain.sourcing.problem import Candidate, Problem, ServiceOption
from domain.sourcing.weighing import THOUSANDTHS
from domain.values import Value

Kind = Literal["anew", "open", "reach", "carry", "capacity", "stock", "limit", "rule", "cost"]
NODE_BY_NODE: Final[frozenset[RuleKind]] = frozenset(
    {"exclude", "max_distance", "max_orders", "min_stock", "offline"}
)


class Step(Value):
    """
    One thing that would have to be otherwise about the node, or about the rules.

    `text` may be empty where another step says it.

    `anew`: a plan that was promised is not kept but sought again. `open`: what bars it is lifted;
    with the services it would then have, where they are known. `reach`: a service that goes there,
    at what it costs from the farthest node that has one. `carry`: its services carry anything.
    `capacity`: room for one more. `stock`: so many `units` more, by SKU. `limit`: that on the
    number of nodes goes. `rule`: the rule of that name does not hold, for the node alone where it
    speaks of nodes one by one. `cost`: a package of its own costs, or counts, `minor` less.
    """

    kind: Kind
    text: str
    units: dict[str, int] = {}
    minor: int = 0
    rule: str = ""
    options: tuple[ServiceOption, ...] = ()


def applied(problem: Problem, node: str, steps: Iterable[Step]) -> Problem:
    """The problem as it would be with these changes."""
    for step in steps:
        problem = _APPLY[step.kind](problem, node, step)
    return problem


def of(problem: Problem, node: str) -> Candidate:
    """Raises KeyError."""
    found = next((c for c in problem.candidates if c.node == node), None)
    if found is None:
        raise KeyError(node)
    return found


def lever(problem: Problem) -> tuple[str, int]:
    """
    Which part of a package's cost counts, and how much a minor unit of it does: where no money of
    its own does, that it is preferred.
    """
    weights = problem.policy.weights
    for part in ("handling", "shipping", "labour"):
        if weight := getattr(weights, part):
            return part, weight * THOUSANDTHS // 100
    return "preference", THOUSANDTHS


def _changed(problem: Problem, node: str, **changes: Any) -> Problem:
    candidates = tuple(
        c.model_copy(update=changes) if c.node == node else c for c in problem.candidates
    )
    return problem.model_copy(update={"candidates": candidates})


def _opened(problem: Problem, node: str, step: Step) -> Problem:
    options = {"options": step.options} if step.options else {}
    return _changed(problem, node, eliminated=None, **options)


def _stocked(problem: Problem, node: str, step: Step) -> Problem:
    stock = of(problem, node).stock
    more = {sku: stock.get(sku, 0) + units for sku, units in step.units.items()}
    return _changed(problem, node, stock=stock | more)


def _carrying(problem: Problem, node: str, _: Step) -> Problem:
    options = of(problem, node).options
    anything = tuple(option.model_copy(update={"offers": None}) for option in options)
    return _changed(problem, node, options=anything)


def _cut(problem: Problem, node: str, step: Step) -> Problem:
    candidate, (part, _) = of(problem, node), lever(problem)
    if part == "handling":
        cost = candidate.order_cost_minor - step.minor
        return _changed(problem, node, order_cost_minor=cost)
    if part == "labour":
        return _changed(problem, node, labour_minor=candidate.labour_minor - step.minor)
    if part == "preference":
        return _preferred(problem, node, step.minor)
    options = tuple(
        option.model_copy(update={"base_minor": option.base_minor - step.minor})
        for option in candidate.options
    )
    return _changed(problem, node, options=options)


def _preferred(problem: Problem, node: str, minor: int) -> Problem:
    """A package from the node counts so much less: as if the others were preferred by less."""
    others = tuple(c.node for c in problem.candidates if c.node != node)
    less = Constraint.model_construct(
        name="", kind="preferred_node", hard=True, value=-minor, nodes=others
    )
    constraints = (*problem.policy.constraints, less)
    policy = problem.policy.model_copy(update={"constraints": constraints})
    return problem.model_copy(update={"policy": policy})


def _unruled(problem: Problem, node: str, step: Step) -> Problem:
    kept = []
    for rule in problem.policy.constraints:
        if rule.name != step.rule:
            kept.append(rule)
        elif rule.kind in NODE_BY_NODE:
            named = rule.nodes if rule.nodes is not None else [c.node for c in problem.candidates]
            others = tuple(other for other in named if other != node)
            kept.append(rule.model_copy(update={"nodes": others}))
    policy = problem.policy.model_copy(update={"constraints": tuple(kept)})
    return problem.model_copy(update={"policy": policy})


_APPLY: Final[dict[Kind, Callable[[Problem, str, Step], Problem]]] = {
    "anew": lambda problem, *_: problem,
    "open": _opened,
    "reach": lambda problem, node, step: _changed(problem, node, options=step.options),
    "carry": _carrying,
    "capacity": lambda problem, node, _: _changed(
        problem, node, capacity_left=None, units_left=None
    ),
    "stock": _stocked,
    "limit": lambda problem, *_: problem.model_copy(update={"max_nodes": None}),
    "rule": _unruled,
    "cost": _cut,
}
