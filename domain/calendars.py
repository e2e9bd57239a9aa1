"""When a node works: open days, cut-offs, goods ready, pickup windows. Clocks are arguments."""

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
    """The instant at which work asked for `now` is done: closing time of its `packed_on` day."""
    return closing(calendar, packed_on(calendar, now, handling_days))


def packed_on(calendar: Calendar, now: datetime, handling_days: int = 0) -> date:
    """
    The open day on which work asked for `now` is done.

    Work that comes before the cut-off of an open day counts from that day, other work from the next
    open day; `handling_days` open days are added. An instant at the cut-off itself is late.
    """
    today = _today(calendar, now)
    in_time = is_open_day(calendar, today) and now < _at(calendar, today, calendar.cutoff)
    start = today if in_time else today + timedelta(days=1)
    return after_open_days(calendar, start, handling_days)


def next_cutoff(calendar: Calendar, now: datetime) -> datetime:
    """The first cut-off of an open day after `now`."""
    day = next_open_day(calendar, _today(calendar, now))
    while (cutoff := _at(calendar, day, calendar.cutoff)) <= now:
        day = next_open_day(calendar, day + timedelta(days=1))
    return cutoff


def ready_by(
    calendar: Calendar, now: datetime, lead: timedelta, handling_days: int = 0
) -> tuple[datetime, datetime]:
    """
    When goods asked for `now` wait at the store, and until when asking gives that day.

    They take `lead` of one day's opening hours; what could not be ready before closing is begun at
    the next opening, `handling_days` open days later where there are any. A lead longer than a day
    is a whole day. An order 10 minutes before closing is ready `lead` after the next opening.
    """
    day = next_open_day(calendar, _today(calendar, now) - timedelta(days=1))  # a night shift's
    while now >= (last := _last_call(calendar, day, lead)):
        day = next_open_day(calendar, day + timedelta(days=1))
    begun = max(now, _at(calendar, day, calendar.opens))
    if handling_days:
        day = after_open_days(calendar, day, handling_days)
        begun = _at(calendar, day, calendar.opens)
    return min(begun + lead, closing(calendar, day)), last


def pickup_until(calendar: Calendar, ready_at: datetime, days: int) -> datetime:
    """
    The instant at which a pickup window ends: closing time, `days` open days after the ready day.

    Days on which the store is closed do not count, nor does the ready day: ready on a Saturday
    with 2 days is Tuesday where Sunday is closed, Monday where it is open. With 0 days it is the
    first closing time that is still to come.
    """
    ready_day = _today(calendar, ready_at)
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


def _last_call(calendar: Calendar, day: date, lead: timedelta) -> datetime:
    """From when on goods asked for would not be ready that day."""
    return max(closing(calendar, day) - lead, _at(calendar, day, calendar.opens))


def _today(calendar: Calendar, now: datetime) -> date:
    return now.astimezone(ZoneInfo(calendar.timezone)).date()


def _at(calendar: Calendar, day: date, at: time) -> datetime:
    """A local wall time as an instant; one that a clock change skips is read by the old offset."""
    return datetime.combine(day, at, ZoneInfo(calendar.timezone)).astimezone(UTC)
