"""Has a share of the kernel's decisions solved again by OR-Tools."""

from __future__ import annotations

from hashlib import sha256

from domain.sourcing.cpsat import Model
from domain.sourcing.kernel import Kernel
from domain.sourcing.planning import planned
from domain.sourcing.posing import posed
from domain.sourcing.problem import Certificate, Decision
from domain.sourcing.solver import best, passes


def certified(decision: Decision, share: float) -> Decision:
    """
    The decision with what CP-SAT makes of the same problem, where it is one of this share (0 to 1)
    of those that the kernel made; which they are is in their ids.

    They agree where their plans are worth the same; or where CP-SAT's limit of work left it with
    something worse. Where soft rules were dropped, each of the two passes is solved again.
    """
    drawn = int.from_bytes(sha256(decision.decision_id.encode()).digest()[:8]) / 2**64
    if decision.solver != Kernel.solver or drawn >= share:
        return decision
    *first, _ = ours = (*passes(decision.problem)[:-1], decision.plan)
    agrees, optimal = True, True
    for before, our in zip((None, *first), ours, strict=True):
        question, _ = posed(decision.problem, before)
        model = Model(question)
        answer = best(question, model)
        plan = planned(question, answer.loads, before)
        optimal = optimal and answer.optimal
        same = plan.worth == our.worth if answer.optimal else plan.worth >= our.worth
        agrees = agrees and same
    certificate = Certificate(
        solver=model.solver,
        solver_versions=model.versions,
        agrees=agrees,
        proof="optimal" if optimal else "feasible",
        unsourced=plan.worth[0],
        cost_minor=plan.cost.total,
    )
    return decision.model_copy(update={"certificate": certificate})
