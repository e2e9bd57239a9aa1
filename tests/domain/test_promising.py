from datetime import UTC, datetime

import pytest

from domain.promising import days_late, deliver_by

CHICAGO, NEW_YORK = "America/Chicago", "America/New_York"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("ship_by", "transit_days", "expected"),
    [
        pytest.param("2026-11-19T00:00", 2, "2026-11-21T01:00", id="wednesday-to-friday"),
        pytest.param("2026-11-21T00:00", 1, "2026-11-24T01:00", id="no-weekend-delivery"),
        pytest.param("2026-11-26T00:00", 1, "2026-11-28T01:00", id="thanksgiving"),
        pytest.param("2026-11-19T00:00", 0, "2026-11-19T01:00", id="same-day"),
    ],
)
def test_deliver_by(ship_by: str, transit_days: int, expected: str) -> None:
    arrives = deliver_by(utc(ship_by), transit_days, origin=CHICAGO, destination=NEW_YORK)

    assert arrives == utc(expected)


def test_days_late_are_begun_days() -> None:
    promise = utc("2026-11-20T00:00")

    assert days_late(promise, promise) == 0
    assert days_late(utc("2026-11-20T00:01"), promise) == 1
    assert days_late(utc("2026-11-21T00:01"), promise) == 2
    assert days_late(promise, None) == 0
