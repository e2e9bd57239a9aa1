"""What a package costs to send: zones by distance, base and weight, in whole cents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from domain.network import RateCard, Zone

if TYPE_CHECKING:  # workflows may know prices, and need no numpy for them
    from domain.sourcing.lattice import Ints

# A pound is 453.59237 g exactly; in these units both sides of a comparison are integers.
UNITS_PER_LB: Final = 45_359_237
UNITS_PER_G: Final = 100_000
# A cubic inch is 16,387.064 mm³ exactly.
THOUSANDTHS_MM3_PER_IN3: Final = 16_387_064

Number = TypeVar("Number", int, "Ints")


def pounds_by_weight(weight_g: Number) -> Number:
    """The weight in pounds, each begun one counted."""
    return -(-weight_g * UNITS_PER_G // UNITS_PER_LB)


def pounds_by_volume(volume_mm3: Number, dim_divisor: int, carton_in3: int = 0) -> Number:
    """
    The dimensional weight: so many cubic inches to the pound, each begun pound counted. Where
    cartons have a size, a begun one counts as a whole one.
    """
    if not dim_divisor:
        return volume_mm3 * 0
    if carton_in3:
        cartons = -(-volume_mm3 * 1000 // (carton_in3 * THOUSANDTHS_MM3_PER_IN3))
        return -(-cartons * carton_in3 // dim_divisor)
    return -(-volume_mm3 * 1000 // (dim_divisor * THOUSANDTHS_MM3_PER_IN3))


def billed_pounds(
    weight_g: int, volume_mm3: int = 0, dim_divisor: int = 0, carton_in3: int = 0
) -> int:
    """What a carton is billed by: its weight or its dimensional weight, whichever is more."""
    by_volume = pounds_by_volume(volume_mm3, dim_divisor, carton_in3)
    return max(pounds_by_weight(weight_g), by_volume)


def shipping_minor(base_minor: int, per_lb_minor: int, weight_g: int) -> int:
    """base + per_lb for every begun pound after the first."""
    return base_minor + per_lb_minor * max(0, billed_pounds(weight_g) - 1)


def zone_of(card: RateCard, miles: float) -> tuple[int, Zone] | None:
    """The zone (counted from 1) that reaches so far; None beyond the last one."""
    for number, zone in enumerate(card.zones, start=1):
        if miles <= zone.max_miles:
            return number, zone
    return None
