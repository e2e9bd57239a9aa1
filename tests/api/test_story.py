"""Whether a promise was kept, and why from there, in plain words."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from api import story
from domain.records import OrderState
from domain.sourcing.problem import Certificate, CostParts, Promised
from storage.reads import TimelineEvent
from tests.api.conftest import AT, a_decision, an_order

PROMISED = AT + timedelta(hours=1)


def happened(type_: str, at: datetime) -> TimelineEvent:
    said = dict.fromkeys(("summary", "actor", "cause", "fulfillment_id"), "")
    return TimelineEvent(seq=1, at=at, type=type_, data={}, **said)


def state() -> OrderState:
    return OrderState(order_id="o", channel="api", channel_order_id="o", promise_by=PROMISED)


@pytest.mark.parametrize(
    ("minutes", "late"), [pytest.param(0, False, id="ready"), pytest.param(1, True, id="late")]
)
def test_a_pickup_keeps_its_promise_by_being_ready(minutes: int, late: bool) -> None:  # noqa: FBT001
    collected = PROMISED + timedelta(days=2)
    ready = happened("ready_for_pickup", PROMISED + timedelta(minutes=minutes))
    view = story.promise(state(), [ready, happened("collected", collected)])

    assert (view.arrived, view.late) == (collected, late)


def test_a_parcel_keeps_its_promise_by_being_delivered() -> None:
    late = story.promise(state(), [happened("delivered", PROMISED + timedelta(seconds=1))])

    assert late.late
    assert not story.promise(state(), [happened("delivered", PROMISED)]).late


def test_a_promised_plan_is_told_as_such() -> None:
    decision = a_decision(an_order("1"))
    kept = decision.model_copy(update={"promise": Promised(token="pr", kept=True)})
    broken = decision.model_copy(
        update={"promise": Promised(token="pr", kept=False, reason="DC-NYC: offline")}
    )

    assert story.why(kept).sentence == "As it was promised. From DC-DAL it costs 8.00 USD."
    assert story.why(broken).sentence.startswith(
        "The plan that was promised could not be kept (DC-NYC: offline). From DC-DAL it costs"
    )


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (150, "would cost 1.50 USD more."),
        (0, "would cost the same."),
        (-150, "would cost 1.50 USD less, but serves 2 units fewer."),
    ],
)
def test_the_next_best_is_told_with_what_it_costs(gap: int, told: str) -> None:
    decision = a_decision(an_order("1"))
    cost = CostParts(shipping=decision.plan.cost.total + gap)
    left = decision.plan.assignments[0].lines if gap < 0 else ()
    other = decision.plan.model_copy(update={"cost": cost, "unsourced": left})
    decision = decision.model_copy(update={"runner_up": other, "gap_minor": gap})

    assert story.why(decision).sentence.endswith(f"the next best, DC-DAL, {told}")


def test_two_solvers_that_differ_are_told() -> None:
    decision = a_decision(an_order("1"))
    other = Certificate(
        solver="ortools-cp-sat", agrees=False, proof="optimal", unsourced=0, cost_minor=790
    )
    told = story.why(decision.model_copy(update={"certificate": other})).sentence
    agreeing = other.model_copy(update={"agrees": True, "cost_minor": 800})

    assert told.endswith(
        " Alarm: ortools-cp-sat finds a plan of 7.90 USD; one of the solvers is wrong."
    )
    assert "Alarm" not in story.why(decision.model_copy(update={"certificate": agreeing})).sentence
