"""From the order to the door: cut-offs, handling, collection days, holidays, both DST nights."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.calendars import is_open_day
from domain.errors import Invalid
from domain.network import Calendar, RateCard, Zone
from domain.promising import Lane, deliver_from

CHICAGO, NEW_YORK, DENVER = "America/Chicago", "America/New_York", "America/Denver"
WEEK = (0, 1, 2, 3, 4, 5, 6)
SECOND = timedelta(seconds=1)
ZONE = Zone(max_miles=9999, base_minor=800, per_lb_minor=20, transit_days=2)
GROUND = RateCard(service="ground", carrier="Meridian", zones=(ZONE,))
DALLAS = Calendar(timezone=CHICAGO)  # Monday to Friday, US holidays, cut-off 14:00, closes 18:00


def local(text: str, zone: str = CHICAGO) -> datetime:
    """A wall time there; on the night with an hour twice, the first unless it ends in `*`."""
    at = datetime.fromisoformat(text.rstrip("*")).replace(fold=int(text.endswith("*")))
    return at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def lane(
    calendar: Calendar = DALLAS,
    *,
    days: int = 2,
    handling: int = 0,
    card: RateCard = GROUND,
    to: str = NEW_YORK,
) -> Lane:
    return Lane(calendar, handling, card, days, to)


def works(**more: object) -> Calendar:
    return DALLAS.model_copy(update=more)


def carries(**more: object) -> RateCard:
    return GROUND.model_copy(update=more)


# Labor Day is Monday, 2026-09-07; Thanksgiving is Thursday, 2026-11-26.
@pytest.mark.parametrize(
    ("way", "cutoff", "before", "after"),
    [
        pytest.param(
            lane(),
            "2026-11-18T14:00",
            ("2026-11-18", "2026-11-20"),
            ("2026-11-19", "2026-11-23"),
            id="wednesday-and-the-parcel-rests-on-the-weekend",
        ),
        pytest.param(
            lane(days=1),
            "2026-09-04T14:00",
            ("2026-09-04", "2026-09-08"),
            ("2026-09-08", "2026-09-09"),
            id="friday-before-a-monday-holiday",
        ),
        pytest.param(
            lane(works(weekdays=(0, 1, 2, 3, 4, 5)), days=1),
            "2026-09-04T14:00",
            ("2026-09-04", "2026-09-08"),
            ("2026-09-08", "2026-09-09"),
            id="open-on-saturday-but-nobody-collects-until-tuesday",
        ),
        pytest.param(
            lane(
                works(weekdays=(0, 1, 2, 3, 4, 5)),
                days=1,
                card=carries(collects=(0, 1, 2, 3, 4, 5), delivers=(0, 1, 2, 3, 4, 5)),
            ),
            "2026-09-04T14:00",
            ("2026-09-04", "2026-09-05"),
            ("2026-09-05", "2026-09-08"),
            id="a-carrier-that-works-on-saturdays",
        ),
        pytest.param(
            lane(works(holidays=""), days=1),
            "2026-11-25T14:00",
            ("2026-11-25", "2026-11-27"),
            ("2026-11-27", "2026-11-30"),
            id="the-node-works-on-thanksgiving-the-carrier-does-not",
        ),
        pytest.param(
            lane(handling=2, days=1),
            "2026-11-24T14:00",
            ("2026-11-27", "2026-11-30"),
            ("2026-11-30", "2026-12-01"),
            id="handling-days-are-open-days",
        ),
        pytest.param(
            lane(card=carries(collects=(1, 4)), days=1),
            "2026-11-17T14:00",
            ("2026-11-17", "2026-11-18"),
            ("2026-11-20", "2026-11-23"),
            id="collected-on-tuesdays-and-fridays",
        ),
        pytest.param(
            lane(works(weekdays=WEEK, cutoff=time(1, 30)), card=carries(collects=WEEK), days=1),
            "2026-11-01T01:30",
            ("2026-11-01", "2026-11-02"),
            ("2026-11-02", "2026-11-03"),
            id="the-hour-that-comes-twice-the-first-is-the-cut-off",
        ),
        pytest.param(
            lane(works(weekdays=WEEK, cutoff=time(2, 30)), card=carries(collects=WEEK), days=1),
            "2026-03-08T03:30",
            ("2026-03-08", "2026-03-09"),
            ("2026-03-09", "2026-03-10"),
            id="the-hour-that-is-skipped-the-cut-off-is-at-half-past-three",
        ),
        pytest.param(
            lane(works(weekdays=WEEK), card=carries(collects=WEEK), days=1),
            "2026-03-08T14:00",
            ("2026-03-08", "2026-03-09"),
            ("2026-03-09", "2026-03-10"),
            id="the-day-on-which-DST-begins",
        ),
        pytest.param(
            lane(works(weekdays=WEEK), card=carries(collects=WEEK), days=1),
            "2026-11-01T14:00",
            ("2026-11-01", "2026-11-02"),
            ("2026-11-02", "2026-11-03"),
            id="the-day-on-which-DST-ends",
        ),
    ],
)
def test_one_second_decides(
    way: Lane, cutoff: str, before: tuple[str, str], after: tuple[str, str]
) -> None:
    at = local(cutoff)

    assert dates(way, at - SECOND) == before
    assert way.holds_until(at - SECOND) == at
    assert dates(way, at) == dates(way, at + SECOND) == after
    assert way.holds_until(at) > at


def dates(way: Lane, now: datetime) -> tuple[str, str]:
    """The day on which it leaves, there, and the day on which it comes, here."""
    leaves, arrives = way.leaves(now), way.arrives(now)
    assert leaves.astimezone(ZoneInfo(way.calendar.timezone)).time() == way.calendar.closes
    there = arrives.astimezone(ZoneInfo(way.destination))
    assert there.time() == time(20)
    return leaves.astimezone(ZoneInfo(way.calendar.timezone)).date().isoformat(), str(there.date())


@pytest.mark.parametrize("zone", [NEW_YORK, CHICAGO, DENVER, "America/Los_Angeles"])
def test_the_cut_off_is_the_nodes_own_on_both_nights(zone: str) -> None:
    way = lane(works(timezone=zone, weekdays=WEEK), card=carries(collects=WEEK))
    for night, hours in (("2026-03-08", 23), ("2026-11-01", 25)):
        day = date.fromisoformat(night)
        before = local(f"{day - timedelta(days=1)}T14:00", zone)
        cutoff = way.holds_until(before)

        assert cutoff == local(f"{night}T14:00", zone)
        assert cutoff - before == timedelta(hours=hours)


def test_a_moment_in_the_second_one_oclock_hour_is_after_the_first() -> None:
    way = lane(works(weekdays=WEEK, cutoff=time(1, 30)), card=carries(collects=WEEK), days=1)

    assert dates(way, local("2026-11-01T01:29:59"))[0] == "2026-11-01"
    assert dates(way, local("2026-11-01T01:10*"))[0] == "2026-11-02"


def test_a_cut_off_that_moves_no_date_is_not_counted() -> None:
    """Open on Saturday, collected from Monday to Friday: Saturday's cut-off changes nothing."""
    way = lane(works(weekdays=(0, 1, 2, 3, 4, 5)), days=1)
    friday_evening = local("2026-11-20T15:00")

    assert dates(way, friday_evening) == ("2026-11-23", "2026-11-24")
    assert way.holds_until(friday_evening) == local("2026-11-23T14:00")


def test_the_delivery_day_is_the_destinations() -> None:
    arrives = lane(days=1, to="Pacific/Honolulu").arrives(local("2026-11-18T09:00"))

    assert arrives == local("2026-11-19T20:00", "Pacific/Honolulu")
    assert deliver_from(arrives, "Pacific/Honolulu") == local(
        "2026-11-19T08:00", "Pacific/Honolulu"
    )


@pytest.mark.parametrize(
    ("way", "now", "comes"),
    [
        pytest.param(lane(days=0), "2026-11-18T09:00", "2026-11-18T20:00", id="same-day"),
        pytest.param(
            lane(works(closes=time(22)), days=0),
            "2026-11-18T09:00",
            "2026-11-19T20:00",
            id="too-late-for-today's-round",
        ),
        pytest.param(
            lane(works(weekdays=WEEK), days=0, card=carries(collects=WEEK)),
            "2026-11-21T09:00",
            "2026-11-23T20:00",
            id="collected-on-saturday-by-who-delivers-from-monday",
        ),
    ],
)
def test_same_day_is_a_round_that_can_be_reached(way: Lane, now: str, comes: str) -> None:
    assert way.arrives(local(now)) == local(comes, NEW_YORK)


def test_a_carrier_that_never_finds_the_node_open_is_refused() -> None:
    with pytest.raises(Invalid, match="Meridian never collects"):
        lane(works(weekdays=(5, 6))).leaves(local("2026-11-18T09:00"))


_days = st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))
_lanes = st.builds(
    lambda zone, open_on, cutoff, handling, collects, delivers, days, hours: Lane(
        works(timezone=zone, weekdays=open_on, cutoff=cutoff),
        handling,
        carries(collects=collects, delivers=delivers),
        days,
        NEW_YORK,
        timedelta(hours=hours),
    ),
    st.sampled_from([NEW_YORK, CHICAGO, DENVER, "Pacific/Auckland"]),
    _days,
    st.times(time(0), time(18)),
    st.integers(0, 3),
    _days,
    _days,
    st.integers(0, 5),
    st.sampled_from([0, 0, 5, 36]),
).filter(lambda way: set(way.calendar.weekdays) & set(way.card.collects))
_moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(way=_lanes, now=_moments)
def test_a_date_holds_until_its_cut_off_and_not_beyond(way: Lane, now: datetime) -> None:
    cutoff = way.holds_until(now)

    assert cutoff > now
    assert way.arrives(cutoff - SECOND) == way.arrives(now)
    assert way.arrives(cutoff) > way.arrives(now)


@given(way=_lanes, now=_moments, later=st.timedeltas(timedelta(0), timedelta(days=9)))
def test_who_orders_later_never_has_it_sooner(way: Lane, now: datetime, later: timedelta) -> None:
    assert way.leaves(now) <= way.leaves(now + later)
    assert way.arrives(now) <= way.arrives(now + later)


@given(way=_lanes, now=_moments)
def test_goods_leave_when_the_node_is_open_and_the_carrier_comes(way: Lane, now: datetime) -> None:
    leaves = way.leaves(now)
    day = leaves.astimezone(ZoneInfo(way.calendar.timezone)).date()

    assert now < leaves <= way.arrives(now)
    assert is_open_day(way.calendar, day)
    assert day.weekday() in way.card.collects
    arrives = way.arrives(now).astimezone(ZoneInfo(way.destination))
    assert arrives.weekday() in way.card.delivers
