"""Fluid prices: the dual is a bound and meets the optimum, a price follows stock and time."""

from __future__ import annotations

from itertools import product
from math import exp, factorial

import numpy as np
import pytest

from domain.sourcing.fluid import Desk, Floats, Fluid, Ints, Network, Prices, ascend, at_least


def network(seed: int, places: int = 3) -> Network:
    chance = np.random.default_rng(seed)
    rate = chance.random((4, 2))
    return Network(
        items=3,
        baskets=((), (0,), (0, 1), (0, 1, 2)),
        fixed=np.array([5.0] * places + [12.0]),
        unit=np.vstack([chance.uniform(1, 4, (places, 2)), np.full((1, 2), 8.0)]),
        rate=rate / rate.sum(),
    )


def start(made: Network, stock: Ints) -> Floats:
    prices = np.zeros((len(made.fixed), made.items))
    prices[:-1][stock < 1] = made.never
    return prices


def test_all_orders_at_once_are_each_one_at_its_cheapest() -> None:
    made = network(1)
    prices = np.random.default_rng(2).uniform(0, 6, (4, 3))
    prices[-1] = 0
    fluid, desk = Fluid(made), Desk(made)
    value, chosen = fluid.answers(prices)
    places = fluid.places(prices, chosen)
    for basket, items in enumerate(made.baskets):
        for region in range(2):
            if not items:
                continue
            plan = desk.cheapest(prices, basket, region)
            cost = sum(
                made.unit[place, region] + prices[place, item]
                for place, item in zip(plan, items, strict=True)
            ) + sum(made.fixed[place] for place in set(plan))
            at = fluid.asked.index(basket)
            assert value[at, region] == pytest.approx(cost, rel=1e-5)
            assert tuple(places[fluid.line_basket == at, region]) == plan


def test_a_saving_is_the_order_without_the_unit_less_the_order_with_it_for_nothing() -> None:
    made = network(3)
    prices = np.random.default_rng(4).uniform(0, 6, (4, 3))
    prices[-1] = 0
    fluid = Fluid(made)
    saved = fluid.savings(prices)
    for line, (basket, item) in enumerate(zip(fluid.line_basket, fluid.line_item, strict=True)):
        for place, region in product(range(3), range(2)):
            gone = prices.copy()
            gone[place, item] = made.never
            without = fluid.answers(gone).value[basket, region]
            items = made.baskets[fluid.asked[basket]]
            free = prices.copy()
            free[place, item] = 0
            # Of the plans that use the unit: the cheapest, by every way to fill the basket.
            used = min(
                sum(
                    made.unit[to, region] + free[to, wanted]
                    for to, wanted in zip(plan, items, strict=True)
                )
                + sum(made.fixed[to] for to in set(plan))
                for plan in product(range(4), repeat=len(items))
                if plan[items.index(int(item))] == place
            )
            expected = without - used
            assert saved[line, place, region] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_dual_bounds_every_way_to_serve_and_no_price_is_negative(seed: int) -> None:
    made = network(seed, places=2)
    chance = np.random.default_rng(seed)
    stock = chance.integers(0, 3, (2, 3))
    orders = [(int(chance.integers(1, 4)), int(chance.integers(2))) for _ in range(4)]
    counted = np.zeros((4, 2))
    for order in orders:
        counted[order] += 1
    fluid = Fluid(made)
    bound, prices = ascend(fluid, stock, counted[fluid.asked], start(made, stock), 400)
    assert bound <= cheapest(made, stock, orders) + 1e-6
    assert (prices >= 0).all()
    few = Fluid(made, most=5)
    assert ascend(few, stock, counted[fluid.asked], start(made, stock), 50)[0] <= bound + 1e-3


def cheapest(made: Network, stock: Ints, orders: list[tuple[int, int]]) -> float:
    """By every plan of every order."""
    if not orders:
        return 0.0
    (basket, region), *rest = orders
    items = made.baskets[basket]
    best = np.inf
    for plan in product(range(len(made.fixed)), repeat=len(items)):
        left = stock.copy()
        for place, item in zip(plan, items, strict=True):
            if place < len(stock):
                left[place, item] -= 1
        if (left < 0).any():
            continue
        cost = sum(made.unit[place, region] for place in plan)
        cost += sum(made.fixed[place] for place in set(plan))
        best = min(best, float(cost) + cheapest(made, left, rest))
    return best


def test_a_price_rises_as_stock_falls_and_goes_as_time_passes() -> None:
    made = network(6)
    fluid = Fluid(made)
    stock = np.full((3, 3), 40)
    prices = Prices(fluid, start(made, stock), stock, 300, steps=100)
    seen = []
    for left in (40, 20, 5, 1):
        prices.sold(([0], [0]), np.array([left]), 300)
        seen.append(prices.now[0, 0])
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    prices.sold(([0], [0]), np.array([0]), 300)
    assert prices.now[0, 0] == made.never
    before = prices.now[:-1, 1].copy()
    prices.renew(stock, 10, steps=300)  # there is more than will be asked for
    assert (prices.now[:-1, 1] < before).all()
    assert prices.now[-1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mean", [0.3, 2.0, 9.0])
@pytest.mark.parametrize("number", [1, 3, 10])
def test_the_chance_of_so_many_is_poissons(mean: float, number: int) -> None:
    exact = 1 - sum(exp(-mean) * mean**n / factorial(n) for n in range(number))
    assert at_least(np.array(np.cbrt(mean)), np.array(number)) == pytest.approx(exact, abs=0.01)
