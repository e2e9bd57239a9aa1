"""When a parcel arrives, and how late that is. Pure arithmetic; the clock is an argument."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays

DELIVERED_UNTIL: Final = time(20)
WEEKEND: Final = frozenset({5, 6})
CARRIER_HOLIDAYS: Final = frozenset(
    {
        "New Year's Day",
        "Memorial Day",
        "Independence Day",
        "Labor Day",
        "Thanksgiving Day",
        "Christmas Day",
    }
)


def deliver_by(ship_by: datetime, transit_days: int, *, origin: str, destination: str) -> datetime:
    """
    The instant by which a parcel handed over at `ship_by` is at the door: 20:00 there.

    Transit days are counted from the hand-over's local day at the origin. Carriers move and deliver
    from Monday to Friday, save on the six US holidays on which none of them drives. `origin` and
    `destination` are time zones.
    """
    day = ship_by.astimezone(ZoneInfo(origin)).date()
    for _ in range(transit_days):
        day = _next_carrier_day(day)
    return datetime.combine(day, DELIVERED_UNTIL, ZoneInfo(destination)).astimezone(UTC)


def days_late(deliver_by: datetime, promise_by: datetime | None) -> int:
    """Days begun after the promise; 0 where it is kept, or where nothing was promised."""
    if promise_by is None or deliver_by <= promise_by:
        return 0
    return -(-(deliver_by - promise_by) // timedelta(days=1))


def _next_carrier_day(day: date) -> date:
    day += timedelta(days=1)
    while day.weekday() in WEEKEND or day in _no_service(day.year):
        day += timedelta(days=1)
    return day


@lru_cache(maxsize=64)
def _no_service(year: int) -> frozenset[date]:
    named = holidays.country_holidays("US", years=year, observed=False)
    return frozenset(day for day, name in named.items() if name in CARRIER_HOLIDAYS)
