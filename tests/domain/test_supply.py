"""What is still to come: dates, and who gets it first."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.supply import Arrivals, Coming, Want, earliest, match, outlook
from tests.samples import NOON


def on_day(day: int, units: int, ref: str = "", node: str = "DC-A") -> Coming:
    return Coming("erp", ref or f"PO-{day}", node, NOON + timedelta(days=day), units)


def _units(came: Arrivals) -> int:
    return sum(units for by_node in came.values() for units in by_node.values())


def test_ten_now_and_ten_on_days_9_and_19_give_twenty_on_day_9() -> None:
    dates = outlook(NOON, {"A": [on_day(19, 10), on_day(9, 10)]}, lambda came: 10 + _units(came))
    assert earliest(10, dates) == NOON
    assert earliest(20, dates) == NOON + timedelta(days=9)
    assert earliest(30, dates) == NOON + timedelta(days=19)
    assert earliest(31, dates) is None


def test_what_is_overdue_is_told_as_of_now_and_what_comes_together_once() -> None:
    coming = [on_day(-3, 2), on_day(4, 1, "a"), on_day(4, 1, "b"), on_day(5, 0)]
    dates = outlook(NOON, {"A": coming}, _units)
    assert [(dated.at, dated.units) for dated in dates] == [
        (NOON, 0),
        (NOON, 2),
        (NOON + timedelta(days=4), 4),
    ]


def test_first_come_is_first_served_with_what_comes_first() -> None:
    wants = [
        Want("first", "1", None, 6),
        Want("pickup", "1", "ST-C", 1),
        Want("last", "1", None, 9),
    ]
    got = match([on_day(9, 5), on_day(2, 4), on_day(5, 1, "store", "ST-C")], wants)
    assert [(claim.order_id, claim.ref, claim.units) for claim in got] == [
        ("first", "PO-2", 4),
        ("first", "store", 1),
        ("first", "PO-9", 1),
        ("last", "PO-9", 4),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20))),
    st.lists(st.integers(1, 20)),
)
def test_nobody_is_served_before_who_came_first(
    supplied: list[tuple[int, int]], wanted: list[int]
) -> None:
    coming = [on_day(day, units, f"PO-{n}") for n, (day, units) in enumerate(supplied)]
    wants = [Want(f"{n:04}", "1", None, units) for n, units in enumerate(wanted)]
    got = match(coming, wants)
    for supply in coming:
        assert sum(c.units for c in got if c.ref == supply.ref) <= supply.units
    assert sum(c.units for c in got) == min(sum(wanted), sum(s.units for s in coming))
    by_ref = {supply.ref: supply.expected_at for supply in coming}
    dates = [by_ref[claim.ref] for claim in got]
    assert dates == sorted(dates)
    assert [c.order_id for c in got] == sorted(c.order_id for c in got)
