"""Sources anew what is allocated and no node was asked for, where that saves enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.sourcing import Asked, ask
from domain.fulfillments import LineQuantity
from domain.kits import units_of
from domain.money import Money
from domain.rules.sets import STABILITY_MINOR
from domain.sourcing.again import Chance, as_it_is, holds, worth_moving
from domain.sourcing.problem import Plan
from domain.sourcing.solver import cheapest_plan
from domain.sourcing.together import Together
from storage import inbox, unreleased
from storage.database import transaction
from storage.standing import one_moment
from storage.unreleased import Unreleased
from workflows.messages import SourceAgain
from workflows.ports import Better, Reoptimised, SourceOrder

MOST_AT_ONCE: Final = 2000  # orders, the oldest first
_MOST_TOLD: Final = 500
_THOUSANDTHS: Final = 1000
_LOG: Final = logging.getLogger(__name__)


async def reoptimise(engine: AsyncEngine, *, dry_run: bool) -> Reoptimised:
    """
    Look at the orders whose work waits to be given to its nodes, and tell those that could be
    sourced better to do so; a dry run only says which.

    It moves nothing itself, so killed midway it has done nothing, or all. Each order's workflow
    takes its work back, if it still waits, and those of one pass are sourced as one batch.
    """
    began = time.monotonic()
    async with transaction(engine) as conn:
        await one_moment(conn)
        found = await unreleased.orders(conn, MOST_AT_ONCE)
        if not found:
            return Reoptimised(looked_at=0, moved=0, saves_minor=0)
        back = await unreleased.back(conn, [f.fulfillment_id for one in found for f in one.shares])
        asked = await ask(conn, *(_request(one) for one in found), back=back)
    chances, moving = await asyncio.to_thread(_compared, found, asked)
    if moving and not dry_run:
        await _tell(engine, found, chances, moving)
    saved = sum(chances[number].saves for number in moving) // _THOUSANDTHS
    _LOG.info(
        "reoptimise orders=%d moved=%d saves=%d dry=%s seconds=%.1f",
        *(len(found), len(moving), saved, dry_run, time.monotonic() - began),
    )
    return Reoptimised(
        looked_at=len(found), moved=len(moving), saves_minor=saved, orders=_told(chances, moving)
    )


def _request(one: Unreleased) -> SourceOrder:
    """As its workflow would ask, had it only the units that wait."""
    state = one.state
    waits: Counter[str] = Counter()
    for line in (line for share in one.shares for line in share.remaining()):
        waits[line.line_id] += line.quantity
    lines = [LineQuantity(line_id=name, quantity=units) for name, units in waits.items()]
    return SourceOrder(
        order_id=state.order_id,
        round=state.round + 1,
        units=units_of(state.lines, lines),
        excluded=state.excluded,
        excluded_at=state.excluded_at,
        firm_node=None,
        promise_by=state.promise_by,
        alone=True,
    )


def _compared(found: Sequence[Unreleased], asked: Sequence[Asked]) -> tuple[list[Chance], set[int]]:
    """Each order's plan as it is and as it could be, in the problems of one moment."""
    posed = [one.pose() for one in asked]
    problems = [one.problem for one in posed]
    together = Together(problems)
    chances = []
    for number, (one, of) in enumerate(zip(found, posed, strict=True)):
        problem, judged = of
        after = cheapest_plan(together.problem(number, problem))
        together.settle(number, problem, after)
        before = None if judged and judged.review else as_it_is(problem, one.shares)
        price = judged.stability_minor if judged else STABILITY_MINOR
        chances.append(Chance(problem, before, holds(one.shares), after, price))
    return chances, worth_moving(chances)


async def _tell(
    engine: AsyncEngine, found: Sequence[Unreleased], chances: Sequence[Chance], moving: set[int]
) -> None:
    """The workflows, all in one transaction: they wait for each other."""
    name = f"again/{uuid4().hex[:12]}"
    async with transaction(engine) as conn:
        for number in sorted(moving):
            order_id = found[number].state.order_id
            message = SourceAgain(
                fulfillments=tuple(share.fulfillment_id for share in found[number].shares),
                batch=name,
                reason=_why(chances[number]),
            )
            body = message.model_dump(mode="json")
            key = f"{name}:{order_id}"
            await inbox.put(conn, "reoptimise", key, "source_again", body, order_id=order_id)


def _why(chance: Chance) -> str:
    saves = chance.saves // _THOUSANDTHS
    if saves <= 0:
        return "it makes room for an order that could be sourced better"
    return f"another plan costs {Money(minor=saves, currency=chance.problem.currency)} less"


def _told(chances: Sequence[Chance], moving: set[int]) -> tuple[Better, ...]:
    """Those that move, and those that would save something but not enough; who saves most first."""
    known = [n for n, c in enumerate(chances) if n in moving or (c.saves > 0 and c.moves)]
    told = []
    for number in sorted(known, key=lambda n: (n not in moving, -chances[n].saves, n)):
        chance = chances[number]
        better = Better(
            order_id=chance.problem.order_id,
            before=_ways(chance.before) if chance.before else {},
            after=_ways(chance.after),
            saves_minor=chance.saves // _THOUSANDTHS,
            currency=chance.problem.currency,
            moves=number in moving,
        )
        told.append(better)
    return tuple(told[:_MOST_TOLD])


def _ways(plan: Plan) -> dict[str, str]:
    return {package.node: package.service for package in plan.assignments}
