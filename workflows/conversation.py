"""What can be said to an order while it lives: signals, updates and queries, one message each."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from temporalio import workflow

from domain.fulfillments import ENDED, NodeEvent, NodeEventType
from domain.lifecycle import over, units_in
from domain.orders import Bucket, DeliveryMethod, Hold
from domain.records import CancelRequest, OrderEvent, OrderState
from workflows import taking
from workflows.book import Book, Overtaken
from workflows.fulfilling import Fulfilling
from workflows.messages import (
    Cancel,
    Declined,
    ExtendPickup,
    HandOver,
    NodeDown,
    PlaceHold,
    ReleaseHold,
    Resolve,
    SourceAgain,
    StartOrder,
    Submitted,
    Supply,
)

MOST_HOLDS = 10
# How long a caller who cancels waits for the nodes' answers before it is told "cancel_pending".
ANSWER_WITHIN = timedelta(seconds=3)
_MAY_COME_BACK = (
    Bucket.OPEN,
    Bucket.BACKORDERED,
    Bucket.RESERVED,
    Bucket.ALLOCATED,
    Bucket.RELEASED,
    Bucket.READY_FOR_PICKUP,
)


class Conversation:
    """The messages of an order's workflow, and what they leave for its life to act on."""

    def __init__(self, start: StartOrder) -> None:
        self._start = start
        self._book = Book(start.order, start.patience)
        self._answer: Submitted | None = None
        self._drivers: dict[str, Fulfilling] = {}
        self._unheard: dict[str, list[NodeEvent]] = {}
        self._supplied = False
        self._together = ""  # the pass that takes work back to have it sourced with others'
        self._down: dict[str, str] = {}

    def _reply(
        self,
        outcome: Literal["accepted", "held", "backordered", "refused", "duplicate"],
        code: str = "",
        reason: str = "",
        missing: dict[str, int] | None = None,
        expected: datetime | None = None,
    ) -> None:
        """What the caller of `submit` learns; the first answer stands."""
        if self._answer is None:
            state = self._book.state
            self._answer = Submitted(
                order_id=state.order_id,
                status=state.status,
                outcome=outcome,
                code=code,
                reason=reason,
                holds=state.holds,
                missing=missing or {},
                expected=expected,
            )

    # ---- channels

    @workflow.update(description="Sent with the start: is the order accepted, held or refused?")
    async def submit(self, digest: str = "") -> Submitted:
        await workflow.wait_condition(
            lambda: self._answer is not None or bool(self._book.state.attention)
        )
        if self._answer is None:  # a step was refused and waits for a person
            self._reply("held", reason=self._book.state.attention[0].message)
        assert self._answer is not None  # noqa: S101 - the reply
        return self._answer

    @submit.validator
    def _may_submit(self, digest: str = "") -> None:
        if digest and digest != self._start.order.digest:
            message = f"another order was submitted before as {self._start.order.order_id}"
            raise Declined(message, type="another_order")

    # ---- nodes

    @workflow.signal(description="A node's statement about a fulfillment (a NodeEvent)")
    def node_event(self, event: NodeEvent) -> None:
        if driver := self._drivers.get(event.fulfillment_id):
            driver.news.append(event)
        else:
            self._unheard.setdefault(event.fulfillment_id, []).append(event)

    @workflow.signal(
        description='A node went down: what it has not shipped is asked back. {"node"}'
    )
    def node_down(self, message: NodeDown) -> None:
        why = f"{message.reason} ({workflow.now():%Y-%m-%d %H:%M})"
        self._down[message.node] = why  # also for what it is only just being given
        for driver in self._drivers.values():
            if driver.now.node == message.node:
                driver.down = why

    @workflow.signal(
        description='Take back what no node was asked for, and source it anew. {"fulfillments"}'
    )
    def source_again(self, message: SourceAgain = SourceAgain()) -> None:
        named = [self._drivers.get(name) for name in message.fulfillments]
        known = [driver for driver in named if driver is not None and driver.waits]
        if len(known) < len(named) or self._book.held or self._book.cancelling:
            return
        for driver in known:
            driver.moved = message.reason
            self._together = message.batch

    @workflow.signal(description="Stock came in: a waiting order tries again")
    def supply(self, _: Supply = Supply()) -> None:
        self._supplied = True

    @workflow.update(
        description='Hand a ready pickup over to its customer. {"by": "who", "proof": "code"}'
    )
    async def hand_over(self, message: HandOver = HandOver()) -> str:
        driver = self._pickup(message.fulfillment_id)
        event = NodeEvent(
            event_id=f"{driver.id}:hand-over",
            fulfillment_id=driver.id,
            node=driver.now.node,
            type=NodeEventType.COLLECTED,
            occurred_at=workflow.now(),
            reason=f"handed over by {message.by}",
        )
        driver.news.append(event)
        await workflow.wait_condition(lambda: over(driver.now))
        if not driver.now.delivered:
            raise Declined(f"the store gave it back: {driver.now.reason}", type="pickup_expired")
        return "collected"

    @hand_over.validator
    def _may_hand_over(self, message: HandOver = HandOver()) -> None:
        self._pickup(message.fulfillment_id)

    @workflow.update(description='Give a pickup more open days of its store. {"days": 1}')
    async def extend_pickup(self, message: ExtendPickup = ExtendPickup()) -> str:
        driver = self._pickup(message.fulfillment_id)
        async with driver.turn:
            while True:
                self._pickup(driver.id)
                with suppress(Overtaken):
                    until = await taking.extended(self._book, driver.id, message.days, message.by)
                    return until.isoformat()

    @extend_pickup.validator
    def _may_extend(self, message: ExtendPickup = ExtendPickup()) -> None:
        if not 1 <= message.days <= 60:  # noqa: PLR2004 - two months are no pickup any more
            raise Declined("days: give 1 to 60", type="invalid")
        self._pickup(message.fulfillment_id)

    def _pickup(self, fulfillment_id: str) -> Fulfilling:
        """The pickup that is ready and may still be collected. Raises Declined."""
        for driver in self._drivers.values():
            f = driver.now
            named = not fulfillment_id or fulfillment_id == f.fulfillment_id
            if f.method is not DeliveryMethod.PICKUP or not named or f.pickup_until is None:
                continue
            if f.status in ENDED and f.delivered:
                raise Declined("it was collected before", type="collected")
            if driver.expiring or f.status in ENDED or workflow.now() >= f.pickup_until:
                message = f"the pickup window ended at {f.pickup_until.isoformat()}"
                raise Declined(message, type="pickup_expired")
            return driver
        raise Declined("there is no pickup that is ready", type="not_ready")

    # ---- people

    @workflow.update(
        description="Decide what the order waits for: retry (also an empty body), skip, reroute or "
        'cancel. {"action": "reroute", "note": "why"}'
    )
    async def resolve(self, message: Resolve = Resolve()) -> str:
        attention = self._book.answer(message)
        settled = lambda: attention not in self._book.state.attention  # noqa: E731
        await workflow.wait_condition(settled)
        return f"{message.action}: {attention.item}"

    @resolve.validator
    def _may_resolve(self, message: Resolve = Resolve()) -> None:
        self._book.check(message)

    @workflow.signal(description="Retry whatever waits; for batches, ignored when nothing does")
    def retry(self) -> None:
        self._supplied = True
        for attention in self._book.waiting():
            if "retry" in attention.options:
                self._book.answer(Resolve(item=attention.item, by="batch"))

    @workflow.update(description='Cancel what has not shipped. {"note": "why"}')
    async def cancel(self, message: Cancel = Cancel()) -> str:
        self._book.ask_cancel(CancelRequest(by=message.by, note=message.note))
        until = workflow.now() + ANSWER_WITHIN
        await self._book.clock.until(lambda: not units_in(self._book.state, *_MAY_COME_BACK), until)
        return self._book.state.status.value

    @cancel.validator
    def _may_cancel(self, message: Cancel = Cancel()) -> None:
        if self._book.closed:
            status = self._book.state.status.value
            raise Declined(f"it is {status}: nothing is left to cancel", type="closed")

    @workflow.update(
        description='Hold the order before its next step. {"handle": "manual", "reason": "why"}'
    )
    async def hold(self, message: PlaceHold = PlaceHold()) -> str:
        placed = Hold(handle=message.handle, reason=message.reason, owner=message.by)
        told = OrderEvent(
            type="held", summary=message.reason, actor=message.by, cause=message.handle
        )
        self._book.holding += 1
        try:
            await self._book.retell(
                lambda s: s.model_copy(update={"holds": (*s.holds, placed)}), told
            )
        finally:
            self._book.holding -= 1
        return self._book.state.status.value

    @hold.validator
    def _may_hold(self, message: PlaceHold = PlaceHold()) -> None:
        holds = self._book.state.holds
        if any(hold.handle == message.handle for hold in holds):
            raise Declined(f"the hold {message.handle} is there already", type="duplicate")
        if len(holds) >= MOST_HOLDS:
            raise Declined(f"an order has {MOST_HOLDS} holds at most", type="too_many")

    @workflow.update(
        description='Release a hold by its handle, or all (empty body). {"handle": "manual"}'
    )
    async def release_hold(self, message: ReleaseHold = ReleaseHold()) -> str:
        released = [h.handle for h in self._book.state.holds if message.handle in ("", h.handle)]
        told = OrderEvent(
            type="hold_released",
            summary=message.note or f"released {', '.join(released)}",
            actor=message.by,
            cause=message.handle or "all",
        )

        def without(state: OrderState) -> OrderState:
            kept = tuple(h for h in state.holds if h.handle not in released)
            return state.model_copy(update={"holds": kept})

        await self._book.retell(without, told)
        return self._book.state.status.value

    @release_hold.validator
    def _may_release(self, message: ReleaseHold = ReleaseHold()) -> None:
        handles = [hold.handle for hold in self._book.state.holds]
        if not handles or (message.handle and message.handle not in handles):
            held = ", ".join(handles) or "nothing"
            raise Declined(f"no such hold; the order is held by {held}", type="no_hold")

    @workflow.query(description="All that the order knows of itself")
    def state(self) -> OrderState:
        return self._book.state
