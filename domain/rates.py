"""What a package costs to send: zones by distance, base and weight, in whole cents."""

from __future__ import annotations

from typing import Final

from domain.network import RateCard, Zone

# A pound is 453.59237 g exactly; in these units both sides of a comparison are integers.
UNITS_PER_LB: Final = 45_359_237
UNITS_PER_G: Final = 100_000


def billed_pounds(weight_g: int) -> int:
    """The weight in pounds, each begun one counted."""
    return -(-weight_g * UNITS_PER_G // UNITS_PER_LB)


def shipping_minor(base_minor: int, per_lb_minor: int, weight_g: int) -> int:
    """base + per_lb for every begun pound after the first."""
    return base_minor + per_lb_minor * max(0, billed_pounds(weight_g) - 1)


def zone_of(card: RateCard, miles: float) -> tuple[int, Zone] | None:
    """The zone (counted from 1) that reaches so far; None beyond the last one."""
    for number, zone in enumerate(card.zones, start=1):
        if miles <= zone.max_miles:
            return number, zone
    return None
