"""Shadow prices: the Poisson tail, duals of sampled futures, and what is stored of them."""

from math import exp

import numpy as np
import pytest

from domain.sourcing import dual
from domain.sourcing.many import Many, Offer
from domain.sourcing.prices import (
    Prices,
    at_least,
    mean_dual,
    poisson_tail,
    spread,
    tail_through,
)

LEFT = 3000.0


def single(costs: list[float]) -> Offer:
    nodes = np.arange(len(costs))
    one = np.array([1])
    return Offer((1,), one[None], one * 0, nodes, np.ones_like(nodes), np.array(costs), LEFT)


def test_the_chance_that_a_node_runs_dry() -> None:
    found = at_least(np.array([2.0, 2.0, 2.0, 0.0]), np.array([0, 1, 2, 3]))
    assert found == pytest.approx([1, 1 - exp(-2), 1 - 3 * exp(-2), 0])


def test_of_what_sells_by_the_thousand_it_is_known_as_well() -> None:
    found = at_least(np.full(4, 2000.0), np.array([1000, 2000, 2001, 3000]))
    assert found == pytest.approx([1, 0.50297, 0.49405, 0], abs=1e-5)


def test_the_dual_of_one_scarce_unit_is_what_the_second_best_would_pay() -> None:
    many = Many([single([800, 900]), single([800, 1500])], skus=1, nodes=2)
    found = dual.solve(many, np.array([1.0, 5.0]), passes=200)
    assert found.bound == pytest.approx(900 + 800, rel=1e-3)
    assert 100 - 5 <= found.prices[0] <= 700 + 5
    assert dual.value(many, np.array([1.0, 5.0]), found.prices) == pytest.approx(found.bound)


def test_the_bound_holds_at_any_price() -> None:
    many = Many([single([800, 900]), single([800, 1500])], skus=1, nodes=2)
    for prices in np.random.default_rng(2).uniform(0, 1000, (50, 2)):
        assert dual.value(many, np.array([1.0, 1.0]), prices) <= 900 + 800 + 1e-6


def test_a_gain_is_what_an_order_costs_more_elsewhere() -> None:
    gain, rate = poisson_tail(Many([single([800, 950])] * 4, skus=1, nodes=2), horizons=2)
    assert gain.tolist() == [[150, 0]]
    assert rate.tolist() == [[2, 0]]


def test_the_mean_of_two_futures_lies_between_them() -> None:
    stock = np.array([1.0, 9.0])
    rich = Many([single([800, 1500])], skus=1, nodes=2)
    poor = Many([single([800, 1500])] * 3, skus=1, nodes=2)
    low, high = mean_dual([(rich, stock)]), mean_dual([(poor, stock)])
    assert low[0, 0] == 0 < high[0, 0]
    assert mean_dual([(rich, stock), (poor, stock)])[0, 0] == pytest.approx(high[0, 0] / 2)


def test_the_tail_goes_through_the_mean_dual_where_futures_are_many() -> None:
    duals, rate, stock = np.array([[300.0]]), np.array([[2.0]]), np.array([[2]])
    gain = tail_through(duals, 10**9, np.array([[500.0]]), rate, stock)
    assert gain * at_least(rate, stock) == pytest.approx(duals)
    few = tail_through(duals, 0, np.array([[500.0]]), rate, stock)
    assert few == pytest.approx(np.array([[500.0]]))


def prices() -> Prices:
    table = np.arange(6, dtype=np.float64).reshape(3, 2)
    return Prices("tail", ("A", "B", "C"), ("N", "M"), table * 0, table * 100, table)


def test_a_price_falls_with_stock_and_with_time_and_ends_at_nothing() -> None:
    rows = np.array([2])
    early = prices().at(rows, np.array([[3, 3]]), 1.0)
    assert (prices().at(rows, np.array([[4, 4]]), 1.0) < early).all()
    assert (prices().at(rows, np.array([[3, 3]]), 0.5) < early).all()
    assert (prices().at(rows, np.array([[3, 3]]), 0.0) == 0).all()


def test_packed_prices_come_back_and_equal_ones_have_one_version() -> None:
    stored = Prices.unpacked(prices().packed())
    assert stored.version == prices().version
    assert stored.skus == prices().skus
    assert (stored.gain == prices().gain).all()
    other = Prices("tail", ("A", "B", "C"), ("N", "M"), stored.flat, stored.gain + 1, stored.rate)
    assert other.version != stored.version


def test_a_nodes_capacity_is_no_price_of_a_sku() -> None:
    assert spread(np.array([0, 3, 4]), np.array([1.0, 2.0, 9.0]), 2, 2).tolist() == [[1, 0], [0, 2]]
