"""What a rule set is refused for, each with the place: overlaps, circles, orders without a way."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.orders import DeliveryMethod
from domain.rules.checks import FORMS, check
from domain.rules.conditions import Flawed
from domain.rules.documents import read
from domain.rules.sets import RuleSet, Span
from domain.rules.together import check_graph, check_together
from tests.domain.rules.written import OUTCOMES, WAITS, a_profile, a_rule, a_set, leads_to, rules


def flaws(sent: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Flawed) as refused:
        read(sent)
    return {flaw.field: flaw.message for flaw in refused.value.flaws}


@pytest.mark.parametrize(
    ("rule", "field", "told"),
    [
        (a_rule("r", "max_nodes"), "value", "must say its value"),
        (a_rule("r", "max_nodes", value=0), "value", "1 or more"),
        (a_rule("r", "offline", "node.kind == 'dc'", value=3), "value", "has no value"),
        (a_rule("r", "location_priority", "node.kind == 'dc'", value=11), "value", "1 to 10"),
        (a_rule("r", "exclude"), "when", "must say for which nodes"),
        (a_rule("r", "exclude", "order.units > 3"), "when", "must say for which nodes"),
        (a_rule("r", "max_nodes", "node.kind == 'dc'", value=2), "when", "cannot speak of node"),
        (
            a_rule("r", "max_nodes", "line.quantity > 2", value=2),
            "when",
            "speak of line or product",
        ),
        (a_rule("r", "max_nodes", "order.totl > 2", value=2), "when", "line 1, column 6"),
        (a_rule("r", "capability"), "what", "must say its what"),
        (a_rule("r", "max_nodes", what="air", value=2), "what", "has no what"),
        (
            a_rule("r", "location_priority", "node.kind == 'dc'", value=1, hard=False),
            "hard",
            "always hard",
        ),
        (
            a_rule("r", "preferred_node", "node.kind == 'dc'", value=1, hard=False),
            "hard",
            "a preference",
        ),
        (a_rule("r", "no_such_kind"), "kind", "Input should be"),
        (a_rule("No Name", "max_nodes", value=1), "name", "of small letters"),
        (a_rule("r", "max_nodes", value=1, colour="red"), "colour", "there is no such field"),
        (a_rule("r", "max_nodes", value=1, on_error="panic"), "on_error", "'skip' or 'apply'"),
        (
            a_rule("r", "max_nodes", value=1, dates={"first": "2026-12-02", "last": "2026-12-01"}),
            "dates.last",
            "is before",
        ),
        (
            a_rule("r", "max_nodes", value=1, dates={"first": "2026-02-30"}),
            "dates.first",
            "no day",
        ),
    ],
)
def test_a_rule_that_cannot_be_names_the_field(rule: dict[str, Any], field: str, told: str) -> None:
    found = flaws(a_set("web", a_profile("all", rule)))
    assert set(found) == {f"profiles.0.rules.0.{field}"}
    assert told in found[f"profiles.0.rules.0.{field}"]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (a_rule("r", "max_nodes", value=True), "value"),
        (a_rule("r", "max_nodes", value="2"), "value"),
        (a_rule("r", "max_nodes", value=1, hard="no"), "hard"),
        (a_rule("r", "max_nodes", value=1, dates={"first": 1_800_000_000}), "dates.first"),
    ],
)
def test_nothing_is_taken_for_what_it_was_not_written_as(rule: dict[str, Any], field: str) -> None:
    assert set(flaws(a_set("web", a_profile("all", rule)))) == {f"profiles.0.rules.0.{field}"}


def test_a_wait_of_a_bare_number_is_refused() -> None:
    waits = {"then": "backorder", "cancel_after": 14}
    found = flaws(a_set("web", a_profile(outcomes={"partial": [waits], "nothing": [WAITS]})))
    assert "P14D" in found["profiles.0.outcomes.partial.0.cancel_after"]


def test_a_set_has_so_many_rules_and_no_more() -> None:
    many = [a_rule(f"r{i}", "max_nodes", value=1) for i in range(50)]
    profiles = [a_profile(f"p{i}", *many, channels=[f"c{i}"]) for i in range(11)]
    assert "500 at most" in flaws(a_set("web", *profiles))["profiles"]


def test_outcomes_with_a_condition_count_as_rules_do() -> None:
    several = [*({"when": "order.units > 1", "then": "review"} for _ in range(19)), WAITS]
    outcomes = {"partial": several, "nothing": several}
    profiles = [a_profile(f"p{i}", channels=[f"c{i}"], outcomes=outcomes) for i in range(14)]
    check(rules("web", *profiles[:13]))
    assert (
        "have 532 rules and outcomes with a condition" in flaws(a_set("web", *profiles))["profiles"]
    )


def test_every_kind_of_rule_can_be_written() -> None:
    for kind, form in FORMS.items():
        when = 'node.kind == "store"' if form.nodes == "must" else ""
        more: dict[str, Any] = {"value": form.least or 1} if form.value == "must" else {}
        more |= {"what": "hazmat"} if form.what == "must" else {}
        check(rules("web", a_profile("all", a_rule("r", kind, when, **more))))


@pytest.mark.parametrize(
    ("profile", "field", "told"),
    [
        ({"objective": "cheapest"}, "objective", "is none of lowest_cost"),
        ({"weights": {"shiping": 50}}, "weights.shiping", "there is no such weight"),
        ({"weights": {"shipping": -1}}, "weights.shipping", "greater than or equal"),
        ({"outcomes": {"partial": [WAITS]}}, "outcomes.nothing", "without a next step"),
        ({"outcomes": {"nothing": [WAITS]}}, "outcomes.partial", "without a next step"),
        (
            {"outcomes": {**OUTCOMES, "partial": [{**WAITS, "when": "order.units > 1"}]}},
            "outcomes.partial",
            "end with an action that has no `when`",
        ),
        (
            {"outcomes": {**OUTCOMES, "partial": [WAITS, WAITS]}},
            "outcomes.partial.1",
            "never reached",
        ),
        (
            {"outcomes": {**OUTCOMES, "nothing": [{"then": "queue"}]}},
            "outcomes.nothing.0.queue",
            "must name one",
        ),
        (
            {"outcomes": {**OUTCOMES, "nothing": [{"then": "next"}]}},
            "outcomes.nothing.0.next",
            "must name one",
        ),
        (
            {"outcomes": {**OUTCOMES, "nothing": [{**WAITS, "queue": "care"}]}},
            "outcomes.nothing.0.queue",
            "has no queue",
        ),
        (
            {"outcomes": {**OUTCOMES, "nothing": [{**WAITS, "allocate": True}]}},
            "outcomes.nothing.0.allocate",
            "nothing can be allocated",
        ),
        (
            {"outcomes": {**OUTCOMES, "partial": [{**WAITS, "when": "node.ships"}, WAITS]}},
            "outcomes.partial.0.when",
            "cannot speak of node",
        ),
        (
            {"outcomes": {**OUTCOMES, "nothing": [{**WAITS, "cancel_after": "P2Y"}]}},
            "outcomes.nothing.0.cancel_after",
            "less than or equal",
        ),
        ({"methods": ["drone"]}, "methods.0", "'ship' or 'pickup'"),
    ],
)
def test_a_profile_that_cannot_be_names_the_field(
    profile: dict[str, Any], field: str, told: str
) -> None:
    found = flaws(a_set("web", a_profile(**profile)))
    assert told in found[f"profiles.0.{field}"]


def test_two_profiles_that_match_one_order_are_refused_by_name() -> None:
    found = flaws(
        a_set(
            "web",
            a_profile("shops", channels=["web", "outlet"]),
            a_profile("vips", segments=["vip"], methods=["ship"]),
        )
    )
    assert found == {
        "profiles.1": "shops and vips both match channel outlet, method ship, segment vip;"
        " tell them apart"
    }


def test_the_largest_sets_are_compared_in_no_time() -> None:
    named = [[f"{i}-{j}" for j in range(50)] for i in range(50)]
    first = rules("web", a_profile("all", **leads_to("last")))
    last = rules(
        "last",
        *(a_profile(f"p{i}", channels=c, segments=c) for i, c in enumerate(named)),
        entry=False,
    )
    with pytest.raises(Flawed, match="no profile for channel any other, method pickup"):
        check_graph(first, {"last": last})


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)
METHODS = st.lists(st.sampled_from(["ship", "pickup"]), max_size=1)
BOXES = st.tuples(NAMES, METHODS, NAMES)


@given(st.lists(BOXES, min_size=1, max_size=4))
def test_what_is_saved_matches_an_order_once_at_most(boxes: list[Any]) -> None:
    made = rules(
        "web",
        *(
            a_profile(f"p{i}", channels=channels, methods=methods, segments=segments)
            for i, (channels, methods, segments) in enumerate(boxes)
        ),
    )
    often = max(
        sum(p.matches(channel, method, segment) for p in made.profiles)
        for channel in "abcx"
        for method in DeliveryMethod
        for segment in "abcx"
    )
    if often > 1:
        with pytest.raises(Flawed):
            check(made)
    else:
        check(made)


@given(BOXES, st.lists(BOXES, min_size=1, max_size=4))
def test_a_next_takes_every_order_that_comes(box: Any, boxes: list[Any]) -> None:
    def boxed(name: str, of: Any, **changes: Any) -> dict[str, Any]:
        channels, methods, segments = of
        return a_profile(name, channels=channels, methods=methods, segments=segments, **changes)

    last = rules("last", *(boxed(f"p{i}", of) for i, of in enumerate(boxes)), entry=False)
    try:
        check(last)
    except Flawed:
        return
    first = rules("web", boxed("one", box, **leads_to("last")))
    lost = [
        (channel, method, segment)
        for channel in "abcx"
        for method in DeliveryMethod
        for segment in "abcx"
        if first.profile(channel, method, segment) and not last.profile(channel, method, segment)
    ]
    if lost:
        with pytest.raises(Flawed, match="has no profile for"):
            check_graph(first, {"last": last})
    else:
        check_graph(first, {"last": last})


def refused_together(active: list[RuleSet], new: RuleSet) -> str:
    with pytest.raises(Flawed) as refused:
        check_together(active, new)
    return str(refused.value)


def test_two_sets_that_match_one_order_are_refused_by_name() -> None:
    one = rules("one", a_profile("ships", methods=["ship"]))
    two = rules("two", a_profile("web", channels=["web"]))
    told = refused_together([one], two)
    assert "two/web and one/ships, which is active, both match channel web, method ship" in told
    check_together([one], rules("two", a_profile("web", methods=["pickup"])))
    check_together([one], rules("two", a_profile("web"), entry=False))
    check_together([one], rules("one", a_profile("web", channels=["web"])))


def test_sets_may_take_turns_by_the_day() -> None:
    peak = {"first": "2026-11-27", "last": "2026-11-30"}
    all_year = rules("year", dates={"blackout": [peak]})
    check_together([all_year], rules("peak", dates=peak))
    longer = {"first": "2026-11-27", "last": "2026-12-01"}
    told = refused_together([all_year], rules("peak", dates=longer))
    assert "from 2026-12-01 00:00Z" in told
    other_zone = rules("peak", dates=peak, timezone="America/Chicago")
    assert "from 2026-12-01 00:00Z" in refused_together([all_year], other_zone)


def test_a_next_that_is_not_there_is_refused() -> None:
    with pytest.raises(Flawed, match="no rule set last to go on with"):
        check_graph(rules("web", a_profile(**leads_to("last"))), {})


def test_a_next_that_does_not_take_every_order_is_refused() -> None:
    first = rules("web", a_profile(**leads_to("last")))
    last = rules("last", a_profile(channels=["web"]), entry=False)
    with pytest.raises(Flawed, match="no profile for channel any other, method pickup"):
        check_graph(first, {"last": last})
    split = rules(
        "last", a_profile("a", methods=["ship"]), a_profile("b", methods=["pickup"]), entry=False
    )
    check_graph(first, {"last": split})
    narrow = rules("web", a_profile(**leads_to("last", channels=["web"])))
    check_graph(narrow, {"last": last})


def test_a_next_that_does_not_hold_as_long_is_refused() -> None:
    first = rules("web", a_profile(**leads_to("last")), dates={"first": "2026-11-01"})
    for dates, day in (
        ({"first": "2026-11-02"}, "2026-11-01"),
        ({"last": "2026-11-30"}, "2026-12-01"),
        ({"blackout": [{"first": "2026-11-05", "last": "2026-11-05"}]}, "2026-11-05"),
    ):
        last = rules("last", a_profile(), entry=False, dates=dates)
        with pytest.raises(Flawed, match=f"does not hold from {day} 00:00Z"):
            check_graph(first, {"last": last})
    check_graph(first, {"last": rules("last", entry=False, dates={"first": "2026-11-01"})})


def test_orders_may_not_go_round() -> None:
    itself = rules("web", a_profile(**leads_to("web")))
    with pytest.raises(Flawed, match="web/all → web/all"):
        check_graph(itself, {})
    one = rules("one", a_profile(**leads_to("two")))
    two = rules("two", a_profile(**leads_to("three")), entry=False)
    three = rules("three", a_profile(**leads_to("one")), entry=False)
    with pytest.raises(Flawed, match="for ever"):
        check_graph(three, {"one": one, "two": two})


def test_sets_may_lead_to_each_other_for_different_orders() -> None:
    one = rules(
        "one",
        a_profile("a", methods=["ship"]),
        a_profile("b", **leads_to("two", methods=["pickup"])),
    )
    two = rules(
        "two",
        a_profile("a", methods=["pickup"]),
        a_profile("b", **leads_to("one", methods=["ship"])),
    )
    check_graph(one, {"two": two})


def test_a_new_version_may_not_leave_the_sets_that_lead_to_it_alone() -> None:
    first = rules("web", a_profile(**leads_to("last")))
    last = rules("last", entry=False)
    check_together([first, last], rules("last", a_profile("other"), entry=False))
    told = refused_together([first, last], rules("last", a_profile(channels=["b2b"]), entry=False))
    assert "last has no profile for" in told


@pytest.mark.parametrize(
    ("day", "held"),
    [
        ("2026-10-31", False),
        ("2026-11-01", True),
        ("2026-11-26", True),
        ("2026-11-27", False),
        ("2026-11-30", False),
        ("2026-12-01", True),
        ("2026-12-31", True),
        ("2027-01-01", False),
    ],
)
def test_first_and_last_days_are_included(day: str, held: bool) -> None:  # noqa: FBT001
    blackout = [{"first": "2026-11-27", "last": "2026-11-30"}]
    dated = rules(dates={"first": "2026-11-01", "last": "2026-12-31", "blackout": blackout})
    assert dated.dates.has(date.fromisoformat(day)) is held


DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 20))
SPANS = st.builds(
    lambda days, opens, closes: Span(
        first=None if opens else min(days), last=None if closes else max(days)
    ),
    st.tuples(DAYS, DAYS),
    st.booleans(),
    st.booleans(),
)


@given(SPANS, st.lists(SPANS, max_size=3), DAYS)
def test_periods_are_the_days_that_are_had(whole: Span, out: list[Span], day: date) -> None:
    dated = rules(
        timezone="Asia/Tokyo",
        dates=whole.model_dump(mode="json")
        | {"blackout": [span.model_dump(mode="json") for span in out]},
    )
    instant = Span(first=day, last=day)
    start, _ = dated._instants(instant)
    within = any(since <= start < until for since, until in dated.periods())
    assert within is dated.dates.has(day)
