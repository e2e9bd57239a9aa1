"""What a rule, as it stands for one order, says of its lines and of a node."""

from __future__ import annotations

from collections.abc import Iterable

from domain.sourcing.policy import Constraint
from domain.sourcing.problem import Candidate, Demand, Problem


def speaks_of(rule: Constraint, demand: Demand) -> bool:
    """A kit's components are spoken of by their own lines or by the line that was sold."""
    if rule.lines is None or demand.line_id in rule.lines:
        return True
    return demand.kit is not None and demand.kit.line_id in rule.lines


def together(problem: Problem, rules: Iterable[Constraint]) -> dict[str, str]:
    """The group of each line that is kept together with others; those that share a line are one."""
    groups: dict[str, str] = {}
    for rule in rules:
        if rule.kind != "keep_together":
            continue
        spoken = [demand for demand in problem.demands if speaks_of(rule, demand)]
        kits = {demand.kit.line_id for demand in spoken if demand.kit}
        lines = [
            d.line_id for d in problem.demands if d in spoken or (d.kit and d.kit.line_id in kits)
        ]
        if lines:
            first = min([*lines, *(groups[line] for line in lines if line in groups)])
            joined = {groups[line] for line in lines if line in groups}
            lines += [line for line, group in groups.items() if group in joined]
            groups.update(dict.fromkeys(lines, first))
    return groups


def unsplit(problem: Problem, rule: Constraint) -> bool:
    """Whether the order is one that a rule of the kind never_split speaks of."""
    worth = sum(demand.price_minor * demand.quantity for demand in problem.demands)
    listed = any(speaks_of(rule, demand) for demand in problem.demands)
    return listed and (rule.value is None or worth < rule.value)


def refused(rules: Iterable[Constraint], demand: Demand) -> str:
    """The first of the rules by which nodes said no to the line too often, if any."""
    held = (
        rule.name
        for rule in rules
        if rule.kind == "max_rejects"
        and speaks_of(rule, demand)
        and demand.rejections >= (rule.value or 0)
    )
    return next(held, "")


def too_far(candidate: Candidate, miles: int) -> bool:
    """Abroad, which has no distance, is farther than any."""
    return not 0 <= candidate.miles <= miles


class Ruling:
    """A constraint whose nodes are looked up."""

    def __init__(self, rule: Constraint) -> None:
        self.rule = rule
        self._nodes = None if rule.nodes is None else frozenset(rule.nodes)

    def names(self, node: str) -> bool:
        return self._nodes is None or node in self._nodes


def bars(rule: Ruling, candidate: Candidate, most_orders: int) -> str | None:
    """What a rule has against a node, if anything."""
    value, named = rule.rule.value or 0, rule.names(candidate.node)
    match rule.rule.kind:
        case "exclude" if named:
            return "excluded"
        case "offline" if named:
            return "offline"
        case "firm_node" if not named:
            return f"the order is bound to {', '.join(rule.rule.nodes or ())}"
        case "max_distance" if named and too_far(candidate, value):
            miles = "abroad" if candidate.miles < 0 else f"{candidate.miles} miles"
            return f"{miles}, more than {value}"
        case "max_orders" if named and candidate.open_orders >= most_orders:
            return f"{candidate.open_orders} open orders, {most_orders} at most"
    return None
