import pytest

from domain.geography import locate, miles_between


def test_a_zip_is_found_with_its_time_zone() -> None:
    place = locate("75201-1234", "US")

    assert place is not None
    assert (place.precision, place.timezone) == ("zip", "America/Chicago")
    assert miles_between((place.latitude, place.longitude), (32.79, -96.80)) < 5


@pytest.mark.parametrize(
    ("postal_code", "country", "region", "precision"),
    [
        ("75299", "US", "TX", "zip3"),
        ("00000", "US", "TX", "state"),
        ("", "", "", "country"),
        ("", "PR", "", "state"),
        ("00901", "PR", "", "zip"),
    ],
)
def test_what_is_not_known_falls_back(
    postal_code: str, country: str, region: str, precision: str
) -> None:
    place = locate(postal_code, country, region)

    assert place is not None
    assert place.precision == precision


@pytest.mark.parametrize(
    ("postal_code", "country", "region"),
    [("K2P 1L4", "CA", "ON"), ("", "HK", ""), ("42500", "FR", ""), ("09012", "US", "AE")],
)
def test_abroad_and_military_post_have_no_place(
    postal_code: str, country: str, region: str
) -> None:
    assert locate(postal_code, country, region) is None


def test_the_distance_of_two_coasts() -> None:
    assert miles_between((40.64, -73.78), (33.94, -118.41)) == pytest.approx(2469, rel=0.005)
    assert miles_between((10, 10), (10, 10)) == 0
