"""Random small problems, and their best plans found by trying everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from random import Random

from domain.orders import PartOf
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311  # test cases, not secrets


def random_problem(chance: Random, *, lines: int = 3, nodes: int = 4) -> Problem:
    skus = ["A", "B", "C"]
    return Problem(
        order_id="o",
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=NOON,
        demands=tuple(
            Demand(
                line_id=str(number),
                sku=sku,
                quantity=chance.choice((1, 1, 2)),
                weight_g={"A": 450, "B": 700, "C": 2300}[sku],
            )
            for number, sku in enumerate(chance.choices(skus, k=chance.randint(1, lines)))
        ),
        candidates=tuple(_candidate(chance, f"N{i}", skus) for i in range(nodes)),
        split_fee_minor=chance.choice((0, 100, 250)),
        late_day_minor=300,
        max_nodes=chance.choice((None, None, 1, 2)),
    )


def with_kits(chance: Random, problem: Problem) -> Problem:
    """The problem with one or two kits more that leave whole; components as its other goods."""
    weights = {"A": 450, "B": 700, "C": 2300}
    demands = list(problem.demands[: 4 - 2 * (kinds := chance.randint(1, 2))])
    for number in range(kinds):
        kits = chance.choice((1, 1, 2))
        for sku in chance.sample(sorted(weights), k=2):
            kit = PartOf(
                line_id=f"k{number}",
                sku="KIT",
                kits=kits,
                per_kit=chance.choice((1, 1, 2)),
                together=True,
            )
            demand = Demand(
                line_id=f"k{number}/{sku}",
                sku=sku,
                quantity=kits * kit.per_kit,
                weight_g=weights[sku],
                kit=kit,
            )
            demands.append(demand)
    return problem.model_copy(update={"demands": tuple(demands)})


def kits_are_whole(problem: Problem, units: Sequence[int]) -> bool:
    """Whether these units, one number for each demand, make whole kits only."""
    made: dict[str, set[tuple[int, int]]] = {}
    for demand, count in zip(problem.demands, units, strict=True):
        if demand.kit is not None:
            made.setdefault(demand.kit.line_id, set()).add(divmod(count, demand.kit.per_kit))
    return all(len(kits) == 1 and not rest for kits in made.values() for _, rest in kits)


def best_by_node_set(problem: Problem) -> tuple[int, dict[frozenset[str], int]]:
    """The most units that can be served, and the least cost of doing so by each set of nodes."""
    most, best = 0, dict[frozenset[str], int]()
    usable = [c for c in problem.candidates if c.eliminated is None and c.capacity_left != 0]
    splits = [list(_splits(demand, usable)) for demand in problem.demands]
    for choice in product(*splits):
        served = sum(map(sum, choice))
        if served < most or not _in_stock(problem, usable, choice):
            continue
        if not all(kits_are_whole(problem, units) for units in zip(*choice, strict=True)):
            continue
        loads = {
            candidate: tuple(split[index] for split in choice)
            for index, candidate in enumerate(c.node for c in usable)
            if any(split[index] for split in choice)
        }
        if any(
            c.units_left is not None and sum(loads.get(c.node, ())) > c.units_left for c in usable
        ):
            continue
        if problem.max_nodes is not None and len(loads) > problem.max_nodes:
            continue
        if served > most:
            most, best = served, {}
        cost = sum(
            _cheapest(problem, candidate, loads[candidate.node])
            for candidate in usable
            if candidate.node in loads
        ) + problem.split_fee_minor * max(0, len(loads) - 1)
        key = frozenset(loads)
        best[key] = min(cost, best.get(key, cost))
    return most, best


def _candidate(chance: Random, node: str, skus: list[str]) -> Candidate:
    return Candidate(
        node=node,
        kind="dc",
        miles=chance.randint(10, 2000),
        stock={sku: chance.choice((0, 0, 1, 2, 4)) for sku in skus},
        capacity_left=chance.choice((None, None, None, 0, 5)),
        units_left=chance.choice((None, None, None, 0, 1, 2)),
        order_cost_minor=chance.randint(0, 300),
        unit_cost_minor=chance.randint(0, 200),
        options=tuple(
            ServiceOption(
                service=service,
                carrier="x",
                zone=1,
                base_minor=chance.randint(300, 1500),
                per_lb_minor=chance.randint(0, 90),
                ship_by=NOON,
                deliver_by=NOON + timedelta(days=late),
                days_late=late,
            )
            for service, late in (("ground", chance.randint(0, 2)), ("fast", 0))
        ),
    )


def _splits(demand: Demand, usable: list[Candidate]) -> Iterator[tuple[int, ...]]:
    counts = (
        range(min(demand.quantity, candidate.stock.get(demand.sku, 0)) + 1) for candidate in usable
    )
    return (split for split in product(*counts) if sum(split) <= demand.quantity)


def _in_stock(
    problem: Problem, usable: list[Candidate], choice: tuple[tuple[int, ...], ...]
) -> bool:
    for index, candidate in enumerate(usable):
        taken: dict[str, int] = {}
        for demand, split in zip(problem.demands, choice, strict=True):
            taken[demand.sku] = taken.get(demand.sku, 0) + split[index]
        if any(units > candidate.stock.get(sku, 0) for sku, units in taken.items()):
            return False
    return True


def _cheapest(problem: Problem, candidate: Candidate, units: tuple[int, ...]) -> int:
    grams = sum(d.weight_g * count for d, count in zip(problem.demands, units, strict=True))
    pounds = 0
    while 453.59237 * pounds < grams:
        pounds += 1
    ways = (
        option.base_minor
        + option.per_lb_minor * max(0, pounds - 1)
        + option.days_late * problem.late_day_minor
        for option in candidate.options
    )
    return min(ways) + candidate.order_cost_minor + candidate.unit_cost_minor * sum(units)
