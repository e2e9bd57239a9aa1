"""Orders that are sourced together: scarce stock goes where it is worth most, and never worse."""

from collections.abc import Sequence

import numpy as np
import pytest

from domain.sourcing import batch
from domain.sourcing.batch import UNLIMITED, Batch, Capacity, Effort, solve
from domain.sourcing.lattice import Ints, lattice
from domain.sourcing.many import Many, Offer, cheapest_of

LEFT = 3000.0
QUICK = Effort(passes=40, kept=40, perturbed=4, rounds=6, work=0.02)


def single(sku: int, costs: dict[int, float], units: int = 1) -> Offer:
    """An order of one line that these nodes could send whole, at these costs."""
    nodes = np.array(sorted(costs), np.int64)
    return Offer(
        counts=(1,),
        each=np.array([[units]]),
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
            Offer((1,) * lines, np.eye(lines, dtype=np.int64), rows, node, part, cost * 1.0, LEFT)
        )
    return made


def table(skus: int, nodes: int, each: int) -> Ints:
    return np.full((skus, nodes), each)


def settled(orders: list[Offer], plans: Sequence[Sequence[int]], free: Ints) -> tuple[float, Ints]:
    """What the plans cost, and what they leave of the stock."""
    cost, left = 0.0, free.copy()
    for order, plan in zip(orders, plans, strict=True):
        behind = np.array(order.counts) @ order.each
        for package in plan:
            units = lattice(order.counts).digits[:, order.part[package]] @ order.each
            left[order.skus, order.node[package]] -= units
            behind -= units
            cost += order.cost[package]
        assert (behind >= 0).all()
        cost += order.left * behind.sum()
    return cost, left


def one_after_the_other(orders: list[Offer], free: Ints) -> float:
    many = Many(orders, *free.shape)
    left, cost = free.reshape(-1)[many.cells].astype(np.float64), 0.0
    for order in range(many.orders):
        packages = many.alone(order, left)
        left -= many.units_of(np.array(packages, np.int64))
        cost += many.total(order, packages)
    return cost


def checked(orders: list[Offer], free: Ints, found: Batch) -> None:
    """The plans fit in the stock and cost what is said."""
    cost, left = settled(orders, found.plans, free)
    assert cost == pytest.approx(found.cost)
    assert (left >= 0).all()
    assert found.bound <= found.cost + 1e-6


def test_the_one_scarce_unit_goes_to_the_order_that_needs_it_most() -> None:
    orders = [single(0, {0: 800, 1: 850}), single(0, {0: 800})]
    free = table(1, 2, 1)
    assert one_after_the_other(orders, free) == 800 + LEFT
    found = solve(orders, free, QUICK)
    assert found.plans == ((1,), (0,))
    assert found.cost == 850 + 800
    checked(orders, free, found)


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_is_never_worse_than_one_order_after_the_other(seed: int) -> None:
    orders = random_offers(seed, orders=40, skus=8, nodes=4)
    free = table(8, 4, 2)
    found, again = solve(orders, free, QUICK), solve(orders, free, QUICK)
    assert found.cost <= one_after_the_other(orders, free) + 1e-6
    checked(orders, free, found)
    assert again.plans == found.plans
    assert again.bound == found.bound


@pytest.mark.parametrize("seed", range(3))
def test_neighbourhoods_at_once_never_take_the_same_unit(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "TOGETHER", 8)
    monkeypatch.setattr(batch, "COVERED", 2)
    orders = random_offers(seed, orders=60, skus=5, nodes=4)
    free = table(5, 4, 4)
    few, many = (solve(orders, free, QUICK._replace(rounds=n)) for n in (0, 30))
    assert many.cost <= few.cost
    checked(orders, free, many)


def test_a_node_without_capacity_for_two_sends_one() -> None:
    orders = [single(0, {0: 800, 1: 1000}), single(1, {0: 800, 1: 1400})]
    capacity = Capacity(packages=np.array([1, UNLIMITED]), units=np.full(2, UNLIMITED))
    found = solve(orders, table(2, 2, 5), QUICK, capacity=capacity)
    assert found.plans == ((1,), (0,))
    checked(orders, table(2, 2, 5), found)


def test_a_node_sends_no_more_units_than_it_has_hands_for() -> None:
    orders = [single(0, {0: 800, 1: 1000}, units=2), single(1, {0: 800, 1: 1400}, units=3)]
    capacity = Capacity(packages=np.full(2, UNLIMITED), units=np.array([4, UNLIMITED]))
    found = solve(orders, table(2, 2, 5), QUICK, capacity=capacity)
    assert found.plans == ((1,), (0,))


def test_kits_share_their_parts_with_what_is_sold_loose() -> None:
    kit = single(0, {0: 900, 1: 1000})._replace(skus=np.array([0, 1]), each=np.array([[1, 2]]))
    loose = single(1, {0: 700, 1: 1500})
    free = np.array([[1, 1], [2, 2]])
    found = solve([kit, loose], free, QUICK)
    assert found.plans == ((1,), (0,))
    checked([kit, loose], free, found)


def test_a_plan_has_one_package_of_a_node() -> None:
    """Two from the first would be the cheapest."""
    apart = Offer(
        counts=(2,),
        each=np.array([[1]]),
        skus=np.array([0]),
        node=np.array([0, 0, 1, 1]),
        part=np.array([1, 2, 1, 2]),
        cost=np.array([100.0, 900.0, 400.0, 900.0]),
        left=LEFT,
    )
    found = solve([apart], table(1, 2, 9), QUICK)
    assert found.cost == 100 + 400
    checked([apart], table(1, 2, 9), found)


def test_what_nobody_has_stays_behind() -> None:
    nothing = single(0, {}, units=2)
    alone = solve([nothing], table(1, 2, 9), QUICK)
    assert (alone.plans, alone.cost, alone.bound) == (((),), 2 * LEFT, 2 * LEFT)
    beside = solve([nothing, single(0, {1: 500})], table(1, 2, 9), QUICK)
    assert beside.plans == ((), (0,))
    assert beside.cost == 2 * LEFT + 500
    assert solve([], table(1, 2, 9), QUICK).plans == ()


RIGHT = single(0, {0: 1})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (RIGHT._replace(node=np.array([7])), "there is no such node"),
        (RIGHT._replace(skus=np.array([4])), "there is no such SKU"),
        (RIGHT._replace(part=np.array([2])), "there is no such part"),
        (RIGHT._replace(cost=np.array([1.0, 2.0])), "its arrays do not belong together"),
        (RIGHT._replace(each=np.array([1])), "its arrays do not belong together"),
    ],
)
def test_an_offer_that_is_not_of_this_table_is_refused(wrong: Offer, message: str) -> None:
    with pytest.raises(ValueError, match=f"order 1: {message}"):
        solve([RIGHT, wrong], table(1, 2, 1), QUICK)


def test_capacity_is_told_for_each_node() -> None:
    short = Capacity(packages=np.array([1]), units=np.array([1]))
    with pytest.raises(ValueError, match="one number for each node"):
        solve([RIGHT], table(1, 2, 1), QUICK, capacity=short)


def test_of_many_orders_each_gets_what_it_would_get_alone_at_the_same_prices() -> None:
    many = Many(random_offers(9, orders=60, skus=10, nodes=5), skus=10, nodes=5)
    prices = np.random.default_rng(1).uniform(0, 900, len(many.cells))
    chosen = many.best(prices)
    plans = dict(many.plans(chosen.packages))
    plenty = np.full(len(many.cells), 99.0)
    priced = many.priced(prices)
    for order in range(many.orders):
        alone = many.alone(order, plenty, prices)
        together = plans.get(order, ())
        if not many.apart(together):
            continue
        units = many.units_of(np.array(alone, np.int64))
        assert many.total(order, alone) + units @ prices == pytest.approx(chosen.value[order])
        extra = many.total(order, together) - many.cost[list(together)].sum()
        assert priced[list(together)].sum() + extra == pytest.approx(chosen.value[order])


def test_only_the_cheapest_packages_of_each_part_are_kept() -> None:
    offer = single(0, {0: 900, 1: 800, 2: 1000})
    assert cheapest_of(offer, 2).node.tolist() == [1, 0]


def test_what_costs_more_than_it_is_worth_stays_behind() -> None:
    many = Many([single(0, {0: LEFT + 1})], skus=1, nodes=1)
    assert many.alone(0, np.array([1.0])) == ()
