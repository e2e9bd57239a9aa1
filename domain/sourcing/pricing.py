"""What a load costs, part by part: the one statement of the prices that solvers go by."""

from __future__ import annotations

from domain.rates import billed_pounds
from domain.sourcing.problem import CostParts, Measures, ServiceOption
from domain.sourcing.search import Load, Question


def cartons(question: Question, load: Load) -> int:
    """How many are packed: one for each unit that must be alone, one for all else."""
    pairs = list(zip(question.items, load.units, strict=True))
    alone = sum(units for item, units in pairs if item.traits.alone)
    aboard = question.aboard.get(load.candidate.node)
    opened = sum(load.units) > alone and not (aboard and aboard.open)
    return alone + opened


def pounds(question: Question, load: Load) -> int:
    """Beyond the first of each carton; what is aboard is paid."""
    option, packed = load.option, [0, 0]
    alone = 0
    for item, units in zip(question.items, load.units, strict=True):
        if item.traits.alone:
            alone += _beyond(option, item.weight_g, item.volume_mm3) * units
        else:
            packed = [packed[0] + item.weight_g * units, packed[1] + item.volume_mm3 * units]
    aboard = question.aboard.get(load.candidate.node)
    before = (aboard.open if aboard else None) or (0, 0)
    after = _beyond(option, packed[0] + before[0], packed[1] + before[1])
    return alone + after - _beyond(option, *before)


def cost(question: Question, load: Load, *, split: bool) -> CostParts:
    """In money. Of a node that has something aboard only what is added; it is no split."""
    problem, candidate, option = question.problem, load.candidate, load.option
    aboard = question.aboard.get(candidate.node)
    first = aboard is None
    units = sum(load.units)
    taken = {item.sku for item, count in zip(question.items, load.units, strict=True) if count} - (
        aboard.skus if aboard else frozenset()
    )
    skus = [(item.sku, count) for item, count in zip(question.items, load.units, strict=True)]
    return CostParts(
        shipping=option.base_minor * cartons(question, load)
        + option.per_lb_minor * pounds(question, load),
        handling=candidate.order_cost_minor * first
        + candidate.line_cost_minor * len(taken)
        + candidate.unit_cost_minor * units,
        split=problem.split_fee_minor if split and first else 0,
        late=option.days_late * problem.late_day_minor * first,
        labour=candidate.labour_minor * first + candidate.labour_unit_minor * units,
        stock=sum(candidate.stock_minor.get(sku, 0) * count for sku, count in skus),
        goods=sum(candidate.goods_minor.get(sku, 0) * count for sku, count in skus),
    )


def measures(question: Question, load: Load) -> Measures:
    """What is not money, and may count; of a node that has something aboard what is added."""
    option = load.option
    first = load.candidate.node not in question.aboard
    return Measures(
        carbon_g=option.carbon_g * cartons(question, load)
        + option.carbon_g_per_lb * pounds(question, load),
        days=option.days * first,
        miles=question.miles(load.candidate) * first,
        packages=int(first),
        preference_minor=question.apart.get(load.candidate.node, 0) * first,
    )


def _beyond(option: ServiceOption, grams: int, volume: int) -> int:
    return max(0, billed_pounds(grams, volume, option.dim_divisor, option.carton_in3) - 1)
