"""The best plans of small problems under rules, found by trying everything, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product

from domain.fulfillments import LineQuantity
from domain.sourcing.kept import broken
from domain.sourcing.policy import Constraint
from domain.sourcing.problem import (
    Assignment,
    Candidate,
    CostParts,
    Demand,
    Plan,
    Problem,
    ServiceOption,
)
from tests.domain.sourcing.brute import kits_are_whole

Worth = tuple[int, int, Fraction]  # packages and priorities, where these count; then the objective
Content = tuple[int, ...]  # units of each demand

POUND_G = Fraction("453.59237")
INCH_MM3 = Fraction("16387.064")


def tried(
    problem: Problem, rules: Sequence[Constraint], before: Plan | None = None
) -> tuple[int, dict[frozenset[str], Worth]]:
    """
    The most units that can be sent under these rules, and by set of nodes the best way to do so.

    With the plan `before`, only ways that send what it sends as it does, and maybe more.
    """
    ruled = problem.model_copy(
        update={"policy": problem.policy.model_copy(update={"constraints": tuple(rules)})}
    )
    usable = [c for c in problem.candidates if c.eliminated is None and c.options]
    sent = _sent(problem, before)
    most, best = -1, dict[frozenset[str], Worth]()
    for choice in product(*(list(_shares(problem, n, usable, sent)) for n in _indexes(problem))):
        contents = {
            c.node: content
            for c, content in zip(usable, zip(*choice, strict=True), strict=True)
            if any(content)
        }
        units = sum(map(sum, contents.values()))
        if units < most or not _possible(problem, usable, contents, sent):
            continue
        for plan, worth in _ways(ruled, usable, contents, before):
            if broken(ruled, plan):
                continue
            if units > most:
                most, best = units, {}
            key = frozenset(contents)
            best[key] = min(worth, best.get(key, worth))
    return most, best


def _indexes(problem: Problem) -> range:
    return range(len(problem.demands))


def _sent(problem: Problem, before: Plan | None) -> dict[str, dict[str, int]]:
    return {
        a.node: {line.line_id: line.quantity for line in a.lines}
        for a in (before.assignments if before else ())
    }


def _shares(
    problem: Problem, index: int, usable: list[Candidate], sent: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[int, ...]]:
    demand = problem.demands[index]
    counts = []
    for candidate in usable:
        least = sent.get(candidate.node, {}).get(demand.line_id, 0)
        counts.append(range(least, min(demand.quantity, candidate.stock.get(demand.sku, 0)) + 1))
    return (split for split in product(*counts) if sum(split) <= demand.quantity)


def _possible(
    problem: Problem,
    usable: list[Candidate],
    contents: Mapping[str, Content],
    sent: Mapping[str, object],
) -> bool:
    for candidate in usable:
        content = contents.get(candidate.node)
        if content is None:
            continue
        if candidate.capacity_left is not None and candidate.capacity_left <= 0:
            return False
        if candidate.units_left is not None and sum(content) > candidate.units_left:
            return False
        taken: dict[str, int] = {}
        for demand, units in zip(problem.demands, content, strict=True):
            taken[demand.sku] = taken.get(demand.sku, 0) + units
        if any(units > candidate.stock.get(sku, 0) for sku, units in taken.items()):
            return False
        if not kits_are_whole(problem, content):
            return False
    limit = problem.max_nodes
    return limit is None or len(contents) <= limit


def _ways(
    problem: Problem,
    usable: list[Candidate],
    contents: Mapping[str, Content],
    before: Plan | None,
) -> Iterator[tuple[Plan, Worth]]:
    """Every choice of services; those of the plan before stay."""
    nodes = {c.node: c for c in usable}
    kept = {a.node: a.service for a in (before.assignments if before else ())}
    options = [
        [o for o in nodes[node].options if kept.get(node) in {None, o.service}] for node in contents
    ]
    left = [
        d.quantity - sum(content[i] for content in contents.values())
        for i, d in enumerate(problem.demands)
    ]
    unsourced = _lines(problem, left)
    ranks = [r for r in problem.policy.constraints if r.kind == "location_priority"]
    for chosen in product(*options):
        assignments, objective = [], Fraction(0)
        for position, ((node, content), option) in enumerate(
            zip(contents.items(), chosen, strict=True)
        ):
            if not _carried(problem, content, option):
                break
            cartons, points = _package(problem, nodes[node], option, content, split=position > 0)
            objective += points
            assignments.append(
                Assignment.model_construct(
                    node=node,
                    service=option.service,
                    carrier=option.carrier,
                    lines=_lines(problem, content),
                    cartons=cartons,
                    ship_by=option.ship_by,
                    deliver_by=option.deliver_by,
                    cost=CostParts(),
                )
            )
        else:
            plan = Plan.model_construct(assignments=tuple(assignments), unsourced=unsourced)
            prior = [
                min((r.value or 0 for r in ranks if not r.nodes or node in r.nodes), default=0)
                for node in contents
            ]
            packages = len(contents) if ranks else 0
            yield plan, (packages, sum(prior), objective)


def _lines(problem: Problem, units: Sequence[int]) -> tuple[LineQuantity, ...]:
    return tuple(
        LineQuantity(line_id=d.line_id, quantity=n)
        for d, n in zip(problem.demands, units, strict=True)
        if n
    )


def _carried(problem: Problem, content: Content, option: ServiceOption) -> bool:
    if option.offers is None:
        return True
    inside = [d for d, units in zip(problem.demands, content, strict=True) if units]
    return all(need in option.offers for demand in inside for need in demand.needs)


def _package(
    problem: Problem, node: Candidate, option: ServiceOption, content: Content, *, split: bool
) -> tuple[int, Fraction]:
    """Its cartons, and what it counts in minor units, each price taken from where it is written."""
    weights, rules = problem.policy.weights, problem.policy.constraints
    inside = [(d, units) for d, units in zip(problem.demands, content, strict=True) if units]
    shared = [(d, n) for d, n in inside if not _alone(rules, d)]
    own = [d for d, n in inside if _alone(rules, d) for _ in range(n)]
    cartons = len(own) + bool(shared)
    pounds = sum(_beyond(option, d.weight_g, d.volume_mm3) for d in own)
    if shared:
        grams = sum(d.weight_g * n for d, n in shared)
        pounds += _beyond(option, grams, sum(d.volume_mm3 * n for d, n in shared))
    units = sum(n for _, n in inside)
    skus = {d.sku for d, _ in inside}
    money = {
        "shipping": option.base_minor * cartons + option.per_lb_minor * pounds,
        "handling": node.order_cost_minor
        + node.line_cost_minor * len(skus)
        + node.unit_cost_minor * units,
        "split": problem.split_fee_minor * split,
        "late": option.days_late * problem.late_day_minor,
        "labour": node.labour_minor + node.labour_unit_minor * units,
        "stock": sum(node.stock_minor.get(d.sku, 0) * n for d, n in inside),
        "goods": sum(node.goods_minor.get(d.sku, 0) * n for d, n in inside),
    }
    radius = max((r.value or 0 for r in rules if r.kind == "local_radius"), default=0)
    carbon = option.carbon_g * cartons + option.carbon_g_per_lb * pounds
    points = sum((Fraction(getattr(weights, k) * v, 100) for k, v in money.items()), Fraction(0))
    points += Fraction(carbon * weights.carbon_minor_per_kg, 1000)
    points += option.days * weights.minor_per_day + weights.minor_per_package
    points += Fraction(max(node.miles, radius) * weights.minor_per_1000_miles, 1000)
    points += sum(
        r.value or 0
        for r in rules
        if r.kind == "preferred_node" and r.nodes is not None and node.node not in r.nodes
    )
    return cartons, points


def _alone(rules: Sequence[Constraint], demand: Demand) -> bool:
    sold = {demand.line_id, demand.kit.line_id if demand.kit else demand.line_id}
    return any(r.kind == "ship_alone" and (r.lines is None or sold & set(r.lines)) for r in rules)


def _beyond(option: ServiceOption, grams: int, volume: int) -> int:
    pounds = 1
    inches = volume / INCH_MM3
    if option.carton_in3 and option.dim_divisor:
        boxes = 0
        while boxes * option.carton_in3 < inches:
            boxes += 1
        inches = Fraction(boxes * option.carton_in3)
    while pounds * POUND_G < grams or (option.dim_divisor and pounds * option.dim_divisor < inches):
        pounds += 1
    return pounds - 1
