"""Fits shadow prices to orders that were decided, and tries them on those that came after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from domain.orders import DeliveryMethod
from domain.sourcing.books import tails
from domain.sourcing.build import cheapest, options_of
from domain.sourcing.evidence import NO_PRICES, Evidence, Pricing, Trial
from domain.sourcing.lattice import Ints
from domain.sourcing.many import Floats, Many, Offer
from domain.sourcing.prices import Prices, mean_dual, poisson_tail, tail_through
from domain.sourcing.problem import Candidate, Problem
from domain.sourcing.record import Record, Seen
from domain.sourcing.together import offer

AMPLE: Final = 10_000  # units of whatever a node stocks
DAY: Final = timedelta(days=1)
SCALES: Final = (0.25, 0.5, 1.0, 1.5, 2.0)  # of the prices that compete
FUTURES: Final = 6
PASSES: Final = 60
FORBIDDING: Final = 1e9  # the cost of a unit left behind, where plans are chosen: no price beats it


class Fitted(NamedTuple):
    """The prices that won, scaled as they did; None where no prices are cheaper."""

    prices: Prices | None
    evidence: Evidence


@dataclass
class Past:
    """
    Orders that were decided, each with all packages that ample stock would have allowed, and the
    stock that there is now. SKUs and nodes have their numbers in the order in which they came.
    """

    rows: dict[str, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    currency: str = ""
    _choice: set[int] = field(default_factory=set)
    _came: list[tuple[datetime, str, Offer]] = field(default_factory=list)

    def add(self, record: Record, stocked: Mapping[str, Collection[str]]) -> None:
        """
        The order of a decision, where it is one that is shipped, in the currency of the first that
        was added, and can be told by packages. `stocked` is SKU → nodes that stock it at all.
        """
        problem = record.decision.problem
        shipped = record.seen is None or record.seen.method is DeliveryMethod.SHIP
        self.currency = self.currency or problem.currency
        if not shipped or problem.currency != self.currency:
            return
        for demand in problem.demands:
            row = self.rows.setdefault(demand.sku, len(self.rows))
            if len(stocked.get(demand.sku, ())) > 1:
                self._choice.add(row)
        for candidate in problem.candidates:
            self.places.setdefault(candidate.node, len(self.places))
        made = offer(ample(problem, record.seen, stocked), self.rows, self.places)
        if made is not None:
            self._came.append((problem.as_of, problem.order_id, made))

    def __len__(self) -> int:
        return len(self._came)

    @property
    def span(self) -> timedelta:
        """From the first to the last order; a day at least."""
        times = [at for at, _, _ in self._came]
        return max(max(times) - min(times), DAY)

    def offers(self) -> list[Offer]:
        """First come, first. A unit in no package costs as much as the order's dearest package."""
        came = sorted(self._came, key=lambda one: one[:2])
        return [made._replace(left=float(max(1.0, made.cost.max()))) for _, _, made in came]

    @property
    def sole(self) -> list[int]:
        """The SKUs that one node alone stocks: whatever they are worth, there is no choice."""
        return [row for row in range(len(self.rows)) if row not in self._choice]


def ample(problem: Problem, seen: Seen | None, stocked: Mapping[str, Collection[str]]) -> Problem:
    """
    The problem if every node had what it stocks at all, room for it, and there were no prices.

    A node that was out only for want of stock or room is in again, where the record can tell what
    would have gone from there.
    """
    nodes = {node.code: node for node in seen.nodes} if seen else {}
    skus = sorted({demand.sku for demand in problem.demands})

    def candidate(was: Candidate) -> Candidate:
        stock = {sku: AMPLE for sku in skus if was.node in stocked.get(sku, ())}
        options, reason = was.options, was.eliminated
        node = nodes.get(was.node)
        wanted = not was.stock or 0 in {was.capacity_left, was.units_left}
        able = node is not None and node.status == "online" and node.ships
        if reason is not None and stock and wanted and able and seen and node:
            all_ = options_of(
                node,
                seen.rate_cards,
                seen.ship_to,
                method=seen.method,
                as_of=problem.as_of,
                promise_by=problem.promise_by,
            )
            options = cheapest(all_, problem.late_day_minor, problem.policy)
            reason = None if options else reason
        if not stock and reason is None:
            options, reason = (), "stocks none of it"
        return was.model_copy(
            update={
                "stock": stock,
                "options": options,
                "eliminated": reason,
                "capacity_left": None,
                "units_left": None,
                "stock_minor": {},
            }
        )

    return problem.model_copy(update={"candidates": tuple(map(candidate, problem.candidates))})


def fit(past: Past, stock: Mapping[str, Mapping[str, int]], pricing: Pricing) -> Fitted:
    """
    The prices that make the newest orders cheapest, of those that are fitted to the older ones.

    `stock` is node → SKU → units now. Two ways to fit (ADR 0023) at several scales compete with no
    prices at all, as they would be used: the orders of the last horizon, one after the other, in
    today's stock. Where less than two horizons are known, half of what is takes the place of one,
    in which less is scarce. What stays on the shelf at the end counts for nothing, which favours
    having no prices; a unit that no node can send costs as much as the order's dearest package. The
    same orders give the same prices. Blocks for seconds: call it in a thread.
    """
    offers, counts = past.offers(), _table(past, stock)
    horizons = past.span / timedelta(days=pricing.horizon_days)
    each = max(1, round(len(offers) / horizons))  # orders in a horizon
    each = min(each, len(offers) // 2)
    known, later = offers[:-each], offers[-each:]
    shape = counts.shape
    gain, rate = poisson_tail(Many(known, *shape), len(known) / each)
    drawn = [Many(some, *shape) for some in _drawn(known, each)]
    duals = mean_dual([(many, _cells(many, counts)) for many in drawn], passes=PASSES)
    through = tail_through(duals, len(drawn), gain, rate, counts)
    books = {"poisson-tail": gain, "tail-through-mean-dual": through}
    for gains in books.values():
        gains[past.sole] = 0
    trial = _Trial(later, counts, rate)
    trials = [Trial(method=NO_PRICES, scale=0, cost_minor=trial.cost(gain * 0))]
    for method, gains in books.items():
        trials += [
            Trial(method=method, scale=by, cost_minor=trial.cost(gains * by)) for by in SCALES
        ]
    evidence = Evidence(
        orders=len(offers),
        tried=len(later),
        per_horizon=each,
        horizon_days=pricing.horizon_days,
        trials=tuple(trials),
    )
    best = evidence.best
    if best.method == NO_PRICES:
        return Fitted(None, evidence)
    return Fitted(_book(past, best, books[best.method] * best.scale, rate), evidence)


def _book(past: Past, best: Trial, gain: Floats, rate: Floats) -> Prices:
    """By the names of SKUs and nodes; only SKUs that have a price anywhere."""
    skus = sorted(sku for sku, row in past.rows.items() if gain[row].any())
    nodes = sorted(past.places)
    cells = np.ix_([past.rows[sku] for sku in skus], [past.places[node] for node in nodes])
    method, gains = f"{best.method} × {best.scale:g}", gain[cells]
    return Prices(method, tuple(skus), tuple(nodes), gains * 0, gains, rate[cells])


def _table(past: Past, stock: Mapping[str, Mapping[str, int]]) -> Ints:
    """Units by SKU and node."""
    table = np.zeros((len(past.rows), len(past.places)), np.int64)
    for node, shelf in stock.items():
        for sku, units in shelf.items():
            if node in past.places and sku in past.rows:
                table[past.rows[sku], past.places[node]] = units
    return table


def _drawn(known: Sequence[Offer], size: int) -> list[Sequence[Offer]]:
    """Periods that begin in equal steps over the orders."""
    step = (len(known) - size) // (FUTURES - 1)
    count = FUTURES if step else 1
    return [known[number * step : number * step + size] for number in range(count)]


def _cells(many: Many, stock: Ints) -> Floats:
    return np.asarray(stock.ravel()[many.cells], np.float64)


class _Trial:
    """
    Orders that come one after the other, each decided by itself in what is left of the stock: as
    many units as can be served first, then the least cost and price.
    """

    def __init__(self, offers: Sequence[Offer], stock: Ints, rate: Floats) -> None:
        self._left = [made.left for made in offers]
        many = Many([made._replace(left=FORBIDDING) for made in offers], *stock.shape)
        self._many, self._stock = many, _cells(many, stock)
        self._rate = rate.ravel()[many.cells]
        self._tails: dict[float, list[float]] = {}

    def cost(self, gain: Floats) -> int:
        """What all of them cost, without what the prices say."""
        many, left = self._many, self._stock.copy()
        gains = gain.ravel()[many.cells]
        prices = np.zeros(len(left)) if gains.any() else None
        self._reprice(prices, gains, left, range(len(left)))
        total = 0.0
        for order in range(many.orders):
            packages = list(many.alone(order, left, prices))
            cells, units = many.taken(np.array(packages, np.int64))
            after = _less(left, cells, units)
            while (after < 0).any():  # a node's last units are in two packages: one of them stays
                packages.pop()
                cells, units = many.taken(np.array(packages, np.int64))
                after = _less(left, cells, units)
            left = after
            behind, cost = divmod(many.total(order, packages), FORBIDDING)
            total += cost + behind * self._left[order]
            self._reprice(prices, gains, left, cells.tolist())
        return round(total)

    def _reprice(
        self, prices: Floats | None, gains: Floats, left: Floats, cells: Collection[int]
    ) -> None:
        if prices is None:
            return
        for cell in cells:
            chances, units = self._tail(float(self._rate[cell])), int(left[cell])
            prices[cell] = gains[cell] * chances[units] if units < len(chances) else 0.0

    def _tail(self, mean: float) -> list[float]:
        if (known := self._tails.get(mean)) is None:
            known = self._tails[mean] = tails(np.array([mean]))[0].tolist()
        return known


def _less(left: Floats, cells: Ints, units: Floats) -> Floats:
    after = left.copy()
    np.subtract.at(after, cells, units)
    return after
