"""
Recorded histories replay for ever: what an order decided once, the code decides again.

One history for each road lies in `tests/histories/order`, its payloads unsealed, made of test data
only. Each road is also taken anew, and must replay as it was just taken. `./crossdock test
tests/workflows/test_histories.py --record-histories` keeps what is taken. Do that for a new road;
where a change of the workflow breaks an old history, give it a patch id (`workflow.patched`) and
keep the history.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from activities.worker import SANDBOX
from domain.fulfillments import LineQuantity, NodeEventType
from domain.network import Component, Kit
from domain.orders import DeliveryMethod, Line, OrderStatus
from tests.workflows.recordings import read, written
from tests.workflows.story import Play, Story
from tests.world import World
from workflows.addressing import order_workflow_id
from workflows.order import OrderWorkflow

FOLDER = Path(__file__).parents[1] / "histories" / "order"
PICKUP: dict[str, Any] = {"method": DeliveryMethod.PICKUP, "pickup_node": "B"}
Road = Callable[[Story], Awaitable[OrderStatus]]


async def asked(story: Story, times: int = 1) -> None:
    """So many requests are at their nodes, and their answers are taken in."""
    await story.reached("dispatch", times)
    await asyncio.sleep(0.4)


async def ships(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story)
    await one_by_one(story, 1)
    return OrderStatus.COMPLETED


async def ships_in_two(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story, 2)
    await one_by_one(story, 1, 2)
    return OrderStatus.COMPLETED


async def ships_a_kit(story: Story) -> OrderStatus:
    return await ships(story)


def _with_kits() -> World:
    world = World({"A": {"mug": 2, "tee": 4}})
    parts = (Component(sku="mug"), Component(sku="tee", quantity=2))
    world.kits["gift"] = Kit(sku="gift", components=parts)
    return world


async def one_by_one(story: Story, *numbers: int) -> None:
    """Every event has a workflow task of its own: the dearest way to be undisturbed."""
    for kind in (NodeEventType.ACCEPTED, NodeEventType.SHIPPED, NodeEventType.DELIVERED):
        for number in numbers:
            await story.tell(number, kind)
            await asyncio.sleep(0.3)


async def splits_and_ships_short(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story, 2)
    await story.deliver(1)
    await story.tell(2, NodeEventType.SHIPPED, lines=(LineQuantity(line_id="1", quantity=1),))
    await asked(story, 3)
    await story.tell(2, NodeEventType.DELIVERED)
    await story.deliver(3)
    return OrderStatus.COMPLETED


async def is_rejected_then_its_node_goes_down(story: Story) -> OrderStatus:
    story.world.manners["A"] = "rejects"
    await story.submit()
    await asked(story, 2)
    await story.down("B")
    await asked(story, 3)
    await story.deliver(3)
    return OrderStatus.COMPLETED


async def is_asked_again_after_a_rest(story: Story) -> OrderStatus:
    story.world.manners["A"] = "rejects"
    await story.submit()
    state = await story.recorded("no_node")
    story.world.manners.clear()
    await story.just_before(state.excluded_at["A"] + timedelta(days=3), timedelta(seconds=-1))
    await asked(story, 2)
    await story.deliver(2)
    return OrderStatus.COMPLETED


async def is_collected(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story)
    await story.tell(1, NodeEventType.READY_FOR_PICKUP)
    await story.recorded("ready_for_pickup")
    await story.hand_over()
    return OrderStatus.COMPLETED


async def expires_after_an_extension(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story)
    await story.tell(1, NodeEventType.READY_FOR_PICKUP)
    await story.recorded("ready_for_pickup")
    until = await story.extend(2)
    await story.just_before(until, timedelta(seconds=-1))
    return OrderStatus.EXPIRED


async def is_cancelled_at_its_node(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story)
    await story.cancel()
    return OrderStatus.CANCELLED


async def waits_for_people(story: Story) -> OrderStatus:
    """A dead node is vouched for; a hold is placed and released; the delivery is taken as made."""
    story.world.manners["A"] = "dead"
    await story.submit()
    await story.recorded("node_unreachable")
    await story.hold()
    await story.resolve("reroute")
    await story.release()
    await story.reached("allocate", 2)
    await asyncio.sleep(0.5)
    await story.tell(2, NodeEventType.SHIPPED)
    await story.later(timedelta(days=7))
    await story.recorded("delivery_overdue")
    await story.resolve("skip")
    return OrderStatus.COMPLETED


async def is_backordered_then_supplied(story: Story) -> OrderStatus:
    await story.submit()
    story.world.receive("A", "mug", 5)
    await story.supply()
    await asked(story)
    await story.deliver()
    return OrderStatus.COMPLETED


async def waits_and_is_sourced_better(story: Story) -> OrderStatus:
    await story.submit()
    await story.reached("allocate")
    await asyncio.sleep(0.5)
    story.world.receive("0", "mug", 5)
    await story.again(1, 2)
    await story.reached("allocate", 2)
    await asyncio.sleep(0.5)
    await story.later(timedelta(hours=4))
    await asked(story)
    await story.deliver(3)
    return OrderStatus.COMPLETED


async def is_silent_then_recalled(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story)
    await story.later(timedelta(hours=5))
    await asked(story, 2)
    await story.deliver(2)
    return OrderStatus.COMPLETED


async def lives_through_an_outage(story: Story) -> OrderStatus:
    await story.submit()
    await asked(story)
    story.world.outage = True
    await story.tell(1, NodeEventType.SHIPPED)
    await story.reached("ship", 6)
    story.world.outage = False
    await story.recorded("shipped")
    await story.tell(1, NodeEventType.DELIVERED)
    return OrderStatus.COMPLETED


async def is_held_for_an_unknown_product(story: Story) -> OrderStatus:
    await story.submit()
    await story.recorded("unknown_sku")
    story.world.catalogue.add("4711")
    story.world.receive("A", "4711", 3)
    await story.resolve()
    await asked(story)
    await story.deliver()
    return OrderStatus.COMPLETED


def _with_patience() -> World:
    world = World({"A": {"mug": 2}, "B": {"mug": 3}})
    world.release_after = timedelta(hours=3)
    return world


def _with_a_rest() -> World:
    world = World({"A": {"mug": 2}})
    world.retry_after = timedelta(days=3)
    return world


ROADS: dict[Road, tuple[Callable[[], World], dict[str, Any]]] = {
    ships: (World, {}),
    ships_in_two: (
        lambda: World({"A": {"mug": 2}, "B": {"mug": 3}}),
        {"lines": (Line(line_id="1", sku="mug", quantity=5),)},
    ),
    ships_a_kit: (_with_kits, {"lines": (Line(line_id="1", sku="gift", quantity=2),)}),
    splits_and_ships_short: (
        lambda: World({"A": {"mug": 2}, "B": {"mug": 3}, "C": {"mug": 9}}),
        {"lines": (Line(line_id="1", sku="mug", quantity=5),)},
    ),
    is_rejected_then_its_node_goes_down: (
        lambda: World({node: {"mug": 2} for node in "ABC"}),
        {},
    ),
    is_asked_again_after_a_rest: (_with_a_rest, {}),
    is_collected: (World, PICKUP),
    expires_after_an_extension: (World, PICKUP),
    is_cancelled_at_its_node: (World, {}),
    waits_for_people: (World, {}),
    is_backordered_then_supplied: (lambda: World({"A": {"mug": 1}}), {}),
    waits_and_is_sourced_better: (
        _with_patience,
        {"lines": (Line(line_id="1", sku="mug", quantity=5),)},
    ),
    is_silent_then_recalled: (World, {}),
    lives_through_an_outage: (World, {}),
    is_held_for_an_unknown_product: (
        World,
        {"lines": (Line(line_id="1", aliases=("4711",), quantity=1),)},
    ),
}


@pytest.mark.parametrize("road", ROADS, ids=lambda road: road.__name__)
async def test_a_road_replays_as_it_was_taken(
    road: Road, play_unsealed: Play, request: pytest.FixtureRequest
) -> None:
    world, order = ROADS[road]
    name = road.__name__
    async with play_unsealed(world(), channel="recorded", channel_order_id=name, **order) as story:
        due = await road(story)
        state = await story.end()
        history = await story.handle.fetch_history()
    assert state.status is due
    assert story.world.problems() == []
    await replay(history)
    if request.config.getoption("--record-histories", default=False):
        (FOLDER / f"{name}.json").write_text(written(history))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
async def test_every_recorded_history_replays(path: Path) -> None:
    await replay(recorded(path.stem))


def test_every_road_is_recorded() -> None:
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert {road.__name__ for road in ROADS} <= names


def test_an_undisturbed_order_keeps_its_budget_of_events_when_none_of_them_meet() -> None:
    roads = (ships, ships_in_two, ships_a_kit)
    one, two, kit = (len(recorded(road.__name__).events) for road in roads)

    assert one <= 40
    assert kit <= 40
    assert two - one <= 20


def recorded(name: str) -> WorkflowHistory:
    text = (FOLDER / f"{name}.json").read_text()
    return read(order_workflow_id(f"recorded-{name}"), text)


async def replay(history: WorkflowHistory) -> None:
    replayer = Replayer(
        workflows=[OrderWorkflow],
        data_converter=pydantic_data_converter,
        workflow_runner=SANDBOX,
    )
    await replayer.replay_workflow(history)
