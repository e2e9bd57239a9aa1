"""The sourcing problem and its answer: what goes in, what comes out. Pure values."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from domain.fulfillments import LineQuantity
from domain.orders import PartOf
from domain.sourcing.policy import Policy
from domain.values import Value

# Goes up whenever the same problem may be decided otherwise than before: replays tell it.
SOURCING_VERSION: Final = "2"


class Demand(Value):
    """
    Units of a line that want a node. Weight, volume and price are one unit's.

    `kit` is there where some of them make kits that leave whole, with those of the same line as it
    was sold: all of one kit are from one node. What carries them must offer all that they `needs`.
    `rejections` is how often a node said no to the line.
    """

    line_id: str
    sku: str
    quantity: Annotated[int, Field(ge=1)]
    weight_g: int
    kit: PartOf | None = None
    volume_mm3: Annotated[int, Field(ge=0)] = 0
    price_minor: Annotated[int, Field(ge=0)] = 0
    needs: tuple[str, ...] = ()
    rejections: Annotated[int, Field(ge=0)] = 0


class ServiceOption(Value):
    """
    A way for a package to go from one node to the customer, dated and priced by the carton.

    A carton's pounds are begun ones, of its weight or, if that is more, of its volume: counted in
    whole `carton_in3` (0: as it is), `dim_divisor` cubic inches to the pound (0: weight only).
    `offers` is what it can carry beside ordinary goods; None: anything. `days` are counted from the
    decision to the delivery.
    """

    service: str
    carrier: str
    zone: int
    base_minor: int
    per_lb_minor: int
    ship_by: datetime
    deliver_by: datetime
    days_late: int = 0
    days: Annotated[int, Field(ge=0)] = 0
    dim_divisor: Annotated[int, Field(ge=0)] = 0
    carton_in3: Annotated[int, Field(ge=0)] = 0
    carbon_g: Annotated[int, Field(ge=0)] = 0
    carbon_g_per_lb: Annotated[int, Field(ge=0)] = 0
    offers: tuple[str, ...] | None = None


class Candidate(Value):
    """
    A node as the decision sees it.

    `stock` maps SKU to free units. `capacity_left` counts fulfillments today, `units_left` their
    units; None is unlimited. `open_orders` are those that it has not shipped. `eliminated` is why
    the node may not be used at all, if so.

    Handling costs so much for a package, for each of the goods in it and for each unit. `labour` is
    what its labour or capacity is worth now, for a package and for a unit. By SKU: `stock_minor`,
    the opportunity that is gone with a unit (less than 0: it is best sold now), and `goods_minor`,
    what a unit costs from there.
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
    line_cost_minor: int = 0
    labour_minor: int = 0
    labour_unit_minor: int = 0
    stock_minor: dict[str, int] = {}
    goods_minor: dict[str, int] = {}
    open_orders: int = 0
    units_left: int | None = None


class Problem(Value):
    """
    Lines × nodes × services, from one consistent snapshot. Money in minor units of `currency`.

    `policy` is what rules say about it; `max_nodes` is the caller's own limit beside theirs.
    `prices` is the version of the book that the candidates' `stock_minor` are from; "" is none.
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
    policy: Policy = Policy()
    prices: str = ""


class CostParts(Value):
    """
    The parts of a cost, in money; they sum to it, to the cent.

    `split` is for a package beyond the first. `late`, `labour` and `stock` are prices that nobody
    is paid: of a day after the promise, of capacity that is scarce, of units that are.
    """

    shipping: int = 0
    handling: int = 0
    split: int = 0
    late: int = 0
    labour: int = 0
    stock: int = 0
    goods: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in MONEY)

    def plus(self, other: CostParts) -> CostParts:
        return CostParts(**{name: getattr(self, name) + getattr(other, name) for name in MONEY})


MONEY: Final = tuple(CostParts.model_fields)


class Measures(Value):
    """What of a package is not money and may count, by `Weights` or by preferences of rules."""

    carbon_g: int = 0
    days: int = 0
    miles: int = 0
    packages: int = 1
    preference_minor: int = 0

    def plus(self, other: Measures) -> Measures:
        names = Measures.model_fields
        return Measures(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Assignment(Value):
    """
    One package from one node: the units it gets, how it goes, what it costs.

    It is one fulfillment, in several `cartons` where goods must be alone in theirs.
    """

    node: str
    service: str
    carrier: str
    lines: tuple[LineQuantity, ...]
    ship_by: datetime
    deliver_by: datetime
    cost: CostParts
    measures: Measures = Measures()
    cartons: int = 1


class Plan(Value):
    """
    The answer. `unsourced` are units that no node can serve.

    `cost` is money as it is, by parts, whatever the weights. Plans are compared by `objective`: the
    same parts and the measures of every package, each times its weight in the policy, in
    thousandths of a minor unit (so it is exact: with the weights as they are, a thousand times the
    cost). `weighing.parts` gives its summands by name. Before it comes `rank`, where locations have
    priorities: fewer packages, then higher priorities; 0 where they have none.
    """

    assignments: tuple[Assignment, ...]
    unsourced: tuple[LineQuantity, ...] = ()
    cost: CostParts = CostParts()
    objective: int = 0
    rank: int = 0

    @property
    def worth(self) -> tuple[int, int, int]:
        """Less is better: units left over, then rank, then the objective."""
        return sum(line.quantity for line in self.unsourced), self.rank, self.objective


class Promised(Value):
    """What became of the plan that the order was promised; `reason` is why it was not kept."""

    token: str
    kept: bool
    reason: str = ""


class Certificate(Value):
    """
    What another solver makes of the same problem: its cost, and how many units it leaves unsourced.

    `agrees` false is an alarm: one of the two is wrong. They agree where their plans are worth the
    same, by what plans are compared by.
    """

    solver: str
    solver_versions: dict[str, str] = {}
    agrees: bool
    proof: Literal["optimal", "feasible"]
    unsourced: int
    cost_minor: int


class Bound(Value):
    """
    What is proven where a budget of work ended first: no plan leaves fewer units `unsourced`, and
    none that leaves as many as the plan has a lower `objective`.
    """

    unsourced: int
    objective: int


class Outcome(Value):
    """
    What rules make of units that found no node. `allocate`: those that have one leave; else all
    wait together. `then` empty: a person is asked, as for `queue` (which names whose work it is)
    and `review`; `next`: the rule set of that name judges what is left; `backorder` waits for
    stock; `cancel` waits for nothing. What waits `cancel_after` so long is cancelled.
    """

    allocate: bool = True
    then: Literal["", "next", "queue", "review", "backorder", "cancel"] = ""
    next: str = ""
    queue: str = ""
    cancel_after: timedelta | None = None


class Decision(Value):
    """
    Why the plan is as it is; immutable once stored.

    `eliminated` gives for every node that the plan does not use the reason. `runner_up` is the best
    plan that differs in its set of nodes (in a second pass: of those that get more), with
    `gap_minor` what it would cost more; less than 0 where something else counts more than money.
    `relaxed` are the soft rules that the plan does not keep to; of a promise that is kept,
    all rules that it does not. `proof` says whether the optimum is
    proven; where it is not, `bound` is what is proven: the plan's objective less the bound's is the
    gap. `promise` is there where the order came with a quoted plan: one that is kept is taken as it
    was promised, without a search for a better one. `certificate` is there where the decision is
    one of the share that another solver checks. `outcome` and `review` are what rules make of it:
    of what the plan leaves over, and whether a person must see it first; `release_at` says by node
    until when they keep its package with us, and `again_at` when the first node that gave its work
    back may be asked again for what is left over. `batch` names the orders that it was decided
    with; the problem has what was left for this one.
    """

    decision_id: str
    problem: Problem
    plan: Plan
    runner_up: Plan | None = None
    gap_minor: int | None = None
    eliminated: dict[str, str] = {}
    relaxed: tuple[str, ...] = ()
    proof: Literal["optimal", "feasible"] = "optimal"
    bound: Bound | None = None
    solver: str
    solver_versions: dict[str, str] = {}
    statistics: dict[str, Any] = {}
    promise: Promised | None = None
    certificate: Certificate | None = None
    outcome: Outcome = Outcome()
    review: bool = False
    release_at: dict[str, datetime] = {}
    again_at: datetime | None = None
    batch: str = ""

    @property
    def proven_gap(self) -> int | None:
        """
        By how much of the objective a better plan could beat this one at most; None where one might
        serve more units.
        """
        if self.bound is None:
            return 0 if self.proof == "optimal" else None
        if self.bound.unsourced < self.plan.worth[0] or self.plan.rank:
            return None
        return max(0, self.plan.objective - self.bound.objective)
