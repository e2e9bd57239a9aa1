"""What a rule set would make of an order, real or invented: judged and solved, nothing written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api import sold
from api.solving import solved
from domain.errors import NotFound
from domain.orders import DeliveryMethod, Order
from domain.rules.evaluation import Judged
from domain.rules.facts import Case
from domain.rules.judging import decide_by, policy_by, pose
from domain.rules.sets import Version
from domain.sourcing.build import Particulars, build
from domain.sourcing.problem import Outcome, Plan, Problem
from domain.sourcing.solver import solve
from domain.values import Value
from storage import open_orders, prices, records, rules, snapshot
from storage.database import transaction


class Tried(Value):
    """
    `judged` tells the profile that the order matches, which conditions are met for what, the
    policy, and what then; None where the built-in policy holds. `plan` is what would be decided
    now, by `rules`: the last set, where one hands it on to the next; "" is the built-in policy.
    `outcome` is what becomes of units that find no node, `relaxed` the soft rules that the plan
    does not keep to, `eliminated` why nodes are not in it.
    """

    rules: str
    judged: Judged | None
    currency: str
    plan: Plan
    outcome: Outcome
    review: bool
    relaxed: tuple[str, ...] = ()
    eliminated: dict[str, str] = {}


async def tried(
    engine: AsyncEngine,
    order: Order,
    *,
    now: datetime,
    name: str | None = None,
    version: int | None = None,
) -> Tried:
    """
    The order as it was placed, all of it, by this version of the set, draft or not; without a name
    by the active one that it comes to. Raises NotFound, and Unfit of products that are none.
    """
    async with transaction(engine) as conn:
        sets = await _sets(conn, name, version)
        units = await sold.units_of(conn, order.lines, [line.line_id for line in order.lines])
        seen = await snapshot.sourcing(conn, [unit.sku for unit in units], order.channel)
        open_now = await open_orders.by_node_for(conn, sets)
        ships = order.method is DeliveryMethod.SHIP
        book = seen.prices if ships else None
        skus = {unit.sku for unit in units}
        worth = await prices.of_stock(conn, book, seen.stock, skus) if book else {}
    case = Case(order=order, units=units, snapshot=seen, now=now, promise_by=order.deliver_by)
    known = Particulars(
        price_minor={line.line_id: line.unit_price_minor for line in order.lines},
        open_orders=open_now,
        stock_minor=worth,
        prices=book or "",
    )

    def built(judged: Judged | None) -> Problem:
        return build(
            seen,
            order_id=order.order_id,
            round=case.round,
            as_of=now,
            currency=seen.rate_cards[0].currency if seen.rate_cards else order.currency,
            promise_by=case.promise_by,
            units=units,
            ship_to=order.ship_to,
            excluded=seen.hidden if ships else {},
            firm_node=None if ships else order.pickup_node,
            method=order.method,
            policy=policy_by(judged),
            known=known,
        )

    return await solved(lambda: _decided(sets, case, built, name or ""))


async def placed(engine: AsyncEngine, order_id: str) -> Order:
    """An order that is here. Raises NotFound."""
    async with transaction(engine) as conn:
        order = await records.order(conn, order_id)
    if order is None:
        raise NotFound(f"there is no order {order_id}")
    return order


async def _sets(
    conn: AsyncConnection, name: str | None, version: int | None
) -> tuple[Version, ...]:
    """The active sets, with the version that is to be tried in place of its own name's."""
    standing = await rules.active(conn)
    if name is None:
        return standing
    kept = await rules.get(conn, name, version)
    others = tuple(one for one in standing if one.rules.name != name)
    return (Version(kept.rules, kept.version), *others)


def _decided(
    sets: Sequence[Version],
    case: Case,
    built: Callable[[Judged | None], Problem],
    name: str,
) -> Tried:
    decision = decide_by(sets, case, built, lambda problem: solve(problem, "try"), name)
    return Tried(
        rules=decision.problem.policy.rules,
        judged=pose(sets, case, built, name).judged,
        currency=decision.problem.currency,
        plan=decision.plan,
        outcome=decision.outcome,
        review=decision.review,
        relaxed=decision.relaxed,
        eliminated=decision.eliminated,
    )
