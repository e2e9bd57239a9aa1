"""A problem, or an order with its own nodes, stock and rates, as a request brings it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, FailFast, Field, model_validator

from api import examples
from api.schemas import Closed, Code, Instant, Minor, PlacedAddress, Text
from api.schemas import Units as Count
from api.setup import PutNode, PutProduct, PutRateCard
from domain.network import Node
from domain.orders import DeliveryMethod, PartOf
from domain.rules.checks import FORMS
from domain.sourcing.build import LATE_DAY_MINOR, SPLIT_FEE_MINOR
from domain.sourcing.policy import Constraint, Policy, Weights
from domain.sourcing.problem import Candidate, Demand, Problem, ServiceOption

MOST_LINES: Final = 100
MOST_NODES: Final = 1000
MOST_SERVICES: Final = 20
MOST_SHELVES: Final = 100_000
MOST_MINOR: Final = 10**10
MOST_A_DAY: Final = 10**8  # times ten years and the highest weight it stays inside 64 bits
STATELESS: Final = "stateless"  # the order that a request does not name

NodeCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
Daily = Annotated[int, Field(ge=0, le=MOST_A_DAY)]
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

    @model_validator(mode="after")
    def _has_each_service_once(self) -> Self:
        _once("options", "service", [option.service for option in self.options])
        return self


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

    order_id: Text = STATELESS
    round: Annotated[int, Field(ge=1, le=10**6)] = 1
    as_of: Instant
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    promise_by: Instant | None = None
    demands: Annotated[tuple[PosedDemand, ...], Field(min_length=1, max_length=MOST_LINES)]
    candidates: Annotated[
        tuple[PosedCandidate, ...], FailFast(), Field(min_length=1, max_length=MOST_NODES)
    ]
    split_fee_minor: Minor = SPLIT_FEE_MINOR
    late_day_minor: Daily = LATE_DAY_MINOR
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
    late_day_minor: Daily = LATE_DAY_MINOR
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
