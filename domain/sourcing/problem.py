"""The sourcing problem and its answer: what goes in, what comes out. Pure values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from domain.fulfillments import LineQuantity
from domain.orders import PartOf
from domain.values import Value


class Demand(Value):
    """
    Units of a line that want a node. `weight_g` is one unit's.

    `kit` is there where some of them make kits that leave whole, with those of the same line as it
    was sold: all of one kit are from one node.
    """

    line_id: str
    sku: str
    quantity: Annotated[int, Field(ge=1)]
    weight_g: int
    kit: PartOf | None = None


class ServiceOption(Value):
    """A way for a package to go from one node to the customer, dated and priced."""

    service: str
    carrier: str
    zone: int
    base_minor: int
    per_lb_minor: int
    ship_by: datetime
    deliver_by: datetime
    days_late: int = 0


class Candidate(Value):
    """
    A node as the decision sees it.

    `stock` maps SKU to free units. `capacity_left` counts fulfillments today, `units_left` their
    units; None is unlimited.
    `eliminated` is why the node may not be used at all, if so.
    """

    node: str
    kind: str
    miles: int
    stock: dict[str, int]
    capacity_left: int | None
    order_cost_minor: int
    unit_cost_minor: int
    options: tuple[ServiceOption, ...]
    eliminated: str | None = None
    units_left: int | None = None


class Problem(Value):
    """
    Lines × nodes × services, from one consistent snapshot. Money in minor units of `currency`.

    `located_by` tells how exactly the destination is known, and with it every distance.
    """

    order_id: str
    round: int
    as_of: datetime
    currency: str
    promise_by: datetime | None
    demands: tuple[Demand, ...]
    candidates: tuple[Candidate, ...]
    split_fee_minor: int = 100
    late_day_minor: int = 300
    max_nodes: int | None = None
    located_by: Literal["zip", "zip3", "state", "country", "abroad"] = "zip"


class CostParts(Value):
    """The parts of a cost; they sum to it, to the cent. `split`: for a package beyond the first."""

    shipping: int = 0
    handling: int = 0
    split: int = 0
    late: int = 0

    @property
    def total(self) -> int:
        return self.shipping + self.handling + self.split + self.late

    def plus(self, other: CostParts) -> CostParts:
        return CostParts(
            shipping=self.shipping + other.shipping,
            handling=self.handling + other.handling,
            split=self.split + other.split,
            late=self.late + other.late,
        )


class Assignment(Value):
    """One package from one node: the units it gets, how it goes, what it costs."""

    node: str
    service: str
    carrier: str
    lines: tuple[LineQuantity, ...]
    ship_by: datetime
    deliver_by: datetime
    cost: CostParts


class Plan(Value):
    """The answer. `unsourced` are units that no node can serve."""

    assignments: tuple[Assignment, ...]
    unsourced: tuple[LineQuantity, ...] = ()
    cost: CostParts = CostParts()


class Promised(Value):
    """What became of the plan that the order was promised; `reason` is why it was not kept."""

    token: str
    kept: bool
    reason: str = ""


class Certificate(Value):
    """
    What another solver makes of the same problem: its cost, and how many units it leaves unsourced.

    `agrees` false is an alarm: one of the two is wrong.
    """

    solver: str
    solver_versions: dict[str, str] = {}
    agrees: bool
    proof: Literal["optimal", "feasible"]
    unsourced: int
    cost_minor: int


class Decision(Value):
    """
    Why the plan is as it is; immutable once stored.

    `eliminated` gives for every node that the plan does not use the reason. `runner_up` is the best
    plan that differs in its set of nodes, with `gap_minor` what it would cost more. `proof` says
    whether the optimum is proven. `promise` is there where the order came with a quoted plan: one
    that is kept is taken as it was promised, without a search for a better one. `certificate` is
    there where the decision is one of the share that another solver checks.
    """

    decision_id: str
    problem: Problem
    plan: Plan
    runner_up: Plan | None = None
    gap_minor: int | None = None
    eliminated: dict[str, str] = {}
    proof: Literal["optimal", "feasible"] = "optimal"
    solver: str
    solver_versions: dict[str, str] = {}
    statistics: dict[str, Any] = {}
    promise: Promised | None = None
    certificate: Certificate | None = None
