"""What hard rules still ask of a plan's nodes when its units are moved there."""

from __future__ import annotations

from domain.sourcing.policy import Kind
from domain.sourcing.problem import Assignment, Decision
from domain.sourcing.rulings import Ruling, speaks_of
from domain.values import Value


class Terms(Value):
    """
    Of one node: fewer than `most_orders` are open there (None: any number may be), and of these
    SKUs `least` so many units stay, beside the safety stock.
    """

    most_orders: int | None = None
    least: dict[str, int] = {}


def terms(decision: Decision) -> dict[str, Terms]:
    """
    By node that the plan uses, where there are any. What the decision saw meets them, so who is
    refused by them lost a race. Soft rules do not refuse, and a promise is kept whatever rules say.
    """
    if decision.promise is not None and decision.promise.kept:
        return {}
    found = {package.node: _of(decision, package) for package in decision.plan.assignments}
    return {node: asked for node, asked in found.items() if asked != Terms()}


def _of(decision: Decision, package: Assignment) -> Terms:
    def rules(kind: Kind) -> list[Ruling]:
        of_kind = (r for r in decision.problem.policy.constraints if r.kind == kind)
        return [ruling for ruling in map(Ruling, of_kind) if ruling.names(package.node)]

    sent = {line.line_id for line in package.lines}
    demands = decision.problem.demands
    skus = {demand.sku for demand in demands if demand.line_id in sent}
    least: dict[str, int] = {}
    for rule in (ruling.rule for ruling in rules("min_stock") if ruling.rule.hard):
        for sku in skus & {demand.sku for demand in demands if speaks_of(rule, demand)}:
            least[sku] = max(least.get(sku, 0), rule.value or 0)
    maxima = [ruling.rule for ruling in rules("max_orders")]
    # The highest holds, be it of a soft rule: it allows what the hard one alone would not.
    binds = any(
        rule.hard and any(speaks_of(rule, demand) for demand in demands if demand.line_id in sent)
        for rule in maxima
    )
    most = max(rule.value or 0 for rule in maxima) if binds else None
    return Terms(most_orders=most, least=dict(sorted(least.items())))
