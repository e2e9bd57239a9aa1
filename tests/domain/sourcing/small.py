"""Problems of a few nodes and lines, written down by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.sourcing.policy import Constraint, Policy, Weights
from domain.sourcing.problem import Candidate, Demand, Plan, Problem, ServiceOption
from tests.domain.sourcing.brute import NOON

GROUND = ServiceOption(
    service="ground",
    carrier="x",
    zone=1,
    base_minor=500,
    per_lb_minor=0,
    ship_by=NOON,
    deliver_by=NOON,
)


def node(name: str, base: int = 500, miles: int = 100, **given: Any) -> Candidate:
    """One service at one price; what it has is in `stock`."""
    return Candidate(
        **{
            "node": name,
            "kind": "dc",
            "miles": miles,
            "stock": {"A": 9, "B": 9},
            "capacity_left": None,
            "order_cost_minor": 0,
            "unit_cost_minor": 0,
            "options": (GROUND.model_copy(update={"base_minor": base}),),
            **given,
        }
    )


def problem(
    *nodes: Candidate,
    asks: Mapping[str, int] | None = None,
    rules: tuple[Constraint, ...] = (),
    weights: Weights | None = None,
    **of_lines: Any,
) -> Problem:
    """A line for each SKU that is asked for, of that name."""
    return Problem(
        order_id="o",
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=None,
        demands=tuple(
            Demand(**{"line_id": sku, "sku": sku, "quantity": n, "weight_g": 100, **of_lines})
            for sku, n in (asks or {"A": 1}).items()
        ),
        candidates=nodes,
        policy=Policy(weights=weights or Weights(), constraints=rules),
    )


def sent(plan: Plan) -> dict[str, dict[str, int]]:
    """By node what of each line it sends."""
    return {a.node: {line.line_id: line.quantity for line in a.lines} for a in plan.assignments}


def left(plan: Plan) -> dict[str, int]:
    return {line.line_id: line.quantity for line in plan.unsourced}
