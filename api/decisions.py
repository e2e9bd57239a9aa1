"""Why an order is sourced as it is: its decisions, their answers, and what it would have taken."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api import problems, story
from api.schemas import Closed
from api.security import ReadsOrders, no_order, sees_order
from api.services import Services, Serving
from api.solving import solved
from domain.errors import NotFound
from domain.sourcing.allowance import allowed
from domain.sourcing.answers import MOST_WORK, Answer, answers
from domain.sourcing.explain import Counterfactual, why
from domain.sourcing.problem import Decision, Problem
from domain.values import Value
from storage import decisions, records
from storage.access import Access
from storage.database import transaction
from storage.decisions import Stored

router = APIRouter(prefix="/v1/orders", tags=["orders"], responses=problems.documented(404))

Round = Annotated[int, Path(ge=1, le=10**6, description="Which decision of the order, from 1.")]


class Kept(Value):
    """How a decision lies: the digest of what is its own, its bytes, and the pieces it shares."""

    digest: str
    bytes: int
    pieces: tuple[str, ...]


class DecisionView(Decision):
    """
    A decision without its problem, told: `sentence` in short, `answers` to what people ask of it.

    `record` says how it is kept.
    """

    problem: Annotated[Problem, Field(exclude=True)]
    round: int
    decided_as_of: datetime
    currency: str
    sentence: str
    answers: tuple[Answer, ...]
    record: Kept


class AskWhy(Closed):
    node: Annotated[str, Field(min_length=1, max_length=64, description="a node of the network")]


@router.get("/{order_id}/decisions")
async def decided(
    order_id: str, access: ReadsOrders, services: Serving
) -> tuple[DecisionView, ...]:
    """
    Every sourcing decision of an order, and its answers.

    Why split, why from farther away, what it costs, what was in stock then, when it arrives, why by
    that service, why something is not shipped, which nodes were looked at, which rules decided. All
    of it is answered from the record of that time; what another choice would have cost is solved.
    """
    stored = await _records(services, access, order_id)
    return await solved(lambda: _views(stored))


@router.get("/{order_id}/decisions/{round}")
async def one(order_id: str, round: Round, access: ReadsOrders, services: Serving) -> Decision:
    """One sourcing decision in full, with the problem that was solved."""
    stored = await _records(services, access, order_id)
    return _of_round(stored, order_id, round).record.decision


@router.get("/{order_id}/decisions/{round}/why")
async def why_not(
    order_id: str,
    round: Round,
    access: ReadsOrders,
    services: Serving,
    asked: Annotated[AskWhy, Query()],
) -> Counterfactual:
    """
    Why not from this node.

    The problem is solved again with a package from it: what that costs, what had to be assumed for
    it to be able to serve at all, and the smallest change with which it would have been chosen.
    That change was applied and solved before it is told.
    """
    record = _of_round(await _records(services, access, order_id), order_id, round).record
    try:
        return await solved(lambda: why(record, asked.node))
    except KeyError:
        nodes = ", ".join(c.node for c in record.decision.problem.candidates[:20])
        message = f"the decision looked at no node {asked.node}; it knows {nodes or 'none'}"
        raise NotFound(message) from None


async def _records(services: Services, access: Access, order_id: str) -> tuple[Stored, ...]:
    async with transaction(services.read_engine) as conn:
        state = await records.state(conn, order_id)
        if state is None or not sees_order(access, state.channel):
            raise no_order(order_id)
        return await decisions.records(conn, order_id)


def _of_round(stored: tuple[Stored, ...], order_id: str, round: int) -> Stored:
    for one in stored:
        if one.record.decision.problem.round == round:
            return one
    raise NotFound(f"order {order_id} has no decision {round}")


def _views(stored: tuple[Stored, ...]) -> tuple[DecisionView, ...]:
    with allowed(MOST_WORK):
        return tuple(_view(one) for one in stored)


def _view(stored: Stored) -> DecisionView:
    decision = stored.record.decision
    return DecisionView(
        **dict(decision),
        round=decision.problem.round,
        decided_as_of=decision.problem.as_of,
        currency=decision.problem.currency,
        sentence=story.why(decision).sentence,
        answers=answers(stored.record),
        record=Kept(digest=stored.digest, bytes=stored.bytes, pieces=stored.pieces),
    )
