"""The life of an order: the straight way, and every way in which it bends."""

import asyncio
from datetime import UTC, datetime, timedelta

from domain.fulfillments import LineQuantity, NodeEventType
from domain.orders import Line, OrderStatus
from domain.sourcing.terms import Terms
from tests.workflows.conftest import PATIENCE
from tests.workflows.slow import Slow
from tests.workflows.story import Play
from tests.world import World


async def test_an_order_goes_from_the_channel_to_the_door(play: Play) -> None:
    async with play() as story:
        answer = await story.submit()
        state = await story.delivered()

    assert answer.outcome == "accepted"
    assert state.status is OrderStatus.COMPLETED
    assert story.world.shipped_units() == 2
    assert story.world.leftovers() == []
    assert len(await story.events()) <= 40


async def test_a_split_order_ends_when_every_part_arrived(play: Play) -> None:
    world = World({"A": {"mug": 1}, "B": {"mug": 5}, "C": {}})
    async with play(world) as story:
        await story.submit()
        await story.reached("dispatch", 2)  # nobody queries: a query splits workflow tasks
        await story.deliver(1)
        await story.recorded("partially_shipped")
        await story.deliver(2)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert [f.node for f in state.fulfillments] == ["A", "B"]
    assert world.leftovers() == []
    events = await story.events()
    assert len(events) <= 40 + 20


async def test_the_same_order_again_gets_the_same_answer(play: Play) -> None:
    async with play() as story:
        first = await story.submit()
        assert await story.submit() == first
        await story.delivered()
        assert await story.submit() == first


async def test_an_order_is_allocated_on_the_terms_of_its_decision(play: Play) -> None:
    world = World()
    world.terms = {"A": Terms(most_orders=3, least={"mug": 2})}
    async with play(world) as story:
        await story.submit()
        await story.delivered()

    assert world.on_terms == [world.terms]


async def test_one_unit_is_received_as_one(play: Play) -> None:
    async with play(lines=(Line(line_id="1", sku="mug", quantity=1),)) as story:
        await story.submit()
        await story.delivered()

    received = [event for event in story.world.events.values() if event.type == "received"]
    assert [event.summary for event in received] == ["1 unit on 1 line from test"]


async def test_a_rejection_is_sourced_elsewhere(play: Play) -> None:
    world = World()
    world.manners["A"] = "rejects"
    async with play(world) as story:
        await story.submit()
        state = await story.until("F2:submitted")
        assert "A" in state.excluded
        await story.deliver(2)
        state = await story.handle.result()

    assert [f.node for f in state.fulfillments] == ["A", "B"]
    assert world.shipped_units() == 2
    assert world.leftovers() == []


async def test_a_refusal_at_the_door_is_sourced_elsewhere(play: Play) -> None:
    world = World()
    world.manners["A"] = "refuses"
    async with play(world) as story:
        await story.submit()
        await story.delivered(2)

    assert world.leftovers() == []


async def test_a_silent_node_is_asked_back_and_the_order_goes_elsewhere(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.later(timedelta(hours=5))
        state = await story.delivered(2)

    assert state.status is OrderStatus.COMPLETED
    assert story.world.recalls[story.f(1)] == 1
    assert story.world.leftovers() == []


async def test_a_dead_node_waits_for_a_person_who_vouches(play: Play) -> None:
    world = World()
    world.manners["A"] = "dead"
    async with play(world) as story:
        await story.submit()
        state = await story.until("node_unreachable", 30)
        assert state.attention[0].options == ("retry", "reroute", "skip", "cancel")
        await story.resolve("reroute")
        state = await story.delivered(2)

    assert state.status is OrderStatus.COMPLETED
    assert f"{story.f(1)}:recall" in world.messages
    assert world.leftovers() == []


async def test_a_dead_node_that_lives_again_is_retried(play: Play) -> None:
    world = World()
    world.manners["A"] = "dead"
    async with play(world) as story:
        await story.submit()
        await story.until("node_unreachable", 30)
        world.manners["A"] = "obeys"
        await story.resolve()
        state = await story.delivered()

    assert [f.node for f in state.fulfillments] == ["A"]


async def test_events_late_double_and_out_of_order_are_absorbed(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        for said in (NodeEventType.DELIVERED, NodeEventType.SHIPPED, NodeEventType.ACCEPTED):
            event = await story.tell(1, said)
            await story.handle.signal("node_event", event)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.shipped_units() == 2


async def test_a_short_shipment_sources_the_rest(play: Play) -> None:
    async with play() as story:
        await story.submit()
        await story.until("F1:submitted")
        one = (LineQuantity(line_id="1", quantity=1),)
        await story.tell(1, NodeEventType.SHIPPED, lines=one)
        await story.until("F2:submitted")
        await story.tell(1, NodeEventType.DELIVERED)
        await story.deliver(2)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.shipped_units() == 2
    assert story.world.leftovers() == []


async def test_a_backordered_order_takes_what_comes_in(play: Play) -> None:
    world = World({"A": {"mug": 1}})
    async with play(world) as story:
        answer = await story.submit()
        assert (answer.outcome, answer.missing) == ("backordered", {"mug": 1})
        world.stock["A"]["mug"] = 5
        await story.handle.signal("supply", {"sku": "mug"})
        state = await story.delivered()

    assert state.status is OrderStatus.COMPLETED


async def test_a_backorder_that_nothing_fills_ends_in_time(play: Play) -> None:
    async with play(World({"A": {}})) as story:
        await story.submit()
        await story.later(timedelta(days=31))
        state = await story.handle.result()

    assert state.status is OrderStatus.CANCELLED


async def test_a_backorder_waits_for_its_named_supply_is_told_of_a_slip_and_ships(
    play: Play,
) -> None:
    world = World({"A": {}})
    async with play(world) as story:
        world.expected = datetime.now(UTC) + timedelta(days=50)
        await story.submit()
        assert await story.later(timedelta(days=45)), "patience begins when it is expected"
        world.expected += timedelta(days=40)
        await story.supply()  # as a slip does
        await story.until("backordered")
        assert await story.later(timedelta(days=70))
        world.receive("A", "mug", 5)
        await story.supply()
        state = await story.delivered()

    assert state.status is OrderStatus.COMPLETED


async def test_a_backorder_whose_named_supply_does_not_come_ends_in_time(play: Play) -> None:
    world = World({"A": {}})
    async with play(world) as story:
        world.expected = datetime.now(UTC) + timedelta(days=50)
        await story.submit()
        await story.later(timedelta(days=81))
        state = await story.handle.result()

    assert state.status is OrderStatus.CANCELLED


async def test_an_order_that_must_not_wait_is_refused(play: Play) -> None:
    async with play(World({"A": {}}), when_short="refuse") as story:
        answer = await story.submit()
        state = await story.handle.result()

    assert (answer.outcome, answer.code) == ("refused", "out_of_stock")
    assert state.status is OrderStatus.REJECTED


async def test_an_unknown_product_holds_until_the_catalogue_knows_it(play: Play) -> None:
    lines = (Line(line_id="1", sku="", aliases=("4711",), quantity=1),)
    async with play(lines=lines) as story:
        answer = await story.submit()
        assert answer.outcome == "held"
        await story.until("unknown_sku")
        story.world.catalogue.add("4711")
        story.world.stock["A"]["4711"] = 3
        await story.resolve()
        state = await story.delivered()

    assert state.lines[0].sku == "4711"


async def test_what_cannot_be_proven_unshipped_is_not_given_out_twice(play: Play) -> None:
    world = World()
    world.manners["A"] = "shipped_in_secret"
    async with play(world) as story:
        await story.submit()
        await story.until("F1:submitted")
        await story.down("A")
        await story.until("F1:cancellation_rejected")
        await story.deliver(1)
        state = await story.handle.result()

    assert len(state.fulfillments) == 1
    assert world.shipped_units() == 2


async def test_no_node_left_asks_a_person(play: Play) -> None:
    world = World({"A": {"mug": 2}})
    world.manners["A"] = "rejects"
    async with play(world) as story:
        await story.submit()
        await story.until("no_node")
        await story.cancel()
        state = await story.handle.result()

    assert state.status is OrderStatus.CANCELLED
    assert f"{story.id}:cancelled" in world.messages
    assert world.leftovers() == []


async def test_a_request_that_cannot_be_made_asks_a_person_not_another_node(play: Play) -> None:
    world = World()
    world.refusals["dispatch"] = "node A has no secret"
    async with play(world) as story:
        await story.submit()
        state = await story.until("dispatch")
        assert "no secret" in state.attention[0].message
        del world.refusals["dispatch"]
        await story.resolve()
        state = await story.delivered()

    assert [f.node for f in state.fulfillments] == ["A"]
    assert world.leftovers() == []


async def test_a_time_without_any_worker_is_not_the_nodes_silence(play: Play) -> None:
    world = World()
    gate = world.pause["dispatch"] = asyncio.Event()
    patience = PATIENCE.model_copy(update={"dispatch": timedelta(seconds=1)})
    async with play(world, patience=patience) as story:
        await story.submit()
        await story.until("in_fulfillment")
        await asyncio.sleep(2.5)
        gate.set()
        state = await story.delivered()

    assert [f.node for f in state.fulfillments] == ["A"]
    assert not world.recalls


async def test_supply_that_comes_before_the_short_answer_is_not_forgotten(play: Play) -> None:
    world = Slow("reserve", stock={"A": {"mug": 0}})
    async with play(world) as story:
        asking = asyncio.create_task(story.submit())
        await asyncio.wait_for(world.effect.wait(), 30)
        world.receive("A", "mug", 5)
        await story.supply()
        await asyncio.sleep(0.3)
        world.gate.set()
        await asking
        await story.until("F1:submitted", 15)
        await story.deliver()
        state = await story.end()

    assert state.status is OrderStatus.COMPLETED
