"""Orders that are sourced together: scarce stock goes where it is worth most, and never worse."""

import numpy as np
import pytest

from domain.sourcing.batch import Batch, Effort, solve
from domain.sourcing.many import Floats, Many, Offer, cheapest_of

LEFT = 3000.0
QUICK = Effort(passes=40, kept=40, perturbed=4, generations=3, rounds=10)


def single(sku: int, costs: dict[int, float], units: int = 1) -> Offer:
    """An order of one line that these nodes could send whole, at these costs."""
    nodes = np.array(sorted(costs))
    return Offer(
        counts=(1,),
        each=np.array([units]),
        skus=np.array([sku]),
        node=nodes,
        part=np.ones(len(nodes), np.int64),
        cost=np.array([costs[node] for node in nodes.tolist()]),
        left=LEFT,
    )


def random_offers(seed: int, orders: int, skus: int, nodes: int) -> list[Offer]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(orders):
        lines = int(rng.integers(1, 4))
        rows = rng.choice(skus, lines, replace=False)
        fixed = rng.integers(700, 1500, nodes)
        packages = [
            (node, part, fixed[node] + 100 * part.bit_count())
            for node in range(nodes)
            for part in range(1, 2**lines)
            if part == 1 or rng.random() < 0.6
        ]
        node, part, cost = (np.array(column) for column in zip(*packages, strict=True))
        made.append(
            Offer((1,) * lines, np.ones(lines, np.int64), rows, node, part, cost * 1.0, LEFT)
        )
    return made


def stock_of(many: Many, each: float) -> Floats:
    return np.full(len(many.cells), float(each))


def one_after_the_other(many: Many, stock: Floats) -> float:
    left, cost = stock.copy(), 0.0
    for order in range(many.orders):
        packages = many.alone(order, left)
        left -= many.units_of(np.array(packages, np.int64))
        cost += many.total(order, packages)
    return cost


def checked(many: Many, stock: Floats, found: Batch) -> None:
    """The plans fit in the stock and cost what is said."""
    taken = [package for plan in found.plans for package in plan]
    assert (many.units_of(np.array(taken, np.int64)) <= stock).all()
    total = sum(many.total(order, plan) for order, plan in enumerate(found.plans))
    assert total == pytest.approx(found.cost)
    assert found.bound <= found.cost + 1e-6


def test_the_one_scarce_unit_goes_to_the_order_that_needs_it_most() -> None:
    flexible, bound_to_it = single(0, {0: 800, 1: 850}), single(0, {0: 800})
    many = Many([flexible, bound_to_it], skus=1, nodes=2)
    stock = np.array([1.0, 1.0])
    assert one_after_the_other(many, stock) == 800 + LEFT
    found = solve(many, stock, QUICK)
    assert found.cost == 850 + 800
    checked(many, stock, found)


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_is_never_worse_than_one_order_after_the_other(seed: int) -> None:
    many = Many(random_offers(seed, orders=40, skus=8, nodes=4), skus=8, nodes=4)
    stock = stock_of(many, 2)
    found = solve(many, stock, QUICK)
    assert found.cost <= one_after_the_other(many, stock) + 1e-6
    checked(many, stock, found)
    assert solve(many, stock, QUICK) == found


def test_a_node_without_capacity_for_two_sends_one() -> None:
    offers = [single(0, {0: 800, 1: 1000}), single(1, {0: 800, 1: 1400})]
    many = Many(offers, skus=2, nodes=2, counted=True)
    capacity = 2 * 2  # the cells after those of units: SKUs times nodes
    stock = np.where(many.cells < capacity, 5.0, np.where(many.cells == capacity, 1.0, 9.0))
    found = solve(many, stock, QUICK)
    assert found.cost == 1000 + 800
    checked(many, stock, found)


def test_of_many_orders_each_gets_what_it_would_get_alone_at_the_same_prices() -> None:
    many = Many(random_offers(9, orders=60, skus=10, nodes=5), skus=10, nodes=5)
    prices = np.random.default_rng(1).uniform(0, 900, len(many.cells))
    chosen = many.best(prices)
    plans = dict(many.plans(chosen.packages))
    plenty = stock_of(many, 99)
    priced = many.priced(prices)
    for order in range(many.orders):
        alone = many.alone(order, plenty, prices)
        units = many.units_of(np.array(alone, np.int64))
        assert many.total(order, alone) + units @ prices == pytest.approx(chosen.value[order])
        together = plans.get(order, ())
        extra = many.total(order, together) - many.cost[list(together)].sum()
        assert priced[list(together)].sum() + extra == pytest.approx(chosen.value[order])


def test_only_the_cheapest_packages_of_each_part_are_kept() -> None:
    offer = single(0, {0: 900, 1: 800, 2: 1000})
    assert cheapest_of(offer, 2).node.tolist() == [1, 0]


def test_what_costs_more_than_it_is_worth_stays_behind() -> None:
    many = Many([single(0, {0: LEFT + 1})], skus=1, nodes=1)
    assert many.alone(0, np.array([1.0])) == ()
