"""What the API answers with, where it is more than the domain's own values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from domain.fulfillments import Fulfillment, LineQuantity
from domain.network import Node
from domain.orders import Bucket, Hold, Order, OrderStatus
from domain.records import Attention, CancelRequest
from domain.sourcing.problem import CostParts
from domain.values import Value
from storage.backorders import Awaited
from storage.reads import TimelineEvent


class SubmitPending(Value):
    """The order is safe with us; whether it is accepted is known shortly: ask at `Location`."""

    order_id: str
    status: Literal["received"] = "received"
    outcome: Literal["pending"] = "pending"
    reason: str = "the order is stored and will be taken up; its outcome is not known yet"


class Done(Value):
    """What a command led to, in the order's own words."""

    order_id: str
    result: str


class Extended(Value):
    order_id: str
    pickup_until: datetime


class LineView(Value):
    """
    A line and where its units are; the buckets sum to what was ordered.

    A kit's line counts kits, each where the last of its `components` is, and cancelled once one is.
    """

    line_id: str
    sku: str
    title: str = ""
    ordered: int
    buckets: dict[Bucket, int]
    components: tuple[LineView, ...] = ()


class PromiseView(Value):
    """
    `expected` is when the last of what is still to come is due, `arrived` when the last came that
    was to come; `late` is that it misses the promise.
    """

    promised: datetime | None = None
    expected: datetime | None = None
    arrived: datetime | None = None
    late: bool = False


class Chosen(Value):
    """One package as it was decided."""

    node: str
    service: str
    carrier: str
    units: int
    ship_by: datetime
    deliver_by: datetime
    cost: CostParts
    cost_minor: int


class RunnerUp(Value):
    """The best other set of nodes, and what it would have cost more."""

    nodes: tuple[str, ...]
    cost_minor: int
    gap_minor: int | None = None


class Why(Value):
    """Why from there: one sourcing decision in short. All of it is under `decisions`."""

    decision_id: str
    round: int
    decided_as_of: datetime
    sentence: str
    currency: str
    chosen: tuple[Chosen, ...]
    cost: CostParts
    cost_minor: int
    unsourced: tuple[LineQuantity, ...] = ()
    runner_up: RunnerUp | None
    eliminated: dict[str, str]
    proof: str
    solver: str


ProblemKind = Literal[
    "attention",
    "hold",
    "short",
    "rejection",
    "exception",
    "recall",
    "expiry",
    "write_back",
]


class ProblemView(Value):
    """
    Something that went wrong, or waits for a person.

    `recall`: units were asked back from a node and sourced again; `expiry`: a pickup was not
    collected; `write_back`: the channel would not take what we told it.
    """

    kind: ProblemKind
    message: str
    since: datetime | None = None
    fulfillment_id: str = ""
    options: tuple[str, ...] = ()


class OrderCard(Value):
    """
    All that customer service asks of an order, in one answer.

    Where is it (`status`, `sentence`, `lines`, `fulfillments`), when will it come (`promise`), why
    from there (`why`), from which supply (`awaits`, where it waits for stock), what went wrong
    (`problems`), who did what (`timeline`: the newest 50, the oldest of them first; `cancel`: who
    asked to cancel it, and why).
    """

    order_id: str
    status: OrderStatus
    sentence: Annotated[str, Field(examples=["1 of 2 units has shipped from DC-DAL."])]
    reason: str = ""
    order: Order
    lines: tuple[LineView, ...]
    holds: tuple[Hold, ...] = ()
    attention: tuple[Attention, ...] = ()
    cancel: CancelRequest | None = None
    fulfillments: tuple[Fulfillment, ...]
    promise: PromiseView
    why: Why | None = None
    awaits: tuple[Awaited, ...] = ()
    problems: tuple[ProblemView, ...] = ()
    timeline: tuple[TimelineEvent, ...] = ()
    accepted_at: datetime
    updated_at: datetime


class Stored(Value):
    """`new` is false where we had it already; nothing is taken in twice."""

    new: bool


class NodeChange(Value):
    """`changed` is false where the node was so already. `orders` were told to look elsewhere."""

    node: Node
    changed: bool
    orders: int = 0


class StockChange(Value):
    """`new` is false where the key was seen before; `woken` counts orders that try again."""

    new: bool
    woken: int = 0


class Saved(Value):
    saved: int


class Readiness(Value):
    ready: bool
    down: tuple[str, ...] = ()


class Health(Value):
    status: Literal["up"] = "up"
