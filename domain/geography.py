"""Where a postal code is, and how far two places are from each other."""

from __future__ import annotations

import re
from functools import lru_cache
from math import asin, cos, radians, sin, sqrt
from typing import Final, Literal
from zoneinfo import available_timezones

import zipcodes

from domain.values import Value

EARTH_RADIUS_MILES: Final = 3958.8
US: Final = frozenset({"", "US", "USA"})
TERRITORIES: Final = frozenset({"PR", "VI", "GU", "AS", "MP", "UM"})
MILITARY: Final = frozenset({"AA", "AE", "AP"})

Precision = Literal["zip", "zip3", "state", "country", "abroad"]


class Place(Value):
    """A point and its time zone. `precision` tells what it was found by, the finest first."""

    latitude: float
    longitude: float
    timezone: str
    precision: Precision


US_CENTRE: Final = Place(
    latitude=39.83, longitude=-98.58, timezone="America/Chicago", precision="country"
)


def locate(postal_code: str, country: str = "US", region: str = "") -> Place | None:
    """
    The place of a US postal code (territories too, ZIP+4 too); None where it is abroad.

    A code that is not known falls back to the middle of its first three digits, then to the middle
    of its state, then to the middle of the country. Military post counts as abroad. An empty
    country is read as the US.
    """
    country = country.strip().upper()
    region = region.strip().upper()
    if country not in US | TERRITORIES or region in MILITARY:
        return None
    return _locate_us(postal_code.strip(), "US" if country in US else country, region)


def miles_between(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The great-circle distance of two (latitude, longitude) points in degrees: the haversine."""
    lat_a, lon_a, lat_b, lon_b = map(radians, (*a, *b))
    h = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_MILES * asin(sqrt(min(1.0, h)))


@lru_cache(maxsize=1)
def timezones() -> frozenset[str]:
    """The names of all time zones; reading them takes tens of milliseconds, so it is done once."""
    return frozenset(available_timezones())


@lru_cache(maxsize=65_536)
def _locate_us(postal_code: str, country: str, region: str) -> Place | None:
    if re.fullmatch(r"\d{5}(-?\d{4})?", postal_code):
        code = postal_code[:5]
        rows = zipcodes.matching(code)  # type: ignore[no-untyped-call]
        if rows and rows[0]["state"] in MILITARY:
            return None
        found = _middle(rows, "zip") or _middle_of_prefix(code[:3])
        if found:
            return found
    return _middle_of_state(region if country == "US" else country) or US_CENTRE


@lru_cache(maxsize=1024)
def _middle_of_prefix(prefix: str) -> Place | None:
    rows = zipcodes.similar_to(prefix)  # type: ignore[no-untyped-call]
    return _middle(rows, "zip3")


@lru_cache(maxsize=128)
def _middle_of_state(state: str) -> Place | None:
    if not state:
        return None
    rows = zipcodes.filter_by_state(state)  # type: ignore[no-untyped-call]
    return _middle(rows, "state")


def _middle(rows: list[dict[str, object]], precision: Precision) -> Place | None:
    """The mean point of the rows that carry one, and their commonest time zone."""
    known = [
        (float(str(row["lat"])), float(str(row["long"])), str(row["timezone"]))
        for row in rows
        if row["lat"] and row["timezone"] in timezones()
    ]
    known = [row for row in known if row[0] or row[1]]
    if not known:
        return None
    zones = sorted(zone for _, _, zone in known)
    return Place(
        latitude=round(sum(row[0] for row in known) / len(known), 4),
        longitude=round(sum(row[1] for row in known) / len(known), 4),
        timezone=max(zones, key=zones.count),
        precision=precision,
    )
