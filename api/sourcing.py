"""The engine alone: a problem, or an order with its own nodes, stock and rates; nothing kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter
from pydantic import ConfigDict, FailFast, Field, model_validator

from api import examples
from api.problems import Unfit
from api.schemas import Closed, Code, Instant, Minor, PlacedAddress, Text
from api.schemas import Units as Count
from api.security import Sources
from api.services import Serving
from api.setup import PutNode, PutProduct, PutRateCard
from api.solving import solved
from domain.errors import Invalid
from domain.kits import exploded
from domain.network import Kit, Node, Product, RateCard
from domain.orders import DeliveryMethod, PartOf, Units
from domain.rules.checks import FORMS
from domain.sourcing.allowance import allowed
from domain.sourcing.answers import Answer, answers
from domain.sourcing.build import LATE_DAY_MINOR, SPLIT_FEE_MINOR, build
from domain.sourcing.explain import Counterfactual, why
from domain.sourcing.policy import Constraint, Policy, Weights
from domain.sourcing.problem import Candidate, Decision, Demand, Problem, ServiceOption
from domain.sourcing.record import Record, Seen
from domain.sourcing.solver import solve
from domain.values import Value

router = APIRouter(prefix="/v1/sourcing", tags=["sourcing"])

MOST_LINES: Final = 100
MOST_NODES: Final = 1000
# Lines × nodes: of a short order, which the kernel takes, and of one that may need OR-Tools.
MOST_PAIRS: Final = 20_000
MOST_PAIRS_LONG: Final = 4_000
SHORT: Final = 12  # units
MOST_SERVICES: Final = 20
MOST_SHELVES: Final = 100_000
MOST_EXPLAINED: Final = 5
MOST_WORK: Final = 20.0  # of all that is explained, in CP-SAT's deterministic time
MOST_MINOR: Final = 10**10
_ID: Final = "stateless"

NodeCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
Signed = Annotated[int, Field(ge=-MOST_MINOR, le=MOST_MINOR)]


class PosedPart(PartOf):
    model_config = ConfigDict(extra="forbid")

    line_id: Code
    sku: Code
    kits: Annotated[int, Field(ge=1, le=100_000)]
    per_kit: Annotated[int, Field(ge=1, le=1000)]


Names = Annotated[tuple[Code, ...], Field(max_length=50)]
Amounts = Annotated[dict[Code, Signed], Field(max_length=MOST_LINES)]


class PosedDemand(Demand):
    model_config = ConfigDict(extra="forbid")

    line_id: Code
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=100_000)]
    weight_g: Annotated[int, Field(ge=0, le=10**8)]
    kit: PosedPart | None = None
    volume_mm3: Annotated[int, Field(ge=0, le=10**12)] = 0
    price_minor: Minor = 0
    needs: Names = ()
    rejections: Annotated[int, Field(ge=0, le=10**6)] = 0

    @model_validator(mode="after")
    def _has_its_kits(self) -> Self:
        if self.kit and self.kit.kits * self.kit.per_kit > self.quantity:
            raise ValueError(
                "quantity: fewer units than its kits have; raise it, or lower the kits"
            )
        return self


class PosedService(ServiceOption):
    model_config = ConfigDict(extra="forbid")

    service: Code
    carrier: Text
    zone: Annotated[int, Field(ge=0, le=1000)]
    base_minor: Minor
    per_lb_minor: Minor
    ship_by: Instant
    deliver_by: Instant
    days_late: Annotated[int, Field(ge=0, le=3660)] = 0
    days: Annotated[int, Field(ge=0, le=3660)] = 0
    dim_divisor: Annotated[int, Field(ge=0, le=10**6)] = 0
    carton_in3: Annotated[int, Field(ge=0, le=10**6)] = 0
    carbon_g: Annotated[int, Field(ge=0, le=10**7)] = 0
    carbon_g_per_lb: Annotated[int, Field(ge=0, le=10**6)] = 0
    offers: Names | None = None


class PosedCandidate(Candidate):
    model_config = ConfigDict(extra="forbid")

    node: NodeCode
    kind: Text
    miles: Annotated[int, Field(ge=-1, le=25_000)]
    stock: Annotated[dict[Code, Count], Field(max_length=MOST_LINES)]
    capacity_left: Annotated[int, Field(ge=0, le=10**9)] | None
    order_cost_minor: Signed
    unit_cost_minor: Signed
    options: Annotated[tuple[PosedService, ...], FailFast(), Field(max_length=MOST_SERVICES)]
    eliminated: Text | None = None
    line_cost_minor: Signed = 0
    labour_minor: Signed = 0
    labour_unit_minor: Signed = 0
    stock_minor: Amounts = {}
    goods_minor: Amounts = {}
    open_orders: Annotated[int, Field(ge=0, le=10**9)] = 0
    units_left: Annotated[int, Field(ge=0, le=10**9)] | None = None


class PosedWeights(Weights):
    model_config = ConfigDict(extra="forbid")


class PosedConstraint(Constraint):
    model_config = ConfigDict(extra="forbid")

    name: Code
    value: Annotated[int, Field(ge=0, le=MOST_MINOR)] | None = None
    nodes: Annotated[tuple[NodeCode, ...], Field(max_length=MOST_NODES)] | None = None
    lines: Annotated[tuple[Code, ...], Field(max_length=MOST_LINES)] | None = None
    what: Text = ""

    @model_validator(mode="after")
    def _says_what_it_must(self) -> Self:
        form, kind = FORMS[self.kind], f"a rule of kind {self.kind}"
        for field in ("nodes", "value", "what"):
            if getattr(form, field) == "must" and getattr(self, field) in {None, ""}:
                raise ValueError(f"{field}: {kind} must say its {field}")
        most = MOST_MINOR if form.most is None else form.most
        if self.value is not None and not form.least <= self.value <= most:
            raise ValueError(f"value: of {kind} is from {form.least} to {most}")
        return self


class PosedPolicy(Policy):
    """What rules would say; without it, money alone decides."""

    model_config = ConfigDict(extra="forbid")

    rules: Text = ""
    profile: Text = "lowest_cost"
    weights: PosedWeights = PosedWeights()
    constraints: Annotated[tuple[PosedConstraint, ...], Field(max_length=50)] = ()


class PosedProblem(Problem, Closed):
    """A sourcing problem as the solver takes it: everything in it is given."""

    order_id: Text = _ID
    round: Annotated[int, Field(ge=1, le=10**6)] = 1
    as_of: Instant
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    promise_by: Instant | None = None
    demands: Annotated[tuple[PosedDemand, ...], Field(min_length=1, max_length=MOST_LINES)]
    candidates: Annotated[
        tuple[PosedCandidate, ...], FailFast(), Field(min_length=1, max_length=MOST_NODES)
    ]
    split_fee_minor: Minor = SPLIT_FEE_MINOR
    late_day_minor: Minor = LATE_DAY_MINOR
    max_nodes: Annotated[int, Field(ge=1, le=MOST_NODES)] | None = None
    policy: PosedPolicy = PosedPolicy()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _once("demands", "line_id", [demand.line_id for demand in self.demands])
        _once("candidates", "node", [candidate.node for candidate in self.candidates])
        made: dict[str, tuple[str, int]] = {}
        for kit in (demand.kit for demand in self.demands if demand.kit):
            if made.setdefault(kit.line_id, (kit.sku, kit.kits)) != (kit.sku, kit.kits):
                raise ValueError(f"demands: the parts of kit line {kit.line_id} must name one kit")
        lines = {demand.line_id for demand in self.demands} | made.keys()
        _known(self.policy, nodes={candidate.node for candidate in self.candidates}, lines=lines)
        return self

    def problem(self) -> Problem:
        return Problem.model_validate(self.model_dump())


class PosedLine(Closed):
    line_id: Code
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=100_000)]


class PosedNode(PutNode):
    """A node as it is set up, with its code; and whether it is up."""

    model_config = examples.of({**examples.NODE, "code": "DC-DAL"})

    code: NodeCode
    status: Annotated[str, Field(pattern="^(online|offline)$")] = "online"

    def as_node(self) -> Node:
        return Node.model_validate(self.model_dump())


class PosedOrder(Closed):
    """
    An order and the network that it is to be sourced from.

    `stock` is node → SKU → free units; `capacity_left` and `units_left` how many more orders, and
    units, a node takes today (one that is not named: its `capacity_per_day`, `units_per_day`);
    `excluded` are nodes that may not serve, with why. A product that is not described weighs 500 g;
    one with components is a kit.
    """

    lines: Annotated[tuple[PosedLine, ...], Field(min_length=1, max_length=MOST_LINES)]
    ship_to: PlacedAddress
    as_of: Instant | None = None
    promise_by: Instant | None = None
    method: DeliveryMethod = DeliveryMethod.SHIP
    pickup_node: NodeCode | None = None
    nodes: Annotated[tuple[PosedNode, ...], FailFast(), Field(min_length=1, max_length=MOST_NODES)]
    stock: Annotated[
        dict[NodeCode, Annotated[dict[Code, Count], Field(max_length=1000)]],
        Field(max_length=MOST_NODES),
    ]
    capacity_left: Annotated[dict[NodeCode, Count], Field(max_length=MOST_NODES)] = {}
    units_left: Annotated[dict[NodeCode, Count], Field(max_length=MOST_NODES)] = {}
    excluded: Annotated[dict[NodeCode, Text], Field(max_length=MOST_NODES)] = {}
    rate_cards: Annotated[tuple[PutRateCard, ...], Field(min_length=1, max_length=MOST_SERVICES)]
    products: Annotated[tuple[PutProduct, ...], Field(max_length=1000)] = ()
    split_fee_minor: Minor = SPLIT_FEE_MINOR
    late_day_minor: Minor = LATE_DAY_MINOR
    max_nodes: Annotated[int, Field(ge=1, le=MOST_NODES)] | None = None
    policy: PosedPolicy = PosedPolicy()

    @model_validator(mode="before")
    @classmethod
    def _has_no_more_shelves(cls, sent: Any) -> Any:
        """Before they are read: each that is wrong would be noted."""
        stock = sent.get("stock") if isinstance(sent, dict) else None
        shelves = stock.values() if isinstance(stock, dict) else ()
        if (count := sum(len(s) for s in shelves if isinstance(s, dict))) > MOST_SHELVES:
            raise ValueError(
                f"stock: {count} counts; send {MOST_SHELVES} at most, of the SKUs that are ordered"
            )
        return sent

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _once("lines", "line_id", [line.line_id for line in self.lines])
        _once("nodes", "code", [node.code for node in self.nodes])
        _once("products", "sku", [product.sku for product in self.products])
        _once("rate_cards", "service", [card.service for card in self.rate_cards])
        if len({card.currency for card in self.rate_cards}) != 1:
            raise ValueError("rate_cards: costs are compared, so all are in one currency")
        codes = {node.code for node in self.nodes}
        for field in ("stock", "capacity_left", "units_left", "excluded"):
            if strange := sorted(set(getattr(self, field)) - codes):
                raise ValueError(f"{field}: {strange[0]} is none of the nodes; add it to nodes")
        _known(self.policy, nodes=codes, lines={line.line_id for line in self.lines})
        if (self.method is DeliveryMethod.PICKUP) != (self.pickup_node in codes):
            raise ValueError("pickup_node: name one of the nodes for a pickup, and none else")
        return self


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
async def source(body: SolveSourcing, _: Sources, services: Serving) -> Sourced:
    """
    Decide where an order is served from, and say why; nothing is read from here, and nothing kept.

    Give a problem as the solver takes it, or an order with its own nodes, stock and rates. The same
    body gives the same answer (of an order: with its `as_of`). Work is bounded by count: at most
    100 lines, 1,000 nodes, 4,000 lines × nodes (20,000 where at most 12 units are asked for). What
    of the explanations takes more work than is allowed says so. One such request is worked on at a
    time.
    """
    _bounded(body)
    now = services.clock()
    return await solved(lambda: _sourced(_decided(body, now), body.explain), strange=True)


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
        order_id=_ID,
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


def _sourced(record: Record, explain: tuple[str, ...]) -> Sourced:
    with allowed(MOST_WORK):
        return Sourced(
            decision=record.decision,
            answers=answers(record),
            why=tuple(why(record, node) for node in explain),
        )


def _known(policy: Policy, *, nodes: Collection[str], lines: Collection[str]) -> None:
    """Raises ValueError where a rule speaks of what is not there: a slip would hold for nothing."""
    for place, rule in enumerate(policy.constraints):
        for field, said, there in (("nodes", rule.nodes, nodes), ("lines", rule.lines, lines)):
            if strange := [name for name in said or () if name not in there]:
                message = f"{strange[0]} is none of the {field}; leave it out"
                raise ValueError(f"policy.constraints.{place}.{field}: {message}")


def _once(field: str, by: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"{field}: each {by} may stand once; two share one")
