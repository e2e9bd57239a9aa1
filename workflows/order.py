"""The life of one order, from the channel to the customer's door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

from domain.fulfillments import Fulfillment, LineQuantity
from domain.lifecycle import (
    all_moved,
    caught_up,
    moved,
    over,
    rolled_up,
    settled,
    split,
    units_in,
    with_fulfillment,
    with_lines,
)
from domain.orders import Bucket, DeliveryMethod, OrderStatus, Units
from domain.records import CancelRequest, OrderEvent, OrderState
from workflows import taking
from workflows.book import CalledOff, Effect, Overtaken
from workflows.conversation import Conversation
from workflows.fulfilling import Fulfilling
from workflows.messages import Resolve, StartOrder
from workflows.policies import SOURCED_IN_PLACE
from workflows.ports import (
    Allocate,
    Allocated,
    Orders,
    Release,
    Reserve,
    Reserved,
    Sourced,
    SourceOrder,
    Sourcing,
    Stock,
    Validated,
    ValidateOrder,
)
from workflows.steps import heavy_step, step

_WAITING: Final = (Bucket.OPEN, Bucket.BACKORDERED)
_DECIDE: Final = "optimize source"
_RESERVED: Final = OrderEvent(type="reserved", summary="all units reserved", cause="reserve")
_SHORT: Final = OrderEvent(type="backordered", summary="not enough stock", cause="reserve")
# So many decisions in a row that lose their stock to other orders are more than bad luck.
RACES: Final = 5


@workflow.defn(name="Order")
class OrderWorkflow(Conversation):
    @workflow.init
    def __init__(self, start: StartOrder) -> None:
        super().__init__(start)
        self._bug: Exception | None = None
        self._lives: list[asyncio.Task[None]] = []
        self._lost_races = 0

    @workflow.run
    async def run(self, start: StartOrder) -> OrderState:
        """
        The order lives in a task of its own, which nothing cancels: a cancellation of the workflow
        is a wish to cancel the order, and what can still be called back is. It never fails.
        """
        life = asyncio.create_task(self._guarded(self._live()))
        cancelled = False

        def ended() -> bool:
            return self._bug is not None or (life.done() and workflow.all_handlers_finished())

        while not ended():
            try:
                await workflow.wait_condition(ended)
            except asyncio.CancelledError:
                cancelled = True
                note = "cancellation was requested of the workflow"
                self._book.ask_cancel(CancelRequest(by="temporal", note=note))
        if self._bug is not None:
            raise self._bug
        if cancelled and self._book.state.status is OrderStatus.CANCELLED:
            raise asyncio.CancelledError
        return self._book.state

    async def _guarded(self, life: Coroutine[None, None, None]) -> None:
        """
        A fault in any of the order's tasks stops its workflow task: it waits for a mended worker.
        """
        try:
            await life
        except FailureError as failure:
            self._bug = RuntimeError(f"a step's failure was not handled: {failure!r}")
        except Exception as bug:  # noqa: BLE001 - raised again by the run itself
            self._bug = bug

    async def _live(self) -> None:
        self._book.catch_up = self._catch_up
        try:
            alive = await self._validated()
        except Overtaken:
            alive = not self._book.closed
        while alive and not self._done():
            with contextlib.suppress(Overtaken):
                await self._next_step()
        self._reply("refused", "cancelled", "it was cancelled before there was an answer")

    async def _catch_up(self) -> None:
        """Read the record, which knows more than we do, and go on from there."""
        async with self._book.writing:
            verdict = await step(Orders.validate, self._request(), summary="read the record")
            self._book.build_on(verdict.base)
            if verdict.resume is not None:
                self._book.adopt(caught_up(verdict.resume, self._book.state))
        self._reply("accepted")
        for f in self._book.state.fulfillments:
            if f.fulfillment_id not in self._drivers:
                self._drive(f, fresh=False)

    async def _next_step(self) -> None:
        state = self._book.state
        if not units_in(state, *_WAITING, Bucket.RESERVED):
            await workflow.wait_condition(self._work_to_do)
        elif self._book.cancelling:
            await self._let_go()
        elif state.holds:
            await self._held()
        else:
            with contextlib.suppress(CalledOff):
                await (self._reserve() if units_in(state, *_WAITING) else self._source())

    def _work_to_do(self) -> bool:
        state = self._book.state
        return self._done() or bool(units_in(state, *_WAITING, Bucket.RESERVED))

    def _done(self) -> bool:
        state = self._book.state
        heard = not any(driver.news for driver in self._drivers.values())
        return heard and settled(state) and all(over(f) for f in state.fulfillments)

    def _interrupted(self) -> bool:
        return self._book.cancelling or bool(self._book.state.holds)

    # ---- validate, holds

    async def _validated(self) -> bool:
        """Whether there is anything to do: a new order, or one that goes on from its record."""
        verdict = await self._validate()
        if verdict.verdict == "duplicate":
            self._reply("duplicate", verdict.code, verdict.reason)
            return False
        if verdict.resume is not None:
            wish = self._book.state.cancel or verdict.resume.cancel
            resumed = verdict.resume.model_copy(update={"attention": (), "cancel": wish})
            self._book.adopt(rolled_up(resumed))
            self._reply("accepted")
            for f in verdict.resume.fulfillments:
                self._drive(f, fresh=False)
        if self._start.cancel:
            self._book.ask_cancel(CancelRequest(by="reconciler", note=self._start.cancel))
        if verdict.resume is not None:
            return True
        if verdict.verdict == "reject":
            await self._close(OrderStatus.REJECTED, verdict.code, verdict.reason)
            self._reply("refused", verdict.code, verdict.reason)
            return False
        if verdict.holds:
            await self._book.record(
                lambda s: s.model_copy(update={"holds": (*s.holds, *verdict.holds)}),
                *(
                    OrderEvent(
                        type="held", summary=hold.reason, actor=hold.owner, cause=hold.handle
                    )
                    for hold in verdict.holds
                ),
            )
            self._reply("held")
        return True

    async def _validate(self) -> Validated:
        order = self._start.order

        def effect() -> Effect[ValidateOrder, Validated]:
            request = self._request()

            def leads_to(state: OrderState, verdict: Validated) -> OrderState:
                return with_lines(state, order, verdict.skus)

            return Effect(
                Orders.validate, request, "validate", leads_to, lambda verdict: verdict.base
            )

        return await self._book.write(effect, "validate")

    def _request(self) -> ValidateOrder:
        order = self._start.order
        units = sum(line.quantity for line in order.lines)
        told = OrderEvent(
            type="received",
            summary=f"{units} units on {len(order.lines)} lines from {order.channel}",
            actor=f"channel:{order.channel}",
            cause=order.channel_order_id,
        )
        return ValidateOrder(
            order=order,
            run=workflow.info().first_execution_run_id,
            change=self._book.change(self._book.state, told),
        )

    async def _held(self) -> None:
        """Until every hold is released. An unknown product asks a person to mend the catalogue."""
        unknown = [h for h in self._book.state.holds if h.handle == "unknown_sku"]
        if not unknown:
            await workflow.wait_condition(
                lambda: not self._book.state.holds or self._book.cancelling
            )
            return
        answer = await self._book.attend(
            "unknown_sku",
            "unknown_sku",
            f"{unknown[0].reason}. Add the product (or an alias) to the catalogue, then `retry`.",
            ("retry", "cancel"),
            unless=lambda: not self._book.state.holds or self._book.cancelling,
        )
        if not self._book.cancelling:
            await self._revalidate(answer)

    async def _revalidate(self, answer: Resolve | None) -> None:
        verdict = await self._validate()
        again = tuple(h for h in verdict.holds if h.handle == "unknown_sku")
        by = answer.by if answer else "crossdock"

        def judged(state: OrderState) -> OrderState:
            kept = tuple(h for h in state.holds if h.handle != "unknown_sku")
            return state.model_copy(update={"holds": (*kept, *again)})

        await self._book.record(
            judged,
            OrderEvent(
                type="hold_kept" if again else "hold_released",
                summary=again[0].reason if again else "every product is known now",
                actor=by,
                cause="unknown_sku",
            ),
        )

    # ---- reserve

    async def _reserve(self) -> None:
        """
        All units or none. What is short waits for supply, or is refused, by the order's policy.
        A pickup whose store gave the goods back waits for a person.
        """
        pickup = self._start.order.method is DeliveryMethod.PICKUP
        again = pickup and bool(self._book.state.fulfillments)
        if again:
            await self._pickup_unfillable()
            if self._interrupted():
                return
        reserved = await self._try_to_reserve()
        if reserved.ok:
            self._reply("accepted")
        elif self._start.order.when_short == "refuse" and self._answer is None:
            await self._close(OrderStatus.REJECTED, "out_of_stock", "there is not enough stock")
            self._reply("refused", "out_of_stock", "there is not enough stock", reserved.missing)
        elif not again:
            self._reply("backordered", missing=reserved.missing)
            await self._backordered()

    async def _try_to_reserve(self) -> Reserved:
        order = self._start.order

        def effect() -> Effect[Reserve, Reserved]:
            state = self._book.state
            reservation = state.reservations + 1

            def held(state: OrderState) -> OrderState:
                whole = all_moved(state, _WAITING, Bucket.RESERVED)
                return whole.model_copy(update={"reservations": reservation, "short": {}})

            def short(state: OrderState) -> OrderState:
                return all_moved(state, _WAITING, Bucket.BACKORDERED)

            def leads_to(state: OrderState, reserved: Reserved) -> OrderState:
                missing = {"short": reserved.missing}
                return held(state) if reserved.ok else short(state).model_copy(update=missing)

            request = Reserve(
                reservation_id=f"{state.order_id}-R{reservation}",
                order_id=state.order_id,
                units=_units(state, units_in(state, *_WAITING)),
                node=order.pickup_node if order.method is DeliveryMethod.PICKUP else None,
                reserved=self._book.change(held(state), _RESERVED),
                short=self._book.change(short(state), _SHORT),
            )

            def wrote(reserved: Reserved) -> str:
                return (request.reserved if reserved.ok else request.short).key

            return Effect(Stock.reserve, request, "reserve", leads_to, wrote)

        return await self._book.write(effect, "reserve", forward=True)

    async def _backordered(self) -> None:
        self._supplied = False
        until = workflow.now() + self._book.patience.backorder
        in_time = await self._book.clock.until(
            lambda: self._supplied or self._book.cancelling, until
        )
        if not in_time:
            note = "no supply came in time"
            self._book.ask_cancel(CancelRequest(by="crossdock", note=note))

    async def _pickup_unfillable(self) -> None:
        await self._book.attend(
            "pickup",
            "pickup_unfillable",
            "The store cannot provide the goods. `retry` asks it again; `cancel` ends the order.",
            ("retry", "cancel"),
            unless=lambda: self._book.cancelling,
        )

    # ---- source, split, allocate

    async def _source(self) -> None:
        """Decide which nodes fulfill what, move the stock to them, and set them to work."""
        sourced = await self._decide()
        if self._interrupted():
            return
        if not sourced.plan.assignments:
            await self._no_node()
            return
        allocated, fulfillments = await self._allocate(sourced)
        if not allocated.ok:  # another order was faster: decided anew, on what is there now
            self._lost_races += 1
            if self._lost_races % RACES == 0:
                await self._no_node()
            return
        self._lost_races = 0
        for f in fulfillments:
            self._drive(f, fresh=True)
        if sourced.plan.unsourced:
            await self._no_node()

    async def _decide(self) -> Sourced:
        order, state = self._start.order, self._book.state
        units = _units(state, units_in(state, Bucket.RESERVED))
        request = SourceOrder(
            order_id=state.order_id,
            round=state.round + 1,
            units=units,
            excluded=state.excluded,
            firm_node=order.pickup_node if order.method is DeliveryMethod.PICKUP else None,
            promise_by=state.promise_by,
        )

        async def attempt() -> Sourced:
            if len(units) > SOURCED_IN_PLACE:
                return await heavy_step(Sourcing.optimize_source, request, summary=_DECIDE)
            # Two local activities side by side may be told of in another order in a replay.
            async with self._book.writing:
                return await step(Sourcing.optimize_source, request, summary=_DECIDE)

        sourced = await self._book.insist(attempt, "source", forward=True)
        self._book.adopt(self._book.state.model_copy(update={"round": request.round}))
        return sourced

    async def _allocate(self, sourced: Sourced) -> tuple[Allocated, tuple[Fulfillment, ...]]:
        plan = sourced.plan
        fulfillments: tuple[Fulfillment, ...] = ()

        def effect() -> Effect[Allocate, Allocated]:
            nonlocal fulfillments
            state = self._book.state
            made = fulfillments = split(state, self._start.order, plan.assignments)

            def placed(state: OrderState) -> OrderState:
                for f in made:
                    after = with_fulfillment(state, f)
                    state = moved(after, f.lines, Bucket.RESERVED, Bucket.ALLOCATED)
                promise = state.promise_by or max(f.deliver_by for f in made)
                return state.model_copy(update={"promise_by": promise})

            where = ", ".join(f"{f.node} by {f.service}" for f in fulfillments)
            change = self._book.change(
                placed(state),
                OrderEvent(
                    type="allocated",
                    summary=f"sourced from {where}",
                    cause=sourced.decision_id,
                    data={"decision": sourced.decision_id, "solver": sourced.solver},
                ),
            )
            request = Allocate(
                key=f"{state.order_id}/round/{state.round}",
                reservation_id=f"{state.order_id}-R{state.reservations}",
                fulfillments=fulfillments,
                change=change,
            )
            return Effect(
                Stock.allocate,
                request,
                f"allocate at {where}",
                lambda state, allocated: placed(state) if allocated.ok else state,
                lambda allocated: change.key if allocated.ok else None,
            )

        return await self._book.write(effect, "allocate", forward=True), fulfillments

    async def _no_node(self) -> None:
        """No node can serve what is reserved: supply, a node's return or a person goes on."""
        self._supplied = False
        left = units_in(self._book.state, Bucket.RESERVED)
        answer = await self._book.attend(
            "source",
            "no_node",
            f"No node can fulfill {taking.count(left)}. Not asked again: "
            f"{', '.join(sorted(self._book.state.excluded)) or 'none'}. `retry` decides anew; "
            "`reroute` also allows those nodes again; `cancel` cancels the order.",
            ("retry", "reroute", "cancel"),
            unless=lambda: (
                self._supplied
                or self._book.cancelling
                or units_in(self._book.state, Bucket.RESERVED) != left
            ),
        )
        if answer is not None and answer.action == "reroute":
            self._book.adopt(self._book.state.model_copy(update={"excluded": {}}))

    def _drive(self, fulfillment: Fulfillment, *, fresh: bool) -> None:
        driver = Fulfilling(self._book, fulfillment.fulfillment_id, fresh=fresh)
        self._drivers[driver.id] = driver
        driver.news.extend(self._unheard.pop(driver.id, ()))
        self._lives.append(asyncio.create_task(self._guarded(driver.run())))

    # ---- cancel

    async def _let_go(self) -> None:
        """What no node has yet: back to where it came from, last step first."""
        cancel = self._book.state.cancel or CancelRequest()
        told = OrderEvent(
            type="cancelled",
            summary=cancel.note or "cancelled before it was given to a node",
            actor=cancel.by or "crossdock",
            cause="cancel",
        )
        reserved = bool(units_in(self._book.state, Bucket.RESERVED))

        def let_go(state: OrderState) -> OrderState:
            return all_moved(state, (*_WAITING, Bucket.RESERVED), Bucket.CANCELLED)

        def effect() -> Effect[Release, None]:
            change = self._book.change(let_go(self._book.state), told)
            state = self._book.state
            reservation = f"{state.order_id}-R{state.reservations}"
            request = Release(reservation_id=reservation, change=change)
            return Effect(Stock.release, request, "release", lambda state, _: let_go(state))

        if reserved:
            await self._book.write(effect, "release")
        else:
            await self._book.record(let_go, told)

    async def _close(self, status: OrderStatus, code: str, reason: str) -> None:
        """End an order that never began, its units with it."""
        update = {"status": status, "reason": code}
        await self._book.record(
            lambda s: all_moved(s, Bucket, Bucket.CANCELLED).model_copy(update=update),
            OrderEvent(type=status.value, summary=reason, cause=code),
        )


def _units(state: OrderState, quantities: tuple[LineQuantity, ...]) -> tuple[Units, ...]:
    skus = {line.line_id: line.sku for line in state.lines}
    return tuple(
        Units(line_id=lq.line_id, sku=skus[lq.line_id], quantity=lq.quantity) for lq in quantities
    )
