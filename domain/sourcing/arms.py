"""Whether prices pay: what priced SKUs cost beside those that never have a price."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, sqrt
from typing import Final

from domain.sourcing.books import unpriced
from domain.sourcing.problem import Decision
from domain.sourcing.words import count
from domain.values import Value

FEWEST: Final = 10  # SKUs of each arm, below which nothing is said
ERRORS: Final = 2.0  # so many standard errors are no chance


class Tally:
    """Units that were sent, and their money without the price of stock, by SKU."""

    def __init__(self) -> None:
        self.units: dict[str, int] = {}
        self.money: dict[str, float] = {}

    def add(self, decision: Decision) -> None:
        """The money of a package is shared by its units alike."""
        skus = {demand.line_id: demand.sku for demand in decision.problem.demands}
        for sent in decision.plan.assignments:
            money = sent.cost.total - sent.cost.stock
            each = money / sum(line.quantity for line in sent.lines)
            for line in sent.lines:
                sku = skus[line.line_id]
                self.units[sku] = self.units.get(sku, 0) + line.quantity
                self.money[sku] = self.money.get(sku, 0.0) + each * line.quantity


class Arm(Value):
    """SKUs with their units, and what a unit cost, before there were prices and since."""

    skus: int
    units_before: int
    units_since: int
    minor_before: float
    minor_since: float


class Verdict(Value):
    """
    `effect` is by how much (0.02: 2 %) a unit of the priced arm came to cost more than one of the
    unpriced arm, against what it did before; `error` is its standard error.
    """

    priced: Arm
    unpriced: Arm
    effect: float
    error: float

    @property
    def worse(self) -> bool:
        return self.effect > ERRORS * self.error

    @property
    def said(self) -> str:
        return (
            f"a unit of priced SKUs costs {self.effect:+.1%} against unpriced ones"
            f" (standard error {self.error:.1%};"
            f" {self.priced.units_since} and"
            f" {count(self.unpriced.units_since, 'unit', 'units')})"
        )


def judge(before: Tally, since: Tally, share: float) -> Verdict | None:
    """
    Both arms before and since; None where one of them has too little to tell.

    A difference of differences of logarithms, its error by linearization over SKUs: they, not
    orders, are what was drawn into an arm (Cochran, "Sampling Techniques" (1977), 6.4 and 11.9).
    """
    arms, changes, variances = [], [], []
    for without in (False, True):
        arm = _arm(before, since, share, without=without)
        if arm is None:
            return None
        arms.append(arm[0])
        changes.append(arm[1])
        variances.append(arm[2])
    return Verdict(
        priced=arms[0],
        unpriced=arms[1],
        effect=changes[0] - changes[1],
        error=sqrt(sum(variances)),
    )


def _arm(
    before: Tally, since: Tally, share: float, *, without: bool
) -> tuple[Arm, float, float] | None:
    """An arm, by how much its unit came to cost more, and the variance of that."""
    names = sorted(before.units.keys() | since.units.keys())
    skus = [sku for sku in names if unpriced(sku, share) == without]
    units = [_sum(tally.units, skus) for tally in (before, since)]
    money = [_sum(tally.money, skus) for tally in (before, since)]
    if len(skus) < FEWEST or min(units) <= 0 or min(money) <= 0:
        return None
    each = [money[0] / units[0], money[1] / units[1]]
    parts = [
        _part(since, sku, each[1], money[1]) - _part(before, sku, each[0], money[0]) for sku in skus
    ]
    variance = len(skus) / (len(skus) - 1) * sum(part * part for part in parts)
    arm = Arm(
        skus=len(skus),
        units_before=round(units[0]),
        units_since=round(units[1]),
        minor_before=round(each[0], 2),
        minor_since=round(each[1], 2),
    )
    return arm, log(each[1] / each[0]), variance


def _sum(of: Mapping[str, float], skus: list[str]) -> float:
    return sum(of.get(sku, 0) for sku in skus)


def _part(tally: Tally, sku: str, each: float, money: float) -> float:
    """What the SKU has to do with the logarithm of what a unit costs."""
    return (tally.money.get(sku, 0.0) - each * tally.units.get(sku, 0)) / money
