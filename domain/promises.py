"""A quoted plan that an order may claim within its time, and whether it can still be kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from domain.fulfillments import LineQuantity
from domain.geography import US
from domain.orders import Address, DeliveryMethod, Units
from domain.sourcing.problem import (
    SOURCING_VERSION,
    Assignment,
    Candidate,
    CostParts,
    Decision,
    Demand,
    Measures,
    Plan,
    Problem,
    Promised,
)
from domain.sourcing.weighing import objective
from domain.values import Value

# An order is sourced as of the moment at which it came, where that is not longer ago: a decision
# some seconds after a cut-off does not break what was promised some seconds before it.
GRACE: Final = timedelta(minutes=5)


class PromisedPackage(Value):
    """One package of the plan. `units` are by SKU: an order may name its lines as it likes."""

    node: str
    service: str
    carrier: str
    units: dict[str, int]
    ship_by: datetime
    deliver_by: datetime
    cost: CostParts
    measures: Measures = Measures()
    cartons: int = 1


class Promise(Value):
    """
    A plan and its date, for one cart to one destination.

    It can be claimed until `expires_at`, which is never after `cutoff`: the instant from which on
    the date could not be kept. `reservation` is the key of the one that holds the units, if any.
    """

    token: str
    channel: str
    method: DeliveryMethod
    destination: str
    units: dict[str, int]
    packages: tuple[PromisedPackage, ...]
    deliver_by: datetime
    cutoff: datetime
    quoted_at: datetime
    expires_at: datetime
    reservation: str = ""


def units_by_sku(lines: Iterable[Units | Demand]) -> dict[str, int]:
    """What is asked for in all, by SKU in the alphabet's order."""
    total: Counter[str] = Counter()
    for line in lines:
        total[line.sku] += line.quantity
    return dict(sorted(total.items()))


def destination(address: Address) -> str:
    """What of an address decides over dates and costs: its country, postal code, and region."""
    country = address.country.strip().upper()
    country = "US" if country in US else country
    code = address.postal_code.strip().upper()
    code = code[:5] if country == "US" else code
    return f"{country} {address.region.strip().upper()} {code}"


def promised_packages(
    packages: Iterable[Assignment], skus: Mapping[str, str]
) -> tuple[PromisedPackage, ...]:
    """A plan's packages, with the SKUs of its lines."""
    return tuple(
        PromisedPackage(
            node=a.node,
            service=a.service,
            carrier=a.carrier,
            units=_units(a.lines, skus),
            ship_by=a.ship_by,
            deliver_by=a.deliver_by,
            cost=a.cost,
            measures=a.measures,
            cartons=a.cartons,
        )
        for a in packages
    )


def keep(promise: Promise, problem: Problem, came: datetime) -> Plan | str:
    """
    The promised plan on the lines of the problem, which ask for the same units; or why it cannot be
    kept for an order that came then: the cut-off, a node that is out, its stock, its capacity.
    """
    if came >= promise.cutoff:
        return f"the cut-off passed at {promise.cutoff:%Y-%m-%d %H:%M:%S} UTC"
    nodes = {candidate.node: candidate for candidate in problem.candidates}
    for package in promise.packages:
        candidate = nodes.get(package.node)
        reason = _unable(candidate, package) if candidate else "is no node any more"
        if reason:
            return f"{package.node}: {reason}"
    left = {demand.line_id: demand.quantity for demand in problem.demands}
    assignments = tuple(_assigned(package, problem, left) for package in promise.packages)
    if any(left.values()):
        return "the packages do not keep each kit whole"
    total = CostParts()
    for assignment in assignments:
        total = total.plus(assignment.cost)
    weights = problem.policy.weights
    counted = sum(objective(weights, a.cost, a.measures) for a in assignments)
    return Plan(assignments=assignments, cost=total, objective=counted)


def kept(promise: Promise, problem: Problem, plan: Plan, decision_id: str) -> Decision:
    """The record of a promised plan that is taken as it was quoted."""
    used = {assignment.node for assignment in plan.assignments}
    out = {c.node: c.eliminated or "not in the plan that was promised" for c in problem.candidates}
    return Decision(
        decision_id=decision_id,
        problem=problem,
        plan=plan,
        eliminated={node: reason for node, reason in out.items() if node not in used},
        proof="feasible",
        solver="promise",
        solver_versions={"sourcing": SOURCING_VERSION},
        promise=Promised(token=promise.token, kept=True),
    )


def _unable(candidate: Candidate, package: PromisedPackage) -> str | None:
    if candidate.eliminated:
        return candidate.eliminated
    capacity, wanted = candidate.units_left, sum(package.units.values())
    if 0 in {candidate.capacity_left, capacity}:
        return "no capacity left today"
    if capacity is not None and capacity < wanted:
        return f"capacity for {capacity} of {wanted} units is left today"
    for sku, units in package.units.items():
        if (free := candidate.stock.get(sku, 0)) < units:
            return f"{free} of {units} units of {sku} are left"
    return None


def _assigned(package: PromisedPackage, problem: Problem, left: dict[str, int]) -> Assignment:
    """The package on the order's own lines: kits that leave whole, then earlier lines first."""
    due = dict(package.units)
    taken = _whole_kits(problem, due, left)
    for demand in problem.demands:
        if demand.kit is None:
            units = min(due.get(demand.sku, 0), left[demand.line_id])
            due[demand.sku] = due.get(demand.sku, 0) - units
            left[demand.line_id] -= units
            taken[demand.line_id] += units
    lines = [
        LineQuantity(line_id=demand.line_id, quantity=taken[demand.line_id])
        for demand in problem.demands
        if taken[demand.line_id]
    ]
    return Assignment(
        node=package.node,
        service=package.service,
        carrier=package.carrier,
        lines=tuple(lines),
        ship_by=package.ship_by,
        deliver_by=package.deliver_by,
        cost=package.cost,
        measures=package.measures,
        cartons=package.cartons,
    )


def _whole_kits(problem: Problem, due: dict[str, int], left: dict[str, int]) -> Counter[str]:
    """As many kits of each line as the package has whole, taken out of it."""
    taken: Counter[str] = Counter()
    parts: dict[str, list[tuple[Demand, int]]] = {}
    for demand in problem.demands:
        if demand.kit is not None:
            parts.setdefault(demand.kit.line_id, []).append((demand, demand.kit.per_kit))
    for kit in parts.values():
        there = (min(due.get(d.sku, 0), left[d.line_id]) // per_kit for d, per_kit in kit)
        whole = min(there)
        for demand, per_kit in kit:
            due[demand.sku] = due.get(demand.sku, 0) - whole * per_kit
            left[demand.line_id] -= whole * per_kit
            taken[demand.line_id] += whole * per_kit
    return taken


def _units(lines: Iterable[LineQuantity], skus: Mapping[str, str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for line in lines:
        total[skus[line.line_id]] += line.quantity
    return dict(sorted(total.items()))
