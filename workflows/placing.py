"""How an order's units find the nodes that fulfill them: reserved, sourced, split, allocated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

from domain.fulfillments import Fulfillment
from domain.kits import units_of
from domain.lifecycle import all_moved, moved, split, units_in, with_fulfillment
from domain.orders import Bucket, DeliveryMethod, OrderStatus, reservation_id
from domain.records import OrderEvent, OrderState
from workflows.book import Effect
from workflows.fulfilling import Fulfilling
from workflows.leftover import WAITING, Leftover
from workflows.messages import StartOrder
from workflows.policies import SOURCED_IN_PLACE
from workflows.ports import (
    Allocate,
    Allocated,
    Reserve,
    Reserved,
    Sourced,
    SourceOrder,
    Sourcing,
    Stock,
)
from workflows.steps import heavy_step, step

# So many decisions in a row that lose their stock to other orders are more than bad luck.
RACES: Final = 5
_DECIDE: Final = "optimize source"
_RESERVED: Final = OrderEvent(type="reserved", summary="all units reserved", cause="reserve")
_SHORT: Final = OrderEvent(type="backordered", summary="not enough stock", cause="reserve")


class Placing(Leftover):
    """From what the customer wants to drivers at work: one for each node's share."""

    def __init__(self, start: StartOrder) -> None:
        super().__init__(start)
        self._bug: Exception | None = None
        self._lives: list[asyncio.Task[None]] = []
        self._lost_races = 0
        self._alone = False

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
        self._supplied = False  # what comes while we look is not in what we see
        reserved = await self._try_to_reserve()
        if reserved.ok:
            self._reply("accepted")
        elif self._start.order.when_short == "refuse" and self._answer is None:
            await self._close(OrderStatus.REJECTED, "out_of_stock", "there is not enough stock")
            self._reply("refused", "out_of_stock", "there is not enough stock", reserved.missing)
        elif not again:
            self._reply("backordered", missing=reserved.missing, expected=reserved.expected)
            await self._backordered(reserved.expected)

    async def _try_to_reserve(self) -> Reserved:
        order = self._start.order

        def effect() -> Effect[Reserve, Reserved]:
            state = self._book.state
            reservation = state.reservations + 1

            def held(state: OrderState) -> OrderState:
                whole = all_moved(state, WAITING, Bucket.RESERVED)
                return whole.model_copy(update={"reservations": reservation, "short": {}})

            def short(state: OrderState) -> OrderState:
                return all_moved(state, WAITING, Bucket.BACKORDERED)

            def leads_to(state: OrderState, reserved: Reserved) -> OrderState:
                missing = {"short": reserved.missing}
                return held(state) if reserved.ok else short(state).model_copy(update=missing)

            request = Reserve(
                reservation_id=f"{state.order_id}-R{reservation}",
                order_id=state.order_id,
                channel=state.channel,
                units=units_of(state.lines, units_in(state, *WAITING)),
                node=order.pickup_node if order.method is DeliveryMethod.PICKUP else None,
                reserved=self._book.change(held(state), _RESERVED),
                short=self._book.change(short(state), _SHORT),
                takes_over=(
                    reservation_id(order.channel, order.reservation) if order.reservation else None
                ),
                waits=order.when_short != "refuse" or self._answer is not None,
            )

            def wrote(reserved: Reserved) -> str:
                return (request.reserved if reserved.ok else request.short).key

            return Effect(Stock.reserve, request, "reserve", leads_to, wrote)

        return await self._book.write(effect, "reserve", forward=True)

    async def _pickup_unfillable(self) -> None:
        await self._book.attend(
            "pickup",
            "pickup_unfillable",
            "The store cannot provide the goods. `retry` asks it again; `cancel` ends the order.",
            ("retry", "cancel"),
            unless=lambda: self._book.cancelling,
        )
        self._down.clear()

    # ---- source, split, allocate

    async def _source(self) -> None:
        """Decide which nodes fulfill what, move the stock to them, and set them to work."""
        if self._moving():  # what is taken back together is sourced together
            await workflow.wait_condition(lambda: not self._moving())
            if self._interrupted():
                return
        self._supplied = False
        sourced = await self._decide()
        if sourced.wait_until is not None:
            self._alone = not await self._decided_with_others(sourced.wait_until)
            return
        self._alone, self._together = False, ""
        if self._interrupted() or not await self._approved(sourced):
            return
        some, whole = bool(sourced.plan.assignments), not sourced.plan.unsourced
        if some and (whole or sourced.outcome.allocate) and not await self._placed(sourced):
            return
        self._rules = ""  # not before: what comes to nothing is judged by the same set again
        if not (some and whole):
            await self._left(sourced)

    def _moving(self) -> bool:
        return any(driver.moving for driver in self._drivers.values())

    async def _placed(self, sourced: Sourced) -> bool:
        """Whether the plan's units are at their nodes, and drivers at work for them."""
        allocated, fulfillments = await self._allocate(sourced)
        if not allocated.ok:  # another order was faster: decided anew, on what is there now
            self._lost_races += 1
            if self._lost_races % RACES == 0:
                await self._no_node()
            return False
        self._lost_races = 0
        for f in fulfillments:
            self._drive(f, fresh=True)
        return True

    async def _decide(self) -> Sourced:
        order, state = self._start.order, self._book.state
        units = units_of(state.lines, units_in(state, Bucket.RESERVED))
        # A node that gave its work back since it went down is asked afresh, should rules allow it.
        self._down = {node: why for node, why in self._down.items() if node not in state.excluded}
        request = SourceOrder(
            order_id=state.order_id,
            round=state.round + 1,
            units=units,
            excluded=state.excluded,
            firm_node=order.pickup_node if order.method is DeliveryMethod.PICKUP else None,
            promise_by=state.promise_by,
            alone=self._alone,
            rules=self._rules,
            together=self._together,
            excluded_at=state.excluded_at,
            asked_at=workflow.now(),
        )

        async def attempt() -> Sourced:
            if len(units) > SOURCED_IN_PLACE:
                return await heavy_step(Sourcing.optimize_source, request, summary=_DECIDE)
            # Two local activities side by side may be told of in another order in a replay.
            async with self._book.writing:
                return await step(Sourcing.optimize_source, request, summary=_DECIDE)

        sourced = await self._book.insist(attempt, "source", forward=True)
        if sourced.wait_until is None:
            self._book.adopt(self._book.state.model_copy(update={"round": request.round}))
        return sourced

    async def _allocate(self, sourced: Sourced) -> tuple[Allocated, tuple[Fulfillment, ...]]:
        plan = sourced.plan
        fulfillments: tuple[Fulfillment, ...] = ()

        def effect() -> Effect[Allocate, Allocated]:
            nonlocal fulfillments
            state = self._book.state
            made = fulfillments = split(
                state, self._start.order, plan.assignments, sourced.release_at
            )

            def placed(state: OrderState) -> OrderState:
                for f in made:
                    after = with_fulfillment(state, f)
                    state = moved(after, f.lines, Bucket.RESERVED, Bucket.ALLOCATED)
                promise = state.promise_by or max(f.deliver_by for f in made)
                # That a node is asked once more is no help yet: the wait does not begin anew.
                once_more = any(f.node in state.excluded for f in made)
                since = state.left_since if plan.unsourced or once_more else None
                return state.model_copy(
                    update={"promise_by": promise, "short": {}, "left_since": since}
                )

            where = ", ".join(f"{f.node} by {f.service}" for f in fulfillments)
            change = self._book.change(
                placed(state),
                OrderEvent(
                    type="allocated",
                    summary=f"sourced from {where}{_given(fulfillments)}",
                    cause=sourced.decision_id,
                    data={"decision": sourced.decision_id, "solver": sourced.solver},
                ),
            )
            request = Allocate(
                key=f"{state.order_id}/round/{state.round}",
                reservation_id=f"{state.order_id}-R{state.reservations}",
                fulfillments=fulfillments,
                change=change,
                terms=sourced.terms,
            )
            return Effect(
                Stock.allocate,
                request,
                f"allocate at {where}",
                lambda state, allocated: placed(state) if allocated.ok else state,
                lambda allocated: change.key if allocated.ok else None,
            )

        return await self._book.write(effect, "allocate", forward=True), fulfillments

    def _drive(self, fulfillment: Fulfillment, *, fresh: bool) -> None:
        driver = Fulfilling(self._book, fulfillment.fulfillment_id, fresh=fresh)
        self._drivers[driver.id] = driver
        driver.down = self._down.get(fulfillment.node, "")
        driver.news.extend(self._unheard.pop(driver.id, ()))
        self._lives.append(asyncio.create_task(self._guarded(driver.run())))

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

    async def _close(self, status: OrderStatus, code: str, reason: str) -> None:
        """End an order that never began, its units with it."""
        update = {"status": status, "reason": code}
        await self._book.record(
            lambda s: all_moved(s, Bucket, Bucket.CANCELLED).model_copy(update=update),
            OrderEvent(type=status.value, summary=reason, cause=code),
        )


def _given(fulfillments: Iterable[Fulfillment]) -> str:
    """When nodes are asked that are not asked at once."""
    told = (
        f"; is given to {f.node} at {f.release_at:%Y-%m-%d %H:%M} UTC"
        for f in fulfillments
        if f.release_at is not None
    )
    return "".join(told)
