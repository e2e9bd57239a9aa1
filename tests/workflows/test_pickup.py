"""Pickup: a window in the store's calendar, extended or expired, and one winner in every race."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.calendars import pickup_until
from domain.errors import Conflict, Outage
from domain.fulfillments import NodeEventType
from domain.network import Calendar
from domain.orders import DeliveryMethod, OrderStatus
from tests.workflows.conftest import PATIENCE
from tests.workflows.story import Play, Story, together
from tests.world import World
from workflows.ports import Sourced, SourceOrder

PICKUP: dict[str, Any] = {"method": DeliveryMethod.PICKUP, "pickup_node": "B"}
SECOND = timedelta(seconds=1)


async def test_a_pickup_is_collected_at_its_store(play: Play) -> None:
    async with play(**PICKUP) as story:
        await story.ready()
        await story.hand_over()
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert [f.node for f in state.fulfillments] == ["B"]
    assert story.world.problems() == []


async def test_a_store_that_gives_the_goods_back_waits_for_a_person(play: Play) -> None:
    """Asked again at once it would only say no again, for ever."""
    world = World()
    world.manners["B"] = "rejects"
    async with play(world, **PICKUP) as story:
        await story.submit()
        await story.until("pickup_unfillable")
        assert world.seen["dispatch"] == 1
        assert world.stock["B"]["mug"] == 10
        world.manners.clear()
        await story.resolve()
        await story.until("F2:submitted")
        await story.tell(2, NodeEventType.READY_FOR_PICKUP)
        await story.tell(2, NodeEventType.COLLECTED)
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
    assert world.problems() == []


async def test_a_parcel_that_is_ready_for_its_carrier_opens_no_window(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, NodeEventType.READY_FOR_PICKUP)
        await story.deliver()
        state = await story.end()

    assert state.fulfillments[0].pickup_until is None
    assert story.world.seen["open_pickup"] == 0


async def test_the_window_counts_the_open_days_of_the_store(play: Play) -> None:
    """The day after tomorrow is open, and then only the sixth day and the ninth."""
    zone = "America/New_York"
    today = datetime.now(UTC).astimezone(ZoneInfo(zone)).date()
    calendar = _open_on(today, zone, 0, 2, 6, 9)
    world = World(calendars={"B": calendar})
    async with play(world, patience=PATIENCE.model_copy(update={"pickup_days": 2}), **PICKUP) as s:
        until = await s.ready()
        assert until == _closing(today, zone, 6)
        await s.just_before(until, SECOND * 60)
        assert (await s.state()).status is OrderStatus.READY_FOR_PICKUP
        longer = await s.extend(days=1)
        assert longer == _closing(today, zone, 9)
        assert longer == pickup_until(calendar, until, 1)
        await s.just_before(until, -SECOND * 60)
        assert (await s.state()).status is OrderStatus.READY_FOR_PICKUP
        await s.just_before(longer, -SECOND)
        state = await s.end()

    assert state.status is OrderStatus.EXPIRED
    assert s.world.problems() == []


@pytest.mark.parametrize("kind", [NodeEventType.COLLECTED, None], ids=["event", "update"])
async def test_after_the_window_nothing_is_handed_over(
    play: Play, kind: NodeEventType | None
) -> None:
    async with play(**PICKUP) as story:
        until = await story.ready()
        await story.just_before(until, -SECOND)
        state = await story.end()
        with pytest.raises(Conflict):
            await (story.tell(1, kind) if kind else story.hand_over())

    assert state.status is OrderStatus.EXPIRED
    assert story.world.shipped_units() == 0
    assert story.world.leftovers() == []


# ---- races


async def hand_over(story: Story) -> str:
    await story.hand_over()
    return "collected"


async def collected_says_the_store(story: Story) -> str:
    """The store's own till is no update: it is not answered. The order's end tells who won."""
    await story.tell(1, NodeEventType.COLLECTED)
    return "told"


async def extend(story: Story) -> str:
    await story.extend()
    return "extended"


async def cancel(story: Story) -> str:
    await story.cancel()
    return "told"


Act = Callable[[Story], Awaitable[str]]
# What comes at the end of the window, and how long before it (in part after it).
SCENES: tuple[tuple[tuple[Act, ...], timedelta], ...] = (
    ((hand_over,), SECOND),
    ((hand_over,), -SECOND),
    ((hand_over,), SECOND * 0),
    ((collected_says_the_store,), SECOND),
    ((collected_says_the_store,), SECOND * 0),
    ((extend,), SECOND),
    ((extend,), SECOND * 0),
    ((extend, hand_over), SECOND),
    ((hand_over, extend), SECOND),
    ((hand_over, hand_over), SECOND * 0),
    ((extend, extend), SECOND),
    ((cancel, hand_over), SECOND * 60),
    ((hand_over, cancel), SECOND),
    ((cancel, extend), SECOND * 0),
)


@pytest.mark.parametrize("races", [32, pytest.param(100, marks=pytest.mark.long)])
async def test_races_at_the_end_of_the_window_have_one_winner_each(play: Play, races: int) -> None:
    ended: Counter[OrderStatus] = Counter()

    async def race(number: int, acts: tuple[Act, ...], before: timedelta) -> None:
        world = World()
        if number % 3 == 0:
            world.failures["open_pickup" if extend in acts else "ship", "before"] = 5
        async with play(world, **PICKUP) as story:
            until = await story.ready()
            await story.just_before(until, before + SECOND)
            await asyncio.sleep(1 - 0.02 * (number % 7))
            said = await asyncio.gather(*(_tried(act, story) for act in acts))
            if "extended" in said and "collected" not in said and cancel not in acts:
                state = world.states[story.id]
                promised = state.fulfillments[0].pickup_until
                assert promised is not None
                assert promised > until or state.status is not OrderStatus.EXPIRED
                await story.just_before(promised, -SECOND)
            state = await story.end()
        ended[state.status] += 1
        gone = state.status is OrderStatus.COMPLETED
        if "collected" in said:
            assert gone
        elif "told" not in said:
            assert not gone
        assert world.shipped_units() == (2 if gone else 0)
        assert world.stock["B"]["mug"] == (8 if gone else 10)
        assert world.wrong == []
        assert world.leftovers() == []

    stories = {}
    for number in range(races):
        acts, before = SCENES[number % len(SCENES)]
        name = f"{number}: {'+'.join(act.__name__ for act in acts)} at {before.total_seconds()}"
        stories[name] = partial(race, number, acts, before)
    await together(stories, at_once=32)
    assert ended[OrderStatus.COMPLETED] > 0
    assert ended[OrderStatus.EXPIRED] > 0


async def test_a_hand_over_that_is_under_way_is_not_recalled_as_well(play: Play) -> None:
    """The store agrees to cancel while its till has already handed the goods over."""
    world = World()
    async with play(world, **PICKUP) as story:
        await story.ready()
        gate = world.pause["recall"] = asyncio.Event()
        wish = asyncio.create_task(story.cancel())
        await story.reached("recall")
        handing = asyncio.create_task(story.hand_over())
        await asyncio.sleep(0.3)
        gate.set()
        state = await story.end()
        assert await handing == "collected"
        await wish

    assert state.status is OrderStatus.COMPLETED
    assert world.shipped_units() == 2
    assert world.leftovers() == []


async def _tried(act: Act, story: Story) -> str:
    try:
        return await act(story)
    except Conflict:
        return "refused"
    except Outage:  # the answer was lost, not the wish
        return "told"


def _open_on(today: date, zone: str, *ahead: int) -> Calendar:
    """A store that works on these days from today, from midnight to 23:59, and no other."""
    days = (today + timedelta(days=d) for d in range(60) if d not in ahead)
    return Calendar(
        timezone=zone,
        weekdays=tuple(range(7)),
        opens=time(0),
        closes=time(23, 59),
        holidays="",
        closed=tuple(day.isoformat() for day in days),
    )


def _closing(today: date, zone: str, ahead: int) -> datetime:
    day = today + timedelta(days=ahead)
    return datetime.combine(day, time(23, 59), ZoneInfo(zone)).astimezone(UTC)


async def test_a_store_that_is_closed_is_not_late_in_preparing(play: Play) -> None:
    """The plan knows its calendar: what is to be ready on Monday is not overdue on Saturday."""

    class ClosedForDays(World):
        def _decide(self, request: SourceOrder) -> Sourced:
            sourced = super()._decide(request)
            [only] = sourced.plan.assignments
            later = only.model_copy(update={"ship_by": datetime.now(UTC) + timedelta(days=3)})
            plan = sourced.plan.model_copy(update={"assignments": (later,)})
            return sourced.model_copy(update={"plan": plan})

    async with play(ClosedForDays(), **PICKUP) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.tell(1, NodeEventType.ACCEPTED)
        await story.until("F1:accepted")
        await story.later(timedelta(days=2))
        assert story.world.recalls == {}
        await story.later(timedelta(days=2))
        await story.until("pickup_unfillable")
        await story.cancel()
        assert (await story.end()).status is OrderStatus.CANCELLED
