"""What becomes of a plan that needs a word, and of units that no plan serves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow

from domain.lifecycle import all_moved, units_in
from domain.orders import Bucket
from domain.records import CancelRequest, OrderEvent, OrderState
from domain.values import earliest
from workflows import taking
from workflows.book import Effect
from workflows.conversation import Conversation
from workflows.messages import StartOrder
from workflows.ports import Release, Sourced, Stock

WAITING: Final = (Bucket.OPEN, Bucket.BACKORDERED)
# How much longer than agreed an order waits: thousands together take a minute or two.
_GRACE: Final = timedelta(minutes=5)


class Leftover(Conversation):
    """Waits that end with a decision, with supply, or with the order's units let go."""

    def __init__(self, start: StartOrder) -> None:
        super().__init__(start)
        self._rules = ""  # the rule set that judges what another one left over
        self._again_at: datetime | None = None  # by the rules of that other one

    def _interrupted(self) -> bool:
        return self._book.cancelling or bool(self._book.state.holds)

    # ---- a plan

    async def _decided_with_others(self, by: datetime) -> bool:
        """Whether word came in time that the order was sourced together with others."""
        await self._book.record(
            lambda state: state,
            OrderEvent(
                type="cooling_down",
                summary=f"to be sourced together with other orders by {by:%Y-%m-%d %H:%M} UTC",
                cause="source",
            ),
        )
        return await self._book.clock.until(
            lambda: self._supplied or self._interrupted(), by + _GRACE
        )

    async def _approved(self, sourced: Sourced) -> bool:
        """Whether the plan may be carried out: a person says so, where rules want it."""
        if not sourced.review or not sourced.plan.assignments:
            return True
        where = "; ".join(
            f"{a.node} sends {taking.count(a.lines)} by {a.service}"
            for a in sourced.plan.assignments
        )
        answer = await self._book.attend(
            "plan",
            "review",
            f"The plan of decision {sourced.decision_id} waits for approval: {where}. `approve` "
            "carries it out; `retry` decides anew; `cancel` cancels the order.",
            ("approve", "retry", "cancel"),
            unless=self._interrupted,
        )
        return answer is not None and answer.action == "approve"

    # ---- what it leaves over

    async def _left(self, sourced: Sourced) -> None:
        """
        The units that found no node, by what the rules say of them.

        A wait that ends with `again_at` needs no patch id: no history from before it has one.
        """
        outcome, again = sourced.outcome, earliest(self._again_at, sourced.again_at)
        self._again_at = None
        if self._supplied or self._interrupted():
            return
        if outcome.then == "next":
            self._rules, self._again_at = outcome.next, again
            return
        after = outcome.cancel_after
        if outcome.then == "cancel" and after is None:
            await self._let_go("no node can fulfill it, and rules say not to wait")
            return
        since = self._book.state.left_since or workflow.now()
        self._book.adopt(self._book.state.model_copy(update={"left_since": since}))
        by = None if after is None else since + after
        if outcome.then == "backorder":
            await self._wait_for_stock(by or since + self._book.patience.backorder, again)
        else:
            await self._no_node(outcome.queue, by, again)

    async def _wait_for_stock(self, by: datetime, again: datetime | None) -> None:
        """
        The units stay the order's, and whatever comes of their SKUs has it decide anew, as does a
        node that may be asked `again`.
        """
        skus = {line.line_id: line.sku for line in self._book.state.lines}
        left = units_in(self._book.state, Bucket.RESERVED)
        short: dict[str, int] = {}
        for unit in left:
            sku = skus[unit.line_id]
            short[sku] = short.get(sku, 0) + unit.quantity
        await self._book.record(
            lambda state: state.model_copy(update={"short": short}),
            OrderEvent(
                type="backordered",
                summary=f"no node can fulfill it now; waits for stock until {by:%Y-%m-%d}",
                cause="source",
            ),
        )
        in_time = await self._book.clock.until(lambda: self._changed(left), min(by, again or by))
        if not in_time and workflow.now() >= by:
            await self._let_go("no stock came in time to a node that can fulfill it")

    async def _no_node(
        self, queue: str = "", by: datetime | None = None, again: datetime | None = None
    ) -> None:
        """
        No node can serve what is reserved: supply, a node that may be asked `again`, or a person
        goes on.
        """
        if self._supplied:
            return
        left = units_in(self._book.state, Bucket.RESERVED)
        until = f" It is cancelled on {by:%Y-%m-%d %H:%M} UTC." if by else ""
        anew = f" A node may be asked again on {again:%Y-%m-%d %H:%M} UTC." if again else ""
        answer = await self._book.attend(
            "source",
            "no_node",
            f"No node can fulfill {taking.count(left)}. Gave it back: "
            f"{', '.join(sorted(self._book.state.excluded)) or 'none'}. `retry` decides anew; "
            f"`reroute` also allows those nodes again; `cancel` cancels the order.{anew}{until}",
            ("retry", "reroute", "cancel"),
            unless=lambda: self._changed(left),
            queue=queue,
            by=earliest(by, again),
        )
        if answer is not None and answer.action == "reroute":
            self._down.clear()
            update: dict[str, object] = {"excluded": {}, "excluded_at": {}}
            self._book.adopt(self._book.state.model_copy(update=update))
        if answer is None and by is not None and workflow.now() >= by and not self._changed(left):
            await self._let_go("no node could fulfill it in time")

    def _changed(self, left: object) -> bool:
        return (
            self._supplied
            or self._book.cancelling
            or units_in(self._book.state, Bucket.RESERVED) != left
        )

    async def _backordered(self, expected: datetime | None) -> None:
        """Patience begins when the supply that it waits for by name is expected."""
        if self._supplied:
            return
        until = max(workflow.now(), expected or workflow.now()) + self._book.patience.backorder
        in_time = await self._book.clock.until(
            lambda: self._supplied or self._book.cancelling, until
        )
        if not in_time:
            note = "no supply came in time"
            self._book.ask_cancel(CancelRequest(by="crossdock", note=note))

    # ---- let go

    async def _let_go(self, note: str = "") -> None:
        """What no node has yet: back to where it came from, last step first."""
        cancel = self._book.state.cancel or CancelRequest()
        told = OrderEvent(
            type="cancelled",
            summary=note or cancel.note or "cancelled before it was given to a node",
            actor=cancel.by or "crossdock",
            cause="cancel",
        )
        reserved = bool(units_in(self._book.state, Bucket.RESERVED))

        def let_go(state: OrderState) -> OrderState:
            gone = all_moved(state, (*WAITING, Bucket.RESERVED), Bucket.CANCELLED)
            return gone.model_copy(update={"short": {}})

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
