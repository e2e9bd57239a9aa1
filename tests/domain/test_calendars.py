from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.calendars import (
    is_open_day,
    next_cutoff,
    next_open_day,
    pickup_until,
    ready_by,
    ship_by,
)
from domain.errors import Invalid
from domain.network import Calendar

WEEK = (0, 1, 2, 3, 4, 5, 6)
DALLAS = Calendar(timezone="America/Chicago")
STORE = Calendar(timezone="America/Chicago", weekdays=(0, 1, 2, 3, 4, 5), opens=time(10))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "handling_days", "expected"),
    [
        pytest.param("2026-11-20T19:59:59", 0, "2026-11-21T00:00", id="before-the-cutoff"),
        pytest.param("2026-11-20T20:00:00", 0, "2026-11-24T00:00", id="at-the-cutoff-is-monday"),
        pytest.param("2026-11-21T15:00:00", 0, "2026-11-24T00:00", id="on-a-closed-day"),
        pytest.param("2026-11-25T15:00:00", 1, "2026-11-28T00:00", id="thanksgiving-is-closed"),
        pytest.param("2026-03-06T15:00:00", 1, "2026-03-09T23:00", id="over-the-clock-change"),
    ],
)
def test_ship_by(now: str, handling_days: int, expected: str) -> None:
    assert ship_by(DALLAS, utc(now), handling_days) == utc(expected)


def test_a_cutoff_follows_local_time_over_the_clock_change() -> None:
    winter, summer = utc("2026-03-06T19:30:00"), utc("2026-03-09T19:30:00")

    assert ship_by(DALLAS, winter) == utc("2026-03-07T00:00")  # 13:30 in Dallas
    assert ship_by(DALLAS, summer) == utc("2026-03-10T23:00")  # 14:30 in Dallas


# Oracle's example: ready on Saturday the 5th, two days.
@pytest.mark.parametrize(
    ("weekdays", "day"),
    [pytest.param((0, 1, 2, 3, 4, 5), 8, id="closed-sunday"), pytest.param(WEEK, 7, id="open")],
)
def test_closed_days_do_not_count_for_a_pickup(weekdays: tuple[int, ...], day: int) -> None:
    store = Calendar(timezone="America/Chicago", weekdays=weekdays, closes=time(20))

    until = pickup_until(store, utc("2026-12-05T16:00:00"), 2)

    assert until == utc(f"2026-12-{day + 1:02d}T02:00:00")  # 20:00 in Chicago


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        pytest.param("2026-12-05T16:00:00", "2026-12-06T00:00", id="today-at-closing"),
        pytest.param("2026-12-06T01:00:00", "2026-12-08T00:00", id="after-closing"),
        pytest.param("2026-12-06T16:00:00", "2026-12-08T00:00", id="closed-today"),
    ],
)
def test_a_pickup_of_no_days_ends_with_the_next_closing(ready: str, expected: str) -> None:
    assert pickup_until(STORE, utc(ready), 0) == utc(expected)


def test_a_pickup_window_over_the_clock_change_ends_at_local_closing_time() -> None:
    store = Calendar(timezone="America/Chicago", weekdays=WEEK, closes=time(20), holidays="")

    assert pickup_until(store, utc("2026-10-31T18:00:00"), 1) == utc("2026-11-02T02:00:00")
    assert pickup_until(store, utc("2026-10-30T18:00:00"), 1) == utc("2026-11-01T01:00:00")


def test_a_shift_past_midnight_ends_on_the_next_day() -> None:
    night = Calendar(timezone="UTC", opens=time(18), closes=time(2), cutoff=time(22), holidays="")

    assert ship_by(night, utc("2026-11-19T21:00:00")) == utc("2026-11-20T02:00:00")


def test_own_closed_days_and_public_holidays_are_closed() -> None:
    calendar = Calendar(timezone="UTC", weekdays=WEEK, closed=("2026-11-20",))

    assert not is_open_day(calendar, date(2026, 11, 20))
    assert not is_open_day(calendar, date(2026, 11, 26))
    assert is_open_day(calendar.model_copy(update={"holidays": ""}), date(2026, 11, 26))
    assert next_open_day(calendar, date(2026, 11, 20)) == date(2026, 11, 21)


def test_a_calendar_without_open_days_is_refused() -> None:
    with pytest.raises(Invalid, match="no open day"):
        next_open_day(Calendar(timezone="UTC", weekdays=()), date(2026, 1, 1))


# 10:00 to 20:00 every day but Christmas; a pickup takes an hour.
SHOP = Calendar(
    timezone="America/Chicago",
    weekdays=WEEK,
    opens=time(10),
    closes=time(20),
    holidays="",
    closed=("2026-12-25",),
)


@pytest.mark.parametrize(
    ("now", "ready", "last_call"),
    [
        pytest.param("2026-12-02T12:00", "2026-12-02T17:00", "2026-12-03T01:00", id="before-open"),
        pytest.param("2026-12-02T18:30", "2026-12-02T19:30", "2026-12-03T01:00", id="while-open"),
        pytest.param("2026-12-03T00:59:59", "2026-12-03T01:59:59", "2026-12-03T01:00", id="-1s"),
        pytest.param("2026-12-03T01:00", "2026-12-03T17:00", "2026-12-04T01:00", id="at-last-call"),
        pytest.param("2026-12-03T01:50", "2026-12-03T17:00", "2026-12-04T01:00", id="10-min-left"),
        pytest.param(
            "2026-12-25T01:50", "2026-12-26T17:00", "2026-12-27T01:00", id="Christmas-eve"
        ),
        pytest.param("2026-03-08T01:50", "2026-03-08T16:00", "2026-03-09T00:00", id="DST-begins"),
        pytest.param("2026-11-01T00:50", "2026-11-01T17:00", "2026-11-02T01:00", id="DST-ends"),
    ],
)
def test_a_pickup_is_ready_within_opening_hours(now: str, ready: str, last_call: str) -> None:
    assert ready_by(SHOP, utc(now), timedelta(hours=1)) == (utc(ready), utc(last_call))


def test_a_pickup_of_several_days_is_ready_after_the_opening_of_the_last() -> None:
    ready, last_call = ready_by(SHOP, utc("2026-12-23T18:00"), timedelta(hours=1), 2)

    assert (ready, last_call) == (utc("2026-12-26T17:00"), utc("2026-12-24T01:00"))


def test_a_pickup_that_takes_longer_than_a_day_takes_the_day() -> None:
    before, after = utc("2026-12-02T15:59:59"), utc("2026-12-02T16:00")

    assert ready_by(SHOP, before, timedelta(hours=30)) == (utc("2026-12-03T02:00"), after)
    assert ready_by(SHOP, after, timedelta(hours=30))[0] == utc("2026-12-04T02:00")


def test_a_night_shift_of_yesterday_still_prepares() -> None:
    night = Calendar(timezone="UTC", weekdays=(3,), opens=time(18), closes=time(2), holidays="")

    ready, last_call = ready_by(night, utc("2026-12-04T00:30"), timedelta(hours=1))

    assert (ready, last_call) == (utc("2026-12-04T01:30"), utc("2026-12-04T01:00"))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param("2026-11-20T19:59:59", "2026-11-20T20:00", id="today"),
        pytest.param("2026-11-20T20:00:00", "2026-11-23T20:00", id="the-one-now-is-over"),
        pytest.param("2026-11-25T20:00:00", "2026-11-27T20:00", id="not-on-a-holiday"),
    ],
)
def test_the_next_cutoff_is_one_of_an_open_day(now: str, expected: str) -> None:
    assert next_cutoff(DALLAS, utc(now)) == utc(expected)


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    opens=st.integers(0, 12),
    hours=st.integers(1, 11),
    weekdays=st.sets(st.integers(0, 6), min_size=1),
    minutes=st.integers(0, 900),
    days=st.integers(0, 3),
)
def test_goods_are_ready_while_the_store_is_open(  # noqa: PLR0913, PLR0917
    now: datetime, opens: int, hours: int, weekdays: set[int], minutes: int, days: int
) -> None:
    store = Calendar(
        timezone="America/Denver",
        weekdays=tuple(sorted(weekdays)),
        opens=time(opens),
        closes=time(opens + hours),
    )
    lead = timedelta(minutes=minutes)
    ready, last_call = ready_by(store, now, lead, days)
    there = ready.astimezone(ZoneInfo(store.timezone))

    assert is_open_day(store, there.date())
    assert store.opens <= there.time() <= store.closes
    assert now <= ready
    assert now < last_call
    before = ready_by(store, last_call - timedelta(microseconds=1), lead, days)[0]
    after = ready_by(store, last_call, lead, days)[0]
    assert before.astimezone(ZoneInfo(store.timezone)).date() == there.date()
    assert after.astimezone(ZoneInfo(store.timezone)).date() > there.date()
