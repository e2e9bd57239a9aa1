"""Prices are fitted to what was decided, tried on what came after, and have to pay."""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from domain.network import Calendar, Node, NodeKind, RateCard, Zone
from domain.orders import Address
from domain.sourcing.arms import Tally, judge
from domain.sourcing.books import Book, tails, unpriced
from domain.sourcing.evidence import Pricing
from domain.sourcing.fitting import AMPLE, Past, ample, fit
from domain.sourcing.prices import Prices, at_least
from domain.sourcing.problem import Decision
from domain.sourcing.record import Record, Seen
from domain.sourcing.solver import solve
from tests.domain.sourcing.brute import NOON
from tests.domain.sourcing.small import node, problem

PRICING = Pricing(days=28, horizon_days=7)
STOCKED = {"A": frozenset({"NEAR", "FAR"})}
ORDERS = 400


def asked(number: int) -> Record:
    """Every other one hardly minds where it is from; the others would pay dearly to be from far."""
    far = 550 if number % 2 else 2000
    posed = problem(node("NEAR", 500), node("FAR", far)).model_copy(
        update={
            "order_id": f"o-{number:04}",
            "as_of": NOON + timedelta(days=28) * number / ORDERS,
        }
    )
    return Record(decision=solve(posed, posed.order_id))


RECORDS = [asked(number) for number in range(ORDERS)]


def past(records: list[Record]) -> Past:
    made = Past()
    for record in records:
        made.add(record, STOCKED)
    return made


def stock(near: int) -> Mapping[str, Mapping[str, int]]:
    return {"NEAR": {"A": near}, "FAR": {"A": 200}}


def test_what_is_scarce_is_kept_for_who_would_pay_most_without_it() -> None:
    prices, evidence = fit(past(RECORDS), stock(near=50), PRICING)
    assert prices is not None
    assert (evidence.orders, evidence.tried, evidence.per_horizon) == (400, 100, 100)
    # By turns the 50 units go to half of either kind; the best is one kind from either node.
    assert evidence.trials[0].cost_minor == 50 * 600 + 25 * 650 + 25 * 2100
    assert evidence.best.cost_minor == 50 * 600 + 50 * 650
    worth = Book(prices, unpriced=0).of(stock(near=50))["NEAR"]["A"]
    assert 50 < worth < 1500


def test_there_are_no_prices_where_they_do_not_pay() -> None:
    prices, evidence = fit(past(RECORDS), stock(near=500), PRICING)
    assert prices is None
    assert evidence.best.method == "none"
    assert evidence.saved == 0


def test_no_price_has_a_unit_stay_behind() -> None:
    alone = [
        record.model_copy(
            update={
                "decision": record.decision.model_copy(
                    update={"problem": problem(node("NEAR")).model_copy(update=when(record))}
                )
            }
        )
        for record in RECORDS
    ]
    prices, evidence = fit(past(alone), stock(near=50), PRICING)
    assert prices is None
    assert len({trial.cost_minor for trial in evidence.trials}) == 1


def when(record: Record) -> dict[str, object]:
    was = record.decision.problem
    return {"order_id": was.order_id, "as_of": was.as_of}


def test_the_same_orders_give_the_same_book_in_whatever_order_they_are_read() -> None:
    one, _ = fit(past(RECORDS), stock(near=50), PRICING)
    other, _ = fit(past(RECORDS[::-1]), stock(near=50), PRICING)
    assert one is not None
    assert other is not None
    assert one.version == other.version


def test_a_node_that_had_run_dry_is_in_again_with_what_it_would_have_cost() -> None:
    dry = node("DRY", stock={}, options=(), eliminated="no stock of any line")
    out = node("OUT", stock={}, options=(), eliminated="excluded")
    there = [
        Node(
            code=code,
            name=code,
            kind=NodeKind.DC,
            postal_code="75201",
            latitude=32.78,
            longitude=-96.8,
            status=status,
            calendar=Calendar(timezone="America/Chicago"),
        )
        for code, status in (("DRY", "online"), ("OUT", "offline"))
    ]
    zone = Zone(max_miles=3000, base_minor=700, per_lb_minor=0, transit_days=2)
    seen = Seen(
        nodes=tuple(there),
        rate_cards=(RateCard(service="ground", carrier="x", currency="USD", zones=(zone,)),),
        ship_to=Address(postal_code="78701", region="TX", country="US"),
    )
    was = problem(node("NEAR", stock_minor={"A": 40}, capacity_left=1), dry, out, node("BARE"))
    near, again, still, bare = ample(was, seen, {"A": {"NEAR", "DRY", "OUT"}}).candidates
    assert (near.stock, near.stock_minor, near.capacity_left) == ({"A": AMPLE}, {}, None)
    assert again.eliminated is None
    assert [option.base_minor for option in again.options] == [700]
    assert still.eliminated == "excluded"
    assert (bare.stock, bare.eliminated) == ({}, "stocks none of it")


def test_the_chance_that_a_node_runs_dry_by_the_units_there() -> None:
    means = np.array([0.1, 2.0, 30.0])
    chances = tails(means)
    counts = np.arange(chances.shape[1])
    assert chances == pytest.approx(at_least(means[:, None], counts), abs=1e-4)
    assert tails(np.array([2000.0]))[0, 1900] > 0.95
    assert tails(np.array([2000.0]))[0, 2250] == 0
    assert tails(np.zeros(1))[0, :2].tolist() == [1, 0]


def test_a_book_prices_what_it_knows_and_not_the_share_without_prices() -> None:
    one = np.array([[900.0, 0.0]])
    book = Prices("x", ("A",), ("N", "M"), one * 0, one, one / 900 * 2)
    shelf = {"N": {"A": 1, "B": 5}, "M": {"A": 1}, "X": {"A": 1}}
    assert Book(book, unpriced=0).of(shelf) == {"N": {"A": round(900 * (1 - np.exp(-2)))}}
    assert Book(book, unpriced=0).of({"N": {"A": 5000}}) == {}
    assert Book(book, unpriced=1).of(shelf) == {}


def test_a_share_of_the_skus_is_never_priced_and_stays_so_when_it_grows() -> None:
    names = [f"S{number}" for number in range(2000)]
    some = {name for name in names if unpriced(name, 0.2)}
    assert 340 <= len(some) <= 460
    assert some < {name for name in names if unpriced(name, 0.3)}


def decided(sku: str, base: int, *, stock_minor: int = 0) -> Decision:
    at = node("N", base, stock={sku: 9}, stock_minor={sku: stock_minor})
    return solve(problem(at, asks={sku: 1}), "d")


def tallied(priced: int, without: int, *, noise: float = 0, seed: int = 0) -> Tally:
    """What a unit of each of 60 SKUs costs, more or less."""
    tally, chance = Tally(), np.random.default_rng(seed)
    for number in range(60):
        sku = f"S{number}"
        base = without if unpriced(sku, 0.5) else priced
        tally.add(decided(sku, base + round(chance.normal(0, noise)), stock_minor=333))
    return tally


def test_prices_that_cost_more_than_they_save_are_found_out() -> None:
    before = tallied(800, 1000, noise=20)
    verdict = judge(before, tallied(880, 1000, noise=20, seed=1), 0.5)
    assert verdict is not None
    assert verdict.worse
    assert verdict.effect == pytest.approx(0.095, abs=0.01)
    assert 0 < verdict.error < 0.02
    assert verdict.priced.minor_since == pytest.approx(880, abs=10)  # without the price itself
    better = judge(before, tallied(760, 1000, noise=20, seed=1), 0.5)
    assert better is not None
    assert not better.worse


def test_a_difference_that_may_be_chance_or_was_there_before_says_nothing() -> None:
    same = judge(tallied(800, 1000, noise=90), tallied(804, 1000, noise=90, seed=1), 0.5)
    assert same is not None
    assert not same.worse
    assert judge(Tally(), tallied(800, 1000), 0.5) is None
    assert judge(tallied(800, 1000), tallied(900, 1000), 0.0) is None
