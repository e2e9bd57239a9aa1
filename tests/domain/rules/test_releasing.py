"""When a node is given its work: after the wait, before its cut-off, and once."""

from datetime import datetime, timedelta
from typing import Any

from domain.network import Calendar
from domain.orders import DeliveryMethod
from domain.rules.facts import Case
from domain.rules.judging import decide_by
from domain.rules.sets import Version
from domain.sourcing.problem import CostParts, Decision, Promised
from tests.domain.rules.written import a_case, a_profile, rules
from tests.samples import NOON, a_decision, a_node, a_problem, a_share, an_order

UTC_NODE = a_node("A", calendar=Calendar(timezone="UTC"))  # its cut-off is at 14:00
HOUR = timedelta(hours=1)


def released(case: Case, wait: timedelta | None = HOUR, **of: Any) -> dict[str, datetime]:
    profile = a_profile("all", release_after=wait, **of)
    share = a_share("web-1-F1", "A", {"1": 3})

    def solve(_: object) -> Decision:
        return a_decision(share, CostParts(shipping=500))

    active = [Version(rules("web", profile), 1)]
    return decide_by(active, case, lambda _: a_problem(), solve).release_at


def test_a_node_is_asked_after_the_wait_and_in_time_for_its_cutoff() -> None:
    case = a_case(None, UTC_NODE)
    assert released(case) == {"A": NOON + HOUR}
    assert released(case, 5 * HOUR) == {"A": NOON.replace(hour=13, minute=45)}
    late = a_case(None, UTC_NODE.model_copy(update={"lead_hours": 1}))
    assert released(late, 5 * HOUR) == {"A": NOON.replace(hour=12, minute=45)}


def test_without_a_wait_or_with_the_cutoff_at_hand_it_is_asked_at_once() -> None:
    assert released(a_case(None, UTC_NODE), None) == {}
    assert released(a_case(None, UTC_NODE), timedelta(0)) == {}
    assert released(a_case(None, UTC_NODE, now=NOON.replace(hour=13, minute=50))) == {}


def test_an_order_waits_once() -> None:
    soon = NOON + timedelta(minutes=20)
    assert released(a_case(None, UTC_NODE, release_at=soon)) == {"A": soon}
    assert released(a_case(None, UTC_NODE, release_at=NOON - HOUR)) == {}


def test_what_nothing_could_come_of_does_not_wait() -> None:
    assert released(a_case(None, UTC_NODE), review=True) == {}
    pickup = an_order(method=DeliveryMethod.PICKUP, pickup_node="A")
    assert released(a_case(pickup, UTC_NODE)) == {}


def test_a_promised_plan_that_is_kept_does_not_wait() -> None:
    share = a_share("web-1-F1", "A", {"1": 3})
    made = a_decision(share, CostParts())
    active = [Version(rules("web", a_profile("all", release_after=HOUR)), 1)]

    def released_if(*, kept: bool) -> dict[str, datetime]:
        promised = made.model_copy(update={"promise": Promised(token="p", kept=kept)})
        case = a_case(None, UTC_NODE)
        return decide_by(active, case, lambda _: a_problem(), lambda _: promised).release_at

    assert released_if(kept=True) == {}
    assert released_if(kept=False) == {"A": NOON + HOUR}
