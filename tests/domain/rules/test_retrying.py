"""How long a node that gave an order's work back is not asked for it again."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.records import OrderState
from domain.rules.conditions import Flawed
from domain.rules.differences import differences
from domain.rules.documents import dump, load, read
from domain.rules.evaluation import evaluate
from domain.rules.facts import Case
from domain.rules.judging import asked_again, decide_by
from domain.rules.sets import Version
from domain.sourcing.problem import Demand
from domain.sourcing.solver import solve
from tests.domain.rules.written import a_case, a_profile, a_rule, a_set, leads_to, rules
from tests.samples import NOON, a_problem
from workflows.ports import SourceOrder

DAY = timedelta(days=1)
EVERY_DAY: dict[str, Any] = {"retry_after": DAY}


def excluded(**ago: timedelta) -> Case:
    return a_case(excluded_at={node: NOON - time for node, time in ago.items()})


def again_at(case: Case, *sets: dict[str, Any], rejections: int = 0) -> datetime | None:
    """Of a decision that finds no node."""
    said_no = Demand(line_id="1", sku="mug", quantity=1, weight_g=1, rejections=rejections)
    nowhere = a_problem().model_copy(update={"demands": (said_no,)})
    active = [Version(rules(f"set-{n}", one, entry=not n), n) for n, one in enumerate(sets)]

    return decide_by(active, case, lambda _: nowhere, lambda p: solve(p, "one")).again_at


def test_a_node_may_be_asked_again_from_the_end_of_its_time_on() -> None:
    case = excluded(A=DAY, B=DAY - timedelta(microseconds=1), C=2 * DAY)
    judged = evaluate(Version(rules("web", a_profile("all", **EVERY_DAY)), 1), case)
    never = evaluate(Version(rules("web", a_profile("all")), 1), case)

    assert asked_again(judged, case) == {"A", "C"}
    assert asked_again(never, case) == asked_again(None, case) == frozenset()


def test_the_order_knows_when_the_next_node_may_be_asked() -> None:
    case = excluded(A=DAY, B=DAY / 2, C=DAY / 3)
    assert again_at(case, a_profile("all", **EVERY_DAY)) == NOON + DAY / 2
    assert again_at(case, a_profile("all")) is None
    assert again_at(excluded(A=DAY), a_profile("all", **EVERY_DAY)) is None


def test_a_set_that_leaves_it_to_the_next_one_still_has_its_say() -> None:
    first = a_profile("all", **EVERY_DAY, **leads_to("set-1"))
    assert again_at(excluded(A=DAY / 2), first, a_profile("all")) == NOON + DAY / 2


@pytest.mark.parametrize(("hard", "rejections"), [(True, 1), (True, 2), (False, 2)])
def test_what_was_refused_too_often_is_not_decided_anew(*, hard: bool, rejections: int) -> None:
    twice = a_rule("twice", "max_rejects", value=2, hard=hard)
    profile = a_profile("all", twice, **EVERY_DAY)
    end = None if hard and rejections == 2 else NOON + DAY / 2
    assert again_at(excluded(A=DAY / 2), profile, rejections=rejections) == end


@pytest.mark.parametrize("said", ["PT0S", "PT59S", "P366D", 3])
def test_it_is_a_duration_that_lets_no_order_go_round_and_round(said: object) -> None:
    with pytest.raises(Flawed) as refused:
        read(a_set("web", a_profile("all", retry_after=said)))
    assert [flaw.field for flaw in refused.value.flaws] == ["profiles.0.retry_after"]


def test_it_is_written_read_and_compared() -> None:
    plain, set_ = rules("web", a_profile("all")), rules("web", a_profile("all", retry_after="P3D"))
    assert "retry_after: P3D" in dump(set_)
    assert load(dump(set_)) == set_
    assert [one.path for one in differences(plain, set_)] == ["profiles[all].retry_after"]


def test_what_was_stored_before_there_were_such_times_is_read() -> None:
    state = {"order_id": "o", "channel": "c", "channel_order_id": "1", "excluded": {"A": "no"}}
    assert OrderState.model_validate(state).excluded_at == {}
    sent = {"order_id": "o", "round": 2, "units": [], "excluded": {"A": "no"}}
    sent |= {"firm_node": None, "promise_by": None}
    assert SourceOrder.model_validate(sent).excluded_at == {}
