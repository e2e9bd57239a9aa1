"""When a node works: open days, cut-offs, hand-overs, pickup windows. Clocks are arguments."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays

from domain.errors import Invalid
from domain.network import Calendar

HORIZON_DAYS: Final = 400


def is_open_day(calendar: Calendar, day: date) -> bool:
    """Whether the node works on that local day."""
    return (
        day.weekday() in calendar.weekdays
        and day.isoformat() not in calendar.closed
        and day not in public_holidays(calendar.holidays, day.year)
    )


def next_open_day(calendar: Calendar, day: date) -> date:
    """The day itself if open, else the first open day after it. Raises Invalid if none comes."""
    for ahead in range(HORIZON_DAYS):
        candidate = day + timedelta(days=ahead)
        if is_open_day(calendar, candidate):
            return candidate
    raise Invalid(f"calendar: no open day within {HORIZON_DAYS} days of {day}")


def after_open_days(calendar: Calendar, day: date, days: int) -> date:
    """The open day that is `days` open days after `day`; with 0, `day` or the next open one."""
    day = next_open_day(calendar, day)
    for _ in range(days):
        day = next_open_day(calendar, day + timedelta(days=1))
    return day


def ship_by(calendar: Calendar, now: datetime, handling_days: int = 0) -> datetime:
    """
    The instant at which work asked for `now` is handed over to the carrier.

    Work that comes before the cut-off of an open day counts from that day, other work from the next
    open day; `handling_days` open days are added, and the hand-over is at closing time. An instant
    at the cut-off itself is late.
    """
    today = now.astimezone(ZoneInfo(calendar.timezone)).date()
    in_time = is_open_day(calendar, today) and now < _at(calendar, today, calendar.cutoff)
    start = today if in_time else today + timedelta(days=1)
    return closing(calendar, after_open_days(calendar, start, handling_days))


def pickup_until(calendar: Calendar, ready_at: datetime, days: int) -> datetime:
    """
    The instant at which a pickup window ends: closing time, `days` open days after the ready day.

    Days on which the store is closed do not count, nor does the ready day: ready on a Saturday
    with 2 days is Tuesday where Sunday is closed, Monday where it is open. With 0 days it is the
    first closing time that is still to come.
    """
    ready_day = ready_at.astimezone(ZoneInfo(calendar.timezone)).date()
    if days <= 0:
        until = closing(calendar, next_open_day(calendar, ready_day))
        if until > ready_at:
            return until
        days = 1
    day = ready_day
    for _ in range(days):
        day = next_open_day(calendar, day + timedelta(days=1))
    return closing(calendar, day)


def closing(calendar: Calendar, day: date) -> datetime:
    """When the node closes on that day; the next day where it works past midnight."""
    overnight = calendar.closes <= calendar.opens
    return _at(calendar, day + timedelta(days=1) if overnight else day, calendar.closes)


@lru_cache(maxsize=256)
def public_holidays(country: str, year: int) -> frozenset[date]:
    """A country's public holidays of a year, observed days included; none for an empty country."""
    if not country:
        return frozenset()
    return frozenset(holidays.country_holidays(country, years=year))


def _at(calendar: Calendar, day: date, at: time) -> datetime:
    """A local wall time as an instant; one that a clock change skips is read by the old offset."""
    return datetime.combine(day, at, ZoneInfo(calendar.timezone)).astimezone(UTC)
