"""The sourcing decision: one consistent snapshot, one proven answer, one immutable record."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from domain.errors import NotFound
from domain.fulfillments import RequestStatus
from domain.orders import DeliveryMethod, Order
from domain.promises import GRACE
from domain.records import OrderState
from domain.rules.evaluation import Judged
from domain.rules.facts import Case
from domain.rules.judging import Posed, asked_again, cool_down, decide_by, policy_by, pose
from domain.rules.sets import Version
from domain.sourcing.build import MOST_REASON, Particulars, build
from domain.sourcing.certifying import certified
from domain.sourcing.problem import Decision, Plan, Problem
from domain.sourcing.record import Quoted, Record, Seen
from domain.sourcing.replay import decide
from domain.sourcing.terms import terms
from storage import cooling, decisions, open_orders, prices, promises, records, rules, snapshot
from storage.database import transaction
from storage.promises import Claimed
from storage.snapshot import NOTHING, Back, Snapshot
from workflows import ports
from workflows.ports import Sourced, SourceOrder

_LOG: Final = logging.getLogger(__name__)
# So long after the first of them orders of one pass have given their work back.
_GATHERED: Final = timedelta(seconds=5)


class Sourcing(ports.Sourcing):
    """`certified` is the share of the kernel's decisions that OR-Tools solves again."""

    def __init__(self, engine: AsyncEngine, certified: float = 0.05) -> None:
        self._engine = engine
        self._certified = certified

    @activity.defn
    async def optimize_source(self, request: SourceOrder) -> Sourced:
        async with transaction(self._engine) as conn:
            made = await decisions.get(conn, request.order_id, request.round)
            if made is not None:
                return _sourced(made)
            [asked] = await ask(conn, request)
        if not request.alone and (wait := asked.waits()) is not None:
            async with transaction(self._engine) as conn:
                until = await cooling.enter(conn, *wait, request.model_dump(mode="json"))
            return Sourced(decision_id="", solver="", plan=Plan(assignments=()), wait_until=until)
        decision = await asyncio.to_thread(lambda: certified(asked.decide(), self._certified))
        compare(decision)
        async with transaction(self._engine) as conn:
            await cooling.leave(conn, request.order_id)
            return _sourced(await decisions.store(conn, asked.record(decision)))


@dataclass(frozen=True)
class Asked:
    """One order's question, with all that is read to answer it, at one moment."""

    request: SourceOrder
    case: Case
    snapshot: Snapshot
    active: tuple[Version, ...]
    known: Particulars
    claimed: Claimed | None

    def build(self, judged: Judged | None) -> Problem:
        request, order, now = self.request, self.case.order, self.snapshot
        again = asked_again(judged, self.case)
        gave_back = {n: said for n, said in request.excluded.items() if n not in again}
        return build(
            now,
            order_id=request.order_id,
            round=request.round,
            as_of=self.case.now,
            currency=now.rate_cards[0].currency if now.rate_cards else order.currency,
            promise_by=request.promise_by,
            units=request.units,
            ship_to=order.ship_to,
            excluded={**_hidden(now, order), **_gave_back(gave_back)},
            firm_node=request.firm_node,
            method=order.method,
            policy=policy_by(judged),
            known=self.known,
        )

    def pose(self) -> Posed:
        return pose(self.active, self.case, self.build, self.request.rules)

    def waits(self) -> tuple[str, timedelta] | None:
        """
        With whom it is sourced together, and for how long it waits for them: the orders of its
        profile, or those that gave their work back in the same pass.
        """
        if self.request.together:
            return self.request.together, _GATHERED
        if self.claimed is not None or self.case.order.method is not DeliveryMethod.SHIP:
            return None
        return cool_down(self.active, self.case, self.request.rules)

    def decide(self, left: Callable[[Problem], Problem] = lambda problem: problem) -> Decision:
        """Of a problem with no more than is `left` for it."""
        rules = self.request.rules
        return decide_by(
            self.active, self.case, lambda judged: left(self.build(judged)), self.solve, rules
        )

    def solve(self, problem: Problem) -> Decision:
        return decide(problem, self.decision_id, self.quoted)

    @property
    def decision_id(self) -> str:
        return f"{self.request.order_id}/{self.request.round}"

    @property
    def quoted(self) -> Quoted | None:
        """The promise that the order claimed; it came when it claimed it, if not long ago."""
        if self.claimed is None:
            return None
        soon = self.case.now - self.claimed.at <= GRACE
        return Quoted(promise=self.claimed.promise, came=self.claimed.at if soon else self.case.now)

    def record(self, decision: Decision) -> Record:
        order, now = self.case.order, self.snapshot
        seen = Seen(
            nodes=now.nodes, rate_cards=now.rate_cards, ship_to=order.ship_to, method=order.method
        )
        return Record(decision=decision, quoted=self.quoted, seen=seen)


async def ask(
    conn: AsyncConnection, *requests: SourceOrder, back: Back = NOTHING
) -> tuple[Asked, ...]:
    """
    The questions of these orders, of one snapshot for each channel: of one moment all of them, in a
    transaction that sees but one. With what comes `back`. Raises NotFound(order).
    """
    active, now = await rules.active(conn), datetime.now(UTC)
    open_now = await open_orders.by_node_for(conn, active)
    open_now = {node: n - back.open_orders.get(node, 0) for node, n in open_now.items()}
    orders = [await _order(conn, request.order_id) for request in requests]
    skus: dict[str, set[str]] = {}
    for request, (order, _) in zip(requests, orders, strict=True):
        skus.setdefault(order.channel, set()).update(unit.sku for unit in request.units)
    seen = {name: await snapshot.sourcing(conn, some, name, back) for name, some in skus.items()}
    asked = []
    for request, (order, state) in zip(requests, orders, strict=True):
        network = seen[order.channel]
        released = (f.release_at for f in state.fulfillments if f.release_at)
        case = Case(
            order=order,
            units=request.units,
            snapshot=network,
            now=now,
            promise_by=request.promise_by,
            round=request.round,
            release_at=max(released, default=None),
            excluded_at=request.excluded_at,
            asked_at=request.asked_at,
        )
        known = Particulars(
            price_minor={line.line_id: line.unit_price_minor for line in order.lines},
            rejections=_rejections(state),
            open_orders=open_now,
            **await _priced(conn, network, case),
        )
        claimed = await promises.of_order(conn, order)
        asked.append(Asked(request, case, network, active, known, claimed))
    return tuple(asked)


async def _order(conn: AsyncConnection, order_id: str) -> tuple[Order, OrderState]:
    order, state = await records.order(conn, order_id), await records.state(conn, order_id)
    if order is None or state is None:
        raise NotFound(f"no order {order_id}")
    return order, state


async def _priced(conn: AsyncConnection, network: Snapshot, case: Case) -> dict[str, Any]:
    """What a unit is worth where there is some, by the book that holds; a pickup has no choice."""
    if network.prices is None or case.order.method is not DeliveryMethod.SHIP:
        return {}
    worth = await prices.of_stock(conn, network.prices, network.stock, case.asked)
    return {"prices": network.prices, "stock_minor": worth}


def _rejections(state: OrderState) -> dict[str, int]:
    """By line, how often a node said no to it."""
    said_no = [f for f in state.fulfillments if f.request is RequestStatus.REJECTED]
    return dict(Counter(line.line_id for f in said_no for line in f.lines))


def _hidden(now: Snapshot, order: Order) -> Mapping[str, str]:
    """Nodes that the order's channel may not have ship; a pickup was granted when it was taken."""
    return now.hidden if order.method is DeliveryMethod.SHIP else {}


def _gave_back(excluded: Mapping[str, str]) -> Mapping[str, str]:
    """
    Nodes that had the order already, with what they said; people should not read it as what we know
    of the node: one that said "no stock" may have some by our count.
    """
    return {
        node: f"gave it back: {said}"[:MOST_REASON] if said else "gave it back"
        for node, said in excluded.items()
    }


def compare(decision: Decision) -> None:
    """Two solvers that differ are an alarm; the order goes on as it was decided."""
    other = decision.certificate
    if other is not None and not other.agrees:
        _LOG.error(
            "decision %s: %s finds a cost of %d, %d units unsourced, where %s found %d",
            decision.decision_id,
            other.solver,
            other.cost_minor,
            other.unsourced,
            decision.solver,
            decision.plan.cost.total,
        )


def _sourced(decision: Decision) -> Sourced:
    return Sourced(
        decision_id=decision.decision_id,
        solver=decision.solver,
        plan=decision.plan,
        outcome=decision.outcome,
        review=decision.review,
        release_at=decision.release_at,
        again_at=decision.again_at,
        terms=terms(decision),
    )
