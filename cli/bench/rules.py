"""What judging an order by rules takes, and how that grows with the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from cli.bench import Metric, at_most
from domain.network import Calendar, Node, NodeKind, Product, RateCard
from domain.orders import Address, Line, Order, Units
from domain.rules.conditions import Facts, condition
from domain.rules.evaluation import evaluate
from domain.rules.facts import FIELDS, Case
from domain.rules.sets import Outcome, Outcomes, Profile, Rule, RuleSet, Then, Version

SUMMARY: Final = "an order judged by 20 rules, over 100 to 5,000 nodes"

_NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_RULES: Final = 20
_ROUNDS: Final = 15
_SIZES: Final = (100, 1000, 5000)
# `alike`: nodes differ in few ways; `apart`: no two nodes are equal in what is read.
_WHENS: Final[dict[str, Callable[[int], str]]] = {
    "order": lambda i: f"order.units > {i} && order.region == 'TX'",
    "alike": lambda i: f"node.kind == 'store' && node.unit_cost_minor > {i} && order.units > 2",
    "miles": lambda i: f"node.kind == 'store' && node.miles > {100 * i}",
    "apart": lambda i: f"node.code.endsWith('{i}') && order.units > 2",
}


@dataclass(frozen=True)
class _Seen:
    nodes: tuple[Node, ...]
    stock: dict[str, dict[str, int]] = field(default_factory=dict)
    capacity_left: dict[str, int | None] = field(default_factory=dict)
    units_left: dict[str, int | None] = field(default_factory=dict)
    rate_cards: tuple[RateCard, ...] = ()
    products: dict[str, Product] = field(default_factory=dict)


def measure(seed: int) -> dict[str, Metric]:
    """CPU time, the least of some rounds: others' work is not counted."""
    metrics: dict[str, Metric] = {}
    wrong = 0
    for size in _SIZES:
        case = _case(Random(seed), size)  # noqa: S311 - the same for the same seed
        for name, when in _WHENS.items():
            version = _version(when)
            judged = evaluate(version, case)
            wrong += sum(
                told.nodes is not None and told.nodes != _one_by_one(told.when, case)
                for told in (judged.told if judged else ())
            )
            limit = 5.0 if name in {"order", "alike"} and size == _SIZES[1] else None
            spent = min(_spent(version, _again(case, number)) for number in range(_ROUNDS))
            metrics[f"{name}_{size}_ms"] = (
                Metric(value=spent, unit="ms")
                if limit is None
                else at_most(spent, limit, "ms", decides=False)
            )
    return {"differences": at_most(wrong, 0, "rules"), **metrics}


def _spent(version: Version, case: Case) -> float:
    start = time.process_time()
    evaluate(version, case)
    return 1000 * (time.process_time() - start)


def _one_by_one(when: str, case: Case) -> tuple[str, ...]:
    """The nodes for which the condition is met, each asked for itself."""
    asked = condition(when)
    subjects = ((node.code, node) for node in case.snapshot.nodes)
    return tuple(
        sorted(
            code
            for code, node in subjects
            if asked.holds(Facts({f: FIELDS[f].read(case, node) for f in sorted(asked.reads)}))
        )
    )


def _version(when: Callable[[int], str]) -> Version:
    waits = (Outcome(then=Then.BACKORDER),)
    of = tuple(Rule(name=f"r{i}", kind="exclude", when=when(i)) for i in range(_RULES))
    profile = Profile(name="all", rules=of, outcomes=Outcomes(partial=waits, nothing=waits))
    return Version(RuleSet(name="bench", owner="bench", profiles=(profile,)), 1)


def _again(case: Case, number: int) -> Case:
    """The same order a minute later: nothing of it is known already but what conditions keep."""
    later = case.now + timedelta(minutes=number)
    return Case(order=case.order, units=case.units, snapshot=case.snapshot, now=later)


def _case(random: Random, size: int) -> Case:
    kinds = list(NodeKind)
    nodes = tuple(
        Node(
            code=f"N{number}",
            name=f"Node {number}",
            kind=random.choice(kinds),
            postal_code="75201",
            latitude=random.uniform(26, 48),
            longitude=random.uniform(-122, -70),
            calendar=Calendar(timezone="America/Chicago"),
            unit_cost_minor=random.randint(0, 30),
        )
        for number in range(size)
    )
    order = Order(
        channel="web",
        channel_order_id="1",
        placed_at=_NOW,
        currency="USD",
        lines=(Line(line_id="1", sku="A", quantity=5, unit_price_minor=1000),),
        ship_to=Address(postal_code="75202", region="TX", country="US"),
    )
    units = (Units(line_id="1", sku="A", quantity=5),)
    return Case(order=order, units=units, snapshot=_Seen(nodes), now=_NOW)
