"""Random sourcing problems, of a seed: ordinary ones, and those that are hard to get right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from domain.orders import PartOf
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption

NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_SERVICES: Final = ("ground", "express", "overnight")


def random_problem(
    chance: Random, *, lines: int = 12, quantity: int = 3, nodes: int = 50
) -> Problem:
    """
    Up to so many lines of so many units, at up to so many nodes with up to three services.

    Among them: SKUs on several lines, kits that leave whole, scarce stock, full nodes, limits on
    nodes, a firm node, goods that most nodes do not handle, and rates by which two packages from
    one node would be cheaper than one, were they allowed.
    """
    demands = _demands(chance, chance.randint(1, lines), quantity)
    skus = sorted({demand.sku for demand in demands})
    special = set(chance.sample(skus, k=len(skus) // 4)) if chance.random() < 1 / 4 else set()
    count = chance.randint(1, nodes)
    carried = chance.choice((0.15, 0.4, 0.4, 0.9))
    deep = chance.choice((1, 1, 2, 5))
    cheap_base = chance.random() < 1 / 5
    candidates = [
        _candidate(
            chance,
            f"N{number:02}",
            {
                sku: chance.randint(1, deep)
                for sku in skus
                if chance.random() < (carried / 4 if sku in special else carried)
            },
            cheap_base=cheap_base,
        )
        for number in range(count)
    ]
    if chance.random() < 1 / 12:
        firm = chance.choice(candidates).node
        bound = {"eliminated": f"the order is bound to {firm}"}
        candidates = [c if c.node == firm else c.model_copy(update=bound) for c in candidates]
    return Problem(
        order_id="o",
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=NOON,
        demands=demands,
        candidates=tuple(candidates),
        split_fee_minor=chance.choice((0, 0, 100, 250)),
        late_day_minor=chance.choice((0, 300)),
        max_nodes=chance.choice((None, None, None, None, 1, 2, 3)),
    )


def _demands(chance: Random, lines: int, quantity: int) -> tuple[Demand, ...]:
    skus = [f"S{number}" for number in range(max(2, lines - chance.choice((0, 0, 2))))]
    weights = {sku: chance.choice((200, 450, 700, 2300, 9000)) for sku in skus}
    demands = []
    kits = chance.choice((0, 0, 1, 2))
    for number in range(lines - kits):
        sku = chance.choice(skus)
        units = chance.choices(range(1, quantity + 1), [0.8, *[0.2] * (quantity - 1)])[0]
        line = f"L{number}"
        demands.append(Demand(line_id=line, sku=sku, quantity=units, weight_g=weights[sku]))
    for number in range(min(kits, lines)):
        made = chance.choice((1, 1, 2))
        for sku in chance.sample(skus, k=2):
            kit = PartOf(
                line_id=f"K{number}",
                sku=f"KIT{chance.randint(0, 1)}",
                kits=made,
                per_kit=chance.choice((1, 1, 2)),
                together=True,
            )
            demands.append(
                Demand(
                    line_id=f"K{number}/{sku}",
                    sku=sku,
                    quantity=made * kit.per_kit,
                    weight_g=weights[sku],
                    kit=kit,
                )
            )
    return tuple(demands)


def _candidate(chance: Random, node: str, stock: dict[str, int], *, cheap_base: bool) -> Candidate:
    return Candidate(
        node=node,
        kind="dc",
        miles=chance.randint(10, 2000),
        stock=stock,
        capacity_left=chance.choice((None, None, None, None, 0, 5)),
        order_cost_minor=0 if cheap_base else chance.randint(0, 300),
        unit_cost_minor=chance.choice((0, chance.randint(0, 200))),
        options=tuple(
            ServiceOption(
                service=service,
                carrier="x",
                zone=1,
                base_minor=chance.randint(0, 60) if cheap_base else chance.randint(300, 1500),
                per_lb_minor=chance.randint(0, 150),
                ship_by=NOON,
                deliver_by=NOON + timedelta(days=late),
                days_late=late,
            )
            for late, service in enumerate(_SERVICES[: chance.randint(1, 3)])
        ),
    )
