"""The literature's market is as published, its bound is one, and its peers route as they should."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cli import bench
from cli.bench import js
from cli.bench.js import Scale, counted
from cli.markets.js import (
    LARGE,
    SMALL,
    Market,
    Setting,
    generator,
    market,
    miles_between,
    unit_costs,
)
from cli.markets.js_places import CENTERS, REGIONS, Place
from cli.markets.js_policies import (
    Brokering,
    Following,
    Listed,
    Pace,
    Policy,
    Priced,
    by_distance,
    by_stock,
    free,
    season,
)
from cli.markets.js_program import Program
from domain.sourcing.fluid import Desk, Floats, Fluid, Ints, Network

TINY = SMALL._replace(items=6, largest=3, of_each_size=2, periods=200)
QUICK = Scale(
    instances=2,
    drawn=3,
    large_drawn=2,
    processes=1,
    small=TINY,
    large=TINY._replace(centers=4, regions=12),
    small_pace=Pace(first=50, renewals=5, steps=10, periods=50),
    large_pace=Pace(first=50, renewals=5, steps=10, periods=50),
    ascent=60,
    again=20,
)


def test_distances_and_costs_are_the_published_ones() -> None:
    tracy, new_york = CENTERS[0], REGIONS[0]
    assert (tracy.name, new_york.name, len(REGIONS)) == ("Tracy", "New York", 99)
    # A quarter of the equator; and the angle by the law of cosines, at 1.61 km to a mile.
    here, there = Place("", 0, 0), Place("", 0, 90)
    assert miles_between(here, there) == pytest.approx(6371 * np.pi / 2 / 1.61)
    angle = np.arccos(
        np.sin(np.radians(37.74)) * np.sin(np.radians(40.69))
        + np.cos(np.radians(37.74)) * np.cos(np.radians(40.69)) * np.cos(np.radians(47.48))
    )
    assert miles_between(tracy, new_york) == pytest.approx(6371 * angle / 1.61)
    assert miles_between(tracy, tracy) == 0
    unit = unit_costs(CENTERS[:5], REGIONS[:10])
    assert unit[0, 0] == pytest.approx(0.423 + 0.000541 * miles_between(tracy, new_york))
    assert unit[5] == pytest.approx(2 * unit[:5].max(axis=0))


@pytest.mark.parametrize("setting", [SMALL, LARGE])
def test_a_market_has_its_baskets_rates_and_stock(setting: Setting) -> None:
    drawn = market(setting, generator(7, 0))
    sizes = [len(basket) for basket in drawn.network.baskets]
    assert sizes == [0] + [
        n for n in range(1, setting.largest + 1) for _ in range(setting.of_each_size)
    ]
    assert all(len(set(basket)) == len(basket) for basket in drawn.network.baskets)
    assert drawn.network.rate.sum() == pytest.approx(1)
    people = np.array([region.millions for region in REGIONS[: setting.regions]])
    assert drawn.network.rate.sum(axis=0) == pytest.approx(people / people.sum())
    # What is stocked is the season's mean demand of it and half a deviation for each center.
    for item in range(setting.items):
        asking = [item in basket for basket in drawn.network.baskets]
        mean = setting.periods * drawn.network.rate[asking].sum()
        stocked = drawn.stock[:, item].sum()
        if stocked:
            assert (
                mean - setting.centers <= stocked <= mean + 3 * np.sqrt(setting.centers * mean) + 9
            )


def test_a_seed_gives_one_market_and_path_and_another_seed_another() -> None:
    one, same, other = (market(TINY, generator(seed, 0)) for seed in (1, 1, 2))
    assert one.network.baskets == same.network.baskets != other.network.baskets
    assert (one.path(generator(1, 1)) == same.path(generator(1, 1))).all()
    assert not (one.path(generator(1, 1)) == one.path(generator(1, 2))).all()


def by_hand(stock: list[list[int]]) -> Market:
    """One basket of three items from one region; three centers, of which the first is nearest."""
    network = Network(
        items=3,
        baskets=((0, 1, 2),),
        fixed=np.array([10.0, 10, 10, 20]),
        unit=np.array([[1.0], [2.0], [3.0], [6.0]]),
        rate=np.ones((1, 1)),
    )
    return Market(network, np.array(stock), periods=1)


def test_peers_route_as_documented() -> None:
    apart = by_hand([[1, 0, 0], [1, 1, 0], [0, 9, 1]])
    stock = apart.stock
    assert Listed(apart, by_distance(apart)).plan(0, 0, stock, 1) == (0, 1, 2)
    assert Listed(apart, by_stock(apart)).plan(0, 0, stock, 1) == (1, 2, 2)
    assert Brokering(apart).plan(0, 0, stock, 1) == (1, 1, 2)
    whole = by_hand([[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert Brokering(whole).plan(0, 0, whole.stock, 1) == (2, 2, 2)
    dry = by_hand([[0, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert Listed(dry, by_distance(dry)).plan(0, 0, dry.stock, 1) == (3, 2, 3)
    assert Brokering(dry).plan(0, 0, dry.stock, 1) == (3, 2, 3)
    assert season(dry, np.array([[0, 0]]), Brokering(dry)) == 20 + 6 + 6 + 10 + 3


def test_the_exact_policy_is_the_best_of_all_plans_and_a_price_moves_it() -> None:
    drawn = market(TINY, generator(3, 0))
    for most in (np.inf, 2 * 8.759):
        desk = Desk(drawn.network, most)
        prices = free(drawn)
        prices[:-1] += generator(3, 1).random(drawn.stock.shape) * 9
        for basket, items in enumerate(drawn.network.baskets):
            if not items:
                continue
            plans = list(product(range(len(prices)), repeat=len(items)))
            costs = [_cost(drawn.network, plan, items, prices) for plan in plans]
            found = desk.cheapest(prices, basket, 1)
            assert _cost(drawn.network, found, items, prices) == pytest.approx(min(costs))


def _cost(network: Network, plan: tuple[int, ...], items: tuple[int, ...], prices: Floats) -> float:
    units = sum(
        network.unit[place, 1] + prices[place, item]
        for place, item in zip(plan, items, strict=True)
    )
    return float(units + sum(network.fixed[place] for place in set(plan)))


def test_the_program_bounds_every_policy_and_prices_what_is_scarce() -> None:
    for number in range(3):
        drawn = market(TINY, generator(4, number))
        path = drawn.path(generator(4, number, 1))
        bound, prices = Program(drawn, counted(drawn, path)).solve(drawn.stock)
        policies = (Brokering(drawn), Priced(drawn, Desk(drawn.network), prices))
        assert all(bound <= season(drawn, path, policy) for policy in policies)
        assert (prices[-1] == 0).all()
        plenty = Market(drawn.network, drawn.stock * 1000, drawn.periods)
        assert (Program(plenty, counted(plenty, path)).solve(plenty.stock)[1][:-1] >= 0).all()


def test_a_plan_without_stock_is_refused() -> None:
    class Greedy:
        def plan(self, basket: int, region: int, stock: Ints, left: int) -> tuple[int, ...]:
            return (0, 0, 0)

    with pytest.raises(ValueError, match="place 0 has no item 1"):
        season(by_hand([[1, 0, 0], [1, 1, 0], [0, 9, 1]]), np.array([[0, 0]]), Greedy())


class Watched:
    """What a policy sent, in turn."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.plans: list[tuple[int, ...]] = []

    def plan(self, basket: int, region: int, stock: Ints, left: int) -> Sequence[int]:
        chosen = self._policy.plan(basket, region, stock, left)
        self.plans.append(tuple(chosen))
        return chosen


def ours(drawn: Market) -> Following:
    return Following(drawn, Desk(drawn.network), Fluid(drawn.network), QUICK.small_pace)


def test_no_more_is_sent_than_there_was_and_each_item_of_each_order_once() -> None:
    drawn = market(TINY, generator(8, 0))
    path, first = drawn.path(generator(8, 1)), drawn.stock.copy()
    baskets = [drawn.network.baskets[basket] for basket, _ in path.tolist()]
    asked = [basket for basket in baskets if basket]
    for policy in (Brokering(drawn), Listed(drawn, by_stock(drawn)), ours(drawn)):
        watched = Watched(policy)
        season(drawn, path, watched)
        assert list(map(len, watched.plans)) == list(map(len, asked))
        sent = np.zeros((len(first) + 1, TINY.items), dtype=int)
        for basket, plan in zip(asked, watched.plans, strict=True):
            np.add.at(sent, (list(plan), list(basket)), 1)
        assert (sent[:-1] <= first).all()
        assert (drawn.stock == first).all()


def test_ours_knows_nothing_of_what_is_to_come() -> None:
    drawn = market(TINY, generator(9, 0))
    path, other = (drawn.path(generator(9, stream)) for stream in (1, 2))
    forked = np.concatenate([path[:100], other[100:]])
    plans = []
    for taken in (path, forked):
        watched = Watched(ours(drawn))
        season(drawn, taken, watched)
        plans.append(watched.plans)
    known = sum(bool(drawn.network.baskets[basket]) for basket, _ in path[:100].tolist())
    assert plans[0][:known] == plans[1][:known]
    assert plans[0] != plans[1]


def test_the_benchmark_is_the_same_in_one_process_and_in_two_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.bench.js.FULL", QUICK)
    report = bench.run("js", seed=5, plot=str(tmp_path / "js.svg"))
    again = js.measured(5, QUICK._replace(processes=2, large=None))
    for setting in js.KNOWN:
        assert report.metrics[f"{setting}_ratio"].decides
        for policy in js.TITLES:
            assert report.metrics[f"{setting}_{policy}"].value >= 1
    measured = {name: metric for name, metric in again.items() if not name.endswith("_s")}
    assert measured == {name: report.metrics[name] for name in measured}
    assert len(measured) > 2 * len(js.TITLES)
    # Peers meet one more instance than who has prices.
    mean, more = (again[f"small_05_nearest{of}"].value for of in ("", "_expected"))
    assert mean != more
    assert again["small_05_duals_1"].value == again["small_05_duals_1_expected"].value
    assert "sequential brokering" in bench.table(report)
    assert "<svg" in (tmp_path / "js.svg").read_text()
