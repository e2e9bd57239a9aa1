"""The life of one order, from the channel to the customer's door."""

from __future__ import annotations

import asyncio
import contextlib

from temporalio import workflow

from domain.lifecycle import caught_up, over, rolled_up, settled, units_in, with_lines
from domain.orders import Bucket, OrderStatus
from domain.records import CancelRequest, OrderEvent, OrderState
from workflows.book import CalledOff, Effect, Overtaken
from workflows.leftover import WAITING
from workflows.messages import Resolve, StartOrder
from workflows.placing import Placing
from workflows.ports import Orders, Validated, ValidateOrder
from workflows.steps import step


@workflow.defn(name="Order")
class OrderWorkflow(Placing):
    @workflow.init
    def __init__(self, start: StartOrder) -> None:
        super().__init__(start)
        self._replaced = False

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
            if verdict.verdict == "duplicate" and verdict.resume is not None:
                self._replaced = True
                self._book.adopt(verdict.resume)
            elif verdict.resume is not None:
                self._book.adopt(caught_up(verdict.resume, self._book.state))
        self._reply("accepted")
        for f in self._book.state.fulfillments:
            if f.fulfillment_id not in self._drivers:
                self._drive(f, fresh=False)

    async def _next_step(self) -> None:
        state = self._book.state
        if not units_in(state, *WAITING, Bucket.RESERVED):
            await workflow.wait_condition(self._work_to_do)
        elif self._book.cancelling:
            await self._let_go()
        elif state.holds:
            await self._held()
        else:
            with contextlib.suppress(CalledOff):
                await (self._reserve() if units_in(state, *WAITING) else self._source())

    def _work_to_do(self) -> bool:
        state = self._book.state
        return self._done() or bool(units_in(state, *WAITING, Bucket.RESERVED))

    def _done(self) -> bool:
        state = self._book.state
        if self._replaced:  # another chain of runs has brought the order to its end
            return True
        heard = not any(driver.news for driver in self._drivers.values())
        return heard and settled(state) and all(over(f) for f in state.fulfillments)

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
                return with_lines(state, order, verdict.skus, verdict.kits)

            return Effect(
                Orders.validate, request, "validate", leads_to, lambda verdict: verdict.base
            )

        return await self._book.write(effect, "validate")

    def _request(self) -> ValidateOrder:
        order = self._start.order
        units, lines = sum(line.quantity for line in order.lines), len(order.lines)
        some = "1 unit" if units == 1 else f"{units} units"
        on = "1 line" if lines == 1 else f"{lines} lines"
        told = OrderEvent(
            type="received",
            summary=f"{some} on {on} from {order.channel}",
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
