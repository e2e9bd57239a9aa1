"""What a rule set would make of an order, real or invented: judged and solved, nothing written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api import sold
from domain.errors import NotFound
from domain.orders import DeliveryMethod, Order
from domain.rules.evaluation import Judged, choose, evaluate
from domain.rules.facts import Case
from domain.rules.sets import Version
from domain.sourcing.build import build
from domain.sourcing.policy import Policy
from domain.sourcing.problem import Plan, Problem
from domain.values import Value
from storage import records, rules, snapshot
from storage.database import transaction
from storage.snapshot import Snapshot


class Tried(Value):
    """
    `rules` is the version that judged the order, `""` the built-in policy where none matches it.
    `judged` tells its profile, which conditions are met for what, the policy, and what then;
    `plan` is what would be decided now, `eliminated` why nodes cannot serve whatever the rules say.
    """

    rules: str
    judged: Judged | None
    plan: Plan
    eliminated: dict[str, str] = {}


async def tried(  # noqa: PLR0913 - the order, the rules and what they are tried with
    engine: AsyncEngine,
    order: Order,
    *,
    now: datetime,
    solve: Callable[[Problem], Plan],
    name: str | None = None,
    version: int | None = None,
) -> Tried:
    """
    The order as it was placed, all of it, by this version of the set, draft or not; without a name
    by the active one that it comes to. Raises NotFound, and Unfit of products that are none.
    """
    async with transaction(engine) as conn:
        chosen = await _chosen(conn, order, now, name, version)
        units = await sold.units_of(conn, order.lines, [line.line_id for line in order.lines])
        seen = await snapshot.sourcing(conn, [unit.sku for unit in units], order.channel)
    case = Case(order=order, units=units, snapshot=seen, now=now, promise_by=order.deliver_by)
    judged, problem, plan = await asyncio.to_thread(_decided, case, chosen, seen, solve)
    return Tried(
        rules=judged.policy.rules if judged else "",
        judged=judged,
        plan=plan,
        eliminated={c.node: c.eliminated for c in problem.candidates if c.eliminated},
    )


async def placed(engine: AsyncEngine, order_id: str) -> Order:
    """An order that is here. Raises NotFound."""
    async with transaction(engine) as conn:
        order = await records.order(conn, order_id)
    if order is None:
        raise NotFound(f"there is no order {order_id}")
    return order


async def _chosen(
    conn: AsyncConnection, order: Order, now: datetime, name: str | None, version: int | None
) -> Version | None:
    if name is None:
        return choose(await rules.active(conn), order, now)
    kept = await rules.get(conn, name, version)
    return Version(kept.rules, kept.version)


def _decided(
    case: Case, chosen: Version | None, seen: Snapshot, solve: Callable[[Problem], Plan]
) -> tuple[Judged | None, Problem, Plan]:
    order = case.order
    judged = evaluate(chosen, case) if chosen else None
    ships = order.method is DeliveryMethod.SHIP
    problem = build(
        seen,
        order_id=order.order_id,
        round=case.round,
        as_of=case.now,
        currency=seen.rate_cards[0].currency if seen.rate_cards else order.currency,
        promise_by=case.promise_by,
        units=case.units,
        ship_to=order.ship_to,
        excluded=seen.hidden if ships else {},
        firm_node=None if ships else order.pickup_node,
        method=order.method,
    ).model_copy(update={"policy": judged.policy if judged else Policy()})
    return judged, problem, solve(problem)
