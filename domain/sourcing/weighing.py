"""What plans are compared by: every part of a cost times its weight, in whole numbers."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Final, TypeVar

from domain.sourcing.policy import Weights
from domain.sourcing.problem import MONEY, CostParts, Measures, Plan, Problem

if TYPE_CHECKING:  # workflows may know what a plan counts, and need no numpy for it
    from domain.sourcing.lattice import Ints

Number = TypeVar("Number", int, "Ints")

THOUSANDTHS: Final = 1000  # of a minor unit: a per cent of one, and a gram at its price per kg


class Weighing:
    """
    The weights of a problem as factors, in points.

    A point is as many thousandths of a minor unit as divide all the factors: with the weights as
    they are it is a minor unit. Every function takes whole numbers, or columns of them.
    """

    def __init__(self, problem: Problem) -> None:
        weights = problem.policy.weights
        factors = _factors(weights)
        self.unit = gcd(*factors.values())
        self._by = {name: factor // self.unit for name, factor in factors.items()}
        self._split = problem.split_fee_minor
        self._late = problem.late_day_minor

    @property
    def first_split(self) -> int:
        """The fee that every package is charged, and the first of a plan is spared."""
        return self._split * self._by["split"]

    def package(self, order_cost: Number, labour: Number, miles: Number, apart: Number) -> Number:
        """A package at any content, however it goes. `apart`: what preferences have against it."""
        by = self._by
        return (
            order_cost * by["handling"]
            + labour * by["labour"]
            + miles * by["miles"]
            + apart * by["preference_minor"]
            + (self.first_split + by["packages"])
        )

    def unit_of(self, unit_cost: Number, labour: Number) -> Number:
        return unit_cost * self._by["handling"] + labour * self._by["labour"]

    def line(self, line_cost: Number) -> Number:
        return line_cost * self._by["handling"]

    def goods(self, stock: Number, goods: Number) -> Number:
        return stock * self._by["stock"] + goods * self._by["goods"]

    def option(self, days_late: Number, days: Number) -> Number:
        return days_late * (self._late * self._by["late"]) + days * self._by["days"]

    def carton(self, base: Number, carbon_g: Number) -> Number:
        """A carton at any weight; `pound` is each pound beyond its first."""
        return base * self._by["shipping"] + carbon_g * self._by["carbon_g"]

    pound = carton


def objective(weights: Weights, cost: CostParts, measures: Measures) -> int:
    """What a package counts, in thousandths of a minor unit."""
    factors = _factors(weights)
    return sum(factor * _amount(name, cost, measures) for name, factor in factors.items())


def parts(weights: Weights, plan: Plan) -> dict[str, int]:
    """The plan's objective by what it is made of; those that are not 0. They sum to it."""
    found = {
        name: factor * sum(_amount(name, a.cost, a.measures) for a in plan.assignments)
        for name, factor in _factors(weights).items()
    }
    return {name: value for name, value in found.items() if value}


def _amount(name: str, cost: CostParts, measures: Measures) -> int:
    amount: int = getattr(cost if name in MONEY else measures, name)
    return amount


def _factors(weights: Weights) -> dict[str, int]:
    """What one of each part or measure counts, in thousandths of a minor unit."""
    per_cent = THOUSANDTHS // 100
    return {
        **{name: getattr(weights, name) * per_cent for name in MONEY},
        "carbon_g": weights.carbon_minor_per_kg,
        "days": weights.minor_per_day * THOUSANDTHS,
        "miles": weights.minor_per_1000_miles,
        "packages": weights.minor_per_package * THOUSANDTHS,
        "preference_minor": THOUSANDTHS,
    }
