"""The engine alone: a problem, or an order with its own nodes, stock and rates; nothing kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Self

from fastapi import APIRouter, Request
from pydantic import Field, model_validator

from api import examples
from api.posed import MOST_LINES, STATELESS, NodeCode, PosedOrder, PosedProblem
from api.problems import Unfit
from api.schemas import Closed
from api.security import Sources
from api.services import Serving
from api.solving import solved_for
from domain.errors import Invalid, Refused
from domain.kits import exploded
from domain.network import Kit, Node, Product, RateCard
from domain.orders import Units
from domain.sourcing.allowance import Spent, Stopped, Work
from domain.sourcing.answers import Answer, answers
from domain.sourcing.build import build
from domain.sourcing.explain import Counterfactual, why
from domain.sourcing.policy import Policy
from domain.sourcing.problem import Decision, Problem
from domain.sourcing.record import Record, Seen
from domain.sourcing.solver import solve
from domain.values import Value

router = APIRouter(prefix="/v1/sourcing", tags=["sourcing"])

# Lines × nodes: of a short order, which the kernel takes, and of one that may need OR-Tools.
MOST_PAIRS: Final = 20_000
MOST_PAIRS_LONG: Final = 4_000
SHORT: Final = 12  # units
MOST_EXPLAINED: Final = 5
# Of a request, counted in about seconds of one core: a half of it is kept to explain what was
# decided, and of what is left then a half for the nodes that are asked about.
MOST_WORK: Final = 20.0


class Seeing(Value):
    """The order's network, as a problem is built from it."""

    nodes: tuple[Node, ...]
    stock: dict[str, dict[str, int]]
    capacity_left: dict[str, int | None]
    units_left: dict[str, int | None]
    rate_cards: tuple[RateCard, ...]
    products: dict[str, Product]


class SolveSourcing(Closed):
    """Either a `problem` or an `order`. `explain` names nodes: why not from there?"""

    model_config = examples.of(examples.SOURCING)

    problem: PosedProblem | None = None
    order: PosedOrder | None = None
    explain: Annotated[tuple[NodeCode, ...], Field(max_length=MOST_EXPLAINED)] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.problem is None) == (self.order is None):
            raise ValueError("problem: give either a problem or an order")
        return self


class Sourced(Value):
    """
    The decision as it would be recorded, with its problem; what people ask of it; and the nodes
    that were asked about.
    """

    decision: Decision
    answers: tuple[Answer, ...]
    why: tuple[Counterfactual, ...] = ()


@router.post("")
async def source(body: SolveSourcing, request: Request, _: Sources, services: Serving) -> Sourced:
    """
    Decide where an order is served from, and say why; nothing is read from here, and nothing kept.

    Give a problem as the solver takes it, or an order with its own nodes, stock and rates. The same
    body gives the same answer (of an order: with its `as_of`). Work is bounded by count: at most
    100 lines, 1,000 nodes, 4,000 lines × nodes (20,000 where at most 12 units are asked for), and
    about 20 s of a core for all that is solved. Where that ends first, the plan is the best one
    found, with `proof` `feasible` and, where known, the `bound` that is proven; and what of the
    explanations was not found says so. One such request is worked on at a time; it ends where its
    caller hangs up.
    """
    _bounded(body)
    now, work = services.clock(), Work(MOST_WORK)
    try:
        return await solved_for(request, lambda: _sourced(body, now, work), work)
    except Spent:
        field = "order.nodes" if body.order else "problem.candidates"
        message = "no plan was found with the work that a request may take; send fewer"
        raise Unfit({field: message}) from None
    except Stopped:
        raise Refused("the caller hung up") from None  # who does not hear it


def _bounded(body: SolveSourcing) -> None:
    """What each field's own limits do not say: the work, and nodes that nobody knows."""
    if body.problem is not None:
        field, nodes = "problem.candidates", {c.node for c in body.problem.candidates}
        lines = len(body.problem.demands)
        units = sum(demand.quantity for demand in body.problem.demands)
    elif body.order is not None:
        field, nodes = "order.nodes", {node.code for node in body.order.nodes}
        parts = {p.sku: max(1, len(p.components)) for p in body.order.products}
        lines = sum(parts.get(line.sku, 1) for line in body.order.lines)
        units = sum(line.quantity for line in body.order.lines)
    if lines > MOST_LINES:
        raise Unfit({field: f"{lines} lines with the parts of kits; send {MOST_LINES} at most"})
    pairs = MOST_PAIRS if units <= SHORT else MOST_PAIRS_LONG
    if lines * len(nodes) > pairs:
        few = f"{lines} lines of {units} units; send {pairs // lines} at most, the nearest"
        raise Unfit({field: f"too many for {few}"})
    if strange := [node for node in body.explain if node not in nodes]:
        raise Unfit({"explain": f"{strange[0]} is none of {field}; name one of those"})


def _decided(body: SolveSourcing, now: datetime) -> Record:
    problem, seen = _of_order(body.order, now) if body.order else (_given(body), None)
    decision = solve(problem, f"{problem.order_id}/{problem.round}")
    return Record(decision=decision, seen=seen)


def _given(body: SolveSourcing) -> Problem:
    if body.problem is None:
        raise Invalid("problem: give either a problem or an order")
    return body.problem.problem()


def _of_order(order: PosedOrder, now: datetime) -> tuple[Problem, Seen]:
    products = {p.sku: Product.model_validate(p.model_dump()) for p in order.products}
    kits: Mapping[str, Kit] = {sku: p.kit for sku, p in products.items() if p.kit}
    network = Seeing(
        nodes=tuple(node.as_node() for node in order.nodes),
        stock=order.stock,
        capacity_left=dict(order.capacity_left),
        units_left=dict(order.units_left),
        rate_cards=tuple(RateCard.model_validate(c.model_dump()) for c in order.rate_cards),
        products=products,
    )
    problem = build(
        network,
        order_id=STATELESS,
        round=1,
        as_of=order.as_of or now,
        currency=network.rate_cards[0].currency,
        promise_by=order.promise_by,
        units=exploded([Units(**line.model_dump()) for line in order.lines], kits),
        ship_to=order.ship_to,
        excluded=order.excluded,
        firm_node=order.pickup_node,
        method=order.method,
        split_fee_minor=order.split_fee_minor,
        late_day_minor=order.late_day_minor,
        policy=Policy.model_validate(order.policy.model_dump()),
    )
    seen = Seen(
        nodes=network.nodes,
        rate_cards=network.rate_cards,
        ship_to=order.ship_to,
        method=order.method,
    )
    return problem.model_copy(update={"max_nodes": order.max_nodes}), seen


def _sourced(body: SolveSourcing, now: datetime, work: Work) -> Sourced:
    with work.part(keeping=MOST_WORK / 2, must=True):
        record = _decided(body, now)
    with work.part(keeping=work.left / 2 if body.explain else 0):
        told = answers(record)
    with work.part():
        found = tuple(why(record, node) for node in body.explain)
    return Sourced(decision=record.decision, answers=told, why=found)
