"""One order on its way, told in the words of those who meet it; and many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from domain.errors import Conflict, NotFound, Outage
from domain.fulfillments import ENDED, Fulfillment, NodeEvent, NodeEventType
from domain.lifecycle import in_transit, units_in
from domain.orders import Bucket, DeliveryMethod, Order
from domain.records import OrderState
from tests.world import World
from workflows import client
from workflows.addressing import order_workflow_id
from workflows.messages import (
    Cancel,
    ExtendPickup,
    HandOver,
    NodeDown,
    Patience,
    PlaceHold,
    ReleaseHold,
    Resolve,
    SourceAgain,
    Submitted,
    Supply,
)
from workflows.order import OrderWorkflow

SHIPS = (NodeEventType.ACCEPTED, NodeEventType.SHIPPED, NodeEventType.DELIVERED)
_OF_THE_CLOCK = ("TIME_SKIPPING_TRANSITIONED", "EXECUTION_OPTIONS_UPDATED")
HANDS_OVER = (
    NodeEventType.ACCEPTED,
    NodeEventType.READY_FOR_PICKUP,
    NodeEventType.COLLECTED,
)


@dataclass
class Story:
    """One order, its world, and what can be done to it."""

    temporal: WorkflowEnvironment
    client: Client
    world: World
    queue: str
    order: Order
    patience: Patience
    handle: WorkflowHandle[OrderWorkflow, OrderState] = field(init=False)

    def __post_init__(self) -> None:
        self.handle = self.client.get_workflow_handle_for(
            OrderWorkflow.run, order_workflow_id(self.order.order_id)
        )

    @property
    def id(self) -> str:
        return self.order.order_id

    def f(self, number: int) -> str:
        return f"{self.id}-F{number}"

    # ---- the channel and people

    async def submit(self, within: timedelta = timedelta(seconds=30)) -> Submitted:
        return await client.submit(self.client, self.order, self.patience, within, queue=self.queue)

    async def cancel(self) -> str:
        return await client.cancel(self.client, self.id, Cancel(by="ann"))

    async def hold(self, handle: str = "manual") -> str:
        message = PlaceHold(handle=handle, reason="look first")
        return await client.place_hold(self.client, self.id, message)

    async def release(self) -> str:
        return await client.release_hold(self.client, self.id, ReleaseHold())

    async def resolve(self, action: str = "retry", item: str = "") -> str:
        message = Resolve.model_validate({"action": action, "item": item, "by": "ann"})
        return await client.resolve(self.client, self.id, message)

    async def hand_over(self) -> str:
        answer = await client.hand_over(self.client, self.id, HandOver(by="sam"))
        for f in self.world.states[self.id].fulfillments:
            if f.delivered:
                self.world.let_go(f.fulfillment_id)
        return answer

    async def extend(self, days: int = 1) -> datetime:
        message = ExtendPickup(days=days)
        return datetime.fromisoformat(await client.extend_pickup(self.client, self.id, message))

    # ---- nodes

    async def tell(self, number: int, type: NodeEventType, **more: object) -> NodeEvent:
        """The node of fulfillment `number` says something."""
        event = self.world.tell(self.f(number), type, **more)
        await client.signal_node_event(self.client, self.id, event)
        return event

    async def deliver(self, number: int = 1) -> None:
        for kind in SHIPS:
            await self.tell(number, kind)

    async def delivered(self, number: int = 1) -> OrderState:
        """The node of fulfillment `number` is asked and delivers; how the order ends with that."""
        await self.until(f"F{number}:submitted")
        await self.deliver(number)
        return await self.handle.result()

    async def ready(self) -> datetime:
        """
        Submitted, the pickup is made ready at its store; when its window ends. The order is asked
        only once its record says so: a query rides on its workflow tasks.
        """
        await self.submit()
        await self.reached("dispatch")
        await self.tell(1, NodeEventType.ACCEPTED)
        await self.tell(1, NodeEventType.READY_FOR_PICKUP)
        await self.recorded("ready_for_pickup")
        until = (await self.until("ready_for_pickup")).fulfillments[0].pickup_until
        assert until is not None
        return until

    async def down(self, node: str) -> None:
        await client.signal_node_down(self.client, self.id, NodeDown(node=node))

    async def again(self, *numbers: int) -> None:
        """A pass finds that these fulfillments could be sourced better."""
        named = tuple(self.f(number) for number in numbers)
        message = SourceAgain(fulfillments=named, batch="again/1", reason="saves 1")
        await client.signal_source_again(self.client, self.id, message)

    async def supply(self) -> None:
        await client.signal_supply(self.client, self.id, Supply())

    # ---- time

    async def later(self, by: timedelta) -> bool:
        """Let the order's own clock run; False where the order ended first."""
        return await self.temporal.fast_forward(self.handle, by)

    async def clock(self) -> datetime:
        return await self.temporal.get_current_time(self.handle)

    async def just_before(self, instant: datetime, by: timedelta) -> bool:
        """Let the order's clock run until it is `by` before the instant (after, if negative)."""
        return await self.later(instant - by - await self.clock())

    # ---- looking on

    async def state(self) -> OrderState:
        return await client.state(self.client, self.id)

    async def until(self, what: str, seconds: float = 40) -> OrderState:
        """Wait (in real time) until the order's status, an attention code or a request is it."""
        deadline = asyncio.get_running_loop().time() + seconds
        pause, seen = 0.02, {"nothing"}
        while asyncio.get_running_loop().time() < deadline:
            try:
                state = await self.state()
            except (Conflict, NotFound, Outage):  # it is only just being started
                await asyncio.sleep(0.05)
                continue
            seen = _words(state)
            if what in seen:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.3)
        raise AssertionError(f"waited for {what}, saw {sorted(seen)}")

    async def recorded(self, what: str, seconds: float = 40) -> OrderState:
        """The same by the order's record, which disturbs nobody, and knows less of the requests."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            state = self.world.states.get(self.id)
            if state is not None and what in _words(state):
                return state
            await asyncio.sleep(0.02)
        raise AssertionError(f"waited for {what} in {self.world.states.get(self.id)}")

    async def reached(self, step: str, times: int = 1, seconds: float = 40) -> None:
        """Wait until a step was begun so often."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.world.seen[step] < times:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{step} was begun {self.world.seen[step]} times")
            await asyncio.sleep(0.02)

    async def end(self) -> OrderState:
        """How the order ended, also where the workflow was cancelled."""
        try:
            return await self.handle.result()
        except WorkflowFailureError:
            return self.world.states[self.id]

    async def events(self) -> list[str]:
        """The history's events, without those that moving the clock adds."""
        history = await self.handle.fetch_history()
        names = [EventType.Name(event.event_type) for event in history.events]
        return [name for name in names if not name.endswith(_OF_THE_CLOCK)]

    def steps(self, *names: str) -> list[str]:
        """These steps of the order, in the order in which they were begun."""
        return [name for name, of in self.world.calls if name in names and of.startswith(self.id)]

    def told(self) -> list[str]:
        """The order's story, and what its nodes were asked and said, for whom it ended badly."""
        events = [f"{e.type}: {e.summary}" for e in self.world.events.values()]
        asked = [f"{name} {of}" for name, of in self.world.calls if of.startswith(self.id)]
        said = [e.event_id for events in self.world.on_file.values() for e in events]
        return [*events, ", ".join(asked), ", ".join(said)]

    # ---- bringing it to its end

    async def drain(self) -> OrderState:
        """Everything works again, and everybody does what is still to do."""
        self.world.outage = False
        self.world.failures.clear()
        self.world.manners.clear()
        for gate in self.world.pause.values():
            gate.set()
        return await self.finish()

    async def finish(self) -> OrderState:
        """
        Nodes ship what they have, and people resolve what waits, until the order is closed. They
        read its record: a query would ride on its workflow tasks.
        """
        for turn in range(1, 60):
            try:
                if state := self.world.states.get(self.id):
                    await self._help(state)
                if turn % 6 == 0:  # only a deadline can still help
                    await self.later(timedelta(days=2))
            except (Conflict, NotFound, Outage, RuntimeError, RPCError):
                pass
            if await self._ended_within(0.4):
                break
        if not await self._ended_within(20):
            raise AssertionError("\n".join(["it does not end", *self.told()]))
        return await self.end()

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.end(), seconds)
        except TimeoutError:
            return False
        return True

    async def _help(self, state: OrderState) -> None:
        if state.holds:
            await self.release()
        for attention in state.attention:
            wise = {"delivery_overdue": "skip", "no_node": "reroute"}.get(attention.code, "retry")
            action = wise if wise in attention.options else "retry"
            await self.resolve(action, attention.item)
        if units_in(state, Bucket.BACKORDERED) or (
            units_in(state, Bucket.RESERVED) and not state.cancel
        ):
            for line in state.lines:
                self.world.receive(self.order.pickup_node or "Z", line.sku, line.ordered)
            await self.supply()
        for f in state.fulfillments:
            await self._serve(f)

    async def _serve(self, f: Fulfillment) -> None:
        """The node does what it still can, and says again what it did."""
        number = int(f.fulfillment_id.rpartition("-F")[2])
        for event in self.world.on_file[f.fulfillment_id]:
            await client.signal_node_event(self.client, self.id, event)
        gone = bool(self.world.gone[f.fulfillment_id])
        if in_transit(f):
            tail = {"event_id": f"{f.fulfillment_id}-arrived-{sum(f.shipped.values())}"}
            await self.tell(number, NodeEventType.DELIVERED, **tail)
        can = self.world.requests[f.fulfillment_id] and f.fulfillment_id not in self.world.withdrawn
        if f.status not in ENDED and (can or gone):
            pickup = f.method is DeliveryMethod.PICKUP
            for kind in HANDS_OVER if pickup else SHIPS:
                if f.fulfillment_id in self.world.withdrawn:
                    return
                last = {"event_id": f"{f.fulfillment_id}-{kind}-rest"}
                await self.tell(number, kind, **last)


def _words(state: OrderState) -> set[str]:
    words = {state.status.value, *(code for a in state.attention for code in a.codes)}
    words |= {"short"} if state.short else set()
    return words | {f"{f.fulfillment_id[-2:]}:{f.request.value}" for f in state.fulfillments}


class Play(Protocol):
    """Opens a story: one order, in a world of its own or in one that it shares."""

    def __call__(
        self, world: World | None = None, *, patience: Patience = ..., **order: Any
    ) -> AbstractAsyncContextManager[Story]: ...


async def together(
    stories: Mapping[str, Callable[[], Awaitable[None]]], *, at_once: int = 16
) -> None:
    """Run stories side by side; every one that fails is named."""
    gate = asyncio.Semaphore(at_once)

    async def run(name: str, story: Callable[[], Awaitable[None]]) -> Exception | None:
        async with gate:
            try:
                await asyncio.wait_for(story(), 120)
            except Exception as error:  # noqa: BLE001 - raised with the others
                error.add_note(f"in the story: {name}")
                return error
        return None

    ends = await asyncio.gather(*(run(name, story) for name, story in stories.items()))
    if failed := {n: e for n, e in zip(stories, ends, strict=True) if e is not None}:
        names = ", ".join(failed)
        raise ExceptionGroup(f"{len(failed)} of {len(stories)}: {names}", list(failed.values()))
