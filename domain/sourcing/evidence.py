"""What prices are fitted to, and what they are chosen by."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from domain.values import Value

NO_PRICES: Final = "none"


class Pricing(Value):
    """
    What prices are fitted to: the newest `most` orders of the last `days`, and nothing where they
    are less than `least`. Stock must last for `horizon_days`: until it is replenished. A share of
    the SKUs, `unpriced`, has no prices, so that the others can be compared with it.
    """

    days: Annotated[float, Field(gt=0)] = 28
    horizon_days: Annotated[float, Field(gt=0)] = 7
    unpriced: Annotated[float, Field(ge=0, lt=1)] = 0.2
    most: Annotated[int, Field(ge=10)] = 5000
    least: Annotated[int, Field(ge=10)] = 200


class Trial(Value):
    """
    What the tried orders cost at so much of these prices, without the prices themselves; with a fee
    of a split for every package, the first of an order too.
    """

    method: str
    scale: float
    cost_minor: int


class Evidence(Value):
    """
    What prices were fitted to and tried on: orders in all, and how many of them were tried. The
    first of the `trials` is without prices. A horizon has so many `per_horizon` orders.
    """

    orders: int
    tried: int
    per_horizon: int
    horizon_days: float
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The cheapest; without prices where none are cheaper."""
        return min(self.trials, key=lambda trial: trial.cost_minor)

    @property
    def saved(self) -> float:
        """By the cheapest, of what it costs without prices."""
        none = self.trials[0].cost_minor
        return 1 - self.best.cost_minor / none if none else 0.0
