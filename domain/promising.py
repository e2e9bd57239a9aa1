"""When a parcel leaves and arrives, until when that holds, and how late it is. Clocks are given."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import holidays

from domain.calendars import HORIZON_DAYS, closing, is_open_day, next_cutoff, packed_on
from domain.errors import Invalid
from domain.network import Calendar, RateCard

DELIVERED_FROM: Final = time(8)
DELIVERED_UNTIL: Final = time(20)
WORKDAYS: Final = (0, 1, 2, 3, 4)
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


class Lane(NamedTuple):
    """
    One carrier service from a node to a door: `destination` is the door's time zone. The node is
    `lead` behind: it does what was asked for now as if it were asked for then.
    """

    calendar: Calendar
    handling_days: int
    card: RateCard
    transit_days: int
    destination: str
    lead: timedelta = timedelta(0)

    def leaves(self, now: datetime) -> datetime:
        """
        The instant at which the carrier has what was asked for `now`.

        That is closing time of the first day, from the one on which it is packed, on which the node
        is open and the carrier collects. Raises Invalid where there is no such day.
        """
        packed = packed_on(self.calendar, now + self.lead, self.handling_days)
        for ahead in range(HORIZON_DAYS):
            day = packed + timedelta(days=ahead)
            if is_open_day(self.calendar, day) and _drives(day, self.card.collects):
                return closing(self.calendar, day)
        raise Invalid(f"{self.card.carrier} never collects on a day on which the node is open")

    def arrives(self, now: datetime) -> datetime:
        """The instant by which what was asked for `now` is at the door."""
        return self.delivered(self.leaves(now))

    def delivered(self, leaves: datetime) -> datetime:
        """The instant by which what the carrier has at `leaves` is at the door."""
        return deliver_by(
            leaves,
            self.transit_days,
            origin=self.calendar.timezone,
            destination=self.destination,
            weekdays=self.card.delivers,
        )

    def holds_until(self, now: datetime) -> datetime:
        """The first cut-off after `now` from which on it arrives later; not every one moves it."""
        promised, cutoff = self.arrives(now), self._next_cutoff(now)
        while self.arrives(cutoff) <= promised:
            cutoff = self._next_cutoff(cutoff)
        return cutoff

    def _next_cutoff(self, now: datetime) -> datetime:
        return next_cutoff(self.calendar, now + self.lead) - self.lead


def deliver_by(
    ship_by: datetime,
    transit_days: int,
    *,
    origin: str,
    destination: str,
    weekdays: Collection[int] = WORKDAYS,
) -> datetime:
    """
    The instant by which a parcel handed over at `ship_by` is at the door: 20:00 there.

    Transit days are counted from the hand-over's local day at the origin. The carrier moves and
    delivers on `weekdays`, save on the six US holidays on which none drives; what it gets too late
    for a round of the same day goes with the next. `origin` and `destination` are time zones.
    """
    day = ship_by.astimezone(ZoneInfo(origin)).date()
    for _ in range(transit_days):
        day = _next_round(day, weekdays)
    while (comes := _at(day, DELIVERED_UNTIL, destination)) < ship_by or not _drives(day, weekdays):
        day = _next_round(day, weekdays)
    return comes


def deliver_from(deliver_by: datetime, destination: str) -> datetime:
    """When the round begins that ends at `deliver_by`: 08:00 there on that day."""
    day = deliver_by.astimezone(ZoneInfo(destination)).date()
    return _at(day, DELIVERED_FROM, destination)


def days_late(deliver_by: datetime, promise_by: datetime | None) -> int:
    """Days begun after the promise; 0 where it is kept, or where nothing was promised."""
    if promise_by is None or deliver_by <= promise_by:
        return 0
    return -(-(deliver_by - promise_by) // timedelta(days=1))


def _next_round(day: date, weekdays: Collection[int]) -> date:
    day += timedelta(days=1)
    while not _drives(day, weekdays):
        day += timedelta(days=1)
    return day


def _at(day: date, at: time, zone: str) -> datetime:
    return datetime.combine(day, at, ZoneInfo(zone)).astimezone(UTC)


def _drives(day: date, weekdays: Collection[int]) -> bool:
    return day.weekday() in weekdays and day not in _no_service(day.year)


@lru_cache(maxsize=64)
def _no_service(year: int) -> frozenset[date]:
    named = holidays.country_holidays("US", years=year, observed=False)
    return frozenset(day for day, name in named.items() if name in CARRIER_HOLIDAYS)
