"""Whether a plan keeps to a rule: read off the plan itself, whoever made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from domain.sourcing.policy import PREFERENCES, Constraint
from domain.sourcing.problem import Assignment, Candidate, Demand, Plan, Problem
from domain.sourcing.rulings import speaks_of, too_far, unsplit


def broken(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """The rules that the plan does not keep to, by name, as the policy has them."""
    reading = _Reading(problem, plan)
    rules = problem.policy.constraints
    return tuple(dict.fromkeys(rule.name for rule in rules if not reading.keeps(rule)))


class _Reading:
    def __init__(self, problem: Problem, plan: Plan) -> None:
        self._problem, self._plan = problem, plan
        self._demands = {demand.line_id: demand for demand in problem.demands}
        self._nodes = {candidate.node: candidate for candidate in problem.candidates}
        self._left = {line.line_id: line.quantity for line in plan.unsourced}

    def keeps(self, rule: Constraint) -> bool:
        if rule.kind in PREFERENCES:
            return True
        whole = {
            "max_nodes": lambda: len(self._plan.assignments) <= (rule.value or 0),
            "max_packages": lambda: self._cartons() <= (rule.value or 0),
            "ship_complete_lines": lambda: self._complete(rule),
            "ship_complete_order": lambda: not self._left or not self._plan.assignments,
            "never_split": lambda: self._unsplit(rule),
            "value_floor": lambda: self._worth_it(rule.value or 0),
        }.get(rule.kind)
        if whole is not None:
            return whole()
        return all(self._package_keeps(rule, package) for package in self._plan.assignments)

    def _package_keeps(  # noqa: PLR0911  # one for each kind
        self, rule: Constraint, package: Assignment
    ) -> bool:
        """Rules that each package keeps to by itself."""
        candidate, value = self._nodes[package.node], rule.value or 0
        named = rule.nodes is None or package.node in rule.nodes
        units = {
            self._demands[line.line_id]: line.quantity
            for line in package.lines
            if speaks_of(rule, self._demands[line.line_id])
        }
        match rule.kind:
            case "offline" | "exclude":
                return not (named and units)
            case "firm_node" | "location_priority":
                return named or not units or self._prior(rule, package.node)
            case "max_distance":
                return not (named and units and too_far(candidate, value))
            case "max_orders":
                return not (named and units) or candidate.open_orders < self._most_orders(package)
            case "max_rejects":
                return all(demand.rejections < value for demand in units)
            case "min_stock":
                return not named or self._stays(candidate, package, rule)
            case "keep_together":
                asked = [d for d in self._problem.demands if speaks_of(rule, d)]
                return not units or all(units.get(d) == d.quantity for d in asked)
            case "capability":
                return not units or self._offers(candidate, package, rule.what)
            case "ship_alone":
                alone = sum(units.values())
                rest = sum(line.quantity for line in package.lines) > alone
                return package.cartons >= alone + rest
        return True

    def _prior(self, rule: Constraint, node: str) -> bool:
        return rule.kind == "location_priority" and any(
            other.kind == rule.kind and (other.nodes is None or node in other.nodes)
            for other in self._problem.policy.constraints
        )

    def _most_orders(self, package: Assignment) -> int:
        return max(
            other.value or 0
            for other in self._problem.policy.constraints
            if other.kind == "max_orders" and (other.nodes is None or package.node in other.nodes)
        )

    def _stays(self, candidate: Candidate, package: Assignment, rule: Constraint) -> bool:
        sent: Counter[str] = Counter()
        for line in package.lines:
            sent[self._demands[line.line_id].sku] += line.quantity
        goods = {demand.sku for demand in self._problem.demands if speaks_of(rule, demand)}
        return all(
            candidate.stock.get(sku, 0) - sent[sku] >= (rule.value or 0)
            for sku in goods & sent.keys()
        )

    def _offers(self, candidate: Candidate, package: Assignment, what: str) -> bool:
        """A service that was promised need be none of the problem's: what it offers is unknown."""
        known = [
            option.offers is None or what in option.offers
            for option in candidate.options
            if (option.service, option.carrier) == (package.service, package.carrier)
        ]
        return any(known) or not known

    def _cartons(self) -> int:
        return sum(package.cartons for package in self._plan.assignments)

    def _complete(self, rule: Constraint) -> bool:
        sold: dict[str, list[Demand]] = {}
        for demand in self._problem.demands:
            if speaks_of(rule, demand):
                line = demand.kit.line_id if demand.kit else demand.line_id
                sold.setdefault(line, []).append(demand)
        return all(self._all_or_none(demands) for demands in sold.values())

    def _all_or_none(self, demands: Sequence[Demand]) -> bool:
        left = sum(self._left.get(demand.line_id, 0) for demand in demands)
        return left in {0, sum(demand.quantity for demand in demands)}

    def _unsplit(self, rule: Constraint) -> bool:
        packages = self._plan.assignments
        if not unsplit(self._problem, rule) or not packages:
            return True
        return len(packages) == 1 and not self._left

    def _worth_it(self, floor: int) -> bool:
        packages = self._plan.assignments
        if not packages or (len(packages) == 1 and not self._left):
            return True
        left = sum(self._demands[line].price_minor * n for line, n in self._left.items())
        values = [
            sum(self._demands[line.line_id].price_minor * line.quantity for line in package.lines)
            for package in packages
        ]
        return min(values) >= floor and (not self._left or left >= floor)
