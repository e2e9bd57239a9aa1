"""Sources many orders together, so that scarce stock goes where it is worth most, with a bound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np

from domain.sourcing import dual
from domain.sourcing.lattice import Ints, lattice
from domain.sourcing.many import Floats, Many, Offer
from domain.sourcing.prices import spread
from domain.sourcing.restricted import Column, chosen, contested, relaxed

UNLIMITED: Final = 10**9  # the capacity of a node that has no limit

TOGETHER: Final = 80  # orders of one neighbourhood
RIVALS: Final = 12  # of one cell that come into it
COVERED: Final = 20  # of its orders that need none of their own
ABREAST: Final = 2  # neighbourhoods that are decided at once, each on a core
SWEEP: Final = 100  # neighbourhoods, then it is seen anew which orders are far from their best
MOSTLY: Final = 0.9  # of a plan in the mixture, and it is the order's
FIFTH: Final = 5
GOLDEN: Final = 0.6180339887498949
COLUMNS: Final = 12  # plans of one order that compete in a neighbourhood


class Effort(NamedTuple):
    """
    Counted work, never a clock. `passes` of the dual, of whose last `kept` the plans are kept, and
    `perturbed` ones at other prices; `generations` of the LP, whose prices find more plans;
    `rounds` of neighbourhoods that CP-SAT decides anew, each within `work`, its own measure.
    """

    passes: int = 120
    kept: int = 60
    perturbed: int = 16
    generations: int = 2
    rounds: int = 200
    work: float = 0.25


EFFORT: Final = Effort()


class Capacity(NamedTuple):
    """By node: how many packages, and how many units in them, it may still send. Or UNLIMITED."""

    packages: Ints
    units: Ints


class Batch(NamedTuple):
    """
    One plan for each order, in their sequence: which of its offer's packages it gets, by their
    place there; () is nothing. What is in none of them stays behind.

    `cost` is of all of them together, with what stays behind; no plans within this stock cost less
    than `bound`. `prices`, by SKU and node, are what a unit more would have saved, about.
    """

    plans: tuple[tuple[int, ...], ...]
    cost: float
    bound: float
    prices: Floats


def solve(
    orders: Sequence[Offer],
    free: Ints,
    effort: Effort = EFFORT,
    *,
    capacity: Capacity | None = None,
) -> Batch:
    """
    The best plans found within the effort. The same input gives the same plans, on any number of
    cores. Never worse than one order after the other in this sequence, each at its cheapest.

    `orders` are offers: every package that each order could be sent in, with its cost in whole
    numbers of any one unit, the same for all orders. `free[sku, node]` are the units that they
    share; the rows of its SKUs and the columns of its nodes are what offers count by. Of the
    packages only the cheapest few of each part and node count need be there; of fewer packages the
    plans are worse, and the bound holds for those alone.

    It can express: lines that go whole, quantities that are divided, kits; whatever a package's
    cost depends on (node, service, weight, promise, lateness, handling, the price of its stock);
    what a rule forbids a package (it is not offered); stock and capacity that orders share. A plan
    has one package of a node at most. It cannot express what ties the packages of one plan together
    (a limit on their number, all lines or none, a least worth of what stays behind): such an order
    is solved by itself, before the batch or in what it leaves.

    `left` should be more than any package costs, so that stock is not left where it could serve;
    ten times the dearest is enough, and much more than that makes the dual slow to find its prices.

    Raises ValueError for an offer that does not fit its own parts or the table, and for capacity
    that is not one number for each node. Blocks for as long
    as the effort takes: about 60 s for 5,000 orders and 200 rounds; call it in a thread or process.

    1. The Lagrangian dual prices what is scarce; its passes leave plans behind (columns).
    2. The cheapest mixture of the columns, by LP; plans that it mostly takes stand, then those of
       the cheapest mixture in what is left, until every order has one.
    3. Each order is taken out and put back at its cheapest, until nothing changes.
    4. Orders that compete for the same scarce cells are decided together by CP-SAT, two
       neighbourhoods at a time, and put back again.

    After Xu, Allgor and Graves, "Benefits of reevaluating real-time order fulfillment decisions"
    (2009), whose re-evaluation is the last two steps.
    """
    skus, nodes = free.shape
    for number, order in enumerate(orders):
        _checked(number, order, free)
    if any(len(each) != nodes for each in capacity or ()):
        raise ValueError("capacity is one number for each node")
    if not sum(len(order.node) for order in orders):
        left = float(sum(_whole(order) for order in orders))
        return Batch(((),) * len(orders), left, left, np.zeros(free.shape))
    many = Many(orders, skus, nodes, counted=capacity is not None)
    shared = [free.reshape(-1), *(capacity or ())]
    stock = np.concatenate(shared)[many.cells].astype(np.float64)
    work = _Work(many, stock)
    found = work.price(effort)
    work.begin(effort)
    work.improve(effort)
    plans = tuple(
        tuple(many.given[np.array(plan.packages, np.int64)].tolist()) for plan in work.plans
    )
    return Batch(plans, work.cost, found.bound, spread(many.cells, found.prices, skus, nodes))


def _checked(number: int, order: Offer, free: Ints) -> None:
    counts, kinds, skus = order.counts, len(order.counts), len(order.skus)
    packages = len(order.node)
    same = len(order.part) == len(order.cost) == packages
    if order.each.shape != (kinds, skus) or not same:
        raise ValueError(f"order {number}: its arrays do not belong together")
    for values, low, high, what in (
        (order.skus, 0, free.shape[0], "SKU"),
        (order.node, 0, free.shape[1], "node"),
        (order.part, 1, lattice(counts).size, "part"),
    ):
        if len(values) and not (low <= values.min() and values.max() < high):
            raise ValueError(f"order {number}: there is no such {what}")


def _whole(order: Offer) -> float:
    """What it costs to leave all of it."""
    return float(order.left * (np.array(order.counts) @ order.each).sum())


def column(many: Many, order: int, packages: tuple[int, ...]) -> Column:
    """The order's plan of these packages; what they do not have is left."""
    takes: dict[int, float] = {}
    cells, units = many.taken(np.array(packages, np.int64))
    for cell, count in zip(cells.tolist(), units.tolist(), strict=True):
        takes[cell] = takes.get(cell, 0.0) + count
    return Column(order, packages, many.total(order, packages), tuple(takes.items()))


class _Work:
    """The plans as they stand, and what they leave of each cell."""

    def __init__(self, many: Many, stock: Floats) -> None:
        self._many, self._stock, self._left = many, stock, stock.copy()
        self._prices = np.zeros(len(stock))
        self.plans: list[Column] = [column(many, i, ()) for i in range(many.orders)]
        self._known: list[dict[tuple[int, ...], Column]] = [{(): plan} for plan in self.plans]

    @property
    def cost(self) -> float:
        return sum(plan.cost for plan in self.plans)

    def price(self, effort: Effort) -> dual.Dual:
        """The dual; the plans of its last passes become known, and of passes at other prices."""

        def keep(number: int, packages: Ints) -> None:
            if number >= effort.passes - effort.kept:
                self._learn(packages)

        found = dual.solve(self._many, self._stock, passes=effort.passes, seen=keep)
        self._prices = found.prices
        cells = np.arange(len(self._stock))
        for number in range(effort.perturbed):
            # Between none and twice the price, each cell's by its own turn of the golden ratio.
            factor = 2 * ((cells * GOLDEN + number / effort.perturbed) % 1.0)
            self._learn(self._many.best(found.prices * factor).packages)
        return found

    def begin(self, effort: Effort) -> None:
        """The better of: one order after the other, and the LP's mixture made whole."""
        for order in range(self._many.orders):
            self._put(self._cheapest(order, priced=False))
        sequential, cost, prices = list(self.plans), self.cost, self._prices
        for _ in range(max(effort.generations, 1)):
            columns = [each for known in self._known for each in known.values()]
            mixture = relaxed(columns, self._stock)
            for weight in (1.0, 0.5):
                between = weight * mixture.prices + (1 - weight) * self._prices
                self._learn(self._many.best(between).packages)
        self._replace(self._made_whole(columns, mixture.shares))
        self._prices = prices
        if self.cost > cost:
            self._replace(sequential)

    def _made_whole(self, columns: Sequence[Column], shares: Floats) -> list[Column]:
        """
        Dive: plans that the mixture mostly takes stand, or a fifth of them at least; the cheapest
        mixture of the other orders' in what is left is next.
        """
        for order in range(self._many.orders):
            self._take_out(order)
        waiting = dict.fromkeys(range(self._many.orders))
        while True:
            least = len(waiting) // FIFTH + 1
            fixed = 0
            for number in np.argsort(-shares, kind="stable").tolist():
                each = columns[number]
                if shares[number] < MOSTLY and fixed >= least:
                    break
                if each.order in waiting and self._fits(each):
                    self._put(each)
                    del waiting[each.order]
                    fixed += 1
            if not waiting:
                return list(self.plans)
            for order in waiting:
                self._cheapest(order, priced=True)
            columns = [
                each
                for order in waiting
                for each in self._known[order].values()
                if self._fits(each)
            ]
            mixture = relaxed(columns, self._left)
            self._prices, shares = mixture.prices, mixture.shares

    def _replace(self, plans: Sequence[Column]) -> None:
        self._left = self._stock - sum_of(plans, len(self._stock))
        self.plans = list(plans)

    def _learn(self, packages: Ints) -> None:
        for order, plan in self._many.plans(packages):
            if plan not in self._known[order] and self._many.apart(plan):
                self._known[order][plan] = column(self._many, order, plan)

    def improve(self, effort: Effort) -> None:
        """Neighbourhoods of the orders that are farthest from their best at the dual's prices."""
        self._again(range(self._many.orders))
        for begin in range(0, effort.rounds, SWEEP):
            self._map()
            done: set[int] = set()
            rounds = min(SWEEP, effort.rounds - begin)
            while rounds > 0 and (abreast := self._next(done, min(ABREAST, rounds))):
                for orders in self._together(abreast, effort.work):
                    self._again(orders)
                rounds -= len(abreast)

    def _next(self, done: set[int], most: int) -> list[list[int]]:
        """Neighbourhoods of their own, around the farthest orders that are not `done`."""
        abreast: list[list[int]] = []
        taken: set[int] = set()
        while len(abreast) < most:
            open_ = (i for i in self._regrets if i not in done and i not in taken)
            if (seed := next(open_, None)) is None:
                break
            abreast.append(self._neighbourhood(seed, taken))
            done.update(abreast[-1][:COVERED])
            taken.update(abreast[-1])
        return abreast

    def _again(self, orders: Iterable[int]) -> None:
        """Take each out and put it back at its cheapest, as long as that changes something."""
        open_ = list(orders)
        for _ in range(3):
            before = [self.plans[order] for order in open_]
            for order in open_:
                self._take_out(order)
                self._put(self._cheapest(order, priced=False, known=self.plans[order]))
            if before == [self.plans[order] for order in open_]:
                return

    def _together(self, abreast: Sequence[Sequence[int]], work: float) -> list[Sequence[int]]:
        """
        Decide each of these sets of orders anew, with all the columns known of them; which of them
        are cheaper now. What one set could take is not there for the next, but what that one has.
        """
        kept, jobs = np.zeros_like(self._left), []
        for orders in abreast:
            for order in orders:
                self._take_out(order)
            left = self._left - kept
            for order in orders:
                self._cheapest(order, priced=True)
                self._cheapest(order, priced=False)
            columns = [each for order in orders for each in self._promising(order)]
            place = {(each.order, each.packages): number for number, each in enumerate(columns)}
            standing = [place[order, self.plans[order].packages] for order in orders]
            jobs.append((columns, left, standing, work))
            wanted = list({cell for each in columns for cell, _ in each.takes})
            kept[wanted] += left[wanted]
        with ThreadPoolExecutor(ABREAST) as pool:
            found = list(pool.map(lambda job: chosen(*job), jobs))
        better = []
        for orders, (columns, _, standing, _), numbers in zip(abreast, jobs, found, strict=True):
            before = sum(columns[number].cost for number in standing)
            after = before if numbers is None else sum(columns[number].cost for number in numbers)
            for number in standing if numbers is None or after >= before else numbers:
                self._put(columns[number])
            if after < before:
                better.append(orders)
        return better

    def _promising(self, order: int) -> list[Column]:
        """The plan as it stands, and those of the least cost at the dual's prices."""
        known = sorted(self._known[order].values(), key=self._at_prices)[:COLUMNS]
        standing = self.plans[order]
        return known if standing in known else [standing, *known]

    def _at_prices(self, each: Column) -> float:
        return each.cost + sum(float(self._prices[cell]) * units for cell, units in each.takes)

    def _neighbourhood(self, seed: int, taken: set[int]) -> list[int]:
        """
        Orders around one, without those `taken`: those that want what it wants, then what else they
        want, and so on.
        """
        orders, cells = {seed: None}, dict.fromkeys(self._wants[seed])
        queue = list(cells)
        while queue and len(orders) < TOGETHER:
            for order in self._wanting[queue.pop(0)][:RIVALS]:
                if order in taken:
                    continue
                orders[order] = None
                fresh = [cell for cell in self._wants[order] if cell not in cells]
                cells.update(dict.fromkeys(fresh))
                queue.extend(fresh)
        return list(orders)[:TOGETHER]

    def _map(self) -> None:
        """
        How far each order is from its best plan at the dual's prices, the farthest first; which
        scarce cells it wants, and who wants each, those first that can nearly as well do without.
        """
        every = [each for known in self._known for each in known.values()]
        scarce = contested(every, self._stock)
        best = self._many.best(self._prices).value
        regret = {plan.order: self._at_prices(plan) - best[plan.order] for plan in self.plans}
        far = sorted(regret, key=lambda order: (-regret[order], order))
        self._regrets = [order for order in far if regret[order] > 1]
        self._wants: list[list[int]] = []
        wanting: dict[int, list[tuple[float, int]]] = {cell: [] for cell in scarce}
        for order, known in enumerate(self._known):
            values = [
                (self._at_prices(each), {cell for cell, _ in each.takes}) for each in known.values()
            ]
            cells = sorted(set().union(*(taken for _, taken in values)) & scarce)
            for cell in cells:
                least = min(value for value, taken in values if cell in taken)
                without = min(value for value, taken in values if cell not in taken)
                wanting[cell].append((abs(least - without), order))
            self._wants.append(cells)
        self._wanting = {
            cell: [order for _, order in sorted(some)] for cell, some in wanting.items()
        }

    def _cheapest(self, order: int, *, priced: bool, known: Column | None = None) -> Column:
        """The order's best plan in what is left; at the dual's prices, or as it costs."""
        prices = self._prices if priced else None
        found = column(self._many, order, self._many.alone(order, self._left, prices))
        if known is not None and known.cost <= found.cost:
            return known
        return self._known[order].setdefault(found.packages, found)

    def _fits(self, each: Column) -> bool:
        return all(units <= self._left[cell] for cell, units in each.takes)

    def _put(self, each: Column) -> None:
        self.plans[each.order] = each
        for cell, units in each.takes:
            self._left[cell] -= units

    def _take_out(self, order: int) -> None:
        for cell, units in self.plans[order].takes:
            self._left[cell] += units


def sum_of(plans: Iterable[Column], cells: int) -> Floats:
    """What the plans take of each cell."""
    taken = np.zeros(cells)
    for plan in plans:
        for cell, units in plan.takes:
            taken[cell] += units
    return taken
