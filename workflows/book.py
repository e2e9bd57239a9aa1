"""The order's record inside its workflow: the state, its one writer, and what people decide."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from temporalio import workflow

from domain.errors import Refused
from domain.fulfillments import Fulfillment
from domain.lifecycle import received, rolled_up
from domain.orders import TERMINAL, Order, OrderStatus
from domain.records import (
    Action,
    Attention,
    CancelRequest,
    Change,
    Message,
    OrderEvent,
    OrderState,
)
from workflows import details
from workflows.clock import Clock
from workflows.messages import Declined, Patience, Resolve
from workflows.ports import Orders
from workflows.searchable import Searchable
from workflows.steps import step

# The record has gone on without us, or knows another run of ours (we were reset to a late task).
_BEHIND: Final = frozenset({"overtaken", "superseded"})
_UNFULFILLED: Final = frozenset({OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED})

Result = TypeVar("Result")
Request = TypeVar("Request")


@dataclass(frozen=True)
class Effect(Generic[Request, Result]):
    """
    A database step about to be taken, and what its result makes of the state.

    `leads_to` is given the state that holds when the result is there: while a step waits out an
    outage, what needs no write of its own (a cancellation, a node's word) goes on being noted.
    `wrote` names the change that the result has written, where it is not simply the request's.
    """

    method: Callable[[Any, Request], Awaitable[Result]]
    request: Request
    summary: str
    leads_to: Callable[[OrderState, Result], OrderState]
    wrote: Callable[[Result], str | None] | None = None

    def written(self, result: Result) -> str | None:
        if self.wrote is not None:
            return self.wrote(result)
        change = getattr(self.request, "change", self.request)
        return change.key if isinstance(change, Change) else None


class Overtaken(Exception):
    """
    The record knew more than we did, and we have caught up with it: look at the state again.

    A workflow task may be lost after its step was taken, and taken again with other news that lead
    another way. The record compares before it is set, so the second way ends here.
    """


class CalledOff(Exception):
    """The step was refused, and the order is being cancelled: it is not taken at all."""


class Book:
    """Shared by the order and the drivers of its fulfillments. One write is under way at a time."""

    def __init__(self, order: Order, patience: Patience) -> None:
        self.order = order
        self.patience = patience
        self.clock = Clock(idle=lambda: not self._writing.locked())
        self.state = received(order)
        self.catch_up: Callable[[], Awaitable[None]] = _nothing
        self.holding = 0  # holds that are being written down
        self._seq = 0
        self._base: str | None = None
        self._writing = asyncio.Lock()
        self._answers: dict[str, Resolve] = {}
        self._published = Searchable.of(self.state)

    # ---- reading

    @property
    def cancelling(self) -> bool:
        return self.state.cancel is not None

    @property
    def held(self) -> bool:
        """No request leaves: a hold stands, or is being placed."""
        return bool(self.state.holds) or self.holding > 0

    @property
    def closed(self) -> bool:
        return self.state.status in TERMINAL

    def fulfillment(self, fulfillment_id: str) -> Fulfillment:
        return next(f for f in self.state.fulfillments if f.fulfillment_id == fulfillment_id)

    # ---- writing

    def adopt(self, state: OrderState) -> None:
        """Take a state as the one that holds; what the UI can search for follows."""
        self.state = state
        self._publish()

    def change(
        self, state: OrderState, *events: OrderEvent, messages: tuple[Message, ...] = ()
    ) -> Change:
        """
        The change that a step writes with its effect; ending unfulfilled is told to the channel.
        """
        self._seq += 1
        after = rolled_up(state)
        if after.status in _UNFULFILLED and not self.closed:
            messages = (*messages, _to_channel(after))
        return Change(
            key=f"{workflow.info().run_id}:{self._seq}:{_fingerprint(events)}",
            base=self._base,
            at=workflow.now(),
            seq=self._seq,
            state=after,
            events=events,
            messages=messages,
        )

    async def write(
        self, build: Callable[[], Effect[Request, Result]], item: str, *, forward: bool = False
    ) -> Result:
        """
        Take a database step and adopt the state it leads to. A step that is refused waits for a
        person under the name `item`, and is built and taken again (see `insist`).
        """

        async def attempt() -> Result:
            async with self._writing:
                effect = build()
                result = await step(effect.method, effect.request, summary=effect.summary)
                self.build_on(effect.written(result))
                self.adopt(rolled_up(effect.leads_to(self.state, result)))
                return result

        return await self.insist(attempt, item, forward=forward)

    async def insist(
        self, attempt: Callable[[], Awaitable[Result]], item: str, *, forward: bool = False
    ) -> Result:
        """
        Attempt a step until it is not refused; each refusal waits for a person. A step `forward`
        is pointless in an order that is being cancelled: raises CalledOff there.
        """
        while True:
            try:
                return await attempt()
            except Refused as refusal:
                if refusal.code in _BEHIND:
                    await self.catch_up()
                    raise Overtaken from refusal
                await self.attend(
                    item,
                    refusal.code,
                    f"The step was refused: {refusal}",
                    ("retry", "cancel") if forward else ("retry",),
                    unless=lambda: forward and self.cancelling,
                )
                if forward and self.cancelling:
                    raise CalledOff from refusal

    async def record(
        self,
        update: Callable[[OrderState], OrderState],
        *events: OrderEvent,
        messages: tuple[Message, ...] = (),
    ) -> None:
        """Write a change that has no other effect than to be known."""

        def effect() -> Effect[Change, None]:
            change = self.change(update(self.state), *events, messages=messages)
            summary = f"record {events[0].type}" if events else "record"
            return Effect(Orders.record, change, summary, lambda state, _: update(state))

        await self.write(effect, "record")

    async def retell(self, update: Callable[[OrderState], OrderState], *events: OrderEvent) -> None:
        """
        Record what holds of whatever state there is: overtaken, it is told again. Raises Declined
        where the order turns out to be over.
        """
        while True:
            try:
                return await self.record(update, *events)
            except Overtaken as overtaken:
                if self.closed:
                    raise Declined("the order is over", type="closed") from overtaken

    def build_on(self, change: str | None) -> None:
        """The record's last change, which the next one names."""
        self._base = change or self._base

    @property
    def writing(self) -> asyncio.Lock:
        return self._writing

    # ---- what a person must decide

    async def attend(  # noqa: PLR0913 - what is asked, and when it need not be any more
        self,
        item: str,
        code: str,
        message: str,
        options: tuple[Action, ...],
        *,
        unless: Callable[[], bool] = lambda: False,
        fulfillment_id: str = "",
        queue: str = "",
        by: datetime | None = None,
    ) -> Resolve | None:
        """
        Wait for a person's decision; None when `unless` made it needless, or `by` came first.

        The item stands in the state, the search attributes and the details until then.
        """
        attention = Attention(
            item=item,
            code=code,
            message=message,
            since=workflow.now(),
            options=options,
            fulfillment_id=fulfillment_id,
            queue=queue,
        )
        self._answers.pop(item, None)
        self.adopt(_with_attention(self.state, item, attention))
        await self._note(
            OrderEvent(
                type="attention",
                summary=message,
                cause=code,
                fulfillment_id=fulfillment_id,
                data={"item": item, "options": list(options)},
            )
        )
        if by is None:
            await workflow.wait_condition(lambda: item in self._answers or unless())
        else:
            await self.clock.until(lambda: item in self._answers or unless(), by)
        answer = self._answers.pop(item, None)
        self.adopt(_with_attention(self.state, item, None))
        await self._note(_resolved(item, answer, fulfillment_id))
        return answer

    def waiting(self) -> list[Attention]:
        """The open items that nobody has answered yet, the oldest first."""
        return [a for a in self.state.attention if a.item not in self._answers]

    def check(self, answer: Resolve) -> Attention:
        """
        The open item that an answer speaks to. Raises Declined, in words for a person.
        """
        waiting = [a for a in self.waiting() if answer.item in ("", a.item)]
        if not waiting:
            what = f"{answer.item} does not wait" if answer.item else "nothing here waits"
            raise Declined(f"{what} for a decision", type="not_waiting")
        attention = waiting[0]
        if answer.action not in attention.options:
            allowed = ", ".join(attention.options)
            message = f"{answer.action} is not possible for {attention.item}; choose from {allowed}"
            raise Declined(message, type="not_an_option")
        return attention

    def answer(self, answer: Resolve) -> Attention:
        attention = self.check(answer)
        self._answers[attention.item] = answer
        if answer.action == "cancel":
            self.ask_cancel(CancelRequest(by=answer.by, note=answer.note))
        return attention

    def ask_cancel(self, request: CancelRequest) -> None:
        if not self.cancelling:
            self.adopt(rolled_up(self.state.model_copy(update={"cancel": request})))

    async def _note(self, event: OrderEvent) -> None:
        """Write an attention event; where even that is refused, the UI alone shows it."""
        try:
            async with self._writing:
                change = self.change(self.state, event)
                await step(Orders.record, change, summary=f"record {event.type}")
                self.build_on(change.key)
        except Refused as refusal:
            if refusal.code in _BEHIND:
                await self.catch_up()
            else:
                workflow.logger.warning("attention was not recorded: %s", refusal)

    # ---- what the UI shows

    def _publish(self) -> None:
        """Upsert the search attributes that changed, together, and show the state as details."""
        now = Searchable.of(self.state)
        if now.wakes(self._published):
            workflow.upsert_search_attributes(now.updates(self._published))
            self._published = now
        workflow.set_current_details(details.markdown(self.state))


async def _nothing() -> None:
    """Until the order knows how to read its record."""


def _fingerprint(events: tuple[OrderEvent, ...]) -> str:
    """Tells a change from another one that would have its number, had things gone another way."""
    told = [(e.type, e.fulfillment_id, e.cause, e.summary) for e in events]
    return f"{zlib.crc32(repr(told).encode()):08x}"


def _with_attention(state: OrderState, item: str, attention: Attention | None) -> OrderState:
    others = tuple(a for a in state.attention if a.item != item)
    after = (*others, attention) if attention else others
    return rolled_up(state.model_copy(update={"attention": after}))


def _to_channel(state: OrderState) -> Message:
    cancel = state.cancel
    reason = (cancel.note if cancel else "") or state.reason or state.status.value
    body = {"order_id": state.order_id, "reason": reason}
    return Message(key=f"{state.order_id}:cancelled", kind="channel.cancelled", body=body)


def _resolved(item: str, answer: Resolve | None, fulfillment_id: str) -> OrderEvent:
    if answer is None:
        summary, actor, cause = f"{item} settled itself", "crossdock", "settled"
    else:
        note = f": {answer.note}" if answer.note else ""
        summary, actor, cause = f"{answer.action} of {item}{note}", answer.by, answer.action
    return OrderEvent(
        type="attention_resolved",
        summary=summary,
        actor=actor,
        cause=cause,
        fulfillment_id=fulfillment_id,
        data={"item": item},
    )
