"""Random days: whatever happens in whatever order, each order ends, and everything adds up."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Replayer

from activities.worker import SANDBOX
from domain.errors import Conflict, NotFound, Outage
from domain.fulfillments import Fulfillment, LineQuantity, NodeEventType
from domain.orders import DeliveryMethod, Line
from tests.workflows.conftest import KEYRING
from tests.workflows.story import Play, Story, together
from tests.world import Manner, World
from workflows.codec import data_converter
from workflows.order import OrderWorkflow

SEED = 20261121
STEPS = 9
MANNERS: tuple[Manner, ...] = ("obeys", "obeys", "obeys", "rejects", "dead", "keeps", "pending")
SAID = (
    NodeEventType.ACCEPTED,
    NodeEventType.SHIPPED,
    NodeEventType.SHIPPED,
    NodeEventType.DELIVERED,
    NodeEventType.EXCEPTION,
    NodeEventType.REJECTED,
    NodeEventType.CANCELLED,
    NodeEventType.READY_FOR_PICKUP,
    NodeEventType.COLLECTED,
)
Act = Callable[[Story, random.Random], Awaitable[Any]]


async def a_node_speaks(story: Story, chance: random.Random) -> None:
    """Anything that an honest node may say: late, early, twice, or of the wrong kind."""
    known = [f for fid, f in story.world.fulfillments.items() if fid.startswith(story.id)]
    if not known:
        return
    f, kind = chance.choice(known), chance.choice(SAID)
    if not story.world.requests[f.fulfillment_id] or not _may_say(story.world, f, kind):
        return
    more: dict[str, Any] = {"event_id": f"{f.fulfillment_id}-{kind}-{chance.randrange(3)}"}
    if kind is NodeEventType.SHIPPED and chance.random() < 0.4:
        line = chance.choice(f.lines).line_id
        more["lines"] = (LineQuantity(line_id=line, quantity=1),)
        more["final"] = chance.random() < 0.5
    event = story.world.tell(f.fulfillment_id, kind, **more)
    await story.handle.signal(OrderWorkflow.node_event, event)


def _may_say(world: World, f: Fulfillment, kind: NodeEventType) -> bool:
    fid, pickup = f.fulfillment_id, f.method is DeliveryMethod.PICKUP
    gone = any(world.gone[fid].values())
    match kind:
        case NodeEventType.SHIPPED:
            return not pickup and not gone and fid not in world.withdrawn
        case NodeEventType.COLLECTED:
            return pickup and not gone and fid not in world.withdrawn
        case NodeEventType.EXCEPTION | NodeEventType.REJECTED | NodeEventType.CANCELLED:
            return not gone
        case _:
            return True


async def it_is_cancelled(story: Story, chance: random.Random) -> None:
    await (story.cancel() if chance.random() < 0.7 else story.handle.cancel())


async def it_is_held(story: Story, chance: random.Random) -> None:
    await story.hold(f"look-{chance.randrange(3)}")


async def it_is_released(story: Story, _: random.Random) -> None:
    await story.release()


async def a_node_goes_down(story: Story, chance: random.Random) -> None:
    await story.down(chance.choice("ABC"))


async def a_person_decides(story: Story, chance: random.Random) -> None:
    state = story.world.states.get(story.id)
    if state is None or not state.attention:
        return
    item = chance.choice(state.attention)
    action = chance.choice(item.options)
    fid = item.fulfillment_id
    if action == "reroute" and fid:  # only who has looked may vouch
        if any(story.world.gone[fid].values()):
            return
        story.world.withdrawn.add(fid)
    await story.resolve(action, item.item)


async def a_batch_is_retried(story: Story, _: random.Random) -> None:
    await story.handle.signal("retry")


async def supply_comes(story: Story, chance: random.Random) -> None:
    story.world.receive(chance.choice("ABC"), "mug", chance.randrange(1, 4))
    await story.supply()


async def it_could_be_sourced_better(story: Story, chance: random.Random) -> None:
    """A pass has looked at it, now or some time ago, and tells it, perhaps twice."""
    state = story.world.states.get(story.id)
    named = [f for f in state.fulfillments if f.release_at] if state else []
    numbers = range(1, len(named) + 1)
    some = chance.sample(numbers, chance.randrange(len(named) + 1))
    for _ in range(chance.choice((1, 1, 2))):
        await story.again(*(some or numbers))


async def time_passes(story: Story, chance: random.Random) -> None:
    with suppress(RuntimeError):  # another leap took this one's place
        await story.later(timedelta(hours=chance.choice((1, 5, 30, 100))))


async def the_database_is_away(story: Story, chance: random.Random) -> None:
    story.world.outage = True
    await asyncio.sleep(chance.choice((0.3, 2.5)))
    story.world.outage = False


async def a_node_changes_its_manners(story: Story, chance: random.Random) -> None:
    story.world.manners[chance.choice("ABC")] = chance.choice(MANNERS)


async def the_customer_comes(story: Story, _: random.Random) -> None:
    await story.hand_over()


async def the_customer_asks_for_more_days(story: Story, chance: random.Random) -> None:
    await story.extend(chance.randrange(1, 4))


ACTS: dict[Act, int] = {
    a_node_speaks: 12,
    it_is_cancelled: 1,
    it_is_held: 1,
    it_is_released: 2,
    a_node_goes_down: 2,
    a_person_decides: 3,
    a_batch_is_retried: 1,
    supply_comes: 1,
    it_could_be_sourced_better: 3,
    time_passes: 1,
    the_database_is_away: 1,
    a_node_changes_its_manners: 2,
    the_customer_comes: 1,
    the_customer_asks_for_more_days: 1,
}


async def act(story: Story, chance: random.Random) -> None:
    chosen = chance.choices(list(ACTS), list(ACTS.values()))[0]
    with suppress(Conflict, NotFound, Outage, RPCError):
        await chosen(story, chance)


@pytest.mark.parametrize("days", [16, pytest.param(80, marks=pytest.mark.long)])
async def test_random_days_end_and_add_up(play: Play, days: int) -> None:
    async def day(number: int) -> None:
        chance = random.Random(f"{SEED}-{number}")  # noqa: S311 - a test's
        world = World({node: {"mug": chance.randrange(5), "tee": 3} for node in "ABC"})
        world.manners = {node: chance.choice(MANNERS) for node in "ABC"}
        lines = (
            Line(line_id="1", sku="mug", quantity=chance.randrange(1, 5)),
            Line(line_id="2", sku="tee", quantity=chance.randrange(1, 3)),
        )
        order: dict[str, Any] = {"lines": lines[: chance.randrange(1, 3)]}
        if number % 4 in {1, 2}:
            world.release_after = timedelta(hours=chance.choice((2, 20)))
        if number % 4 == 0:
            order |= {"method": DeliveryMethod.PICKUP, "pickup_node": "B"}
        async with play(world, **order) as story:
            with suppress(Outage):
                await story.submit()
            for _ in range(STEPS):
                some = chance.choice((1, 1, 2))
                await asyncio.gather(*(act(story, chance) for _ in range(some)))
                await asyncio.sleep(chance.choice((0, 0.05, 0.3)))
            await story.drain()
            history = await story.handle.fetch_history()
        if found := world.problems():
            raise AssertionError("\n".join([*found, *story.told()]))
        await replayed(history)

    await together({f"day {n}": partial(day, n) for n in range(days)}, at_once=24)


async def replayed(history: WorkflowHistory) -> None:
    """
    What happened is what the code does again. No query was asked on the way: the SDK hands the
    result of a local activity over later, beside newer events, where a query rode on its task.
    """
    replayer = Replayer(
        workflows=[OrderWorkflow],
        data_converter=data_converter(KEYRING),
        workflow_runner=SANDBOX,
    )
    await replayer.replay_workflow(history)
