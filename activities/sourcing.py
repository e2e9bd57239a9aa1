"""The sourcing decision: one consistent snapshot, one proven answer, one immutable record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from domain.errors import NotFound
from domain.orders import DeliveryMethod, Order
from domain.promises import GRACE, keep, kept, units_by_sku
from domain.sourcing.build import build
from domain.sourcing.certifying import certified
from domain.sourcing.problem import Decision, Problem, Promised
from domain.sourcing.solver import solve
from storage import decisions, promises, records, snapshot
from storage.database import transaction
from storage.promises import Claimed
from storage.snapshot import Snapshot
from workflows import ports
from workflows.ports import Sourced, SourceOrder

_LOG: Final = logging.getLogger(__name__)


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
            order = await records.order(conn, request.order_id)
            if order is None:
                raise NotFound(f"no order {request.order_id}")
            claimed = await promises.of_order(conn, order)
            skus = [unit.sku for unit in request.units]
            now = await snapshot.sourcing(conn, skus, order.channel)
        problem = build(
            now,
            order_id=request.order_id,
            round=request.round,
            as_of=datetime.now(UTC),
            currency=now.rate_cards[0].currency if now.rate_cards else order.currency,
            promise_by=request.promise_by,
            units=request.units,
            ship_to=order.ship_to,
            excluded={**_hidden(now, order), **request.excluded},
            firm_node=request.firm_node,
            method=order.method,
        )
        decision_id = f"{request.order_id}/{request.round}"
        decision = await asyncio.to_thread(
            lambda: certified(_decide(problem, decision_id, claimed), self._certified)
        )
        _compare(decision)
        async with transaction(self._engine) as conn:
            return _sourced(await decisions.store(conn, decision))


def _hidden(now: Snapshot, order: Order) -> Mapping[str, str]:
    """Nodes that the order's channel may not have ship; a pickup was granted when it was taken."""
    return now.hidden if order.method is DeliveryMethod.SHIP else {}


def _decide(problem: Problem, decision_id: str, claimed: Claimed | None) -> Decision:
    """
    As it was promised, while all of it is still to be sourced and the plan can be kept; else anew.

    A share that a node gave back is no longer what was promised: it is decided without a word.
    """
    if claimed is None or units_by_sku(problem.demands) != claimed.promise.units:
        return solve(problem, decision_id)
    soon = problem.as_of - claimed.at <= GRACE
    plan = keep(claimed.promise, problem, claimed.at if soon else problem.as_of)
    if not isinstance(plan, str):
        return kept(claimed.promise, problem, plan, decision_id)
    broken = Promised(token=claimed.promise.token, kept=False, reason=plan)
    return solve(problem, decision_id).model_copy(update={"promise": broken})


def _compare(decision: Decision) -> None:
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
    return Sourced(decision_id=decision.decision_id, solver=decision.solver, plan=decision.plan)
