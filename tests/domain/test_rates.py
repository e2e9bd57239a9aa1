import pytest

from domain.network import RateCard, Zone
from domain.rates import billed_pounds, pounds_by_volume, shipping_minor, zone_of

CARD = RateCard(
    service="ground",
    carrier="x",
    zones=(
        Zone(max_miles=150, base_minor=750, per_lb_minor=18, transit_days=1),
        Zone(max_miles=300, base_minor=790, per_lb_minor=22, transit_days=2),
    ),
)


@pytest.mark.parametrize(("grams", "pounds"), [(0, 0), (1, 1), (453, 1), (454, 2), (907, 2)])
def test_each_begun_pound_counts(grams: int, pounds: int) -> None:
    assert billed_pounds(grams) == pounds


@pytest.mark.parametrize(
    ("inches", "divisor", "carton", "pounds"),
    [(139, 139, 0, 1), (140, 139, 0, 2), (140, 0, 0, 0), (10, 139, 200, 2), (201, 166, 200, 3)],
)
def test_dimensional_weight_counts_begun_pounds_of_whole_cartons(
    inches: int, divisor: int, carton: int, pounds: int
) -> None:
    volume = inches * 16_387_064 // 1000
    assert pounds_by_volume(volume, divisor, carton) == pounds
    assert billed_pounds(1, volume, divisor, carton) == max(1, pounds)


def test_the_first_pound_is_in_the_base() -> None:
    assert [shipping_minor(750, 18, grams) for grams in (0, 453, 454)] == [750, 750, 768]


def test_a_zone_ends_with_its_last_mile() -> None:
    reached = [zone_of(CARD, miles) for miles in (150, 150.1, 301)]

    assert [found[0] if found else None for found in reached] == [1, 2, None]
