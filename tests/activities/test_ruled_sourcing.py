"""Rules as they hold in the live step: by which version, for whom, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict
from domain.fulfillments import FulfillmentStatus, RequestStatus
from domain.orders import DeliveryMethod, Order, Units
from domain.rules.sets import RuleSet
from domain.sourcing.answers import answers
from domain.sourcing.problem import Decision, Outcome, Promised
from domain.sourcing.record import Record
from storage import rules
from storage.database import transaction
from storage.tables import cooling
from tests.activities.town import (
    DUE,
    FAR,
    NOT_DAL,
    ask,
    by,
    decided,
    go_on,
    hold,
    kept,
    place,
    places,
    promised,
    sent,
    town,
)
from tests.domain.rules.written import a_profile, a_rule, a_set, leads_to
from tests.samples import a_share
from workflows.ports import SourceOrder

__all__ = ["places", "town"]


async def test_without_a_rule_set_the_built_in_policy_decides(town: AsyncEngine) -> None:
    decision = await decided(town, await place(town))

    assert (by(decision), sent(decision.plan)) == ("", {"DAL": {"mug": 1}})
    assert decision.outcome == Outcome()


async def test_the_active_set_decides_and_the_record_names_it(town: AsyncEngine) -> None:
    label = await hold(town, a_set("web", a_profile("all", NOT_DAL)))
    decision = await decided(town, await place(town))

    assert (label, by(decision)) == ("web@1", "web@1")
    assert sent(decision.plan) == {"CHI": {"mug": 1}}
    assert decision.eliminated["DAL"] == "rule not-dallas: excluded"
    assert decision.certificate is not None


async def test_a_draft_decides_nothing(town: AsyncEngine) -> None:
    async with transaction(town) as conn:
        made = RuleSet.model_validate(a_set("web", a_profile("all", NOT_DAL)))
        await rules.save(conn, made, "ann")

    assert by(await decided(town, await place(town))) == ""


async def test_each_decision_names_the_version_that_it_used(town: AsyncEngine) -> None:
    await hold(town, a_set("web", a_profile("all", NOT_DAL)))
    first = await place(town, "1")
    await ask(town, first)
    await hold(town, a_set("web", a_profile("all", FAR)))
    second = await decided(town, await place(town, "2"))

    assert (by(second), sent(second.plan)) == ("web@2", {"DAL": {"mug": 1}})
    again = await decided(town, first)  # the step is tried again: what is decided stays decided
    assert (by(again), sent(again.plan)) == ("web@1", {"CHI": {"mug": 1}})
    later = await decided(town, first, round_=2)
    assert (by(later), sent(later.plan)) == ("web@2", {"DAL": {"mug": 1}})


async def test_while_versions_change_each_decision_is_by_one_of_them_whole(
    town: AsyncEngine,
) -> None:
    not_chi = a_rule("not-chicago", "exclude", 'node.code == "CHI"')
    await hold(town, a_set("web", a_profile("all", not_chi)))
    await hold(town, a_set("web", a_profile("all", NOT_DAL)))
    orders = [await place(town, str(number)) for number in range(12)]

    async def change() -> None:
        for turn in range(12):
            async with transaction(town) as conn:
                await rules.activate(conn, "web", 1 + turn % 2, "ann")
            await asyncio.sleep(0)

    async def source(some: list[Order]) -> None:
        for order in some:
            await ask(town, order, certified=0)

    await asyncio.gather(change(), *(source(orders[start::4]) for start in range(4)))
    made = [(await kept(town, order))[0] for order in orders]

    node_by = {"web@1": {"DAL": {"mug": 1}}, "web@2": {"CHI": {"mug": 1}}}
    assert {by(one) for one in made} == set(node_by)
    assert all(sent(one.plan) == node_by[by(one)] for one in made)


async def test_a_soft_rule_that_is_relaxed_is_named(town: AsyncEngine) -> None:
    soft = a_rule("near-by", "max_distance", value=300, hard=False)
    await hold(town, a_set("web", a_profile("all", soft)))
    near = await decided(town, await place(town, "1"))
    far = await decided(town, await place(town, "2", {"mug": 1, "tee": 1}))

    assert (sent(near.plan), near.relaxed) == ({"DAL": {"mug": 1}}, ())
    assert sent(far.plan) == {"DAL": {"mug": 1}, "CHI": {"tee": 1}}
    assert far.relaxed == ("near-by",)


async def test_a_condition_goes_by_distance_and_by_segment(town: AsyncEngine) -> None:
    vip = a_rule("vip-from-near", "exclude", 'customer.segment == "vip" && node.miles > 300')
    await hold(town, a_set("web", a_profile("all", vip)))
    plain = await decided(town, await place(town, "1", {"tee": 1}))
    vips = await decided(town, await place(town, "2", {"tee": 1}, segment="vip"))

    assert sent(plain.plan) == {"CHI": {"tee": 1}}
    assert sent(vips.plan) == {}
    assert vips.eliminated["CHI"] == "rule vip-from-near: excluded"


async def test_what_one_set_finds_no_node_for_the_next_set_judges_whole(town: AsyncEngine) -> None:
    await hold(town, a_set("last", entry=False))
    whole = {"partial": [{"then": "next", "next": "last"}]}
    outcomes = {**leads_to("last")["outcomes"], **whole}
    await hold(town, a_set("web", a_profile("all", FAR, outcomes=outcomes)))
    decision = await decided(town, await place(town, asks={"mug": 1, "tee": 1}))

    assert (by(decision), sent(decision.plan)) == ("last@1", {"CHI": {"mug": 1, "tee": 1}})


async def test_what_is_left_of_an_allocated_order_is_judged_by_the_next_set(
    town: AsyncEngine,
) -> None:
    await hold(town, a_set("last", entry=False))
    await hold(town, a_set("web", a_profile("all", FAR, **leads_to("last"))))
    order = await place(town, asks={"mug": 1, "tee": 1})
    first = await decided(town, order)
    left = (Units(line_id="tee", sku="tee", quantity=1),)
    second = await decided(town, order, round_=2, units=left, rules=first.outcome.next)

    assert (by(first), sent(first.plan)) == ("web@1", {"DAL": {"mug": 1}})
    assert (first.outcome.allocate, first.outcome.then, first.outcome.next) == (
        True,
        "next",
        "last",
    )
    assert (by(second), sent(second.plan)) == ("last@1", {"CHI": {"tee": 1}})


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({"then": "queue", "queue": "care"}, Outcome(allocate=False, then="queue", queue="care")),
        ({"then": "review"}, Outcome(allocate=False, then="review")),
        ({"then": "cancel"}, Outcome(allocate=False, then="cancel")),
        (
            {"then": "backorder", "cancel_after": "P7D"},
            Outcome(allocate=False, then="backorder", cancel_after=timedelta(days=7)),
        ),
    ],
)
async def test_what_becomes_of_units_without_a_node_is_in_the_decision(
    town: AsyncEngine, then: dict[str, Any], said: Outcome
) -> None:
    when = {"when": "order.total_minor > 100000", "then": "cancel"}
    outcomes = {"partial": [{"then": "backorder"}], "nothing": [when, then]}
    await hold(town, a_set("web", a_profile("all", FAR, outcomes=outcomes)))
    decision = await decided(town, await place(town, asks={"bag": 1}))

    assert (sent(decision.plan), decision.outcome) == ({}, said)


async def test_a_plan_that_is_to_be_seen_says_so(town: AsyncEngine) -> None:
    seen = a_profile("vip", segments=["vip"], review=True)
    await hold(town, a_set("web", seen, a_profile("rest", segments=["x"])))

    assert (await decided(town, await place(town, "1", segment="vip"))).review
    assert not (await decided(town, await place(town, "2", segment="x"))).review


async def test_an_order_that_cools_down_is_told_until_when_and_is_not_decided(
    town: AsyncEngine,
) -> None:
    label = await hold(town, a_set("web", a_profile("calm", cool_down="PT1H")))
    order = await place(town)
    before = datetime.now(UTC)
    said = await ask(town, order)

    assert said.wait_until is not None
    assert before + timedelta(minutes=59) < said.wait_until < before + timedelta(minutes=61)
    assert (await ask(town, order)).wait_until == said.wait_until
    assert await kept(town, order) == ()
    async with transaction(town) as conn:
        row = (await conn.execute(select(cooling))).one()
    assert (row.order_id, row.round, row.profile) == (order.order_id, 1, f"{label}/calm")
    assert SourceOrder.model_validate(row.request).units[0].sku == "mug"

    alone = await decided(town, order, alone=True)
    assert (by(alone), sent(alone.plan)) == (label, {"DAL": {"mug": 1}})
    async with transaction(town) as conn:
        assert (await conn.execute(select(cooling))).all() == []


async def test_a_pickup_waits_for_no_others(town: AsyncEngine) -> None:
    await hold(town, a_set("web", a_profile("calm", cool_down="PT1H")))
    order = await place(town, method=DeliveryMethod.PICKUP, pickup_node="CHI")

    decision = await decided(town, order)
    assert (by(decision), sent(decision.plan)) == ("web@1", {"CHI": {"mug": 1}})


async def test_nodes_with_too_many_open_orders_are_out_until_they_have_ended(
    town: AsyncEngine,
) -> None:
    await hold(town, a_set("web", a_profile("all", a_rule("calm", "max_orders", value=1))))
    busy = await place(town, "busy")
    share = a_share(f"{busy.order_id}-F1", "DAL", {"mug": 1}, order_id=busy.order_id)
    await go_on(town, busy, 2, status=FulfillmentStatus.OPEN, of=share)
    out = await decided(town, await place(town, "1"))
    await go_on(town, busy, 3, status=FulfillmentStatus.CLOSED, of=share)

    assert sent(out.plan) == {"CHI": {"mug": 1}}
    assert out.eliminated["DAL"].startswith("rule calm: ")
    assert sent((await decided(town, await place(town, "2"))).plan) == {"DAL": {"mug": 1}}


async def test_a_line_that_nodes_refused_so_often_is_not_sourced_again(town: AsyncEngine) -> None:
    twice = a_rule("twice", "max_rejects", value=2)
    await hold(town, a_set("web", a_profile("all", twice)))
    order = await place(town, asks={"mug": 1, "tee": 1})
    shares = [
        a_share(f"{order.order_id}-F{n}", "DAL", {"mug": 1}, order_id=order.order_id)
        for n in (1, 2)
    ]
    said_no = [share.model_copy(update={"request": RequestStatus.REJECTED}) for share in shares]
    await go_on(town, order, 2, fulfillments=tuple(said_no[:1]))
    once = await decided(town, order, round_=2)
    await go_on(town, order, 3, fulfillments=tuple(said_no))
    both = await decided(town, order, round_=3)

    assert once.plan.unsourced == ()
    assert sent(both.plan) == {"CHI": {"tee": 1}}
    assert both.eliminated["DAL"] == "rule twice: rejected too often"


async def test_a_claimed_promise_is_kept_whatever_rules_say_since(town: AsyncEngine) -> None:
    order = await place(town, promise_token="pr_1", deliver_by=datetime.now(UTC) + DUE)
    held = await promised(town, order)
    await hold(town, a_set("web", a_profile("calm", NOT_DAL, cool_down="PT1H", review=True)))
    decision = await decided(town, order)

    assert decision.promise == Promised(token=held.token, kept=True)
    assert (by(decision), sent(decision.plan)) == ("web@1", {"DAL": {"mug": 1}})
    assert decision.review
    again = await decided(town, order, round_=2, excluded={"DAL": "rejected"})
    assert again.promise is not None
    assert (again.promise.kept, sent(again.plan)) == (False, {"CHI": {"mug": 1}})


async def test_a_node_that_gave_the_order_back_is_said_to_have_done_so(town: AsyncEngine) -> None:
    """Its own words are not told as what is known of it: here it has twenty of them."""
    order = await place(town)
    await decided(town, order)
    long = "x" * 200
    excluded = {"DAL": "no stock", "SEA": long}
    again = await decided(town, order, round_=2, excluded=excluded)

    assert again.eliminated["DAL"] == "gave it back: no stock"
    assert again.eliminated["SEA"] == f"gave it back: {long}"[:200]  # so that the API takes it
    told = {answer.question: answer.text for answer in answers(Record(decision=again))}
    assert "20 at DAL" in told["what_stock"]
    assert "The nearest, DAL, is out: gave it back: no stock." in told["why_farther"]


async def test_a_node_that_gave_the_order_back_rests_as_long_as_rules_say(
    town: AsyncEngine,
) -> None:
    """From the end on it may be asked; without such a rule, or from when on, never."""
    await hold(town, a_set("web", a_profile("all", retry_after="P3D")))
    order = await place(town)
    rest, asked_at = timedelta(days=3), datetime.now(UTC) + timedelta(minutes=5)
    excluded = dict.fromkeys(("DAL", "CHI", "SEA"), "no stock")

    async def after(round_: int, **since: timedelta) -> Decision:
        moments = {node: asked_at - ago for node, ago in since.items()}
        more: dict[str, Any] = {"excluded_at": moments, "asked_at": asked_at}
        return await decided(town, order, round_, excluded=excluded, **more)

    before = await after(2, DAL=rest - timedelta(seconds=1), CHI=rest / 2)
    at_the_end = await after(3, DAL=rest, CHI=rest / 2)
    unknown = await after(4)

    assert (sent(before.plan), before.eliminated["DAL"]) == ({}, "gave it back: no stock")
    assert before.again_at == asked_at + timedelta(seconds=1)
    assert (sent(at_the_end.plan), at_the_end.again_at) == ({"DAL": {"mug": 1}}, None)
    assert at_the_end.eliminated["CHI"] == "gave it back: no stock"
    assert (sent(unknown.plan), unknown.again_at) == ({}, None)
    assert (await ask(town, order, 2)).again_at == before.again_at  # of a decision that was made
    await hold(town, a_set("web", a_profile("all")))
    assert sent((await after(5, DAL=2 * rest)).plan) == {}


async def test_a_rest_ends_by_our_clock_where_the_order_has_none(town: AsyncEngine) -> None:
    await hold(town, a_set("web", a_profile("all", retry_after="PT1H")))
    order = await place(town)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    more: dict[str, Any] = {"excluded": {"DAL": "no"}, "excluded_at": {"DAL": hour_ago}}

    assert sent((await decided(town, order, 2, **more)).plan) == {"DAL": {"mug": 1}}


async def test_two_sets_share_the_channels_between_them(town: AsyncEngine) -> None:
    await hold(town, a_set("web", a_profile("web", NOT_DAL, channels=["web"])))
    await hold(town, a_set("outlet", a_profile("outlet", FAR, channels=["outlet"])))
    other = RuleSet.model_validate(a_set("all"))
    async with transaction(town) as conn:
        await rules.save(conn, other, "ann")
    found = {
        channel: await decided(town, await place(town, channel, channel=channel))
        for channel in ("web", "outlet", "api")
    }

    assert {channel: by(one) for channel, one in found.items()} == {
        "web": "web@1",
        "outlet": "outlet@1",
        "api": "",
    }
    assert sent(found["web"].plan) == {"CHI": {"mug": 1}}
    assert sent(found["outlet"].plan) == {"DAL": {"mug": 1}}


@pytest.mark.parametrize(
    ("dates", "label"),
    [
        ({}, "web@1"),
        ({"first": -1, "last": 1}, "web@1"),
        ({"first": 2}, ""),
        ({"last": -2}, ""),
        ({"blackout": (-1, 1)}, ""),
        ({"blackout": (2, 3)}, "web@1"),
    ],
)
async def test_a_set_holds_on_its_days_only(
    town: AsyncEngine, dates: dict[str, Any], label: str
) -> None:
    today = datetime.now(UTC).date()

    def day(off: int) -> str:
        return (today + timedelta(days=off)).isoformat()

    said: dict[str, Any] = {k: day(v) for k, v in dates.items() if k != "blackout"}
    if "blackout" in dates:
        first, last = map(day, dates["blackout"])
        said["blackout"] = [{"first": first, "last": last}]
    await hold(town, a_set("web", a_profile("all", NOT_DAL), dates=said))

    assert by(await decided(town, await place(town))) == label


async def test_decisions_under_random_rules_stand_another_solver(town: AsyncEngine) -> None:
    chance = Random(5)  # noqa: S311 - rules, not secrets
    checked = 0
    for number in range(12):
        some = chance.sample(RULES, 3)
        await hold(town, a_set("web", a_profile("all", *some), note=str(number)))
        asks = {sku: chance.randint(1, 3) for sku in chance.sample(("mug", "tee", "bag"), 2)}
        decision = await decided(town, await place(town, str(number), asks))
        assert by(decision) == f"web@{number + 1}"
        assert decision.certificate or decision.solver != "exact-kernel"
        checked += decision.certificate is not None
    assert checked > 5


RULES = [
    FAR,
    a_rule("soft-near", "max_distance", value=300, hard=False),
    a_rule("keep-two", "min_stock", 'node.kind == "store"', value=19, hard=False),
    a_rule("one", "max_nodes", value=1, hard=False),
    a_rule("whole-lines", "ship_complete_lines"),
    a_rule("floor", "value_floor", value=2000),
    a_rule("own", "preferred_node", 'node.kind == "dc"', value=400),
    a_rule("first", "location_priority", "node.miles < 900", value=1),
    a_rule("second", "location_priority", "node.miles >= 900", value=2),
    a_rule("alone", "ship_alone", 'line.sku == "tee"'),
    a_rule("group", "keep_together", 'product.title in ["mug", "tee"]', hard=False),
    a_rule("offline", "offline", 'node.code == "SEA"', hard=False),
]


async def test_a_set_that_would_judge_the_same_orders_is_refused_and_changes_nothing(
    town: AsyncEngine,
) -> None:
    await hold(town, a_set("last", entry=False))
    await hold(town, a_set("web", a_profile("web", NOT_DAL, **leads_to("last"))))
    async with transaction(town) as conn:
        with pytest.raises(Conflict, match="web@1 is active and goes on to last"):
            await rules.archive(conn, "last", 1, "ann")

    assert by(await decided(town, await place(town))) == "web@1"
