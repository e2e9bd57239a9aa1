"""One fulfillment inside its order: ask the node, hear it, and take back what it cannot do."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import Final, Literal

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from domain.fulfillments import (
    ENDED,
    Fulfillment,
    FulfillmentStatus,
    LineQuantity,
    NodeEvent,
    NodeEventType,
    RequestStatus,
    advance,
)
from domain.lifecycle import bucket_of, in_transit, moved, over, with_fulfillment
from domain.orders import Bucket, DeliveryMethod
from workflows import taking
from workflows.book import Book, Overtaken
from workflows.messages import Resolve
from workflows.policies import partner
from workflows.ports import Nodes, Recall
from workflows.steps import never_tried, refusal
from workflows.taking import count

_ASKED: Final = (RequestStatus.UNSUBMITTED, RequestStatus.SUBMITTED)
_SHORT: Final = "shipped short"
_LET_GO: Final = (NodeEventType.REJECTED, NodeEventType.EXCEPTION, NodeEventType.CANCELLED)


class Fulfilling:
    """
    The driver of one fulfillment, from its dispatch to the customer's hands.

    All that happens to it is taken one at a time: what the node says (`news`), that it is wanted
    back, and the deadline that its state has; who else changes it waits for his `turn`. Once
    `expiring`, a pickup is not handed over any more. A `fresh` one was never asked for: so is one
    that is not to be released yet. `moved` is why a fresh one is to be sourced anew.
    """

    def __init__(self, book: Book, fulfillment_id: str, *, fresh: bool) -> None:
        self.id = fulfillment_id
        self.news: deque[NodeEvent] = deque()
        self.down = ""
        self.moved = ""
        self.expiring = False
        self.turn = asyncio.Lock()
        self._book = book
        self._fresh = fresh or self._unreleased()
        self._next: Literal["dispatch", "recall", "listen"] = "dispatch"
        self._cause = ""
        self._asked_back_for: set[str] = set()
        self._since = workflow.now()
        self._patient_until: datetime | None = None
        self._early: NodeEvent | None = None

    @property
    def now(self) -> Fulfillment:
        return self._book.fulfillment(self.id)

    @property
    def waits(self) -> bool:
        """Whether it is still to be given to its node, and not yet."""
        return self._fresh and self._next == "dispatch" and self._unreleased()

    @property
    def moving(self) -> bool:
        return self._fresh and self.moved != "" and self.now.status not in ENDED

    def _unreleased(self) -> bool:
        f = self.now
        asked = f.request is not RequestStatus.UNSUBMITTED or f.status in ENDED
        return not asked and f.release_at is not None and workflow.now() < f.release_at

    async def run(self) -> None:
        while True:
            doing = self._next
            try:
                await self._act()
            except Overtaken:  # what it did not come to is done again, on what holds now
                self._next = doing

    async def _act(self) -> None:
        if self._owes_the_rest():
            async with self.turn:
                await taking.given_back(self._book, self.id, "short_shipped", _SHORT, None)
        elif over(self.now):  # what it says now can only be noted
            await workflow.wait_condition(lambda: bool(self.news))
            await self._hear()
        elif self._next == "dispatch":
            await self._dispatch()
        elif self._next == "recall":
            async with self.turn:
                await self._recall(self._cause)
        else:
            await self._listen()

    async def _listen(self) -> None:
        await self._book.clock.until(self._called, self._deadline())
        async with self.turn:
            if self.news:
                await self._hear()
            elif cause := self._wanted_back():
                self._ask_back(cause)
            else:
                await self._overdue()

    async def _hear(self) -> None:
        """The oldest news, which is forgotten only once it is taken in."""
        await self._take(self.news[0])
        self.news.popleft()

    def _called(self) -> bool:
        return bool(self.news) or self._wanted_back() != ""

    # ---- asking the node

    async def _dispatch(self) -> None:
        """
        Until the node has the request, has refused it, or the units are wanted back. A node that
        speaks has the request; a hold stops the asking, until it is released.
        """
        book = self._book
        if (release_at := self.now.release_at) is not None:
            await book.clock.until(self._called, release_at)
        await workflow.wait_condition(lambda: not book.held or self._called())
        if self._called():
            self._next = "listen"
            return
        self._fresh = False
        f = self.now
        asking = workflow.start_activity_method(
            Nodes.dispatch,
            f.fulfillment_id,
            **partner(
                f"{f.fulfillment_id} → {f.node}: {count(f.remaining())}",
                workflow.info().task_queue,
                book.patience.dispatch,
            ),
        )
        await workflow.wait_condition(
            lambda: asking.done() or self._wanted_back() != "" or book.held
        )
        if not asking.done():
            asking.cancel()
            with suppress(FailureError):
                await asking
            return
        self._next = "listen"
        try:
            answer = await asking
        except FailureError as failure:
            if no := refusal(failure):
                await self._cannot_ask(no)
            elif never_tried(failure):
                self._next = "dispatch"  # it was us who were away
            elif not self.news:
                self._ask_back("it does not answer our request")
            return
        if answer.held:
            self._next = "dispatch"
            return
        self._note("dispatch")
        self.news.extend(answer.events)
        if answer.refused:
            await self._give_back("rejected", answer.refused)

    async def _cannot_ask(self, no: ApplicationError) -> None:
        """The request cannot be made as it is: a credential, an address, our own record."""
        f = self.now
        answer = await self._book.attend(
            f"{self.id}:dispatch",
            no.type or "refused",
            f"{f.node} cannot be asked: {no.message}. `retry` asks again; `reroute` sources "
            f"{count(f.remaining())} elsewhere; `cancel` cancels the order.",
            ("retry", "reroute", "cancel"),
            unless=self._called,
            fulfillment_id=self.id,
        )
        match answer:
            case Resolve(action="retry"):
                self._next = "dispatch"
            case Resolve(action="reroute") if not self.news:
                await self._give_back("rejected", f"{answer.by}: {answer.note or no.message}")

    # ---- hearing the node

    async def _take(self, event: NodeEvent) -> None:
        if event.event_id in self.now.seen:
            return
        if self.now.request is RequestStatus.UNSUBMITTED:  # it has our request all the same
            self._fresh = False
            self._note("dispatch")
        match event.type:
            case NodeEventType.ACCEPTED:
                self._note("accepted", event)
            case NodeEventType.SHIPPED:
                await self._shipped(event)
            case NodeEventType.DELIVERED:
                await self._delivered(event)
            case NodeEventType.READY_FOR_PICKUP:
                await self._ready(event)
            case NodeEventType.COLLECTED:
                await self._collected(event)
            case _ if event.type in _LET_GO:
                await self._give_back(event.type, event.reason or event.type, event)

    async def _ready(self, event: NodeEvent) -> None:
        pickup = self.now.method is DeliveryMethod.PICKUP and self.now.pickup_until is None
        if pickup and advance(self.now, event.type):
            await taking.ready(self._book, event)

    async def _collected(self, event: NodeEvent) -> None:
        if advance(self.now, event.type):
            await taking.collected(self._book, event)
        elif self.now.status is FulfillmentStatus.CANCELLED:
            await taking.contradicted(self._book, event)

    async def _shipped(self, event: NodeEvent) -> None:
        left = {lq.line_id: lq.quantity for lq in self.now.remaining()}
        lines = tuple(
            LineQuantity(line_id=lq.line_id, quantity=min(lq.quantity, left[lq.line_id]))
            for lq in event.lines or self.now.remaining()
            if left.get(lq.line_id)
        )
        rest = sum(left.values()) - sum(lq.quantity for lq in lines)
        name = "shipped" if not rest else "short_shipped" if event.final else "partly_shipped"
        if not lines or advance(self.now, name) is None:
            await taking.contradicted(self._book, event)
            return
        await taking.shipped(self._book, event, lines, name)
        if name == "short_shipped":
            reason = event.reason or _SHORT
            await taking.given_back(self._book, self.id, name, reason, None)
        if self._early is not None:
            await self._delivered(self._early)

    def _owes_the_rest(self) -> bool:
        """A run of ours stopped between a short shipment and giving back what is not in it."""
        return self.now.status is FulfillmentStatus.INCOMPLETE and not self.now.reason

    async def _delivered(self, event: NodeEvent) -> None:
        if in_transit(self.now):
            self._early = None
            await taking.delivered(self._book, self.id, event, f"node:{event.node}")
        elif self.now.status not in ENDED:
            self._early = event  # it overtook its shipment, which is still to come

    # ---- taking work back

    def _wanted_back(self) -> str:
        """
        Why the node should give back what it has not shipped, if it was not asked for that yet.
        """
        if self.now.status in ENDED:
            return ""
        cancelled = "the order was cancelled" if self._book.cancelling else ""
        moved = self.moved if self._fresh else ""
        causes = [cause for cause in (cancelled, self.down, moved) if cause]
        return next((cause for cause in causes if cause not in self._asked_back_for), "")

    def _ask_back(self, cause: str) -> None:
        self._cause, self._next = cause, "recall"

    async def _recall(self, cause: str) -> None:
        """
        Ask the node to give the work back; only its word, or a person's, lets go of the units.
        """
        self._next = "listen"
        self._asked_back_for.add(cause)
        f = self.now
        if self._fresh and cause == self.moved:
            await self._give_back("moved", cause)
            return
        if self._fresh:
            self._note("recall")
            await self._give_back("cancelled", f"{cause}; it was not asked yet")
            return
        asking = workflow.start_activity_method(
            Nodes.recall,
            Recall(fulfillment_id=self.id, reason=cause),
            **partner(
                f"ask {f.node} to give back {f.fulfillment_id}: {cause}",
                workflow.info().task_queue,
                self._book.patience.recall,
            ),
        )
        self._note("recall")
        self._patient_until = None
        try:
            answer = await asking
        except FailureError:
            if not self.news:
                self._note("no_answer")
                await self._unproven(cause)
            return
        self.news.extend(e for e in answer.events if e.event_id not in self.now.seen)
        if answer.answer == "refused":
            self._note("recall_refused")
            self._patient_until = workflow.now() + self._book.patience.ship_grace
        elif answer.answer != "pending":
            while self.news:  # what left before it agreed is gone, the rest is ours again
                await self._hear()
            await self._give_back("cancelled", cause)

    async def _unproven(self, cause: str) -> None:
        """Nobody can say whether the node ships. A person vouches, or we go on waiting."""
        f = self.now
        answer = await self._book.attend(
            f"{self.id}:unproven",
            "node_unreachable",
            f"{f.node} does not say whether it ships {count(f.remaining())} ({cause}). "
            "`retry` asks again. `reroute`: you vouch that it will not ship, and the units are "
            "sourced elsewhere. `skip` goes on waiting for it. `cancel` cancels the order.",
            ("retry", "reroute", "skip", "cancel"),
            unless=lambda: bool(self.news) or self._wanted_back() != "",
            fulfillment_id=self.id,
        )
        self._patient_until = workflow.now() + self._book.patience.ship_grace
        match answer:
            case Resolve(action="reroute") if not self.news:  # its own word comes first
                reason = f"{answer.by} vouches that {f.node} will not ship"
                await self._give_back(
                    "vouched", f"{reason}: {answer.note}" if answer.note else reason
                )
            case Resolve(action="retry"):
                asked = f.request is RequestStatus.UNKNOWN and f.status not in ENDED
                fresh = asked and not self.down and advance(f, "dispatch") is not None
                if fresh:
                    self._next = "dispatch"
                else:
                    self._ask_back("asked again by a person")

    async def _give_back(self, name: str, reason: str, event: NodeEvent | None = None) -> None:
        if self.now.remaining() and advance(self.now, name) is not None:
            await taking.given_back(self._book, self.id, name, reason, event)

    # ---- deadlines

    def _deadline(self) -> datetime:
        f, patience = self.now, self._book.patience
        if f.pickup_until is not None:
            return f.pickup_until
        if f.status in ENDED:
            due = f.deliver_by + patience.delivery_grace
        elif f.request in _ASKED:
            due = self._since + patience.acknowledge
        elif f.request is RequestStatus.CANCELLATION_REQUESTED:
            due = self._since + patience.recall
        elif f.method is DeliveryMethod.PICKUP:
            due = max(self._since + patience.pickup_prepare, f.ship_by)
        else:
            due = f.ship_by + patience.ship_grace
        return max(due, self._patient_until) if self._patient_until else due

    async def _overdue(self) -> None:
        f = self.now
        if workflow.now() < self._deadline():
            return  # it was moved out while we waited
        if f.pickup_until is not None:
            self.expiring = True
            ended = f"not collected by {f.pickup_until:%Y-%m-%d %H:%M} UTC"
            await self._give_back("expired", ended)
        elif f.status in ENDED:
            await self._not_delivered()
        elif f.request is RequestStatus.CANCELLATION_REQUESTED:
            self._note("no_answer")
            await self._unproven("it has not answered our cancellation request")
        elif f.request in (RequestStatus.CANCELLATION_REJECTED, RequestStatus.UNKNOWN):
            await self._unproven("it neither ships nor gives back")
        elif f.request in _ASKED:
            self._ask_back("it has not acknowledged in time")
        else:
            self._ask_back(f"it was to ship by {f.ship_by:%Y-%m-%d %H:%M} UTC")

    async def _not_delivered(self) -> None:
        f = self.now
        answer = await self._book.attend(
            f"{self.id}:delivery",
            "delivery_overdue",
            f"Shipped from {f.node}, due {f.deliver_by:%Y-%m-%d}, and not reported delivered. "
            "`retry` waits on; `skip` takes it as delivered.",
            ("retry", "skip"),
            unless=lambda: bool(self.news),
            fulfillment_id=self.id,
        )
        self._patient_until = workflow.now() + self._book.patience.delivery_grace
        if answer is not None and answer.action == "skip":
            await taking.delivered(self._book, self.id, None, answer.by)

    def _note(self, name: str, event: NodeEvent | None = None) -> None:
        """Advance the fulfillment in memory, its units with it; the next change carries it."""
        before = self.now
        after = advance(before, name) or before
        if event is not None:
            after = after.model_copy(update={"seen": (*after.seen, event.event_id)})
        state = with_fulfillment(self._book.state, after)
        if bucket_of(before) is Bucket.ALLOCATED and bucket_of(after) is Bucket.RELEASED:
            state = moved(state, before.remaining(), Bucket.ALLOCATED, Bucket.RELEASED)
        self._since = workflow.now()
        self._book.adopt(state)
