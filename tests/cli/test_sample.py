from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from cli.sample import DemoOrder, SampleNetwork, Staged, demo_orders, network
from domain.network import Node, NodeKind, Product, RateCard
from domain.orders import Units
from domain.sourcing.build import build
from domain.sourcing.problem import Plan
from domain.sourcing.solver import solve

SAMPLE = network()


@dataclass(frozen=True)
class Snapshot:
    nodes: tuple[Node, ...]
    stock: dict[str, dict[str, int]]
    capacity_left: dict[str, int | None]
    units_left: dict[str, int | None]
    rate_cards: tuple[RateCard, ...]
    products: dict[str, Product]


def snapshot(sample: SampleNetwork) -> Snapshot:
    stock: dict[str, dict[str, int]] = {}
    for (sku, node), units in sample.stock.items():
        stock.setdefault(node, {})[sku] = units
    products = {product.sku: product for product in sample.products}
    return Snapshot(sample.nodes, stock, {}, {}, sample.rate_cards, products)


def plan(order: DemoOrder) -> Plan:
    problem = build(
        snapshot(SAMPLE),
        order_id=order.number,
        round=1,
        as_of=datetime(2026, 11, 20, 12, tzinfo=UTC),
        currency="USD",
        promise_by=None,
        units=[Units.model_validate(line, from_attributes=True) for line in order.lines],
        ship_to=order.ship_to,
        excluded={},
        firm_node=order.pickup_node,
        method=order.method,
    )
    return solve(problem, "d").plan


def test_the_network_has_the_promised_breadth() -> None:
    assert len(SAMPLE.nodes) >= 14
    assert {node.kind for node in SAMPLE.nodes} == set(NodeKind)
    assert sum(not product.sku.startswith("SCN-") for product in SAMPLE.products) == 300
    assert len({product.handling_class for product in SAMPLE.products}) == 4
    assert [card.service for card in SAMPLE.rate_cards] == ["ground", "expedited", "overnight"]


def test_the_same_seed_is_the_same_network_and_day() -> None:
    assert network(7) == SAMPLE
    assert network(8) != SAMPLE
    assert demo_orders(SAMPLE, 50, 3) == demo_orders(SAMPLE, 50, 3)


def test_every_order_of_the_day_can_be_served_but_the_backorders() -> None:
    packages = Counter[int]()
    for order in demo_orders(SAMPLE, 120):
        found = plan(order)
        assert bool(found.unsourced) == (order.scenario == "backorder")
        packages[len(found.assignments)] += 1

    assert packages[1] > packages[2] >= 8


@pytest.mark.parametrize(
    "staged", [item for item in SAMPLE.staged if item.knob_node], ids=lambda item: item.sku
)
def test_the_node_that_misbehaves_is_the_one_that_is_chosen(staged: Staged) -> None:
    order = next(o for o in demo_orders(SAMPLE, 60) if o.lines[0].sku == staged.sku)

    assert [assignment.node for assignment in plan(order).assignments] == [staged.knob_node]


def test_a_short_day_plays_each_scenario_once_before_any_twice() -> None:
    scenes = Counter(order.scenario for order in demo_orders(SAMPLE, 9))

    assert set(scenes.values()) == {1}
    assert len({order.number for order in demo_orders(SAMPLE, 300)}) == 300
