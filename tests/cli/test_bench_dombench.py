"""DOMBench on a small scale: its facts, its peers by hand, and the bound under all of them."""

from dataclasses import replace

import numpy as np
import pytest

from cli.bench import batch, dombench
from cli.markets import peers
from cli.markets.bound import lower_bound
from cli.markets.dombench import (
    HISTORY,
    PERIODS,
    PROMISES,
    SCORED,
    SIZES,
    UNFILLED,
    Asked,
    Ints,
    Market,
    Size,
    market,
    path,
)
from cli.markets.exact import Exact, cheapest, portions
from cli.markets.simulation import Package, Policy, State, play
from cli.markets.suites import SUITES
from domain.sourcing.batch import Effort

SMALL = Size(dcs=3, stores=5, skus=60, orders=150)
TINY = Size(dcs=2, stores=3, skus=30, orders=30)


@pytest.fixture(scope="module")
def small() -> Market:
    return market(SMALL, 11, 1.0)


def asked(units: list[int], metro: int = 0, promise: int = 5) -> Asked:
    return Asked(0, metro, promise, np.arange(len(units)), np.array(units))


def near_to(of: Market, free_by_rank: list[list[int]]) -> tuple[Ints, list[int]]:
    """Free units by line of the nodes in order of distance from the first metro."""
    rank = of.near[0].tolist()
    free = np.zeros((len(free_by_rank[0]), len(rank)), np.int64)
    for node, units in zip(rank, free_by_rank, strict=False):
        free[:, node] = units
    return free, rank


def decided(
    policy: Policy, of: Market, units: list[int], free: Ints
) -> list[tuple[int, list[int]]]:
    packages = policy.decide(asked(units), free.copy(), State(of, of.stock.copy()))
    return [(package.node, package.units.tolist()) for package in packages]


def test_the_same_seed_makes_the_same_market_and_another_seed_another() -> None:
    one, same, other = (market(SMALL, seed, 1.0) for seed in (3, 3, 4))
    assert (one.stock == same.stock).all()
    assert not np.array_equal(one.nodes, other.nodes)
    again = [(a.metro, a.skus.tolist(), a.units.tolist()) for a in path(one, 5, 50)]
    assert again == [(a.metro, a.skus.tolist(), a.units.tolist()) for a in path(same, 5, 50)]


def test_a_market_is_as_described() -> None:
    of = market(SIZES["S"], 11, 1.3)
    assert of.stocked[:, :5].any(axis=1).all()
    assert of.stock[~of.stocked].sum() == 0
    assert of.stocked[:200, :5].mean() == pytest.approx(0.9, abs=0.03)
    assert of.stocked[200:, 5:].mean() == pytest.approx(0.1, abs=0.02)
    orders = path(of, 11 + SCORED).asked
    lines = np.array([len(one.skus) for one in orders])
    assert lines.mean() == pytest.approx(2.2, abs=0.1)
    assert (lines == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert {one.promise for one in orders} == set(PROMISES)
    assert all(len(set(one.skus.tolist())) == len(one.skus) for one in orders)
    assert (market(SIZES["S"], 11, 1.0).stock <= of.stock).all()


def test_stock_follows_the_demand_of_the_history() -> None:
    of = market(SIZES["S"], 11, 1.3)
    sold = np.zeros(of.size.skus)
    for one in path(of, 11 + HISTORY, PERIODS * of.size.orders):
        sold[one.skus] += one.units
    need, stock = sold / PERIODS, of.stock
    often, dcs = need > 50, of.size.dcs
    assert (stock.sum(axis=1)[often] > 1.3 * need[often]).all()
    assert stock[often, :dcs].sum() / stock[often].sum() == pytest.approx(0.7, abs=0.05)


def test_a_public_seed_makes_the_market_that_the_documented_figures_are_of() -> None:
    of = market(SIZES["S"], 11, 1.3)
    played = play(peers.Ranked("nearest"), of, path(of, 11 + SCORED))
    assert (played.cost, played.packages) == (11_508_688, 7_665)


def test_a_package_costs_its_zone_its_pounds_its_lines_and_its_days() -> None:
    of = market(SMALL, 11, 1.0)
    of = replace(of, weight=np.full(SMALL.skus, 1.5), nodes=of.nodes.copy())
    of.nodes[0] = of.metros[0] + (100, 0)
    of.nodes[-1] = of.metros[0] + (700, 0)
    near = of.package_cost(asked([2, 1]), 0, np.array([2, 1]))
    assert near == 750 + 18 * 4 + 110 + 2 * 75 + 100  # 4.5 lb are 5, one is in the base
    far = of.package_cost(
        asked([2, 1], promise=2), of.size.dcs + of.size.stores - 1, np.array([2, 0])
    )
    assert far == 920 + 42 * 2 + 220 + 160 + 100 + 300 * 2  # three days and a store's one


def test_nearest_and_priority_take_whole_lines(small: Market) -> None:
    free, rank = near_to(small, [[1, 1], [2, 0], [2, 2]])
    assert decided(peers.Ranked("nearest"), small, [2, 1], free) == [
        (rank[1], [2, 0]),
        (rank[0], [0, 1]),
    ]
    last_first = np.array(rank[::-1])
    assert decided(peers.Ranked("priority", last_first), small, [2, 1], free) == [(rank[2], [2, 1])]


def test_magentos_walk_takes_what_the_first_has_then_the_next(small: Market) -> None:
    free, rank = near_to(small, [[1, 1], [2, 0], [2, 2]])
    assert decided(peers.RankedParts("magento_distance"), small, [2, 1], free) == [
        (rank[0], [1, 1]),
        (rank[1], [1, 0]),
    ]


def test_brokering_prefers_one_node_then_the_one_with_most_lines(small: Market) -> None:
    small = replace(small, nodes=small.metros[:1] + np.arange(8)[:, None])  # none is late
    whole, rank = near_to(small, [[1, 0, 1], [1, 1, 1]])
    assert decided(peers.Brokering(), small, [1, 1, 1], whole) == [(rank[1], [1, 1, 1])]
    apart, rank = near_to(small, [[0, 0, 1], [1, 1, 0], [0, 1, 1]])
    assert decided(peers.Brokering(), small, [1, 1, 1], apart) == [
        (rank[1], [1, 1, 0]),
        (rank[0], [0, 0, 1]),
    ]


def test_brokering_goes_to_a_late_node_only_for_what_no_other_has(small: Market) -> None:
    small = replace(small, nodes=small.metros[:1] + (100.0, 0.0) * np.arange(8)[:, None] ** 2)
    late = int((small.days[0, small.near[0]] <= 2).argmin())
    free, rank = near_to(small, [[1, 0, 0], [0, 1, 0], *[[0, 0, 0]] * (late - 2), [1, 1, 1]])
    policy, state = peers.Brokering(), State(small, small.stock.copy())
    packages = policy.decide(asked([1, 1, 1], promise=2), free, state)
    assert [(package.node, package.units.tolist()) for package in packages] == [
        (rank[0], [1, 0, 0]),
        (rank[1], [0, 1, 0]),
        (rank[late], [0, 0, 1]),
    ]


def test_hotwax_splits_only_what_no_node_has_whole(small: Market) -> None:
    whole, rank = near_to(small, [[1, 1], [3, 1]])
    assert decided(peers.SequentialBrokering(), small, [3, 1], whole) == [(rank[1], [3, 1])]
    apart, rank = near_to(small, [[1, 0], [2, 0], [2, 1]])
    assert decided(peers.SequentialBrokering(), small, [3, 1], apart) == [
        (rank[0], [1, 0]),
        (rank[1], [2, 0]),
        (rank[2], [0, 1]),
    ]


def test_shopify_takes_the_nearest_pair_before_a_third(small: Market) -> None:
    free, rank = near_to(small, [[1, 0], [1, 0], [0, 1], [1, 1]])
    assert decided(peers.FewestSplits(), small, [2, 1], free) == [
        (rank[0], [1, 0]),
        (rank[3], [1, 1]),
    ]


def test_d365_goes_beyond_its_distance_only_for_what_found_no_node(small: Market) -> None:
    free, rank = near_to(small, [[1, 0], [0, 1]])
    between = float(small.miles[0][rank[:2]].mean())
    assert decided(peers.TwoPass(between), small, [1, 1], free) == [
        (rank[0], [1, 0]),
        (rank[1], [0, 1]),
    ]


def test_exact_costs_what_every_division_tried_by_hand_costs_at_least(small: Market) -> None:
    for one in path(small, 77, 60):
        if len(one.skus) > 3:
            continue
        best = UNFILLED * int(one.units.sum())
        nodes = range(small.stock.shape[1])
        for number in np.ndindex(*[len(nodes) + 1] * len(one.skus)):
            chosen = np.array(number) - 1
            cost = UNFILLED * int(one.units[chosen < 0].sum())
            if any(
                small.stock[s, n] < u
                for s, n, u in zip(one.skus, chosen, one.units, strict=True)
                if n >= 0
            ):
                continue
            for node in set(chosen.tolist()) - {-1}:
                cost += small.package_cost(one, node, np.where(chosen == node, one.units, 0))
            best = min(best, cost)
        found = cheapest(one, small.stock[one.skus], None, small, portions(one.units, parts=False))
        left = int(one.units.sum()) - sum(int(package.units.sum()) for package in found)
        cost = sum(small.package_cost(one, package.node, package.units) for package in found)
        assert cost + UNFILLED * left == best


@pytest.mark.parametrize("parts", [False, True])
def test_no_policy_costs_less_than_the_bound(small: Market, *, parts: bool) -> None:
    orders = path(small, 11 + SCORED)
    bound = lower_bound(small, orders.asked, passes=60, parts=parts)
    policies: list[Policy] = [peers.Ranked("nearest"), peers.Brokering(), Exact("exact")]
    if parts:
        policies += [peers.RankedParts("magento"), peers.FewestSplits(), peers.TwoPass()]
        policies += [peers.SequentialBrokering(), Exact("in parts", parts=True)]
    for policy in policies:
        assert play(policy, small, orders).cost >= bound.cost


@pytest.mark.parametrize("name", SUITES)
def test_each_suite_can_be_played(small: Market, name: str) -> None:
    suite = SUITES[name](small, path(small, 1), np.random.default_rng(1))
    played = play(Exact("exact"), suite.market, suite.path, suite.obstacles)
    assert played.packages > 0
    assert played.cost > 0


def test_a_plan_that_cannot_be_is_refused(small: Market) -> None:
    class Dreamer:
        name = "dreamer"

        def decide(self, asked: Asked, free: Ints, state: State) -> list[Package]:
            return [Package(0, asked.units * 100)]

    with pytest.raises(ValueError, match="dreamer: order 0 cannot have"):
        play(Dreamer(), small, path(small, 1))


def test_the_benchmark_runs_through_and_draws(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("bench") / "dombench.svg"
    metrics = dombench.measured(3, "S", TINY, str(file))
    assert "<svg" in file.read_text()
    assert metrics["cost_to_priority_rho_1.3"].target == "<= 0.7"
    assert metrics["exact_rho_1_over_bound"].value >= 0
    assert metrics["nearest_capacity_over_bound"].value >= 0


def test_a_batch_costs_no_more_than_one_order_after_the_other() -> None:
    quick = Effort(passes=30, kept=30, perturbed=4, rounds=5)
    metrics = batch.measured(5, TINY, 1.0, quick)
    assert metrics["cost_to_sequential_rho_1"].value <= 1
    assert metrics["cost_to_bound_rho_1"].value >= 1 - 1e-9
