"""Random sourcing problems, of a seed: ordinary ones, and those that are hard to get right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, get_args

from domain.orders import PartOf
from domain.sourcing.policy import PROFILES, Constraint, Kind, Policy, Weights
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


def with_rules(chance: Random, problem: Problem) -> Problem:
    """
    The problem with prices of every part, weights, and up to four rules, hard or soft.

    Goods have volume, price and needs; services offers, carbon and dimensional weight; nodes line
    costs, labour, goods and opportunity. Every kind of rule comes up, alone and with others.
    """
    demands = tuple(_asking(chance, demand) for demand in problem.demands)
    candidates = tuple(_priced(chance, candidate) for candidate in problem.candidates)
    kinds = chance.choices(_KINDS, k=chance.randint(0, 4))
    rules = [
        rule
        for number, kind in enumerate(kinds)
        for rule in _rules(chance, f"{kind} {number}", kind, problem)
    ]
    profile = chance.choice([*PROFILES, "other"])
    policy = Policy(
        rules="random@1",
        profile=profile,
        weights=PROFILES.get(profile) or _weights(chance),
        constraints=tuple(rules),
    )
    return problem.model_copy(
        update={"demands": demands, "candidates": candidates, "policy": policy}
    )


_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_VALUES: Final[dict[Kind, tuple[int | None, ...]]] = {
    "min_stock": (1, 2),
    "max_nodes": (1, 2, 3),
    "max_packages": (1, 2, 4),
    "max_distance": (700, 1500),
    "max_rejects": (1, 2),
    "max_orders": (3, 8),
    "value_floor": (1500, 4000),
    "never_split": (None, 8000),
    "preferred_node": (150, 600),
    "local_radius": (300, 1200),
}


def _rules(chance: Random, name: str, kind: Kind, problem: Problem) -> list[Constraint]:
    nodes = [candidate.node for candidate in problem.candidates]
    lines = list(dict.fromkeys(d.kit.line_id if d.kit else d.line_id for d in problem.demands))
    some_nodes = tuple(chance.sample(nodes, chance.randint(1, len(nodes))))
    some_lines = tuple(chance.sample(lines, min(len(lines), chance.randint(1, 3))))
    rule = Constraint(
        name=name,
        kind=kind,
        hard=chance.random() < 1 / 2,
        value=chance.choice(_VALUES.get(kind, (None,))),
        what="cold" if kind == "capability" else "",
    )
    if kind == "location_priority":
        levels = chance.sample(range(1, 11), k=min(3, len(some_nodes)))
        return [
            rule.model_copy(update={"value": level, "nodes": some_nodes[number :: len(levels)]})
            for number, level in enumerate(levels)
        ]
    if kind in {"firm_node", "offline", "exclude", "preferred_node"} or chance.random() < 1 / 3:
        rule = rule.model_copy(update={"nodes": some_nodes})
    if kind in {"keep_together", "ship_alone", "capability"} or chance.random() < 1 / 2:
        rule = rule.model_copy(update={"lines": some_lines})
    return [rule]


def _weights(chance: Random) -> Weights:
    return Weights(
        **{
            name: chance.choice((0, 50, 100, 130))
            for name in ("shipping", "handling", "split", "late", "labour", "stock", "goods")
        },
        carbon_minor_per_kg=chance.choice((0, 7, 400)),
        minor_per_day=chance.choice((0, 90)),
        minor_per_package=chance.choice((0, 35)),
        minor_per_1000_miles=chance.choice((0, 250)),
    )


def _asking(chance: Random, demand: Demand) -> Demand:
    return demand.model_copy(
        update={
            "volume_mm3": demand.weight_g * chance.choice((2_000, 9_000)),
            "price_minor": chance.choice((500, 1900, 6000)),
            "needs": chance.choice(((), (), (), ("hazmat",))),
            "rejections": chance.choice((0, 0, 1, 2)),
        }
    )


def _priced(chance: Random, candidate: Candidate) -> Candidate:
    return candidate.model_copy(
        update={
            "line_cost_minor": chance.choice((0, 40)),
            "labour_minor": chance.choice((0, 0, 120)),
            "labour_unit_minor": chance.choice((0, 0, 30)),
            "stock_minor": {s: chance.randint(-50, 200) for s in candidate.stock},
            "goods_minor": {s: chance.choice((0, 300, 450)) for s in candidate.stock},
            "open_orders": chance.randint(0, 10),
            "options": tuple(
                option.model_copy(
                    update={
                        "days": 5 - 2 * number,
                        "dim_divisor": chance.choice((0, 139, 166)),
                        "carton_in3": chance.choice((0, 0, 200)),
                        "carbon_g": chance.randint(100, 900) * (number + 1),
                        "carbon_g_per_lb": chance.randint(10, 90),
                        "offers": chance.choice((None, None, ("hazmat", "cold"), ())),
                    }
                )
                for number, option in enumerate(candidate.options)
            ),
        }
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
        made, named = chance.choice((1, 1, 2)), f"KIT{chance.randint(0, 1)}"
        for sku in chance.sample(skus, k=2):
            kit = PartOf(
                line_id=f"K{number}",
                sku=named,
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
        units_left=chance.choice((None, None, None, None, None, 1, 2, 4)),
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
